"""MMVAE (Shi et al., 2019): a mixture of experts under its own density, one sample per expert."""

from __future__ import annotations

__all__ = ["mmvae"]

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.models.model import Model
from multielbo.objectives import mixture_elbo, stratified_elbo
from multielbo.subsets import singletons


def mmvae(*, averaged: bool = False) -> Model:
    """Mixture of the unimodal posteriors, in training and in answering.

    Args:
        averaged: Replace the mixture's divergence by the average of its components', with one
            sample per example: the MMVAE that Sutter et al. (2021) compare with.
    """
    single = product_of_experts(prior_expert=False)  # the product of one expert is that expert
    return Model(
        Aggregator(single, family=singletons, answer=singletons),
        mixture_elbo if averaged else stratified_elbo,
    )
