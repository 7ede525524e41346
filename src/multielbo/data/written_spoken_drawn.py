"""Written, spoken and drawn digits: three data sets, paired by their class inside each split.

Each MNIST image is in one tuple. A recording and a pen's path of its class stand beside it, from
random permutations of the class that follow one another until every image has its own: each is
taken as often as any other of its class and split, up to one time. No speaker and no writer is in
both splits, and nothing but the class is shared between the modalities.
"""

from __future__ import annotations

__all__ = ["MODALITIES", "NAME", "SPLITS", "pairing", "shuffle", "written_spoken_drawn"]

from pathlib import Path

import numpy as np
from numpy.random import PCG64
from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load

NAME = "written-spoken-drawn"
MODALITIES = ("written", "spoken", "drawn")
SPLITS = ("train", "test")


def written_spoken_drawn(root: Path | str, split: str = "train") -> MultimodalData:
    """Load the data: "written" (N, 1, 28, 28), "spoken" (N, 1, 32, 32) and "drawn" (N, 8, 2).

    Args:
        root: The folder that `data_scripts/written_spoken_drawn.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    remedy = f"python data_scripts/written_spoken_drawn.py --out {root}"
    return load(Path(root) / NAME, split, remedy)


def pairing(
    labels: NDArray[np.int64], sources: NDArray[np.int64], bits: PCG64
) -> NDArray[np.int64]:
    """For each example a source of its class, all sources of a class equally often up to one.

    Args:
        labels: Classes of the examples, (N,).
        sources: Classes of the sources, (M,).
        bits: Where the randomness comes from.

    Returns:
        Rows of the sources, (N,).

    Raises:
        ValueError: A class has no source.
    """
    rows = np.empty(len(labels), np.int64)
    for digit in np.unique(labels):
        wanted, known = np.flatnonzero(labels == digit), np.flatnonzero(sources == digit)
        if not len(known):
            raise ValueError(f"pairing: no source is of class {digit}; add one, or drop the class")
        rounds = -(-len(wanted) // len(known))
        drawn = [known[_permutation(len(known), bits)] for _ in range(rounds)]
        rows[wanted] = np.concatenate(drawn)[: len(wanted)]
    return rows


def shuffle(
    images: NDArray[np.uint8], labels: NDArray[np.int64], bits: PCG64
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels in a random order, so that the first n are a fair sample.

    Raises:
        ValueError: There are not as many labels as images.
    """
    if len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images stand beside {len(labels)} labels: take both from one split"
        )
    order = _permutation(len(labels), bits)
    return images[order], labels[order]


def _permutation(count: int, bits: PCG64) -> NDArray[np.int64]:
    return np.argsort(bits.random_raw(count), kind="stable")
