"""SVHN's cropped digits in their own file format, a MATLAB file of images and labels."""

from __future__ import annotations

__all__ = ["FILES", "read_svhn"]

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
SHAPE = (32, 32, 3)
# What SciPy raises on damaged files: which one depends on the byte at which the damage begins.
DAMAGE = (
    EOFError,
    IndexError,
    MatReadError,
    OSError,
    TypeError,
    UnboundLocalError,
    ValueError,
    zlib.error,
)


def read_svhn(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read SVHN's images (N, 3, 32, 32) and classes (N,) from one of its files.

    The files hold the images as `X`, (32, 32, 3, N), and the digits as `y`, (N, 1), where 10 stands
    for the digit 0.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: The file is damaged, or holds something else.
    """
    contents = _contents(path)
    found = ", ".join(name for name in contents if not name.startswith("__")) or "nothing"
    for key in ("X", "y"):
        if key not in contents:
            raise ValueError(f"{path} has no variable {key}, only {found}: take SVHN's {_names()}")
    images, labels = contents["X"], np.asarray(contents["y"])
    if images.dtype != np.uint8 or images.shape[:-1] != SHAPE:
        raise ValueError(
            f"{path}: X is {images.dtype} {images.shape}, expected uint8 (32, 32, 3, N): "
            f"take the cropped digits, {_names()}"
        )
    count = images.shape[-1]
    if labels.size != count:
        raise ValueError(f"{path} holds {count:,} images in X and {labels.size:,} labels in y")
    if labels.dtype.kind not in "uif":
        raise ValueError(f"{path} holds labels in y as {labels.dtype}, expected numbers 1 ... 10")
    outside = np.setdiff1d(labels, np.arange(1, 11))
    if outside.size:
        raise ValueError(f"{path}: y holds the label {outside[0]}, outside 1 ... 10")
    classes = labels.reshape(count).astype(np.int64) % 10
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), classes


def _contents(path: Path) -> dict[str, NDArray]:
    """The variables of a MATLAB file by name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: take SVHN's {_names()}")
    try:
        return loadmat(path)
    except RuntimeError as error:  # HDF5, as in SVHN's files of whole street scenes
        raise ValueError(f"{path} is of MATLAB's newer format: take SVHN's {_names()}") from error
    except DAMAGE as error:
        raise ValueError(
            f"{path} is not a complete MATLAB file ({' '.join(str(error).split())}): fetch it again"
        ) from error


def _names() -> str:
    return " or ".join(FILES.values())
