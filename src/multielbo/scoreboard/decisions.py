"""Claims decided by records, and what the published numbers themselves say of them."""

from __future__ import annotations

__all__ = ["Decision", "decide", "published_contrasts"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multielbo.scoreboard.claims import Claim
from multielbo.scoreboard.contrasts import Contrast, contrast, equal, greater
from multielbo.scoreboard.published import Table
from multielbo.scoreboard.runs import Run, measured
from multielbo.scoreboard.systems import Systems


class Decision(NamedTuple):
    """One of `ANSWERS`, the contrasts behind it, and the runs that were asked."""

    answer: str
    contrasts: tuple[Contrast, ...] = ()
    runs: tuple[Run, ...] = ()


def decide(claim: Claim, runs: Sequence[Run], systems: Systems) -> Decision:
    """What records say of a claim.

    All its systems have to be there in the same setting: profile, data and variant of the data
    set, with two seeds or more. Full runs go before laptop ones; quick runs decide nothing.

    Args:
        claim: As `read_claims` gives it.
        runs: As `read_runs` gives them.
        systems: As `read_systems` gives them.
    """
    for chosen in _candidates(claim, runs, systems):
        found = _contrasts(claim, chosen, systems.datasets[claim.dataset].modalities)
        if found is not None:
            return Decision(_answer(claim, found), tuple(found), tuple(chosen.values()))
    return Decision("no record")


def published_contrasts(claim: Claim, tables: Sequence[Table]) -> tuple[str, list[float]] | None:
    """The claim's contrasts of published means, and the source that has them all.

    Args:
        claim: As `read_claims` gives it.
        tables: As `read_tables` gives them; the claim's own source goes before others, and one
            table that holds everything before several.

    Returns:
        None if no source has every number.
    """
    about = [table for table in tables if table.dataset == claim.dataset]
    about.sort(key=lambda table: not claim.source or table.cite != claim.source)
    sources = dict.fromkeys(table.source for table in about)
    together = [[table for table in about if table.source == source] for source in sources]
    single = [[table] for table in about]
    for group in sorted(single + together, key=lambda g: list(sources).index(g[0].source)):
        known = {
            (system, column.quantity): cell.value
            for table in group[::-1]
            for system, row in table.rows.items()
            for column, cell in zip(table.columns, row, strict=True)
            if cell is not None and column.metric is not None
        }
        terms = [term for contrasted in claim.contrasts for term in contrasted]
        if all((term.system, term.column.quantity) in known for term in terms):
            return group[0].source, [
                sum(term.sign * known[term.system, term.column.quantity] for term in contrasted)
                for contrasted in claim.contrasts
            ]
    return None


def _answer(claim: Claim, found: Sequence[Contrast]) -> str:
    return greater(found) if claim.margin is None else equal(found, claim.margin)


def _contrasts(
    claim: Claim, chosen: dict[str, Run], modalities: tuple[str, ...]
) -> list[Contrast] | None:
    """Of every contrast of the claim; None if a run does not hold a quantity."""
    found = []
    for contrasted in claim.contrasts:
        parts: dict[str, NDArray[np.float64]] = {}
        for sign, system, column in contrasted:
            values = measured(chosen[system], column, modalities)
            if values is None:
                return None
            parts[system] = parts.get(system, 0.0) + sign * values
        found.append(contrast(parts.values()))
    return found


def _candidates(claim: Claim, runs: Sequence[Run], systems: Systems) -> list[dict[str, Run]]:
    """By system one run, all of one setting; full runs on the published data first."""
    published = systems.datasets[claim.dataset].data
    settings: dict[tuple[str, str, str], dict[str, Run]] = {}
    for run in runs:
        decisive = run.record.profile in ("full", "laptop") and len(run.record.seeds) > 1
        if run.dataset == claim.dataset and decisive:
            variant = run.record.name.partition("/")[0]
            settings.setdefault((run.record.profile, run.data, variant), {})[run.model] = run
    found = []
    for setting in sorted(settings, key=lambda s: (s[0] != "full", s[1] not in published, s)):
        there = settings[setting]
        chosen = {}
        for system in claim.systems:
            models = systems.systems[system].models_in(claim.source)
            chosen[system] = next((there[model] for model in models if model in there), None)
        if None not in chosen.values():
            found.append(chosen)
    return found
