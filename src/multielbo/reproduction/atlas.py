"""The atlas: every pool under every objective, as a grid of models, numbers and verdicts."""

from __future__ import annotations

__all__ = [
    "GRID",
    "OBJECTIVES",
    "QUANTITIES",
    "Quantity",
    "against",
    "cells",
    "comparison",
    "gain",
    "heat_maps",
    "probe_alone",
    "recorded_cells",
    "said",
    "seeds_of",
    "silent",
    "verdict",
    "verdicts",
]

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from multielbo.plots import INK, MUTED
from multielbo.reproduction.figures import frame
from multielbo.reproduction.request import Request
from multielbo.reproduction.runs import runs
from multielbo.reproduction.values import by_seed
from multielbo.scoreboard.contrasts import Contrast, contrast, greater
from multielbo.scoreboard.markdown import grid, printed
from multielbo.scoreboard.runs import Run

Metrics = Sequence[Mapping[str, Any]]  # of each seed, by name

OBJECTIVES = ("joint", "sub-sampled", "mixture")
# A row for each pool, a model for each objective; None where the pair is no model of its own.
GRID: dict[str, tuple[str | None, str | None, str | None]] = {
    "product with prior": ("product", "mvae", "mopoe-with-prior"),
    "product": (None, None, "mopoe"),
    "log-pool": ("log-pool", "log-pool-subsampled", "mixture-of-log-pools"),
    "Wasserstein": ("wb-vae", "wb-vae-subsampled", "mwb-vae"),
    "Hellinger": ("hellinger", None, "mixture-of-hellinger"),
    "single experts": ("mmvae", None, "mmvae-averaged"),
}


class Quantity(NamedTuple):
    """One heat map.

    Attributes:
        label: What it shows.
        metric: Name in a record's metrics.
        index: Which entry of a list, or None for a number.
        digits: Behind the point.
    """

    label: str
    metric: str
    index: int | None
    digits: int

    def of(self, metrics: Metrics) -> NDArray[np.float64]:
        """Its value for each seed, `(S,)`.

        Args:
            metrics: By name the metrics of each seed.
        """
        values = [one[self.metric] for one in metrics]
        return np.array([v if self.index is None else v[self.index] for v in values], float)


QUANTITIES = (
    Quantity("coherence from 1", "coherence_by_inputs", 0, 2),
    Quantity("coherence from M - 1", "coherence_by_inputs", -1, 2),
    Quantity("joint coherence", "joint_coherence", None, 2),
    Quantity("probe accuracy from 1", "probe_by_inputs", 0, 2),
    Quantity("probe accuracy from M", "probe_by_inputs", -1, 2),
    Quantity("log p(x) from M, in nats", "log_likelihood_by_inputs", -1, 0),
)


def cells() -> dict[str, str]:
    """The models of the grid, row by row, with their pool and objective in words."""
    return {
        model: f"{pool}, {objective}"
        for pool, row in GRID.items()
        for objective, model in zip(OBJECTIVES, row, strict=True)
        if model is not None
    }


def recorded_cells(dataset: str, results: Path) -> dict[str, Run]:
    """By model the laptop records of a data set; cells without one are left out.

    Args:
        dataset: A name of the presets.
        results: Folder of all records.

    Raises:
        ValueError: A record is not as it was written, or lies where another belongs.
    """
    found = runs(Request(dataset, tuple(cells()), "quick", results, Path()))
    return {m: run for m, run in found.items() if run and run.record.profile == "laptop"}


def seeds_of(found: Mapping[str, Run]) -> dict[str, list[dict[str, Any]]]:
    """By model the metrics of each seed."""
    return {
        model: [
            dict(zip(run.record.metrics, values, strict=True))
            for values in zip(*run.record.metrics.values(), strict=True)
        ]
        for model, run in found.items()
    }


def probe_alone(run: Run) -> NDArray[np.float64]:
    """Probe accuracy from each modality by itself, `(S, M)`, of every seed.

    Args:
        run: A record with the arrays `probe` and `subsets`.
    """
    probe, members = by_seed(run, "probe"), by_seed(run, "subsets")[0]
    alone = members.sum(1) == 1
    return probe[:, alone][:, members[alone].argmax(1).argsort()]


def gain(run: Run, first: int, second: int) -> NDArray[np.float64]:
    """What the probe reads of two modalities together beyond the first alone, `(S,)`.

    Args:
        run: As for `probe_alone`.
        first, second: Places of two modalities.
    """
    probe, members = by_seed(run, "probe"), by_seed(run, "subsets")[0].astype(bool)
    alone, both = np.zeros((2, members.shape[1]), bool)
    alone[first] = both[[first, second]] = True
    at_alone, at_both = ((members == wanted).all(1).argmax() for wanted in (alone, both))
    return probe[:, at_both] - probe[:, at_alone]


def silent(run: Run, chance: float) -> NDArray[np.int64]:
    """Of how many modalities the own posterior tells next to nothing of the class, `(S,)`.

    The mark is half as much again as chance. A silent expert scores chance, up to the error of the
    probe, which is a hundredth; experts that speak score well above.

    Args:
        run: As for `probe_alone`.
        chance: Accuracy of a guess.
    """
    return (probe_alone(run) < 1.5 * chance).sum(1)


