"""A folder that is replaced whole or not at all, by one process at a time.

While it is replaced, its new files lie in `.<name>.part` and then, for a moment, its earlier ones
in `.<name>.earlier`. Whenever the process is killed, one of the two is whole.
"""

from __future__ import annotations

__all__ = ["remove", "replace", "restore"]

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from multielbo.records.locks import alone


def replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put these files into a folder, in place of all that it holds.

    Raises:
        OSError: They cannot be written; the folder is as it was.
    """
    with _alone(folder):
        try:
            _settle(folder)
            _part(folder).mkdir(parents=True)
            for name, content in files.items():
                with open(_part(folder) / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if folder.exists():
                os.rename(folder, _earlier(folder))
            os.rename(_part(folder), folder)
        except OSError:
            _settle(folder)
            raise
        with suppress(OSError):  # what stays, the next one removes
            _settle(folder)


def restore(folder: Path) -> None:
    """Put the folder back where a process was killed between moving it and its successor."""
    if not folder.exists() and _earlier(folder).exists():
        with _alone(folder):
            _settle(folder)


def remove(folder: Path) -> None:
    """Remove the folder, and what a process that was killed left of it."""
    if folder.parent.is_dir():
        with _alone(folder):
            for each in (_earlier(folder), _part(folder), folder):
                shutil.rmtree(each, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Leave the folder alone: the newest that is whole."""
    part, earlier = _part(folder), _earlier(folder)
    shutil.rmtree(part, ignore_errors=True)
    if earlier.exists() and folder.exists():
        os.rename(earlier, part)  # at once, or a half of it could be put back
        shutil.rmtree(part)
    elif earlier.exists():
        os.rename(earlier, folder)


def _alone(folder: Path) -> AbstractContextManager[None]:
    return alone(folder.with_name(f".{folder.name}.lock"), str(folder), wait=True)


def _part(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


def _earlier(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.earlier")
