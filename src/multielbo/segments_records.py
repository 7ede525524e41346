"""The records of data in segments: `python -m multielbo.segments_records`.

Each run trains all its seeds at once and is written when it is done; one that is already there, of
the same settings and code, is not made again. So the command can be stopped and called again.
"""

from __future__ import annotations

__all__ = ["RUNS", "Run", "asked", "drawn", "made", "main", "source"]

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multielbo.identifiability import Split, halves
from multielbo.records import Record, complete, describe_run, find, load, write
from multielbo.segment_data import (
    DeepMixing,
    SegmentData,
    bimodal,
    multimodal,
    random_mixing,
)
from multielbo.segment_experiment import Settings, Trained, train
from multielbo.segment_report import codes, log_likelihood, objective, scores
from multielbo.segments import Segments, random_segments

SEEDS = {"bimodal": range(5), "missing": range(3)}
ROWS = {"bimodal": (4000, 2000), "missing": (5000, 1000)}  # to train on, and to judge by
MODALITIES, WIDTH, LATENTS, MISSING = 4, 25, 10, 0.5
PLOTTED = 500
SHORT = {
    "bimodal": {
        "epochs": 240,
        "learning_rate": 5e-3,
        "cosine": True,
        "width": 32,
        "decoder_width": 2,
    },
    "missing": {
        "latent_dim": LATENTS,
        "epochs": 50,
        "batch": 100,
        "learning_rate": 7e-3,
        "cosine": True,
        "width": 48,
        "decoder_width": 32,
        "layers": 3,
        "noise": None,
    },
}


@dataclass(frozen=True)
class Run:
    """One record.

    Attributes:
        data: `"bimodal"`, points and their segment, or `"missing"`, four modalities of which half
            are missing.
        changes: Of `Settings`.
        hidden: Modalities that training does not see at all.
    """

    data: str
    changes: dict[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()

    @property
    def settings(self) -> Settings:
        """Of the training, all of them."""
        return Settings(**{**SHORT[self.data], **self.changes})


RUNS: dict[str, Run] = {
    "segments/mixture-prior": Run("bimodal"),
    "segments/normal-prior": Run("bimodal", {"prior": "normal"}),
    "segments/class-hidden": Run("bimodal", hidden=(1,)),
    "segments/wide-decoder": Run("bimodal", {"decoder_width": 32}),
    "segments-missing/masked-sum-pooling": Run("missing"),
    "segments-missing/mixture-sum-pooling": Run("missing", {"objective": "mixture"}),
    "segments-missing/masked-poe": Run("missing", {"aggregator": "poe", "prior": "normal"}),
    "segments-missing/masked-sum-pooling-normal-prior": Run("missing", {"prior": "normal"}),
}


def source(data: str) -> Segments | DeepMixing:
    """What makes the data, drawn once."""
    generator = torch.Generator().manual_seed(5)
    if data == "bimodal":
        return random_segments(5, 2, generator)
    prior = random_segments(5, LATENTS, generator).prior
    return random_mixing(prior, MODALITIES, WIDTH, generator)


def drawn(data: str) -> tuple[SegmentData, SegmentData]:
    """Examples to train on, and new ones to judge by."""
    generator = torch.Generator().manual_seed(0)
    made = source(data)
    if isinstance(made, Segments):
        return tuple(bimodal(made, rows, generator) for rows in ROWS[data])
    return tuple(multimodal(made, rows, MISSING, generator) for rows in ROWS[data])


def without(data: SegmentData, hidden: Sequence[int]) -> SegmentData:
    """The same examples with whole modalities missing."""
    observed = data.observed.clone()
    observed[list(hidden)] = False
    return replace(data, observed=observed)


def split(test: SegmentData) -> Split:
    """The rows that fit scores and those that judge."""
    return halves(len(test.z), torch.Generator().manual_seed(1))


def asked(name: str) -> Record:
    """The record of a run that is about to start."""
    run = RUNS[name]
    config = asdict(run.settings) | {"hidden": run.hidden, "rows": ROWS[run.data]}
    return describe_run(
        name,
        profile="laptop",
        config=config,
        seeds=SEEDS[run.data],
        dataset=(name.split("/")[0], _content(*drawn(run.data))),
        modules=["multielbo.segment_experiment", "multielbo.segment_report"],
        device="cpu",
    )


def made(results: Path, name: str) -> Record:
    """The record of a run: the one that is there, or that of a run now."""
    wanted, run = asked(name), RUNS[name]
    if folder := find(results, wanted.digest):
        return load(folder)[0]
    examples, test = (without(rows, run.hidden) for rows in drawn(run.data))
    started, used = time.perf_counter(), time.process_time()
    trained = train(examples, run.settings, wanted.seeds)
    used = (time.process_time() - used) / len(wanted.seeds)
    found = _metrics(trained, test, run)
    each = (time.perf_counter() - started) / len(wanted.seeds)
    metrics = [
        {name: round(float(values[r]), 4) for name, values in found.items()}
        | {"cpu_seconds": round(used, 2)}
        for r in range(len(wanted.seeds))
    ]
    shown = codes(trained, test)[:, :: len(test.z) // PLOTTED, : min(2, LATENTS)]
    record = complete(wanted, metrics, [each] * len(wanted.seeds))
    return write(results / name / "laptop", record, {"codes": shown.half().numpy()})


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


def _metrics(trained: Trained, test: SegmentData, run: Run) -> dict[str, Tensor]:
    rows = split(test)
    found = {"log_likelihood": log_likelihood(trained, test), "objective": objective(trained, test)}
    first = torch.zeros_like(test.observed)
    first[0] = True
    whole = replace(test, observed=torch.ones_like(test.observed))
    views = {"": test}
    if run.data == "missing":
        views["whole_"] = whole  # what is missing is known here, and read for this score alone
    for prefix, data in views.items():
        of = scores(codes(trained, data), data.z, rows)
        found |= {f"{prefix}weak": of.weak, f"{prefix}strong": of.strong}
    of = scores(codes(trained, replace(whole, observed=first)), test.z, rows)
    return found | {"first_weak": of.weak, "first_strong": of.strong}


def _content(*data: SegmentData) -> str:
    content = hashlib.sha256()
    for rows in data:
        for part in (rows.readable().float(), rows.z.float(), rows.observed):
            content.update(part.contiguous().numpy().tobytes())
    return content.hexdigest()


if __name__ == "__main__":
    main()
