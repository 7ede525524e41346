"""Records of experiments: the one that is there, or that of a run now."""

from __future__ import annotations

__all__ = ["recorded"]

from collections.abc import Callable, Mapping
from pathlib import Path

from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.experiments.costs import cpu_hours
from multielbo.experiments.description import asked
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.seeds import checkpoint_path, outcome
from multielbo.metrics.classifiers import Classifiers
from multielbo.records import Outcome, Record, load_or_run


def recorded(
    experiment: Experiment,
    results: Path,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Callable[[], Classifiers],
    *,
    checkpoints: Path | None = None,
    allow_cpu: bool = False,
) -> tuple[Record, Mapping[str, NDArray]]:
    """The record of all seeds of an experiment: the one under `results`, or that of a run now.

    Args:
        experiment: The settings.
        results: Folder of all records.
        train, test: As `load` gives them.
        classifiers: Gives the judges; called only if there is something to run.
        checkpoints: Folder for what is unfinished: checkpoints, and seeds that wait for others.
        allow_cpu: As in `records.load_or_run`.

    Raises:
        ValueError: A record was changed by hand, or the settings do not fit the data.
        NeedsGPU: A full run was asked for where there is no GPU.
    """

    wanted = asked(experiment, train, test)

    def run(seed: int) -> Outcome:
        checkpoint = checkpoint_path(checkpoints, wanted, seed) if checkpoints else None
        return outcome(experiment, seed, train, test, classifiers(), checkpoint=checkpoint)

    return load_or_run(
        results,
        wanted,
        run,
        parts=checkpoints,
        cpu_hours=cpu_hours(experiment),
        allow_cpu=allow_cpu,
    )
