"""The queue of records: most wanted first, stopped in time, nothing done twice."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from multielbo import presets, train
from multielbo.cli import main
from multielbo.data.polydigits import polydigits
from multielbo.experiments import catalogue, crew, making, queue, seeds, sources, status
from multielbo.experiments.catalogue import CATALOGUE, Wanted, named, wanted
from multielbo.experiments.costs import Cost, cost, cpu_hours
from multielbo.experiments.description import asked, described, record_name
from multielbo.experiments.recorded import recorded
from multielbo.presets import PRESETS, preset
from multielbo.records import (
    Held,
    Outcome,
    adapted,
    claim,
    collect,
    complete,
    discard,
    load,
    write,
)
from multielbo.records.locks import alone
from multielbo.setups import polydigits as setup
from multielbo.setups.registry import module_of

TINY = {
    "seeds": (0, 1),
    "epochs": 1,
    "latent_dim": 3,
    "batch_size": 16,
    "classifier_epochs": 1,
    "probe_examples": 50,
    "prior_samples": 20,
    "importance_samples": (2,),
    "likelihood_examples": (4,),
}
SIZES = {"train": 64, "test": 30}
FIRST = Wanted("polydigits", "mopoe", "laptop")
SECOND = Wanted("polydigits", "mopoe", "laptop", beta=0.5, priority=1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Two small records of the embedded data are wanted, and no GPU is there."""
    for profile in ("laptop", "full"):
        small = PRESETS["polydigits", profile] | TINY
        monkeypatch.setitem(PRESETS, ("polydigits", profile), small)
    monkeypatch.setattr(catalogue, "CATALOGUE", (FIRST, SECOND))
    monkeypatch.setattr(setup, "polydigits", lambda split: polydigits(split, SIZES[split]))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(making, "cost", lambda experiment: Cost(1.0, 0.0))
    monkeypatch.delenv("MULTIELBO_DATA", raising=False)
    sources._load.cache_clear()
    yield
    sources._load.cache_clear()


@pytest.fixture
def quick(monkeypatch) -> list[int]:
    """Seeds take no time: a stand-in for training and evaluation, which notes what it runs."""
    run: list[int] = []

    def outcome(experiment, seed, *data, checkpoint, until, progress) -> Outcome:
        run.append(seed)
        return Outcome({"coherence": experiment.beta + seed}, {"draws": np.full(3, seed)}, 120.0)

    judges = SimpleNamespace(accuracy={"m0": 0.9, "m1": 0.8})
    for module in (seeds, making):
        monkeypatch.setattr(module, "kept_judges", lambda *_: judges)
    monkeypatch.setattr(seeds, "outcome", outcome)
    return run


def records(*arguments: object) -> int:
    return main(["records", *map(str, arguments)])


def run(out: Path, *arguments: object) -> int:
    return records("run", *arguments, "--profile", "laptop", "--out", out, "--data", out / "data")


