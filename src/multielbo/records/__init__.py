"""Records of real runs: what was run, what came of it, and whether it still holds."""

from multielbo.records.freshness import Freshness, caption, freshness
from multielbo.records.locks import Held
from multielbo.records.parts import (
    Parts,
    claim,
    collect,
    discard,
    finish,
    merge,
    of_data_of_parts,
    part_folder,
    read_parts,
)
from multielbo.records.record import Record, adapted, complete, describe_run
from multielbo.records.runs import NeedsGPU, Outcome, load_or_run, require_gpu, run_part
from multielbo.records.store import find, load, write

__all__ = [
    "Freshness",
    "Held",
    "NeedsGPU",
    "Outcome",
    "Parts",
    "Record",
    "adapted",
    "caption",
    "claim",
    "collect",
    "complete",
    "describe_run",
    "discard",
    "find",
    "finish",
    "freshness",
    "load",
    "load_or_run",
    "merge",
    "of_data_of_parts",
    "part_folder",
    "read_parts",
    "require_gpu",
    "run_part",
    "write",
]
