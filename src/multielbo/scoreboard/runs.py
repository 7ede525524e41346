"""Our records as the scoreboard reads them: which model on which data, and one value a seed."""

from __future__ import annotations

__all__ = ["Run", "measured", "read_runs"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multielbo.records import Freshness, Record, freshness, load
from multielbo.scoreboard.columns import Column
from multielbo.scoreboard.systems import Systems


@dataclass(frozen=True)
class Run:
    """One record.

    Attributes:
        record: As it was written.
        arrays: With it.
        dataset: Key of the scoreboard's data set; variants of a data set share its key.
        model: As the registry calls it.
        freshness: Of the record, by the code as it is now.
    """

    record: Record
    arrays: Mapping[str, NDArray[Any]]
    dataset: str
    model: str
    freshness: Freshness

    @property
    def data(self) -> str:
        """Name of the data, without the split."""
        return self.record.dataset["name"].removesuffix("-train")

    @property
    def label(self) -> str:
        """Profile, number of seeds, and whether the record is fresh or stale."""
        seeds = f"{len(self.record.seeds)} seed{'s' if len(self.record.seeds) > 1 else ''}"
        return f"{self.record.profile}, {seeds}, {self.freshness.state}"


def read_runs(results: Path, systems: Systems) -> list[Run]:
    """The records of all data sets that the scoreboard knows.

    Quick runs are no results, and records of one value among many, as of beta, have other pages.

    Args:
        results: Folder of records, `book/results`; it may be missing.
        systems: As `read_systems` gives them.

    Raises:
        ValueError: A record was changed after it was written.
        FileNotFoundError: A record lacks its arrays.
    """
    found = []
    for file in sorted(results.rglob("record.json")):
        if any(part.startswith(".") for part in file.relative_to(results).parts):
            continue  # half of a record that is being written
        record, arrays = load(file.parent)
        name, model, *setting = record.name.split("/")
        key = _key(name, systems)
        if key and not setting and record.profile != "quick":
            found.append(Run(record, arrays, key, model, freshness(record)))
    return found


def measured(run: Run, column: Column, modalities: tuple[str, ...]) -> NDArray[np.float64] | None:
    """What a run found for one column of a table, a value a seed; None if it does not hold it.

    Args:
        run: Of the column's data set.
        column: What to look up.
        modalities: Of the data set, in the order of the set-up.
    """
    if column.metric is None:
        return None
    if column.metric in run.record.metrics:
        values = run.record.metrics[column.metric]
        if column.number is not None:
            values = [value[column.number - 1] for value in values if len(value) >= column.number]
    else:
        values = [_of_subset(run, column, modalities, seed) for seed in run.record.seeds]
    found = np.array([value for value in values if value is not None], float)
    whole = len(found) == len(run.record.seeds) and np.isfinite(found).all()
    return found if whole else None


def _of_subset(run: Run, column: Column, modalities: tuple[str, ...], seed: int) -> float | None:
    values = run.arrays.get(f"{column.metric}_seed{seed}")
    subsets = run.arrays.get(f"subsets_seed{seed}")
    if values is None or subsets is None:
        return None
    given = [name in column.inputs for name in modalities]
    rows = np.flatnonzero((subsets == given).all(1)) if subsets.shape[1] == len(given) else []
    if len(rows) != 1 or rows[0] >= len(values):
        return None
    value = values[rows[0]]
    return float(value if column.target is None else value[modalities.index(column.target)])


def _key(name: str, systems: Systems) -> str | None:
    """The data set that a record's name begins with, the longest where there are several."""
    fits = [key for key in systems.datasets if f"{name}-".startswith(f"{key}-")]
    return max(fits, key=len, default=None)
