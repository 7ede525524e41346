"""What a notebook's outputs rest on: code, the modules and records it reaches, its parameters."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from multielbo.digests import canonical, code_digest, reachable_modules

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = [
    "Cell",
    "check_parameters",
    "first_line",
    "notebook_digest",
    "package_versions",
    "python_cells",
]

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
# What a page reads from the book's folders, by the module that reads it.
EVIDENCE = {
    "multielbo.records": "results/**/record.json",
    "multielbo.scoreboard": "published/*.yml",
    "multielbo.publishing.facts": "facts/*",
}
# Tags that change what a run of the cell does; the others change how the page shows it.
RUNNING_TAGS = {"parameters", "raises-exception", "skip-execution"}


class Cell(NamedTuple):
    """A code cell: `text` is Python, magics turned into the calls that they are."""

    text: str
    tags: frozenset[str]

    @property
    def silent(self) -> bool:
        """Whether a closing semicolon, which no syntax tree shows, keeps the last value back."""
        from IPython.core.displayhook import DisplayHook

        return DisplayHook.semicolon_at_end_of_expression(self.text)


def python_cells(page: NotebookNode, name: str) -> list[Cell]:
    """The code cells of a notebook.

    Raises:
        ValueError: A cell is not Python.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    cells = []
    for cell in page.cells:
        if cell.cell_type == "code":
            text = TransformerManager().transform_cell(cell.source)
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise ValueError(
                    f"{name}: cell '{first_line(cell.source)}' is not Python: {error.msg}"
                ) from error
            cells.append(Cell(text, frozenset(cell.metadata.get("tags", ()))))
    return cells


def check_parameters(cells: list[Cell], parameters: Mapping[str, object], name: str) -> None:
    """Refuse names that the notebook does not have: papermill takes and then ignores them.

    Raises:
        ValueError: The cell tagged `parameters` does not assign a name.
    """
    known = list(_assigned(cells))
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(
                f"{name}: unknown parameter {parameter!r}: "
                f"its cell tagged 'parameters' assigns {', '.join(known) or 'nothing'}"
            )


def notebook_digest(cells: list[Cell], parameters: Mapping[str, object], root: Path) -> str:
    """Digest of all that the outputs of a notebook rest on.

    Args:
        cells: The code cells of the notebook.
        parameters: Those it is executed with.
        root: The repository, whose records, published numbers and facts count if the notebook can
            read them.
    """
    source = "\n".join(cell.text for cell in cells)
    contents = {
        "cells": [
            (canonical(cell.text, interactive=True), cell.silent, sorted(cell.tags & RUNNING_TAGS))
            for cell in cells
        ],
        "modules": code_digest(source=source),
        "evidence": _evidence(root / "book", reachable_modules(source=source)),
        "parameters": dict(parameters),
        "versions": package_versions(),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that make numbers and figures."""
    return {package: version(package) for package in PACKAGES}


def first_line(source: str) -> str:
    """The first line of a cell that is not empty."""
    return next((line for line in source.splitlines() if line.strip()), "")


def _evidence(book: Path, modules: Iterable[str]) -> dict[str, list[str]]:
    """Digests of the files that the modules read; a record holds the hashes of its own arrays."""
    patterns = [pattern for module, pattern in EVIDENCE.items() if module in modules]
    files = sorted(file for pattern in patterns for file in book.glob(pattern))
    return {file.relative_to(book).as_posix(): _digests(file) for file in files}


def _digests(file: Path) -> list[str]:
    """Of the file and, for a record, of the code that it rests on: a page says if it is fresh."""
    content = file.read_bytes()
    own = hashlib.sha256(content).hexdigest()
    if file.name != "record.json":
        return [own]
    try:
        return [own, code_digest(*json.loads(content)["modules"])]
    except (ValueError, KeyError):
        return [own]  # damaged, or of modules that are gone: the page that reads it will say so


def _assigned(cells: list[Cell]) -> Iterator[str]:
    for cell in cells:
        if "parameters" in cell.tags:
            for statement in ast.parse(cell.text).body:
                targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                yield from (target.id for target in targets if isinstance(target, ast.Name))
