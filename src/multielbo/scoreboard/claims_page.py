"""The claims in Markdown: what print says of each, what our records say, and the answer."""

from __future__ import annotations

__all__ = ["claims_table"]

from collections.abc import Iterable, Sequence

from multielbo.scoreboard.claims import Claim
from multielbo.scoreboard.decisions import Decision, decide, published_contrasts
from multielbo.scoreboard.markdown import BREAK, digits, grid, printed, signed
from multielbo.scoreboard.numbers import NOT_KNOWN
from multielbo.scoreboard.published import Table
from multielbo.scoreboard.runs import Run
from multielbo.scoreboard.systems import Systems

HEAD = ["claim", "answer", "difference"]


def claims_table(
    claims: Iterable[Claim], tables: Sequence[Table], runs: Sequence[Run], systems: Systems
) -> str:
    """One table for each data set that there are claims about, a row for each claim.

    Args:
        claims: As `read_claims` gives them.
        tables: As `read_tables` gives them.
        runs: As `read_runs` gives them.
        systems: As `read_systems` gives them.
    """
    rows: dict[str, list[list[str]]] = {}
    notes: dict[str, list[str]] = {}
    for claim in claims:
        source = f"{{cite:t}}`{claim.source}`, {claim.where}" if claim.source else claim.where
        answer, ours = _decided(claim, decide(claim, runs, systems))
        compared = BREAK.join(filter(None, [ours, _in_print(claim, tables)]))
        within = "" if claim.margin is None else f", within {claim.margin:g}"
        row = [f"{claim.says}{within}.{BREAK}{source}", answer, compared]
        rows.setdefault(claim.dataset, []).append(row)
        if claim.note:
            notes.setdefault(claim.dataset, []).append(f"- *{claim.says}.* {claim.note}")
    parts = []
    for dataset, body in rows.items():
        parts += [f"**{systems.datasets[dataset].title}**", grid(HEAD, body)]
        parts += ["\n".join(notes[dataset])] if dataset in notes else []
    return "\n\n".join(parts)


def _in_print(claim: Claim, tables: Sequence[Table]) -> str:
    found = published_contrasts(claim, tables)
    if found is None:
        return f"in print {NOT_KNOWN}"
    source, values = found
    own = any(table.source == source and table.cite == claim.source for table in tables)
    worst = min(values) if claim.margin is None else max(values, key=abs)
    text = signed(worst) if len(values) == 1 else f"from {signed(worst)}"
    return f"in print {text}" + ("" if own else f" ({source})")


def _decided(claim: Claim, decision: Decision) -> tuple[str, str]:
    if not decision.runs:
        return decision.answer, ""
    if claim.margin is None:
        worst = min(decision.contrasts, key=lambda c: c.value)
    else:
        worst = max(decision.contrasts, key=lambda c: abs(c.value))
    error = printed(f"± {worst.standard_error:.{digits(worst.value)}f}")
    text = f"{signed(worst.value)} {error}"
    if len(decision.contrasts) > 1:
        text = f"from {text}"
    labels = dict.fromkeys(f"{run.data}, {run.label}" for run in decision.runs)
    return f"**{decision.answer}**{BREAK}({'; '.join(labels)})", f"ours {text}"
