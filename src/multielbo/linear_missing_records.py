"""Records of linear data with half missing: `python -m multielbo.linear_missing_records`.

A run whose record is there, of the same settings and code, is not made again.
"""

from __future__ import annotations

__all__ = ["RUNS", "asked", "made", "main", "optima", "simulated"]

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from multielbo import linear_data
from multielbo.linear_data import LinearModel
from multielbo.linear_missing import Pattern, imputed, likeliest, log_likelihood, patterns
from multielbo.linear_missing_experiment import report, train
from multielbo.linear_objectives import Settings
from multielbo.linear_records import DENSE, QUICK_START, SHORT
from multielbo.records import Record, complete, describe_run, find, load, write
from multielbo.segment_data import half_missing

SEEDS = range(5)
ROWS, MODALITIES, MISSING, JUDGED = 5000, 4, 0.5, 1000
ROUNDS = 40  # from the truth on, where more find no more, as a test says
RUNS: dict[str, dict[str, str]] = {
    f"linear-missing/{objective}-{aggregator}": {"objective": objective, "aggregator": aggregator}
    for objective, aggregator in [
        ("masked", "sum-pooling"),
        ("masked", "poe"),
        ("mixture", "sum-pooling"),
        ("mixture", "poe"),
    ]
}


class Simulated(NamedTuple):
    """Data and what made them.

    Attributes:
        truth: The model.
        x: Rows to train on, `(M, B, N)`.
        observed: What is there of them, `(M, B)` bool.
        whole: Complete rows, of which no training reads any.
    """

    truth: LinearModel
    x: Tensor
    observed: Tensor
    whole: Tensor


def simulated() -> Simulated:
    """Four modalities of 30 to 59 dimensions that carry the same five latents."""
    generator = torch.Generator().manual_seed(0)
    widths = torch.randint(30, 60, (MODALITIES,), generator=generator).tolist()
    truth = linear_data.dense(widths, 5, generator=generator)
    x = truth.sample(ROWS, generator)
    observed = half_missing(MODALITIES, ROWS, MISSING, generator)
    return Simulated(truth, x, observed, truth.sample(JUDGED, generator))


def optima(data: Simulated) -> tuple[list[Pattern], LinearModel, LinearModel]:
    """The data as patterns, their likeliest decoders, and the mixture objective's."""
    seen = patterns(data.x, data.observed, data.truth)
    best = likeliest(data.truth, seen, ROUNDS)
    return seen, best, likeliest(best, imputed(seen, best, Settings().law), ROUNDS)


def asked(name: str) -> Record:
    """The record of a run that is about to start."""
    data = simulated()
    config = asdict(settings(name)) | {"missing": MISSING, "rows": ROWS}
    config["widths"] = data.truth.present.sum(1).tolist()
    config["law"] = "each modality with one half"
    content = torch.where(data.observed[..., None], data.x, 0.0).float().numpy().tobytes()
    return describe_run(
        name,
        profile="laptop",
        config=config,
        seeds=SEEDS,
        dataset=("linear-missing", hashlib.sha256(content).hexdigest()),
        modules=["multielbo.linear_missing_experiment"],
        device="cpu",
    )


def settings(name: str) -> Settings:
    """Of the training, all of them."""
    return Settings(**{**DENSE, **SHORT, **QUICK_START, **RUNS[name]})


def made(results: Path, name: str) -> Record:
    """The record of a run: the one that is there, or that of a run now."""
    wanted = asked(name)
    if folder := find(results, wanted.digest):
        return load(folder)[0]
    data = simulated()
    seen, best, of_mixture = optima(data)
    known = {
        "best": round(float(log_likelihood(best, seen)), 4),
        "mixture_best": round(float(log_likelihood(of_mixture, seen)), 4),
    }
    started, used = time.perf_counter(), time.process_time()
    trained = train(data.x, data.observed, data.truth, settings(name), wanted.seeds)
    used = round((time.process_time() - used) / len(SEEDS), 2)
    found = report(trained, data.x, data.observed, data.whole)
    each = (time.perf_counter() - started) / len(SEEDS)
    metrics = [
        known
        | {
            "log_likelihood": round(float(found.log_likelihood[r]), 4),
            "objective": round(float(found.objective[r]), 3),
            "rate": round(float(found.rate[r]), 3),
            "divergence": [round(value, 4) for value in found.divergence[:, r].tolist()],
            "cpu_seconds": used,
        }
        for r in range(len(SEEDS))
    ]
    return write(results / name / "laptop", complete(wanted, metrics, [each] * len(SEEDS)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of the named runs, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"such as {next(iter(RUNS))}")
    parser.add_argument("--results", type=Path, default=Path("book") / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in RUNS]:
        parser.error(f"there is no run {unknown[0]!r}; choose from {', '.join(RUNS)}")
    for name in options.names or RUNS:
        record = made(options.results, name)
        print(f"{name}: {sum(record.metrics['cpu_seconds']):.0f} s of CPU for training", flush=True)


if __name__ == "__main__":
    main()
