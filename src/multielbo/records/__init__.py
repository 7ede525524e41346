"""Records of real runs: what was run, what came of it, and whether it still holds."""

from multielbo.records.freshness import Freshness, caption, freshness
from multielbo.records.record import Record, complete, describe_run
from multielbo.records.store import Outcome, find, load, load_or_run, write

__all__ = [
    "Freshness",
    "Outcome",
    "Record",
    "caption",
    "complete",
    "describe_run",
    "find",
    "freshness",
    "load",
    "load_or_run",
    "write",
]
