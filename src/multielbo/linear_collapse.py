"""The records of factors that collapse: `python -m multielbo.linear_collapse`.

Two modalities of three dimensions, with a factor that they share and a private one each, all of
loading one, at several levels of noise and under objectives whose optimum is known. A second record
has a quarter of the epochs: some seeds pass a saddle, and need the time.
"""

from __future__ import annotations

__all__ = ["LEARNERS", "LONG", "NOISES", "SHORT", "made", "main", "simulated"]

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multielbo import linear_data, masks, subsets
from multielbo.linear_data import LinearModel
from multielbo.linear_experiment import train
from multielbo.linear_objectives import Settings
from multielbo.linear_report import captured
from multielbo.masks import MaskLaw
from multielbo.records import Record, complete, describe_run, find, load, write

LONG, SHORT = "linear-factors/two-modalities", "linear-factors/two-modalities-short"
EPOCHS = {LONG: 160, SHORT: 40}
NOISES = (0.1, 0.4, 0.8)  # variances
SEEDS = range(5)
ROWS = 4000
LEARNERS: dict[str, tuple[str, MaskLaw]] = {
    "masked, joint ELBO": ("masked", masks.independent()),
    "mixture, power set": ("mixture", masks.fixed(subsets.powerset)),
    "mixture, singletons": ("mixture", masks.fixed(subsets.singletons)),
}
SETTINGS = {
    "latent_dim": 3,
    "batch": 250,
    "width": 16,
    "learning_rate": 1e-2,
    "cosine": True,
    "warm_up": 1,
    "rate_warm_up": 20,
    "expected": True,
    "gain": 3**0.5,
    "first_scale": 0.2,
    "centred": True,
    "curve_every": 40,
}


def made(results: Path, name: str) -> Record:
    """The record that is there, or that of a run now."""
    data = [simulated(variance) for variance in NOISES]
    wanted = _asked(name, torch.stack([x for _, x in data]))
    if folder := find(results, wanted.digest):
        return load(folder)[0]
    started = time.perf_counter()
    arrays: dict[str, Any] = {"noise": np.array(NOISES)}
    for learner, (objective, law) in LEARNERS.items():
        settings = Settings(**SETTINGS, epochs=EPOCHS[name], objective=objective, law=law)
        found = torch.stack([_factors(truth, x, settings) for truth, x in data])
        arrays[f"shared {learner}"] = found[..., 0].numpy()  # (noises, seeds)
        arrays[f"private {learner}"] = found[..., 1:].mean(-1).numpy()
    each = (time.perf_counter() - started) / len(SEEDS)
    metrics = [
        {key: value[:, r].round(4).tolist() for key, value in arrays.items() if value.ndim == 2}
        for r in range(len(SEEDS))
    ]
    return write(results / name / "laptop", complete(wanted, metrics, [each] * len(SEEDS)), arrays)


def simulated(variance: float) -> tuple[LinearModel, Tensor]:
    """The model with this variance of noise, and its rows, `(M, B, N)`."""
    generator = torch.Generator().manual_seed(3)
    truth = linear_data.sparse([3, 3], 1, 1, noise=variance**0.5, generator=generator)
    return truth, truth.sample(ROWS, generator)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("book") / "results", metavar="DIR")
    results = parser.parse_args(arguments).results
    for name in EPOCHS:
        print(made(results, name).name, flush=True)


def _factors(truth: LinearModel, x: Tensor, settings: Settings) -> Tensor:
    decoders = train(x, truth, settings, SEEDS).decoders
    return torch.stack([captured(model, truth) for model in decoders])  # (seeds, factors)


def _asked(name: str, x: Tensor) -> Record:
    config = asdict(Settings(**SETTINGS, epochs=EPOCHS[name])) | {
        "noise variances": NOISES,
        "rows": ROWS,
    }
    del config["law"], config["objective"]
    config["learners"] = {
        learner: [objective, *(v.tolist() for v in law(2))]
        for learner, (objective, law) in LEARNERS.items()
    }
    return describe_run(
        name,
        profile="laptop",
        config=config,
        seeds=SEEDS,
        dataset=("linear-factors", hashlib.sha256(x.float().numpy().tobytes()).hexdigest()),
        modules=["multielbo.linear_experiment", "multielbo.linear_report"],
        device="cpu",
    )


if __name__ == "__main__":
    main()
