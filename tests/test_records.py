"""Records: whole or not at all, verified when read, and honest about how fresh they are."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from multielbo import digests
from multielbo.records import (
    Freshness,
    Outcome,
    Record,
    adapted,
    caption,
    collect,
    complete,
    describe_run,
    discard,
    find,
    freshness,
    load,
    load_or_run,
    merge,
    part_folder,
    provenance,
    read_parts,
    run_part,
    write,
)
from multielbo.records.record import canonical, sha256

DATA = ("tiny", "d" * 64)
CONFIG = {"epochs": 3, "model": {"beta": 0.5, "name": "mopoe"}}
ARRAYS = {"loss": np.linspace(3.0, 1.0, 7), "images": np.arange(48, dtype=np.uint8)}
MODULES = ["multielbo.gaussians", "multielbo.objectives"]


def asked(**changes) -> Record:
    settings = {
        "profile": "laptop",
        "config": CONFIG,
        "seeds": [0, 1, 2],
        "dataset": DATA,
        "modules": MODULES,
        "device": "cpu",
    }
    return describe_run("tiny/mopoe", **{**settings, **changes})


def finished(**changes) -> Record:
    record = asked(**changes)
    metrics = [{"coherence": 0.5 + seed / 8, "by_inputs": [0.1, seed]} for seed in record.seeds]
    return complete(record, metrics, [52.1, 51.9, 52.0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "tiny" / "mopoe"


def assert_one_line(error: pytest.ExceptionInfo, *words: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


# --- written and read -----------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(folder):
    written = write(folder, finished(), ARRAYS)
    record, arrays = load(folder)
    assert record == written
    assert record.metrics == {
        "coherence": [0.5, 0.625, 0.75],
        "by_inputs": [[0.1, 0], [0.1, 1], [0.1, 2]],
    }
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert sorted(file.name for file in folder.iterdir()) == ["arrays.npz", "record.json"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_record_without_arrays_is_one_file(folder):
    write(folder, finished())
    assert [file.name for file in folder.iterdir()] == ["record.json"]
    assert load(folder)[1] == {}


def test_a_record_says_where_its_numbers_come_from():
    record = finished()
    threads = torch.get_num_threads()
    assert re.fullmatch(rf"\S.* {threads} threads?", record.device)
    assert record.versions["torch"] == torch.__version__
    assert record.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(record.code) >= {"multielbo.gaussians", "multielbo.mixtures"}
    assert record.dataset == {"name": "tiny", "sha256": "d" * 64}


def test_the_same_run_has_the_same_digest_and_any_other_has_another(monkeypatch):
    digest = asked().digest
    assert asked(device="cpu").digest == digest
    assert asked(modules=MODULES[::-1], config=dict(reversed(CONFIG.items()))).digest == digest
    others = [
        asked(profile="full"),
        asked(config={**CONFIG, "epochs": 4}),
        asked(seeds=[0, 1]),
        asked(dataset=("tiny", "e" * 64)),
        asked(modules=["multielbo.gaussians"]),
        describe_run(
            "tiny/mvae",
            profile="laptop",
            config=CONFIG,
            seeds=[0, 1, 2],
            dataset=DATA,
            modules=MODULES,
            device="cpu",
        ),
    ]
    assert len({digest, *(other.digest for other in others)}) == 7


def test_find_looks_for_the_digest_and_not_for_the_name(folder):
    record = write(folder, finished(), ARRAYS)
    results = folder.parents[1]
    assert find(results, record.digest) == folder
    assert find(results, asked(seeds=[0]).digest) is None
    assert find(results / "absent", record.digest) is None


# --- changed by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.625", "0.925"), ('"profile": "laptop"', '"profile": "full"'), ("tiny/mopoe", "tiny/mvae")],
)
def test_a_record_edited_by_hand_is_refused_with_both_hashes(folder, old, new):
    write(folder, finished(), ARRAYS)
    file = folder / "record.json"
    expected = json.loads(file.read_text())["sha256"]
    edited = file.read_text().replace(old, new)
    file.write_text(edited)
    values = {key: value for key, value in json.loads(edited).items() if key != "sha256"}
    with pytest.raises(ValueError, match="changed after it was written") as error:
        load(folder)
    assert_one_line(
        error, file, expected, sha256(canonical(values, "")), "run the experiment again"
    )
    with pytest.raises(ValueError, match="changed after it was written"):
        find(folder.parents[1], "0" * 64)


def test_laying_the_file_out_anew_is_not_a_change(folder):
    """Wrong twin: a hash over bytes would refuse a record that git gave other line ends."""
    record = write(folder, finished(), ARRAYS)
    file = folder / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4).replace("\n", "\r\n"))
    assert load(folder)[0] == record


def test_arrays_that_do_not_match_their_hash_are_refused_with_both(folder):
    record = write(folder, finished(), ARRAYS)
    file = folder / "arrays.npz"
    np.savez_compressed(file, **{**ARRAYS, "loss": ARRAYS["loss"] + 1e-9})
    with pytest.raises(ValueError, match="not what the record holds") as error:
        load(folder)
    assert_one_line(error, file, record.arrays["arrays.npz"], sha256(file.read_bytes()), "git")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"arrays\.npz is missing") as error:
        load(folder)
    assert_one_line(error, record.arrays["arrays.npz"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "changed after"), ('{"a": NaN}', "finite"), ("", "is not JSON")],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(folder, content, message):
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load(folder)
    assert_one_line(error, folder / "record.json")


def test_a_record_of_another_layout_is_refused(folder):
    folder.mkdir(parents=True)
    values = {"name": "old"}
    values["sha256"] = sha256(canonical(values, ""))
    (folder / "record.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="fields of another version"):
        load(folder)


def test_a_record_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match="there is no record") as error:
        load(folder)
    assert_one_line(error, folder / "record.json")


# --- values that a record cannot hold -------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.ones(1), {1, 2}])
def test_a_metric_must_be_a_finite_number(value):
    with pytest.raises(ValueError, match=r"record tiny/mopoe: metric 'coherence' must hold finite"):
        complete(asked(seeds=[0]), [{"coherence": value}], [1.0])


def test_every_seed_needs_its_metrics_and_its_time():
    with pytest.raises(ValueError, match="seeds 0 and 2 do not share metric 'b'"):
        complete(asked(), [{"a": 1}, {"a": 1}, {"a": 1, "b": 2}], [1.0] * 3)
    with pytest.raises(ValueError, match="3 seeds, 1 results and 3 times"):
        complete(asked(), [{"a": 1}], [1.0] * 3)
    with pytest.raises(ValueError, match="needs seeds and modules"):
        asked(seeds=[])
    with pytest.raises(ValueError, match="needs seeds and modules"):
        asked(modules=[])
    with pytest.raises(ValueError, match="unknown profile 'slow'"):
        asked(profile="slow")
    with pytest.raises(ValueError, match=r"multielbo\.nothing"):
        asked(modules=["multielbo.nothing"])


def test_arrays_too_large_to_commit_are_refused_by_name(folder):
    noise = np.random.default_rng(0).normal(size=80_000)
    with pytest.raises(ValueError, match=r"more than 500000.*'noise'") as error:
        write(folder, finished(), {**ARRAYS, "noise": noise})
    assert_one_line(error, folder)
    with pytest.raises(ValueError, match="'words' holds objects"):
        write(folder, finished(), {"words": np.array([None])})
    assert not folder.parent.exists()


# --- records that cannot be written ---------------------------------------------------------------


@pytest.fixture
def small_files():
    """No file may grow beyond 512 bytes: what a full disk does to a process, by the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_write_fails_and_keeps(folder: Path) -> None:
    before, _ = load(folder)
    with pytest.raises(OSError, match=r"^cannot write record .*free space") as error:
        write(folder, finished(seeds=[3, 4, 5]), ARRAYS)
    assert_one_line(error, folder)
    assert load(folder)[0] == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_write_that_the_kernel_cuts_short_leaves_the_earlier_record(folder, small_files):
    write(folder, finished(), ARRAYS)
    small_files()
    assert_write_fails_and_keeps(folder)


