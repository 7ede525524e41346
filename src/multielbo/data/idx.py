"""The file format of MNIST: a magic number, the shape, the bytes; gzipped or not."""

from __future__ import annotations

__all__ = ["read_idx"]

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes.

    Args:
        path: The file, gzipped if its name ends in .gz.

    Raises:
        ValueError: The file is truncated, damaged or of another format.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a complete gzip file ({error}): fetch it again") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(
            f"{path} does not start as an idx file of unsigned bytes "
            f"(expected 000008, found {content[:3].hex()}): fetch it again"
        )
    start = 4 + 4 * content[3]
    lengths = [content[place : place + 4] for place in range(4, start, 4)]
    shape = tuple(int.from_bytes(length, "big") for length in lengths)
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} holds {max(len(content) - start, 0)} bytes after its header, but announces "
            f"{math.prod(shape)}: it is truncated or damaged, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
