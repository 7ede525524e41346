"""What records hold of each seed, laid out for tables and figures."""

from __future__ import annotations

__all__ = ["averaged", "by_seed", "by_target", "mute", "samples", "subset_labels"]

from collections.abc import Mapping, Sequence

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


def by_target(run: Run, array: str, names: Sequence[str]) -> dict[str, NDArray] | None:
    """A value of every target given every proper subset, mean over seeds, by `inputs → target`.

    Args:
        run: A record.
        array: What it calls the values, `(K - 1, M, ...)` for each seed.
        names: Of the modalities.

    Returns:
        `(...)` for each subset and target outside it; None if the record does not hold it.
    """
    if (found := by_seed(run, array)) is None:
        return None
    membership = by_seed(run, "subsets")[0][: found.shape[1]]
    return {
        f"{inputs} → {names[target]}": found[:, row, target].mean(0)
        for row, inputs in enumerate(subset_labels(membership, names))
        for target in np.flatnonzero(~membership[row])
    }


def samples(shown: Mapping[str, Run], names: Sequence[str]) -> dict[str, dict[str, NDArray]]:
    """What models generate of the same tuples, by model and modality.

    Models without samples are left out, and modalities that not all of the others keep.

    Args:
        shown: By model its record.
        names: Of the modalities.

    Returns:
        `(M, examples, ...)` each, as the data are stored: given the first modality, the first two,
        and so on to all.
    """
    kept = {}
    for model, run in shown.items():
        found = {name: by_seed(run, f"samples_{name}", seeds=1) for name in names}
        if there := {name: array[0] for name, array in found.items() if array is not None}:
            kept[model] = there
    common = [name for name in names if all(name in there for there in kept.values())]
    return {
        model: {name: there[name] for name in common} for model, there in kept.items() if common
    }


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
