"""What commands share: where the repository is, and lines that appear at once."""

from __future__ import annotations

__all__ = ["repository", "say"]

from pathlib import Path


def repository() -> Path:
    """The folder, here or above, that the book lies in.

    Raises:
        FileNotFoundError: There is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "book" / "_toc.yml").is_file():
            return folder
    raise FileNotFoundError(2, "no book/_toc.yml here or above: run from the repository", str(here))


def say(line: str) -> None:
    """Print a line that is seen before the next one is known."""
    print(line, flush=True)
