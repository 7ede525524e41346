"""Executes one notebook: papermill runs it if its code changed, otherwise it keeps its outputs.

A notebook in `notebooks/` is text without outputs; its executed twin in `book/chapters/` is a page
of the book. The twin carries the digest of all that its outputs rest on: its own code, the modules
of this package that it reaches, the records it can read, its parameters and the versions of the
numerical packages. While the digest stands, only prose and comments of the twin are renewed.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from multielbo.publishing.notebooks import (
    check_parameters,
    first_line,
    notebook_digest,
    package_versions,
    python_cells,
)

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Execution", "NotebookError", "execute"]


class NotebookError(RuntimeError):
    """A cell failed; the message is one line that names the notebook, the cell and the error."""


@dataclass(frozen=True)
class Execution:
    """What became of a notebook; `seconds` is what its outputs took to make, now or earlier."""

    executed: bool
    seconds: float


def execute(
    notebook: Path, out: Path, parameters: Mapping[str, object], root: Path | None = None
) -> Execution:
    """Bring the executed twin of a notebook up to date, executing it only if it must be.

    Args:
        notebook: Source in jupytext's percent format.
        out: The twin, an `.ipynb`; it is replaced in one step or not touched.
        parameters: Values for names that the cell tagged `parameters` assigns.
        root: Folder the notebook runs in; by default the current one.

    Raises:
        ValueError: A parameter is unknown, or a cell is not Python.
        NotebookError: A cell failed.
        OSError: The twin cannot be written.
    """
    import jupytext

    root = root or Path.cwd()
    name = notebook.relative_to(root).as_posix() if notebook.is_relative_to(root) else str(notebook)
    page = jupytext.read(notebook)
    cells = python_cells(page, name)
    check_parameters(cells, parameters, name)
    digest = notebook_digest(cells, parameters, root)
    with _writing(out):
        # Before the work, so that no run is lost for want of a folder.
        out.parent.mkdir(parents=True, exist_ok=True)
    source = _cached(out, digest, len(cells))
    executed = source is None
    if source is None:
        source = _run(page, parameters, name, root)
        source.metadata["multielbo"]["digest"] = digest
    with _writing(out):
        _replace(out, _with_outputs(page, source))
    return Execution(executed, source.metadata["multielbo"]["seconds"])


def _run(
    page: NotebookNode, parameters: Mapping[str, object], name: str, root: Path
) -> NotebookNode:
    import papermill
    from nbclient.exceptions import DeadKernelError

    trace = root / "build" / "executed" / f"{Path(name).parent.name}-{Path(name).stem}.ipynb"
    with _writing(trace):
        trace.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        executed = papermill.execute_notebook(
            deepcopy(page),
            trace,
            dict(parameters),
            kernel_name="python3",
            language="python",
            cwd=root,
            progress_bar=False,
            # What goes wrong in a cell comes back as a message. A kernel's log only remarks that
            # its connection is not encrypted, and that it was interrupted to be shut down.
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
    except papermill.PapermillExecutionError as error:
        cause = " ".join(f"{error.ename}: {error.evalue}".split())
        raise NotebookError(
            f"{name}: cell '{first_line(error.source)}' failed with {cause} "
            f"(traceback in build/executed/{trace.name})"
        ) from None
    except DeadKernelError:
        raise NotebookError(f"{name}: the kernel died: it may have run out of memory") from None
    executed.metadata["multielbo"] = {
        "parameters": dict(parameters),
        "seconds": round(time.monotonic() - started, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": _device(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": package_versions(),
    }
    return executed


def _with_outputs(page: NotebookNode, source: NotebookNode) -> NotebookNode:
    """The page as it is written now, with outputs and injected parameters of an execution."""
    injected = [cell for cell in source.cells if _is_injected(cell)]
    executed = iter(_code_cells(source))
    cells = []
    for cell in deepcopy(page.cells):
        cells.append(cell)
        if cell.cell_type == "code":
            made = next(executed)
            cell.outputs, cell.execution_count = made.outputs, made.execution_count
            if "parameters" in cell.metadata.get("tags", ()):
                cells += injected
    for cell in injected:
        cell.metadata = {"tags": ["injected-parameters", "remove-cell"]}
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    result = deepcopy(page)
    result.cells = cells
    result.metadata.update(
        {key: source.metadata[key] for key in ("language_info", "multielbo")},
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
    )
    return result


def _cached(out: Path, digest: str, code_cells: int) -> NotebookNode | None:
    import nbformat

    if not out.is_file():
        return None
    try:
        twin = nbformat.read(out, as_version=4)
    except (ValueError, AttributeError):
        # A file that is no notebook was not written here: it is made anew.
        return None
    fresh = twin.metadata.get("multielbo", {}).get("digest") == digest
    return twin if fresh and len(_code_cells(twin)) == code_cells else None


def _replace(out: Path, page: NotebookNode) -> None:
    import nbformat

    text = nbformat.writes(page) + "\n"
    if out.is_file() and out.read_text(encoding="utf-8") == text:
        return
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {out} ({error.strerror}): make room or choose a folder you may write to",
        ) from error


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and not _is_injected(cell)]


def _is_injected(cell: NotebookNode) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", ())


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
