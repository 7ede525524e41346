"""The published PolyMNIST archive, on the networks that Sutter et al. (2021) train on it.

The layers are those of their released code; nothing squashes a decoder's output.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial

from multielbo.data.polymnist_archive import MODALITIES, polymnist_published
from multielbo.likelihoods import Laplace
from multielbo.networks import CHANNELS, conv_decoder, conv_encoder
from multielbo.setups.setup import Modality, Setup

SHAPE = (3, 28, 28)


def setup() -> Setup:
    """Five pictures of one class, as its authors paired and cropped them."""
    modality = Modality(
        encoder=partial(conv_encoder, SHAPE, channels=CHANNELS, hidden=(512,)),
        decoder=partial(conv_decoder, SHAPE, channels=CHANNELS),
        likelihood=Laplace(0.75),
    )
    return Setup(
        polymnist_published,
        dict.fromkeys(MODALITIES, modality),
        "data_scripts/polymnist_archive.py",
    )
