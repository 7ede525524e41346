"""Contrastive learning of what two views share: tell the partner of a view from strangers.

An anchor scores K candidates, one of which is its partner. How well it finds the partner bounds,
from below, the information that the views have about each other; log K is all it can ever say.
"""

from __future__ import annotations

__all__ = [
    "gaussian_log_ratio",
    "info_nce",
    "similarities",
    "with_own_negatives",
]

import math

import torch
from torch import Tensor


def similarities(u: Tensor, v: Tensor, temperature: float) -> Tensor:
    """Scores of all pairs of projections on the sphere, `(B, B)`, anchors by candidates.

    Args:
        u, v: Projections of the same B examples, of length one, `(B, K)`.
        temperature: What products are divided by.

    Raises:
        ValueError: There is a single example and so no stranger, views differ in shape, or the
            temperature is not positive.
    """
    if u.shape != v.shape or u.dim() != 2 or len(u) < 2 or not temperature > 0:
        raise ValueError(
            f"contrastive: views of {tuple(u.shape)} and {tuple(v.shape)} at temperature "
            f"{temperature}; give two of the same shape (B, K) with B of 2 and more, and a "
            "temperature above 0"
        )
    return u @ v.mT / temperature


def info_nce(scores: Tensor) -> Tensor:
    """log of the probability that each anchor finds its partner, Equation eq-info-nce.

    Args:
        scores: Of anchors and candidates, `(..., B, K)`; the partner of anchor b is candidate b.

    Returns:
        `(..., B)`, in nats, at most 0.
    """
    partners = scores.diagonal(dim1=-2, dim2=-1)
    return partners - scores.logsumexp(-1)


def with_own_negatives(u: Tensor, v: Tensor, temperature: float) -> Tensor:
    """The same with strangers of the anchor's own view, too, Equation eq-own-negatives.

    Args:
        u, v: As for `similarities`.
        temperature: As for `similarities`.

    Returns:
        `(2, B)`: of anchors in the first view and in the second.

    Raises:
        ValueError: As `similarities`.
    """
    between = similarities(u, v, temperature)
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    own = (similarities(x, x, temperature).masked_fill(itself, -torch.inf) for x in (u, v))
    scores = (torch.cat(part, -1) for part in zip((between, between.mT), own, strict=True))
    return torch.stack([info_nce(part) for part in scores])


def gaussian_log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(x, y) / p(x) p(y) of two standard normals, Equation eq-gaussian-critic.

    Args:
        x, y: Broadcast against each other.
        rho: Their correlation, between -1 and 1.
    """
    left = 1 - rho**2
    quadratic = rho**2 * (x.square() + y.square()) - 2 * rho * x * y
    return -0.5 * (math.log(left) + quadratic / left)
