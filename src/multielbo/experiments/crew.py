"""Processes for a queue: each runs one task at a time, and ends when the queue does."""

from __future__ import annotations

__all__ = ["Crew"]

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context, parent_process


class Crew:
    """Processes that run one task each; if one dies, its own task alone is lost."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stack = ExitStack()

    def __enter__(self) -> Crew:
        self._idle = [self._process() for _ in range(self._size)]
        self._busy: dict[Future, ProcessPoolExecutor] = {}
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def idle(self) -> bool:
        """Whether another task can be taken."""
        return bool(self._idle)

    def submit(self, task: Callable, *arguments: object) -> Future:
        """Let an idle process run a task."""
        process = self._idle.pop()
        future = process.submit(task, *arguments)
        self._busy[future] = process
        return future

    def ended(self) -> Iterator[Future]:
        """Wait until a task ends, and give all that did; their processes are idle again."""
        for future in wait(self._busy, return_when=FIRST_COMPLETED).done:
            process = self._busy.pop(future)
            dead = isinstance(future.exception(), BrokenProcessPool)
            self._idle.append(self._process() if dead else process)
            yield future

    def _process(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent)
        return self._stack.enter_context(pool)


def _end_with_parent() -> None:
    """A worker whose queue was killed would train on unseen, beside the next queue's."""

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