@pytest.mark.parametrize(("call", "at"), [("fsync", 1), ("fsync", 2), ("rename", 1), ("rename", 2)])
def test_a_full_disk_leaves_the_earlier_record(folder, monkeypatch, call, at):
    write(folder, finished(), ARRAYS)
    real, calls = getattr(os, call), []

    def full(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    monkeypatch.setattr(os, call, full)
    assert_write_fails_and_keeps(folder)
    assert len(calls) >= at


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(OSError, match=r"^cannot write record .*results/mopoe: .*folder"):
        write(tmp_path / "results" / "mopoe", finished(), ARRAYS)


@pytest.mark.parametrize("at", [1, 2])
def test_a_write_killed_between_its_renames_leaves_the_earlier_record(folder, monkeypatch, at):
    before = write(folder, finished(), ARRAYS)
    real, calls = os.rename, []

    def killed(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == at:
            raise KeyboardInterrupt  # no handler of `write` catches it, as none sees SIGKILL
        real(*arguments)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        write(folder, finished(seeds=[3, 4, 5]), ARRAYS)
    monkeypatch.undo()
    assert find(folder.parents[1], before.digest) in (folder, None)
    assert load(folder)[0] == before
    after = write(folder, finished(seeds=[3, 4, 5]), ARRAYS)
    assert load(folder)[0] == after
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


# --- freshness ------------------------------------------------------------------------------------


def test_a_record_is_fresh_while_nothing_changed():
    record = finished()
    now = {"config": CONFIG, "seeds": (0, 1, 2), "data_sha256": "d" * 64}
    assert freshness(record) == freshness(record, **now) == ("fresh", "")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"config": {**CONFIG, "epochs": 4}}, "setting 'epochs' changed"),
        ({"config": {**CONFIG, "warmup": None}}, "setting 'warmup' changed"),
        ({"seeds": [0, 1]}, "seeds changed"),
        ({"data_sha256": "e" * 64}, "data 'tiny' changed"),
    ],
)
def test_a_record_of_another_run_is_stale_and_says_why(now, reason):
    assert freshness(finished(), **now) == ("stale", reason)


