"""UCI's pen digits: eight points of a pen's path, written by 44 people."""

from __future__ import annotations

__all__ = ["COUNTS", "FILES", "read_pendigits"]


import numpy as np
from numpy.typing import NDArray

FILES = {"train": "pendigits.tra", "test": "pendigits.tes"}  # of other writers each
COUNTS = {"train": 7494, "test": 3498}
POINTS = 8
LARGEST = 100


def read_pendigits(
    content: bytes, split: str, where: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read one of the two tables.

    Args:
        content: Lines of 16 coordinates (x and y of each point, 0 to 100) and the digit.
        split: "train" or "test", which says how many lines there are.
        where: The file, for the error messages.

    Returns:
        Points (N, 8, 2) in [0, 1], in the order in which they are written, and digits (N,).

    Raises:
        ValueError: A line is not of that form, a value is out of range, or there are not as many
            lines as in that split.
    """
    lines = content.decode("ascii", "replace").split("\n")
    rows = [_row(f"{where}, line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    if len(rows) != COUNTS[split]:
        other = {count: FILES[name] for name, count in COUNTS.items()}.get(len(rows))
        told = f" (as many as {other}: are the two swapped?)" if other else ""
        raise ValueError(
            f"{where} holds {len(rows):,} digits{told}, but {FILES[split]} has "
            f"{COUNTS[split]:,}: replace it"
        )
    table = np.array(rows, np.int64)
    points = (table[:, :-1] / LARGEST).astype(np.float32)
    return points.reshape(-1, POINTS, 2), table[:, -1].copy()


def _row(where: str, line: str) -> list[int]:
    """Coordinates and digit of one line."""
    fields = line.split(",")
    if len(fields) != 2 * POINTS + 1:
        raise ValueError(
            f"{where} has {len(fields)} fields, expected {2 * POINTS + 1}: replace the file"
        )
    try:
        values = [int(entry) for entry in fields]
    except ValueError as error:
        raise ValueError(f"{where} holds no integers ({error}): replace the file") from error
    *points, digit = values
    if not 0 <= min(points) <= max(points) <= LARGEST:
        raise ValueError(
            f"{where} has coordinates from {min(points)} to {max(points)}, outside 0 ... "
            f"{LARGEST}: replace the file"
        )
    if not 0 <= digit <= 9:
        raise ValueError(f"{where} is of class {digit}, outside 0 ... 9: replace the file")
    return values
