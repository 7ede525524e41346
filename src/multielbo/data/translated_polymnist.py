"""Translated PolyMNIST: smaller digits at random places, so that their position is private.

Each digit is scaled by three quarters, put at a random place of a black picture and binarised; the
rest is PolyMNIST's recipe (Daunhawer et al. 2022, with the sizes of MultiVae). Pairing and crops
are PolyMNIST's own draws: with the same seed a tuple shows the digits and backgrounds of the same
tuple of `polymnist-hopper`.

The ten published backgrounds are not known to us, and one of the five is not free. Here Grace
Hopper's portrait takes that one's place, and pictures that installed packages ship or that are
drawn here make ten; the data sets' names say so.
"""

from __future__ import annotations

__all__ = [
    "MODALITIES",
    "NAMES",
    "modality",
    "placed",
    "rings",
    "three_quarters",
    "translated_polymnist",
]

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.data.polymnist import INK, SPLITS
from multielbo.data.prepared import load
from multielbo.data.recipe import bit_generator, class_permutation, place_digits, random_corners

NAMES = {5: "translated-polymnist-hopper", 10: "translated-polymnist-10-hopper"}
MODALITIES = {count: tuple(f"m{k}" for k in range(count)) for count in NAMES}
WEIGHT = 36  # what the four weights of a scaled pixel add up to


def translated_polymnist(
    root: Path | str, split: str = "train", backgrounds: int = 5
) -> MultimodalData:
    """Load Translated PolyMNIST, modalities of (N, 3, 28, 28), memory-mapped.

    Args:
        root: The folder that `data_scripts/translated_polymnist.py --out` was given.
        split: "train" or "test".
        backgrounds: Number of modalities, 5 or 10.

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split or the number does not exist.
    """
    if backgrounds not in NAMES:
        raise ValueError(f"Translated PolyMNIST has 5 or 10 backgrounds, not {backgrounds}")
    remedy = f"python data_scripts/translated_polymnist.py --backgrounds {backgrounds} --out {root}"
    return load(Path(root) / NAMES[backgrounds], split, remedy)


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
        images: MNIST's images of the split, (N, S, S), S a multiple of 4.
        labels: Their classes, (N,).
        background: The modality's picture, (C, H, W).
        split: "train" or "test": which random stream to use.
        index: Number of the modality, likewise.
        seed: Decides which digits meet, where they are, and where the background is cropped.

    Returns:
        Images (N, C, S, S).
    """
    pairing, cropping, moving = (
        bit_generator(seed, SPLITS.index(split), index, purpose) for purpose in range(3)
    )
    size = images.shape[-1]
    sources = class_permutation(labels, pairing)
    corners = random_corners(background, size, len(images), cropping)
    digits = three_quarters(images) > INK * WEIGHT
    # The published code leaves out the last place, as Python's ranges do: 0 ... 6 of 0 ... 7.
    places = moving.random_raw(2 * len(images)).reshape(-1, 2) % np.uint64(size // 4)
    return place_digits(placed(digits[sources], places.astype(np.int64), size), background, corners)


def three_quarters(images: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Scale images by three quarters, bilinearly and exactly.

    Pixel i of the result lies at (i + 1/2) 4/3 - 1/2 = (8 i + 1)/6 of the original, so that in
    each direction its two neighbours count in sixths.

    Args:
        images: Grey values (N, S, S), S a multiple of 4.

    Returns:
        Grey values times 36, (N, 3 S / 4, 3 S / 4).

    Raises:
        ValueError: S is not a multiple of 4.
    """
    size = images.shape[-1]
    if size % 4:
        raise ValueError(f"images of {size} pixels have no three quarters: use a multiple of 4")
    before, sixths = np.divmod(8 * np.arange(3 * size // 4) + 1, 6)
    near, far = (6 - sixths).astype(np.uint16), sixths.astype(np.uint16)
    rows = images[:, before] * near[:, None] + images[:, before + 1] * far[:, None]
    return rows[:, :, before] * near + rows[:, :, before + 1] * far


def placed(digits: NDArray[np.bool_], places: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Put each digit at its place of an empty picture.

    Args:
        digits: True where the digit is drawn, (N, s, s).
        places: Upper left corner (row, column) of each, (N, 2).
        size: Side of the pictures, in pixels.

    Returns:
        Pictures (N, size, size).
    """
    side = digits.shape[-1]
    pictures = np.zeros((len(digits), size, size), np.bool_)
    windows = sliding_window_view(pictures, (side, side), axis=(1, 2), writeable=True)
    windows[np.arange(len(digits)), places[:, 0], places[:, 1]] = digits
    return pictures


def rings(side: int = 160) -> NDArray[np.uint8]:
    """Dark rings around many centres, (3, side, side)."""
    row, column = np.indices((side, side)) % 40 - 20
    ring = (row**2 + column**2) // 80 % 4
    palette = np.array([[5, 20, 60], [30, 80, 20], [90, 30, 60], [10, 60, 80]], np.uint8)
    return np.ascontiguousarray(palette[ring].transpose(2, 0, 1))
