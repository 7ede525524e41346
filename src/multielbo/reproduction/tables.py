"""Tables as the papers lay them out, with ours below each printed row."""

from __future__ import annotations

__all__ = ["compared", "printed_table", "remarks", "subset_table", "text_table"]

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from numpy.typing import NDArray

from multielbo.plots import LABELS
from multielbo.reproduction.values import by_seed, subset_labels
from multielbo.reproduction.words import said
from multielbo.scoreboard.comparison import cell, differences, nearest
from multielbo.scoreboard.markdown import cited, grid, mean, printed
from multielbo.scoreboard.numbers import NOT_KNOWN
from multielbo.scoreboard.published import Table
from multielbo.scoreboard.runs import Run, measured
from multielbo.scoreboard.systems import Systems

SIGNS = {"reproduced": " ✓", "not reproduced": " ✗"}


def printed_table(
    table: Table,
    shown: Iterable[Run | None],
    systems: Systems,
    columns: Sequence[int] | None = None,
) -> str:
    """A published table, or some of its columns: a row as printed, and one of ours below it.

    Models that the table does not have follow with a row of ours alone.

    Args:
        table: What was published.
        shown: Our records.
        systems: As `read_systems` gives them.
        columns: Which; None for all.
    """
    ours = [run for run in shown if run is not None]
    chosen = range(len(table.columns)) if columns is None else columns
    used, rows = [], []
    for key, row in table.rows.items():
        name, run = systems.systems[key].name, nearest(ours, table, key, systems)
        cells = [cell(table, key, index, run, systems) for index in chosen]
        published = [printed(row[index].text) if row[index] else NOT_KNOWN for index in chosen]
        rows.append([f"{name}, in print", *published])
        used.append(run)
        if run is None:
            rows.append([f"{name}, ours", cells[0].verdict.word, *[""] * (len(cells) - 1)])
        else:
            values = [
                "–" if one.ours is None else mean(one.ours) + SIGNS.get(one.verdict.word, "")
                for one in cells
            ]
            rows.append([f"{name}, ours", *values])
    modalities = systems.datasets[table.dataset].modalities
    for run in (run for run in ours if not any(run is one for one in used)):
        found = [measured(run, table.columns[index], modalities) for index in chosen]
        rows.append(
            [f"{LABELS[run.model]}, ours", *("–" if one is None else mean(one) for one in found)]
        )
    return grid(["", *(table.columns[index].label for index in chosen)], rows)


def remarks(table: Table, shown: Iterable[Run | None], systems: Systems) -> str:
    """What a reader has to know of a table: its source, its notes, and what bars a comparison."""
    ours = [run for run in shown if run is not None]
    lines = [f"In print: {cited(table.cite, table.source)}, {table.where}.", *table.notes]
    verdicts: dict[str, list[str]] = defaultdict(list)
    for key in table.rows:
        run = nearest(ours, table, key, systems)
        if run is None:
            continue
        cells = [cell(table, key, index, run, systems) for index in range(len(table.columns))]
        words = Counter(one.verdict.word for one in cells)
        verdict = ", ".join(f"{count} {word}" for word, count in words.items())
        apart = "; ".join(differences(run, table, key, systems)) or "nothing known"
        verdicts[f"{verdict}. What differs: {apart}."].append(systems.systems[key].name)
    lines += [f"{', '.join(names)}: {verdict}" for verdict, names in verdicts.items()]
    return "\n".join(f"- {line}" for line in lines)


def compared(
    table: Table,
    shown: Mapping[str, Run | None],
    systems: Systems,
    blocks: Sequence[Sequence[int] | None] = (None,),
) -> str:
    """A published table with ours, the line that says where ours come from, and remarks.

    Args:
        table: What was published.
        shown: By model our record, or None.
        systems: As `read_systems` gives them.
        blocks: Columns of each of the tables that it is cut into; None for all.
    """
    ours = shown.values()
    cut = [printed_table(table, ours, systems, columns) for columns in blocks]
    line = f"*{said(shown)} Spreads of ours are standard deviations over seeds.*"
    return "\n\n".join([*cut, line, remarks(table, ours, systems)])


def text_table(
    made: Mapping[str, Mapping[str, NDArray]],
    name: str,
    names: Sequence[str],
    read: Callable[[NDArray], Sequence[str]],
) -> str:
    """Texts that models generate, models down and growing inputs across; a dot is a blank.

    Args:
        made: As `samples` gives them.
        name: Of the text modality.
        names: Of all modalities, in their order.
        read: From symbols `(examples, L)` to texts.
    """
    head = ["", *(f"from {names[0]}", *(f"+ {other}" for other in names[1:]))]
    rows = [
        [LABELS[model], *(" ".join(map(_code, read(symbols))) for symbols in there[name])]
        for model, there in made.items()
    ]
    return grid(head, rows)


def subset_table(shown: Mapping[str, Run | None], array: str, names: Sequence[str]) -> str:
    """A metric of every subset, subsets down and models across, with spreads over seeds.

    Args:
        shown: By model its record, or None.
        array: What records call the metric, `(K,)` for each seed.
        names: Of the modalities.
    """
    there = {model: run for model, run in shown.items() if run and by_seed(run, array) is not None}
    if not there:
        return "*No record holds this yet.*"
    membership = by_seed(next(iter(there.values())), "subsets")[0]
    values = {model: by_seed(run, array) for model, run in there.items()}
    rows = [
        [label, *(mean(values[model][:, place]) for model in there)]
        for place, label in enumerate(subset_labels(membership, names))
    ]
    return grid(["from", *(LABELS[model] for model in there)], rows)


def _code(text: str) -> str:
    """A text as code that a table can hold: every symbol is seen, and none is markup."""
    seen = text.replace(" ", "·").replace("\n", "↵").replace("|", "\\|")
    return f"`` {seen} ``" if "`" in seen else f"`{seen}`"
