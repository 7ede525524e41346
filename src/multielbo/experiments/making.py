"""One record, from its data to its folder: what is there is used, what is missing is run."""

from __future__ import annotations

__all__ = ["Places", "make"]

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

from multielbo.experiments.costs import cost
from multielbo.experiments.description import described, on_data
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.seeds import checkpoint_file, kept_judges, run_seed
from multielbo.experiments.sources import data_of, prepare
from multielbo.records import Record, adapted, collect, discard, load, read_parts
from multielbo.train import OutOfTime

Say = Callable[[str], None]


@dataclass(frozen=True)
class Places:
    """Where the queue finds things and leaves them.

    Attributes:
        out: Folder of the records that it finishes.
        data: Folder of prepared data.
        repository: The folder that `data_scripts/` lies in.
        raw: Folders of originals, for what has to be prepared.
        results: Folder of records that are already there, or None.
    """

    out: Path
    data: Path
    repository: Path
    raw: tuple[Path, ...] = ()
    results: Path | None = None

    @property
    def unfinished(self) -> Path:
        """Folder of parts, checkpoints and judges."""
        return self.out / "unfinished"


def make(
    experiment: Experiment,
    asked: Record,
    places: Places,
    device: str,
    *,
    deadline: float,
    workers: int = 1,
    say: Say = print,
) -> None:
    """Make a record, unless a fresh one is there.

    Args:
        experiment: The settings.
        asked: Its record before it runs, as `described` gives it.
        places: Folders.
        device: `"cuda"` or `"cpu"`.
        deadline: When to be done, in seconds of `time.monotonic`.
        workers: Seeds that run at once, each in its own process.
        say: Takes one line for each event.

    Raises:
        OutOfTime: It is not done; the next call continues where this one stopped.
        TimeoutExpired: Likewise, while the data were prepared.
    """
    until = deadline - 60 * cost(experiment).evaluation
    try:
        data = data_of(experiment, places.data, device)
    except FileNotFoundError:
        data = None
    else:
        asked = on_data(asked, *data)
    if folder := _fresh(asked, places, data is not None, say):
        say(f"fresh in {folder}")
        return
    if data is None:
        say(f"preparing its data in {places.data}")
        left = max(until - time.monotonic(), 0.0)
        prepare(experiment.dataset, places.data, places.raw, places.repository, left)
        data = data_of(experiment, places.data, device)
        asked = on_data(asked, *data)
    found, refused = read_parts(places.unfinished, asked)
    for seed, reason in refused.items():
        say(f"seed {seed} is run again: {reason}")
    missing = [seed for seed in asked.seeds if seed not in found]
    if missing and time.monotonic() >= until:
        raise OutOfTime("the time left would not do for the evaluation")
    if missing:
        # Before the workers start, so that they find the judges.
        accuracy = kept_judges(experiment, *data, places.unfinished).accuracy
        say(f"judges ready, accuracy {min(accuracy.values()):.3f} to {max(accuracy.values()):.3f}")
    run = _together if workers > 1 and len(missing) > 1 else _in_turn
    run(_Seeds(experiment, asked, places, device, until), missing, workers, say)
    collect(places.out, asked, places.unfinished)
    discard(places.unfinished, asked)
    checkpoints = places.unfinished / ".checkpoints" / asked.name / asked.profile
    shutil.rmtree(checkpoints, ignore_errors=True)
    say(f"record written to {places.out / asked.name / asked.profile}")


@dataclass(frozen=True)
class _Seeds:
    """What the seeds of a record share; it travels to the processes that run them."""

    experiment: Experiment
    asked: Record
    places: Places
    device: str
    until: float

    def run(self, seed: int) -> Record:
        """The part of one seed."""
        data = data_of(self.experiment, self.places.data, self.device)
        return run_seed(
            self.experiment,
            seed,
            self.asked,
            *data,
            self.places.unfinished,
            until=self.until,
            progress=False,
        )

    def run_elsewhere(self, seed: int) -> Record:
        """The part of one seed, by the code that the queue started with or not at all."""
        if described(self.experiment, self.device).code != self.asked.code:
            raise ValueError("the code was changed while the queue ran; start it again")
        return self.run(seed)


def _in_turn(seeds: _Seeds, missing: Sequence[int], workers: int, say: Say) -> None:
    for seed in missing:
        say(_started(seeds, seed))
        say(_finished(seed, seeds.run(seed)))


def _together(seeds: _Seeds, missing: Sequence[int], workers: int, say: Say) -> None:
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        runs = {seed: pool.submit(seeds.run_elsewhere, seed) for seed in missing}
        for seed in missing:
            say(_started(seeds, seed))
        errors = [run.exception() for run in runs.values()]
    for seed, error in zip(missing, errors, strict=True):
        if error is None:
            say(_finished(seed, runs[seed].result()))
    failed = [error for error in errors if error is not None]
    for error in failed[1:]:
        say(f"another seed failed too: {' '.join(str(error).split())}")
    if failed:  # what cannot be mended by another call comes first
        raise min(failed, key=lambda error: isinstance(error, OutOfTime))


def _end_with_parent() -> None:
    """A worker whose queue was killed would train on unseen, beside the next queue's."""

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _started(seeds: _Seeds, seed: int) -> str:
    stopped = checkpoint_file(seeds.places.unfinished, seeds.asked, seed).exists()
    how = "continues from its checkpoint" if stopped else "starts"
    return f"seed {seed} {how}, about {sum(cost(seeds.experiment)):.0f} min in all (estimated)"


def _finished(seed: int, part: Record) -> str:
    return f"seed {seed} took {part.seconds[0]:.0f} s on {part.device}"


def _fresh(asked: Record, places: Places, known: bool, say: Say) -> Path | None:
    """The folder that already holds this very record, or None; unknown data are not compared."""
    for results in filter(None, (places.out, places.results)):
        folder = results / asked.name / asked.profile
        if not folder.exists():
            continue
        try:
            record, _ = load(folder)
        except (FileNotFoundError, ValueError) as error:
            say(f"made anew: {' '.join(str(error).split())}")
            continue
        data = (record.dataset["name"], record.dataset["sha256"])
        if record.digest == (asked if known else adapted(asked, dataset=data)).digest:
            return folder
    return None
