"""Importance-weighted bounds of a mixture posterior, and estimators of their gradients.

L latents are drawn from each of K components, so draws are `(L, K, B, D)` and log-weights
`(L, K, B)`. Every function returns one number per example, in nats. The value of an estimator is
the bound on the draws at hand; estimators differ in the gradient that reaches the encoders.
"""

from __future__ import annotations

__all__ = [
    "draw",
    "dreg",
    "iwae_inside",
    "iwae_outside",
    "log_weights",
    "responsibilities",
    "stratified_dreg",
]

import math

import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.mixtures import Posteriors
from multielbo.objectives import LogLikelihood


def draw(q: Posteriors, samples: int, generator: Generator | None = None) -> Tensor:
    """L latents from each component, `(L, K, B, D)`, differentiable in both parameters.

    Raises:
        ValueError: `samples` is less than one.
    """
    if samples < 1:
        raise ValueError(f"importance: {samples} samples per component; draw at least one")
    shape = (samples, *q.loc.shape)
    return gaussians.sample(q.loc.expand(shape), q.scale.expand(shape), generator)


def log_weights(q: Posteriors, log_likelihood: LogLikelihood, z: Tensor) -> Tensor:
    """log p(x, z) - log q(z) under the density of the mixture, Equation eq-log-weight.

    Args:
        q: The mixture.
        log_likelihood: log p(x_m | z).
        z: Latents, `(L, K, B, D)`.

    Returns:
        `(L, K, B)`, in nats.
    """
    return log_likelihood(z).sum(0) + gaussians.log_prior(z) - q.log_density(z)


def iwae_inside(log_weight: Tensor, weights: Tensor) -> Tensor:
    """log sum_k w_k 1/L sum_l exp(log-weight): one average over all draws, Equation eq-iwae-inside.

    Args:
        log_weight: `(L, K, B)`, of L draws from each component.
        weights: Mixture weights, `(K, B)`.

    Returns:
        `(B,)`, in nats; it tends to the evidence as L grows.

    Source:
        Morningstar et al. (2021) for mixtures, Burda, Grosse and Salakhutdinov (2016) for K = 1.
    """
    return torch.logsumexp(weights.log() + log_weight, (0, 1)) - math.log(len(log_weight))


def iwae_outside(log_weight: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k log 1/L sum_l exp(log-weight): an average by component, Equation eq-iwae-outside.

    Args:
        log_weight: `(L, K, B)`, of L draws from each component.
        weights: Mixture weights, `(K, B)`.

    Returns:
        `(B,)`, in nats; with L = 1 the ELBO of the mixture, at any L below `iwae_inside`.

    Source:
        Shi, Siddharth, Paige and Torr (2019).
    """
    return (weights * (torch.logsumexp(log_weight, 0) - math.log(len(log_weight)))).sum(0)


def dreg(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    samples: int,
    generator: Generator | None = None,
    *,
    power: int = 2,
) -> Tensor:
    """`iwae_outside` whose gradient reaches the encoders through the draws alone, Equation eq-dreg.

    Unbiased for a single component; of several it omits what `stratified_dreg` has.

    Args:
        q: The components and their weights.
        log_likelihood: log p(x_m | z).
        samples: L, draws from each component.
        generator: Source of the draws.
        power: Of the normalised weights: 2 is the doubly reparameterised gradient, 1 the path
            gradient of Roeder, Wu and Duvenaud (2017), biased for L > 1.

    Returns:
        `(B,)`, in nats.

    Raises:
        ValueError: `samples` is less than one.

    Source:
        Tucker, Lawson, Gu and Maddison (2019).
    """
    z, leaf, log_weight = _held(q, log_likelihood, samples, generator)
    share = log_weight.detach().softmax(0)
    return _with_gradient(q, z, leaf, log_weight, share**power * log_weight)


def stratified_dreg(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    samples: int,
    generator: Generator | None = None,
) -> Tensor:
    """`iwae_outside` with its doubly reparameterised gradient, Equation eq-stratified-dreg.

    Unbiased for every mixture, from the same decoded draws as `dreg`.

    Args:
        q: The components and their weights.
        log_likelihood: log p(x_m | z).
        samples: L, draws from each component.
        generator: Source of the draws.

    Returns:
        `(B,)`, in nats.

    Raises:
        ValueError: `samples` is less than one.
    """
    z, leaf, log_weight = _held(q, log_likelihood, samples, generator)
    share = log_weight.detach().softmax(0)
    others = _log_sum_of_others(log_weight.detach())
    win = torch.sigmoid(log_weight[:, :, None] - others[:, None])  # (L, J, K, B)
    average_share = (responsibilities(q, leaf) * win).sum(2)
    return _with_gradient(q, z, leaf, log_weight, share * log_weight - average_share)


def responsibilities(q: Posteriors, z: Tensor) -> Tensor:
    """w_k q_k(z) / q(z) of each component at points `(..., B, D)`, `(..., K, B)`, q held fixed."""
    loc, scale = q.loc.detach(), q.scale.detach()
    return (q.weights.log() + gaussians.log_density(z.unsqueeze(-3), loc, scale)).softmax(-2)


def _held(
    q: Posteriors, log_likelihood: LogLikelihood, samples: int, generator: Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws, the same cut off from the encoders, and their log-weights with q held fixed."""
    z = draw(q, samples, generator)
    leaf = z.detach().requires_grad_()
    held = q._replace(loc=q.loc.detach(), scale=q.scale.detach())
    return z, leaf, log_weights(held, log_likelihood, leaf)


def _with_gradient(
    q: Posteriors, z: Tensor, leaf: Tensor, log_weight: Tensor, height: Tensor
) -> Tensor:
    """The bound's value; to decoders its own gradient, to encoders the slope of `height` at z."""
    value = iwae_outside(log_weight.detach(), q.weights)
    if not torch.is_grad_enabled():
        return value
    (slope,) = torch.autograd.grad(height.sum(), leaf, retain_graph=True)
    to_decoders = log_weight.detach().softmax(0) * log_weight
    to_encoders = ((z - z.detach()) * slope).sum(-1)
    gradient = (q.weights * (to_decoders + to_encoders).sum(0)).sum(0)
    return value + gradient - gradient.detach()


def _log_sum_of_others(log_weight: Tensor) -> Tensor:
    """log sum over l' != l of exp(log-weight), `(L, K, B)`; minus infinity where L = 1.

    Sums from both ends: to subtract one weight from the sum of all would cancel.
    """
    nothing = torch.full_like(log_weight[:1], -math.inf)
    before = torch.cat([nothing, log_weight.logcumsumexp(0)[:-1]])
    after = torch.cat([nothing, log_weight.flip(0).logcumsumexp(0)[:-1]]).flip(0)
    return torch.logaddexp(before, after)
