"""Prepare written, spoken and drawn digits: MNIST, spoken digits and pen digits, paired by class.

    python data_scripts/written_spoken_drawn.py [--raw DIR] [--out DIR] [--seed N]

The recordings are those of the Free Spoken Digit Dataset (CC BY-SA 4.0), the strokes those of UCI's
Pen-Based Recognition of Handwritten Digits (CC BY 4.0).
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from archived import archived
from command import options, originals, report
from fetch import Remote, obtain
from mnist import mnist_arrays, mnist_originals, mnist_remotes
from multielbo.data.fsdd import SPEAKERS, Recordings, read_recordings
from multielbo.data.pendigits import FILES, read_pendigits
from multielbo.data.prepared import is_complete, prepare
from multielbo.data.recipe import bit_generator
from multielbo.data.spectrogram import picture
from multielbo.data.written_spoken_drawn import NAME, SPLITS, pairing, shuffle

# The servers make these archives anew, so that only their content is checked, not their bytes.
FSDD = Remote(
    "fsdd/recordings.zip",
    ("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",),
    None,
    aliases=("fsdd/free-spoken-digit-dataset-1.0.10.zip", "free-spoken-digit-dataset-1.0.10.zip"),
)
PENDIGITS = Remote(
    "pendigits/pendigits.zip",
    (
        "https://archive.ics.uci.edu/static/public/81/"
        "pen+based+recognition+of+handwritten+digits.zip",
    ),
    None,
    aliases=("pen+based+recognition+of+handwritten+digits.zip",),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = options("Prepare written, spoken and drawn digits.")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pairing (default 0)")
    arguments = parser.parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {"seed": arguments.seed}):
            print(f"{folder} is complete and its checksums are right")
            return
        folders, downloads = originals(arguments), arguments.out / "raw"
        remotes = mnist_remotes()
        digits = mnist_arrays(mnist_originals(remotes, folders, downloads))
        archive = obtain(FSDD, folders, downloads)
        tables = {
            split: archived(file, "pendigits", PENDIGITS, folders, downloads)
            for split, file in FILES.items()
        }
        recordings = read_recordings(archive)
        strokes = {
            split: read_pendigits(content, split, where)
            for split, (content, where) in tables.items()
        }
        recipe = {
            "name": NAME,
            "seed": arguments.seed,
            "mnist": {name: remote.digest for name, remote in remotes.items()},
            "fsdd": {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()},
            "pendigits": {
                FILES[split]: hashlib.sha256(content).hexdigest()
                for split, (content, _) in tables.items()
            },
            "speakers": SPEAKERS,
        }
        prepare(folder, recipe, tuple_arrays(digits, recordings, strokes, arguments.seed))
        print(f"{folder} is complete")

    return report(work)


def tuple_arrays(
    digits: dict[str, tuple[np.ndarray, np.ndarray]],
    recordings: dict[str, Recordings],
    strokes: dict[str, tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set: originals once, and their rows in the tuples."""
    arrays: dict[str, Callable[[], np.ndarray]] = {}
    for place, split in enumerate(SPLITS):
        images, labels = shuffle(*digits[split], bit_generator(seed, place, 0))
        spoken, (points, drawn) = recordings[split], strokes[split]
        arrays |= {
            f"{split}-labels": partial(np.asarray, labels),
            f"{split}-written": partial(np.expand_dims, images, 1),
            f"{split}-spoken": partial(pictures, spoken),
            f"{split}-drawn": partial(np.asarray, points),
            f"{split}-spoken.rows": partial(rows, labels, spoken.labels, seed, place, 1),
            f"{split}-drawn.rows": partial(rows, labels, drawn, seed, place, 2),
        }
    return arrays


def pictures(recordings: Recordings) -> np.ndarray:
    """Spectrograms of all recordings, (N, 1, bands, frames)."""
    return np.stack([picture(signal) for signal in recordings.signals])


def rows(labels: np.ndarray, sources: np.ndarray, seed: int, *stream: int) -> np.ndarray:
    """Which source stands in each tuple, (N,)."""
    return pairing(labels, sources, bit_generator(seed, *stream))


if __name__ == "__main__":
    sys.exit(main())
