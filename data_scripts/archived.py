"""A file that is offered inside an archive: taken where it lies unpacked, or out of the archive."""

from __future__ import annotations

__all__ = ["archived"]

import io
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from fetch import Remote, obtain


def archived(
    name: str, folder: str, archive: Remote, originals: Sequence[Path], downloads: Path
) -> tuple[bytes, str]:
    """The content of a file, and where it was found.

    Args:
        name: The file's name.
        folder: Where it lies in a folder of originals, unless it is at its top.
        archive: A zip file that holds it, perhaps in a tar file; downloaded if need be.
        originals: Folders to look in first.
        downloads: Where a download goes.

    Raises:
        ValueError: The archive is damaged or does not hold the file.
        OSError: The archive cannot be had.
    """
    for original in originals:
        for path in (original / folder / name, original / name):
            if path.is_file():
                return path.read_bytes(), str(path)
    path = obtain(archive, originals, downloads)
    try:
        with zipfile.ZipFile(path) as opened:
            content = _member(opened, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{path} is not a complete zip file ({error}): fetch it again") from error
    if content is None:
        raise ValueError(f"{path} holds no file {name}: fetch {archive.urls[0]} again")
    return content, f"{path}: {name}"


def _member(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The first file of that name, in the archive itself or in a tar file that it holds."""
    for member in archive.namelist():
        if Path(member).name == name:
            return archive.read(member)
    for member in archive.namelist():
        if member.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(archive.read(member))) as tar:
                for entry in tar:
                    if entry.isfile() and Path(entry.name).name == name:
                        return tar.extractfile(entry).read()
    return None
