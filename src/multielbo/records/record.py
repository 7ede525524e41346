"""One record: what a run found, and all that is needed to say how far to trust it."""

from __future__ import annotations

__all__ = ["Record", "adapted", "canonical", "complete", "describe_run", "sha256"]

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from multielbo.profiles import check_profile
from multielbo.records import provenance


@dataclass(frozen=True)
class Record:
    """One experiment over its seeds.

    Attributes:
        name: What was run, such as `"polymnist/mopoe"`.
        profile: `"quick"`, `"laptop"` or `"full"`.
        config: Every setting, resolved.
        seeds: One run each.
        metrics: By name, one value per seed: a number, or nested lists or dicts of numbers.
        seconds: Wall time of each seed.
        dataset: Its `name` and the `sha256` of its content.
        device: What it ran on, such as `"AMD EPYC 2 threads"`.
        versions: Of Python, torch and multielbo.
        commit: Of the package, or None where git does not know it.
        dirty: Whether the package differed from the commit, or None.
        modules: The multielbo modules that the run names itself.
        code: Digest of each module that these reach.
        digest: Of name, profile, config, seeds, data and code: equal exactly when nothing that
            decides the numbers differs.
        arrays: sha256 by file name.
    """

    name: str
    profile: str
    config: dict[str, Any]
    seeds: list[int]
    metrics: dict[str, list[Any]]
    seconds: list[float]
    dataset: dict[str, str]
    device: str
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None
    modules: list[str]
    code: dict[str, str]
    digest: str
    arrays: dict[str, str]


def describe_run(
    name: str,
    *,
    profile: str,
    config: Mapping[str, Any],
    seeds: Iterable[int],
    dataset: tuple[str, str],
    modules: Iterable[str],
    device: str,
) -> Record:
    """The record of a run that is about to start, by the code as it is now; without results.

    Args:
        name: What is run.
        profile: `"quick"`, `"laptop"` or `"full"`.
        config: Every setting, resolved; JSON values only.
        seeds: One run each.
        dataset: Name and sha256 of the content.
        modules: The multielbo modules that the run names itself.
        device: As torch names it.

    Raises:
        ValueError: The profile is unknown, seeds or modules are missing, or a setting is
            not a JSON value.
    """
    seeds, modules = list(seeds), sorted(set(modules))
    if not seeds or not modules:
        raise ValueError(f"record {name}: it needs seeds and modules; give at least one of each")
    code = provenance.module_digests(modules)
    config = json.loads(canonical(config, f"record {name}: config"))  # as it will be read back
    return Record(
        name=name,
        profile=check_profile(profile),
        config=config,
        seeds=seeds,
        metrics={},
        seconds=[],
        dataset={"name": dataset[0], "sha256": dataset[1]},
        device=provenance.device_name(device),
        versions=provenance.versions(),
        **provenance.commit(),
        modules=modules,
        code=code,
        digest=_digest(name, profile, config, seeds, dataset[1], code),
        arrays={},
    )


def adapted(
    record: Record, *, seeds: Iterable[int] | None = None, dataset: tuple[str, str] | None = None
) -> Record:
    """The run that differs in its seeds or data alone, as `describe_run` would describe it.

    Args:
        record: As `describe_run` makes it.
        seeds, dataset: What to put in; None keeps what is there.
    """
    seeds = record.seeds if seeds is None else list(seeds)
    name, content = dataset or (record.dataset["name"], record.dataset["sha256"])
    digest = _digest(record.name, record.profile, record.config, seeds, content, record.code)
    return replace(record, seeds=seeds, dataset={"name": name, "sha256": content}, digest=digest)


def complete(
    record: Record, metrics: Iterable[Mapping[str, Any]], seconds: Iterable[float]
) -> Record:
    """The record with the results of its seeds, in their order.

    Args:
        record: As `describe_run` makes it.
        metrics: For each seed its metrics by name, the same names for every seed.
        seconds: For each seed its wall time.

    Raises:
        ValueError: The seeds differ in their metrics, or a value is not a finite number.
    """
    metrics, seconds = list(metrics), [round(value, 2) for value in seconds]
    if not len(metrics) == len(seconds) == len(record.seeds):
        raise ValueError(
            f"record {record.name}: {len(record.seeds)} seeds, {len(metrics)} results and "
            f"{len(seconds)} times; give one of each per seed"
        )
    for seed, values in zip(record.seeds, metrics, strict=True):
        if odd := sorted(set(values) ^ set(metrics[0])):
            raise ValueError(
                f"record {record.name}: seeds {record.seeds[0]} and {seed} do not share metric "
                f"{odd[0]!r}; give every seed the same metrics"
            )
    by_name = {metric: [values[metric] for values in metrics] for metric in metrics[0]}
    checked = {
        metric: json.loads(canonical(values, f"record {record.name}: metric {metric!r}"))
        for metric, values in by_name.items()
    }
    return replace(record, metrics=checked, seconds=seconds)


def canonical(values: Any, what: str) -> bytes:
    """The one JSON text of these values, so that equal values have equal hashes.

    Raises:
        ValueError: `what` holds something that JSON does not, such as NaN or a tensor.
    """
    try:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must hold finite numbers and text only: {error}") from error
    return text.encode()


def sha256(content: bytes) -> str:
    """Hexadecimal digits of the hash."""
    return hashlib.sha256(content).hexdigest()


def _digest(*decisive: Any) -> str:
    """Of all that decides the numbers: name, profile, config, seeds, data and code."""
    return sha256(canonical(decisive, f"record {decisive[0]}"))
