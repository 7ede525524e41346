"""JNF-Shared (Senellart and Allassonniere, 2025) behind projectors that learn by contrast."""

from __future__ import annotations

__all__ = ["recipe"]

from functools import partial

from multielbo.models.jnf_shared import jnf_shared, jnf_shared_stages
from multielbo.models.recipe import Recipe


def recipe() -> Recipe:
    """As our experiments train it: projectors for half as many epochs as the joint model."""
    make = partial(jnf_shared, projection="contrastive", hidden=())
    return Recipe(make, jnf_shared_stages, {"projections": 0.5, "joint": 1.0, "posteriors": 1.0})
