"""The published tables, as `book/published` holds them."""

from __future__ import annotations

__all__ = ["Figure", "Table", "read_figures", "read_tables"]

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multielbo.scoreboard.columns import Column, column
from multielbo.scoreboard.numbers import NOT_KNOWN, Number, number
from multielbo.scoreboard.systems import Systems, read_yaml, require_keys


@dataclass(frozen=True)
class Table:
    """One published table; a file may hold several.

    Attributes:
        name: The file's stem and the table's `id`, such as `"sutter2021/table-2"`.
        source: Who says so, and `cite`, the key in the bibliography or "".
        where: Table or file of the source.
        dataset: A data set of `systems.yml`.
        title: What it shows.
        columns: Its quantities.
        rows: By system one number a column; None where it is not known.
        multivae: The same, as the library MultiVae reproduces them.
        models: By system the models of this package that come closest, the closest first.
        runs: How many runs the spreads are over, or None.
        population: Whether a spread divides by the number of runs, and not by one less.
        settings: Of `Experiment`, as far as the source states them.
        differs: By system, or for `all`, what no setting shows but makes numbers incomparable.
        repeats: `id` of the table whose numbers these are once more.
        notes: What a reader has to know.
    """

    name: str
    source: str
    cite: str
    where: str
    dataset: str
    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[Number | None, ...]]
    multivae: Mapping[str, tuple[Number | None, ...]]
    models: Mapping[str, tuple[str, ...]]
    runs: int | None = None
    population: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: Mapping[str, str] = field(default_factory=dict)
    repeats: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A published figure whose numbers are printed nowhere."""

    source: str
    cite: str
    where: str
    dataset: str
    title: str


def read_tables(folder: Path, systems: Systems) -> list[Table]:
    """All published tables, source by source.

    Args:
        folder: `book/published`.
        systems: As `read_systems` gives them.

    Raises:
        ValueError: A file holds something else than it should; the message names the place.
    """
    return [
        _table(file, values, entry, systems)
        for file, values in _files(folder, systems)
        for entry in values["tables"]
    ]


def read_figures(folder: Path, systems: Systems) -> list[Figure]:
    """All published figures without numbers, in the same order.

    Raises:
        ValueError: As `read_tables` does.
    """
    found = []
    for file, values in _files(folder, systems):
        for entry in values.get("figures", ()):
            require_keys(entry, file.name, needed={"where", "dataset", "title"})
            systems.dataset(entry["dataset"], file.name)
            source = values["source"]
            found.append(Figure(source["name"], source.get("cite", ""), **entry))
    return found


def _files(folder: Path, systems: Systems) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for source in systems.sources:
        file = folder / f"{source}.yml"
        values = read_yaml(file)
        require_keys(values, file.name, needed={"source", "tables"}, allowed={"figures"})
        require_keys(values["source"], file.name, needed={"name"}, allowed={"cite"})
        yield file, values


def _table(file: Path, values: Mapping[str, Any], entry: Any, systems: Systems) -> Table:
    where = f"{file.name}, {entry.get('id')}"
    needed = {"id", "where", "dataset", "title", "metric", "columns", "rows"}
    allowed = {"runs", "spread", "settings", "differs", "repeats", "notes", "multivae"}
    require_keys(entry, where, needed=needed, allowed=allowed)
    dataset = systems.dataset(entry["dataset"], where)
    columns = tuple(
        column(each, entry["metric"], dataset.modalities, where) for each in entry["columns"]
    )
    if entry.get("runs", 2) < 2:
        raise ValueError(f"{where}: a spread is over two runs or more; leave out `runs`")
    rows = _rows(entry["rows"], len(columns), systems, where)
    return Table(
        name=f"{file.stem}/{entry['id']}",
        source=values["source"]["name"],
        cite=values["source"].get("cite", ""),
        where=entry["where"],
        dataset=entry["dataset"],
        title=entry["title"],
        columns=columns,
        rows=rows,
        multivae=_rows(entry.get("multivae", {}), len(columns), systems, where),
        models={s: systems.systems[s].models_in(file.stem) for s in rows},
        runs=entry.get("runs"),
        population=entry.get("spread") == "population",
        settings={key: _plain(value) for key, value in entry.get("settings", {}).items()},
        differs=entry.get("differs", {}),
        repeats=entry.get("repeats", ""),
        notes=tuple(entry.get("notes", ())),
    )


def _rows(
    entries: Mapping[str, Any], width: int, systems: Systems, where: str
) -> dict[str, tuple[Number | None, ...]]:
    rows = {}
    for name, cells in entries.items():
        systems.system(name, where)
        cells = [NOT_KNOWN] * width if cells == NOT_KNOWN else cells
        if len(cells) != width:
            raise ValueError(f"{where}: {name} has {len(cells)} cells for {width} columns")
        rows[name] = tuple(number(cell, f"{where}, {name}") for cell in cells)
    return rows


def _plain(setting: Any) -> Any:
    """A setting as `Experiment` has it; a number with a point is read as text."""
    return (
        float(setting)
        if isinstance(setting, str) and re.fullmatch(r"-?\d*\.\d+", setting)
        else setting
    )
