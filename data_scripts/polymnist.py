"""Prepare PolyMNIST with a free portrait: 5 x 70,000 images from MNIST and five pictures.

    python data_scripts/polymnist.py [--raw DIR] [--out DIR] [--seed N]

Four pictures are those that the paper names (Sutter et al. 2021, appendix D). The fifth is not
free, and Grace Hopper's portrait takes its place, which matplotlib ships.
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from command import options, originals, report
from fetch import Remote, obtain
from mnist import mnist_arrays, mnist_originals, mnist_remotes
from multielbo.data.pictures import portrait, read_rgb
from multielbo.data.polymnist import MODALITIES, NAME, modality
from multielbo.data.prepared import is_complete, prepare

BURKARDT = "https://people.sc.fsu.edu/~jburkardt/data/jpg/"
COMMONS = "https://upload.wikimedia.org/wikipedia/commons/f/f4/"
# The Scream that this book's own numbers were made with, at 1200 x 1528 pixels.
SCREAM = "sha256:f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee"
BACKGROUNDS = {
    "m0": Remote(
        "backgrounds/fractal_tree.jpg",
        (f"{BURKARDT}fractal_tree.jpg",),
        "sha256:c3aea824f3a92ab5692e480d02fe868bafa338de3ed9993d540274374a3c31b8",
    ),
    "m1": Remote(
        "backgrounds/The_Scream.jpg",
        (f"{COMMONS}The_Scream.jpg",),
        None,  # Commons may replace its file, and the authors' is not known
        aliases=("backgrounds/the_scream_1200x1528.jpg", "the_scream_1200x1528.jpg"),
    ),
    "m3": Remote(
        "backgrounds/star_field.jpg",
        (f"{BURKARDT}star_field.jpg",),
        "sha256:22317171efc167c6a5b4a783d44289f8f9b3c987e1e363acddabc81d2227c27c",
    ),
    "m4": Remote(
        "backgrounds/shingles.jpg",
        (f"{BURKARDT}shingles.jpg",),
        "sha256:22e05161aa0b9963cd0c2089f17e06807e163b36696b70b305c130396c5c448e",
    ),
}
PORTRAIT = Remote(
    "backgrounds/grace_hopper.jpg",
    (),
    "sha256:a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
)
SUBSTITUTES = {
    "m1": "The Scream: the authors' file is not known, this is {}",
    "m2": "Grace Hopper's portrait (public domain) in place of a photograph that is not free",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = options("Prepare PolyMNIST with a free portrait.")
    parser.add_argument("--seed", type=int, default=0, help="seed of pairing and crops (default 0)")
    arguments = parser.parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {"seed": arguments.seed}):
            print(f"{folder} is complete and its checksums are right")
            return
        folders, downloads = originals(arguments), arguments.out / "raw"
        pictures = picture_files(folders, downloads)
        remotes = mnist_remotes()
        digits = mnist_arrays(mnist_originals(remotes, folders, downloads))
        recipe = {
            "name": NAME,
            "seed": arguments.seed,
            "mnist": {name: remote.digest for name, remote in remotes.items()},
            "backgrounds": {m: describe(m, path) for m, path in pictures.items()},
        }
        prepare(folder, recipe, polymnist_arrays(digits, pictures, arguments.seed))
        print(f"{folder} is complete")

    return report(work)


def picture_files(folders: Sequence[Path], downloads: Path) -> dict[str, Path]:
    """Where each modality's picture lies, downloaded if need be."""
    return {
        m: portrait_file(folders) if m == "m2" else obtain(BACKGROUNDS[m], folders, downloads)
        for m in MODALITIES
    }


def portrait_file(folders: Sequence[Path]) -> Path:
    """The portrait among the originals, where a machine has no matplotlib, or matplotlib's."""
    copies = [folder / PORTRAIT.path for folder in folders]
    if not any(copy.is_file() for copy in copies):
        return portrait()
    return obtain(PORTRAIT, folders, Path())


def polymnist_arrays(
    digits: dict[str, tuple[np.ndarray, np.ndarray]], pictures: dict[str, Path], seed: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set, one modality of one split at a time."""
    backgrounds = {m: read_rgb(path) for m, path in pictures.items()}
    arrays = {}
    for split, (images, labels) in digits.items():
        arrays[f"{split}-labels"] = lambda labels=labels: labels
        for index, (m, background) in enumerate(backgrounds.items()):
            arrays[f"{split}-{m}"] = partial(
                modality, images, labels, background, split=split, index=index, seed=seed
            )
    return arrays


def describe(m: str, path: Path) -> dict[str, str]:
    """A picture as the manifest states it."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"file": path.name, "sha256": sha256}
    if m in SUBSTITUTES:
        known = f"sha256:{sha256}" == SCREAM
        which = "the copy of 1200 x 1528 pixels" if known else "another copy, see its checksum"
        entry["substitute"] = SUBSTITUTES[m].format(which)
    return entry


if __name__ == "__main__":
    sys.exit(main())
