"""Where a number comes from: the machine, the versions, the commit, and the code behind it."""

from __future__ import annotations

__all__ = ["commit", "device_name", "module_digests", "versions"]

import hashlib
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch

import multielbo
from multielbo import digests

PACKAGE = Path(__file__).resolve().parents[1]


def device_name(device: torch.device | str) -> str:
    """The machine as a caption names it, such as `"AMD EPYC 2 threads"` or `"NVIDIA H200"`."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()} {threads} thread{'s' if threads > 1 else ''}"


def versions() -> dict[str, str]:
    """Of Python, torch and multielbo."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "multielbo": multielbo.__version__,
    }


def commit(package: Path = PACKAGE) -> dict[str, str | bool | None]:
    """The commit that holds the package, and whether the package differs from it.

    Both are None where git is absent, or where the package lies in a repository that is not its
    own, as an installed one may.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    head, status = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", ".")
    return {"commit": head, "dirty": None if head is None or status is None else bool(status)}


def module_digests(modules: Iterable[str]) -> dict[str, str]:
    """Digest of every multielbo module that `modules` reach, each of its own code alone.

    Raises:
        ValueError: A module does not exist.
    """
    reached = digests.reachable_modules(*modules)
    # The package's own file holds its version, which decides no number.
    return {name: _own_digest(name) for name in reached if name != "multielbo"}


def _own_digest(module: str) -> str:
    return _source_digest(Path(find_spec(module).origin).read_text(encoding="utf-8"))


@lru_cache(maxsize=1024)  # by the text: a table of many records asks for the same modules
def _source_digest(source: str) -> str:
    return hashlib.sha256(digests.canonical(source).encode()).hexdigest()[:16]


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    text = described.read_text(encoding="utf-8") if described.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    return re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|\s+@.*|\s+(?=\s)", "", name).strip()


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers in `folder`, or None where it cannot."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
