"""MoPoE (Sutter et al., 2021): a mixture, over all subsets, of products of experts."""

from __future__ import annotations

__all__ = ["mopoe", "powerset"]

from multielbo import subsets
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.models.model import Model
from multielbo.objectives import mixture_elbo, powerset_elbo


def mopoe(*, prior_expert: bool = False) -> Model:
    """One sample per example from the mixture; a subset is answered by its own product.

    Args:
        prior_expert: Whether N(0, I) is one more expert in every product. The released code adds
            it in the full set only, the paper's text not at all.
    """
    return Model(_aggregator(prior_expert), mixture_elbo)


def powerset(*, prior_expert: bool = False) -> Model:
    """The same posteriors, one sample from every subset: their equation 5 as an objective."""
    return Model(_aggregator(prior_expert), powerset_elbo)


def _aggregator(prior_expert: bool) -> Aggregator:
    return Aggregator(product_of_experts(prior_expert=prior_expert), family=subsets.powerset)
