"""Figures as the papers draw them, from records."""

from __future__ import annotations

__all__ = ["attributes", "curves", "frame", "matrices", "samples"]

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from multielbo.plots import INK, LABELS, MUTED, colour, image_grid
from multielbo.reproduction.values import averaged, by_seed, subset_labels
from multielbo.scoreboard.runs import Run


def curves(
    figure: Figure, shown: Mapping[str, Run], panels: Mapping[str, str], *, title: str, below: str
) -> None:
    """Metrics against the number of inputs, a panel each, joint coherence in the legend.

    Bars are two standard errors.

    Args:
        figure: Where to draw.
        shown: By model its record.
        panels: Metric by the label of its axis.
        title: The message.
        below: Where the records come from.
    """
    lines = -(-len(shown) // 2)
    drawn, legend = figure.subfigures(2, 1, height_ratios=(14, lines))
    axes = drawn.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, metric) in zip(axes, panels.items(), strict=True):
        for place, (model, run) in enumerate(shown.items()):
            if (found := averaged(run, metric)) is None:
                continue
            # Side by side, or equal models would hide each other.
            offset = 0.05 * (place - (len(shown) - 1) / 2)
            at = np.arange(1, len(found[0]) + 1) + offset
            ax.errorbar(at, found[0], 2 * found[1], color=colour(model), marker="o", ms=3.5, lw=1.4)
        ax.set(xlabel="number of inputs", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for model, run in shown.items():
        joint = averaged(run, "joint_coherence")
        said = "" if joint is None else f", joint {joint[0][0]:.3f} ± {joint[1][0]:.3f}"
        axes[0].plot([], [], color=colour(model), marker="o", ms=3.5, label=LABELS[model] + said)
    legend.legend(*axes[0].get_legend_handles_labels(), loc="center", ncols=2, fontsize=9)
    frame(figure, title, below)


def matrices(
    figure: Figure, shown: Mapping[str, Run], names: Sequence[str], *, title: str, below: str
) -> None:
    """Coherence from every proper subset to every modality outside it, a panel for each model.

    Args:
        figure: Where to draw.
        shown: By model its record.
        names: Of the modalities.
        title: The message.
        below: Where the records come from.
    """
    columns = min(3, len(shown))
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False, sharex=True)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, (model, run) in zip(axes.flat, shown.items(), strict=False):
        values = by_seed(run, "coherence").mean(0)
        rows = subset_labels(by_seed(run, "subsets")[0][: len(values)], names)
        picture = ax.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                ink = "white" if value < 0.6 else INK
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, size=8)
        ax.set_xticks(range(len(names)), [f"→ {name}" for name in names], fontsize=8, rotation=30)
        ax.set_yticks(range(len(rows)), rows if ax in axes[:, 0] else [], fontsize=8)
        ax.set_title(LABELS[model], loc="center", fontsize=10, color=colour(model))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.colorbar(picture, ax=axes, label="coherence", shrink=0.6)
    frame(figure, title, below)


def attributes(
    figure: Figure,
    found: Mapping[str, Mapping[str, ArrayLike]],
    names: Sequence[str],
    *,
    title: str,
    below: str,
) -> None:
    """A value of every attribute, a panel for each model; all panels are in one order.

    Args:
        figure: Where to draw.
        found: By model and by label one value for each attribute, `(A,)`; not a number where
            nobody has it. The first label's mean over models gives the order.
        names: Of the attributes.
        title: The message.
        below: Where the records come from.
    """
    first = np.mean([next(iter(values.values())) for values in found.values()], axis=0)
    order = np.argsort(np.nan_to_num(first))
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for ax, (model, values) in zip(axes, found.items(), strict=True):
        for (label, one), marker in zip(values.items(), "osx^Dv+", strict=False):
            at = np.asarray(one, float)[order]
            ax.plot(at, range(len(order)), marker, ms=4, mfc="none", color=INK, label=label)
        ax.set_title(LABELS[model], loc="center", fontsize=10, color=colour(model))
        ax.set(xlabel="average precision", xlim=(0, 1), ylim=(-1, len(order)))
        ax.grid(axis="y", lw=0.4)
    axes[0].set_yticks(range(len(order)), [names[i].replace("_", " ") for i in order], size=7)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    frame(figure, title, below)


def samples(
    figure: Figure,
    made: Mapping[str, Mapping[str, NDArray]],
    names: Sequence[str],
    *,
    example: int = 0,
    title: str,
    below: str,
) -> None:
    """What models generate of one tuple, models down, modalities and growing inputs across.

    Args:
        figure: Where to draw.
        made: As `values.samples` gives them: pictures `(M, examples, C, H, W)`, and paths of a pen
            `(M, examples, P, 2)` in the unit square, which start at a dot.
        names: Of all modalities, in their order.
        example: Which tuple.
        title: The message.
        below: Where the records come from.
    """
    given = [f"from\n{names[0]}", *(f"and\n{name}" for name in names[1:])]
    shown = next(iter(made.values()))
    rows = [[one[:, example] for one in there.values()] for there in made.values()]
    axes = image_grid(
        figure,
        [[x if x.ndim == 3 else None for one in row for x in one] for row in rows],
        [LABELS[model] for model in made],
        [f"→ {name}\n{inputs}" for name in shown for inputs in given],
    )
    for ax in axes[0]:
        ax.title.set_fontsize(8.5)
    for cells, row in zip(axes, rows, strict=True):
        for ax, x in zip(cells, (x for one in row for x in one), strict=True):
            if x.ndim == 2:
                across, up = 0.1 + 0.8 * np.asarray(x, float).T
                ax.plot(across, up, color=INK, lw=1.6, transform=ax.transAxes)
                ax.plot(across[:1], up[:1], "o", ms=3, color=INK, transform=ax.transAxes)
    frame(figure, title, below)


def frame(figure: Figure, title: str, below: str) -> None:
    """Put the message above a figure, and below it where its records come from."""
    figure.suptitle(title, weight="bold", fontsize=12, x=0.01, ha="left")
    width = int(figure.get_figwidth() * 15)
    figure.supxlabel(textwrap.fill(below, width), fontsize=8, color=MUTED, x=0.01, ha="left")
