"""Mixtures of linear encoders on the oracle: the part of their bounds that has to be sampled.

Every value comes per drawn row of data, so that its mean and its standard error are the caller's.
What has a closed form is left out of the sampling: a Jensen-Shannon divergence lies between 0 and
log K, whatever the size of the bound that it belongs to.
"""

from __future__ import annotations

__all__ = ["jensen_shannon", "joint_gap", "masked_gap"]

from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor

from multielbo import oracle_bounds
from multielbo.gaussians import LOG_2PI
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder
from multielbo.oracle_encoders import exact


def joint_gap(
    oracle: LinearGaussian, components: Sequence[LinearEncoder], x: Tensor, generator: Generator
) -> Tensor:
    """KL(mean_k q_k || p(z | x)): what the ELBO of an equally weighted mixture misses.

    Args:
        oracle: The model.
        components: Encoders q_k.
        x: Rows drawn from the model, `(n, N)`.
        generator: Source of one latent per row and component.

    Returns:
        `(n,)`, whose mean estimates the expected gap, in nats.
    """
    data, truth = oracle_bounds.data_covariance(oracle), exact(oracle)
    missed = [oracle_bounds.expected_kl(q, truth, data) for q in components]
    return torch.stack(missed).mean() - jensen_shannon(components, x, generator)


def masked_gap(
    oracle: LinearGaussian,
    full: Sequence[LinearEncoder],
    part: Sequence[LinearEncoder],
    subset: Iterable[str],
    x: Tensor,
    generator: Generator,
) -> Tensor:
    """E log p(x) minus the masked objective of S, for equally weighted mixtures.

    Args:
        oracle: The model.
        full, part: Components of q(z | x) and of q(z | x_S).
        subset: Names of the modalities in S.
        x: Rows drawn from the model, `(n, N)`.
        generator: Source of one latent per row and component.

    Returns:
        `(n,)`, whose mean estimates the expected gap, in nats.
    """
    data, seen = oracle_bounds.data_covariance(oracle), set(subset)
    hidden = set(oracle.modalities) - seen
    averaged = torch.stack([oracle_bounds.marginal(oracle, q, seen, data) for q in part]).mean()
    explained = [oracle_bounds.expected_reconstruction(oracle, q, hidden, data) for q in full]
    z = _draw(full, x, generator)
    beyond = (_log_mixture(full, x, z) - _log_mixture(part, x, z)).mean(0)
    bonus = jensen_shannon(part, x, generator)
    reached = averaged + bonus + torch.stack(explained).mean() - beyond
    return oracle_bounds.expected_log_evidence(oracle) - reached


def jensen_shannon(components: Sequence[LinearEncoder], x: Tensor, generator: Generator) -> Tensor:
    """mean_k KL(q_k || mean_j q_j) per row of x, `(n,)`, from one latent per row and component."""
    z = _draw(components, x, generator)
    own = torch.stack([_log_density(q, x, z[k]) for k, q in enumerate(components)])
    return (own - _log_mixture(components, x, z)).mean(0)


def _draw(components: Sequence[LinearEncoder], x: Tensor, generator: Generator) -> Tensor:
    """One latent of every component for every row, `(K, n, D)`."""
    latents = []
    for q in components:
        noise = torch.randn(len(x), len(q.covariance), generator=generator, dtype=x.dtype)
        latents.append(x @ q.weight.T + noise @ torch.linalg.cholesky(q.covariance).T)
    return torch.stack(latents)


def _log_mixture(components: Sequence[LinearEncoder], x: Tensor, z: Tensor) -> Tensor:
    logs = torch.stack([_log_density(q, x, z) for q in components])
    return logs.logsumexp(0) - torch.tensor(float(len(components))).log()


def _log_density(q: LinearEncoder, x: Tensor, z: Tensor) -> Tensor:
    """log q(z | x) of latents `(..., n, D)`."""
    factor = torch.linalg.cholesky(q.covariance)
    whiten = torch.linalg.solve_triangular(
        factor, torch.eye(len(factor), dtype=x.dtype), upper=False
    )
    white = (z - x @ q.weight.T) @ whiten.T
    return -0.5 * (white.square() + LOG_2PI).sum(-1) - factor.diagonal().log().sum()
