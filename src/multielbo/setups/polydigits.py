"""PolyDigits: PolyMNIST's networks, one convolution shorter.

At 16x16 pixels a third halving would leave maps of 2x2, from which few epochs learn little.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial
from pathlib import Path

from multielbo.data.multimodal import MultimodalData
from multielbo.data.polydigits import MODALITIES, polydigits
from multielbo.likelihoods import Laplace
from multielbo.networks import conv_decoder, conv_encoder
from multielbo.setups.setup import Modality, Setup

SHAPE = (3, 16, 16)
CHANNELS = (32, 64)


def setup() -> Setup:
    """Five pictures of one class, made from what installed packages ship."""
    modality = Modality(
        encoder=partial(conv_encoder, SHAPE, channels=CHANNELS),
        decoder=partial(conv_decoder, SHAPE, channels=CHANNELS),
        likelihood=Laplace(0.75),
    )
    return Setup(_load, dict.fromkeys(MODALITIES, modality))


def _load(root: Path | None, split: str) -> MultimodalData:
    return polydigits(split)
