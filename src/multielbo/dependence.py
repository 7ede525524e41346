"""How strongly two columns of numbers depend on each other: Pearson's correlation, and RDC."""

from __future__ import annotations

__all__ = ["Correlation", "pearson", "randomised_dependence"]

from collections.abc import Callable

import torch
from torch import Generator, Tensor

Correlation = Callable[[Tensor, Tensor], Tensor]
"""From columns `(n, I)` and `(n, J)` to dependences `(I, J)` between 0 and 1."""


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Absolute correlations of all columns of a with all columns of b, `(I, J)`.

    A column that does not vary tells nothing: its correlations are zero.

    Args:
        a, b: Observations in rows, `(n, I)` and `(n, J)`.
    """
    return (_standardised(a).T @ _standardised(b)).abs().clamp(max=1)


def randomised_dependence(
    generator: Generator, features: int = 20, scale: float = 0.5
) -> Correlation:
    """The randomised dependence coefficient, which sees dependence of any form.

    Columns become ranks, ranks become random sines, and what is returned is the largest canonical
    correlation of the sines of two columns. It is positive for independent columns, too.

    Args:
        generator: Source of the sines' frequencies and phases.
        features: Number of sines per column.
        scale: Standard deviation of frequencies and phases.

    Source:
        Lopez-Paz, Hennig and Schölkopf (2013).
    """

    def dependence(a: Tensor, b: Tensor) -> Tensor:
        left, right = ([sines(column) for column in x.T] for x in (a, b))
        return torch.stack([torch.stack([_largest(p, q) for q in right]) for p in left])

    def sines(column: Tensor) -> Tensor:
        draw = scale * torch.randn(2, features, generator=generator, dtype=column.dtype)
        return orthonormal(torch.sin(_ranks(column)[:, None] * draw[0] + draw[1]))

    return dependence


def orthonormal(x: Tensor) -> Tensor:
    """Orthonormal basis of the centred columns of x, `(n, rank)`."""
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return u[:, s > s.max() * max(x.shape) * torch.finfo(x.dtype).eps]


def varies(x: Tensor) -> Tensor:
    """Which columns of x are more than rounding errors around a constant."""
    rounding = len(x) * torch.finfo(x.dtype).eps * x.abs().amax(0)
    return (x - x.mean(0)).abs().amax(0) > rounding


def _standardised(x: Tensor) -> Tensor:
    """Columns of mean zero and length one, or of zeros where nothing varies."""
    centred = x - x.mean(0)
    length = torch.where(varies(x), centred.norm(dim=0), torch.inf)
    return centred / length


def _ranks(column: Tensor) -> Tensor:
    """Ranks between 0 and 1; of equal numbers the first comes first."""
    steps = torch.arange(1, len(column) + 1, dtype=column.dtype) / len(column)
    return torch.empty_like(column).scatter_(0, column.argsort(stable=True), steps)


def _largest(p: Tensor, q: Tensor) -> Tensor:
    if not (p.shape[1] and q.shape[1]):
        return p.new_zeros(())
    return torch.linalg.matrix_norm(p.T @ q, 2).clamp(max=1)
