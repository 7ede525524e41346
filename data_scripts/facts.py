"""Write fact files: what prepared data sets hold, as counts, shapes, checksums and a small picture.

    python data_scripts/facts.py [NAME ...] [--data DIR] [--out book/facts] [--pictures DIR]

Without names, all data sets of sets.yml get their file. Of data that are not in the folder, what an
earlier run measured is kept and only the description renewed. Pixels of a data set whose licence
does not clearly allow it are never put into a picture.
"""

from __future__ import annotations

__all__ = ["main", "measure", "montage"]

import hashlib
import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from command import report
from multielbo.data.multimodal import MultimodalData
from multielbo.data.polydigits import polydigits
from multielbo.data.prepared import load, read_manifest
from multielbo.publishing.facts import FORMAT, check_facts

SETS = "sets.yml"
HEXADECIMAL = re.compile(r"(md5:|sha256:)?([0-9a-f]{64}|[0-9a-f]{32})")
TUPLES = 5  # in a picture
TILE = 64  # pixels of a tile where some are drawn
LIMIT = 30_000  # bytes of a picture
# Their pixels may be shown; of all others the book draws what a tuple is like.
SHOWN = {
    "polymnist-hopper",
    "translated-polymnist-hopper",
    "translated-polymnist-10-hopper",
    "written-spoken-drawn",
}
EMBEDDED = {"polydigits": polydigits}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 2 after a failure, told in one line."""
    parser = ArgumentParser(description="Write fact files of data sets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of prepared data; may be given several times",
    )
    parser.add_argument("--out", type=Path, default=Path("book/facts"), metavar="DIR")
    parser.add_argument("--pictures", type=Path, default=Path("book/_static/data"), metavar="DIR")
    arguments = parser.parse_args(argv)

    def work() -> None:
        known = descriptions(arguments.out / SETS)
        for name in arguments.names or known:
            if name not in known:
                raise ValueError(f"no data set {name!r} in {SETS}: choose from {', '.join(known)}")
            path = arguments.out / f"{name}.json"
            measured = measure(name, arguments.data, arguments.pictures)
            if measured is None and path.is_file():
                measured = json.loads(path.read_text(encoding="utf-8"))["measured"]
            facts = {
                "format": FORMAT,
                "name": name,
                "prepared": measured is not None,
                "described": known[name],
                "measured": measured,
            }
            check_facts(facts, str(path))
            text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {'measured' if measured else 'described only'}")

    return report(work)


def descriptions(path: Path) -> dict[str, dict[str, Any]]:
    """What people wrote of each data set, with its originals in full.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: A data set names an original that is not described.
    """
    import yaml

    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    originals = written["originals"]
    described = {}
    for name, entry in written["sets"].items():
        unknown = [key for key in entry["originals"] if key not in originals]
        if unknown:
            raise ValueError(f"{path}: {name} names the original {unknown[0]!r}: describe it")
        described[name] = {**entry, "originals": [originals[key] for key in entry["originals"]]}
    return described


def measure(name: str, folders: Sequence[Path], pictures: Path) -> dict[str, Any] | None:
    """What a data set holds; None where no folder has it.

    Args:
        name: Of the data set, and of its prepared folder.
        folders: Where prepared data may lie.
        pictures: Where its picture goes.

    Raises:
        ValueError: Prepared data are damaged.
    """
    if name in EMBEDDED:
        data = {split: EMBEDDED[name](split) for split in ("train", "test")}
        return facts_of(data, {}, None) | {"substitutes": {}}
    places = [folder / name for folder in folders if (folder / name / "manifest.json").is_file()]
    if not places:
        return None
    manifest = read_manifest(places[0])
    splits = dict.fromkeys(file.split("-")[0] for file in manifest["files"])
    data = {split: load(places[0], split, "its script") for split in splits}
    picture = None
    if name in SHOWN:
        picture = write_picture(pictures / f"{name}.webp", montage(data["test"]))
    recipe = manifest["recipe"]
    measured = facts_of(data, dict(checksums(recipe)), picture)
    return measured | {"substitutes": substitutes(recipe)}


def facts_of(
    data: Mapping[str, MultimodalData], originals: dict[str, str], picture: dict[str, Any] | None
) -> dict[str, Any]:
    """Counts, shapes and checksums of a data set's splits."""
    first = next(iter(data.values()))
    stored = [x for split in data.values() for x in (*split.modalities.values(), split.labels)]
    return {
        "modalities": {
            m: {
                "shape": list(first.shapes[m]),
                "stored": str(x.dtype).removeprefix("torch."),
                "observations": {split: len(found.modalities[m]) for split, found in data.items()},
            }
            for m, x in first.modalities.items()
        },
        "splits": {
            split: {
                "tuples": len(found),
                "classes": class_counts(found),
                "sha256": f"sha256:{found.sha256}",
            }
            for split, found in data.items()
        },
        "attributes": first.labels.ndim == 2,
        "bytes": sum(x.numel() * x.element_size() for x in stored),
        "checksums": originals,
        "picture": picture,
    }


