"""Ours against the published numbers, as one picture."""

from __future__ import annotations

__all__ = ["Point", "against", "points"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from multielbo.plots import COLOURS, INK
from multielbo.scoreboard.comparison import cell, nearest
from multielbo.scoreboard.numbers import Number
from multielbo.scoreboard.published import Table
from multielbo.scoreboard.runs import Run
from multielbo.scoreboard.systems import Systems

MARKERS = {"reproduced": "o", "not reproduced": "X", "not comparable": "s"}


class Point(NamedTuple):
    """One published share, ours beside it."""

    system: str
    model: str
    published: Number
    ours: NDArray[np.float64]
    word: str


def points(tables: Iterable[Table], runs: Sequence[Run], systems: Systems) -> list[Point]:
    """Every published share between 0 and 1 that a record of ours stands beside."""
    found = []
    for table in tables:
        for system in table.rows if not table.repeats else ():
            run = nearest(runs, table, system, systems)
            for index, column in enumerate(table.columns) if run else ():
                one = cell(table, system, index, run, systems)
                share = column.metric is not None and "likelihood" not in column.metric
                if share and one.published and one.ours is not None:
                    name = systems.systems[system].name
                    word = one.verdict.word
                    found.append(Point(name, run.model, one.published, one.ours, word))
    return found


def against(ax: Axes, shown: Sequence[Point]) -> None:
    """Ours over published, with the diagonal on which they agree; bars are standard deviations.

    Args:
        ax: Where to draw.
        shown: As `points` gives them; colour is the system, the marker's form the verdict.
    """
    ax.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":", zorder=0)
    labelled: set[str] = set()
    for point in shown:
        label = f"{point.system}, {point.word}"
        ax.errorbar(
            point.published.value,
            point.ours.mean(),
            xerr=point.published.spread,
            yerr=point.ours.std(ddof=1) if len(point.ours) > 1 else None,
            color=COLOURS.get(point.model, INK),
            marker=MARKERS[point.word],
            ms=5,
            lw=0.8,
            label=None if label in labelled else label,
        )
        labelled.add(label)
    ax.set(xlabel="published share", ylabel="ours", xlim=(0, 1), ylim=(0, 1))
    ax.set_aspect("equal")
    ax.figure.legend(loc="outside lower center", ncols=2, fontsize=9)
