"""The equation ledger: each labelled equation, its page, its functions and its tests.

A label is written `eq-...`: after the equation on one page, in the docstring of a function as
`Equation eq-...`, and in the mark `@pytest.mark.equation("eq-...")` of a test.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Entry", "faults", "read_ledger", "table"]

# A label after a display equation, or as an option of a math directive.
ON_PAGE = re.compile(r"\$\$[ \t]*\(([^)\s]+)\)|^[ \t]*:label:[ \t]*(eq-\S+)", re.MULTILINE)
IN_DOCSTRING = re.compile(r"\bEquation\s+(eq-[a-z0-9]+(?:-[a-z0-9]+)*)")


@dataclass
class Entry:
    """Where a label occurs; a label used twice on one page is there twice."""

    pages: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


def read_ledger(root: Path) -> dict[str, Entry]:
    """Every label found on pages, in docstrings and in test marks, in order of appearance.

    Raises:
        SyntaxError: A file of `notebooks`, `src` or `tests` is not Python.
    """
    ledger: dict[str, Entry] = defaultdict(Entry)
    for page, label in _on_pages(root):
        ledger[label].pages.append(page)
    for function, label in _in_docstrings(root / "src"):
        ledger[label].functions.append(function)
    for test, label in _in_tests(root):
        if test not in ledger[label].tests:
            ledger[label].tests.append(test)
    return dict(ledger)


def faults(ledger: dict[str, Entry]) -> list[str]:
    """One line for each label that is on no page or several, or lacks a function or a test."""
    lines = []
    for label, entry in ledger.items():
        if not label.startswith("eq-"):
            lines.append(f"{label} on {', '.join(entry.pages)}: a label starts with 'eq-'")
            continue
        if len(entry.pages) > 1:
            lines.append(f"{label} is on several pages: {', '.join(entry.pages)}")
        if not entry.pages:
            where = ", ".join(entry.functions + entry.tests)
            lines.append(f"{label} is on no page, but named by {where}")
        if not entry.functions:
            lines.append(f"{label} is named by no docstring under src as 'Equation {label}'")
        if not entry.tests:
            lines.append(f"{label} is marked by no test: @pytest.mark.equation({label!r})")
    return lines


def table(ledger: dict[str, Entry], titles: Mapping[str, str]) -> str:
    """The labels of each page as a MyST section with a table, for the page that includes them.

    Args:
        ledger: As `read_ledger` returns it.
        titles: Of all pages, in the order of the book.
    """
    lines = []
    for page, title in titles.items():
        rows = [
            f"| {{eq}}`{label}` | {_lines(map(_function, entry.functions))} "
            f"| {_lines(map(_claim, entry.tests))} |"
            for label, entry in ledger.items()
            if page in entry.pages
        ]
        if rows:
            lines += [
                f"## {{doc}}`{title} </{page}>`",
                "",
                "| equation | functions | tested claims |",
            ]
            lines += ["| :-- | :-- | :-- |", *rows, ""]
    return "\n".join(lines)


def _function(name: str) -> str:
    return f"`{name.removeprefix('multielbo.')}`"


def _claim(test: str) -> str:
    # The name of a test is a claim, which reads better and breaks better than an identifier.
    file, _, name = test.partition("::")
    return f"{name.removeprefix('test_').replace('_', ' ')} (`{Path(file).stem}`)"


def _lines(parts: Iterable[str]) -> str:
    return " <br> ".join(parts)


def _on_pages(root: Path) -> Iterator[tuple[str, str]]:
    import jupytext

    book, notebooks = root / "book", root / "notebooks"
    generated = book / "chapters"
    for file in sorted(notebooks.rglob("*.py")):
        page = jupytext.read(file)
        text = "\n\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
        name = file.relative_to(notebooks).with_suffix("").as_posix()
        yield from ((f"chapters/{name}", label) for label in _labels(text))
    for file in sorted(book.rglob("*.md")):
        if not file.is_relative_to(generated):
            name = file.relative_to(book).with_suffix("").as_posix()
            yield from ((name, label) for label in _labels(file.read_text(encoding="utf-8")))


def _labels(text: str) -> list[str]:
    return [after or option for after, option in ON_PAGE.findall(text)]


def _in_docstrings(source: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(source.rglob("*.py")):
        module = ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for name, docstring in _documented(ast.parse(file.read_text(encoding="utf-8")), module):
            yield from ((name, label) for label in IN_DOCSTRING.findall(docstring))


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node) if hasattr(node, "body") else None
    if docstring:
        yield name, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _documented(child, f"{name}.{child.name}")


def _in_tests(root: Path) -> Iterator[tuple[str, str]]:
    for file in sorted((root / "tests").rglob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            name = f"{file.relative_to(root).as_posix()}::{getattr(statement, 'name', '')}"
            yield from ((name.removesuffix("::"), label) for label in _marked(statement))


def _marked(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.equation":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))
