"""JNF-DCCA (Senellart and Allassonniere, 2025): JNF-Shared behind deep canonical correlations."""

from __future__ import annotations

__all__ = ["recipe"]

from functools import partial

from multielbo.models.jnf_shared import jnf_shared, jnf_shared_stages
from multielbo.models.recipe import Recipe


def recipe() -> Recipe:
    """As our experiments train it: projectors for half as many epochs, as released for PolyMNIST.

    The joint encoder is as in `multielbo.models.jnf.recipe`; a batch has to be larger than two
    projections, so of more than 20 examples.
    """
    make = partial(jnf_shared, projection="dcca", hidden=())
    return Recipe(make, jnf_shared_stages, {"projections": 0.5, "joint": 1.0, "posteriors": 1.0})
