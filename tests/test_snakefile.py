"""The grid on its engine: the catalogue's jobs, here and on a cluster, and jobs that are lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tiny_grid
from multielbo.experiments.catalogue import named, wanted
from multielbo.records import load
from slurm_node import no_slurm, slurm_node

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "tiny_grid.smk"
ONE = "polydigits/mopoe/beta-0.5"  # the record that runs; both are planned
RECORD = f"build/grid/{ONE}/laptop/record.json"
PARTS = f"build/grid/unfinished/{ONE}/laptop"
MARKS = f"build/grid/unfinished/.grid/{ONE}/laptop"
LIMIT = 420  # seconds; some faults of the engine make it wait without end
SLURM = (
    *("--workflow-profile", str(ROOT / "workflow" / "profiles" / "slurm")),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--latency-wait", "5"),
)
STARTED, WAITED, RESUMED, ENDED = (
    f"seed 0 {event} after step {step}"
    for event, step in (
        ("starts", 0),
        ("waits", tiny_grid.HELD),
        ("starts", tiny_grid.HELD),
        ("ends", tiny_grid.STEPS),
    )
)

pytestmark = pytest.mark.skipif(
    find_spec("snakemake") is None, reason="snakemake is not installed: the extra grid brings it"
)


def command(folder: Path, *arguments: str, file: Path = TINY, **config: str) -> list[str]:
    """Snakemake in a folder of its own, with the tiny experiments unless told otherwise."""
    if file == TINY:
        config["python"] = f"{sys.executable} {ROOT / 'tests' / 'tiny_grid.py'}"
    return [
        *("timeout", "-k", "5", str(LIMIT)),
        *(sys.executable, "-m", "snakemake", "--snakefile", str(file)),
        *("--directory", str(folder), "--nocolor", *arguments),
        *("--config", *(f"{name}={value}" for name, value in config.items())),
    ]


def engine(folder: Path, *arguments: str, **others) -> str:
    """What a run that succeeds says."""
    with started(folder, *arguments, **others) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


@contextmanager
def started(folder: Path, *arguments: str, **others) -> Iterator[subprocess.Popen]:
    """A run that goes on while the test does, and not longer."""
    with subprocess.Popen(
        command(folder, *arguments, **others),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # nothing where it has ended


def planned(output: str) -> Counter[str]:
    """The jobs that a dry run lists, as their rule with its wildcards."""
    jobs = re.findall(
        r"^(?:local)?rule (\w+):\n(?:    (?!wildcards).*\n)*(?:    wildcards: (.*)\n)?",
        output,
        re.MULTILINE,
    )
    return Counter(f"{rule} {wildcards}".strip() for rule, wildcards in jobs)


def wait(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Until the condition holds; a process that ends before that has failed."""
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def steps(folder: Path) -> list[str]:
    """Where trainings began, waited and ended."""
    file = folder / "steps.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def lose(folder: Path, kill: Callable[[int], object]) -> None:
    """Let the worker that waits be killed, and no other wait in its place."""
    worker = int((folder / "hold-0").read_text(encoding="utf-8"))
    kill(worker)
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < until, "the worker lives on"
        time.sleep(0.1)
    (folder / "hold-0").unlink()


