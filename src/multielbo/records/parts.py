"""One seed of a record at a time: written when it is done, merged when all are there.

A part is a record with one seed. Parts may come in any order and from several machines; the merged
record is the one that a single run of all seeds would have given.
"""

from __future__ import annotations

__all__ = [
    "Parts",
    "claim",
    "collect",
    "discard",
    "finish",
    "merge",
    "of_data_of_parts",
    "part_folder",
    "read_parts",
]

from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from multielbo.records import folders
from multielbo.records.freshness import differences
from multielbo.records.locks import alone
from multielbo.records.record import Record, adapted, complete
from multielbo.records.store import Arrays, load, write


class Parts(NamedTuple):
    """What lies in a folder of parts for one run.

    Attributes:
        found: By seed, the parts that are of this run.
        refused: By seed, why the part that is there is not.
    """

    found: dict[int, tuple[Record, Arrays]]
    refused: dict[int, str]


def part_folder(parts: Path, asked: Record, seed: int) -> Path:
    """Where the part of a seed lies: `parts/<name>/<profile>/seed-<seed>`."""
    return parts / asked.name / asked.profile / f"seed-{seed}"


def claim(parts: Path, asked: Record, seed: int) -> AbstractContextManager[None]:
    """Keep a seed to this process while it is made.

    Raises:
        Held: Another process is making it; says which.
    """
    folder = part_folder(parts, asked, seed)
    what = f"seed {seed} of {asked.name} ({asked.profile})"
    return alone(folder.with_name(f".{folder.name}.claim"), what)


def read_parts(parts: Path, asked: Record) -> Parts:
    """The parts that are there for the seeds that are asked for.

    Args:
        parts: Folder of all parts.
        asked: What is run, as `describe_run` says it, with all its seeds.
    """
    found, refused = {}, {}
    for seed in asked.seeds:
        folder = part_folder(parts, asked, seed)
        try:
            part, arrays = load(folder)
        except FileNotFoundError as error:
            if folder.exists():
                refused[seed] = str(error)
            continue
        except ValueError as error:
            refused[seed] = str(error)
            continue
        if reason := _foreign(part, adapted(asked, seeds=[seed])):
            refused[seed] = f"{folder} is of another run: {reason}"
        else:
            found[seed] = (part, arrays)
    return Parts(found, refused)


def merge(asked: Record, parts: Mapping[int, tuple[Record, Arrays]]) -> tuple[Record, Arrays]:
    """The record of all seeds, in their order, whatever the order of the parts.

    Args:
        asked: What is run, as `describe_run` says it, with all its seeds.
        parts: By seed its record and arrays; the arrays of a seed become `<array>_seed<seed>`.

    Raises:
        ValueError: A seed is missing, a part is of another run, or parts differ in their metrics.
    """
    if missing := [seed for seed in asked.seeds if seed not in parts]:
        raise ValueError(
            f"record {asked.name} ({asked.profile}): no part for seed {_listed(missing)}; "
            "run these seeds, then merge again"
        )
    chosen = [parts[seed][0] for seed in asked.seeds]
    for seed, part in zip(asked.seeds, chosen, strict=True):
        if reason := _foreign(part, adapted(asked, seeds=[seed])):
            raise ValueError(
                f"record {asked.name} ({asked.profile}): the part for seed {seed} is of another "
                f"run: {reason}; run this seed again"
            )
    metrics = [{name: values[0] for name, values in part.metrics.items()} for part in chosen]
    record = complete(asked, metrics, [part.seconds[0] for part in chosen])
    # All parts ran the same code: of their commits, one without local changes says most.
    source = next((part for part in chosen if part.dirty is False), chosen[0])
    keys = chosen[0].versions
    record = replace(
        record,
        device=_joined(part.device for part in chosen),
        versions={key: _joined(part.versions[key] for part in chosen) for key in keys},
        commit=source.commit,
        dirty=source.dirty,
    )
    arrays = {
        f"{name}_seed{seed}": array
        for seed in asked.seeds
        for name, array in parts[seed][1].items()
    }
    return record, arrays


def collect(results: Path, asked: Record, parts: Path) -> tuple[Record, Arrays]:
    """Merge the parts into the record `results/<name>/<profile>`.

    Raises:
        ValueError: A seed is missing, or its part was refused.
        OSError: The record cannot be written.
    """
    found, refused = read_parts(parts, asked)
    if refused:
        raise ValueError(f"record {asked.name} ({asked.profile}): {'; '.join(refused.values())}")
    record, arrays = merge(asked, found)
    return write(results / asked.name / asked.profile, record, arrays), arrays


def finish(results: Path, asked: Record, parts: Path) -> tuple[Record, Arrays]:
    """Collect the parts and remove them, unless another process has just done so.

    Raises:
        ValueError, OSError: As `collect` does.
    """
    folder = results / asked.name / asked.profile
    what = f"record {asked.name} ({asked.profile})"
    with alone(folder.with_name(f".{folder.name}.claim"), what, wait=True):
        try:
            record, arrays = load(folder)
        except (FileNotFoundError, ValueError):
            record = None
        if record is None or record.digest != asked.digest:
            record, arrays = collect(results, asked, parts)
        discard(parts, asked)
    return record, arrays


def of_data_of_parts(asked: Record, parts: Path) -> Record:
    """The description of a run on the data that its first part there was run on.

    So parts can be merged where the data are not. With no part there nothing is changed.
    """
    for seed in asked.seeds:
        try:
            data = load(part_folder(parts, asked, seed))[0].dataset
        except (FileNotFoundError, ValueError):
            continue
        return adapted(asked, dataset=(data["name"], data["sha256"]))
    return asked


def discard(parts: Path, asked: Record) -> None:
    """Remove the parts of these seeds, and the folders that this leaves empty."""
    for seed in asked.seeds:
        folders.remove(part_folder(parts, asked, seed))
    folder = parts / asked.name / asked.profile
    with suppress(OSError):  # where something lies in a folder, or it is not there
        while folder != parts.parent:
            folder.rmdir()
            folder = folder.parent


def _foreign(part: Record, asked: Record) -> str:
    """Why a part is not of this run, in words; empty if it is."""
    if part.digest == asked.digest:
        return ""
    reasons = differences(
        part,
        code=asked.code,
        config=asked.config,
        seeds=asked.seeds,
        data_sha256=asked.dataset["sha256"],
    )
    if (part.name, part.profile) != (asked.name, asked.profile):
        reasons.insert(0, f"it is {part.name} ({part.profile})")
    return ", ".join(reasons) or "its digest differs"


def _joined(values) -> str:
    return ", ".join(dict.fromkeys(values))


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
