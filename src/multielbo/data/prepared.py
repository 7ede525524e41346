"""Prepared data sets on disk: one .npy file an array, and a manifest that vouches for them.

A folder holds `manifest.json`, `SPLIT-labels.npy` and `SPLIT-MODALITY.npy`; where tuples share
their observations, also the row of each tuple in `SPLIT-MODALITY.rows.npy`. Every file is written
under another name and moved into place when it is complete, and the manifest follows each of them,
so that a run that was stopped continues with the first missing file.
"""

from __future__ import annotations

__all__ = ["FORMAT", "is_complete", "load", "prepare"]

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from multielbo.data.multimodal import MultimodalData, content_digest

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = ".rows"


def prepare(
    folder: Path,
    recipe: Mapping[str, Any],
    arrays: Mapping[str, Callable[[], np.ndarray]],
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Write the arrays that are not yet there, and the manifest.

    Args:
        folder: Where the data set goes.
        recipe: What the arrays are a function of, as JSON; another recipe starts from nothing. Its
            entries `"symbols"` and `"classes"` are those of `MultimodalData`.
        arrays: What makes each array, by file name: `SPLIT-labels` first, then `SPLIT-MODALITY`
            and, for shared observations, `SPLIT-MODALITY.rows`.
        progress: Show a progress bar.

    Returns:
        The manifest.

    Raises:
        OSError: The folder cannot be written or the disk is full; nothing half-written remains.
    """
    recipe = json.loads(json.dumps(recipe))  # as it will be read back
    manifest = {"format": FORMAT, "recipe": recipe, "complete": False, "files": {}}
    before = read_manifest(folder) if (folder / MANIFEST).is_file() else None
    if before is not None and before["recipe"] == recipe:
        manifest["files"] = before["files"]
    for name, make in tqdm(arrays.items(), unit="file", disable=not progress, desc=folder.name):
        file = f"{name}.npy"
        entry = manifest["files"].get(file)
        if entry is not None and entry["sha256"] == file_digest(folder / file):
            continue
        array = make()
        with replacing(folder / file) as stream:
            np.lib.format.write_array(stream, array, version=(1, 0))
        manifest["files"][file] = {
            "sha256": file_digest(folder / file),
            "dtype": str(array.dtype),
            "shape": list(array.shape),
        }
        write_manifest(folder, manifest)
    manifest["complete"] = True
    manifest["files"] = {f"{name}.npy": manifest["files"][f"{name}.npy"] for name in arrays}
    write_manifest(folder, manifest)
    return manifest


def is_complete(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the folder holds a whole data set, every file with its checksum, made as wanted.

    Args:
        folder: The data set's folder.
        wanted: Entries that the recipe must have, as in `{"seed": 0}`.
    """
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder)
    return (
        manifest["complete"]
        and all(manifest["recipe"].get(key) == value for key, value in wanted.items())
        and all(
            file_digest(folder / file) == entry["sha256"]
            for file, entry in manifest["files"].items()
        )
    )


def load(folder: Path, split: str, remedy: str) -> MultimodalData:
    """Load one split, memory-mapped, after checking every file of it.

    Args:
        folder: The data set's folder.
        split: Which split, as in "train".
        remedy: The command that prepares the data set, for the error messages.

    Raises:
        FileNotFoundError: The data set has not been prepared, or not to the end.
        ValueError: The split does not exist, or a file is not what the manifest vouches for.
    """
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} holds no prepared data: run {remedy}")
    manifest = read_manifest(folder)
    if not manifest["complete"]:
        raise FileNotFoundError(f"{folder} is prepared only in part: run {remedy} again")
    splits = list(dict.fromkeys(file.split("-")[0] for file in manifest["files"]))
    if split not in splits:
        raise ValueError(f"{folder.name} has no split {split!r}: choose from {', '.join(splits)}")
    arrays, digests = {}, {}
    recipe = manifest["recipe"]
    for file, entry in manifest["files"].items():
        if not file.startswith(f"{split}-"):
            continue
        found = file_digest(folder / file)
        if found != entry["sha256"]:
            raise ValueError(
                f"{folder / file}: expected sha256 {entry['sha256']}, "
                f"found {found or 'no file'}: run {remedy} again, it makes this file anew"
            )
        name = file.removeprefix(f"{split}-").removesuffix(".npy")
        arrays[name] = torch.from_numpy(np.load(folder / file, mmap_mode="c"))
        digests[name] = found
    labels, label_digest = arrays.pop("labels"), digests.pop("labels")
    return MultimodalData(
        name=f"{folder.name}-{split}",
        modalities={name: x for name, x in arrays.items() if not name.endswith(ROWS)},
        labels=labels,
        sha256=content_digest({**digests, "labels": label_digest}),
        classes=recipe.get("classes", 10),
        symbols=recipe.get("symbols", {}),
        rows={name.removesuffix(ROWS): x for name, x in arrays.items() if name.endswith(ROWS)},
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest, refusing one of another format."""
    path, remedy = folder / MANIFEST, f"delete {folder} and prepare it again"
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}") from error
    parts = {"recipe", "complete", "files"}
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or parts - set(manifest):
        raise ValueError(f"{path} is not of format {FORMAT}: {remedy}")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest in one step."""
    with replacing(folder / MANIFEST) as stream:
        stream.write((json.dumps(manifest, indent=2) + "\n").encode())


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, None where there is none."""
    if not path.is_file():
        return None
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its place only when it is complete and on the disk."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder, "
            "and start again: complete files are kept"
        ) from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
