"""Several workers: busy over the ends of records, and in nobody's way when one fails."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest

from multielbo.experiments import crew, tally, together
from multielbo.experiments.tally import Tally
from multielbo.experiments.together import Opening
from multielbo.records import Held
from multielbo.train import OutOfTime

PATIENCE = 60.0  # seconds, for what does not come


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Workers are threads, so that they see the events of a test."""
    monkeypatch.setattr(crew, "ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(n))


class Made:
    """A stand-in for what a record lacks."""

    def __init__(self, missing=(), run=lambda seed: None, there: bool = True) -> None:
        self.missing, self.run, self.there = tuple(missing), run, there

    def started(self, seed: int) -> str:
        return f"seed {seed} starts"

    def run_elsewhere(self, seed: int) -> SimpleNamespace:
        self.run(seed)
        return SimpleNamespace(seeds=[seed], seconds=[1.0], device="here")

    def finish(self, say, held: Held | None = None) -> None:
        if held and not self.there:
            raise held
        say("record written")


def make(said: list[str], workers: int = 2, **records) -> Tally:
    """Make these records; a function in place of one is called when it is opened."""
    found = Tally()
    openings = [
        Opening(
            name,
            record if callable(record) else lambda record=record: record,
            lambda line, name=name: said.append(f"{name}: {line}"),
        )
        for name, record in records.items()
    ]
    together.together(openings, workers, found)
    return found


def test_workers_stay_busy_over_the_ends_of_records():
    """A seed ends only beside another one; with records one by one an odd seed would be alone."""
    pair = threading.Barrier(2, timeout=PATIENCE)
    run = lambda seed: pair.wait()  # noqa: E731
    records = {"a": Made((0, 1, 2), run), "b": Made((0, 1), run), "c": Made((0,), run)}
    said: list[str] = []
    assert {*make(said, **records).done} == {*"abc"}
    lonely = Made((0, 1, 2), run)
    pair = threading.Barrier(2, timeout=1.0)
    assert make(said, a=lonely).failed == ["a"]


def test_a_record_is_opened_while_the_last_seeds_before_it_still_run():
    opened = threading.Event()
    first = Made((0, 1), lambda seed: opened.wait(PATIENCE) or pytest.fail("it was opened late"))

    def second() -> Made:
        opened.set()
        return Made((0,))

    assert {*make([], a=first, b=second).done} == {*"ab"}


def test_the_most_wanted_come_first_and_what_is_there_is_not_run():
    said: list[str] = []
    nothing, finished = (lambda: None), Made()
    found = make(said, a=Made((1, 0)), b=nothing, c=finished, d=Made((2,)))
    assert found.done[-1] in "ad"
    assert {*found.done} == {*"abcd"}
    assert [line for line in said if "starts" in line] == [
        "a: seed 1 starts",
        "a: seed 0 starts",
        "d: seed 2 starts",
    ]
    assert "c: record written" in said
    assert "b: record written" not in said


def raising(error: BaseException, *unlucky: int):
    def run(seed: int) -> None:
        if seed in unlucky:
            raise error

    return run


def test_a_seed_that_fails_costs_its_record_and_no_other():
    said: list[str] = []
    found = make(said, a=Made((0, 1, 2), raising(ValueError("unlucky\nseed"), 1, 2)), b=Made((0,)))
    assert (found.failed, found.done) == (["a"], ["b"])
    assert "a: seed 0 took 1 s on here" in said, "its other seeds are kept"
    assert "a: failed: unlucky seed" in said
    assert "a: another seed failed too: unlucky seed" in said


def test_a_record_that_cannot_be_opened_or_written_fails_alone():
    def closed() -> None:
        raise FileNotFoundError("no data")

    class Unwritable(Made):
        def finish(self, *_) -> None:
            raise OSError("disk full")

    said: list[str] = []
    found = make(said, a=closed, b=Unwritable((0,)), c=Made((0,)))
    assert (found.failed, found.done) == (["a", "b"], ["c"])
    assert "b: failed: disk full" in said


def test_a_fault_of_the_program_is_not_taken_for_a_failed_record():
    with pytest.raises(KeyError, match="typo"):
        make([], a=Made((0,), raising(KeyError("typo"), 0)), b=Made((0,)))


def test_when_the_time_is_up_nothing_more_starts_and_all_is_left():
    said: list[str] = []
    late = raising(OutOfTime("stopped at step 7"), 0, 1)
    found = make(said, a=Made((0, 1, 2), late), b=pytest.fail, c=pytest.fail)
    assert ({*found.left}, found.done, found.failed) == ({*"abc"}, [], [])
    assert "a: seed 2 starts" not in said
    assert "a: stopped in time: stopped at step 7" in said


def test_a_failure_is_told_although_the_time_is_up_too():
    def run(seed: int) -> None:
        raise OutOfTime("later") if seed else ValueError("broken")

    assert make([], a=Made((0, 1), run)).failed == ["a"]


def test_seeds_that_another_process_makes_are_left_to_it_and_the_queue_goes_on():
    held = raising(Held("seed 0 is being made by process 7"), 0)
    said: list[str] = []
    found = make(said, a=Made((0, 1), held, there=False), b=Made((0,)))
    assert (found.left, found.done) == (["a"], ["b"])
    assert not found.out_of_time
    assert "a: seed 0 is being made by process 7" in said
    assert "a: seed 1 took 1 s on here" in said
    found = make(said, a=Made((0, 1), held, there=True))
    assert found.done == ["a"], "it came in the meantime"


def test_a_process_that_dies_costs_its_own_task_alone(monkeypatch):
    """With real processes; in one pool of two, both tasks would be lost."""
    monkeypatch.undo()
    with crew.Crew(2) as two:
        dying, living = two.submit(os._exit, 1), two.submit(os.getpid)
        assert not two.idle
        ended = []
        while len(ended) < 2:
            ended += two.ended()
        assert isinstance(dying.exception(), BrokenProcessPool)
        assert living.result() != os.getpid()
        again = [two.submit(os.getpid) for _ in range(2)]
        assert len({task.result() for task in again}) == 2


def test_every_way_to_end_a_record_is_put_down_in_one_list():
    for error in (None, Held("x"), OutOfTime("x"), ValueError("x"), RuntimeError("x")):
        found = Tally()
        found.enter("a", error, lambda line: None)
        assert len(found.done + found.failed + found.left) == 1
        assert error is None or isinstance(error, tally.EXPECTED)
