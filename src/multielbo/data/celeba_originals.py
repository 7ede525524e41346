"""CelebA as it is distributed: two text files and aligned pictures of 178x218 pixels."""

from __future__ import annotations

__all__ = ["CROP", "ORIGINAL", "SIZE", "crop", "read_attributes", "read_partition"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multielbo.data.celeba import ATTRIBUTES

ORIGINAL = (178, 218)  # width and height of an aligned picture
CROP = 148  # side of the square around its middle
SIZE = 64


def crop(picture: Image.Image) -> NDArray[np.uint8]:
    """The middle 148x148 pixels of an aligned picture, resized to (3, 64, 64), bicubic.

    Raises:
        ValueError: The picture is not of 178x218 pixels.
        OSError: The picture is truncated.
    """
    if picture.size != ORIGINAL:
        raise ValueError(
            f"has {picture.width}x{picture.height} pixels, expected {ORIGINAL[0]}x{ORIGINAL[1]}: "
            "the aligned and cropped pictures are needed (img_align_celeba)"
        )
    left, top = ((side - CROP) // 2 for side in ORIGINAL)
    square = picture.convert("RGB").crop((left, top, left + CROP, top + CROP))
    small = square.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def read_attributes(path: Path) -> tuple[list[str], NDArray[np.bool_]]:
    """Names of pictures and their attributes (N, 40), from list_attr_celeba.txt.

    Raises:
        ValueError: A column is missing or unknown, a row is damaged, or rows are missing.
    """
    count, header, rows = _lines(path)
    names = header.split()
    if len(count.split()) != 1 or not count.strip().isdigit():
        raise ValueError(
            f"{path}: the first line is {count[:40]!r}, expected the number of pictures: is it "
            "list_attr_celeba.txt, not swapped with another file?"
        )
    missing = [name for name in ATTRIBUTES if name not in names]
    unknown = [name for name in names if name not in ATTRIBUTES]
    if missing or unknown or len(names) != len(ATTRIBUTES):
        found = (
            f"no column {missing[0]}" if missing else f"a column {(unknown or names)[0]} too many"
        )
        raise ValueError(
            f"{path} has {found}; it must name CelebA's {len(ATTRIBUTES)} attributes: replace it"
        )
    pictures, values = [], []
    for number, line in enumerate(rows, 3):
        picture, *row = line.split()
        if len(row) != len(ATTRIBUTES) or not set(row) <= {"-1", "1"}:
            raise ValueError(
                f"{path}, line {number}: expected a picture and {len(ATTRIBUTES)} values of -1 or "
                f"1, found {len(row)} values ({' '.join(row)[:30]}...): replace the file"
            )
        pictures.append(picture)
        values.append([value == "1" for value in row])
    if len(rows) != int(count):
        raise ValueError(
            f"{path} promises {int(count):,} pictures and has {len(rows):,}: it is not complete"
        )
    _refuse_twins(path, pictures)
    order = [names.index(name) for name in ATTRIBUTES]
    return pictures, np.array(values, bool).reshape(-1, len(ATTRIBUTES))[:, order]


def read_partition(path: Path, pictures: Sequence[str]) -> NDArray[np.int64]:
    """The split of each picture, (N,), places in `SPLITS`, from list_eval_partition.txt.

    Args:
        path: The file.
        pictures: Names of all pictures.

    Raises:
        ValueError: A row is damaged or names an unknown picture, or a picture has no row.
    """
    splits = dict.fromkeys(pictures, -1)
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        picture, *split = line.split() or [""]
        if len(split) != 1 or split[0] not in ("0", "1", "2"):
            raise ValueError(
                f"{path}, line {number}: expected a picture and its split 0, 1 or 2, found "
                f"{line[:40]!r}: is it list_eval_partition.txt, not swapped with another file?"
            )
        if picture not in splits:
            raise ValueError(
                f"{path}, line {number}: {picture} is unknown to the attribute file: the two files "
                "are not of one data set"
            )
        splits[picture] = int(split[0])
    missing = [picture for picture, split in splits.items() if split < 0]
    if missing:
        raise ValueError(
            f"{path} has no row for {len(missing):,} of {len(pictures):,} pictures, first of all "
            f"{missing[0]}: replace it"
        )
    return np.array([splits[picture] for picture in pictures], np.int64)


def _lines(path: Path) -> tuple[str, str, list[str]]:
    """First line, second line, and the rest."""
    lines = [
        line
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    if len(lines) < 2:
        raise ValueError(f"{path} has {len(lines)} lines: it is not complete, replace it")
    return lines[0], lines[1], lines[2:]


def _refuse_twins(path: Path, pictures: Sequence[str]) -> None:
    if len(set(pictures)) != len(pictures):
        twin = next(name for i, name in enumerate(pictures) if name in set(pictures[:i]))
        raise ValueError(f"{path} names {twin} twice: replace it")
