"""Printed numbers, kept as they are printed: the digits say how far each was rounded."""

from __future__ import annotations

__all__ = ["NOT_KNOWN", "Number", "number"]

import re
from dataclasses import dataclass

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Number:
    """A printed number.

    Attributes:
        text: As printed, with its spread.
        value: The number.
        spread: Its standard deviation over runs, or None.
        half_unit: Half a unit of the last printed digit, by which rounding may have moved it.
    """

    text: str
    value: float
    spread: float | None
    half_unit: float


def number(text: str, where: str) -> Number | None:
    """A number as it is printed, such as `0.90 ± 0.01`; None for `not known`.

    >>> number("0.90 ± 0.01", "a table")
    Number(text='0.90 ± 0.01', value=0.9, spread=0.01, half_unit=0.005)

    Raises:
        ValueError: It is not one.
    """
    text = str(text)
    if text == NOT_KNOWN:
        return None
    found = re.fullmatch(r"(-?\d*\.?(\d*))(?: ± (\d*\.?\d+))?", text)
    if not found or not found[1].strip("-."):
        raise ValueError(f"{where}: {text!r} is no number; write '0.90 ± 0.01' or '{NOT_KNOWN}'")
    decimals = len(found[2]) if "." in found[1] else 0
    spread = float(found[3]) if found[3] else None
    return Number(text, float(found[1]), spread, 0.5 * 10.0**-decimals)
