"""MHD as the authors of MultiVae train on it, with 64 latents: a picture, a sound, a pen's way.

Likelihoods are normal with unit variance, weighted by the ratio of data dimensions.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial

from multielbo.architectures.sound import (
    sound_decoder,
    sound_encoder,
    trajectory_decoder,
    trajectory_encoder,
)
from multielbo.architectures.strokes import picture_decoder, picture_encoder
from multielbo.data.mhd import SHAPES, mhd
from multielbo.likelihoods import Normal
from multielbo.setups.setup import Modality, Setup, dimension_weights

# Their configuration counts three channels of a picture that has one, and so weighs it a third.
COUNTED = SHAPES | {"image": (3, 28, 28)}


def setup() -> Setup:
    """Three modalities of one digit."""
    weights = dimension_weights(COUNTED)
    networks = {
        "image": (picture_encoder, picture_decoder),
        "audio": (partial(sound_encoder, SHAPES["audio"]), partial(sound_decoder, SHAPES["audio"])),
        "trajectory": (
            partial(trajectory_encoder, SHAPES["trajectory"]),
            partial(trajectory_decoder, SHAPES["trajectory"]),
        ),
    }
    modalities = {
        name: Modality(encoder, decoder, Normal(1.0), weights[name])
        for name, (encoder, decoder) in networks.items()
    }
    return Setup(mhd, modalities, "data_scripts/mhd.py")
