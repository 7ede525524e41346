"""Prepare Translated PolyMNIST: 5 or 10 x 70,000 images of small digits at random places.

    python data_scripts/translated_polymnist.py [--backgrounds 5|10] [--raw DIR] [--out DIR]

The first five backgrounds are those of `data_scripts/polymnist.py`, with Grace Hopper's portrait in
the place of a photograph that is not free. Which ten pictures Wesego and Rooshenas (2024) use is
not known to us: here scikit-learn's two photographs and three textures make up the number.
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from command import options, originals, report
from mnist import mnist_arrays, mnist_originals, mnist_remotes
from multielbo.data.pictures import agate, bricks, packaged, read_rgb
from multielbo.data.prepared import is_complete, prepare
from multielbo.data.translated_polymnist import NAMES, modality, rings
from polymnist import describe, picture_files

PHOTOGRAPHS = {"m5": "china.jpg", "m6": "flower.jpg"}
TEXTURES = {"m7": agate, "m8": bricks, "m9": rings}
SUBSTITUTE = "in place of a published background that is not known to us"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = options("Prepare Translated PolyMNIST with a free portrait.")
    parser.add_argument(
        "--backgrounds", type=int, choices=sorted(NAMES), default=5, help="modalities (default 5)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of pairing, places and crops (default 0)"
    )
    arguments = parser.parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAMES[arguments.backgrounds]
        if is_complete(folder, {"seed": arguments.seed}):
            print(f"{folder} is complete and its checksums are right")
            return
        folders, downloads = originals(arguments), arguments.out / "raw"
        pictures, described = backgrounds(picture_files(folders, downloads), arguments.backgrounds)
        remotes = mnist_remotes()
        digits = mnist_arrays(mnist_originals(remotes, folders, downloads))
        recipe = {
            "name": folder.name,
            "seed": arguments.seed,
            "mnist": {name: remote.digest for name, remote in remotes.items()},
            "backgrounds": described,
        }
        prepare(folder, recipe, translated_arrays(digits, pictures, arguments.seed))
        print(f"{folder} is complete")

    return report(work)


def backgrounds(
    files: Mapping[str, Path], count: int
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, str]]]:
    """The first `count` pictures, and what the manifest says of each."""
    pictures = {m: read_rgb(path) for m, path in files.items()}
    described = {m: describe(m, path) for m, path in files.items()}
    for m, name in PHOTOGRAPHS.items():
        path = packaged("sklearn", f"datasets/images/{name}")
        pictures[m] = read_rgb(path)
        described[m] = describe(m, path) | {"substitute": f"scikit-learn's photograph {SUBSTITUTE}"}
    for m, draw in TEXTURES.items():
        pictures[m] = draw()
        sha256 = hashlib.sha256(pictures[m].tobytes()).hexdigest()
        described[m] = {"file": f"{draw.__name__} (drawn, no file)", "sha256": sha256}
        described[m]["substitute"] = f"a texture {SUBSTITUTE}"
    kept = list(pictures)[:count]
    return {m: pictures[m] for m in kept}, {m: described[m] for m in kept}


def translated_arrays(
    digits: dict[str, tuple[np.ndarray, np.ndarray]], pictures: dict[str, np.ndarray], seed: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set, one modality of one split at a time."""
    arrays = {}
    for split, (images, labels) in digits.items():
        arrays[f"{split}-labels"] = lambda labels=labels: labels
        for index, (m, background) in enumerate(pictures.items()):
            arrays[f"{split}-{m}"] = partial(
                modality, images, labels, background, split=split, index=index, seed=seed
            )
    return arrays


if __name__ == "__main__":
    sys.exit(main())
