"""Whether a published number is reproduced, and by what a comparison is barred."""

from __future__ import annotations

__all__ = [
    "WORDS",
    "Cell",
    "Verdict",
    "cell",
    "differences",
    "nearest",
    "published_error",
    "reproduces",
    "verdict",
]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multielbo.scoreboard.numbers import Number
from multielbo.scoreboard.published import Table
from multielbo.scoreboard.runs import Run, measured
from multielbo.scoreboard.systems import Systems

WORDS = (
    "reproduced",
    "not reproduced",
    "not comparable",
    "not run",
    "not known",
    "not implemented",
)
READABLE = {  # settings of `Experiment` as a reader would say them
    "latent_dim": "latent dimensions",
    "train_examples": "training tuples",
    "likelihood_examples": "test tuples for the likelihood",
    "importance_samples": "importance samples",
    "probe_examples": "tuples for the probe",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
}


class Verdict(NamedTuple):
    """One of `WORDS`, and the reason where the word needs one."""

    word: str
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """One published number beside MultiVae's and ours.

    Attributes:
        published, multivae: As printed, or None.
        ours: One value a seed, or None.
        verdict: On ours.
    """

    published: Number | None
    multivae: Number | None
    ours: NDArray[np.float64] | None
    verdict: Verdict


def reproduces(ours: NDArray[np.float64], published: Number, error: float) -> bool:
    """Whether |mean(ours) - published| <= 2 sqrt(se_ours^2 + se_published^2) + half a unit.

    Args:
        ours: One value a seed, `(S,)`; two or more.
        published: What is printed; half a unit of its last digit may be due to rounding.
        error: The published mean's standard error.

    Raises:
        ValueError: There is one seed only, which has no standard error.
    """
    if len(ours) < 2:
        raise ValueError("reproduces: one seed has no standard error; give two or more")
    own = ours.std(ddof=1) / len(ours) ** 0.5
    apart = abs(ours.mean() - published.value)
    return bool(apart <= 2 * (own**2 + error**2) ** 0.5 + published.half_unit)


def published_error(table: Table, number: Number) -> float | None:
    """The standard error of a published mean; 0 without a spread, None if its runs are not known.

    A number without a spread counts as exact, which makes it harder to reproduce, not easier.
    """
    if number.spread is None:
        return 0.0
    if table.runs is None:
        return None
    return number.spread / (table.runs - table.population) ** 0.5


def differences(run: Run, table: Table, system: str, systems: Systems) -> list[str]:
    """What makes a run another experiment than the published one, in words; empty if nothing does.

    Args:
        run: Of a model that stands for the system.
        table: What was published.
        system: Key of the system, a row of the table.
        systems: As `read_systems` gives them.
    """
    found = [] if run.record.profile == "full" else [f"{run.record.profile} profile"]
    if run.data not in systems.datasets[table.dataset].data:
        found.append(f"data {run.data}")
    if run.model != table.models[system][0]:
        found.append(f"our {run.model} stands in")
    for key, wanted in table.settings.items():
        had = run.record.config.get(key, "unknown")
        had = had[0] if isinstance(had, Sequence) and not isinstance(had, str) else had
        if had != wanted:
            name = READABLE.get(key, key)
            found.append(f"{_said(had)} {name} instead of {_said(wanted)}")
    found += [table.differs[key] for key in ("all", system) if key in table.differs]
    if len(run.record.seeds) < 2:
        found.append("one seed, which has no spread")
    return found


def nearest(runs: Iterable[Run], table: Table, system: str, systems: Systems) -> Run | None:
    """The run that differs least from what was published; of equal ones the full, larger one."""
    stand = [r for r in runs if r.dataset == table.dataset and r.model in table.models[system]]

    def order(run: Run) -> tuple[int, bool, int]:
        barred = differences(run, table, system, systems)
        return len(barred), run.record.profile != "full", -len(run.record.seeds)

    return min(stand, key=order, default=None)


def verdict(
    ours: NDArray[np.float64], published: Number | None, table: Table, barred: Sequence[str]
) -> Verdict:
    """The verdict on a number of ours.

    Only a full run on the published data, with the published settings, can reproduce: whatever
    `differences` finds makes the numbers incomparable, however close they are.

    Args:
        ours: One value a seed.
        published: None where it is not known.
        table: Where it is published.
        barred: As `differences` gives them.
    """
    if published is None:
        return Verdict("not known", "; ".join(barred))
    error = published_error(table, published)
    if error is None:
        barred = [*barred, "how many runs the published spread is over is not known"]
    if barred or error is None:
        return Verdict("not comparable", "; ".join(barred))
    return Verdict("reproduced" if reproduces(ours, published, error) else "not reproduced")


def cell(table: Table, system: str, index: int, run: Run | None, systems: Systems) -> Cell:
    """One cell of a published table, with ours beside it.

    Args:
        table: What was published.
        system: Its row.
        index: Of its column.
        run: As `nearest` gives it.
        systems: As `read_systems` gives them.
    """
    published = table.rows[system][index]
    multivae = table.multivae[system][index] if system in table.multivae else None
    if run is None:
        implemented = systems.systems[system].implemented
        missing = Verdict("not run" if implemented else "not implemented")
        return Cell(published, multivae, None, missing)
    ours = measured(run, table.columns[index], systems.datasets[table.dataset].modalities)
    if ours is None:
        missing = Verdict("not run", "the record does not hold this quantity")
        return Cell(published, multivae, None, missing)
    barred = differences(run, table, system, systems)
    return Cell(published, multivae, ours, verdict(ours, published, table, barred))


def _said(value: Any) -> str:
    if value is None:
        return "all"
    return f"{value:,}" if isinstance(value, int) else f"{value}"
