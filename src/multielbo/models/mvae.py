"""MVAE (Wu and Goodman, 2018): a product of experts, trained on a sum over sub-sampled subsets."""

from __future__ import annotations

__all__ = ["mvae"]

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.models.model import Model
from multielbo.objectives import subsampled_elbo
from multielbo.subsets import subsampled


def mvae(extra: int = 0) -> Model:
    """Product with a prior expert; ELBOs of full set, singletons and `extra` random subsets."""
    return Model(
        Aggregator(product_of_experts(prior_expert=True), family=subsampled(extra)),
        subsampled_elbo,
    )
