"""Put a function's source on a page, beside the equation that it implements."""

from __future__ import annotations

__all__ = ["show", "source"]

import ast
import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown


def show(*functions: Callable) -> Markdown:
    """The functions' source without docstrings, as one highlighted block."""
    return Markdown("```python\n" + "\n\n".join(source(f) for f in functions) + "\n```")


def source(function: Callable) -> str:
    """Source of a function or class, comments kept and its docstrings cut out."""
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines()
    cut: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        first = node.body[0]
        if (
            len(node.body) > 1
            and isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            end = first.end_lineno
            while not lines[end].strip():  # the blank lines that set the docstring apart go too
                end += 1
            cut.update(range(first.lineno - 1, end))
    return "\n".join(line for number, line in enumerate(lines) if number not in cut)