def one_line(capsys, *words: str) -> str:
    """What was told on stderr: one line with these words."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    return lines[0]


# --- the catalogue --------------------------------------------------------------------------------


def test_a_record_is_named_by_its_data_and_model_and_by_a_beta_that_is_not_the_presets():
    usual = preset("polydigits", "mopoe", "laptop")
    assert record_name(usual) == "polydigits/mopoe"
    assert record_name(replace(usual, beta=2.5)) == "polydigits/mopoe/beta-2.5"
    assert record_name(replace(usual, beta=10.0)) == "polydigits/mopoe/beta-10"
    assert record_name(replace(usual, epochs=7)) == "polydigits/mopoe"


@pytest.mark.parametrize("entry", [FIRST, SECOND, Wanted("polydigits", "mvae", "full", 20.0)])
def test_the_catalogue_names_a_record_as_the_record_is_named(entry):
    assert entry.name == record_name(entry.experiment())


def test_a_sweep_does_not_ask_twice_for_the_presets_own_beta(monkeypatch):
    own = preset("polydigits", "mopoe", "laptop").beta
    twice = (FIRST, replace(SECOND, beta=own), SECOND)
    monkeypatch.setattr(catalogue, "CATALOGUE", twice)
    assert wanted("laptop") == (FIRST, SECOND)


def test_the_book_wants_the_same_record_once_and_the_papers_own_first():
    keys = [(entry.name, entry.profile) for entry in CATALOGUE]
    assert len({*keys}) == len(keys)
    first = min((e for e in CATALOGUE if e.profile == "full"), key=lambda e: e.priority)
    assert first.name == "polymnist/mopoe"
    for entry in CATALOGUE:
        if (entry.dataset, entry.profile) in PRESETS:
            assert module_of(entry.experiment().dataset)


def test_a_name_may_be_a_whole_one_or_its_first_parts():
    assert named((FIRST, SECOND), []) == (FIRST, SECOND)
    assert named((FIRST, SECOND), ["polydigits/"]) == (FIRST, SECOND)
    assert named((FIRST, SECOND), ["polydigits/mopoe/beta-0.5"]) == (SECOND,)
    with pytest.raises(ValueError, match=r"none is named 'polydigits/mop'; .* polydigits/mopoe"):
        named((FIRST, SECOND), ["polydigits/mop"])


def test_a_cost_grows_with_epochs_and_examples():
    small = preset("polydigits", "mopoe", "laptop", train_examples=100)
    assert cost(replace(small, epochs=2)).training == 2 * cost(small).training
    assert cost(replace(small, train_examples=300)).training == pytest.approx(
        3 * cost(small).training
    )
    assert cpu_hours(replace(small, seeds=(0, 1, 2, 3))) == 2 * cpu_hours(small)


# --- a run of the queue ---------------------------------------------------------------------------


def test_the_queue_makes_what_is_wanted_once(tmp_path, capsys, quick):
    assert run(tmp_path) == 0
    assert "2 done, 0 failed, 0 left" in capsys.readouterr().out
    folders = [tmp_path / "polydigits" / "mopoe" / part for part in ("", "beta-0.5")]
    assert [load(folder / "laptop")[0].config["beta"] for folder in folders] == [1.0, 0.5]
    assert not unfinished(tmp_path), "parts and checkpoints of finished records are gone"
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.count("fresh in") == 2
    assert run(tmp_path / "other", "--results", tmp_path) == 0
    assert capsys.readouterr().out.count("fresh in") == 2
    assert quick == [0, 1, 0, 1]


def test_judges_are_trained_once_for_all_models_and_again_for_other_data(tmp_path, monkeypatch):
    trained = []
    real = seeds.judges
    monkeypatch.setattr(seeds, "judges", lambda *a: trained.append(a[0].model) or real(*a))
    data = polydigits("train", 64), polydigits("test", 30)
    for model in ("mvae", "mopoe"):
        experiment = preset("polydigits", model, "laptop")
        judges = seeds.kept_judges(experiment, *data, tmp_path)
    assert trained == ["mvae"]
    x = data[1].batch(slice(0, 5))
    again = seeds.kept_judges(experiment, *data, tmp_path)
    assert again.accuracy == judges.accuracy
    assert torch.equal(again(x)["m0"], judges(x)["m0"])
    seeds.kept_judges(experiment, data[0].take(slice(0, 32)), data[1], tmp_path)
    seeds.kept_judges(replace(experiment, classifier_epochs=2), *data, tmp_path)
    assert len(trained) == len(list((tmp_path / ".judges").iterdir())) == 3


def test_of_processes_that_need_judges_at_once_one_trains_them(tmp_path, monkeypatch):
    """In threads, for which the lock is the same."""
    trained = []
    real = seeds.judges
    monkeypatch.setattr(seeds, "judges", lambda *a: trained.append(a) or real(*a))
    data = polydigits("train", 64), polydigits("test", 30)
    experiment = preset("polydigits", "mopoe", "laptop")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(seeds.kept_judges, experiment, *data, tmp_path) for _ in range(2)]
    assert jobs[0].result().accuracy == jobs[1].result().accuracy
    assert len(trained) == 1
    assert len(list((tmp_path / ".judges").iterdir())) == 1


def test_a_seed_that_another_process_makes_is_refused_and_the_queue_leaves_it(
    tmp_path, capsys, quick
):
    """By another holder of the lock; tests/test_locks.py has real processes."""
    experiment = FIRST.experiment()
    seed = ("seed", "polydigits", "mopoe", 0, "--profile", "laptop", "--out")
    with claim(tmp_path / "unfinished", described(experiment), 0):
        assert records(*seed, tmp_path / "unfinished") == 2
        one_line(capsys, "seed 0 of polydigits/mopoe (laptop) is being made by process", "wait")
        assert run(tmp_path) == 3
        told = capsys.readouterr().out
    assert "polydigits/mopoe (laptop): left: another process is at it" in told
    assert "polydigits/mopoe/beta-0.5 (laptop): record written" in told
    assert "1 done, 0 failed, 1 left" in told
    assert quick == [1, 0, 1], "what nobody makes is made"
    assert run(tmp_path, FIRST.name) == 0
    assert quick == [1, 0, 1, 0]


@pytest.mark.parametrize("finished", [True, False])
def test_seeds_that_were_held_may_be_done_in_the_end(tmp_path, quick, finished):
    """Either as parts, so that this process writes the record, or in a record that is written."""
    experiment, said = FIRST.experiment(), []
    places = making.Places(tmp_path, tmp_path / "data", tmp_path)
    wanted = described(experiment)
    found = making.lacking(experiment, wanted, places, "cpu", deadline=float("inf"))
    assert found.missing == (0, 1)
    for seed in found.missing:
        found.run(seed)
    if finished:
        collect(tmp_path, found.asked, places.unfinished)
        discard(places.unfinished, found.asked)
    found.finish(said.append, Held("seed 0 is being made"))
    assert load(tmp_path / "polydigits/mopoe/laptop")[0].digest == found.asked.digest
    shutil.rmtree(tmp_path / "polydigits")
    with pytest.raises(Held):
        found.finish(said.append, Held("seed 0 is being made"))


def unfinished(out: Path) -> list[Path]:
    return [path for path in (out / "unfinished").rglob("*") if path.is_file()]


def test_the_record_of_the_queue_is_that_of_the_notebook_and_of_single_seeds(tmp_path, capsys):
    experiment = preset("polydigits", "mopoe", "laptop")
    data = polydigits("train", SIZES["train"]), polydigits("test", SIZES["test"])
    judges = seeds.kept_judges(experiment, *data, tmp_path / "parts")
    here, arrays = recorded(experiment, tmp_path / "notebook", *data, lambda: judges)

    settings = ("polydigits", "mopoe", "--profile", "laptop")
    parts = tmp_path / "parts"
    for seed in (1, 0):
        assert records("seed", *settings[:2], seed, *settings[2:], "--out", parts) == 0
    assert (parts / "polydigits/mopoe/laptop/seed-1/record.json").is_file()
    out = tmp_path / "merged"
    assert records("merge", *settings, "--parts", parts, "--out", out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "polydigits/mopoe/laptop")
    merged, same = load(out / "polydigits/mopoe/laptop")
    assert merged.digest == here.digest == asked(experiment, *data).digest
    assert merged.metrics == here.metrics
    assert merged.seeds == [0, 1]
    assert "seeds" not in merged.config
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, same[name])
    assert records("status", "--results", out, "--data", tmp_path) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in rows[1:3]] == ["fresh", "missing"]


def stopping_after(steps: int) -> SimpleNamespace:
    """A clock for the trainer by which the time is up after so many steps."""
    readings = iter([0.0] * steps)
    return SimpleNamespace(monotonic=lambda: next(readings, float("inf")))


def test_a_training_that_is_stopped_continues_where_it_was(tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train, "time", stopping_after(6))  # of four steps a seed
        assert run(tmp_path, SECOND.name) == 3
    told = capsys.readouterr().out
    assert "seed 0 took" in told
    assert "polydigits/mopoe/beta-0.5 (laptop): stopped in time" in told
    assert "0 done, 0 failed, 1 left" in told
    assert [path.name[:7] for path in (tmp_path / "unfinished").rglob("seed-*.pt")] == ["seed-1-"]
    steps = []
    real = seeds.run
    monkeypatch.setattr(seeds, "run", lambda *a, **k: steps.append(a[3]) or real(*a, **k))
    assert run(tmp_path, SECOND.name) == 0
    told = capsys.readouterr().out
    assert "seed 1 continues from its checkpoint" in told
    assert steps == [1], "a finished seed is not run again"
    assert not list((tmp_path / "unfinished").rglob("seed-*"))


def test_without_time_to_evaluate_nothing_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(making, "cost", lambda experiment: Cost(1.0, 2.0))
    assert run(tmp_path, "--budget-minutes", "1.5") == 3
    assert "the time left would not do for the evaluation" in capsys.readouterr().out
    assert not unfinished(tmp_path)


def test_the_most_wanted_come_first_and_of_these_the_shortest_if_time_is_short(monkeypatch):
    long, short, later = (replace(FIRST, beta=b, priority=p) for b, p in ((2, 0), (3, 0), (4, 1)))
    minutes = {2: 9.0, 3: 5.0, 4: 1.0}
    monkeypatch.setattr(queue, "cost", lambda experiment: Cost(minutes[experiment.beta], 0.0))

    def order(budget: float) -> list[float]:
        jobs, _ = queue._jobs([later, long, short], budget, "cpu")
        return [job.experiment.beta for job in jobs]

    assert order(100) == [2, 3, 4]
    assert order(20) == [3, 2, 4]


def test_one_record_that_fails_does_not_stop_the_others(tmp_path, capsys, quick, monkeypatch):
    real = seeds.outcome

    def diverging(experiment, *rest, **options):
        if experiment.beta == 1.0:
            raise FloatingPointError("loss is not finite")
        return real(experiment, *rest, **options)

    monkeypatch.setattr(seeds, "outcome", diverging)
    nothing = Wanted("mnist", "mopoe", "laptop")
    monkeypatch.setattr(catalogue, "CATALOGUE", (FIRST, nothing, SECOND))
    assert run(tmp_path) == 1
    told = capsys.readouterr().out
    assert "polydigits/mopoe (laptop): failed: loss is not finite" in told
    assert "mnist/mopoe (laptop): failed: experiments: no preset for 'mnist' (laptop)" in told
    assert "1 done, 2 failed, 0 left" in told


def test_a_crash_loses_no_finished_seed(tmp_path, capsys, quick, monkeypatch):
    real = seeds.outcome

    def crashing(experiment, seed, *rest, **options):
        if seed == 1:
            raise KeyboardInterrupt
        return real(experiment, seed, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(seeds, "outcome", crashing)
        assert run(tmp_path) == 130
    assert run(tmp_path, SECOND.name) == 0
    assert run(tmp_path) == 0
    assert quick == [0, 0, 1, 1]


def test_a_record_that_was_edited_or_half_written_is_made_anew(tmp_path, capsys, quick):
    folder = tmp_path / SECOND.name / "laptop"
    assert run(tmp_path, SECOND.name) == 0
    whole, _ = load(folder)
    file = folder / "record.json"
    file.write_text(file.read_text().replace('"beta": 0.5', '"beta": 0.4'))
    assert run(tmp_path, SECOND.name) == 0
    assert "was changed after it was written" in capsys.readouterr().out
    assert load(folder)[0].metrics == whole.metrics
    (folder / "arrays.npz").unlink()
    assert run(tmp_path, SECOND.name) == 0
    assert "arrays.npz is missing" in capsys.readouterr().out
    assert load(folder)[0].digest == whole.digest
    assert len(quick) == 6


def test_workers_run_the_seeds_of_a_record_at_once(tmp_path, capsys, quick, monkeypatch):
    """In threads here, so that they see this test's small data; what travels can be pickled."""
    shared = making.Seeds(FIRST.experiment(), described(FIRST.experiment()), None, "cpu", 1.0)
    assert pickle.loads(pickle.dumps(shared)) == shared
    done = []

    def part(self, seed: int):
        if seed == 1:
            raise ValueError("seed 1 is unlucky")
        done.append(seed)
        return SimpleNamespace(seeds=[seed], seconds=[1.0], device="here")

    monkeypatch.setattr(making.Seeds, "run", part)
    monkeypatch.setattr(crew, "ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(n))
    assert run(tmp_path, "polydigits/mopoe/beta-0.5", "--workers", 2) == 1
    told = capsys.readouterr().out
    assert "seed 0 took 1 s on here" in told
    assert "failed: seed 1 is unlucky" in told
    assert done == [0]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_worker_ends_when_its_queue_is_killed(guarded):
    """Of two processes that wait, the one without the guard lives on and has to be killed."""
    program = f"""
import multiprocessing, os, sys, time
from multielbo.experiments.crew import _end_with_parent

def work():
    if {guarded}:
        _end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=work).start()
    time.sleep(600)
"""
    queue = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(queue.stdout.readline())
    queue.kill()
    queue.wait()
    queue.stdout.close()
    ended = _ended(worker, seconds=10.0 if guarded else 1.0)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended is guarded


def _ended(process: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to see processes in")
def test_processes_can_be_seen():
    assert not _ended(os.getpid(), seconds=0.1)


def test_a_worker_refuses_code_that_is_not_what_the_queue_started_with():
    other = replace(described(FIRST.experiment()), code={"multielbo.train": "0" * 16})
    shared = making.Seeds(FIRST.experiment(), other, None, "cpu", 1.0)
    with pytest.raises(ValueError, match="the code was changed while the queue ran"):
        shared.run_elsewhere(0)


# --- what the user may get wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["polydigits/mopeo"], "none is named 'polydigits/mopeo'"),
        (["--budget-minutes", "0"], "a budget of 0 minutes"),
        (["--budget-minutes", "nan"], "a budget of nan minutes"),
        (["--workers", "0"], "0 workers"),
        (["--profile", "quick"], "quick runs are not recorded"),
        (["--profile", "fast"], "unknown profile 'fast'"),
    ],
)
def test_a_wrong_order_is_refused_in_one_line(tmp_path, capsys, arguments, word):
    settings = ["--profile", "laptop", "--out", str(tmp_path), *arguments]
    assert records("run", *settings) == 2
    one_line(capsys, word)
    assert not list(tmp_path.iterdir())


