"""Prepare MHD from the two files that its authors distribute.

    python data_scripts/mhd.py --raw DIR [--out DIR]

They lie on Google Drive, behind a question that a script cannot answer: nothing is downloaded here.
No checksum of them is published; the manifest states those of the files that were given. One file
is in memory at once, and then one modality more.
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from command import options, originals, report
from multielbo.data.mhd import MODALITIES, NAME, Original, read_original
from multielbo.data.prepared import is_complete, prepare

HOME = "https://github.com/miguelsvasco/nexus_pytorch"
DRIVE = "https://docs.google.com/uc?export=download&id="
FILES = {"train": "mhd_train.pt", "test": "mhd_test.pt"}
IDENTIFIERS = {
    "train": "1Tj1i-hXA0INQpU0jmuTMO4IwfDoGD2oV",
    "test": "1qiEjFNCFn1ws383pKmY3zJtm4JDymOU6",
}
PLACES = (".", "mhd", "MHD")  # where the files may lie in a folder of originals


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    arguments = options("Prepare MHD.").parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {}):
            print(f"{folder} is complete and its checksums are right")
            return
        folders = [*originals(arguments), arguments.out / "raw"]
        paths = {split: found(folders, split) for split in FILES}
        digests = {split: digest(path) for split, path in paths.items()}
        if digests["train"] == digests["test"]:
            raise ValueError(
                f"{paths['train']} and {paths['test']} are the same file: fetch both from {HOME}"
            )
        read = lru_cache(maxsize=1)(read_original)
        counts = {split: len(read(path).labels) for split, path in paths.items()}
        if counts["test"] > counts["train"]:
            raise ValueError(
                f"{paths['test']} has {counts['test']:,} tuples and {paths['train']} only "
                f"{counts['train']:,}: the two are swapped"
            )
        recipe = {
            "name": NAME,
            "originals": {FILES[split]: sha256 for split, sha256 in digests.items()},
            "extremes": {split: read(path).extremes for split, path in paths.items()},
        }
        prepare(folder, recipe, mhd_arrays(paths, read))
        print(f"{folder} is complete")

    return report(work)


def found(folders: Sequence[Path], split: str) -> Path:
    """The authors' file of one split.

    Raises:
        FileNotFoundError: It is in no folder of originals.
    """
    for folder in folders:
        for place in PLACES:
            if (folder / place / FILES[split]).is_file():
                return folder / place / FILES[split]
    raise FileNotFoundError(
        f"{FILES[split]} is in none of {', '.join(map(str, folders))}: download it from "
        f"{DRIVE}{IDENTIFIERS[split]} (by way of {HOME}), then name its folder with --raw"
    )


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def mhd_arrays(
    paths: dict[str, Path], read: Callable[[Path], Original]
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set, all of one split before those of the next."""
    arrays = {}
    for split, path in paths.items():
        arrays[f"{split}-labels"] = lambda path=path: read(path).labels
        for name in MODALITIES:
            arrays[f"{split}-{name}"] = lambda path=path, name=name: read(path).modalities[name]
    return arrays


if __name__ == "__main__":
    sys.exit(main())
