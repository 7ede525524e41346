"""Of processes that make the same thing, one makes it; and one that dies is in nobody's way."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from multielbo.records import (
    Held,
    Outcome,
    Record,
    claim,
    collect,
    complete,
    describe_run,
    discard,
    finish,
    folders,
    load,
    load_or_run,
    locks,
    part_folder,
    run_part,
    write,
)
from multielbo.records.locks import alone

PATIENCE = 60.0  # seconds, for what does not come
HOLDER = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("locks", sys.argv[1])
locks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locks)
from pathlib import Path
with locks.alone(Path(sys.argv[2]), "it"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(file: Path) -> Iterator[subprocess.Popen]:
    """One that holds a lock until it is killed."""
    command = [sys.executable, "-c", HOLDER, locks.__file__, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def asked(seeds: tuple[int, ...] = (0, 1), epochs: int = 3) -> Record:
    return describe_run(
        "tiny/mopoe",
        profile="laptop",
        config={"epochs": epochs},
        seeds=seeds,
        dataset=("tiny", "d" * 64),
        modules=["multielbo.subsets"],
        device="cpu",
    )


def outcome(seed: int) -> Outcome:
    return Outcome({"coherence": seed / 4}, {"loss": [seed] * 5}, seconds=1.0)


def record(epochs: int) -> Record:
    return complete(asked((0,), epochs), [{"coherence": 0.5}], [1.0])


# --- the lock -------------------------------------------------------------------------------------


def test_a_second_process_is_refused_in_one_line_that_says_who_is_at_it(tmp_path):
    file = tmp_path / "new" / ".lock"
    with another_process(file) as other:
        said = rf"^it is being made by process {other.pid} on \S+ since"
        with pytest.raises(Held, match=said), alone(file, "it"):
            pytest.fail("two are at it")
    with alone(file, "it"):
        assert file.exists()
    assert not file.exists()


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_died_is_nobodys(tmp_path, ends):
    """Wrong twin: by whether the file is there, this one would be locked for ever."""
    file = tmp_path / ".lock"
    with another_process(file) as other:
        other.send_signal(ends)
        other.wait()
        assert file.exists()
        with alone(file, "it"):
            assert f"process {os.getpid()} " in file.read_text()


def test_who_waits_goes_on_when_the_other_dies(tmp_path):
    file = tmp_path / ".lock"
    with another_process(file) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for, file)
        time.sleep(0.2)
        assert not waiting.done()
        other.kill()
        waiting.result(timeout=PATIENCE)


def wait_for(file: Path, *then: threading.Event) -> None:
    """Take a lock as soon as it is free; tell so and keep it until told to go on."""
    with alone(file, "it", wait=True):
        if then:
            inside, go_on = then
            inside.set()
            go_on.wait()


def test_many_that_wait_go_one_at_a_time_although_each_removes_the_file(tmp_path):
    file, inside, most = tmp_path / ".lock", [], []

    def work(_: int) -> None:
        with alone(file, "it", wait=True):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(80)))
    assert max(most) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("looks", [True, False])
def test_who_waited_for_a_file_that_is_gone_waits_for_the_next(tmp_path, monkeypatch, looks):
    """Wrong twin: without looking which file is locked, a third goes beside the second."""
    file = tmp_path / ".lock"
    at_the_door, inside, go_on = (threading.Event() for _ in range(3))
    take = locks._take
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        if not looks:
            patched.setattr(locks, "_is_at", lambda *_: True)
        with alone(file, "it"):
            patched.setattr(locks, "_take", lambda *a: at_the_door.set() or take(*a))
            second = pool.submit(wait_for, file, inside, go_on)
            assert at_the_door.wait(PATIENCE)  # it has opened the file of the first
        assert inside.wait(PATIENCE)
        with pytest.raises(Held) if looks else nullcontext(), alone(file, "it"):
            pass
        patched.undo()
        go_on.set()
        second.result(timeout=PATIENCE)


def test_where_there_are_no_locks_it_warns_and_goes_on(tmp_path, monkeypatch):
    def none(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(locks.fcntl, "flock", none)
        with pytest.warns(RuntimeWarning, match="has no locks"), alone(tmp_path / ".lock", "it"):
            pass
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(RuntimeWarning, match="has no locks"), alone(tmp_path / ".lock", "it"):
        pass


# --- seeds and records ----------------------------------------------------------------------------


def test_a_seed_that_another_process_makes_is_refused_and_made_when_that_one_died(tmp_path):
    parts = tmp_path / "parts"
    claimed = part_folder(parts, asked(), 1).with_name(".seed-1.claim")
    made = []

    def run(seed: int) -> Outcome:
        made.append(seed)
        return outcome(seed)

    with another_process(claimed) as other:
        refused = rf"seed 1 of tiny/mopoe \(laptop\) is being made by process {other.pid} "
        with pytest.raises(Held, match=refused):
            load_or_run(tmp_path / "results", asked(), run, parts=parts)
        with claim(parts, asked(), 0):
            pass  # the other seed is free
    merged, _ = load_or_run(tmp_path / "results", asked(), run, parts=parts)
    assert made == [0, 1]
    assert merged.seeds == [0, 1]


def test_two_that_finish_the_same_record_at_once_both_have_it(tmp_path):
    for seed in (0, 1):
        run_part(tmp_path / "parts", asked(), seed, outcome)
    start = threading.Barrier(4)

    def end(_: int) -> Record:
        start.wait()
        return finish(tmp_path / "results", asked(), tmp_path / "parts")[0]

    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(end, range(4)))
    assert {one.digest for one in records} == {asked().digest}
    assert load(tmp_path / "results/tiny/mopoe/laptop")[0] == records[0]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert [path.name for path in (tmp_path / "results/tiny/mopoe").iterdir()] == ["laptop"]


def test_without_taking_turns_the_second_to_finish_would_find_no_parts(tmp_path):
    """Wrong twin: merging and removing as two steps that anyone may interrupt."""
    for seed in (0, 1):
        run_part(tmp_path / "parts", asked(), seed, outcome)
    collect(tmp_path / "results", asked(), tmp_path / "parts")
    discard(tmp_path / "parts", asked())
    with pytest.raises(ValueError, match="no part for seed 0, 1"):
        collect(tmp_path / "results", asked(), tmp_path / "parts")


# --- a record that is replaced --------------------------------------------------------------------


class Killed(BaseException):
    """No handler catches it, as none sees SIGKILL."""


STEPS = ["mkdir", "fsync", "rename", "rmtree"]


def operations(monkeypatch, killed: int, when: str) -> list[str]:
    """Die before or after the nth file operation of a write, or in the middle of a removal."""
    calls: list[str] = []

    def dying(name: str, real):
        def operation(*arguments, **options):
            calls.append(name)
            last = len(calls) == killed
            if last and name == "rmtree" and Path(arguments[0]).is_dir():
                next(Path(arguments[0]).iterdir()).unlink()
            if last and when == "before":
                raise Killed
            result = real(*arguments, **options)
            if last:
                raise Killed
            return result

        return operation

    for owner, name in zip((Path, os, os, shutil), STEPS, strict=True):
        monkeypatch.setattr(owner, name, dying(name, getattr(owner, name)))
    return calls


def test_a_write_killed_at_any_operation_leaves_the_earlier_record_or_the_new_one(
    tmp_path, monkeypatch
):
    arrays = {"loss": [0.0, 1.0]}
    with monkeypatch.context() as patched:
        write(tmp_path / "counted", record(1), arrays)
        calls = operations(patched, 0, "never")
        write(tmp_path / "counted", record(2), arrays)
    assert {"fsync", "rename", "rmtree"} <= {*calls}
    left = set()
    for killed in range(1, len(calls) + 1):
        for when in ("before", "after"):
            folder = tmp_path / f"{killed}-{when}" / "laptop"
            earlier = write(folder, record(1), arrays)
            with monkeypatch.context() as patched:
                operations(patched, killed, when)
                with pytest.raises(Killed):
                    write(folder, record(2), arrays)
            found, same = load(folder)
            assert found.config["epochs"] in (1, 2)
            assert list(same["loss"]) == arrays["loss"]
            left.add(found.digest == earlier.digest)
            assert load(folder)[0] == found, "reading changes nothing"
            assert write(folder, record(3), arrays) == load(folder)[0]
            assert [path.name for path in folder.parent.iterdir()] == ["laptop"]
    assert left == {True, False}


def test_a_record_that_was_removed_does_not_come_back(tmp_path, monkeypatch):
    """Wrong twin: what a killed write left beside it would be put back as the record."""
    folder = tmp_path / "laptop"
    for remove in (shutil.rmtree, folders.remove):
        write(folder, record(1))
        shutil.copytree(folder, tmp_path / ".laptop.earlier")
        remove(folder)
        if remove is folders.remove:
            with pytest.raises(FileNotFoundError, match="there is no record"):
                load(folder)
            assert not list(tmp_path.iterdir())
        else:
            assert load(folder)[0].config["epochs"] == 1


def between_its_renames(monkeypatch, read, *, ends: bool) -> list:
    """Let somebody read, to the end or not, while a write has moved the earlier record alone."""
    real, read_meanwhile = os.rename, []

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if re.search(r"\.earlier$", str(target)) and not read_meanwhile:
            read_meanwhile.append(pool.submit(read))
            wait(read_meanwhile, timeout=PATIENCE if ends else 0.3)

    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr(os, "rename", rename)
    return read_meanwhile


def test_who_reads_while_a_record_is_replaced_sees_the_new_one(tmp_path, monkeypatch):
    folder = tmp_path / "laptop"
    write(folder, record(1))
    reading = between_its_renames(monkeypatch, lambda: load(folder)[0], ends=False)
    new = write(folder, record(2))
    assert reading[0].result(timeout=PATIENCE) == new
    assert [path.name for path in tmp_path.iterdir()] == ["laptop"]


def test_without_taking_turns_a_reader_would_undo_the_write(tmp_path, monkeypatch):
    """Wrong twin: it takes the move of the earlier record for a write that was killed."""
    folder = tmp_path / "laptop"
    write(folder, record(1))
    monkeypatch.setattr(folders, "alone", lambda *_, **__: nullcontext())
    reading = between_its_renames(monkeypatch, lambda: load(folder)[0], ends=True)
    with pytest.raises(OSError, match="cannot write record"):
        write(folder, record(2))
    assert reading[0].result(timeout=PATIENCE).config["epochs"] == 1


def test_many_may_write_and_read_a_record_at_once(tmp_path):
    folder = tmp_path / "laptop"
    versions = [record(epochs) for epochs in range(4)]
    write(folder, versions[0], {"loss": [0]})

    def use(turn: int) -> bool:
        if turn % 4 == 0:
            write(folder, versions[turn % 3], {"loss": [turn % 3]})
        found, arrays = load(folder)
        return found.config["epochs"] == arrays["loss"][0]

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(use, range(120)))
    assert [path.name for path in tmp_path.iterdir()] == ["laptop"]
