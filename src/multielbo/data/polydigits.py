"""PolyDigits: PolyMNIST in small, made from what installed packages ship.

The digits are scikit-learn's (1,797 of 8x8 pixels), the backgrounds two textures drawn here,
scikit-learn's two photographs and the portrait that matplotlib ships. Nothing is downloaded and no
image is kept in the repository. Every fifth source digit of a class belongs to the test split and
to no other, whatever the seed. The digits carry no writer labels, so a writer may occur in both
splits.
"""

from __future__ import annotations

__all__ = ["MODALITIES", "polydigits", "source_pool", "tuple_sources"]

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from multielbo.data.multimodal import MultimodalData
from multielbo.data.pictures import agate, bricks, packaged, portrait, read_rgb
from multielbo.data.recipe import bit_generator, class_permutation, place_digits, random_corners

MODALITIES = ("m0", "m1", "m2", "m3", "m4")
TUPLES = {"train": 5600, "test": 1400}
TEST_EVERY = 5


def polydigits(
    split: str = "train", tuples: int | None = None, size: int = 16, seed: int = 0
) -> MultimodalData:
    """Make the five modalities of PolyDigits.

    Args:
        split: "train" or "test"; the two share no source digit.
        tuples: Number of tuples, by default 5,600 for training and 1,400 for test.
        size: Height and width of the images in pixels, at least 8.
        seed: Decides which digits meet in a tuple and where the backgrounds are cropped.

    Raises:
        ValueError: The split does not exist, or a number is out of range.
        FileNotFoundError: A package that ships one of the pictures is missing.
    """
    if size < 8:
        raise ValueError(f"PolyDigits: size {size} is below the 8 pixels of the source digits")
    sources, labels = tuple_sources(split, tuples, seed)
    digits = digit_masks(size)
    images = {}
    for m, (name, background) in enumerate(backgrounds().items()):
        bits = bit_generator(seed, stream(split), m, 1)
        corners = random_corners(background, size, len(labels), bits)
        images[name] = torch.from_numpy(place_digits(digits[sources[:, m]], background, corners))
    return MultimodalData(f"polydigits-{split}", images, torch.from_numpy(labels))


def tuple_sources(
    split: str = "train", tuples: int | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which source digit each modality of each tuple shows.

    The pool is used in rounds: in each, every digit of the split occurs once in every modality.

    Returns:
        Indices into scikit-learn's digits, (tuples, modalities), and the classes, (tuples,).
    """
    pool = source_pool(split)
    count = TUPLES[split] if tuples is None else tuples
    if count < 1:
        raise ValueError(f"PolyDigits: {count} tuples asked for, at least 1 is needed")
    labels = load_sources()[1][pool]
    rounds = -(-count // len(pool))
    columns = []
    for m in range(len(MODALITIES)):
        bits = bit_generator(seed, stream(split), m, 0)
        columns.append(np.concatenate([class_permutation(labels, bits) for _ in range(rounds)]))
    sources = pool[np.stack(columns, axis=1)[:count]]
    return sources, np.tile(labels, rounds)[:count]


def source_pool(split: str) -> NDArray[np.int64]:
    """Indices of the source digits that belong to a split, whatever the seed.

    Raises:
        ValueError: The split does not exist.
    """
    if split not in TUPLES:
        raise ValueError(f"PolyDigits has no split {split!r}: choose from {', '.join(TUPLES)}")
    labels = load_sources()[1]
    by_class = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - first  # place of each digit within its class
    is_test = rank % TEST_EVERY == TEST_EVERY - 1
    return np.flatnonzero(is_test == (split == "test"))


def stream(split: str) -> int:
    """The split's place in the random streams, so that splits draw independently."""
    return list(TUPLES).index(split)


@cache
def load_sources() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scikit-learn's digits, grey values 0 to 16 in (1797, 8, 8), and their classes."""
    digits = load_digits()
    return digits.images.astype(np.float32), digits.target.astype(np.int64)


def digit_masks(size: int) -> NDArray[np.bool_]:
    """The source digits at `size` pixels, True where their ink is at least half black."""
    images = torch.from_numpy(load_sources()[0])[:, None]
    large = torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", align_corners=False
    )
    return (large[:, 0] >= 8).numpy()


@cache
def backgrounds() -> dict[str, NDArray[np.uint8]]:
    """The five backgrounds, scaled so that a crop of 16 pixels shows structure.

    Two pictures are rich in middle grey, whose inverse is middle grey: the levels move the one
    towards white and the other towards black, so that a digit differs from what is behind it.
    """
    pictures = (
        agate(),
        read_rgb(packaged("sklearn", "datasets/images/china.jpg"), 128, (144, 255)),
        read_rgb(portrait(), 128, (0, 176)),
        read_rgb(packaged("sklearn", "datasets/images/flower.jpg"), 160),
        bricks(),
    )
    return dict(zip(MODALITIES, pictures, strict=True))