def assert_same(one: Path, other: Path) -> None:
    """Every metric and every array of the two records is equal, bit for bit."""
    (first, first_arrays), (second, second_arrays) = load(one.parent), load(other.parent)
    assert first.digest == second.digest
    assert first.seeds == second.seeds == [0, 1]
    assert first.metrics == second.metrics
    assert first_arrays.keys() == second_arrays.keys()
    for name, array in first_arrays.items():
        np.testing.assert_array_equal(array, second_arrays[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a run in which no job was lost."""
    folder = tmp_path_factory.mktemp("undisturbed")
    engine(folder, "--cores", "2", RECORD)
    return folder


@pytest.fixture
def again(undisturbed, tmp_path) -> Callable[..., Path]:
    """Such a folder in which some seeds have still to run; the first will wait in the middle."""

    def folder(*seeds: int) -> Path:
        copy = tmp_path / "grid"
        shutil.copytree(undisturbed, copy)
        for seed in seeds:
            shutil.rmtree(copy / PARTS / f"seed-{seed}")
            (copy / MARKS / f"seed-{seed}").unlink()
        (copy / RECORD).unlink()
        (copy / "steps.txt").unlink()
        (copy / "hold-0").touch()
        return copy

    return folder


# --- what is planned ------------------------------------------------------------------------------


def test_a_dry_run_lists_exactly_the_jobs_of_the_catalogue(tmp_path):
    names = [entry.name for entry in tiny_grid.WANTED]
    expected = ["all", "data dataset=polydigits", "judges dataset=polydigits"]
    expected += [f"seed record={name}, seed={seed}" for name in names for seed in (0, 1)]
    expected += [f"merge record={name}" for name in names]
    assert planned(engine(tmp_path, "--dry-run", "all")) == Counter(expected)


def test_the_real_catalogue_is_planned_with_the_seeds_and_betas_of_its_presets(tmp_path):
    """Of one data set, whose sweep over beta shares its data and its judges."""
    dataset = "mnist-svhn-text"
    entries = named(wanted("full"), [dataset])
    assert any(entry.beta is not None for entry in entries)
    expected = ["all", f"data dataset={dataset}", f"judges dataset={dataset}"]
    for entry in entries:
        seeds = entry.experiment().seeds
        expected += [f"seed record={entry.name}, seed={seed}" for seed in seeds]
        expected += [f"merge record={entry.name}"]
    config = {"profile": "full", "records": f"[{dataset}]"}
    found = engine(tmp_path, "--dry-run", file=ROOT / "Snakefile", **config)
    assert planned(found) == Counter(expected)


# --- here -----------------------------------------------------------------------------------------


def test_two_cores_make_the_record_and_then_nothing_is_left_to_do(undisturbed):
    assert load((undisturbed / RECORD).parent)[0].seeds == [0, 1]
    expected = [line.replace("seed 0", f"seed {n}") for n in (0, 1) for line in (ENDED, STARTED)]
    assert sorted(steps(undisturbed)) == expected
    assert not planned(engine(undisturbed, "--dry-run", RECORD))


def test_a_killed_worker_goes_on_and_the_order_of_the_seeds_does_not_matter(undisturbed, again):
    """Seed 1 is there long before seed 0, whose worker is killed in the middle."""
    folder = again(0)
    with started(folder, "--cores", "2", RECORD) as process:
        wait(lambda: WAITED in steps(folder), process)
        lose(folder, lambda worker: os.kill(worker, signal.SIGKILL))
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "Trying to restart job" in said
    assert steps(folder) == [STARTED, WAITED, RESUMED, ENDED]
    assert_same(folder / RECORD, undisturbed / RECORD)


# --- on a cluster ---------------------------------------------------------------------------------


@pytest.mark.skipif(bool(no_slurm()), reason=f"no Slurm here: {no_slurm()}")
def test_a_job_that_slurm_loses_in_the_middle_goes_on_and_changes_no_number(undisturbed, again):
    """The same file on a real Slurm of one node; a job is cancelled while it trains."""
    folder = again(0, 1)
    with tempfile.TemporaryDirectory(prefix="slurm-") as state, slurm_node(Path(state)):
        with started(folder, RECORD, *SLURM) as process:
            wait(lambda: WAITED in steps(folder), process)
            before = squeue()
            lose(folder, lambda worker: scancel(before, "_0"))
            said, _ = process.communicate()
        after = squeue()
    print(said, *before, *after, *steps(folder), sep="\n")
    assert process.returncode == 0, said
    assert [line for line in steps(folder) if "seed 0" in line] == [
        STARTED,
        WAITED,
        RESUMED,
        ENDED,
    ]
    assert_same(folder / RECORD, undisturbed / RECORD)


def squeue() -> list[str]:
    """Number, state and rule of every job that Slurm knows."""
    listing = ["squeue", "--states=all", "--noheader", "--sort=i", "--format=%i %T %k"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def scancel(jobs: list[str], end: str) -> None:
    number = next(line.split()[0] for line in jobs if line.endswith(end))
    subprocess.run(["scancel", number], check=True)
