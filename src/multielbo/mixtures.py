"""Batches of Gaussian mixtures, and what their components cost against the whole."""

from __future__ import annotations

__all__ = ["Posteriors", "jensen_shannon", "kl_of_mixture", "mean_kl"]

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from multielbo import gaussians


class Posteriors(NamedTuple):
    """K Gaussian posteriors for each of B examples, and the weights that mix them.

    Attributes:
        loc, scale: Means and standard deviations, `(K, B, D)`.
        weights: Mixture weights, `(K, B)`, summing to one over K.
        members: `(K, M, B)` bool, the observed modalities that each posterior has seen.
    """

    loc: Tensor
    scale: Tensor
    weights: Tensor
    members: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        """log sum_k w_k N(z; loc_k, scale_k), Equation eq-mixture-density.

        Args:
            z: Points, `(..., B, D)`.

        Returns:
            `(..., B)`, in nats.
        """
        components = gaussians.log_density(z.unsqueeze(-3), self.loc, self.scale)  # (..., K, B)
        return torch.logsumexp(self.weights.log() + components, dim=-2)

    def sample(self, generator: Generator | None = None) -> Tensor:
        """Draw one z per example, `(B, D)`, from one component per example.

        Components are chosen systematically: a single uniform number shifts a regular grid over
        the batch. Every example still chooses with its own weights, and where all examples have
        the same weights the batch holds each component as often as they say, up to one.
        """
        loc, scale = self.loc, self.scale
        components, batch = self.weights.shape
        if components > 1:
            shift = torch.rand((), dtype=loc.dtype, device=loc.device, generator=generator)
            grid = (torch.arange(batch, dtype=loc.dtype, device=loc.device) / batch + shift) % 1
            edges = self.weights.cumsum(0)
            choice = (grid >= edges[:-1] / edges[-1]).sum(0)
            rows = torch.arange(batch, device=loc.device)
            loc, scale = loc[choice, rows], scale[choice, rows]
        else:
            loc, scale = loc[0], scale[0]
        return gaussians.sample(loc, scale, generator)


def mean_kl(q: Posteriors) -> Tensor:
    r"""sum_k w_k KL(q_k || p) to the standard normal prior, Equation eq-mean-kl.

    Returns:
        `(B,)`, in nats, in closed form.
    """
    return (q.weights * gaussians.kl_to_prior(q.loc, q.scale)).sum(0)


def kl_of_mixture(
    q: Posteriors, samples: int, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""KL(sum_k w_k q_k || p) to the standard normal prior, Equation eq-kl-mixture.

    Args:
        q: The mixture.
        samples: Draws from each component.
        generator: Source of the draws.

    Returns:
        Stratified Monte Carlo estimate and its standard error, each `(B,)`, in nats.
    """
    z = _draws(q, samples, generator)
    return _stratified(q.log_density(z) - gaussians.log_prior(z), q.weights)


def jensen_shannon(
    q: Posteriors, samples: int, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Weighted Jensen-Shannon divergence sum_k w_k KL(q_k || sum_j w_j q_j), Equation eq-jsd.

    Args:
        q: The mixture.
        samples: Draws from each component.
        generator: Source of the draws.

    Returns:
        Stratified Monte Carlo estimate and its standard error, each `(B,)`, in nats.
    """
    z = _draws(q, samples, generator)
    return _stratified(gaussians.log_density(z, q.loc, q.scale) - q.log_density(z), q.weights)


def _draws(q: Posteriors, samples: int, generator: Generator | None) -> Tensor:
    shape = (samples, *q.loc.shape)  # (samples, K, B, D): one stratum per component
    return gaussians.sample(q.loc.expand(shape), q.scale.expand(shape), generator)


def _stratified(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean over strata of `values` `(samples, K, B)`, and its standard error."""
    variance = values.var(0) / len(values)
    return (weights * values.mean(0)).sum(0), (weights.square() * variance).sum(0).sqrt()
