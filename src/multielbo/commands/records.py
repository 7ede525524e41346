"""The commands `multielbo records ...`: what there is, and the runs that make what is missing."""

from __future__ import annotations

__all__ = ["add", "merge", "run", "seed", "status"]

import argparse
import os
from pathlib import Path

from multielbo.commands.repository import repository, say

DONE, FAILED, TIME_IS_UP = 0, 1, 3
OUT = Path("build") / "records"


def add(commands: argparse._SubParsersAction) -> None:
    """Add `records` and its own commands."""
    records = commands.add_parser("records", help=__doc__, description=__doc__)
    nested = records.add_subparsers(required=True, metavar="COMMAND")

    command = _command(nested, status)
    command.add_argument("--profile", help="laptop or full; default: both")
    command.add_argument("--results", type=Path, metavar="DIR", help="default: book/results")
    command.add_argument(
        "--unfinished",
        type=Path,
        metavar="DIR",
        help="parts, as run leaves them in its --out (default: build/records/unfinished)",
    )
    _data(command)

    command = _command(nested, run)
    command.add_argument("names", nargs="*", metavar="NAME", help="such as polymnist/mopoe; or all")
    command.add_argument("--profile", help="laptop or full; default: full where there is a GPU")
    command.add_argument("--budget-minutes", type=float, default=25.0, metavar="MINUTES")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: build/records")
    command.add_argument("--results", type=Path, metavar="DIR", help="default: book/results")
    command.add_argument("--raw", type=Path, action="append", default=[], metavar="DIR")
    command.add_argument(
        "--workers", type=int, default=1, help="seeds that run at once, of whatever records"
    )
    command.add_argument("--allow-cpu", action="store_true", help="for profile full")
    _data(command)

    command = _command(nested, seed)
    _experiment(command)
    command.add_argument("seed", type=int, metavar="SEED")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the part")
    command.add_argument("--allow-cpu", action="store_true", help="for profile full")
    _data(command)

    command = _command(nested, merge)
    _experiment(command)
    command.add_argument("--parts", type=Path, required=True, metavar="DIR", help="out of seed")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the record")


def status(options: argparse.Namespace) -> int:
    """List every wanted record: fresh, stale or missing, its seeds, the minutes it will take."""
    from multielbo.experiments.catalogue import wanted
    from multielbo.experiments.status import rows, table

    results = options.results or repository() / "book" / "results"
    unfinished = options.unfinished or repository() / OUT / "unfinished"
    found = rows(wanted(options.profile), results, options.data, unfinished)
    print(table(found))
    return DONE


def run(options: argparse.Namespace) -> int:
    """Make wanted records within a budget of minutes; called again, it continues where it was."""
    import torch

    from multielbo.experiments.catalogue import named, wanted
    from multielbo.experiments.making import Places
    from multielbo.experiments.queue import work
    from multielbo.records import NeedsGPU

    profile = options.profile or ("full" if torch.cuda.is_available() else "laptop")
    root = repository()
    places = Places(
        out=options.out or root / OUT,
        data=options.data,
        repository=root,
        raw=tuple(options.raw),
        results=options.results or root / "book" / "results",
    )
    try:
        tally = work(
            named(wanted(profile), options.names),
            places,
            minutes=options.budget_minutes,
            workers=options.workers,
            allow_cpu=options.allow_cpu,
            say=say,
        )
    except NeedsGPU as error:
        raise ValueError(str(error)) from error
    say(f"{len(tally.done)} done, {len(tally.failed)} failed, {len(tally.left)} left")
    return TIME_IS_UP if tally.left else FAILED if tally.failed else DONE


def seed(options: argparse.Namespace) -> int:
    """Train and evaluate one seed, and write its part of the record; print the part's folder."""
    import torch

    from multielbo.experiments.costs import cpu_hours
    from multielbo.experiments.description import asked
    from multielbo.experiments.seeds import run_seed
    from multielbo.experiments.sources import data_of
    from multielbo.records import part_folder

    experiment = _settings(options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if experiment.profile == "full" and device == "cpu" and not options.allow_cpu:
        raise ValueError(
            f"records: the seeds of {options.dataset} {options.model} (full) would take about "
            f"{cpu_hours(experiment):.0f} h on this CPU; use a GPU, or pass --allow-cpu"
        )
    data = data_of(experiment, options.data, device)
    record = asked(experiment, *data)
    run_seed(experiment, options.seed, record, *data, options.out)
    print(part_folder(options.out, record, options.seed))
    return DONE


def merge(options: argparse.Namespace) -> int:
    """Merge the parts of all seeds into one record; print its folder."""
    from multielbo.experiments.description import described
    from multielbo.records import collect, of_data_of_parts

    record = of_data_of_parts(described(_settings(options)), options.parts)
    collect(options.out, record, options.parts)
    print(options.out / record.name / record.profile)
    return DONE


def _settings(options: argparse.Namespace):
    from multielbo.presets import preset

    changes = {} if options.beta is None else {"beta": options.beta}
    return preset(options.dataset, options.model, options.profile, **changes)


def _command(nested: argparse._SubParsersAction, function) -> argparse.ArgumentParser:
    name, said = function.__name__, function.__doc__
    command = nested.add_parser(name, help=said, description=said)
    command.set_defaults(command=function)
    return command


def _experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--profile", required=True, help="laptop or full")
    command.add_argument("--beta", type=float, help="where it is not the preset's")


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("MULTIELBO_DATA", "data")),
        help="folder of prepared data (default: MULTIELBO_DATA, data)",
    )
