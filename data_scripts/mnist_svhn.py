"""Prepare MNIST-SVHN-Text: pair MNIST's digits with SVHN's of the same class, and spell the class.

    python data_scripts/mnist_svhn.py [--raw DIR] [--out DIR] [--pairs N] [--seed N]

MNIST-SVHN is the same data without the text. With `--allow-reduced`, a smaller SVHN in the same
file format is accepted from `--raw`, and what is made of it is named mnist-svhn-text-reduced.
"""

from __future__ import annotations

__all__ = ["main"]

import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from command import options, originals, report
from fetch import Remote, checksum, obtain
from mnist import mnist_arrays, mnist_originals, mnist_remotes
from multielbo.data.mnist_svhn import ALPHABET, NAME, PAIRS, REDUCED, pair
from multielbo.data.prepared import is_complete, prepare
from multielbo.data.svhn import FILES, read_svhn

STANFORD = "http://ufldl.stanford.edu/housenumbers/"
MD5 = {
    "train": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "md5:eb5a983be6a315427106f1b164d9cef3",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = options("Prepare MNIST-SVHN-Text, and with it MNIST-SVHN.")
    parser.add_argument(
        "--pairs",
        type=int,
        default=PAIRS,
        metavar="N",
        help=f"random matchings, so tuples of each original (default {PAIRS})",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of pairs and texts (default 0)"
    )
    parser.add_argument(
        "--allow-reduced",
        action="store_true",
        help=f"accept a smaller SVHN from --raw, and name the result {REDUCED}",
    )
    arguments = parser.parse_args(argv)

    def work() -> None:
        chosen = {"seed": arguments.seed, "pairs": arguments.pairs}
        if is_complete(arguments.out / NAME, chosen):
            print(f"{arguments.out / NAME} is complete and its checksums are right")
            return
        folders, downloads = originals(arguments), arguments.out / "raw"
        files, reduced = svhn_originals(folders, downloads, arguments.allow_reduced)
        svhn = svhn_arrays(files)
        remotes = mnist_remotes()
        mnist = mnist_arrays(mnist_originals(remotes, folders, downloads))
        folder = arguments.out / (REDUCED if reduced else NAME)
        recipe = {
            "name": folder.name,
            **chosen,
            "mnist": {name: remote.digest for name, remote in remotes.items()},
            "svhn": {
                split: {"file": path.name, "md5": md5(path), "digits": len(svhn[split][1])}
                for split, path in files.items()
            },
            "alphabet": ALPHABET,
            "symbols": {"text": len(ALPHABET)},
            "classes": 10,
        }
        prepare(folder, recipe, paired_arrays(mnist, svhn, **chosen))
        print(f"{folder} is complete")

    return report(work)


def svhn_originals(
    folders: Sequence[Path], downloads: Path, allow_reduced: bool
) -> tuple[dict[str, Path], bool]:
    """Where SVHN's two files lie, downloaded if need be, and whether they are reduced.

    Raises:
        ValueError: The two are swapped, or one is not SVHN's and none but SVHN's is allowed.
    """
    files = {split: given(file, folders) for split, file in FILES.items()}
    for split, path in files.items():
        if path is None:
            files[split] = obtain(remote(split), (), downloads)
            continue
        found = f"md5:{md5(path)}"
        other = next(other for other in FILES if other != split)
        if found == MD5[other]:
            raise ValueError(f"{path} is SVHN's {FILES[other]}: give each file its own name")
        if found != MD5[split] and not allow_reduced:
            raise ValueError(
                f"{path}: expected {MD5[split]}, found {found}: replace it or leave it out of "
                f"--raw, or add --allow-reduced to make {REDUCED} of a smaller SVHN"
            )
    return files, any(f"md5:{md5(path)}" != MD5[split] for split, path in files.items())


def svhn_arrays(files: dict[str, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and classes of each split.

    Raises:
        ValueError: A file is damaged, or the test split is not the smaller one.
    """
    arrays = {split: read_svhn(path) for split, path in files.items()}
    train, test = (len(arrays[split][1]) for split in ("train", "test"))
    if train <= test:
        raise ValueError(
            f"{files['train']} holds {train:,} digits and {files['test']} {test:,}: SVHN has more "
            "to train than to test, so the two are swapped or one is wrong"
        )
    return arrays


def paired_arrays(
    mnist: dict[str, tuple[np.ndarray, np.ndarray]],
    svhn: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    pairs: int,
    seed: int,
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set; a split is paired once, when first asked for.

    Raises:
        ValueError: There is no matching, or a class is missing.
    """

    @cache
    def paired(split: str) -> dict[str, np.ndarray]:
        return pair(mnist[split], svhn[split], split=split, pairs=pairs, seed=seed)

    return {  # what cannot be paired is refused here, before anything is written
        f"{split}-{name}": lambda split=split, name=name: paired(split)[name]
        for split in FILES
        for name in paired(split)
    }


def remote(split: str) -> Remote:
    """One of SVHN's two files."""
    file = FILES[split]
    return Remote(f"svhn/{file}", (f"{STANFORD}{file}",), MD5[split])


def given(file: str, folders: Sequence[Path]) -> Path | None:
    """Where the file lies among the originals; torchvision keeps it at the top."""
    paths = (folder / place / file for folder in folders for place in ("svhn", "SVHN", ""))
    return next((path for path in paths if path.is_file()), None)


def md5(path: Path) -> str:
    """The file's checksum, without its kind."""
    return checksum(path, "md5:").removeprefix("md5:")


if __name__ == "__main__":
    sys.exit(main())
