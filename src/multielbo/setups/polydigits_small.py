"""PolyDigits with convolutions of half the width, for the many short runs of the atlas."""

from __future__ import annotations

__all__ = ["setup"]

from dataclasses import replace
from functools import partial

from multielbo.networks import conv_decoder, conv_encoder
from multielbo.setups import polydigits
from multielbo.setups.setup import Setup

CHANNELS = (16, 32)


def setup() -> Setup:
    """PolyDigits' set-up with other networks."""
    wide = polydigits.setup()
    modalities = {
        name: replace(
            modality,
            encoder=partial(conv_encoder, polydigits.SHAPE, channels=CHANNELS),
            decoder=partial(conv_decoder, polydigits.SHAPE, channels=CHANNELS),
        )
        for name, modality in wide.modalities.items()
    }
    return replace(wide, modalities=modalities)
