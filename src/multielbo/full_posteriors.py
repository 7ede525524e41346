"""Posteriors of subsets with full covariances: their pools, their mixtures and their bound.

What `multielbo.aggregators`, `multielbo.mixtures` and `multielbo.objectives` do for standard
deviations, this does for the lower triangular factors of covariances.
"""

from __future__ import annotations

__all__ = ["FullAggregator", "FullPosteriors", "full_mixture_elbo"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from multielbo import full_covariance
from multielbo.objectives import Bound, LogLikelihood
from multielbo.subsets import Family, full_set

FullPool = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class FullPosteriors(NamedTuple):
    """K Gaussian posteriors for each of B examples, and the weights that mix them.

    Attributes:
        loc, factor: Means `(K, B, D)`, and factors of the covariances `(K, B, D, D)`.
        weights: Mixture weights, `(K, B)`, summing to one over K.
        members: `(K, M, B)` bool, the observed modalities that each posterior has seen.
    """

    loc: Tensor
    factor: Tensor
    weights: Tensor
    members: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        """Log-density of the mixture at points `z`, `(..., B, D)`, in nats, `(..., B)`."""
        components = full_covariance.log_density(z.unsqueeze(-3), self.loc, self.factor)
        return torch.logsumexp(self.weights.log() + components, dim=-2)

    def sample(self, generator: Generator | None = None) -> Tensor:
        """One z per example, `(B, D)`, with the component chosen as `Posteriors.sample` chooses."""
        components, batch = self.weights.shape
        rows = torch.arange(batch, device=self.loc.device)
        choice = torch.zeros_like(rows)
        if components > 1:
            kind = {"dtype": self.loc.dtype, "device": self.loc.device}
            shift = torch.rand((), generator=generator, **kind)
            grid = (torch.arange(batch, **kind) / batch + shift) % 1
            edges = self.weights.cumsum(0)
            choice = (grid >= edges[:-1] / edges[-1]).sum(0)
        return full_covariance.sample(self.loc[choice, rows], self.factor[choice, rows], generator)


def full_mixture_elbo(
    q: FullPosteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """Component-averaged ELBO of a mixture; with one component it is the joint ELBO.

    Args:
        q: The components and their weights.
        log_likelihood: log p(x_m | z).
        generator: Source of one component and one sample per example.
    """
    rate = (q.weights * full_covariance.kl_to_prior(q.loc, q.factor)).sum(0)
    return Bound(log_likelihood(q.sample(generator)), rate)


@dataclass(frozen=True)
class FullAggregator:
    """`multielbo.aggregators.Aggregator` for posteriors with full covariances.

    Attributes:
        pool: How the members of one subset are averaged: `full_covariance.wasserstein` or
            `full_covariance.log_pool`, with equal weights.
        family: The subsets that training uses.
        answer: The subsets that are mixed to answer a query.
    """

    pool: FullPool
    family: Family
    answer: Family = full_set

    def __call__(
        self,
        loc: Tensor,
        factor: Tensor,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> FullPosteriors:
        """Posteriors of the training family.

        Args:
            loc, factor: Unimodal posteriors, `(M, B, D)` and `(M, B, D, D)`; rows of missing
                modalities are not read.
            observed: `(M, B)` bool, or None when everything is observed.
            generator: Source of drawn subsets, for families that draw.

        Raises:
            ValueError: Shapes disagree, an example has no observed modality, or a covariance is
                degenerate.
        """
        return self._aggregate(self.family(len(loc), generator), loc, factor, observed)

    def posterior(
        self, loc: Tensor, factor: Tensor, observed: Tensor | None = None
    ) -> FullPosteriors:
        """The posterior given all that is observed, as the model answers at test time.

        Args:
            loc, factor: Unimodal posteriors, `(M, B, D)` and `(M, B, D, D)`; rows of missing
                modalities are not read.
            observed: `(M, B)` bool, or None when everything is observed.

        Raises:
            ValueError: As in training.
        """
        return self._aggregate(self.answer(len(loc), None), loc, factor, observed)

    def _aggregate(
        self, membership: Tensor, loc: Tensor, factor: Tensor, observed: Tensor | None
    ) -> FullPosteriors:
        observed = _checked(loc, factor, observed)
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        loc = torch.where(observed[..., None], loc, 0.0)
        factor = torch.where(observed[..., None, None], factor, identity)
        membership = membership.to(loc.device)[..., None].expand(-1, -1, loc.shape[1])
        members = membership & observed  # (K, M, B)
        present = members.any(1)
        # All members of a subset left empty stand at the prior by now, and so does their average.
        shares = torch.where(present[:, None], members, membership).to(loc.dtype)
        shares = shares / shares.sum(1, keepdim=True)
        pooled_loc, covariance = self.pool(loc, factor @ factor.mT, shares)
        weights = present.to(loc.dtype)
        return FullPosteriors(
            pooled_loc, torch.linalg.cholesky(covariance), weights / weights.sum(0), members
        )


def _checked(loc: Tensor, factor: Tensor, observed: Tensor | None) -> Tensor:
    if loc.dim() != 3 or factor.shape != (*loc.shape, loc.shape[-1]):
        raise ValueError(
            f"aggregator: loc {tuple(loc.shape)} and factor {tuple(factor.shape)} must be "
            "(modalities, batch, latent) and (modalities, batch, latent, latent)"
        )
    if observed is None:
        return torch.ones(loc.shape[:2], dtype=torch.bool, device=loc.device)
    if observed.shape != loc.shape[:2] or observed.dtype != torch.bool:
        raise ValueError(
            f"aggregator: observed is {observed.dtype} {tuple(observed.shape)}, "
            f"expected torch.bool {tuple(loc.shape[:2])}, one row per modality"
        )
    nothing = ~observed.any(0)
    if bool(nothing.any()):
        raise ValueError(
            f"aggregator: example {int(nothing.nonzero()[0])} of the batch has no observed "
            "modality; drop it, or sample from the prior instead"
        )
    return observed
