"""The linear experiment's records: `python -m multielbo.linear_records`.

Each run trains all its seeds at once and is written when it is done; one that is already there, of
the same settings and code, is not made again. So the command can be stopped and called again.
"""

from __future__ import annotations

__all__ = ["RUNS", "Run", "asked", "made", "main", "simulated"]

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multielbo import linear_data
from multielbo.linear_data import LinearModel
from multielbo.linear_experiment import train
from multielbo.linear_objectives import Settings
from multielbo.linear_report import Report, captured, report
from multielbo.records import Record, complete, describe_run, find, load, write

SEEDS = range(5)
ROWS = 5000
QUICK_START = {"gain": 3**0.5, "first_scale": 0.2, "centred": True, "rate_warm_up": 32}
DENSE = {"latent_dim": 5, "width": 32}
SPARSE = {"latent_dim": 30, "width": 64}
SHORT = {
    "epochs": 50,
    "batch": 250,
    "learning_rate": 5e-3,
    "cosine": True,
    "warm_up": 1,
    "expected": True,
    "curve_every": 2,
}


@dataclass(frozen=True)
class Run:
    """One record.

    Attributes:
        data: `"dense"`, five latents of all modalities, or `"sparse"`, with five more of each.
        changes: Of `Settings`.
    """

    data: str
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Of the training, all of them."""
        sizes = DENSE if self.data == "dense" else SPARSE
        return Settings(**{**sizes, **SHORT, **QUICK_START, **self.changes})


def _compared(data: str, objective: str, aggregator: str) -> tuple[str, Run]:
    name = f"linear-{data}/{objective}-{aggregator}"
    return name, Run(data, {"objective": objective, "aggregator": aggregator})


_LONGER = {"epochs": 200, "rate_warm_up": 120, "width": 128}  # what the sparse data ask for
_USUAL_START = {  # centred all the same; a step that stays, or the end of any curve looks flat
    "gain": 1.0,
    "first_scale": 1.0,
    "rate_warm_up": 0,
    "cosine": False,
}
RUNS: dict[str, Run] = dict(
    [
        _compared("dense", "masked", "sum-pooling"),
        _compared("sparse", "mixture", "sum-pooling"),
        _compared("sparse", "masked", "sum-pooling"),
        ("linear-dense/masked-sum-pooling-usual-start", Run("dense", _USUAL_START)),
        _compared("dense", "mixture", "sum-pooling"),
        _compared("dense", "masked", "poe"),
        _compared("dense", "joint", "sum-pooling"),
        _compared("dense", "mixture", "moe"),
        _compared("dense", "tc", "sum-pooling"),
        _compared("dense", "masked", "w2"),
        _compared("dense", "mixture", "poe"),
        _compared("dense", "joint", "poe"),
        _compared("dense", "tc", "poe"),
        _compared("dense", "masked", "self-attention"),
        _compared("dense", "mixture", "mopoe"),
        ("linear-sparse/masked-sum-pooling-longer", Run("sparse", _LONGER)),
        (
            "linear-sparse/mixture-sum-pooling-longer",
            Run("sparse", {**_LONGER, "objective": "mixture"}),
        ),
        _compared("sparse", "masked", "poe"),
        _compared("sparse", "mixture", "poe"),
        _compared("sparse", "joint", "poe"),
        _compared("dense", "mixture", "self-attention"),
        _compared("dense", "joint", "w2"),
        _compared("dense", "joint", "moe"),
        _compared("dense", "mixture", "mixture-of-w2"),
    ]
)


def simulated(data: str) -> tuple[LinearModel, Tensor]:
    """The simulation of the released code: five modalities of 30 to 59 dimensions, unit noise.

    Returns:
        The model, and its 5,000 rows, `(M, B, N)`.
    """
    generator = torch.Generator().manual_seed(0)
    widths = torch.randint(30, 60, (5,), generator=generator).tolist()
    if data == "dense":
        truth = linear_data.dense(widths, 5, generator=generator)
    else:
        truth = linear_data.sparse(widths, 5, 5, generator=generator)
    return truth, truth.sample(ROWS, generator)


def asked(name: str, seeds: Sequence[int] = SEEDS) -> Record:
    """The record of a run that is about to start."""
    run = RUNS[name]
    truth, x = simulated(run.data)
    config = asdict(run.settings) | {"widths": truth.present.sum(1).tolist(), "rows": ROWS}
    law, chances = run.settings.law(len(x))
    config["law"] = dict(zip(map(str, law.int().tolist()), chances.tolist(), strict=True))
    return describe_run(
        name,
        profile="laptop",
        config=config,
        seeds=seeds,
        dataset=(f"linear-{run.data}", hashlib.sha256(x.float().numpy().tobytes()).hexdigest()),
        modules=["multielbo.linear_experiment", "multielbo.linear_report"],
        device="cpu",
    )


def made(results: Path, name: str) -> Record:
    """The record of a run: the one that is there, or that of a run now."""
    wanted = asked(name)
    if folder := find(results, wanted.digest):
        return load(folder)[0]
    truth, x = simulated(RUNS[name].data)
    started, used = time.perf_counter(), time.process_time()
    trained = train(x, truth, RUNS[name].settings, wanted.seeds)
    used = time.process_time() - used
    found = report(trained, x, rounds=4, draws=4, examples=1000)
    each = (time.perf_counter() - started) / len(SEEDS)
    epochs, levels = trained.curve
    metrics = [
        _metrics(found, r, captured(model, truth)) | {"cpu_seconds": round(used / len(SEEDS), 2)}
        for r, model in enumerate(trained.decoders)
    ]
    record = complete(wanted, metrics, [each] * len(SEEDS))
    arrays = {"epochs": torch.tensor(epochs).numpy(), "curve": levels.float().numpy()}
    return write(results / name / "laptop", record, arrays)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of the named runs, or of all, the most wanted first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"such as {next(iter(RUNS))}")
    parser.add_argument("--results", type=Path, default=Path("book") / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in RUNS]:
        parser.error(f"there is no run {unknown[0]!r}; choose from {', '.join(RUNS)}")
    for name in options.names or RUNS:
        record = made(options.results, name)
        print(f"{name}: {sum(record.metrics['cpu_seconds']):.0f} s of CPU for training", flush=True)


def _metrics(found: Report, r: int, factors: Tensor) -> dict[str, Any]:
    """Of one seed, rounded to what is known of them."""
    return {
        "best": round(float(found.best), 4),
        "log_likelihood": round(float(found.log_likelihood[r]), 4),
        "objective": round(float(found.objective[r]), 3),
        "rate": round(float(found.rate[r]), 3),
        "distortion": round(float(found.distortion[r]), 3),
        "factors": [round(value, 4) for value in factors.tolist()],
        "divergence": [round(value, 4) for value in found.divergence[:, r].tolist()],
    }


if __name__ == "__main__":
    main()