def changed_source(monkeypatch, tmp_path: Path, module: str, change) -> None:
    """Let `module` be read, by what digests it, as if its file had been changed."""
    file = Path(provenance.find_spec(module).origin)
    changed = tmp_path / "changed.py"
    changed.write_text(change(file.read_text()))
    assert changed.read_text() != file.read_text()
    real = provenance.find_spec

    def find_changed(name: str):
        return SimpleNamespace(origin=changed) if name == module else real(name)

    monkeypatch.setattr(provenance, "find_spec", find_changed)


def test_changed_code_makes_a_record_stale_and_names_the_module(monkeypatch, tmp_path):
    record = finished(modules=["multielbo.objectives"])
    twice = lambda text: text.replace("-0.5 *", "-1.0 *")  # noqa: E731
    changed_source(monkeypatch, tmp_path, "multielbo.gaussians", twice)
    assert freshness(record) == ("stale", "multielbo.gaussians changed")
    assert asked(modules=["multielbo.objectives"]).digest != record.digest


def test_a_changed_comment_leaves_a_record_fresh(monkeypatch, tmp_path):
    record = finished(modules=["multielbo.objectives"])
    note = lambda text: text.replace("def kl(", "# a note\n\n\ndef kl(")  # noqa: E731
    changed_source(monkeypatch, tmp_path, "multielbo.gaussians", note)
    assert freshness(record) == ("fresh", "")


