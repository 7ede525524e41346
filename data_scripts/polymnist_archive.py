"""Prepare the published PolyMNIST from its archive.

    python data_scripts/polymnist_archive.py [--raw DIR] [--out DIR]

The archive is PolyMNIST.zip of the Zenodo record 4899160. Its checksum is not known to us, so what
was found is written down instead. One of its five backgrounds is a photograph that is not free.
"""

from __future__ import annotations

__all__ = ["main"]

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from command import options, originals, report
from fetch import Remote, checksum, obtain
from multielbo.data.polymnist_archive import MODALITIES, NAME
from multielbo.data.polymnist_zip import Pictures, Tensors, open_archive
from multielbo.data.prepared import is_complete, prepare

ARCHIVE = Remote(
    "polymnist/PolyMNIST.zip",
    ("https://zenodo.org/record/4899160/files/PolyMNIST.zip",),
    None,  # the record's own is not known to us
)
NOTE = (
    "note: the background of m2 is a photograph that is not free: use these data, but do not "
    "publish pictures of them"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    arguments = options("Prepare the published PolyMNIST.").parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {}):
            print(f"{folder} is complete and its checksums are right")
            return
        path = obtain(ARCHIVE, originals(arguments), arguments.out / "raw")
        archive = open_archive(path)
        recipe = {
            "name": NAME,
            "layout": type(archive).__name__.lower(),
            "originals": {path.name: checksum(path, None)},
        }
        prepare(folder, recipe, archive_arrays(archive))
        print(f"{folder} is complete")
        print(NOTE)

    return report(work)


def archive_arrays(archive: Pictures | Tensors) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set; all labels are checked first.

    Raises:
        ValueError: The labels of a split are not those of the data set.
    """
    arrays: dict[str, Callable[[], np.ndarray]] = {}
    for split in ("train", "test"):
        labels = archive.labels(split)
        arrays[f"{split}-labels"] = lambda labels=labels: labels
        for m in MODALITIES:
            arrays[f"{split}-{m}"] = partial(archive.images, split, m)
    return arrays


if __name__ == "__main__":
    sys.exit(main())