def test_a_full_record_on_a_cpu_is_refused_with_the_hours_and_can_be_allowed(
    tmp_path, capsys, quick, monkeypatch
):
    monkeypatch.setattr(catalogue, "CATALOGUE", (replace(FIRST, profile="full"),))
    monkeypatch.setattr(queue, "cpu_hours", lambda experiment: 31.0)
    full = ("run", "--profile", "full", "--out", tmp_path, "--data", tmp_path)
    assert records(*full) == 2
    one_line(capsys, "about 31 h on this CPU", "--allow-cpu")
    assert records(*full, "--allow-cpu") == 0
    assert load(tmp_path / "polydigits/mopoe/full")[0].profile == "full"
    assert records("seed", "polydigits", "mvae", 0, "--profile", "full", "--out", tmp_path) == 2
    one_line(capsys, "h on this CPU", "--allow-cpu")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["mnist", "mopoe", "0"], "no preset for 'mnist'"),
        (["polydigits", "mopeo", "0"], "no model 'mopeo'"),
        (["polydigits", "mopoe", "7"], "seed 7 is not one of its seeds 0, 1"),
    ],
)
def test_a_seed_of_nothing_is_refused_in_one_line(tmp_path, capsys, arguments, word):
    assert records("seed", *arguments, "--profile", "laptop", "--out", tmp_path) == 2
    one_line(capsys, word)


