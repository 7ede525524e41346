"""PolyMNIST on MMVAE+'s residual networks, with one encoder a modality.

Nothing squashes a decoder's output.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial

from multielbo.architectures.resnet import resnet_decoder, resnet_encoder
from multielbo.data.polymnist import MODALITIES, polymnist
from multielbo.likelihoods import Laplace
from multielbo.setups.setup import Modality, Setup

SHAPE = (3, 28, 28)


def setup() -> Setup:
    """Five pictures of one class; the third background is a free portrait."""
    modality = Modality(
        encoder=partial(resnet_encoder, SHAPE),
        decoder=partial(resnet_decoder, SHAPE),
        likelihood=Laplace(0.75),
    )
    return Setup(polymnist, dict.fromkeys(MODALITIES, modality), "data_scripts/polymnist.py")