def said(found: Mapping[str, Run]) -> str:
    """One line for below a figure: how many cells, seeds, on which data, fresh or stale."""
    if not found:
        return "No records yet."
    records = [run.record for run in found.values()]
    states = Counter(run.freshness.state for run in found.values())
    seeds = sorted({len(record.seeds) for record in records})
    data = sorted({run.data for run in found.values()})
    return (
        f"{len(found)} cells of {len(cells())}, laptop profile, "
        f"{' to '.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds each, on "
        f"{', '.join(data)}; {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}. "
        "Means and standard deviations over seeds."
    )


def against(
    first: Metrics,
    second: Metrics,
    quantity: Quantity,
) -> Contrast:
    """How far one model lies above another, with its error over seeds.

    Args:
        first, second: Metrics of each seed, two seeds at least of each model.
        quantity: Of which metric.

    Raises:
        ValueError: A model has one seed only.
    """
    return contrast([quantity.of(first), -quantity.of(second)])


def verdict(difference: Contrast) -> str:
    """`"higher"`, `"lower"` or `"undecided"`, at the level of `contrasts.LEVEL`."""
    if greater([difference]) == "holds":
        return "higher"
    below = Contrast(-difference.value, difference.standard_error, difference.freedom)
    return "lower" if greater([below]) == "holds" else "undecided"


def verdicts(found: Mapping[str, Metrics], first: str, second: str) -> dict[str, str]:
    """By quantity how the first model lies to the second, as `verdict` says it.

    Args:
        found: By model the metrics of each seed.
        first, second: Two models of it, with two seeds each at least.

    Raises:
        ValueError: A model has one seed only.
    """
    return {q.label: verdict(against(found[first], found[second], q)) for q in QUANTITIES}


def comparison(found: Mapping[str, Metrics], pairs: Sequence[tuple[str, str]]) -> str:
    """A table of differences with their standard errors over seeds, and a verdict on each.

    Args:
        found: By model the metrics of each seed.
        pairs: Each the model that is asked about, and the one that it is compared with; pairs of
            which one has not two seeds are left out.
    """
    names = cells()
    rows = []
    for first, second in pairs:
        if min(len(found.get(model, ())) for model in (first, second)) < 2:
            continue
        row = [f"{names[first]} − {names[second]}"]
        for quantity in QUANTITIES:
            difference = against(found[first], found[second], quantity)
            digits = quantity.digits and quantity.digits + 1  # differences are small
            amount = f"{difference.value:+.{digits}f}"
            error = f"{difference.standard_error:.{digits}f}"
            row.append(printed(f"{amount} ± {error}") + f"<br>{verdict(difference)}")
        rows.append(row)
    if not rows:
        return "*No two of these have records yet.*"
    return grid(["difference", *(quantity.label for quantity in QUANTITIES)], rows)


def heat_maps(
    figure: Figure,
    found: Mapping[str, Metrics],
    *,
    title: str,
    below: str,
    quick: bool = False,
) -> None:
    """One heat map for each quantity: pools down, objectives across, means over seeds.

    Each map has its own scale of colours, dark for the best; under the mean stands the standard
    deviation over seeds, where there are several.

    Args:
        figure: Where to draw.
        found: By model the metrics of each seed; cells without a model stay empty.
        title: The message.
        below: Where the numbers come from.
        quick: Draw in grey, as quick runs are no results.
    """
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for ax, quantity in zip(axes.flat, QUANTITIES, strict=True):
        mean, spread = np.full((2, len(GRID), len(OBJECTIVES)), np.nan)
        for row, models in enumerate(GRID.values()):
            for column, model in enumerate(models):
                if model in found:
                    values = quantity.of(found[model])
                    mean[row, column] = values.mean()
                    spread[row, column] = values.std(ddof=1) if len(values) > 1 else np.nan
        ax.imshow(mean, cmap="Greys" if quick else "Blues", aspect="auto", **_scale(mean))
        middle = np.nanmean([np.nanmin(mean), np.nanmax(mean)]) if found else 0.0
        for (row, column), value in np.ndenumerate(mean):
            known = not np.isnan(value)
            said = f"{value:.{quantity.digits}f}" if known else "·"
            if known and not np.isnan(spread[row, column]):
                said += f"\n± {spread[row, column]:.{quantity.digits}f}"
            color = "white" if known and value > middle else INK if known else MUTED
            ax.text(column, row, said, ha="center", va="center", fontsize=8, color=color)
        ax.set_title(quantity.label, fontsize=10)
        ax.set_xticks(range(len(OBJECTIVES)), OBJECTIVES, fontsize=8)
        ax.set_yticks(range(len(GRID)), list(GRID), fontsize=8)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    frame(figure, title, below)


def _scale(values: NDArray[np.float64]) -> dict[str, float]:
    """Ends of the colours; where nothing is known, any will do."""
    known = values[~np.isnan(values)]
    return {"vmin": known.min(), "vmax": known.max()} if len(known) else {"vmin": 0, "vmax": 1}
