"""What all seeds of a data set share, made before they start: its data and its judges."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from multielbo.experiments.experiment import Experiment
from multielbo.experiments.seeds import kept_judges
from multielbo.experiments.sources import data_of, prepare
from multielbo.models.registry import MODELS
from multielbo.presets import preset

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 2 after a failure, told in one line."""
    options = _parser().parse_args(arguments)
    try:
        # The model decides nothing of what is shared.
        options.command(preset(options.dataset, next(iter(MODELS)), options.profile), options)
    except (OSError, ValueError) as error:
        print(f"grid: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def data(experiment: Experiment, options: argparse.Namespace) -> None:
    """Prepare the data of an experiment, unless they are there."""
    try:
        data_of(experiment, options.data)
    except FileNotFoundError:
        prepare(experiment.dataset, options.data, options.raw, ROOT)


def judges(experiment: Experiment, options: argparse.Namespace) -> None:
    """Train the classifiers that judge all models, unless they are there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    made = kept_judges(experiment, *data_of(experiment, options.data, device), options.out)
    print(", ".join(f"{name} {accuracy:.3f}" for name, accuracy in made.accuracy.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (data, judges):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(command=function)
        command.add_argument("dataset")
        command.add_argument("profile")
        command.add_argument("--data", type=Path, required=True, metavar="DIR")
    commands.choices["data"].add_argument("--raw", type=Path, action="append", default=[])
    commands.choices["judges"].add_argument("--out", type=Path, required=True, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
