"""A model's edge: what a batch may hold, and what of it the networks may read."""

from __future__ import annotations

__all__ = ["Batch", "Observed", "readable", "require"]

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Batch = Mapping[str, Tensor]
"""Modality name to floats `(B, *shape)`; a modality without an entry is missing everywhere."""
Observed = Mapping[str, Tensor] | None
"""Modality name to `(B,)` bool; whatever is in the batch and has no entry here is observed."""


def readable(
    batch: Batch, observed: Observed, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Batch, Tensor | None]:
    """The part of a batch that may be read, with zeros where an example lacks the modality.

    Args:
        batch: Observations.
        observed: Which of them are there, or None for all.
        shapes: The shape of one example of every modality that the model knows, in its order.

    Returns:
        Observations in the model's order, and `(M, B)` bool, or None when everything is observed.

    Raises:
        ValueError: An unknown modality, shapes that disagree, or no modality at all.
    """
    observed = observed or {}
    require("batch", batch, shapes)
    require("observed", observed, shapes)
    if not batch:
        raise ValueError(
            "batch: no modality is observed, so there is nothing to infer from; give one of "
            f"{', '.join(shapes)}, or sample z from the prior instead"
        )
    some = next(iter(batch.values()))
    for name, x in batch.items():
        _check_observations(name, x, (len(some), *shapes[name]))
    for name, mask in observed.items():
        _check_mask(name, mask, len(some), name in batch)
    if not observed and len(batch) == len(shapes):
        return {name: batch[name] for name in shapes}, None
    there = torch.ones(len(some), dtype=torch.bool, device=some.device)
    masks = {m: observed.get(m, there if m in batch else ~there) for m in shapes}
    xs = {m: _cleared(batch[m], mask) for m, mask in masks.items() if m in batch}
    return xs, torch.stack([*masks.values()])


def require(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are not modalities of the model.

    Raises:
        ValueError: Names the unknown modality and the known ones.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise ValueError(
                f"{where}: the model has no modality {name!r}; it has {', '.join(known)}"
            )


def _cleared(x: Tensor, mask: Tensor) -> Tensor:
    """Zeros in place of what is missing: a product with a zero mask would let a NaN through."""
    return torch.where(mask.reshape(-1, *[1] * (x.dim() - 1)), x, 0.0)


def _check_observations(name: str, x: Tensor, expected: tuple[int, ...]) -> None:
    if not x.is_floating_point():
        raise ValueError(f"batch: {name!r} holds {x.dtype}; give floats, images in [0, 1]")
    if x.shape != expected:
        raise ValueError(
            f"batch: {name!r} is {tuple(x.shape)}, expected {expected}: as many examples as the "
            "first modality has, in the shape that the encoder was built for"
        )


def _check_mask(name: str, mask: Tensor, size: int, in_batch: bool) -> None:
    if mask.shape != (size,) or mask.dtype != torch.bool:
        raise ValueError(
            f"observed: {name!r} is {mask.dtype} {tuple(mask.shape)}, expected torch.bool ({size},)"
        )
    if not in_batch and bool(mask.any()):
        raise ValueError(f"observed: {name!r} is said to be there, but the batch lacks it; add it")
