r"""Full-covariance Gaussians: what they cost, how they are drawn, and averages of them that train.

A single Gaussian is a mean `loc`, `(..., D)`, and a lower triangular `factor` L with positive
diagonal, `(..., D, D)`: its covariance is L L^T. Experts are stacked as in
`multielbo.barycenters`, means `(M, B, D)` and covariances `(M, B, D, D)`, and so are weights.
"""

from __future__ import annotations

__all__ = [
    "implicit_gradient",
    "kl_to_prior",
    "log_density",
    "log_pool",
    "sample",
    "w2_squared",
    "wasserstein",
]

import torch
from torch import Generator, Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from multielbo import barycenters
from multielbo.gaussians import LOG_2PI

TOLERANCE = 1e-12  # of the iterations, in float64
MAX_ITERATIONS = 500


def kl_to_prior(loc: Tensor, factor: Tensor) -> Tensor:
    """KL(N(loc, L L^T) || N(0, I)), Equation eq-full-kl.

    Args:
        loc: Mean, `(..., D)`.
        factor: Lower triangular L with positive diagonal, `(..., D, D)`.

    Returns:
        `(...)`, in nats.
    """
    trace = factor.square().sum((-2, -1))
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (loc.square().sum(-1) + trace - loc.shape[-1] - log_det)


