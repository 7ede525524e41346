"""Averages over test examples, each with its standard error."""

from __future__ import annotations

__all__ = ["Estimate", "by_inputs", "mean", "resampled"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """What was measured, and one standard error of it.

    The error speaks of the test examples alone: of how another draw of them would differ. It says
    nothing of another seed of training, and it is too small where examples share originals.
    """

    value: Tensor
    standard_error: Tensor


def mean(values: Tensor) -> Estimate:
    """Mean of `values` of shape `(..., N)` over N examples, `(...)`, in float64.

    For hits and misses the error is the binomial one, sqrt(p (1 - p) / (N - 1)).
    """
    values = values.double()
    return Estimate(values.mean(-1), values.std(-1) / values.shape[-1] ** 0.5)


def resampled(values: Tensor) -> Estimate:
    """A statistic and its bootstrap error, `(...)`, in float64.

    Args:
        values: `(..., 1 + R)`: the statistic of all examples, then of R resamples of them.
    """
    values = values.double()
    return Estimate(values[..., 0], values[..., 1:].std(-1))


def by_inputs(
    values: Tensor, membership: Tensor, estimate: Callable[[Tensor], Estimate] = mean
) -> Estimate:
    """Mean over the subsets of each size, smallest size first.

    The subsets see the same examples, so they are averaged within each example before the error
    is taken: treating them as independent would promise too much.

    Args:
        values: One value for each of K subsets and N examples (or resamples), `(K, N)`.
        membership: `(K, M)` bool.
        estimate: What makes a value and an error of the last axis.

    Returns:
        One value for every size that occurs among the subsets.
    """
    sizes = membership.sum(1)
    return estimate(
        torch.stack([values[sizes == size].double().mean(0) for size in sizes.unique()])
    )
