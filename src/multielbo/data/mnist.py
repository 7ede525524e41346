"""MNIST, as `data_scripts/mnist.py` prepares it."""

from __future__ import annotations

__all__ = ["FILES", "IMAGES", "mnist", "read_mnist"]

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multielbo.data.idx import read_idx
from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
IMAGES = {"train": 60_000, "test": 10_000}


def mnist(root: Path | str, split: str = "train") -> MultimodalData:
    """Load MNIST as data with the single modality "mnist", (N, 1, 28, 28).

    Args:
        root: The folder that `data_scripts/mnist.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    remedy = f"python data_scripts/mnist.py --out {root}"
    return load(Path(root) / "mnist", split, remedy)


def read_mnist(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read MNIST's images (N, 28, 28) and classes (N,) from its own files.

    Raises:
        ValueError: A file is damaged, or the two do not belong together.
    """
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
        raise ValueError(f"{images} holds an array {pixels.shape}, not images of 28x28 pixels")
    if classes.shape != pixels.shape[:1]:
        raise ValueError(
            f"{labels} holds labels {classes.shape} for {len(pixels)} images in {images}: "
            "take both from one split"
        )
    return pixels, classes.astype(np.int64)