def test_parts_that_do_not_make_a_record_are_refused_in_one_line(tmp_path, capsys):
    settings = ("polydigits", "mopoe", "--profile", "laptop")
    merge = ("merge", *settings, "--parts", tmp_path, "--out", tmp_path / "out")
    assert records(*merge) == 2
    one_line(capsys, "no part for seed 0, 1")
    part = forged(FIRST, tmp_path, seeds=[0], folder="polydigits/mopoe/laptop/seed-0")
    assert records(*merge) == 2
    one_line(capsys, "no part for seed 1")
    forged(FIRST, tmp_path, seeds=[1], folder=part.parent / "seed-1", dataset=("x", "e" * 64))
    assert records(*merge) == 2
    one_line(capsys, "seed-1 is of another run: data 'x' changed")
    file = part / "record.json"
    file.write_text(file.read_text().replace("0.5", "0.6"))
    assert records(*merge) == 2
    one_line(capsys, "seed-0/record.json was changed after it was written")
    assert not (tmp_path / "out").exists()


def forged(entry: Wanted, root: Path, *, folder, seeds=(0, 1), dataset=("x", "d" * 64)) -> Path:
    """A record of that run on these data, with a number for every seed."""
    record = adapted(described(entry.experiment()), seeds=seeds, dataset=dataset)
    write(root / folder, complete(record, [{"coherence": 0.5}] * len(seeds), [120.0] * len(seeds)))
    return root / folder


