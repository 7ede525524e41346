"""Small pieces of Markdown that the scoreboard's tables are made of."""

from __future__ import annotations

__all__ = ["BREAK", "cited", "digits", "grid", "mean", "printed", "signed"]

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

BREAK = "<br>"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table.

    >>> print(grid(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cited(cite: str, name: str) -> str:
    """A source: its citation, and its name where it is not the cited paper itself."""
    if not cite:
        return name
    return f"{{cite:t}}`{cite}`" + ("" if name.endswith(")") else f" ({name})")


def printed(text: str) -> str:
    """A number with a minus for its hyphen, breaking before its spread and not within it."""
    return text.replace("-", "−").replace("± ", "±\u00a0")


def mean(values: NDArray[np.float64]) -> str:
    r"""Mean and standard deviation over seeds.

    >>> mean(np.array([0.5, 0.6, 0.7]))
    '0.600 ±\xa00.100'
    """
    places = digits(values.mean())
    spread = f" ± {values.std(ddof=1):.{places}f}" if len(values) > 1 else ""
    return printed(f"{values.mean():.{places}f}{spread}")


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.25), signed(-31.0)
    ('+0.250', '−31.0')
    """
    return printed(f"{value:+.{digits(value)}f}")


def digits(value: float) -> int:
    """Decimals to show: shares in thousandths, nats in tenths."""
    return 3 if abs(value) < 2 else 1
