"""Whether a record still holds, and the line that says so under each figure.

Freshness is not stored but worked out, from the code as it is now and from what the reader would
run now: a record may be stale, it cannot claim to be fresh.
"""

from __future__ import annotations

__all__ = ["Freshness", "caption", "differences", "freshness"]

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from multielbo.records import provenance
from multielbo.records.record import Record, canonical


class Freshness(NamedTuple):
    """`"fresh"` or `"stale"`, and for a stale record what changed."""

    state: str
    reason: str


def freshness(
    record: Record,
    *,
    config: Mapping[str, Any] | None = None,
    seeds: Iterable[int] | None = None,
    data_sha256: str | None = None,
    modules: Iterable[str] | None = None,
) -> Freshness:
    """Whether a run now would be the run that the record holds.

    Args:
        record: As `load` returns it.
        config, seeds, data_sha256: What would be run now; None leaves it out of the comparison.
        modules: What a run now would name; by default what this one named.
    """
    try:
        code = provenance.module_digests(record.modules if modules is None else modules)
    except ValueError as error:
        return Freshness("stale", str(error))
    now = {} if config is None else json.loads(canonical(config, f"record {record.name}: config"))
    reasons = differences(
        record,
        code=code,
        config=record.config if config is None else now,
        seeds=record.seeds if seeds is None else list(seeds),
        data_sha256=data_sha256 or record.dataset["sha256"],
    )
    return Freshness("stale" if reasons else "fresh", ", ".join(reasons))


def differences(
    record: Record,
    *,
    code: Mapping[str, str],
    config: Mapping[str, Any],
    seeds: list[int],
    data_sha256: str,
) -> list[str]:
    """In what a record is not of the run that is described, in words; empty if it is."""
    reasons = [f"{name} changed" for name in _differing(record.code, code)]
    reasons += [f"setting {name!r} changed" for name in _differing(record.config, config)]
    if seeds != record.seeds:
        reasons.append("seeds changed")
    if data_sha256 != record.dataset["sha256"]:
        reasons.append(f"data {record.dataset['name']!r} changed")
    return reasons


def caption(record: Record, state: Freshness | None = None) -> str:
    """One line under a figure: how many seeds, where, how long, which code, how fresh.

    Args:
        record: As `load` returns it.
        state: Its freshness; by default judged by the code alone.
    """
    if record.profile == "quick":
        return "quick profile: not a result"
    state = state or freshness(record)
    seeds = f"{len(record.seeds)} seed{'s' if len(record.seeds) > 1 else ''}"
    label = "laptop profile, " if record.profile == "laptop" else ""
    each = _duration(sum(record.seconds) / len(record.seconds))
    commit = f"commit {record.commit[:7]}" if record.commit else "commit unknown"
    changed = " with local changes" if record.dirty else ""
    said = f"stale: {state.reason}" if state.state == "stale" else "fresh"
    return f"{label}{seeds}, {record.device}, {each} each, {commit}{changed}, {said}"


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    common = then.keys() & now.keys()
    return sorted(key for key in {*then, *now} if key not in common or then[key] != now[key])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
