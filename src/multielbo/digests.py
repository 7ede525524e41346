"""Digests of code: they change when behaviour may change, and never for a comment.

A notebook is executed again, and a record of a run turns stale, when the code they rest on changes.
Hashing file bytes would turn a corrected typo into hours of training; hashing only the file at hand
would miss a change two imports away. So we hash the syntax trees, without docstrings, of the given
code and of every `multielbo` module that it imports, directly or not.

The trees are written out by `canonical`, not by `ast.dump` or `ast.unparse`: these differ between
versions of Python (new empty fields such as `type_params`, other quotes in f-strings), and a record
made on one machine has to be recognised on another.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

__all__ = ["canonical", "code_digest", "imported_modules", "reachable_modules"]

PACKAGE = "multielbo"
SOURCE = Path(__file__).resolve().parents[1]


def code_digest(*modules: str, source: str = "", root: Path | None = None) -> str:
    """Digest of the meaning of code and of every `multielbo` module it can reach.

    Args:
        modules: Full names, such as `"multielbo.objectives"`.
        source: Python text that is digested along with the modules.
        root: Folder that holds the package; by default the one this module was loaded from.

    Returns:
        A sha256 in hexadecimal digits, the same on every machine and Python version.

    Raises:
        ValueError: A module has no file under `root`.
    """
    digest = hashlib.sha256(canonical(source).encode())
    for name in reachable_modules(*modules, source=source, root=root):
        digest.update(f"\n{name}\n{canonical(_read(name, root))}".encode())
    return digest.hexdigest()


def reachable_modules(*modules: str, source: str = "", root: Path | None = None) -> tuple[str, ...]:
    """Names of the given modules and of all that they and `source` import, directly or not.

    Raises:
        ValueError: A module has no file under `root`.
    """
    for name in modules:
        if _file(name, root) is None:
            raise ValueError(f"there is no module {name!r} under {root or SOURCE}: check its name")
    reached: set[str] = set()
    waiting = [*_with_parents(modules), *imported_modules(source, root=root)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imported_modules(_read(name, root), module=name, root=root)
    return tuple(sorted(reached))


def imported_modules(source: str, module: str = "", root: Path | None = None) -> tuple[str, ...]:
    """Names of the `multielbo` modules that Python text imports itself, packages included.

    Imports inside functions count, those under `if TYPE_CHECKING:` do not: they never run.

    Args:
        source: Python text.
        module: Name of the module that the text is, which relative imports start from.
        root: Folder that holds the package; by default the one this module was loaded from.
    """
    file = _file(module, root)
    is_package = file is not None and file.name == "__init__.py"
    names = _names(source, module if is_package else module.rpartition(".")[0])
    existing = {name for name in names if _file(name, root) is not None}
    return tuple(sorted(_with_parents(existing)))


def canonical(source: str, *, interactive: bool = False) -> str:
    """Text that two sources share exactly if they have the same meaning to Python.

    Comments, layout, docstrings and other strings that stand alone leave no trace.

    Args:
        source: Python text.
        interactive: Keep strings that stand alone at top level, because a notebook shows them.
    """
    tree = ast.parse(source)
    return f"[{','.join(_write(child) for child in tree.body if interactive or not _idle(child))}]"


def _write(value: object) -> str:
    if isinstance(value, ast.JoinedStr):
        value = ast.JoinedStr(values=_merged(value.values))
    if isinstance(value, ast.AST):
        # Empty fields are left out, so that a field added by a later Python changes nothing.
        fields = (
            f"{name}={_write(child)}"
            for name, child in ast.iter_fields(value)
            if child is not None and child != [] and name not in ("kind", "type_comment")
        )
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(_write(child) for child in value if not _idle(child))}]"
    # ascii, because which characters repr escapes depends on the Unicode tables of a Python.
    return ascii(value)


def _idle(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    # Some versions of Python split the literal part of an f-string or add an empty one.
    merged: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and not value.value:
            continue
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(value=last.value + value.value)
        else:
            merged.append(value)
    return merged


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    skipped: list[ast.stmt] = []
    if isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    ):
        skipped = node.body
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _executed(child)


@lru_cache(maxsize=1024)  # by the text, so that a changed file is read as it is now
def _names(source: str, package: str) -> frozenset[str]:
    """All that Python text may import, by full names; relative ones start from `package`."""
    executed = _executed(ast.parse(source))
    return frozenset(name for node in executed for name in _named(node, package))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        if called in ("import_module", "__import__"):
            yield str(node.args[0].value)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _with_parents(names: Iterable[str]) -> set[str]:
    return {
        ".".join(name.split(".")[: depth + 1])
        for name in names
        for depth in range(name.count(".") + 1)
    }


def _file(name: str, root: Path | None) -> Path | None:
    if name.split(".")[0] != PACKAGE:
        return None
    path = (root or SOURCE).joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _read(name: str, root: Path | None) -> str:
    file = _file(name, root)
    return file.read_text(encoding="utf-8") if file else ""
