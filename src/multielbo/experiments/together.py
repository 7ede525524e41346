"""Seeds at once, each in a process of its own, of one record after another."""

from __future__ import annotations

__all__ = ["Opening", "together"]

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from multielbo.experiments.crew import Crew
from multielbo.experiments.making import Say, Seeds, finished
from multielbo.experiments.tally import EXPECTED, Tally
from multielbo.records import Held, Record
from multielbo.train import OutOfTime


@dataclass
class Opening:
    """A record of the queue.

    Attributes:
        name: For the tally.
        open: Gives what it lacks, or None if nothing.
        say: Takes one line for each event.
    """

    name: str
    open: Callable[[], Seeds | None]
    say: Say


def together(openings: Iterable[Opening], workers: int, tally: Tally) -> None:
    """Make the records, the first ones first, with a seed for every worker while there are any.

    A record is opened, its data and judges made ready, while the last seeds of the one before are
    still running. One seed that fails costs its own record alone, and after the first that runs out
    of time nothing more is started.

    Args:
        openings: The records.
        workers: Processes.
        tally: Takes what becomes of each.
    """
    closed = deque(openings)
    ready: deque[tuple[_Record, int]] = deque()
    running: dict[Future, tuple[_Record, int]] = {}
    with Crew(workers) as crew:
        while closed or ready or running:
            if tally.out_of_time and (closed or ready):
                tally.left += [opening.name for opening in closed]
                for record, seed in ready:
                    record.put_down(seed, OutOfTime(f"no time is left for seed {seed}"))
                closed.clear()
                ready.clear()
            elif ready and crew.idle:
                record, seed = ready.popleft()
                record.opening.say(record.seeds.started(seed))
                running[crew.submit(record.seeds.run_elsewhere, seed)] = record, seed
            elif closed and not ready:
                record = _Record(closed.popleft(), tally)
                ready.extend((record, seed) for seed in record.opened())
            else:
                for future in crew.ended():
                    record, seed = running.pop(future)
                    record.put_down(seed, future.exception() or future.result())


class _Record:
    """A record while its seeds are run."""

    def __init__(self, opening: Opening, tally: Tally) -> None:
        self.opening, self.tally = opening, tally
        self.seeds: Seeds | None = None
        self.awaited: set[int] = set()
        self.errors: list[Exception] = []

    def opened(self) -> tuple[int, ...]:
        """The seeds to run; if there are none, it is put down as it is."""
        try:
            self.seeds = self.opening.open()
        except EXPECTED as error:
            self._enter(error)
            return ()
        if self.seeds is None:
            self._enter(None)
            return ()
        self.awaited = {*self.seeds.missing}
        if not self.awaited:
            self._finish()
        return self.seeds.missing

    def put_down(self, seed: int, outcome: Record | BaseException) -> None:
        """Take what came of a seed; after the last one the record is finished."""
        match outcome:
            case Held():
                self.opening.say(str(outcome))
            case Exception() if isinstance(outcome, EXPECTED):
                self.tally.out_of_time |= isinstance(outcome, OutOfTime)
            case BaseException():
                raise outcome
            case _:
                self.opening.say(finished(outcome))
        if isinstance(outcome, Exception):
            self.errors.append(outcome)
        self.awaited.remove(seed)
        if not self.awaited:
            self._finish()

    def _finish(self) -> None:
        # What cannot be mended by another call comes first.
        gravest, *others = [*sorted(self.errors, key=_mendable), None]
        for error in others:
            if error is not None and not _mendable(error):
                self.opening.say(f"another seed failed too: {' '.join(str(error).split())}")
        if gravest is None or isinstance(gravest, Held):
            try:
                self.seeds.finish(self.opening.say, gravest)
                gravest = None
            except EXPECTED as error:
                gravest = error
        self._enter(gravest)

    def _enter(self, error: Exception | None) -> None:
        self.tally.enter(self.opening.name, error, self.opening.say)


def _mendable(error: Exception) -> int:
    """How much less it matters than a failure."""
    return isinstance(error, OutOfTime) + 2 * isinstance(error, Held)
