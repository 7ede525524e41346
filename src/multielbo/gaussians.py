"""Diagonal Gaussians: the densities, divergences and draws that every chapter uses.

A Gaussian is a pair `loc`, `scale` of equal shape `(..., D)`; `scale` is the standard deviation.
Every function sums over the last axis and keeps the others, so results are per example, in nats.
"""

from __future__ import annotations

__all__ = ["entropy", "kl", "kl_to_prior", "log_density", "log_prior", "sample", "w2_squared"]

import math

import torch
from torch import Generator, Tensor

LOG_2PI = math.log(2 * math.pi)


def log_density(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, Equation eq-gaussian-density.

    Args:
        z: Points, `(..., D)`.
        loc, scale: Mean and standard deviation, `(..., D)`.

    Returns:
        `(...)`, in nats.
    """
    return -0.5 * (((z - loc) / scale).square() + 2 * scale.log() + LOG_2PI).sum(-1)


def log_prior(z: Tensor) -> Tensor:
    """Log-density of the standard normal prior p(z) at points `z` of shape `(..., D)`, in nats."""
    return -0.5 * (z.square() + LOG_2PI).sum(-1)


def sample(loc: Tensor, scale: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw z = loc + scale * epsilon, differentiable in both arguments.

    Args:
        loc, scale: Mean and standard deviation, `(..., D)`.
        generator: Source of epsilon, on the device of `loc`.
    """
    # Not empty_like: a seed has to give the same noise whatever the strides of `loc`.
    noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
    return loc + scale * noise


def entropy(scale: Tensor) -> Tensor:
    """Entropy of a diagonal Gaussian with standard deviations `scale`, `(..., D)`, in nats."""
    return (scale.log() + 0.5 * (1 + LOG_2PI)).sum(-1)


def kl(loc_q: Tensor, scale_q: Tensor, loc_p: Tensor, scale_p: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(q || p) of diagonal Gaussians, Equation eq-gaussian-kl.

    Args:
        loc_q, scale_q: The first Gaussian, `(..., D)`.
        loc_p, scale_p: The second Gaussian, `(..., D)`.

    Returns:
        `(...)`, in nats.
    """
    ratio = (scale_q / scale_p).square()
    shift = ((loc_q - loc_p) / scale_p).square()
    return 0.5 * (ratio + shift - 1 - ratio.log()).sum(-1)


def kl_to_prior(loc: Tensor, scale: Tensor) -> Tensor:
    """KL(q || N(0, I)) of a diagonal Gaussian with `loc`, `scale` of shape `(..., D)`, in nats."""
    # One sum per term: fewer passes over the stacks of all subsets than one sum of terms.
    squares = loc.square().sum(-1) + scale.square().sum(-1)
    return 0.5 * (squares - loc.shape[-1]) - scale.log().sum(-1)


def w2_squared(loc_q: Tensor, scale_q: Tensor, loc_p: Tensor, scale_p: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of diagonal Gaussians, Equation eq-w2.

    Args:
        loc_q, scale_q: The first Gaussian, `(..., D)`.
        loc_p, scale_p: The second Gaussian, `(..., D)`.

    Returns:
        `(...)`, in squared units of z.
    """
    return ((loc_q - loc_p).square() + (scale_q - scale_p).square()).sum(-1)
