"""Linear encoders of the oracle, one for each way of answering for a subset."""

from __future__ import annotations

__all__ = [
    "Experts",
    "aggregated",
    "best_for_mixture",
    "exact",
    "hidden_signal",
    "imputation",
    "product",
    "unimodal",
    "wasserstein",
]

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from multielbo import full_covariance
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder, data_covariance, positions, prior

Experts = Mapping[str, LinearEncoder]


def exact(oracle: LinearGaussian, subset: Iterable[str] | None = None) -> LinearEncoder:
    """The posterior p(z | x_S) itself, Equation eq-oracle-posterior.

    Args:
        oracle: The model.
        subset: Names of the modalities in S, or None for all; none at all gives the prior.
    """
    seen = set(oracle.modalities if subset is None else subset)
    at = positions(oracle, seen)
    nothing = prior(oracle)
    scaled = torch.cat([w / oracle.noise[m] ** 2 for m, w in oracle.loadings.items()])[at]
    w = torch.cat(list(oracle.loadings.values()))[at]
    covariance = torch.linalg.inv(nothing.covariance + w.T @ scaled)
    return LinearEncoder(nothing.weight.index_copy(1, at, covariance @ scaled.T), covariance)


def unimodal(oracle: LinearGaussian) -> dict[str, LinearEncoder]:
    """The exact p(z | x_m) of every modality: the experts that aggregators pool."""
    return {name: exact(oracle, [name]) for name in oracle.modalities}


def product(
    oracle: LinearGaussian, experts: Experts, subset: Iterable[str], *, prior_exponent: float
) -> LinearEncoder:
    """p(z)^a prod_S q_m(z), normalised; of no expert, the prior.

    Args:
        oracle: The model.
        experts: Of every modality.
        subset: Names of the modalities in S.
        prior_exponent: a: 0 without a prior expert, 1 with one, 1 - |S| for exact posteriors.
    """
    members = [experts[name] for name in subset]
    if not members:
        return prior(oracle)
    precisions = [torch.linalg.inv(q.covariance) for q in members]
    votes = sum(p @ q.weight for p, q in zip(precisions, members, strict=True))
    identity = torch.eye(oracle.latent_dim, dtype=torch.float64)
    covariance = torch.linalg.inv(sum(precisions) + prior_exponent * identity)
    return LinearEncoder(covariance @ votes, covariance)


def wasserstein(
    oracle: LinearGaussian, experts: Experts, subset: Iterable[str], *, prior_expert: bool = False
) -> LinearEncoder:
    """Equally weighted 2-Wasserstein barycenter of the experts in S; of none, the prior.

    Args:
        oracle: The model.
        experts: Of every modality.
        subset: Names of the modalities in S.
        prior_expert: Whether N(0, I) is averaged with them.
    """
    members = [experts[name] for name in subset]
    if prior_expert or not members:
        members.append(prior(oracle))
    covariances = torch.stack([q.covariance for q in members])
    weights = covariances.new_full((len(members),), 1 / len(members))
    centred = covariances[:, None, :, 0]  # (M, 1, D): their mean is not used
    _, covariance = full_covariance.wasserstein(centred, covariances[:, None], weights[None])
    return LinearEncoder(torch.stack([q.weight for q in members]).mean(0), covariance[0, 0])


def best_for_mixture(
    oracle: LinearGaussian, subset: Iterable[str], data: Tensor | None = None
) -> LinearEncoder:
    """The encoder that maximises the mixture objective of S, Equation eq-mixture-encoder.

    It treats x_T as if it were E[x_T | x_S], and so has the covariance of the full posterior.

    Args:
        oracle: The model.
        subset: Names of the modalities in S.
        data: Covariance of centred Gaussian data, `(N, N)`, or None if they come from the model.
    """
    full = exact(oracle)
    data = data_covariance(oracle) if data is None else data
    return LinearEncoder(full.weight @ imputation(data, positions(oracle, subset)), full.covariance)


def hidden_signal(oracle: LinearGaussian, subset: Iterable[str]) -> Tensor:
    """Eigenvalues of A_S, the precision that x_T adds to p(z | x_S), Equation eq-hidden-signal.

    Args:
        oracle: The model.
        subset: Names of the modalities in S; T are the others.

    Returns:
        `(D,)`, ascending, not negative.
    """
    seen = set(subset)
    shares = {name: w.T @ w / oracle.noise[name] ** 2 for name, w in oracle.loadings.items()}
    identity = torch.eye(oracle.latent_dim, dtype=torch.float64)
    precision = identity + sum(a for name, a in shares.items() if name in seen)
    added = torch.zeros_like(identity) + sum(a for name, a in shares.items() if name not in seen)
    positions(oracle, seen)  # refuses unknown names
    root = torch.linalg.cholesky(torch.linalg.inv(precision))
    return torch.linalg.eigvalsh(root.T @ added @ root).clamp_min(0)


def aggregated(full: LinearEncoder, seen: Tensor, data: Tensor) -> LinearEncoder:
    """E[q(z | x) | x_S], what q(z | x) looks like to somebody who sees x_S, Equation eq-aggregated.

    Args:
        full: q(z | x).
        seen: Positions of S among the N, `(n,)`.
        data: Covariance of centred Gaussian data, `(N, N)`.
    """
    fill = imputation(data, seen)
    unexplained = data - fill @ data @ fill.T
    weight = full.weight @ fill
    return LinearEncoder(weight, full.covariance + full.weight @ unexplained @ full.weight.T)


def imputation(data: Tensor, seen: Tensor) -> Tensor:
    """The matrix that takes x to E[x | x_S]: what is seen stays, the rest becomes its mean.

    Args:
        data: Covariance of centred Gaussian data, `(N, N)`.
        seen: Positions of S among the N, `(n,)`.

    Returns:
        `(N, N)`, with zero columns outside of S.
    """
    coefficients = torch.linalg.solve(data[seen[:, None], seen], data[seen]).T
    return torch.zeros_like(data).index_copy(1, seen, coefficients)