# --- status ---------------------------------------------------------------------------------------


@pytest.fixture
def away(monkeypatch) -> Wanted:
    """A record of data that have to be prepared, and are not here."""
    small = PRESETS["polymnist", "laptop"] | {"seeds": (0, 1)}
    monkeypatch.setitem(PRESETS, ("polymnist", "laptop"), small)
    entry = Wanted("polymnist", "mopoe", "laptop")
    monkeypatch.setattr(catalogue, "CATALOGUE", (entry,))
    return entry


def test_without_the_data_a_record_is_judged_by_code_and_settings(tmp_path, away):
    row = status.rows([away], tmp_path, tmp_path)[0]
    assert row[2:6] == ("missing", "", 0, 2)
    forged(away, tmp_path, folder="polymnist/mopoe/laptop")
    row = status.rows([away], tmp_path, tmp_path)[0]
    assert row[2:] == ("fresh", status.NOT_HERE, 2, 2, 0.0)


def test_a_fresh_record_does_not_ask_for_its_data(tmp_path, away, capsys):
    forged(away, tmp_path, folder="polymnist/mopoe/laptop")
    assert run(tmp_path) == 0
    assert "fresh in" in capsys.readouterr().out


def test_the_time_of_an_earlier_run_takes_the_place_of_the_estimate(tmp_path, away, monkeypatch):
    folder = forged(away, tmp_path, folder="polymnist/mopoe/laptop")
    monkeypatch.setitem(presets.PRESETS["polymnist", "laptop"], "epochs", 6)
    row = status.rows([away], tmp_path, tmp_path)[0]
    assert row[2:] == ("stale", "setting 'epochs' changed", 0, 2, 4.0)
    shutil.rmtree(folder)
    row = status.rows([away], tmp_path, tmp_path)[0]
    assert row.minutes == pytest.approx(2 * sum(cost(away.experiment())))


