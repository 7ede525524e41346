"""Canonical correlations of two views, and the objectives that DCCA and its kin make of them.

Everything rests on one matrix, the cross-covariance between the whitened views. Its singular values
are the canonical correlations. Whitening is by Cholesky factors: another square root of a
covariance turns the matrix by rotations, which no singular value sees, and triangular factors have
a derivative where the vectors of an eigen-decomposition have none, at equal eigenvalues.
"""

from __future__ import annotations

__all__ = [
    "OBJECTIVES",
    "RIDGE",
    "canonical_correlations",
    "canonical_directions",
    "correlation_squares",
    "correlation_sum",
    "covariances",
    "gaussian_information",
    "over_pairs",
    "whitened_cross",
]

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

import torch
from torch import Tensor

RIDGE = 1e-3  # share of the mean variance; the released code adds 0.001 itself


def covariances(u: Tensor, v: Tensor, ridge: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Sample covariances of two views: of the first, between them, of the second.

    Args:
        u, v: Projections of the same examples, `(B, K)` and `(B, J)`.
        ridge: What is added to each variance, as a share of its view's mean variance.

    Raises:
        ValueError: The views differ in length, or have no more examples than dimensions together.
        FloatingPointError: A projection is not finite.
    """
    _check_batch(u, v)
    u, v = u - u.mean(0), v - v.mean(0)
    own = (x.mT @ x / (len(x) - 1) for x in (u, v))
    first, second = (s + ridge * s.diagonal().mean() * torch.eye(len(s)).to(s) for s in own)
    return first, u.mT @ v / (len(u) - 1), second


def whitened_cross(first: Tensor, cross: Tensor, second: Tensor) -> Tensor:
    """The cross-covariance between whitened views, Equation eq-whitened-cross.

    Args:
        first: Covariance of the first view, `(K, K)`.
        cross: Covariance between the views, `(K, J)`.
        second: Covariance of the second view, `(J, J)`.

    Returns:
        `(K, J)`.

    Raises:
        ValueError: A covariance is degenerate.
    """
    left = torch.linalg.solve_triangular(_factor(first), cross, upper=False)
    return torch.linalg.solve_triangular(_factor(second), left.mT, upper=False).mT


def canonical_correlations(u: Tensor, v: Tensor, ridge: float = 0.0) -> Tensor:
    """Of a batch, `(min(K, J),)`, the largest first, Equation eq-canonical.

    Args:
        u, v: Projections of the same examples, `(B, K)` and `(B, J)`.
        ridge: As for `covariances`.

    Raises:
        ValueError: Too few examples, or a degenerate covariance.
        FloatingPointError: A projection is not finite.
    """
    return torch.linalg.svdvals(whitened_cross(*covariances(u, v, ridge)))


def canonical_directions(
    first: Tensor, cross: Tensor, second: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear maps to uncorrelated numbers of variance one, and how the pairs of them correlate.

    Args:
        first, cross, second: Covariances, as `covariances` gives them.

    Returns:
        Rows that map the first view, `(R, K)`, rows that map the second, `(R, J)`, and the
        canonical correlations, `(R,)`, the largest first, with R the smaller of K and J.

    Raises:
        ValueError: A covariance is degenerate.
    """
    left, correlations, right = torch.linalg.svd(
        whitened_cross(first, cross, second), full_matrices=False
    )
    of_first = torch.linalg.solve_triangular(_factor(first).mT, left, upper=True).mT
    of_second = torch.linalg.solve_triangular(_factor(second).mT, right.mT, upper=True).mT
    return of_first, of_second, correlations


def correlation_sum(whitened: Tensor) -> Tensor:
    """Sum of the canonical correlations, what DCCA maximises.

    Args:
        whitened: As `whitened_cross` gives it.
    """
    # Not the roots of the eigenvalues of T'T: a root has no derivative at zero.
    return torch.linalg.svdvals(whitened).sum()


def correlation_squares(whitened: Tensor) -> Tensor:
    """Sum of their squares, a trace for which nothing is decomposed, Equation eq-cca-trace."""
    return whitened.square().sum()


def gaussian_information(whitened: Tensor) -> Tensor:
    """-1/2 sum log(1 - rho^2): the information of Gaussian views, Equation eq-cca-information."""
    rows, columns = whitened.shape
    inner = whitened @ whitened.mT if rows <= columns else whitened.mT @ whitened
    return -0.5 * torch.logdet(torch.eye(len(inner)).to(inner) - inner)


OBJECTIVES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "sum": correlation_sum,
        "squares": correlation_squares,
        "information": gaussian_information,
    }
)


def over_pairs(
    views: Sequence[Tensor], objective: Callable[[Tensor], Tensor], ridge: float = RIDGE
) -> Tensor:
    """The objective of every two of several views, half of it for each of them, Equation eq-dcca.

    Args:
        views: Projections of the same examples, M of `(B, K)`.
        objective: One of OBJECTIVES.
        ridge: As for `covariances`.

    Returns:
        `(M,)`: by view, so that the sum is that over pairs.

    Raises:
        ValueError: Too few examples, or a degenerate covariance.
        FloatingPointError: A projection is not finite.
    """
    shares = [views[0].new_zeros(()) for _ in views]
    for i, j in combinations(range(len(views)), 2):
        half = 0.5 * objective(whitened_cross(*covariances(views[i], views[j], ridge)))
        shares[i], shares[j] = shares[i] + half, shares[j] + half
    return torch.stack(shares)


def _factor(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor, unless a coordinate is no more than a sum of those before it."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    left = factor.detach().diagonal().square()  # variance given the coordinates before
    variances = covariance.detach().diagonal()
    rounding = 10 * len(variances) * torch.finfo(variances.dtype).eps
    degenerate = bool(failed) or not bool((left > rounding * variances).all())
    if degenerate:
        rank = int(torch.linalg.matrix_rank(covariance.detach(), hermitian=True))
        raise ValueError(
            f"canonical correlations: a covariance of {len(variances)} dimensions is degenerate, "
            f"of rank {rank}, so that nothing whitens it; project to fewer dimensions, or give a "
            "ridge"
        )
    return factor


def _check_batch(u: Tensor, v: Tensor) -> None:
    if u.dim() != 2 or v.dim() != 2 or len(u) != len(v):
        raise ValueError(
            f"canonical correlations: views of {tuple(u.shape)} and {tuple(v.shape)}; give (B, K) "
            "and (B, J) of the same B examples"
        )
    examples, dims = len(u), u.shape[1] + v.shape[1]
    if examples <= dims:
        raise ValueError(
            f"canonical correlations: {examples} examples of {u.shape[1]} and {v.shape[1]} "
            "dimensions have a correlation of one whatever they hold; give a batch of more than "
            f"{dims} examples, or project to fewer dimensions"
        )
    broken = ~(u.isfinite().all(1) & v.isfinite().all(1))
    if bool(broken.any()):
        raise FloatingPointError(
            f"canonical correlations: the projections of {int(broken.sum())} of {examples} "
            "examples are not finite; look for NaN in these examples, or try a smaller "
            "learning_rate"
        )
