"""The queue: wanted records one after another, until all are there or the time is up.

What is done is never done again: a finished record is found by its digest, a finished seed by its
part, and a training that was stopped continues from its checkpoint.
"""

from __future__ import annotations

__all__ = ["Tally", "work"]

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from multielbo.experiments.catalogue import Wanted
from multielbo.experiments.costs import cost, cpu_hours
from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.making import Places, Say, make
from multielbo.records import NeedsGPU, Record
from multielbo.setups.registry import setup_of
from multielbo.train import OutOfTime


@dataclass(frozen=True)
class Tally:
    """Names of the records that are there, that failed, and that are left for the next call."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


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
        workers: Seeds of a record that run at once, each in its own process.
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
    for job in jobs:
        label = f"{job.asked.name} ({job.asked.profile})"
        if tally.left:
            tally.left.append(label)
            continue
        try:
            make(
                job.experiment,
                job.asked,
                places,
                device,
                deadline=deadline,
                workers=workers,
                say=lambda line, label=label: say(f"{label}: {line}"),
            )
            tally.done.append(label)
        except (OutOfTime, subprocess.TimeoutExpired) as error:
            say(f"{label}: stopped in time: {_one_line(error)}")
            tally.left.append(label)
        except (ValueError, OSError, ArithmeticError, MemoryError, RuntimeError) as error:
            say(f"{label}: failed: {_one_line(error)}")
            tally.failed.append(label)
    return tally


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
