"""Translated PolyMNIST with ten backgrounds, on MMVAE+'s residual networks.

Nothing squashes a decoder's output.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial

from multielbo.architectures.resnet import resnet_decoder, resnet_encoder
from multielbo.data.translated_polymnist import MODALITIES, translated_polymnist
from multielbo.likelihoods import Laplace
from multielbo.setups.setup import Modality, Setup

SHAPE = (3, 28, 28)
BACKGROUNDS = 10


def setup() -> Setup:
    """Ten pictures of one class; the digit's place is its own, six backgrounds are substitutes."""
    modality = Modality(
        encoder=partial(resnet_encoder, SHAPE),
        decoder=partial(resnet_decoder, SHAPE),
        likelihood=Laplace(0.75),
    )
    return Setup(
        partial(translated_polymnist, backgrounds=BACKGROUNDS),
        dict.fromkeys(MODALITIES[BACKGROUNDS], modality),
        "data_scripts/translated_polymnist.py --backgrounds 10",
    )