def class_counts(data: MultimodalData) -> list[int]:
    """Tuples of each class, or with each attribute."""
    if data.labels.ndim == 2:
        return data.labels.sum(0).tolist()
    return torch.bincount(data.labels, minlength=data.classes).tolist()


def checksums(recipe: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every checksum in a recipe, by the file that it is of."""
    if isinstance(recipe, Mapping):
        name = recipe.get("file", name)
        for key, value in recipe.items():
            yield from checksums(value, name if key in ("md5", "sha256") else key)
    elif isinstance(recipe, str) and (found := HEXADECIMAL.fullmatch(recipe)):
        kind = found[1] or ("md5:" if len(found[2]) == 32 else "sha256:")
        yield name, kind + found[2]


def substitutes(recipe: Mapping[str, Any]) -> dict[str, str]:
    """By modality what stands in for an original that is not to be had."""
    pictures = recipe.get("backgrounds", {})
    return {m: entry["substitute"] for m, entry in pictures.items() if "substitute" in entry}


def montage(data: MultimodalData, tuples: int = TUPLES) -> NDArray[np.uint8]:
    """The first tuples side by side, a row for each modality: (H, W, 3)."""
    drawn = any(x.is_floating_point() for x in data.modalities.values())
    prepare = partial(tile, side=TILE) if drawn else np.asarray
    rows = [
        np.concatenate([prepare(x) for x in data[m][:tuples].numpy()], axis=2)
        for m in data.modalities
    ]
    image = np.concatenate(rows, axis=1)
    return np.repeat(image, 3 // len(image), axis=0).transpose(1, 2, 0)


def tile(x: NDArray, side: int) -> NDArray[np.uint8]:
    """A picture (C, H, W) scaled and centred, or a path (P, 2) in the unit square drawn."""
    if x.ndim == 2:
        canvas = Image.new("L", (side, side))
        points = [(4 + (side - 9) * a, side - 5 - (side - 9) * b) for a, b in x.tolist()]
        ImageDraw.Draw(canvas).line(points, fill=255, width=3, joint="curve")
        return np.asarray(canvas)[None]
    large = np.kron(x, np.ones((1, side // x.shape[1], side // x.shape[2]), np.uint8))
    above, left = ((side - size) // 2 for size in large.shape[1:])
    below, right = side - large.shape[1] - above, side - large.shape[2] - left
    return np.pad(large, ((0, 0), (above, below), (left, right)))


def write_picture(path: Path, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Write a small picture, without loss where that is small enough.

    Raises:
        ValueError: It is too large in any case.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save: Callable[..., None] = Image.fromarray(image).save
    for quality in ({"lossless": True}, {"quality": 90}, {"quality": 75}):
        save(path, "webp", method=6, **quality)
        content = path.read_bytes()
        if len(content) < LIMIT:
            return {
                "file": path.name,
                "sha256": f"sha256:{hashlib.sha256(content).hexdigest()}",
                "tuples": TUPLES,
            }
    path.unlink()
    raise ValueError(f"{path} would have {len(content):,} bytes, more than {LIMIT:,}: show less")


if __name__ == "__main__":
    sys.exit(main())
