"""MMVAE (Shi et al., 2019): a mixture of experts under its own density, one sample per expert."""

from __future__ import annotations

__all__ = ["mmvae", "mmvae_averaged"]

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.models.model import Model
from multielbo.objectives import mixture_elbo, stratified_elbo
from multielbo.subsets import singletons


def mmvae() -> Model:
    """Mixture of the unimodal posteriors, in training and in answering."""
    return Model(_experts(), stratified_elbo)


def mmvae_averaged() -> Model:
    """The MMVAE that Sutter et al. (2021) compare with.

    The components' average divergence takes the place of the mixture's own, and one sample per
    example that of one per expert.
    """
    return Model(_experts(), mixture_elbo)


def _experts() -> Aggregator:
    single = product_of_experts(prior_expert=False)  # the product of one expert is that expert
    return Aggregator(single, family=singletons, answer=singletons)