def test_a_module_that_is_gone_makes_a_record_stale():
    state, reason = freshness(replace(finished(), modules=["multielbo.gone"]))
    assert state == "stale"
    assert "multielbo.gone" in reason


def test_code_is_compared_as_the_book_compares_it():
    reached = digests.reachable_modules(*MODULES)
    assert set(finished().code) == set(reached) - {"multielbo"}


# --- captions -------------------------------------------------------------------------------------


def told(record: Record, **changes) -> str:
    known = {"device": "AMD EPYC 2 threads", "commit": "ab12cd3" + "0" * 33, "dirty": False}
    return caption(replace(record, **{**known, **changes}))


def test_a_caption_says_how_far_to_trust_a_figure():
    full = finished(profile="full")
    expected = "3 seeds, AMD EPYC 2 threads, 52 s each, commit ab12cd3, fresh"
    assert told(full) == expected
    assert told(finished()) == f"laptop profile, {expected}"
    assert "1 seed, NVIDIA H200, 6 min each" in told(
        full, seeds=[0], seconds=[370.0], device="NVIDIA H200"
    )
    assert ", 2.5 h each, " in told(full, seconds=[9000.0])


def test_a_caption_hides_no_weakness():
    full = finished(profile="full")
    assert told(finished(profile="quick")) == "quick profile: not a result"
    assert "commit unknown" in told(full, commit=None, dirty=None)
    assert "commit ab12cd3 with local changes" in told(full, dirty=True)
    stale = replace(full, code={**full.code, "multielbo.gaussians": "0" * 16})
    assert told(stale).endswith("stale: multielbo.gaussians changed")
    assert caption(full, Freshness("stale", "seeds changed")).endswith("stale: seeds changed")


# --- load or run ----------------------------------------------------------------------------------


