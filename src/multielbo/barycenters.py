"""Barycenters of Gaussian experts: one function for each way of averaging posteriors.

Experts are stacked on the first axis, `loc` and `scale` of shape `(M, B, D)`.
`weights` says how much each expert counts in each of K averages: `(K, M)`, the same for every
example, or `(K, M, B)`, one set per example. Averages come back as `(K, B, D)`.
"""

from __future__ import annotations

__all__ = ["bures_wasserstein", "combine", "log_pool", "moment_match", "product", "wasserstein"]

import torch
from torch import Tensor


def product(
    loc: Tensor, scale: Tensor, weights: Tensor, *, prior_exponent: float | Tensor
) -> tuple[Tensor, Tensor]:
    r"""Normalised product p(z)^a prod_m q_m(z)^{w_m} of Gaussian experts, Equation eq-product.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: Exponents w, `(K, M)` or `(K, M, B)`; ones and zeros for a plain product.
        prior_exponent: Exponent a of the prior N(0, I), broadcast to `(K, B, D)`: 0 leaves the
            prior out, 1 makes it one more expert, 1 - |S| divides it out of unimodal posteriors.

    Returns:
        Mean and standard deviation, `(K, B, D)`. The total precision must be positive.
    """
    precision = scale.square().reciprocal()
    total = combine(weights, precision) + prior_exponent
    return combine(weights, precision * loc) / total, total.rsqrt()


def log_pool(loc: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Geometric mean prod_m q_m(z)^{w_m} with weights that sum to one, Equation eq-log-pool.

    It is the barycenter of the experts under the reverse divergence KL(q || q_m).

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative, summing to one over M.

    Returns:
        Mean and standard deviation, `(K, B, D)`.
    """
    return product(loc, scale, weights, prior_exponent=0.0)


def moment_match(loc: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Gaussian with the mixture's mean and variances, Equation eq-moment-match.

    It is the barycenter under the forward divergence KL(q_m || q) among diagonal Gaussians;
    among all densities that barycenter is the mixture itself.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative, summing to one over M.

    Returns:
        Mean and standard deviation, `(K, B, D)`.
    """
    mean = combine(weights, loc)
    spread = (loc[:, None] - mean).square()  # (M, K, B, D): centred first, so nothing cancels
    between = torch.einsum("kmb,mkbd->kbd", _per_example(weights, loc), spread)
    return mean, (combine(weights, scale.square()) + between).sqrt()


def wasserstein(loc: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""2-Wasserstein barycenter of diagonal Gaussians, Equation eq-w2-barycenter.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative, summing to one over M.

    Returns:
        Mean and standard deviation, `(K, B, D)`: both are plain averages.
    """
    return combine(weights, loc), combine(weights, scale)


def bures_wasserstein(
    loc: Tensor,
    covariance: Tensor,
    weights: Tensor,
    *,
    tolerance: float = 1e-12,
    max_iterations: int = 500,
) -> tuple[Tensor, Tensor]:
    r"""2-Wasserstein barycenter of full-covariance Gaussians, Equation eq-bures-fixed-point.

    Args:
        loc: Means, `(..., M, D)`.
        covariance: Positive definite covariances, `(..., M, D, D)`.
        weights: `(..., M)`, non-negative, summing to one over M.
        tolerance: Stop when an iteration moves the covariance by less than this, relative to
            its Frobenius norm.
        max_iterations: Iterations after which the search is given up.

    Returns:
        Mean `(..., D)` and covariance `(..., D, D)`.

    Raises:
        ValueError: A covariance is not positive definite.
        ArithmeticError: The iteration did not settle within `max_iterations`.

    Source:
        Alvarez-Esteban, del Barrio, Cuesta-Albertos and Matran (2016).
    """
    smallest = float(torch.linalg.eigvalsh(covariance).min())
    if not smallest > 0:
        raise ValueError(
            f"bures_wasserstein: a covariance has eigenvalue {smallest:.1e}; "
            "all must be positive definite, so add a little to the diagonal"
        )
    w = weights[..., None, None]
    barycenter = (w * covariance).sum(-3)
    for _ in range(max_iterations):
        root, inverse_root = _square_roots(barycenter)
        inner, _ = _square_roots(root[..., None, :, :] @ covariance @ root[..., None, :, :])
        mean_root = (w * inner).sum(-3)
        step = inverse_root @ mean_root @ mean_root @ inverse_root
        step = 0.5 * (step + step.mT)
        moved = torch.linalg.matrix_norm(step - barycenter) / torch.linalg.matrix_norm(barycenter)
        barycenter = step
        if bool((moved < tolerance).all()):
            return (weights[..., None] * loc).sum(-2), barycenter
    raise ArithmeticError(
        f"bures_wasserstein: still moving by {float(moved.max()):.1e} after {max_iterations} "
        f"iterations; raise max_iterations or tolerance ({tolerance:.0e})"
    )


def combine(weights: Tensor, values: Tensor) -> Tensor:
    """Sum `values` of shape `(M, B, D)` over M with each row of `weights`, giving `(K, B, D)`."""
    weights = weights.to(values.dtype)
    if weights.dim() == 2:
        return (weights @ values.flatten(1)).unflatten(1, values.shape[1:])
    return torch.einsum("kmb,mbd->kbd", weights, values)


def _per_example(weights: Tensor, values: Tensor) -> Tensor:
    weights = weights.to(values.dtype)
    return weights if weights.dim() == 3 else weights[..., None].expand(-1, -1, values.shape[1])


def _square_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric square root and inverse square root of positive definite matrices."""
    values, vectors = torch.linalg.eigh(matrix)
    root = values.clamp_min(0).sqrt()[..., None, :]
    return (vectors * root) @ vectors.mT, (vectors / root) @ vectors.mT
