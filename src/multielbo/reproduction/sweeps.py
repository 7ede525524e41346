"""What a sweep over beta trades: joint coherence against the log-likelihood."""

from __future__ import annotations

__all__ = ["trade_off"]

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from multielbo.plots import LABELS, colour
from multielbo.reproduction.values import by_seed
from multielbo.scoreboard.numbers import Number
from multielbo.scoreboard.runs import Run


class _Point(NamedTuple):
    """Log-likelihood and joint coherence of every seed."""

    nats: NDArray
    share: NDArray


def trade_off(
    ax: Axes,
    sweeps: Mapping[str, Sequence[Run]],
    printed: Mapping[str, tuple[Number, Number]],
    likelihood: str = "log_likelihood",
) -> None:
    """Joint coherence against the log-likelihood of all modalities, a point for each beta.

    Bars are standard deviations over seeds; hollow diamonds are published.

    Args:
        ax: Where to draw.
        sweeps: By model its records in the order of beta.
        printed: By model the published log-likelihood and joint coherence.
        likelihood: The array whose last entry has seen all modalities.
    """
    for model, runs in sweeps.items():
        points = []
        for run in runs:
            found = by_seed(run, likelihood)
            joint = run.record.metrics.get("joint_coherence")
            if found is None or joint is None:
                continue
            one = _Point(found[:, -1], np.array(joint, float))
            points.append(one)
            ax.annotate(
                f"{run.record.config['beta']:g}",
                (one.nats.mean(), one.share.mean()),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
                color=colour(model),
            )
        if points:
            ax.errorbar(
                [one.nats.mean() for one in points],
                [one.share.mean() for one in points],
                xerr=[_spread(one.nats) for one in points],
                yerr=[_spread(one.share) for one in points],
                color=colour(model),
                marker="o",
                ms=5,
                lw=1.0,
                label=f"{LABELS[model]}, ours",
            )
    for model, (nats, share) in printed.items():
        ax.errorbar(
            nats.value,
            share.value,
            xerr=nats.spread,
            yerr=share.spread,
            color=colour(model),
            marker="D",
            mfc="white",
            ms=6,
            lw=1.0,
            ls="none",
            label=f"{LABELS[model]}, in print",
        )
    ax.set(xlabel="log-likelihood of all modalities (nats)", ylabel="joint coherence")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)


def _spread(values: NDArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