class Runs:
    """Counts the seeds that were run."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, seed: int) -> Outcome:
        self.seeds.append(seed)
        return Outcome({"coherence": seed / 4}, {"loss": np.full(2, seed)}, seconds=10.0 + seed)


def test_a_run_is_made_once_and_then_loaded(tmp_path):
    runs = Runs()
    first, arrays = load_or_run(tmp_path, asked(), runs)
    assert runs.seeds == [0, 1, 2]
    assert first.metrics == {"coherence": [0.0, 0.25, 0.5]}
    assert first.seconds == [10.0, 11.0, 12.0]
    assert sorted(arrays) == ["loss_seed0", "loss_seed1", "loss_seed2"]
    assert (tmp_path / "tiny" / "mopoe" / "laptop" / "record.json").exists()
    second, arrays = load_or_run(tmp_path, asked(), runs)
    assert runs.seeds == [0, 1, 2]
    assert second == first
    np.testing.assert_array_equal(arrays["loss_seed2"], [2, 2])


def test_a_record_of_other_settings_is_not_loaded(tmp_path):
    runs = Runs()
    load_or_run(tmp_path, asked(), runs)
    other, _ = load_or_run(tmp_path, asked(config={**CONFIG, "epochs": 4}), runs)
    assert runs.seeds == [0, 1, 2] * 2
    assert other.config["epochs"] == 4


def test_a_quick_run_is_made_each_time_and_never_written(tmp_path):
    runs = Runs()
    for _ in range(2):
        record, _ = load_or_run(tmp_path, asked(profile="quick"), runs)
    assert runs.seeds == [0, 1, 2] * 2
    assert caption(record) == "quick profile: not a result"
    assert not list(tmp_path.iterdir())


def test_a_full_run_needs_a_gpu_or_a_record_or_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runs, full = Runs(), asked(profile="full")
    with pytest.raises(RuntimeError, match=r"about 31 h on this CPU.*GPU.*allow_cpu=True") as error:
        load_or_run(tmp_path, full, runs, cpu_hours=31)
    assert_one_line(error, "tiny/mopoe")
    assert runs.seeds == []
    load_or_run(tmp_path, full, runs, allow_cpu=True)
    assert runs.seeds == [0, 1, 2]
    record, _ = load_or_run(tmp_path, full, runs)  # reading needs no permission
    assert runs.seeds == [0, 1, 2]
    assert record.profile == "full"


def test_a_crash_after_a_seed_costs_the_seeds_after_it_alone(tmp_path):
    runs = Runs()

    def crashing(seed: int) -> Outcome:
        if seed == 2:
            raise KeyboardInterrupt  # nothing catches it, as nothing sees SIGKILL
        return runs(seed)

    with pytest.raises(KeyboardInterrupt):
        load_or_run(tmp_path, asked(), crashing)
    assert find(tmp_path, asked().digest) is None
    record, _ = load_or_run(tmp_path, asked(), runs)
    assert runs.seeds == [0, 1, 2]
    assert record.metrics == {"coherence": [0.0, 0.25, 0.5]}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"], "its parts are gone"


# --- one seed at a time ---------------------------------------------------------------------------


def test_parts_make_the_record_of_one_run_in_whatever_order_they_came(tmp_path):
    whole, arrays = load_or_run(tmp_path / "whole", asked(), Runs())
    for seed in (2, 0, 1):
        part = run_part(tmp_path / "parts", asked(), seed, Runs())
        assert (part.seeds, part.digest) == ([seed], asked(seeds=[seed]).digest)
    record, same = collect(tmp_path / "results", asked(), tmp_path / "parts")
    assert record == whole
    assert record.digest == asked().digest
    assert list(same) == list(arrays) == ["loss_seed0", "loss_seed1", "loss_seed2"]
    assert load(tmp_path / "results" / "tiny" / "mopoe" / "laptop")[0] == record


def test_a_run_that_differs_in_seeds_or_data_is_described_as_if_from_the_start():
    other = ("other", "e" * 64)
    assert adapted(asked(), seeds=[1], dataset=other) == asked(seeds=[1], dataset=other)
    assert adapted(asked()) == asked()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config": {**CONFIG, "epochs": 4}}, "setting 'epochs' changed"),
        ({"dataset": ("tiny", "e" * 64)}, "data 'tiny' changed"),
        ({"modules": ["multielbo.gaussians"]}, "multielbo.objectives changed"),
        ({"profile": "full"}, r"it is tiny/mopoe \(full\)"),
    ],
)
def test_a_part_of_another_run_is_refused_with_the_reason(tmp_path, changes, reason):
    for seed in (0, 1):
        run_part(tmp_path, asked(), seed, Runs())
    foreign = run_part(tmp_path / "foreign", asked(**changes), 2, Runs())
    write(part_folder(tmp_path, asked(), 2), foreign)
    found, refused = read_parts(tmp_path, asked())
    assert list(found) == [0, 1]
    assert list(refused) == [2]
    assert re.search(rf"seed-2 is of another run: .*{reason}", refused[2])
    with pytest.raises(ValueError, match=reason) as error:
        collect(tmp_path / "results", asked(), tmp_path)
    assert_one_line(error, "tiny/mopoe (laptop)")
    with pytest.raises(ValueError, match=rf"part for seed 2 .*{reason}.*again"):
        merge(asked(), found | {2: (foreign, {})})


def test_a_part_whose_digest_alone_differs_is_refused(tmp_path):
    """Wrong twin: comparing what the part says of itself would take it."""
    part = run_part(tmp_path, asked(), 0, Runs())
    write(part_folder(tmp_path, asked(), 0), replace(part, digest="0" * 64))
    assert "its digest differs" in read_parts(tmp_path, asked()).refused[0]


def test_a_part_that_was_edited_or_half_written_is_refused_and_one_without_record_named(tmp_path):
    for seed in (0, 1):
        run_part(tmp_path, asked(), seed, Runs())
    file = part_folder(tmp_path, asked(), 0) / "record.json"
    file.write_text(file.read_text().replace("10.0", "9.0"))
    (part_folder(tmp_path, asked(), 1) / "arrays.npz").unlink()
    found, refused = read_parts(tmp_path, asked())
    assert not found
    assert "was changed after it was written" in refused[0]
    assert "arrays.npz is missing" in refused[1]
    runs = Runs()
    load_or_run(tmp_path / "results", asked(), runs, parts=tmp_path)
    assert runs.seeds == [0, 1, 2], "what is refused is run again"


def test_seeds_that_are_missing_are_named(tmp_path):
    run_part(tmp_path, asked(), 1, Runs())
    with pytest.raises(ValueError, match=r"\(laptop\): no part for seed 0, 2; run these") as error:
        collect(tmp_path / "results", asked(), tmp_path)
    assert_one_line(error, "tiny/mopoe")
    assert not (tmp_path / "results").exists()


def test_parts_from_several_machines_name_them_all_and_a_clean_commit():
    runs = Runs()
    parts = {}
    machines = [("NVIDIA H200", "a" * 40, True), ("AMD EPYC", "b" * 40, False)]
    for seed in (0, 1, 2):
        device, commit, dirty = machines[seed % 2]
        part = adapted(asked(), seeds=[seed])
        outcome = runs(seed)
        part = complete(part, [outcome.metrics], [outcome.seconds])
        parts[seed] = (replace(part, device=device, commit=commit, dirty=dirty), {})
    record, _ = merge(asked(), parts)
    assert record.device == "NVIDIA H200, AMD EPYC"
    assert (record.commit, record.dirty) == ("b" * 40, False)
    assert record.versions == provenance.versions()


def test_parts_with_other_metrics_do_not_merge(tmp_path):
    for seed in asked().seeds:
        run_part(tmp_path, asked(), seed, lambda s: Outcome({f"metric{s // 2}": 1.0}))
    with pytest.raises(ValueError, match="seeds 0 and 2 do not share metric 'metric0'"):
        collect(tmp_path / "results", asked(), tmp_path)


def test_parts_that_were_merged_leave_nothing_and_others_stay(tmp_path):
    other = asked(profile="full")
    run_part(tmp_path, other, 0, Runs())
    run_part(tmp_path, asked(), 0, Runs())
    discard(tmp_path, asked())
    assert list(read_parts(tmp_path, other).found) == [0]
    assert [path.name for path in (tmp_path / "tiny" / "mopoe").iterdir()] == ["full"]
    discard(tmp_path, other)
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


# --- git ------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    return package


def test_the_commit_is_that_of_the_package_and_local_changes_show(package):
    assert provenance.commit(package) == {"commit": None, "dirty": None}  # in no commit yet
    git(package, "add", "__init__.py")
    git(package, "commit", "--quiet", "-m", "first")
    head = git(package, "rev-parse", "HEAD")
    assert provenance.commit(package) == {"commit": head, "dirty": False}
    (package.parents[1] / "record.json").write_text("a new record")
    assert provenance.commit(package) == {"commit": head, "dirty": False}
    (package / "__init__.py").write_text("x = 2\n")
    assert provenance.commit(package) == {"commit": head, "dirty": True}


def test_a_package_inside_the_repository_of_another_has_no_commit(package):
    """Wrong twin: asking git for HEAD alone would name the other project's commit."""
    git(package, "add", "__init__.py")
    git(package, "commit", "--quiet", "-m", "first")
    installed = package.parents[1] / "venv" / "multielbo"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git(installed, "rev-parse", "HEAD")
    assert provenance.commit(installed) == {"commit": None, "dirty": None}


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == {"commit": None, "dirty": None}
    assert caption(replace(finished(profile="full"), **provenance.commit())).count("unknown") == 1
