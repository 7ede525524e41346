"""Prepare UCI's multiple features: 2,000 handwritten digits in six tabular views (CC BY 4.0).

python data_scripts/mfeat.py [--raw DIR] [--out DIR]
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from archived import archived
from command import options, originals, report
from fetch import Remote
from multielbo.data.mfeat import CLASS_SIZE, NAME, VIEWS, read_npz, read_view
from multielbo.data.prepared import is_complete, prepare

# UCI may make its archive anew, so that only the content is checked, not the bytes.
MFEAT = Remote(
    "mfeat/multiple+features.zip",
    ("https://archive.ics.uci.edu/static/public/72/multiple+features.zip",),
    None,
    aliases=("mfeat/mfeat.zip",),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    arguments = options("Prepare UCI's multiple features.").parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {}):
            print(f"{folder} is complete and its checksums are right")
            return
        views, digests = tables(originals(arguments), arguments.out / "raw")
        arrays = {"all-labels": lambda: np.repeat(np.arange(10), CLASS_SIZE).astype(np.int64)}
        arrays |= {f"all-{view}": partial(np.asarray, table) for view, table in views.items()}
        prepare(folder, {"name": NAME, "originals": digests}, arrays)
        print(f"{folder} is complete")

    return report(work)


def tables(
    folders: Sequence[Path], downloads: Path
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The six views, and the checksums of what they were read from.

    They come from one NumPy archive `mfeat.npz` in a folder of originals, if there is one, or from
    UCI's text files, which lie there, in UCI's archive, or at UCI.
    """
    for folder in folders:
        for path in (folder / "mfeat/mfeat.npz", folder / "mfeat.npz"):
            if path.is_file():
                return read_npz(path), {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    views, digests = {}, {}
    for view in VIEWS:
        name = f"mfeat-{view}"
        content, where = archived(name, "mfeat", MFEAT, folders, downloads)
        views[view] = read_view(content, view, where)
        digests[name] = hashlib.sha256(content).hexdigest()
    return views, digests


if __name__ == "__main__":
    sys.exit(main())
