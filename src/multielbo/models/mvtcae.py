"""MVTCAE (Hwang et al., 2021): a product of experts that is held near to each of its experts."""

from __future__ import annotations

__all__ = ["full_and_singletons", "mvtcae", "mvtcae_of_observed"]

from functools import partial

import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.mixtures import Posteriors
from multielbo.models.model import Model
from multielbo.objectives import Bound, LogLikelihood
from multielbo.subsets import full_set, singletons


def mvtcae(alpha: float = 5 / 6) -> Model:
    """Product without a prior expert, and the experts themselves for the bottlenecks.

    Args:
        alpha: Share of the bottlenecks, 0 to 1. The default is that of the authors' script for
            PolyMNIST's five modalities; MultiVae's is 0.1, the paper's is not known to us.

    Raises:
        ValueError: `alpha` is outside of [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"mvtcae: alpha is {alpha}; it shares between two terms, so 0 to 1")
    aggregator = Aggregator(product_of_experts(prior_expert=False), family=full_and_singletons)
    return Model(aggregator, partial(mvtcae_of_observed, alpha=alpha))


def full_and_singletons(modalities: int, generator: Generator | None = None) -> Tensor:
    """The full set, then every modality by itself, `(1 + M, M)`; of one modality both."""
    return torch.cat([full_set(modalities), singletons(modalities)])


def mvtcae_of_observed(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
    *,
    alpha: float,
) -> Bound:
    """The objective of each example's own modalities, Equation eq-mvtcae.

    As `multielbo.total_correlation.mvtcae_elbo` computes it, with M the number of modalities that
    an example has: what is missing leaves the product and the sum, and the weights follow.

    Args:
        q: Posteriors of `full_and_singletons`.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per example.
        alpha: Share of the conditional bottlenecks, from 0, the joint ELBO, to 1.
    """
    loc, scale = q.loc[0], q.scale[0]
    z = gaussians.sample(loc, scale, generator)
    there = q.members[1:].any(1)  # (M, B)
    count = there.sum(0).to(loc.dtype)
    missed = torch.where(there, gaussians.kl(loc, scale, q.loc[1:], q.scale[1:]), 0.0)
    rate = (1 - alpha) * gaussians.kl_to_prior(loc, scale) + alpha * missed.sum(0) / count
    return Bound((1 - alpha / count) * log_likelihood(z), rate)
