"""The cells of the atlas that no paper names: each pool under the objectives that are left."""

from __future__ import annotations

__all__ = [
    "joint_product",
    "mixture_of_products_with_prior",
    "subsampled_log_pool",
    "subsampled_wasserstein",
]

from multielbo.aggregators import (
    Aggregator,
    log_opinion_pool,
    product_of_experts,
    wasserstein_barycenter,
)
from multielbo.models.model import Model
from multielbo.models.mopoe import mopoe
from multielbo.objectives import joint_elbo, subsampled_elbo
from multielbo.subsets import full_set, subsampled


def joint_product() -> Model:
    """The product of MVAE, prior expert included, under the joint ELBO alone."""
    return Model(Aggregator(product_of_experts(prior_expert=True), family=full_set), joint_elbo)


def mixture_of_products_with_prior() -> Model:
    """MoPoE with N(0, I) as one more expert in every product."""
    return mopoe(prior_expert=True)


def subsampled_log_pool(extra: int = 0) -> Model:
    """The geometric mean under MVAE's sum of ELBOs."""
    return Model(Aggregator(log_opinion_pool, family=subsampled(extra)), subsampled_elbo)


def subsampled_wasserstein(extra: int = 0) -> Model:
    """The Wasserstein barycenter under MVAE's sum of ELBOs."""
    return Model(Aggregator(wasserstein_barycenter, family=subsampled(extra)), subsampled_elbo)