def sample(loc: Tensor, factor: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw z = loc + L epsilon, differentiable in both arguments.

    Args:
        loc: Mean, `(..., D)`.
        factor: Lower triangular L, `(..., D, D)`.
        generator: Source of epsilon, on the device of `loc`.
    """
    noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
    return loc + (factor @ noise[..., None])[..., 0]


def log_density(z: Tensor, loc: Tensor, factor: Tensor) -> Tensor:
    """Log-density of N(loc, L L^T) at points `z`, `(..., D)`, in nats, `(...)`."""
    shift = (z - loc)[..., None]
    white = torch.linalg.solve_triangular(
        factor.expand(*shift.shape[:-2], -1, -1), shift, upper=False
    )
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white[..., 0].square() + LOG_2PI).sum(-1) - log_det


def w2_squared(loc_q: Tensor, covariance_q: Tensor, loc_p: Tensor, covariance_p: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of Gaussians with any covariances, Equation eq-bures.

    Args:
        loc_q, covariance_q: The first Gaussian, `(..., D)` and `(..., D, D)`.
        loc_p, covariance_p: The second Gaussian, `(..., D)` and `(..., D, D)`.

    Returns:
        `(...)`, in squared units of z.
    """
    values, vectors = torch.linalg.eigh(covariance_q)
    root = (vectors * values.clamp_min(0).sqrt()[..., None, :]) @ vectors.mT
    inner = torch.linalg.eigvalsh(root @ covariance_p @ root).clamp_min(0).sqrt().sum(-1)
    traces = (covariance_q + covariance_p).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (loc_q - loc_p).square().sum(-1) + traces - 2 * inner


def log_pool(loc: Tensor, covariance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Geometric mean with weights that sum to one: precisions average, Equation eq-full-log-pool.

    Args:
        loc, covariance: Experts, `(M, B, D)` and `(M, B, D, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative, summing to one over M.

    Returns:
        Mean `(K, B, D)` and covariance `(K, B, D, D)`.
    """
    precision = torch.linalg.inv(_symmetric(covariance))
    votes = (precision @ loc[..., None])[..., 0]
    pooled = torch.linalg.inv(
        barycenters.combine(weights, precision.flatten(2)).unflatten(2, precision.shape[2:])
    )
    pooled = _symmetric(pooled)
    return (pooled @ barycenters.combine(weights, votes)[..., None])[..., 0], pooled


def wasserstein(loc: Tensor, covariance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""2-Wasserstein barycenter, differentiable in all arguments, Equation eq-bures-gradient.

    The value is that of `barycenters.bures_wasserstein`, found in float64 whatever comes in. The
    gradient is that of the fixed point, not of the iteration that finds it.

    Args:
        loc, covariance: Experts, `(M, B, D)` and `(M, B, D, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative, summing to one over M.

    Returns:
        Mean `(K, B, D)` and covariance `(K, B, D, D)`.

    Raises:
        ValueError: A covariance is not finite and positive definite.
        ArithmeticError: An iteration, of the value or of the gradient, did not settle.
    """
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("wasserstein: a covariance is not finite; lower the learning rate")
    experts = _symmetric(covariance.double()).movedim(0, 1)  # (B, M, D, D)
    per_example = weights if weights.dim() == 3 else weights[..., None].expand(-1, -1, len(experts))
    shares = per_example.double().movedim(1, 2)  # (K, B, M)
    found = _Barycenter.apply(experts.expand(len(shares), -1, -1, -1, -1), shares)
    return barycenters.combine(weights, loc), found.to(covariance.dtype)


class _Barycenter(torch.autograd.Function):
    """Covariances `(..., M, D, D)` and weights `(..., M)` to their barycenter's, `(..., D, D)`."""

    @staticmethod
    def forward(ctx: FunctionCtx, covariance: Tensor, weights: Tensor) -> Tensor:
        centre = covariance.new_zeros(covariance.shape[:-1])
        _, barycenter = barycenters.bures_wasserstein(
            centre, covariance, weights, tolerance=TOLERANCE, max_iterations=MAX_ITERATIONS
        )
        ctx.save_for_backward(covariance, weights, barycenter)
        return barycenter

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return implicit_gradient(*ctx.saved_tensors, gradient)


def implicit_gradient(
    covariance: Tensor, weights: Tensor, barycenter: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients in the covariances and in the weights, from that in the barycenter.

    Args:
        covariance: Sigma_m, `(..., M, D, D)`.
        weights: w_m, `(..., M)`.
        barycenter: C, `(..., D, D)`.
        gradient: Of the loss with respect to C, `(..., D, D)`.

    Returns:
        `(..., M, D, D)`, symmetric, and `(..., M)`.

    Raises:
        ArithmeticError: The iteration for the adjoint did not settle.
    """
    values, vectors = torch.linalg.eigh(barycenter)
    root = (vectors * values.sqrt()[..., None, :]) @ vectors.mT
    inverse = (vectors / values[..., None, :]) @ vectors.mT
    r = root[..., None, :, :]
    squares, q = torch.linalg.eigh(_symmetric(r @ covariance @ r))  # of N_m^2
    n = squares.clamp_min(0).sqrt()
    sums = n[..., :, None] + n[..., None, :]
    parallel = n[..., :, None] * n[..., None, :] / sums  # of the eigenvalues of N_m, pair by pair

    def in_basis(y: Tensor) -> Tensor:
        return q.mT @ y[..., None, :, :] @ q

    def hessian(y: Tensor) -> Tensor:
        return (weights[..., None, None] * (q @ (parallel * in_basis(y)) @ q.mT)).sum(-3)

    wanted = root @ _symmetric(gradient) @ root
    adjoint = inverse @ wanted + wanted @ inverse
    scale = torch.linalg.matrix_norm(adjoint).clamp_min(torch.finfo(adjoint.dtype).tiny)
    for _ in range(MAX_ITERATIONS):
        residual = wanted - hessian(adjoint)
        change = inverse @ residual + residual @ inverse
        adjoint = adjoint + change
        moved = torch.linalg.matrix_norm(change) / scale
        if bool((moved < TOLERANCE).all()):
            mine = r @ (q @ (in_basis(adjoint) / sums) @ q.mT) @ r
            roots = (q * n[..., None, :]) @ q.mT
            return weights[..., None, None] * mine, (roots * adjoint[..., None, :, :]).sum((-2, -1))
    raise ArithmeticError(
        f"wasserstein: the gradient still moves by {float(moved.max()):.1e} after "
        f"{MAX_ITERATIONS} iterations; the covariances are too far from each other"
    )


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)
