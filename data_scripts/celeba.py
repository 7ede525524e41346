"""Prepare bimodal CelebA: faces of 64x64 pixels, texts that name their attributes.

    python data_scripts/celeba.py --raw DIR [--out DIR] [--seed N]

CelebA asks its users to agree to its terms, and is offered through Google Drive: nothing is
downloaded here. The folder has to hold list_attr_celeba.txt, list_eval_partition.txt and the
pictures, either img_align_celeba.zip as it was downloaded, or its content in img_align_celeba/.
The faces of one split are in memory at once, 2 GB for the training split.
"""

from __future__ import annotations

__all__ = ["main"]

import io
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from command import options, originals, report
from fetch import checked
from multielbo.data.celeba import ALPHABET, NAME, SPLITS, texts
from multielbo.data.celeba_originals import CROP, SIZE, crop, read_attributes, read_partition
from multielbo.data.prepared import is_complete, prepare

HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
FOLDER, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
PLACES = (".", "celeba", "CelebA", "Anno", "Eval", "Img")  # where the files may lie in a folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = options("Prepare bimodal CelebA.")
    parser.add_argument("--seed", type=int, default=0, help="seed of where texts begin (default 0)")
    arguments = parser.parse_args(argv)

    def work() -> None:
        folder = arguments.out / NAME
        if is_complete(folder, {"seed": arguments.seed}):
            print(f"{folder} is complete and its checksums are right")
            return
        folders, digests = [*originals(arguments), arguments.out / "raw"], known_digests()
        files = {name: found(folders, name) for name in (ATTRIBUTES, PARTITION)}
        pictures, labels = read_attributes(files[ATTRIBUTES])
        splits = read_partition(files[PARTITION], pictures)
        # What a file lacks has been said by now; of one that only differs, the checksum speaks.
        for name, path in files.items():
            checked(path, digests[name], f"replace it by the one from {HOME}")
        faces = Faces(folders, digests[ARCHIVE], pictures)
        recipe = {
            "name": NAME,
            "seed": arguments.seed,
            "originals": digests,
            "pictures": faces.source.name,
            "crop": CROP,
            "size": SIZE,
            "symbols": {"text": len(ALPHABET)},
        }
        prepare(folder, recipe, celeba_arrays(pictures, labels, splits, faces, arguments.seed))
        print(f"{folder} is complete")

    return report(work)


def known_digests() -> dict[str, str]:
    """The checksums of the originals that torchvision knows, by file name."""
    from torchvision_import import torchvision_datasets

    listed = {name: f"md5:{md5}" for _, md5, name in torchvision_datasets().CelebA.file_list}
    return {name: listed[name] for name in (ATTRIBUTES, PARTITION, ARCHIVE)}


def celeba_arrays(
    pictures: Sequence[str], labels: np.ndarray, splits: np.ndarray, faces: Faces, seed: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What makes each array of the data set, one modality of one split at a time."""
    arrays = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(splits == number)
        there = labels[rows]
        arrays[f"{split}-labels"] = lambda there=there: there
        arrays[f"{split}-image"] = partial(faces.read, [pictures[row] for row in rows])
        arrays[f"{split}-text"] = partial(texts, there, split=split, seed=seed)
    return arrays


class Faces:
    """The pictures, in a folder or in the archive that was downloaded.

    Args:
        folders: Folders of originals.
        digest: Of the archive.
        pictures: The names of all pictures.

    Raises:
        FileNotFoundError: A picture is missing.
        ValueError: The archive is another one.
    """

    def __init__(self, folders: Sequence[Path], digest: str, pictures: Sequence[str]) -> None:
        self.source = found(folders, FOLDER, ARCHIVE)
        if self.source.is_dir():
            self.archive = None
            there = {path.name for path in self.source.iterdir()}
        else:
            checked(self.source, digest, f"replace it by the one from {HOME}")
            self.archive = zipfile.ZipFile(self.source)
            there = {Path(name).name for name in self.archive.namelist()}
        missing = [name for name in pictures if name not in there]
        if missing:
            raise FileNotFoundError(
                f"{self.source} lacks {len(missing):,} of {len(pictures):,} pictures, first of all "
                f"{missing[0]}: unpack {ARCHIVE} again"
            )

    def read(self, names: Sequence[str]) -> np.ndarray:
        """Faces of the named pictures, (N, 3, 64, 64)."""
        faces = np.empty((len(names), 3, SIZE, SIZE), np.uint8)
        for row, name in enumerate(tqdm(names, unit="face", leave=False, disable=None)):
            faces[row] = self.face(name)
        return faces

    def face(self, name: str) -> np.ndarray:
        """One face.

        Raises:
            ValueError: The picture is damaged, or not of the size of the aligned ones.
        """
        where = self.source / name
        try:
            content = self.archive.read(f"{FOLDER}/{name}") if self.archive else where.read_bytes()
            with Image.open(io.BytesIO(content)) as picture:
                return crop(picture)
        except ValueError as error:
            raise ValueError(f"{where} {error}") from error
        except OSError as error:
            raise ValueError(f"{where} is not a complete picture ({error}): replace it") from error


def found(folders: Sequence[Path], *names: str) -> Path:
    """The first of these files in the folders of originals.

    Raises:
        FileNotFoundError: None of them is there.
    """
    for folder in folders:
        for place in PLACES:
            for name in names:
                if (folder / place / name).exists():
                    return folder / place / name
    raise FileNotFoundError(
        f"{' or '.join(names)} is in none of {', '.join(map(str, folders))}: accept CelebA's terms "
        f"and download it by way of {HOME} (aligned and cropped pictures), then name its folder "
        "with --raw"
    )


if __name__ == "__main__":
    sys.exit(main())
