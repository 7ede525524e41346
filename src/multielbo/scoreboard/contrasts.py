"""Decisions on differences of means over few seeds, by Student's t."""

from __future__ import annotations

__all__ = ["ANSWERS", "LEVEL", "Contrast", "contrast", "equal", "greater"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.05  # two-sided
ANSWERS = ("holds", "does not hold", "undecided", "no record")


class Contrast(NamedTuple):
    """A difference of means, its standard error, and the degrees of freedom of that error."""

    value: float
    standard_error: float
    freedom: float


def contrast(parts: Iterable[ArrayLike]) -> Contrast:
    """Sum of the means of independent parts; Welch and Satterthwaite's degrees of freedom.

    Args:
        parts: For each model its signed values, one a seed, `(S,)`. What one model contributes is
            paired within its seeds; different models are independent, although they share seeds.

    Raises:
        ValueError: A part has one value only, so that its error is not known.
    """
    samples = [np.asarray(part, float) for part in parts]
    if any(len(sample) < 2 for sample in samples):
        raise ValueError("contrast: one seed has no standard error; give two or more of each model")
    variances = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    total = variances.sum()
    weighted = sum(v**2 / (len(s) - 1) for v, s in zip(variances, samples, strict=True))
    freedom = total**2 / weighted if weighted > 0 else float(min(map(len, samples)) - 1)
    value = sum(sample.mean() for sample in samples)
    return Contrast(float(value), float(total**0.5), float(freedom))


def greater(contrasts: Sequence[Contrast], level: float = LEVEL) -> str:
    """Whether all contrasts are positive: one of `ANSWERS`.

    It holds if each exceeds t times its error, t at 1 - level / 2; asking all of them needs no
    correction. It does not hold if one falls below minus that, with the level shared among them,
    because any of several might do so by chance.
    """
    if all(c.value > _quantile(c, level / 2) * c.standard_error for c in contrasts):
        return "holds"
    shared = level / 2 / len(contrasts)
    if any(c.value < -_quantile(c, shared) * c.standard_error for c in contrasts):
        return "does not hold"
    return "undecided"


def equal(contrasts: Sequence[Contrast], margin: float, level: float = LEVEL) -> str:
    """Whether all contrasts lie within the margin of zero: one of `ANSWERS`.

    It holds if each interval of confidence 1 - level lies inside, and does not if one, with the
    level shared among them, lies outside. An insignificant difference alone proves nothing.
    """
    if all(abs(c.value) + _quantile(c, level / 2) * c.standard_error < margin for c in contrasts):
        return "holds"
    shared = level / 2 / len(contrasts)
    if any(abs(c.value) - _quantile(c, shared) * c.standard_error > margin for c in contrasts):
        return "does not hold"
    return "undecided"


def _quantile(c: Contrast, tail: float) -> float:
    return float(stats.t.ppf(1 - tail, c.freedom))
