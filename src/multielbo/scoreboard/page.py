"""The published tables in Markdown, ours beside every number, narrow enough for a phone."""

from __future__ import annotations

__all__ = [
    "dataset_tables",
    "figures_list",
    "number_table",
    "state_of_records",
    "systems_table",
    "verdicts",
]

from collections import Counter
from collections.abc import Iterable, Sequence

from multielbo.scoreboard.comparison import Cell, cell, differences, nearest
from multielbo.scoreboard.markdown import BREAK, cited, grid, mean, printed
from multielbo.scoreboard.numbers import NOT_KNOWN
from multielbo.scoreboard.published import Figure, Table
from multielbo.scoreboard.runs import Run
from multielbo.scoreboard.systems import Systems

SIGNS = {"reproduced": "✓ ", "not reproduced": "✗ "}


def state_of_records(runs: Sequence[Run]) -> str:
    """One sentence on what the present records are, for the head of the page."""
    if not runs:
        return "There is no record yet, so every system says *not run* or *not implemented*."
    profiles = Counter(run.record.profile for run in runs)
    counts = " and ".join(f"{profiles[name]} of the {name} profile" for name in sorted(profiles))
    stale = sum(run.freshness.state == "stale" for run in runs)
    text = f"Records: {counts}, {stale} of them stale."
    if "full" not in profiles:
        text += " None is of the full profile, so nothing can be called reproduced."
    return text


def systems_table(systems: Systems, runs: Sequence[Run]) -> str:
    """Every system with its paper and its records."""
    rows = []
    for system in systems.systems.values():
        records = [
            f"{systems.datasets[run.dataset].title}: {run.label}"
            for run in runs
            if run.model in system.models
        ]
        missing = "not run" if system.implemented else "not implemented"
        paper = f"{{cite:t}}`{system.paper}`" if system.paper else "–"
        rows.append([system.name, BREAK.join(records) or missing, paper])
    return grid(["system", "records", "paper"], rows)


def verdicts(tables: Iterable[Table], runs: Sequence[Run], systems: Systems) -> list[Cell]:
    """Every cell of the tables, with its verdict."""
    return [
        cell(table, key, index, nearest(runs, table, key, systems), systems)
        for table in tables
        for key in table.rows
        for index in range(len(table.columns))
    ]


def figures_list(dataset: str, figures: Iterable[Figure]) -> str:
    """The figures of one data set whose numbers are printed nowhere."""
    return "\n".join(
        f"- {cited(figure.cite, figure.source)}, {figure.where}: {figure.title}. "
        "The text prints no number of it."
        for figure in figures
        if figure.dataset == dataset
    )


def dataset_tables(
    dataset: str, tables: Iterable[Table], runs: Sequence[Run], systems: Systems
) -> str:
    """The tables of one data set, in the order of reading."""
    own = [table for table in tables if table.dataset == dataset]
    return "\n\n".join(number_table(table, runs, systems) for table in own)


def number_table(table: Table, runs: Sequence[Run], systems: Systems) -> str:
    """One published table: every number with MultiVae's and ours below it, and the verdicts.

    The longer side, systems or quantities, runs down the page.
    """
    names = {key: systems.systems[key].name for key in table.rows}
    chosen = {key: nearest(runs, table, key, systems) for key in table.rows}
    cells = {
        key: [cell(table, key, index, chosen[key], systems) for index in range(len(table.columns))]
        for key in table.rows
    }
    labels = [column.label for column in table.columns]
    texts = {key: [_text(one) for one in row] for key, row in cells.items()}
    summary = {key: _summary(row) for key, row in cells.items()}
    if len(labels) > len(names):
        rows = [[label, *(texts[key][i] for key in names)] for i, label in enumerate(labels)]
        body = grid(["", *names.values()], [["**verdict**", *summary.values()], *rows])
    else:
        rows = [[names[key], summary[key], *texts[key]] for key in names]
        body = grid(["", "**verdict**", *labels], rows)
    head = f"**{table.title}.** {cited(table.cite, table.source)}, {table.where}."
    ours: dict[str, list[str]] = {}  # systems whose runs are described alike share a line
    for key, run in chosen.items():
        if run is not None and any(one.ours is not None for one in cells[key]):
            described = f"{run.label}. {_apart(table, key, run, systems)}."
            ours.setdefault(described, []).append(names[key])
    lines = [f"Our {', '.join(alike)}: {described}" for described, alike in ours.items()]
    remarks = "\n".join(f"- {line}" for line in [*table.notes, *lines])
    return "\n\n".join(part for part in (head, body, remarks) if part)


def _text(one: Cell) -> str:
    lines = [printed(one.published.text) if one.published else NOT_KNOWN]
    if one.multivae:
        lines.append(f"MultiVae {printed(one.multivae.text)}")
    if one.ours is not None:
        lines.append(f"ours {mean(one.ours)}")
        if one.verdict.word in SIGNS:
            lines.append(f"{SIGNS[one.verdict.word]}{one.verdict.word}")
    return BREAK.join(lines)


def _summary(row: Sequence[Cell]) -> str:
    words = Counter(one.verdict.word for one in row)
    if len(words) == 1:
        return next(iter(words))
    return BREAK.join(f"{count} {word}" for word, count in words.items())


def _apart(table: Table, key: str, run: Run, systems: Systems) -> str:
    found = "; ".join(differences(run, table, key, systems))
    return f"What differs: {found}" if found else "Nothing known differs"
