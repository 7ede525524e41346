"""The queue: wanted records one after another, until all are there or the time is up.

What is done is never done again: a finished record is found by its digest, a finished seed by its
part, and a training that was stopped continues from its checkpoint.
"""

from __future__ import annotations

__all__ = ["work"]

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from multielbo.experiments.catalogue import Wanted
from multielbo.experiments.costs import cost, cpu_hours
from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.making import Places, Say, lacking, make
from multielbo.experiments.tally import EXPECTED, Tally
from multielbo.experiments.together import Opening, together
from multielbo.records import NeedsGPU, Record
from multielbo.setups.registry import setup_of


def work(
    wanted: Sequence[Wanted],
    places: Places,
    *,
    minutes: float,
    workers: int = 1,
    allow_cpu: bool = False,
    say: Say = print,
) -> Tally:
    """Make the wanted records, the most wanted first, and stop in time.

    Args:
        wanted: Which; within a priority the shortest come first if not all fit.
        places: Folders.
        minutes: The budget; training stops at a checkpoint early enough to leave time to evaluate.
        workers: Seeds that run at once, of whatever records, each in its own process.
        allow_cpu: Make full records on a CPU all the same.
        say: Takes one line for each event.

    Raises:
        ValueError: The budget or the number of workers is not positive.
        NeedsGPU: A full record is wanted where there is no GPU.
    """
    if not minutes > 0:
        raise ValueError(f"records: a budget of {minutes:g} minutes; give more than 0")
    if workers < 1:
        raise ValueError(f"records: {workers} workers; give at least 1")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    deadline = time.monotonic() + 60 * minutes
    tally = Tally()
    jobs, without = _jobs(wanted, minutes, device)
    _require_gpu(jobs, device, allow_cpu)
    for label, reason in without.items():
        say(f"{label}: failed: {reason}")
        tally.failed.append(label)
    openings = []
    for job in jobs:
        label = f"{job.asked.name} ({job.asked.profile})"
        tell = partial(_tell, say, label)
        lacks = partial(
            lacking, job.experiment, job.asked, places, device, deadline=deadline, say=tell
        )
        openings.append(Opening(label, lacks, tell))
    if workers > 1:
        together(openings, workers, tally)
    else:
        _in_turn(openings, tally)
    return tally


def _in_turn(openings: Sequence[Opening], tally: Tally) -> None:
    for opening in openings:
        if tally.out_of_time:
            tally.left.append(opening.name)
            continue
        error = None
        try:
            if (seeds := opening.open()) is not None:
                make(seeds, opening.say)
        except EXPECTED as raised:
            error = raised
        tally.enter(opening.name, error, opening.say)


def _tell(say: Say, label: str, line: str) -> None:
    say(f"{label}: {line}")


@dataclass(frozen=True)
class _Job:
    """A wanted record, described by the code as it was when the queue started."""

    priority: int
    experiment: Experiment
    asked: Record

    @property
    def minutes(self) -> float:
        return sum(cost(self.experiment)) * len(self.experiment.seeds)


def _jobs(
    wanted: Sequence[Wanted], minutes: float, device: str
) -> tuple[list[_Job], dict[str, str]]:
    """What can be run, in its order, and why the rest cannot."""
    jobs, without = [], {}
    for entry in wanted:
        try:
            experiment = entry.experiment()
            setup_of(experiment.setup)  # imported now, as it is digested now
            jobs.append(_Job(entry.priority, experiment, described(experiment, device)))
        except ValueError as error:
            without[f"{entry.name} ({entry.profile})"] = str(error).partition(";")[0]
    short = sum(job.minutes for job in jobs) > minutes
    jobs.sort(key=lambda job: (job.priority, job.minutes if short else 0.0))
    return jobs, without


def _require_gpu(jobs: Sequence[_Job], device: str, allow_cpu: bool) -> None:
    full = [job for job in jobs if job.experiment.profile == "full"]
    if full and device == "cpu" and not allow_cpu:
        hours = sum(cpu_hours(job.experiment) for job in full)
        raise NeedsGPU(
            f"records: {len(full)} of profile 'full' would take about {hours:.0f} h on this CPU; "
            "run them on a GPU, choose --profile laptop, or pass --allow-cpu"
        )
