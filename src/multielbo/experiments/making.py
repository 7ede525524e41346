"""One record, from its data to its folder: what is there is used, what is missing is run."""

from __future__ import annotations

__all__ = ["Places", "Say", "Seeds", "lacking", "make"]

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multielbo.experiments.costs import cost
from multielbo.experiments.description import described, on_data
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.seeds import checkpoint_path, kept_judges, run_seed
from multielbo.experiments.sources import data_of, prepare
from multielbo.records import Held, Record, adapted, finish, load, read_parts
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


@dataclass(frozen=True)
class Seeds:
    """The seeds that a record lacks, with data and judges ready; it may travel to other processes.

    Attributes:
        experiment: The settings.
        asked: The record before it runs, of the data that are there.
        places: Folders.
        device: `"cuda"` or `"cpu"`.
        until: When to stop training, in seconds of `time.monotonic`.
        missing: Which seeds.
    """

    experiment: Experiment
    asked: Record
    places: Places
    device: str
    until: float
    missing: tuple[int, ...] = ()

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

    def started(self, seed: int) -> str:
        """What to say when a seed starts."""
        stopped = checkpoint_path(self.places.unfinished, self.asked, seed).exists()
        how = "continues from its checkpoint" if stopped else "starts"
        return f"seed {seed} {how}, about {sum(cost(self.experiment)):.0f} min in all (estimated)"

    def finish(self, say: Say, held: Held | None = None) -> None:
        """Write the record, unless seeds that other processes make are not there yet.

        Args:
            say: Takes the line that says so.
            held: Raised in that case.
        """
        unfinished, name = self.places.unfinished, Path(self.asked.name) / self.asked.profile
        if held and not (
            list(read_parts(unfinished, self.asked).found) == self.asked.seeds
            or _fresh(self.asked, self.places, True, say)
        ):
            raise held
        finish(self.places.out, self.asked, unfinished)
        shutil.rmtree(unfinished / ".checkpoints" / name, ignore_errors=True)
        say(f"record written to {self.places.out / name}")


def lacking(
    experiment: Experiment,
    asked: Record,
    places: Places,
    device: str,
    *,
    deadline: float,
    say: Say = print,
) -> Seeds | None:
    """What a record lacks, or None if a fresh one is there; prepares its data and its judges.

    Args:
        experiment: The settings.
        asked: Its record before it runs, as `described` gives it.
        places: Folders.
        device: `"cuda"` or `"cpu"`.
        deadline: When to be done, in seconds of `time.monotonic`.
        say: Takes one line for each event.

    Raises:
        OutOfTime: No time is left for it.
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
        return None
    if data is None:
        say(f"preparing its data in {places.data}")
        left = max(until - time.monotonic(), 0.0)
        prepare(experiment.dataset, places.data, places.raw, places.repository, left)
        data = data_of(experiment, places.data, device)
        asked = on_data(asked, *data)
    found, refused = read_parts(places.unfinished, asked)
    for seed, reason in refused.items():
        say(f"seed {seed} is run again: {reason}")
    missing = tuple(seed for seed in asked.seeds if seed not in found)
    if missing and time.monotonic() >= until:
        raise OutOfTime("the time left would not do for the evaluation")
    if missing:
        # Before the seeds start, so that each of them finds the judges.
        accuracy = kept_judges(experiment, *data, places.unfinished).accuracy
        say(f"judges ready, accuracy {min(accuracy.values()):.3f} to {max(accuracy.values()):.3f}")
    return Seeds(experiment, asked, places, device, until, missing)


def make(seeds: Seeds, say: Say = print) -> None:
    """Run what a record lacks, one seed after another, and write it.

    Raises:
        Held: Other processes are making some of its seeds, and no other is missing.
        OutOfTime: It is not done; the next call continues where this one stopped.
    """
    held = None
    for seed in seeds.missing:
        say(seeds.started(seed))
        try:
            say(finished(seeds.run(seed)))
        except Held as error:
            held = error
            say(str(error))
    seeds.finish(say, held)


def finished(part: Record) -> str:
    """What to say when a seed is done."""
    return f"seed {part.seeds[0]} took {part.seconds[0]:.0f} s on {part.device}"


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
