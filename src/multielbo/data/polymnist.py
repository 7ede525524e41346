"""PolyMNIST with a free portrait: the recipe at full size, and its loader.

The published data set uses a photograph as its third background that is not free. Here Grace
Hopper's portrait, which is in the public domain, takes its place, and the data set's name says so.
"""

from __future__ import annotations

__all__ = ["INK", "MODALITIES", "NAME", "SPLITS", "modality", "polymnist"]

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load
from multielbo.data.recipe import bit_generator, class_permutation, place_digits, random_corners

NAME = "polymnist-hopper"
MODALITIES = ("m0", "m1", "m2", "m3", "m4")
SPLITS = ("train", "test")
INK = 128  # a digit is drawn where MNIST's grey value is above


def polymnist(root: Path | str, split: str = "train") -> MultimodalData:
    """Load PolyMNIST, five modalities of (N, 3, 28, 28), memory-mapped.

    Args:
        root: The folder that `data_scripts/polymnist.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    remedy = f"python data_scripts/polymnist.py --out {root}"
    return load(Path(root) / NAME, split, remedy)


def modality(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    background: NDArray[np.uint8],
    *,
    split: str,
    index: int,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Make one modality of one split; its n-th image is of class `labels[n]`.

    Args:
        images: MNIST's images of the split, (N, S, S).
        labels: Their classes, (N,).
        background: The modality's picture, (C, H, W).
        split: "train" or "test": which random stream to use.
        index: Number of the modality, likewise.
        seed: Decides which digits meet in a tuple and where the background is cropped.

    Returns:
        Images (N, C, S, S).
    """
    pairing = bit_generator(seed, SPLITS.index(split), index, 0)
    cropping = bit_generator(seed, SPLITS.index(split), index, 1)
    sources = class_permutation(labels, pairing)
    corners = random_corners(background, images.shape[-1], len(images), cropping)
    return place_digits((images > INK)[sources], background, corners)
