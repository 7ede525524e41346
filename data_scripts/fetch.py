"""Get a file: from a folder that already holds it, or from the first mirror that delivers it.

A download goes to `FILE.part`, is resumed by HTTP range requests, is checked, and only then takes
its name. Whatever goes wrong ends in one line that says which file, what was expected, what was
found and what to do.
"""

from __future__ import annotations

__all__ = ["Remote", "checked", "download", "obtain"]

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

AGENT = "multielbo-data-scripts"
CHUNK = 1 << 16
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of data
ATTEMPTS = 3  # times in a row that a mirror may cut the connection


@dataclass(frozen=True)
class Remote:
    """A file that several places offer.

    Args:
        path: Where it belongs, relative to the folder of originals.
        urls: Mirrors, tried in this order.
        digest: "md5:..." or "sha256:...", or None where the original's is not known.
        aliases: Other paths, relative to a folder of originals, at which it may lie.
    """

    path: str
    urls: tuple[str, ...]
    digest: str | None
    aliases: tuple[str, ...] = ()


def obtain(remote: Remote, originals: Sequence[Path], folder: Path) -> Path:
    """Find the file in the folders of originals, without copying it, or else download it.

    Args:
        remote: The file.
        originals: Folders to look in first.
        folder: Where a download goes, and where an earlier one is looked for.

    Raises:
        ValueError: A file was found, but is not what it should be.
        ConnectionError: No mirror delivers the file.
        OSError: The folder cannot be written.
    """
    for original in originals:
        for path in (remote.path, *remote.aliases, Path(remote.path).name):
            if (original / path).is_file():
                return checked(
                    original / path, remote.digest, "replace it or leave it out of --raw"
                )
    return download(remote, folder)


def checked(path: Path, digest: str | None, remedy: str) -> Path:
    """The path itself, if the file's checksum is the expected one.

    Raises:
        ValueError: It is another one.
    """
    found = checksum(path, digest)
    if digest is not None and found != digest:
        raise ValueError(f"{path}: expected {digest}, found {found}: {remedy}")
    return path


def download(remote: Remote, folder: Path) -> Path:
    """Download the file from the first mirror that delivers what is expected.

    A file that is already there and right is not downloaded again; a wrong one is replaced.

    Raises:
        ConnectionError: No mirror does.
        OSError: The folder cannot be written.
    """
    import pooch
    import requests
    import urllib3

    pooch.get_logger().setLevel(logging.WARNING)
    target = folder / remote.path
    part = target.with_name(f"{target.name}.part")
    failures = []
    if target.is_file():
        found = checksum(target, remote.digest)
        if remote.digest in (None, found):
            return target
        failures.append(f"the file there: expected {remote.digest}, found {found}")
    for url in remote.urls:
        fresh = not part.exists()
        transfer = ResumingDownload(part, remote.digest)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(url, remote.digest, target.name, target.parent, downloader=transfer)
            return target
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures.append(f"{url}: {reason(error)}")
            if remote.digest is None:
                part.unlink(missing_ok=True)  # another mirror's file may not be the same one
        except ValueError:
            if transfer.found is None:
                raise
            if not fresh:
                return download(remote, folder)  # the part was of something else, and is gone
            failures.append(f"{url}: expected {remote.digest}, found {transfer.found}")
        except OSError as error:
            raise OSError(
                f"cannot write {target}: {error.strerror or error}; free space or choose another "
                "folder with --out"
            ) from error
    kept = (
        f"{part.stat().st_size:,} bytes are kept in {part} and the next run continues from there"
        if part.exists()
        else "nothing is kept"
    )
    raise ConnectionError(
        f"{target} could not be downloaded ({'; '.join(failures)}); {kept}; "
        f"or put {Path(remote.path).name} into a folder and name that with --raw"
    )


class ResumingDownload:
    """A downloader for pooch that continues a partial file and survives cut connections.

    Args:
        part: The partial file.
        digest: The expected checksum, as in `Remote`.
    """

    def __init__(self, part: Path, digest: str | None) -> None:
        self.part = part
        self.digest = digest
        self.found: str | None = None

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests
        import urllib3

        for attempt in range(1, ATTEMPTS + 1):
            before = size(self.part)
            try:
                self.transfer(url)
                break
            except (requests.RequestException, urllib3.exceptions.HTTPError):
                if attempt == ATTEMPTS or size(self.part) == before:
                    raise
        self.found = checksum(self.part, self.digest)
        os.replace(self.part, output_file)

    def transfer(self, url: str) -> None:
        """Append what is missing to the partial file, or start it anew if the server insists."""
        import requests
        from tqdm import tqdm

        done = size(self.part)
        # Ask for the bytes as they are: a server that unpacks .gz would change the checksum.
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink(missing_ok=True)  # it is not the beginning of this file
                self.transfer(url)
                return
            response.raise_for_status()
            continued = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            start = done if continued else 0
            length = response.headers.get("Content-Length")
            total = None if length is None else start + int(length)
            with (
                open(self.part, "ab" if continued else "wb") as stream,
                tqdm(
                    desc=self.part.stem, initial=start, total=total, unit="B", unit_scale=True
                ) as bar,
            ):
                for piece in response.raw.stream(CHUNK, decode_content=False):
                    stream.write(piece)
                    bar.update(len(piece))


def checksum(path: Path, digest: str | None) -> str:
    """The file's checksum, of the kind of `digest` (SHA-256 where that is None)."""
    kind = "sha256" if digest is None else digest.partition(":")[0]
    with open(path, "rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


def size(path: Path) -> int:
    """Bytes in a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason}"
    cause = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__
    return " ".join(f"{type(cause).__name__} {cause}".split())[:120]
