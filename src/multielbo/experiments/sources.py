"""The data of an experiment: loaded once, and prepared on the spot where they are missing."""

from __future__ import annotations

__all__ = ["Unprepared", "data_of", "prepare"]

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from multielbo.data.multimodal import MultimodalData
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run import load
from multielbo.records.locks import alone
from multielbo.setups.registry import setup_of


class Unprepared(OSError):
    """The data of an experiment cannot be prepared."""


def data_of(
    experiment: Experiment, folder: Path, device: str = "cpu"
) -> tuple[MultimodalData, MultimodalData]:
    """Training and test split, kept until those of another data set are asked for.

    Raises:
        FileNotFoundError: They are not in the folder.
        ValueError: A file of them is not what was prepared.
    """
    # The model decides nothing here, so that all models of a data set share what was loaded.
    return _load(replace(experiment, model="", beta=0.0), folder, device)


def prepare(
    dataset: str,
    folder: Path,
    raw: Sequence[Path],
    repository: Path,
    timeout: float | None = None,
) -> None:
    """Run the script that prepares a data set; one that was stopped continues where it was.

    Args:
        dataset: Its name.
        folder: Where prepared data go.
        raw: Folders that already hold originals.
        repository: The folder that `data_scripts/` lies in.
        timeout: Seconds after which it is stopped.

    Raises:
        Unprepared: The script failed; its own line says why.
        Held: Another process is preparing them.
        subprocess.TimeoutExpired: It took longer.
    """
    script, *options = shlex.split(setup_of(dataset).prepare)
    if not (repository / script).is_file():
        raise Unprepared(f"{dataset}: there is no {repository / script}; run from the repository")
    folders = [part for entry in raw for part in ("--raw", str(entry))]
    command = [sys.executable, str(repository / script), *options, *folders, "--out", str(folder)]
    with alone(folder / f".{dataset}.claim", f"data of {dataset}"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unprepared(f"{dataset}: {script} could not prepare the data: {lines[-1]}")


@lru_cache(maxsize=1)
def _load(
    experiment: Experiment, folder: Path, device: str
) -> tuple[MultimodalData, MultimodalData]:
    return load(experiment, setup_of(experiment.dataset), folder, device)