def test_seeds_that_are_done_are_counted(tmp_path, away):
    forged(away, tmp_path, seeds=[1], folder="unfinished/polymnist/mopoe/laptop/seed-1")
    row = status.rows([away], tmp_path, None, tmp_path / "unfinished")[0]
    assert row[2:] == ("missing", "", 1, 2, 2.0)


@pytest.mark.parametrize("harm", ["edited", "moved", "half-written"])
def test_a_record_that_is_not_what_it_says_is_stale_and_the_reason_is_told(tmp_path, away, harm):
    folder = forged(away, tmp_path, folder="polymnist/mopoe/laptop")
    if harm == "edited":
        file = folder / "record.json"
        file.write_text(file.read_text().replace("0.5", "0.9"))
        reason = "was changed after it was written"
    elif harm == "moved":
        shutil.rmtree(folder)
        other = Wanted("polymnist", "mvae", "laptop")
        forged(other, tmp_path, folder="polymnist/mopoe/laptop")
        reason = "it is the record of polymnist/mvae (laptop)"
    else:
        (folder / "record.json").unlink()
        reason = "there is no record"
    row = status.rows([away], tmp_path, tmp_path)[0]
    assert row.state == "stale"
    assert reason in row.why


def test_the_table_has_a_line_for_each_record_and_one_for_what_is_left():
    done = status.Row("a/b", "laptop", "fresh", "", 3, 3, 0.0)
    stale = status.Row("a/longer", "full", "stale", "seeds changed", 1, 5, 12.4)
    no_preset = status.Row("c/d", "full", "missing", "no preset", 0, 0, None)
    assert status.table([done, stale, no_preset]).splitlines() == [
        "record    profile  state    seeds  minutes  why",
        "a/b       laptop   fresh      3/3        0",
        "a/longer  full     stale      1/5       12  seeds changed",
        "c/d       full     missing    0/0        ?  no preset",
        "full: 2 to run, about 12 GPU minutes (estimated)",
    ]


# --- data on the spot -----------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository whose script for polymnist does what its --raw folder says."""
    folder = tmp_path / "repository" / "data_scripts"
    folder.mkdir(parents=True)
    (folder / "polymnist.py").write_text(
        "import pathlib, sys, time\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "raw = pathlib.Path(options['--raw'])\n"
        "if raw.name == 'slow': time.sleep(60)\n"
        "if raw.name == 'wrong': sys.exit('progress\\nerror: m1 is damaged')\n"
        "pathlib.Path(options['--out'], 'made').write_text('')\n"
    )
    return folder.parent


