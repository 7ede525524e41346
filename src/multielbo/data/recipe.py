"""PolyMNIST's recipe: one class, several writers, several backgrounds.

A tuple of class c shows, in every modality, another digit of class c on a random crop of the
modality's own background, with the colours inverted where the digit is (Sutter et al. 2021,
appendix D). The modalities share the class and nothing else, so whatever one of them tells about
another is the class.

Every draw is a function of the bit generator's raw 64-bit output, which NumPy promises to keep, and
of integer arithmetic: the same seed gives the same bytes on every machine and NumPy version.
"""

from __future__ import annotations

__all__ = ["bit_generator", "class_permutation", "place_digits", "random_corners"]

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray


def bit_generator(seed: int, *stream: int) -> PCG64:
    """One independent source of bits per seed and stream, as in (split, modality)."""
    return PCG64(SeedSequence(seed, spawn_key=stream))


def class_permutation(labels: NDArray[np.integer], bits: PCG64) -> NDArray[np.int64]:
    """Permute the examples at random within each class.

    Args:
        labels: Classes, (N,).
        bits: Where the randomness comes from.

    Returns:
        Indices (N,): a permutation `p` with `labels[p] == labels`.
    """
    by_class = np.argsort(labels, kind="stable")
    keys = bits.random_raw(len(labels))
    shuffled = np.lexsort((keys, labels))  # by class, at random within it
    permutation = np.empty(len(labels), np.int64)
    permutation[by_class] = shuffled
    return permutation


def random_corners(
    background: NDArray[np.uint8], size: int, count: int, bits: PCG64
) -> NDArray[np.int64]:
    """Upper left corners (count, 2) of uniformly drawn `size` x `size` crops of a (C, H, W) image.

    Raises:
        ValueError: The background is smaller than one crop.
    """
    height, width = background.shape[1:]
    if min(height, width) < size:
        raise ValueError(
            f"a background of {width}x{height} pixels has no {size}x{size} crop: use a larger one"
        )
    extent = np.array([height - size + 1, width - size + 1], np.uint64)
    return (bits.random_raw(2 * count).reshape(count, 2) % extent).astype(np.int64)


def place_digits(
    digits: NDArray[np.bool_], background: NDArray[np.uint8], corners: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Invert the colours of background crops where the digits are.

    Args:
        digits: True where the digit is drawn, (N, S, S).
        background: One picture, (C, H, W).
        corners: Upper left corner (row, column) of each crop, (N, 2).

    Returns:
        Images (N, C, S, S).
    """
    size = digits.shape[-1]
    windows = sliding_window_view(background, (size, size), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    images = windows[corners[:, 0], corners[:, 1]]
    images ^= np.where(digits, np.uint8(255), np.uint8(0))[:, None]  # x ^ 255 = 255 - x
    return images
