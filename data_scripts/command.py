"""What the commands of this folder share: their options, and one line for each failure."""

from __future__ import annotations

__all__ = ["options", "originals", "report"]

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path


def options(description: str) -> ArgumentParser:
    """A parser with `--raw` and `--out`."""
    parser = ArgumentParser(description=description)
    parser.add_argument(
        "--raw",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder that already holds originals, used where they lie after a check of their "
        "checksums; may be given several times (default: the folders in MULTIELBO_RAW)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("MULTIELBO_DATA", "data")),
        help="where the data go, and downloads into its folder raw (default: MULTIELBO_DATA, data)",
    )
    return parser


def originals(arguments: Namespace) -> list[Path]:
    """The folders of originals that the user named.

    Raises:
        NotADirectoryError: One of them is not there.
    """
    named = os.environ.get("MULTIELBO_RAW", "").split(os.pathsep)
    folders = arguments.raw or [Path(entry) for entry in named if entry]
    for folder in folders:
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{folder} is not a folder: correct --raw (or MULTIELBO_RAW), or leave it out to "
                "download"
            )
    return folders


def report(work: Callable[[], None]) -> int:
    """Run a command and turn what can go wrong with files and servers into one line.

    Returns:
        The exit status: 0, or 2 after a failure, or 130 after an interruption.
    """
    try:
        work()
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted: complete files and the .part files of downloads are kept; "
            "the same command continues from there",
            file=sys.stderr,
        )
        return 130
    return 0
