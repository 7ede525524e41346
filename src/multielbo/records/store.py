"""The folder of records: each written whole or not at all, and verified whenever it is read.

A record is a folder with `record.json` and, where there are arrays, `arrays.npz`. Its hashes show
when either was changed by hand.
"""

from __future__ import annotations

__all__ = ["Arrays", "find", "load", "write"]

import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    unfinished = folder.with_name(f".{folder.name}.part")
    earlier = folder.with_name(f".{folder.name}.earlier")
    try:
        _clear(unfinished)
        unfinished.mkdir(parents=True)
        for name, content in files.items():
            with open(unfinished / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            _clear(earlier)
            os.rename(folder, earlier)
        os.rename(unfinished, folder)
        _clear(earlier)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        _restore(folder)
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
    _restore(folder)
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


def find(results: Path, digest: str) -> Path | None:
    """The folder under `results` whose record has this digest, or None.

    Raises:
        ValueError: A record on the way is not as it was written.
    """
    for file in sorted(results.rglob("record.json")):
        hidden = any(part.startswith(".") for part in file.relative_to(results).parts)
        if not hidden and _read(file).digest == digest:
            return file.parent
    return None


def _read(file: Path) -> Record:
    if not file.exists():
        raise FileNotFoundError(f"there is no record {file}; run the experiment, or check the name")
    try:
        values = json.loads(file.read_bytes())
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


def _restore(folder: Path) -> None:
    """Put back the earlier record if a write ended between its two renames."""
    earlier = folder.with_name(f".{folder.name}.earlier")
    if earlier.exists() and not folder.exists():
        os.rename(earlier, folder)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


_WAY_OUT = "restore it from git, or run the experiment again"
