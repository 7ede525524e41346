"""The records that a page of reproductions shows: those that are there, or those of runs now."""

from __future__ import annotations

__all__ = ["of_one_profile", "over_beta", "runs"]

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.recorded import recorded
from multielbo.experiments.seeds import kept_judges
from multielbo.experiments.sources import data_of
from multielbo.models.registry import known
from multielbo.presets import PRESETS, preset
from multielbo.records import Freshness, Record, freshness, load
from multielbo.records.store import Arrays
from multielbo.reproduction.request import Request
from multielbo.scoreboard.runs import Run

KEPT = ("full", "laptop")  # profiles that leave records, the better first
# Where `multielbo records run` keeps what is unfinished too: either continues the other's work.
UNFINISHED = Path("build") / "records" / "unfinished"


def runs(asked: Request) -> dict[str, Run | None]:
    """By model the record with the preset's beta, None where there is none.

    Raises:
        ValueError: A record is not as it was written, or lies where another belongs.
        FileNotFoundError: Data that have to be there are not, or a record lacks its arrays.
        NeedsGPU: A full run is asked for where there is no GPU.
    """
    if asked.profile == "quick":
        return {model: _best(asked.results, f"{asked.dataset}/{model}") for model in asked.models}
    return {model: _made(asked, _experiment(asked, model)) for model in asked.models}


def over_beta(asked: Request, shown: Mapping[str, Run | None]) -> dict[str, list[Run]]:
    """By model its records with all values of beta, in the order of beta, all of one profile.

    Args:
        asked: Without `betas`, or with profile quick, the records that are there are taken.
        shown: As `runs` gives them; with the preset's beta they belong to the sweep.

    Raises:
        ValueError, FileNotFoundError, NeedsGPU: As `runs` does.
    """
    swept = {
        model: [*_others(asked, model), *([run] if run else [])] for model, run in shown.items()
    }
    most = _most_frequent(run for found in swept.values() for run in found)
    found = {}
    for model, there in swept.items():
        by_beta = {run.record.config["beta"]: run for run in there if run.record.profile == most}
        found[model] = [by_beta[beta] for beta in sorted(by_beta)]
    return found


def of_one_profile(shown: Mapping[str, Run | None]) -> dict[str, Run]:
    """The records that a figure may put side by side: of the profile that most of them have."""
    most = _most_frequent(run for run in shown.values() if run)
    return {model: run for model, run in shown.items() if run and run.record.profile == most}


def _most_frequent(there: Iterable[Run]) -> str:
    """A profile, and of equally frequent ones full."""
    profiles = [run.record.profile for run in there]
    return max(KEPT, key=profiles.count)


def _others(asked: Request, model: str) -> list[Run]:
    """The records with another beta: those that are asked for, or those that are there."""
    if asked.profile != "quick" and asked.betas:
        return [_made(asked, _experiment(asked, model, beta)) for beta in asked.betas]
    name = f"{asked.dataset}/{model}"
    profiles = KEPT if asked.profile == "quick" else (asked.profile,)
    folders = sorted((asked.results / name).glob("beta-*"))
    found = [_best(asked.results, f"{name}/{folder.name}", profiles) for folder in folders]
    return [run for run in found if run]


def _best(results: Path, name: str, profiles: Iterable[str] = KEPT) -> Run | None:
    """The record of that name, of the first profile that has one."""
    for profile in profiles:
        folder = results / name / profile
        if not (folder / "record.json").exists():
            continue
        record, arrays = load(folder)
        if (record.name, record.profile) != (name, profile):
            raise ValueError(
                f"{folder} holds the record of {record.name} ({record.profile}); move it where "
                "that belongs, and restore this one from git or run the experiment again"
            )
        return _run(record, arrays)
    return None


def _made(asked: Request, experiment: Experiment) -> Run:
    """The record of an experiment: the one that is there, or that of a run now."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train, test = data_of(experiment, asked.data, device)
    judges = partial(kept_judges, experiment, train, test, UNFINISHED)
    record, arrays = recorded(
        experiment,
        asked.results,
        train,
        test,
        judges,
        checkpoints=UNFINISHED,
        allow_cpu=asked.allow_cpu,
    )
    return _run(record, arrays)


def _run(record: Record, arrays: Arrays) -> Run:
    dataset, model, *_ = record.name.split("/")
    return Run(record, arrays, dataset, model, _freshness(record, dataset, model))


def _freshness(record: Record, dataset: str, model: str) -> Freshness:
    """By the code and the preset as they are now; data are not compared, for they may be away."""
    if (dataset, record.profile) not in PRESETS or model not in known():
        return freshness(record)
    now = described(preset(dataset, model, record.profile, beta=record.config.get("beta")))
    return freshness(record, config=now.config, modules=now.modules)


def _experiment(asked: Request, model: str, beta: float | None = None) -> Experiment:
    changes: dict[str, Any] = {} if beta is None else {"beta": beta}
    if asked.seeds:
        changes["seeds"] = asked.seeds
    return preset(asked.dataset, model, asked.profile, **changes)
