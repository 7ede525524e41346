"""PolyMNIST with a coarse second modality, on the networks of Sutter et al. (2021)."""

from __future__ import annotations

__all__ = ["setup"]

from dataclasses import replace

from multielbo.data.coarse_polymnist import coarse_polymnist
from multielbo.setups import polymnist
from multielbo.setups.setup import Setup


def setup() -> Setup:
    """PolyMNIST's set-up on other data."""
    return replace(polymnist.setup(), load=coarse_polymnist)
