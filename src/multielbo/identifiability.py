"""Mean correlation coefficients: how far learned latents agree with those that made the data."""

from __future__ import annotations

__all__ = ["Split", "canonical_mcc", "chance", "halves", "matching", "strong_mcc", "weak_mcc"]

import math
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from multielbo.dependence import Correlation, orthonormal, pearson, varies


class Split(NamedTuple):
    """Rows on which matching and maps are fitted, and rows on which they are judged.

    Attributes:
        fit, judge: Bool, `(n,)`; the same rows twice is a score in sample.
    """

    fit: Tensor
    judge: Tensor


def halves(examples: int, generator: Generator) -> Split:
    """A random half to fit, the other to judge: rows of data may come in an order."""
    fit = torch.zeros(examples, dtype=torch.bool)
    fit[torch.randperm(examples, generator=generator)[: examples // 2]] = True
    return Split(fit, ~fit)


def strong_mcc(
    learned: Tensor, true: Tensor, split: Split, correlation: Correlation = pearson
) -> Tensor:
    """Agreement up to order, sign, scale and shift of each latent, Equation eq-mcc-strong.

    Args:
        learned: Learned latents, `(n, I)`; one that never varies agrees with nothing.
        true: True latents, `(n, J)`.
        split: Where the matching is found and where it is judged.
        correlation: Between columns.

    Returns:
        Average over the true latents; of those beyond the I-th best, none is matched, and they
        count zero.

    Raises:
        ValueError: Rows are too few or do not pair, a value is not finite, or a true latent is
            constant.
    """
    learned, true = _checked(learned, true, split)
    rows, columns = matching(correlation(learned[split.fit], true[split.fit]))
    judged = correlation(learned[split.judge], true[split.judge])
    return judged[rows, columns].sum() / true.shape[1]


def weak_mcc(
    learned: Tensor, true: Tensor, split: Split, correlation: Correlation = pearson
) -> Tensor:
    """Agreement up to an affine map, fitted by least squares, Equation eq-mcc-weak.

    Args:
        learned: Learned latents, `(n, I)`.
        true: True latents, `(n, J)`.
        split: Where the map is fitted and where it is judged.
        correlation: Between each true latent and its prediction.

    Raises:
        ValueError: As for `strong_mcc`, or there are as many coefficients as rows to fit.
    """
    learned, true = _checked(learned, true, split)
    needed = learned.shape[1] + 2
    if int(split.fit.sum()) < needed:
        raise ValueError(
            f"mcc: {int(split.fit.sum())} rows fit an affine map of {learned.shape[1]} latents "
            f"whatever they are; take {needed} or more"
        )
    x, y = learned[split.fit], true[split.fit]
    # gelsd: a learned latent may be constant, or a copy of another.
    solution = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0), driver="gelsd").solution
    predicted = learned[split.judge] @ solution
    return correlation(predicted, true[split.judge]).diagonal().mean()


def canonical_mcc(
    learned: Tensor,
    true: Tensor,
    split: Split,
    components: int | None = None,
    correlation: Correlation = pearson,
) -> Tensor:
    """Average correlation of canonical pairs, Equation eq-mcc-canonical.

    Args:
        learned: Learned latents, `(n, I)`.
        true: True latents, `(n, J)`.
        split: Where canonical directions are found and where they are judged.
        components: How many pairs, from the most correlated on; by default all of the J.
        correlation: Between the two sides of a pair.

    Raises:
        ValueError: As for `weak_mcc`, or the number of pairs is not one that there can be.
    """
    learned, true = _checked(learned, true, split)
    components = true.shape[1] if components is None else components
    if not 1 <= components <= true.shape[1]:
        raise ValueError(f"mcc: {components} canonical pairs of {true.shape[1]} true latents")
    if int(split.fit.sum()) < learned.shape[1] + true.shape[1] + 2:
        raise ValueError(
            f"mcc: {int(split.fit.sum())} rows are too few for canonical directions of "
            f"{learned.shape[1]} and {true.shape[1]} latents"
        )
    sides = [x[split.fit] - x[split.fit].mean(0) for x in (learned, true)]
    bases = [orthonormal(x) for x in sides]
    left, _, right = torch.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    scores = []
    for x, side, basis, turn in zip((learned, true), sides, bases, (left, right.mT), strict=True):
        solution = torch.linalg.lstsq(side, basis @ turn[:, :components], driver="gelsd").solution
        scores.append(x[split.judge] @ solution)
    return correlation(*scores).diagonal().sum() / components


def matching(correlations: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of rows and columns, each used once, with the largest sum of correlations."""
    rows, columns = linear_sum_assignment(correlations.numpy(), maximize=True)
    return torch.from_numpy(rows), torch.from_numpy(columns)


def chance(examples: int) -> float:
    """Expected absolute correlation of two independent Gaussian columns, Equation eq-mcc-chance.

    Args:
        examples: Number of rows, at least 3.
    """
    half = 0.5 * (examples - 1)
    return math.exp(math.lgamma(half) - math.lgamma(half + 0.5)) / math.sqrt(math.pi)


def _checked(learned: Tensor, true: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """Both as float64, after all that can be wrong with them was looked for."""
    if learned.dim() != 2 or true.dim() != 2 or len(learned) != len(true):
        raise ValueError(
            f"mcc: learned latents are {tuple(learned.shape)}, true ones {tuple(true.shape)}; "
            "both must be (examples, latents) of the same examples"
        )
    for name, rows in split._asdict().items():
        if rows.dtype != torch.bool or rows.shape != (len(true),):
            raise ValueError(f"mcc: split.{name} must be {len(true)} booleans, one per example")
        if int(rows.sum()) < 3:
            raise ValueError(
                f"mcc: {int(rows.sum())} rows to {name}; two rows always correlate, take 3 or more"
            )
    for name, x in (("learned", learned), ("true", true)):
        if x.shape[1] == 0:
            raise ValueError(f"mcc: no {name} latents")
        wrong = ~x.isfinite()
        if wrong.any():
            row, column = (int(i) for i in wrong.nonzero()[0])
            raise ValueError(
                f"mcc: {name} latent {column} of example {row} is {float(x[row, column])}"
            )
    learned, true = learned.detach().double().cpu(), true.detach().double().cpu()
    for rows in split:
        still = ~varies(true[rows])
        if still.any():
            raise ValueError(
                f"mcc: true latent {int(still.nonzero()[0])} is constant; "
                "leave out what cannot be identified"
            )
    return learned, true
