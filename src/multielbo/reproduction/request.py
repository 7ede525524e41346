"""What a page of reproductions is asked for: the parameters of its notebook, checked."""

from __future__ import annotations

__all__ = ["Request", "request"]

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multielbo.models.registry import MODELS, STAGED
from multielbo.profiles import check_profile


@dataclass(frozen=True)
class Request:
    """What a page is asked for.

    Attributes:
        dataset, models: Which experiments.
        profile: With `"quick"` the page shows the records that are there; otherwise it makes those
            that are missing or stale.
        results: Folder of all records.
        data: Folder of prepared data.
        seeds: Empty for the preset's.
        betas: Of a sweep, beside the preset's own value.
        allow_cpu: Make a full run on a CPU.
    """

    dataset: str
    models: tuple[str, ...]
    profile: str
    results: Path
    data: Path
    seeds: tuple[int, ...] = ()
    betas: tuple[float, ...] = ()
    allow_cpu: bool = False


def request(
    dataset: str,
    *,
    profile: str,
    models: Sequence[str] | str,
    seeds: Sequence[int] | str = (),
    betas: Sequence[float] | str = (),
    results: str = "book/results",
    data: str = "",
    allow_cpu: bool = False,
) -> Request:
    """The parameters of a page, checked; papermill hands lists over as text.

    Args:
        dataset: A name of the presets.
        profile, models, seeds, betas, results, allow_cpu: As `Request` has them.
        data: Empty for the environment's `MULTIELBO_DATA`, or `data`.

    Raises:
        ValueError: A parameter is none that the page can serve.
    """
    models, seeds, betas = (
        _listed(name, value)
        for name, value in (("models", models), ("seeds", seeds), ("betas", betas))
    )
    choice = ", ".join([*MODELS, *STAGED])
    if unknown := [name for name in models if name not in MODELS | STAGED]:
        raise ValueError(f"models: no model {unknown[0]!r}; choose from {choice}")
    if not models:
        raise ValueError(f"models: the list is empty; choose from {choice}")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seeds.count(seed) > 1:
            raise ValueError(f"seeds: {seed!r} is repeated or no whole number; give each once")
    for beta in betas:
        if not isinstance(beta, int | float) or isinstance(beta, bool) or not beta > 0:
            raise ValueError(f"betas: {beta!r} is no positive number; give such as [0.5, 1, 2.5]")
    return Request(
        dataset,
        tuple(dict.fromkeys(models)),
        check_profile(profile),
        Path(results),
        Path(data or os.environ.get("MULTIELBO_DATA") or "data"),
        tuple(seeds),
        tuple(map(float, betas)),
        allow_cpu,
    )


def _listed(name: str, value: Sequence[Any] | str) -> list[Any]:
    """A list, or the text of one."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = None
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: it has to be a list, such as '[0, 1]' or '[\"mvae\"]'")
    return list(value)
