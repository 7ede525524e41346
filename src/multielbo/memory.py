"""Out of GPU memory: what batch would have fitted."""

from __future__ import annotations

__all__ = ["OutOfMemory", "largest_batch", "out_of_memory"]

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

MARGIN = 0.9  # of the memory: fragments between allocations and a graph's own pool need the rest


class OutOfMemory(MemoryError):
    """A batch needs more memory than the GPU has."""


def largest_batch(points: Sequence[tuple[int, float]], capacity: float) -> int:
    """The most examples that fit, if memory is a constant and as much again for each example.

    Args:
        points: Batch sizes, at least two different ones, and the bytes that each needed.
        capacity: Bytes that there are.

    Returns:
        The largest batch size, 0 if not even the constant fits.

    Raises:
        ValueError: Fewer than two batch sizes, or memory that does not grow with them.
    """
    sizes, used = np.asarray(points, dtype=float).T
    if len(set(sizes)) < 2:
        raise ValueError(f"largest_batch: {points} are not two batch sizes; measure another one")
    centred = sizes - sizes.mean()
    each = centred @ (used - used.mean()) / (centred @ centred)  # least squares
    constant = used.mean() - each * sizes.mean()
    if not each > 0:
        raise ValueError(f"largest_batch: memory does not grow with the batch in {points}")
    return max(0, math.floor((capacity - constant) / each + 1e-9))


def out_of_memory(
    batch_size: int, trial: Callable[[int], None], device: torch.device, kept: int = 0
) -> OutOfMemory:
    """The error that says which batch would have fitted, by trying smaller ones.

    Args:
        batch_size: The one that did not fit.
        trial: A step's forward and backward pass on that many examples, without consequences.
        device: The GPU.
        kept: Bytes that training keeps and `trial` does not need.
    """
    start = f"a batch of {batch_size} does not fit into the memory of {device}"
    sizes = sorted({max(1, batch_size // 16), max(2, batch_size // 8)})
    try:
        points = [(size, peak(trial, size, device)) for size in sizes]
        fits = min(largest_batch(points, MARGIN * available(device) - kept), batch_size - 1)
    except torch.OutOfMemoryError:
        fits = 0
    except ValueError:  # what each example adds is lost in what all need: the larger one did fit
        fits = sizes[-1]
    if fits < 1:
        return OutOfMemory(f"{start}, nor does one of {sizes[0]}; use smaller networks or data")
    return OutOfMemory(f"{start}; by smaller ones, batch_size={fits} would: set at most that")


def peak(trial: Callable[[int], None], size: int, device: torch.device) -> int:
    """The most bytes that are allocated at once while `trial` runs."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    trial(size)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def available(device: torch.device) -> int:
    """Bytes that this process has or could have."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)
