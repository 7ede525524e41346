"""What records hold of each seed, laid out for tables and figures."""

from __future__ import annotations

__all__ = ["averaged", "by_seed", "mute", "subset_labels"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multielbo.scoreboard.runs import Run


def by_seed(run: Run, array: str, seeds: int | None = None) -> NDArray | None:
    """An array of every seed, `(S, ...)`; None if the record does not hold it.

    Args:
        run: A record.
        array: Its name without the seed, such as `"coherence"`.
        seeds: How many of them; pictures are kept of the first alone.
    """
    found = [run.arrays.get(f"{array}_seed{seed}") for seed in run.record.seeds[:seeds]]
    return None if any(one is None for one in found) else np.stack(found)


def averaged(run: Run, metric: str) -> tuple[NDArray, NDArray] | None:
    """Mean of a metric over seeds, and its standard error.

    Of a single seed the error is the one over test tuples that the evaluation gives, which says
    nothing of another training; where it gives none, the error is not a number.

    Args:
        run: A record.
        metric: A number or a list of numbers for each seed.

    Returns:
        `(n,)` each, with n one for a number; None if the record does not hold the metric.
    """
    if metric not in run.record.metrics:
        return None
    values = np.array([np.atleast_1d(one) for one in run.record.metrics[metric]], float)
    if len(values) > 1:
        return values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5
    errors = run.record.metrics.get(f"{metric}_standard_error", [np.full_like(values[0], np.nan)])
    return values[0], np.atleast_1d(errors[0])


def mute(run: Run, classes: int = 10) -> dict[int, list[int]]:
    """By seed the modalities that are generated no better than by chance, whatever is given.

    Its latents or its decoder were lost in training, which says little of aggregation.

    Args:
        run: A record.
        classes: Number of classes; up to one and a half times their share counts as chance.
    """
    found = {}
    for seed in run.record.seeds:
        best = np.nanmax(run.arrays[f"coherence_seed{seed}"], axis=0)
        if len(lost := np.flatnonzero(best < 1.5 / classes).tolist()):
            found[seed] = lost
    return found


def subset_labels(membership: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """Each subset in words.

    >>> subset_labels(np.array([[True, False], [True, True]]), ["image", "text"])
    ['image', 'image, text']
    """
    return [", ".join(np.array(names)[row]) for row in membership]
