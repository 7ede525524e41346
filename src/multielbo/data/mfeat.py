"""Six tabular views of digits: UCI's multiple features, and views of scikit-learn's digits.

UCI's table has no split of its own, so that both are given as plain arrays, as a reader's own data
would be.
"""

from __future__ import annotations

__all__ = ["CLASS_SIZE", "NAME", "VIEWS", "digit_views", "mfeat", "read_npz", "read_view"]

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load

# Columns: pixel averages, Fourier coefficients, profile correlations, Zernike moments,
# Karhunen-Loeve coefficients, morphological features.
VIEWS = {"pix": 240, "fou": 76, "fac": 216, "zer": 47, "kar": 64, "mor": 6}
CLASS_SIZE = 200  # digits of each class, which follow one another from 0 to 9
NAME = "mfeat"


def mfeat(root: Path | str) -> MultimodalData:
    """Load UCI's 2,000 digits in six views, (N, columns) each, as they are.

    Args:
        root: The folder that `data_scripts/mfeat.py --out` was given.

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged.
    """
    return load(Path(root) / NAME, "all", f"python data_scripts/mfeat.py --out {root}")


def read_view(content: bytes, view: str, where: str) -> NDArray[np.float32]:
    """Read one of UCI's six text files.

    Args:
        content: Lines of numbers between spaces.
        view: A name of `VIEWS`.
        where: The file, for the error messages.

    Returns:
        (2000, columns).

    Raises:
        ValueError: It is not a table of numbers, or not of the view's size.
    """
    lines = [line.split() for line in content.decode("ascii", "replace").splitlines()]
    rows = [line for line in lines if line]
    for number, row in enumerate(rows, 1):
        if len(row) != VIEWS[view]:
            raise ValueError(
                f"{where}, row {number} has {len(row)} numbers, expected the {VIEWS[view]} of "
                f"{view}: replace the file"
            )
    try:
        table = np.array(rows, np.float64)
    except ValueError as error:
        raise ValueError(f"{where} is no table of numbers ({error}): replace it") from error
    return _checked(table, view, where)


def read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the six views from one NumPy archive with the names of `VIEWS`, and labels "y".

    Raises:
        ValueError: The archive is damaged, lacks a view, or is in another order.
    """
    try:
        with open(path, "rb") as stream, np.load(stream) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no complete NumPy archive ({error}): replace it") from error
    missing = [name for name in (*VIEWS, "y") if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {', '.join(missing)}: replace it")
    if not np.array_equal(arrays["y"], np.repeat(np.arange(10), CLASS_SIZE)):
        raise ValueError(f"{path}: its digits are not in UCI's order, from 0 to 9: replace it")
    return {view: _checked(arrays[view], view, f"{path}: {view}") for view in VIEWS}


def digit_views() -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Six views of scikit-learn's 1,797 digits of 8x8 pixels, and the digits.

    They are of the kinds of UCI's views, computed here: "pix", all pixels; "fou", the moduli of
    the Fourier coefficients; "pro", profiles, which are sums of rows and of columns; "zon",
    averages of 2x2 pixels; "kar", the first Karhunen-Loeve coefficients of all digits; and "mor",
    ink, middle and spread. Given the pixels, all of them are known.
    """
    digits = load_digits()
    images = digits.images / 16
    flat = images.reshape(len(images), -1)
    centred = flat - flat.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    views = {
        "pix": flat,
        "fou": np.abs(np.fft.rfft2(images)).reshape(len(images), -1),
        "pro": np.concatenate([images.sum(1), images.sum(2)], axis=1),
        "zon": images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(len(images), -1),
        "kar": centred @ (signs[:, None] * directions)[:16].T,
        "mor": _morphology(images),
    }
    return views, digits.target.astype(np.int64)


def _morphology(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ink, its middle and its second moments about the middle, (N, 6)."""
    ink = images.sum((1, 2))
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    row, column = (np.einsum("nij,ij->n", images, place) / ink for place in (rows, columns))
    down, right = rows - row[:, None, None], columns - column[:, None, None]
    spread = [(images * product).sum((1, 2)) / ink for product in (down**2, right**2, down * right)]
    return np.stack([ink, row, column, *spread], axis=1)


def _checked(table: NDArray[np.floating], view: str, where: str) -> NDArray[np.float32]:
    expected = 10 * CLASS_SIZE, VIEWS[view]
    if table.shape != expected:
        raise ValueError(
            f"{where} is a table {table.shape}, expected the {expected} of {view}: replace it"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{where} holds numbers that are not finite: replace it")
    return table.astype(np.float32)