def test_data_are_prepared_by_their_script(tmp_path, repository):
    sources.prepare("polymnist", tmp_path, [tmp_path / "raw"], repository)
    assert (tmp_path / "made").is_file()


def test_data_that_cannot_be_prepared_are_told_in_the_scripts_own_words(tmp_path, repository):
    with pytest.raises(sources.Unprepared, match=r"polymnist.py could not .*: error: m1 is dam"):
        sources.prepare("polymnist", tmp_path, [tmp_path / "wrong"], repository)
    with pytest.raises(subprocess.TimeoutExpired):
        sources.prepare("polymnist", tmp_path, [tmp_path / "slow"], repository, timeout=0.5)
    with pytest.raises(sources.Unprepared, match="run from the repository"):
        sources.prepare("polymnist", tmp_path, [], tmp_path)


def test_data_that_another_process_prepares_are_left_to_it(tmp_path, away, repository, quick):
    said: list[str] = []
    places = making.Places(tmp_path, tmp_path / "data", repository, raw=(tmp_path / "raw",))
    with alone(tmp_path / "data" / ".polymnist.claim", "it"):
        tally = queue.work([away, FIRST], places, minutes=5, say=said.append)
    assert (tally.left, tally.done) == (["polymnist/mopoe (laptop)"], ["polydigits/mopoe (laptop)"])
    assert "polymnist/mopoe (laptop): left: another process is at it" in said
    assert not (tmp_path / "data" / "made").exists()


def test_missing_data_cost_one_record_and_not_the_queue(tmp_path, away, repository, quick):
    said: list[str] = []
    wrong = making.Places(tmp_path, tmp_path, repository, raw=(tmp_path / "wrong",))
    tally = queue.work([away, FIRST], wrong, minutes=5, say=said.append)
    assert tally.failed == ["polymnist/mopoe (laptop)"]
    assert tally.done == ["polydigits/mopoe (laptop)"]
    assert any("error: m1 is damaged" in line for line in said)
    assert not any("\n" in line for line in said)


BARE = """
import importlib.abc, json, pathlib, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"no {{name}} here", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, "data_scripts")
import mnist, polymnist
from fetch import Remote, obtain
from multielbo.cli import main
from multielbo.experiments import catalogue, queue
print(json.dumps({{name: remote.digest for name, remote in mnist.mnist_remotes().items()}}))
print(obtain(polymnist.PORTRAIT, [pathlib.Path({folder!r})], None))
catalogue.CATALOGUE = catalogue.CATALOGUE[:1]
nowhere = str(pathlib.Path({folder!r}, "records"))
sys.exit(main(["records", "status", "--data", {folder!r}, "--results", nowhere]))
"""
ABSENT = {
    *("pooch", "requests", "torchvision", "urllib3", "matplotlib", "seaborn", "plotly", "yaml"),
    *("papermill", "jupytext", "nbformat", "nbclient", "sphinx", "IPython", "ipykernel", "ot"),
    "zuko",
}


def test_a_model_in_stages_is_given_more_time_to_train_and_to_be_evaluated():
    mopoe, jnf = (cost(preset("polymnist", model, "laptop")) for model in ("mopoe", "jnf"))
    assert jnf.training > mopoe.training
    assert jnf.evaluation > mopoe.evaluation


def test_a_bare_machine_can_build_and_run(root, tmp_path):
    """What only downloads, plots or renders is absent there; md5s are those of torchvision."""
    from multielbo.data.pictures import portrait

    (tmp_path / "backgrounds").mkdir()
    shutil.copy(portrait(), tmp_path / "backgrounds")
    program = BARE.format(absent=ABSENT, folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    digests, picture, *rest = done.stdout.splitlines()
    assert picture == str(tmp_path / "backgrounds" / "grace_hopper.jpg")
    assert rest[-1].startswith("laptop: 1 to run")
    listed = (
        "import sys; sys.path.insert(0, 'data_scripts'); import json; "
        "from torchvision_import import torchvision_datasets; "
        "print(json.dumps(torchvision_datasets().MNIST.resources))"
    )
    known = subprocess.run(
        [sys.executable, "-c", listed], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(digests) == {name: f"md5:{md5}" for name, md5 in json.loads(known.stdout)}
