"""What a judge saw, held against the labels: hits of classes, average precision of attributes."""

from __future__ import annotations

__all__ = [
    "Judgement",
    "average_precision",
    "average_precisions",
    "judgement",
    "mean_average_precision",
    "resamples",
]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from multielbo.metrics.estimates import Estimate, mean, resampled

RESAMPLES = 100


@dataclass(frozen=True)
class Judgement:
    """How one kind of labels is judged.

    Both kinds keep a last axis over which only `estimate` sums, so that targets and subsets are
    averaged before the error is taken.

    Attributes:
        columns: From what was seen, classes `(..., N)` or scores of attributes `(..., N, A)`, to
            a value for each example or each resample, `(..., C)`.
        estimate: From those to a value with its standard error, `(...)`.
    """

    columns: Callable[[Tensor], Tensor]
    estimate: Callable[[Tensor], Estimate]


def judgement(labels: Tensor, seed: int = 0) -> Judgement:
    """Accuracy for classes; mean average precision with a bootstrap error for attributes.

    Args:
        labels: Classes, int64 `(N,)`, or attributes, bool `(N, A)`.
        seed: Source of the resamples.

    Raises:
        ValueError: No example has any attribute.
    """
    if labels.dtype != torch.bool:
        return Judgement(partial(torch.eq, labels), mean)
    if not bool(labels.any()):
        raise ValueError("labels: no example has any attribute; give examples that have some")
    counts = resamples(len(labels), RESAMPLES, Generator().manual_seed(seed))
    return Judgement(partial(mean_average_precision, labels=labels, counts=counts), resampled)


def mean_average_precision(scores: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Average precision, averaged over the attributes that occur, `(..., C)`.

    Args:
        scores: Higher where an attribute is likelier, `(..., N, A)`.
        labels: Which attributes each example has, `(N, A)` bool.
        counts: How often each example counts, `(C, N)`; once if it is left out.

    Returns:
        Attributes that nobody has are left out of the mean.
    """
    return average_precisions(scores, labels, counts).nanmean(-2)


def average_precisions(scores: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Average precision of each attribute, `(..., A, C)`.

    Args:
        scores: Higher where an attribute is likelier, `(..., N, A)`.
        labels: Which attributes each example has, `(N, A)` bool.
        counts: How often each example counts, `(C, N)`; once if it is left out.

    Returns:
        Not a number for attributes that nobody has.
    """
    counts = torch.ones(1, len(labels), dtype=torch.float64) if counts is None else counts
    found = [
        average_precision(column, known, counts)
        for each in scores.reshape(-1, *labels.shape)
        for column, known in zip(each.mT, labels.mT, strict=True)
    ]
    return torch.stack(found).reshape(*scores.shape[:-2], labels.shape[1], len(counts))


def average_precision(scores: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Precision averaged over the positives, each at the threshold of its own score, `(C,)`.

    Equal scores share one threshold.

    Args:
        scores: `(N,)`.
        labels: The positives, `(N,)` bool.
        counts: How often each example counts, whole numbers, `(C, N)`.

    Returns:
        In float64; not a number where nothing positive counts.
    """
    falling, order = scores.sort(descending=True)
    counts = counts[:, order].double()
    positives = counts * labels[order]
    precision = positives.cumsum(1) / counts.cumsum(1).clamp_min(1)
    threshold = torch.searchsorted(-falling, -falling, right=True) - 1
    return (positives * precision[:, threshold]).sum(1) / positives.sum(1)


def resamples(examples: int, draws: int, generator: Generator | None = None) -> Tensor:
    """How often each example counts: once, then as drawn with replacement, `(1 + draws, N)`."""
    drawn = torch.randint(examples, (draws, examples), generator=generator)
    counts = torch.zeros(1 + draws, examples, dtype=torch.float64)
    counts[0] = 1
    counts[1:].scatter_add_(1, drawn, torch.ones(1, 1, dtype=torch.float64).expand_as(drawn))
    return counts
