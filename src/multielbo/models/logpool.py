"""Controls for the barycentric models: geometric means in place of Wasserstein barycenters.

A product sharpens with every expert; a geometric mean and a Wasserstein barycenter do not.
Training both tells whether the Wasserstein geometry helps, or only the lack of sharpening.
"""

from __future__ import annotations

__all__ = ["log_pool", "mixture_of_log_pools"]

from multielbo.aggregators import Aggregator, log_opinion_pool
from multielbo.models.model import Model
from multielbo.objectives import joint_elbo, mixture_elbo
from multielbo.subsets import full_set, powerset


def log_pool() -> Model:
    """The geometric mean of all modalities under the joint ELBO."""
    return Model(Aggregator(log_opinion_pool, family=full_set), joint_elbo)


def mixture_of_log_pools() -> Model:
    """A mixture, over all subsets, of geometric means, trained as MoPoE is."""
    return Model(Aggregator(log_opinion_pool, family=powerset), mixture_elbo)
