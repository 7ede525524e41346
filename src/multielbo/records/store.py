"""The folder of records: each written whole or not at all, and verified whenever it is read.

A record is a folder with `record.json` and, where there are arrays, `arrays.npz`. Its hashes show
when either was changed by hand. One process at a time writes it; those that read it meanwhile see
the earlier one or the new one.
"""

from __future__ import annotations

__all__ = ["Arrays", "find", "load", "write"]

import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multielbo.records import folders
from multielbo.records.record import Record, canonical, sha256

LARGEST = 500_000  # bytes of arrays.npz, because records are committed
Arrays = Mapping[str, NDArray[Any]]


def write(folder: Path, record: Record, arrays: Arrays | None = None) -> Record:
    """Write a record in place of the one that `folder` may hold; whole, or not at all.

    Args:
        folder: Where it goes; the folders above it are made if need be.
        record: As `complete` returns it.
        arrays: By name; compressed, they must stay under 500 kB.

    Returns:
        The record with the hashes of its arrays.

    Raises:
        ValueError: The arrays are too large, or hold objects.
        OSError: The folder cannot be written, or the disk is full.
    """
    files = {"arrays.npz": _pack(arrays, folder)} if arrays else {}
    record = replace(record, arrays={name: sha256(content) for name, content in files.items()})
    values = asdict(record)
    values["sha256"] = sha256(canonical(values, f"record {record.name}"))
    files["record.json"] = (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
    try:
        folders.replace(folder, files)
    except OSError as error:
        raise OSError(
            f"cannot write record {folder}: {error.strerror or error}; an earlier record is "
            "unchanged: free space or choose another folder, and run again"
        ) from error
    return record


def load(folder: Path) -> tuple[Record, Arrays]:
    """Read a record and its arrays, and verify both.

    Raises:
        FileNotFoundError: There is no record in `folder`, or its arrays are missing.
        ValueError: The record or its arrays are not as they were written.
    """
    folders.restore(folder)
    before = _version(folder)
    try:
        return _verified(folder)
    except (FileNotFoundError, ValueError):
        folders.restore(folder)  # after whoever is replacing it
        if _version(folder) == before:
            raise
    return load(folder)  # another one took its place between two of its files


def find(results: Path, digest: str) -> Path | None:
    """The folder under `results` whose record has this digest, or None.

    Raises:
        ValueError: A record on the way is not as it was written.
    """
    for place, inside, files in os.walk(results):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        if "record.json" not in files:
            continue
        try:
            if _read(Path(place) / "record.json").digest == digest:
                return Path(place)
        except FileNotFoundError:
            continue  # another process just replaced or removed it
    return None


def _verified(folder: Path) -> tuple[Record, Arrays]:
    record, arrays = _read(folder / "record.json"), {}
    for name, expected in record.arrays.items():
        file = folder / name
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing (sha256 {expected}); {_WAY_OUT}")
        content = file.read_bytes()
        if (found := sha256(content)) != expected:
            raise ValueError(
                f"{file} is not what the record holds: expected sha256 {expected}, "
                f"found {found}; {_WAY_OUT}"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays |= dict(stored)
    return record, arrays


def _read(file: Path) -> Record:
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no record {file}; run the experiment, or check the name"
        ) from None
    except ValueError as error:
        raise ValueError(f"record {file} is not JSON ({error}); {_WAY_OUT}") from error
    expected = values.pop("sha256", None) if isinstance(values, dict) else None
    if (found := sha256(canonical(values, f"record {file}"))) != expected:
        raise ValueError(
            f"record {file} was changed after it was written: expected sha256 {expected}, "
            f"found {found}; {_WAY_OUT}"
        )
    if set(values) != {field.name for field in fields(Record)}:
        raise ValueError(f"record {file} has the fields of another version; {_WAY_OUT}")
    return Record(**values)


def _pack(arrays: Arrays, folder: Path) -> bytes:
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise ValueError(f"record {folder}: array {objects[0]!r} holds objects; give it numbers")
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    size = content.getbuffer().nbytes
    if size > LARGEST:
        largest = max(arrays, key=lambda name: arrays[name].nbytes)
        raise ValueError(
            f"record {folder}: its arrays take {size} bytes, more than {LARGEST}; keep fewer "
            f"values, first of {largest!r}"
        )
    return content.getvalue()


def _version(folder: Path) -> tuple[int, int] | None:
    """Differs between a record and the one that takes its place."""
    try:
        found = (folder / "record.json").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


_WAY_OUT = "restore it from git, or run the experiment again"
