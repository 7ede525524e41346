"""A Python for the grid whose experiments take seconds and can be caught in the middle.

python tests/tiny_grid.py -m MODULE ARGUMENTS   or   python tests/tiny_grid.py SCRIPT ARGUMENTS

Settings are small, checkpoints frequent (they change no number), and every training notes where it
began and ended in `steps.txt`. Where a file `hold-SEED` lies in the working folder, the training of
that seed stops in the middle, after a checkpoint, and waits for its end; the file then holds the
number of its process.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from functools import partial
from pathlib import Path

from multielbo import presets, training
from multielbo.experiments import catalogue, run
from multielbo.experiments.catalogue import Wanted
from multielbo.train_config import TrainConfig

__all__ = ["HELD", "STEPS", "WANTED", "shrink"]

EVERY = 5  # steps between checkpoints
HELD, STEPS = 10, 24  # where a training waits, and its last step
WANTED = (
    Wanted("polydigits", "mopoe", "laptop"),
    Wanted("polydigits", "mopoe", "laptop", beta=0.5, priority=1),
)
TINY = {
    "seeds": (0, 1),
    "latent_dim": 3,
    "train_examples": 96,
    "epochs": 4,
    "batch_size": 16,
    "classifier_epochs": 1,
    "probe_examples": 50,
    "prior_samples": 20,
    "coherence_examples": 30,
    "importance_samples": (2,),
    "likelihood_examples": (4,),
    "frechet_examples": 40,
}


def shrink() -> None:
    """Let the catalogue of this process want two small records."""
    presets.PRESETS["polydigits", "laptop"] |= TINY  # fields of Experiment, nothing else
    catalogue.CATALOGUE = WANTED
    run.TrainConfig = partial(TrainConfig, checkpoint_every=EVERY)
    resume, take_step = training.Run.resume, training.Run.take_step

    def noted_resume(self: training.Run, checkpoint: Path) -> None:
        resume(self, checkpoint)
        _note(self, "starts")

    def held_step(self: training.Run) -> None:
        take_step(self)
        hold = Path(f"hold-{self.config.seed}")
        if self.step == HELD and hold.exists():
            hold.write_text(str(os.getpid()), encoding="utf-8")
            _note(self, "waits")
            while hold.exists():
                time.sleep(0.1)
        if self.step == self.total:
            _note(self, "ends")

    training.Run.resume, training.Run.take_step = noted_resume, held_step


def _note(training_run: training.Run, event: str) -> None:
    with open("steps.txt", "a", encoding="utf-8") as file:
        file.write(f"seed {training_run.config.seed} {event} after step {training_run.step}\n")


if __name__ == "__main__":
    shrink()
    flag, *rest = sys.argv[1:]
    if flag == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [flag, *rest]
        runpy.run_path(flag, run_name="__main__")
