"""What there is of the wanted records: fresh, stale or missing, and what is left to do."""

from __future__ import annotations

__all__ = ["Row", "rows", "table"]

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from multielbo.experiments.catalogue import Wanted
from multielbo.experiments.costs import cost
from multielbo.experiments.description import described, on_data
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.sources import data_of
from multielbo.records import Record, freshness, load, of_data_of_parts, read_parts

JUDGED = "judged by code and settings"
NOT_HERE = f"data not here: {JUDGED}"


class Row(NamedTuple):
    """One wanted record.

    Attributes:
        name, profile: Of the record.
        state: `"fresh"`, `"stale"` or `"missing"`.
        why: What changed, or what the state does not rest on.
        done, seeds: How many seeds are there, and how many are asked for.
        minutes: Estimate of what is left, on a GPU for profile full and on two cores for laptop.
    """

    name: str
    profile: str
    state: str
    why: str
    done: int
    seeds: int
    minutes: float | None


def rows(
    wanted: Iterable[Wanted], results: Path, data: Path | None, unfinished: Path | None = None
) -> list[Row]:
    """The state of each wanted record.

    Args:
        wanted: Which.
        results: Folder of all records.
        data: Folder of prepared data; where they are missing, their digest is not compared.
        unfinished: Folder of the parts of records, or None.
    """
    return [_row(entry, results, data, unfinished) for entry in wanted]


def table(found: Sequence[Row]) -> str:
    """One line for each record, and one for what is left."""
    names = max([len(row.name) for row in found], default=4)
    lines = [f"{'record':<{names}}  {'profile':<7}  {'state':<7}  seeds  minutes  why"]
    for row in found:
        minutes = "?" if row.minutes is None else f"{row.minutes:.0f}"
        line = f"{row.name:<{names}}  {row.profile:<7}  {row.state:<7}"
        lines.append(f"{line}  {f'{row.done}/{row.seeds}':>5}  {minutes:>7}  {row.why}".rstrip())
    for profile, unit in (("laptop", "minutes on two cores"), ("full", "GPU minutes")):
        left = sum(row.minutes or 0 for row in found if row.profile == profile)
        count = sum(row.state != "fresh" for row in found if row.profile == profile)
        if count:
            lines.append(f"{profile}: {count} to run, about {left:.0f} {unit} (estimated)")
    return "\n".join(lines)


def _row(entry: Wanted, results: Path, data: Path | None, unfinished: Path | None) -> Row:
    try:
        experiment = entry.experiment()
        asked = described(experiment)
    except ValueError as error:
        reason = str(error).partition(";")[0]  # what there is instead would fill the table
        return Row(entry.name, entry.profile, "missing", reason, 0, 0, None)
    asked, unknown = _with_data(asked, experiment, data)
    state, why, record = _state(asked, results / asked.name / asked.profile, unknown)
    count = len(asked.seeds)
    if state == "fresh":
        return Row(asked.name, asked.profile, state, why, count, count, 0.0)
    parts = [] if unfinished is None else _parts(asked, unfinished, unknown)
    seconds = [value for part in parts or [record] if part for value in part.seconds]
    each = sum(seconds) / len(seconds) / 60 if seconds else sum(cost(experiment))
    left = (count - len(parts)) * each
    return Row(asked.name, asked.profile, state, why, len(parts), count, left)


def _with_data(asked: Record, experiment: Experiment, data: Path | None) -> tuple[Record, str]:
    """The description with the digest of the data, or unchanged and why that is unknown."""
    if data is None:
        return asked, NOT_HERE
    try:
        return on_data(asked, *data_of(experiment, data)), ""
    except FileNotFoundError:
        return asked, NOT_HERE
    except ValueError as error:
        return asked, f"{error}; {JUDGED}"


def _state(asked: Record, folder: Path, unknown: str) -> tuple[str, str, Record | None]:
    """State, reason, and the record if it is of use for the estimate."""
    if not folder.exists():
        return "missing", "", None
    try:
        record, _ = load(folder)
    except (FileNotFoundError, ValueError) as error:
        return "stale", str(error), None
    if (record.name, record.profile) != (asked.name, asked.profile):
        return "stale", f"it is the record of {record.name} ({record.profile})", None
    now = freshness(
        record,
        config=asked.config,
        seeds=asked.seeds,
        data_sha256=asked.dataset["sha256"] or None,
        modules=asked.modules,
    )
    return now.state, now.reason or unknown, record


def _parts(asked: Record, unfinished: Path, unknown: str) -> list[Record]:
    """The parts of this run; of unknown data those that agree with the first."""
    asked = of_data_of_parts(asked, unfinished) if unknown else asked
    return [part for part, _ in read_parts(unfinished, asked).found.values()]
