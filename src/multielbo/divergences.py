"""The alpha family: one divergence between the two directions of Kullback and Leibler.

Its `power` r is the exponent of the first density: 1 gives KL(q || p), 0 gives KL(p || q), and
1/2 four times the squared Hellinger distance. Amari's alpha is 1 - 2r.
"""

from __future__ import annotations

__all__ = ["alpha_divergence", "gaussian_barycenter", "log_affinity"]

import torch
from torch import Tensor

from multielbo import barycenters, gaussians


def alpha_divergence(
    loc_q: Tensor, scale_q: Tensor, loc_p: Tensor, scale_p: Tensor, power: float
) -> Tensor:
    r"""(1 - int q^r p^(1-r) dz) / (r (1-r)) of diagonal Gaussians, Equation eq-alpha-divergence.

    Args:
        loc_q, scale_q: The first Gaussian, `(..., D)`.
        loc_p, scale_p: The second Gaussian, `(..., D)`.
        power: The exponent r of q; at 0 and 1 the limits, KL(p || q) and KL(q || p), are taken.

    Returns:
        `(...)`, infinite where the integral is.

    Source:
        Amari (2007), whose alpha is 1 - 2r.
    """
    if power == 1:
        return gaussians.kl(loc_q, scale_q, loc_p, scale_p)
    if power == 0:
        return gaussians.kl(loc_p, scale_p, loc_q, scale_q)
    variance = power * scale_p.square() + (1 - power) * scale_q.square()  # of both, crosswise
    finite = (variance > 0).all(-1)
    variance = torch.where(variance > 0, variance, 1.0)
    shift = power * (1 - power) * (loc_q - loc_p).square() / variance
    widths = (1 - power) * scale_q.log() + power * scale_p.log() - 0.5 * variance.log()
    log_integral = (widths - 0.5 * shift).sum(-1)
    divergence = -torch.expm1(log_integral) / (power * (1 - power))
    return torch.where(finite, divergence, torch.inf)


def log_affinity(loc: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    r"""log int prod_m q_m(z)^{w_m} dz of diagonal Gaussians, Equation eq-affinity.

    It is zero where all experts with weight agree, and negative elsewhere.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: Exponents w, `(K, M)`, non-negative, summing to one over M.

    Returns:
        `(K, B)`, summed over D: one number for the whole latent, not one per dimension.
    """
    # By differences of means: how far an expert is from a pooled mean cancels for sharp experts.
    w, dtype, loc, scale = weights.double(), loc.dtype, loc.double(), scale.double()
    precision = scale.square().reciprocal()
    total = barycenters.combine(w, precision)
    pairs = (w[:, :, None] * w[:, None]).flatten(1)  # (K, M * M)
    apart = (loc[:, None] - loc).square() * precision[:, None] * precision
    misfit = 0.5 * barycenters.combine(pairs, apart.flatten(0, 1)) / total
    return -0.5 * (total.log() + 2 * barycenters.combine(w, scale.log()) + misfit).sum(-1).to(dtype)


def gaussian_barycenter(
    loc: Tensor, scale: Tensor, weights: Tensor, power: float, *, steps: int = 100
) -> tuple[Tensor, Tensor]:
    r"""Gaussian that is closest to all experts in alpha-divergence, Equation eq-tilted-moments.

    Each step matches the moments of sum_m w_m q_m^r q^(1-r). No step raises the summed divergence;
    where experts are far apart it may settle in one of several minima. It starts at the moments of
    the experts' mixture.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: `(K, M)`, non-negative, summing to one over M.
        power: The exponent r of the experts, above 0 and at most 1.
        steps: How many moment matchings.

    Returns:
        Mean and standard deviation, `(K, B, D)`.

    Raises:
        ValueError: The power is not above 0 and at most 1.
    """
    if not 0 < power <= 1:
        raise ValueError(f"gaussian_barycenter: power is {power}; it must be above 0, at most 1")
    q_loc, q_scale = barycenters.moment_match(loc, scale, weights)
    log_weights = weights.to(loc.dtype).log().T[..., None]  # (M, K, 1)
    for _ in range(steps if power < 1 else 0):
        both = torch.stack(torch.broadcast_tensors(loc[:, None], q_loc))  # (2, M, K, B, D)
        widths = torch.stack(torch.broadcast_tensors(scale[:, None], q_scale))
        share = torch.tensor([[power, 1 - power]], dtype=loc.dtype, device=loc.device)
        flat = both.flatten(1, 3), widths.flatten(1, 3)
        mass = log_affinity(*flat, share).view(both.shape[1:4])
        tilted = [x.view(both.shape[1:]) for x in barycenters.log_pool(*flat, share)]
        part = (log_weights + mass).softmax(0)[..., None]
        q_loc = (part * tilted[0]).sum(0)
        variance = tilted[1].square() + (tilted[0] - q_loc).square()
        q_scale = (part * variance).sum(0).sqrt()
    return q_loc, q_scale
