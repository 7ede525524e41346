"""Prepare MNIST: find or download its four files, check them, write arrays with a manifest.

python data_scripts/mnist.py [--raw DIR] [--out DIR]
"""

from __future__ import annotations

__all__ = ["main", "mnist_arrays", "mnist_originals", "mnist_remotes"]

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from command import options, originals, report
from fetch import Remote, obtain
from multielbo.data.mnist import FILES, IMAGES, read_mnist
from multielbo.data.prepared import is_complete, prepare

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
# Those that torchvision lists, which a machine that only builds need not have.
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    arguments = options("Prepare MNIST.").parse_args(argv)

    def work() -> None:
        folder = arguments.out / "mnist"
        if is_complete(folder, {}):
            print(f"{folder} is complete and its checksums are right")
            return
        remotes = mnist_remotes()
        files = mnist_originals(remotes, originals(arguments), arguments.out / "raw")
        arrays = {}
        for split, (images, labels) in mnist_arrays(files).items():
            arrays[f"{split}-labels"] = lambda labels=labels: labels
            arrays[f"{split}-mnist"] = lambda images=images: images[:, None]
        recipe = {"name": "mnist", "originals": {name: r.digest for name, r in remotes.items()}}
        prepare(folder, recipe, arrays)
        print(f"{folder} is complete")

    return report(work)


def mnist_remotes() -> dict[str, Remote]:
    """The four files by name, with their mirrors and checksums."""
    return {
        name: Remote(
            path=f"mnist/{name}",
            urls=tuple(f"{mirror}{name}" for mirror in MIRRORS),
            digest=f"md5:{md5}",
            aliases=(f"MNIST/raw/{name}",),  # where torchvision keeps them
        )
        for name, md5 in MD5.items()
    }


def mnist_originals(
    remotes: dict[str, Remote], folders: Sequence[Path], downloads: Path
) -> dict[str, Path]:
    """Where each of the four files lies, downloaded if need be."""
    return {name: obtain(remote, folders, downloads) for name, remote in remotes.items()}


def mnist_arrays(files: dict[str, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of each split.

    Raises:
        ValueError: A split has not as many images as MNIST has.
    """
    arrays = {}
    for split, (images, labels) in FILES.items():
        arrays[split] = read_mnist(files[images], files[labels])
        count = len(arrays[split][0])
        if count != IMAGES[split]:
            raise ValueError(
                f"{files[images]} holds {count:,} images, expected {IMAGES[split]:,}: replace it"
            )
    return arrays


if __name__ == "__main__":
    sys.exit(main())
