"""From a run to its record: seed by seed, so that what was done once is not done again."""

from __future__ import annotations

__all__ = ["NeedsGPU", "Outcome", "load_or_run", "require_gpu", "run_part"]

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from multielbo.records.parts import claim, finish, merge, part_folder, read_parts
from multielbo.records.record import Record, adapted, complete
from multielbo.records.store import Arrays, find, load, write

UNFINISHED = ".unfinished"


class NeedsGPU(RuntimeError):
    """A full run was asked for where there is no GPU."""


class Outcome(NamedTuple):
    """What one seed found.

    Attributes:
        metrics: By name.
        arrays: By name, where there are any to keep.
        seconds: Its time over all restarts, as `History` has it; None means that of this call.
    """

    metrics: Mapping[str, Any]
    arrays: Arrays | None = None
    seconds: float | None = None


def load_or_run(
    results: Path,
    asked: Record,
    run: Callable[[int], Outcome],
    *,
    parts: Path | None = None,
    cpu_hours: float | None = None,
    allow_cpu: bool = False,
) -> tuple[Record, Arrays]:
    """The record of this very run if there is one, and otherwise the run.

    A quick run is made anew each time and left unwritten. Others go to `results/<name>/<profile>`,
    and a seed that was finished before a crash is not run again.

    Args:
        results: Folder of all records.
        asked: What to run, as `describe_run` says it.
        run: From a seed to its outcome; the arrays of a seed are kept as `<array>_seed<seed>`.
        parts: Where finished seeds wait for the others; by default a hidden folder of `results`.
        cpu_hours: What a full run would take on this CPU, for the message that refuses it.
        allow_cpu: Make a full run on a CPU all the same.

    Raises:
        ValueError: A record was changed by hand.
        Held: Another process is making a seed of it.
        NeedsGPU: A full run was asked for where there is no GPU.
    """
    if asked.profile != "quick" and (folder := find(results, asked.digest)):
        return load(folder)
    require_gpu(asked, cpu_hours, allow_cpu)
    if asked.profile == "quick":
        return merge(asked, {seed: _part(asked, seed, run) for seed in asked.seeds})
    parts = results / UNFINISHED if parts is None else parts
    for seed in asked.seeds:
        with claim(parts, asked, seed):
            if seed not in read_parts(parts, adapted(asked, seeds=[seed])).found:
                run_part(parts, asked, seed, run)
    return finish(results, asked, parts)


def run_part(parts: Path, asked: Record, seed: int, run: Callable[[int], Outcome]) -> Record:
    """Run one seed and write its part.

    Args:
        parts: Folder of all parts.
        asked: What is run, as `describe_run` says it.
        seed: Which seed.
        run: From the seed to its outcome.
    """
    record, arrays = _part(asked, seed, run)
    return write(part_folder(parts, asked, seed), record, arrays)


def require_gpu(asked: Record, cpu_hours: float | None, allow_cpu: bool) -> None:
    """Refuse a full run on a CPU, unless it is allowed.

    Raises:
        NeedsGPU: With the time that it would take.
    """
    if asked.profile == "full" and not torch.cuda.is_available() and not allow_cpu:
        expected = f"about {cpu_hours:.0f} h" if cpu_hours else "many hours"
        raise NeedsGPU(
            f"{asked.name}: profile 'full' needs {expected} on this CPU and has no fresh record; "
            "run it on a GPU, choose profile 'laptop', or pass allow_cpu=True"
        )


def _part(asked: Record, seed: int, run: Callable[[int], Outcome]) -> tuple[Record, Arrays]:
    started = time.perf_counter()
    outcome = run(seed)
    elapsed = time.perf_counter() - started
    seconds = elapsed if outcome.seconds is None else outcome.seconds
    record = complete(adapted(asked, seeds=[seed]), [outcome.metrics], [seconds])
    return record, outcome.arrays or {}
