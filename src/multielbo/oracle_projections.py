"""Projections of the oracle's modalities: the posterior they leave, and the information they cost.

All is exact. A projection is a matrix A of full row rank, and g = A x_m keeps K numbers of x_m.
"""

from __future__ import annotations

__all__ = [
    "canonical_projections",
    "information",
    "lost_information",
    "posterior_covariance",
    "posterior_given",
]

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from multielbo.dcca import canonical_directions
from multielbo.oracle import LinearGaussian

Projections = Mapping[str, Tensor]


def canonical_projections(
    oracle: LinearGaussian, first: str, second: str, dim: int
) -> tuple[Projections, Tensor]:
    """The K canonical directions of two modalities that correlate most, and all correlations.

    Args:
        oracle: The model; its covariances are known.
        first, second: Names of the modalities.
        dim: K.

    Returns:
        By modality a matrix `(K, D_m)`, and the canonical correlations, the largest first.
    """
    w, v = oracle.loadings[first], oracle.loadings[second]
    covariances = (_evidence(oracle, first), w @ v.mT, _evidence(oracle, second))
    of_first, of_second, correlations = canonical_directions(*covariances)
    return {first: of_first[:dim], second: of_second[:dim]}, correlations


def posterior_given(
    oracle: LinearGaussian, batch: Mapping[str, Tensor], projections: Projections
) -> tuple[Tensor, Tensor]:
    """p(z | g_S) for projections g_m = A_m x_m, exactly, Equation eq-projected-posterior.

    Args:
        oracle: The model.
        batch: Observations, `(B, D_m)` by modality.
        projections: A_m, `(K_m, D_m)`, of the members of S.

    Returns:
        Mean `(B, D)`, and covariance `(D, D)`, which is the same for every example.
    """
    covariance = posterior_covariance(oracle, projections)
    votes = [
        torch.linalg.solve(_noise(oracle, m, a), (batch[m] @ a.mT).mT).mT @ a @ oracle.loadings[m]
        for m, a in projections.items()
    ]
    return sum(votes) @ covariance, covariance


def posterior_covariance(oracle: LinearGaussian, projections: Projections) -> Tensor:
    """Covariance of p(z | g_S), `(D, D)`, Equation eq-projected-posterior."""
    precision = torch.eye(oracle.latent_dim, dtype=torch.float64)
    for m, a in projections.items():
        seen = a @ oracle.loadings[m]
        precision = precision + seen.mT @ torch.linalg.solve(_noise(oracle, m, a), seen)
    return torch.linalg.inv(precision)


def information(
    oracle: LinearGaussian, projections: Projections, about: Sequence[int] | None = None
) -> Tensor:
    """I(z; g_S), exactly.

    Args:
        oracle: The model.
        projections: A_m, `(K_m, D_m)`, of the members of S.
        about: Places of the latents that are asked about, such as private ones; None for all.

    Returns:
        One number, in nats.
    """
    covariance = posterior_covariance(oracle, projections)
    places = torch.arange(oracle.latent_dim) if about is None else torch.as_tensor(about)
    return -0.5 * torch.logdet(covariance[places][:, places])


def lost_information(oracle: LinearGaussian, projections: Projections) -> Tensor:
    """I(z; x_S | g_S), the mean of KL(p(z | x_S) || p(z | g_S)), Equation eq-lost-information.

    Returns:
        One number, in nats.
    """
    return information(oracle, _all_of(oracle, projections)) - information(oracle, projections)


def _all_of(oracle: LinearGaussian, projections: Projections) -> Projections:
    """Projections of the same modalities that leave nothing out."""
    return {m: torch.eye(a.shape[1], dtype=a.dtype) for m, a in projections.items()}


def _evidence(oracle: LinearGaussian, name: str) -> Tensor:
    """Covariance of x_m."""
    w = oracle.loadings[name]
    return w @ w.mT + oracle.noise[name] ** 2 * torch.eye(len(w), dtype=w.dtype)


def _noise(oracle: LinearGaussian, name: str, projection: Tensor) -> Tensor:
    """Covariance of A x_m given z."""
    return oracle.noise[name] ** 2 * projection @ projection.mT
