"""The bounds, one function per equation: the second half of a model.

Each takes the subset posteriors of an aggregator and a function that scores latents, and returns
the two sides of the trade-off per example: what is reconstructed, modality by modality, and what
it costs to say so. Weighting and averaging are left to the caller.
"""

from __future__ import annotations

__all__ = [
    "Bound",
    "LogLikelihood",
    "Objective",
    "joint_elbo",
    "mixture_elbo",
    "powerset_elbo",
    "stratified_elbo",
    "subsampled_elbo",
]

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from multielbo.gaussians import kl_to_prior, log_prior, sample
from multielbo.mixtures import Posteriors, mean_kl


class LogLikelihood(Protocol):
    """How well latents explain the modalities of a batch."""

    def __call__(self, z: Tensor, wanted: Tensor | None = None) -> Tensor:
        """log p(x_m | z), zero where x_m is missing.

        Args:
            z: Latents, `(..., B, D)`.
            wanted: For latents `(K, B, D)`, which modalities each of the K rows has to explain,
                `(K, M)` bool: the others are not decoded and score zero. None for all.

        Returns:
            `(M, ..., B)`, in nats.
        """


class Bound(NamedTuple):
    """Both sides of a bound, per example, in nats.

    Attributes:
        reconstruction: E_q log p(x_m | z), `(M, B)`.
        rate: The divergence that is paid for it, `(B,)`.
    """

    reconstruction: Tensor
    rate: Tensor

    def elbo(self, beta: float = 1.0, likelihood_weights: Tensor | None = None) -> Tensor:
        """Reconstruction minus beta times rate, Equation eq-beta-elbo.

        Args:
            beta: Weight of the rate; below 1 the result can exceed the evidence, above 1 it is a
                looser bound.
            likelihood_weights: One factor per modality, `(M,)`, or None for ones.

        Returns:
            `(B,)`, in nats when all weights are one.
        """
        reconstruction = self.reconstruction
        if likelihood_weights is not None:
            reconstruction = likelihood_weights[:, None] * reconstruction
        return reconstruction.sum(0) - beta * self.rate


Objective = Callable[[Posteriors, LogLikelihood, Generator | None], Bound]


def joint_elbo(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """ELBO of a single posterior, one sample, divergence in closed form, Equation eq-joint-elbo.

    Args:
        q: The posterior of everything observed, with K = 1.
        log_likelihood: log p(x_m | z).
        generator: Source of the sample.
    """
    z = sample(q.loc[0], q.scale[0], generator)
    return Bound(log_likelihood(z), kl_to_prior(q.loc[0], q.scale[0]))


def subsampled_elbo(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """Sum over subsets of ELBO_S, each scoring only its own members, Equation eq-subsampled.

    A sum of bounds on different evidences: not itself a bound on the joint evidence.

    Args:
        q: Posteriors of the full set, the singletons, and any drawn subsets.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per subset.

    Source:
        Wu and Goodman (2018).
    """
    z = sample(q.loc, q.scale, generator)
    scores = log_likelihood(z, wanted=q.members.any(-1))
    own = torch.where(q.members.transpose(0, 1), scores, 0.0)  # (M, K, B)
    # A subset left empty by missing modalities has the prior for its posterior, hence no rate.
    return Bound(own.sum(1), kl_to_prior(q.loc, q.scale).sum(0))


def stratified_elbo(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """ELBO of a mixture posterior, one sample from each component, Equation eq-stratified.

    The divergence uses the density of the mixture, so this is the mixture's own ELBO.

    Args:
        q: The components and their weights.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per component.

    Source:
        Shi, Siddharth, Paige and Torr (2019), with one sample per expert.
    """
    z = sample(q.loc, q.scale, generator)
    reconstruction = (q.weights * log_likelihood(z)).sum(1)
    return Bound(reconstruction, (q.weights * (q.log_density(z) - log_prior(z))).sum(0))


def mixture_elbo(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """Component-averaged ELBO of a mixture, one sample per example, Equation eq-mopoe.

    The divergence is the average over components, in closed form. It exceeds the divergence of
    the mixture by the components' Jensen-Shannon divergence, so this lies below the mixture's ELBO.

    Args:
        q: The components and their weights.
        log_likelihood: log p(x_m | z).
        generator: Source of one component and one sample per example.

    Source:
        Sutter, Daunhawer and Vogt (2021), Definition 1 as their released code computes it.
    """
    z = q.sample(generator)
    return Bound(log_likelihood(z), mean_kl(q))


def powerset_elbo(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """Mean over subsets of the joint ELBO under each posterior, Equation eq-powerset-elbo.

    It has the expectation of `mixture_elbo` and decodes K times as many samples.

    Args:
        q: The subset posteriors and their weights.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per subset.

    Source:
        Sutter, Daunhawer and Vogt (2021), their equation 5 as an objective.
    """
    z = sample(q.loc, q.scale, generator)
    return Bound((q.weights * log_likelihood(z)).sum(1), mean_kl(q))
