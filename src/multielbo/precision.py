"""How exactly a GPU multiplies float32 matrices: a global setting of torch, set for a while."""

from __future__ import annotations

__all__ = ["PRECISIONS", "multiplying"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

PRECISIONS = ("float32", "tf32", "bfloat16")


@contextmanager
def multiplying(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, matrix products and convolutions of float32 numbers are as exact as `precision` says.

    `"tf32"` rounds their factors to 11 bits. `"float32"` and `"bfloat16"` round none: what autocast
    leaves in float32, such as products of experts, is to stay so. A CPU has no such setting.

    Args:
        precision: One of `PRECISIONS`.
        device: Where the products are taken.
    """
    if device.type != "cuda":
        yield
        return
    switches = _switches(tf32=precision == "tf32")
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _switches(*, tf32: bool) -> list[tuple[Any, str, str | bool]]:
    """What to set where: since version 2.9 torch refuses to read its older pair of flags."""
    products, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(products, "fp32_precision"):
        value = "tf32" if tf32 else "ieee"
        return [(owner, "fp32_precision", value) for owner in (products, cudnn.conv)]
    return [(owner, "allow_tf32", tf32) for owner in (products, cudnn)]
