"""One process at a time: a file that the system locks, and unlocks when its process ends.

So a lock cannot outlive who holds it, however that ended. The file says who that is, for others to
read, and is removed when the work is done.
"""

from __future__ import annotations

__all__ = ["Held", "alone"]

import errno
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_WITHOUT = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class Held(OSError):
    """Another process is at it."""


@contextmanager
def alone(file: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Do something that one process may do at a time; where there are no locks, warn and do it.

    Args:
        file: The lock; its folder is made if need be.
        what: What is made, for the error.
        wait: Until nobody else is at it, instead of raising.

    Raises:
        Held: Another process, or another thread, is at it; says which.
        OSError: The file cannot be written.
    """
    if fcntl is None:
        _warn()
        yield
        return
    lock = _locked(file, what, wait)
    try:
        yield
    finally:
        # Removed while it is locked: later, it could be the file of the next to hold it.
        if _is_at(lock, file):
            file.unlink()
        os.close(lock)


def _locked(file: Path, what: str, wait: bool) -> int:
    """The open file, when it is ours."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another process removed the folder, which was empty
        with ExitStack() as unless_ours:
            unless_ours.callback(os.close, lock)
            _take(lock, what, wait)
            if _is_at(lock, file):  # and its last holder has not removed it meanwhile
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                os.ftruncate(lock, 0)
                os.write(lock, f"process {os.getpid()} on {platform.node()} since {since}".encode())
                unless_ours.pop_all()
                return lock


def _take(lock: int, what: str, wait: bool) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
        raise Held(
            f"{what} is being made by {holder}; wait until it is done, end it, or choose another "
            "folder"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise
        _warn()


def _warn() -> None:
    said = "this system, or this file system, has no locks: let one process at a time make records"
    warnings.warn(said, RuntimeWarning, stacklevel=2)


def _is_at(lock: int, file: Path) -> bool:
    """Whether the file of that name is the one that is open."""
    try:
        return os.path.samestat(os.fstat(lock), file.stat())
    except FileNotFoundError:
        return False
