"""What became of the records of a queue."""

from __future__ import annotations

__all__ = ["EXPECTED", "Tally"]

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from multielbo.records import Held
from multielbo.train import OutOfTime

# What may end one record and not the queue; anything else is a fault of the queue itself.
EXPECTED = (
    ValueError,
    OSError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    OutOfTime,
    subprocess.TimeoutExpired,
)


@dataclass
class Tally:
    """Names of the records that are there, that failed, and that are left for the next call.

    Attributes:
        done, failed, left: Names.
        out_of_time: Nothing more is to be started.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    out_of_time: bool = False

    def enter(self, name: str, error: Exception | None, say: Callable[[str], None]) -> None:
        """Put down how a record ended.

        Args:
            name: Of the record.
            error: One of `EXPECTED` that ended it, or None if it is done.
            say: Takes the line that says why it is not.
        """
        match error:
            case None:
                self.done.append(name)
            case Held():
                say("left: another process is at it")
                self.left.append(name)
            case OutOfTime() | subprocess.TimeoutExpired():
                say(f"stopped in time: {_one_line(error)}")
                self.left.append(name)
                self.out_of_time = True
            case _:
                say(f"failed: {_one_line(error)}")
                self.failed.append(name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
