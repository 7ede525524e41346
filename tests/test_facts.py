"""Fact files: complete, true to themselves and to the data, one for every set-up."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from multielbo.data.polydigits import polydigits
from multielbo.data.prepared import load, prepare
from multielbo.data.recipe import bit_generator
from multielbo.publishing.facts import (
    check_facts,
    differences_table,
    originals_table,
    read_facts,
    sets_table,
)
from multielbo.setups.registry import SETUPS

FACTS = Path(__file__).parents[1] / "book" / "facts"
PICTURES = Path(__file__).parents[1] / "book" / "_static" / "data"
BOOK = read_facts(FACTS)
MEASURED = sorted(name for name, facts in BOOK.items() if facts["measured"])
# Their terms do not clearly allow showing pixels.
CLOSED = {"polymnist-published", "mnist-svhn-text", "mnist-svhn-text-reduced", "celeba", "mhd"}


@pytest.fixture
def script(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    import facts

    return facts


# The book's files


@pytest.mark.parametrize("dataset", SETUPS)
def test_every_set_up_has_a_fact_file(dataset):
    assert [name for name, facts in BOOK.items() if dataset in facts["described"]["setups"]]


def test_every_described_data_set_has_a_fact_file_with_that_description(script):
    assert {name: facts["described"] for name, facts in BOOK.items()} == script.descriptions(
        FACTS / script.SETS
    )


@pytest.mark.parametrize("name", BOOK)
def test_a_fact_file_lies_under_its_name_and_its_command_exists(name, root):
    facts = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["name"] == name
    command = facts["described"]["command"]
    if command:
        found = re.fullmatch(r"python (data_scripts/\w+\.py)( --[a-z-]+( \d+)?)*", command)
        assert (root / found[1]).is_file()


@pytest.mark.parametrize("name", MEASURED)
def test_measured_counts_add_up(name):
    for split in BOOK[name]["measured"]["splits"].values():
        assert len(split["classes"]) == 10
        assert sum(split["classes"]) == split["tuples"] > 0
        assert min(split["classes"]) > 0


@pytest.mark.parametrize("name", ["polymnist-hopper", "translated-polymnist-hopper"])
def test_data_from_all_of_mnist_have_mnist_s_classes(name):
    splits = BOOK[name]["measured"]["splits"]
    assert splits["train"]["classes"][:3] == [5923, 6742, 5958]
    assert splits["test"]["classes"][:3] == [980, 1135, 1032]


def test_data_sets_that_differ_have_different_checksums():
    digests = [
        split["sha256"] for name in MEASURED for split in BOOK[name]["measured"]["splits"].values()
    ]
    assert len(set(digests)) == len(digests)


def test_the_checksum_of_polydigits_is_what_the_package_makes_now():
    for split in ("train", "test"):
        made = polydigits(split)
        found = BOOK["polydigits"]["measured"]["splits"][split]
        assert found["sha256"] == f"sha256:{made.sha256}"
        assert found["classes"] == np.bincount(made.labels, minlength=10).tolist()


@pytest.mark.parametrize("name", ["polymnist-hopper", "translated-polymnist-10-hopper"])
def test_substitutes_are_named(name):
    assert "Grace Hopper" in BOOK[name]["measured"]["substitutes"]["m2"]


def test_pictures_are_small_and_as_their_checksums_say():
    shown = {
        facts["measured"]["picture"]["file"]: facts
        for facts in map(BOOK.get, MEASURED)
        if facts["measured"]["picture"]
    }
    assert {path.name for path in PICTURES.iterdir()} == shown.keys()
    for file, facts in shown.items():
        content = (PICTURES / file).read_bytes()
        picture = facts["measured"]["picture"]
        assert len(content) < 30_000
        assert picture["sha256"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert picture["tuples"] <= 5


def test_no_pixels_of_closed_data_are_shown(script):
    assert not CLOSED & script.SHOWN
    assert all(not (BOOK[name]["measured"] or {}).get("picture") for name in CLOSED)


def test_the_page_shows_every_data_set_and_credits_every_picture(root):
    page = (root / "notebooks/reproductions/data.py").read_text(encoding="utf-8")
    for name, facts in BOOK.items():
        assert f'"{name}"' in page
        if facts["measured"] and facts["measured"]["picture"]:
            assert f'draw_tuples("{name}"' in page
    for licence in ("GNU LGPL", "public domain", "CC BY-SA 3.0", "CC BY-SA 4.0", "CC BY 4.0"):
        assert licence in page


# Tables


def test_the_table_has_a_row_for_each_set_and_a_cell_for_each_column():
    lines = sets_table(BOOK.values()).splitlines()
    assert len(lines) == 2 + len(BOOK)
    assert {line.count(" | ") for line in lines} == {3}
    row = next(line for line in lines if "`polymnist-hopper`" in line)
    assert "`m0` to `m4`: 3x28x28" in row
    assert "train 60,000<br>test 10,000" in row
    assert "(not here)" not in row
    assert "(not here)" in next(line for line in lines if "`celeba`" in line)


def test_the_table_of_differences_names_each_command():
    lines = differences_table(BOOK.values()).splitlines()
    assert len(lines) == 2 + len(BOOK)
    row = next(line for line in lines if "`mnist-svhn-text-reduced`" in line)
    assert "| `mnist_svhn.py --allow-reduced` |" in row
    assert "none: made in memory" in next(line for line in lines if "`polydigits`" in line)


def test_the_table_of_originals_has_each_once():
    lines = originals_table(BOOK.values()).splitlines()
    assert len(lines) == len(set(lines))
    assert sum("[MNIST](http" in line for line in lines) == 1


# Faults


def faulty(change) -> dict:
    facts = copy.deepcopy(dict(BOOK["polymnist-hopper"]))
    change(facts)
    return facts


def spoil(*path: str, value: object):
    def change(facts: dict) -> None:
        *way, last = path
        for key in way:
            facts = facts[key]
        facts[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("format"), "not of format 1"),
        (lambda facts: facts["described"].pop("differs"), "description has no 'differs'"),
        (lambda f: f["described"]["originals"][0].pop("licence"), "original has no 'licence'"),
        (spoil("prepared", value=False), "does not say 'prepared'"),
        (lambda facts: facts["measured"].pop("checksums"), "measurements have no 'checksums'"),
        (spoil("measured", "splits", "test", "sha256", value="sha256:12"), "checksum of test is"),
        (spoil("measured", "splits", "test", "tuples", value=9), "do not add up to its 9 tuples"),
        (spoil("measured", "checksums", "x.gz", value="f68b"), "checksum of x.gz is 'f68b'"),
        (spoil("measured", "picture", "sha256", value=""), "the picture has no checksum"),
        (spoil("measured", value=None), "says 'prepared' and has no measurements"),
    ],
)
def test_incomplete_facts_are_refused_in_one_line(change, message):
    check_facts(BOOK["polymnist-hopper"], "here")
    with pytest.raises(ValueError, match=f"^here: .*{re.escape(message)}.*facts.py$") as error:
        check_facts(faulty(change), "here")
    assert "\n" not in str(error.value)


def test_a_damaged_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no fact files"):
        read_facts(tmp_path)
    (tmp_path / "x.json").write_text('{"format": 1')
    with pytest.raises(ValueError, match=r"x\.json is damaged"):
        read_facts(tmp_path)


# The command


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A folder with a small prepared data set, and one with its description."""
    raw = bit_generator(1).random_raw(5 * 147).view(np.uint8).reshape(2, 20, 3, 7, 7)
    arrays = {
        "train-labels": lambda: np.arange(20) % 10,
        "train-picture": lambda: raw[0],
        "test-labels": lambda: np.arange(20) // 2,
        "test-picture": lambda: raw[1],
    }
    digest = hashlib.sha256(b"original").hexdigest()
    recipe = {
        "seed": 0,
        "mnist": {"a.gz": "md5:" + "0" * 32},
        "fsdd": {"sha256": digest},
        "backgrounds": {"m2": {"file": "b.jpg", "sha256": digest, "substitute": "another"}},
    }
    prepare(tmp_path / "data" / "small", recipe, arrays, progress=False)
    described = {
        "originals": {"a": {"title": "A", "author": "B", "licence": "C", "from": "D"}},
        "sets": {
            "small": {
                "title": "Small",
                "setups": [],
                "originals": ["a"],
                "command": "",
                "published": False,
                "differs": "everything",
                "expected": {"modalities": {"picture": [3, 7, 7]}, "splits": {}},
            }
        },
    }
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "sets.yml").write_text(yaml.safe_dump(described))
    return tmp_path


def run(script, folder: Path, *more: str) -> int:
    return script.main(
        ["--out", str(folder / "facts"), "--pictures", str(folder / "pictures"), *more]
    )


def test_what_is_measured_is_what_was_prepared(script, prepared, monkeypatch):
    monkeypatch.setattr(script, "SHOWN", {"small"})
    assert run(script, prepared, "--data", str(prepared / "data")) == 0
    measured = read_facts(prepared / "facts")["small"]["measured"]
    data = load(prepared / "data" / "small", "test", "no")
    assert measured["splits"]["test"]["sha256"] == f"sha256:{data.sha256}"
    assert measured["splits"]["test"]["classes"] == [2] * 10
    assert measured["modalities"]["picture"]["shape"] == [3, 7, 7]
    assert measured["modalities"]["picture"]["observations"] == {"train": 20, "test": 20}
    assert measured["bytes"] == 2 * 20 * (3 * 49 + 8)
    assert measured["substitutes"] == {"m2": "another"}
    digest = "sha256:" + hashlib.sha256(b"original").hexdigest()
    assert measured["checksums"] == {"a.gz": "md5:" + "0" * 32, "fsdd": digest, "b.jpg": digest}
    with Image.open(prepared / "pictures" / "small.webp") as picture:
        shown = np.asarray(picture)
    expected = np.concatenate(list(data["picture"][:5].numpy()), axis=2).transpose(1, 2, 0)
    assert np.array_equal(shown, expected)


def test_without_data_measurements_stay_and_the_description_is_renewed(script, prepared):
    run(script, prepared, "--data", str(prepared / "data"))
    before = read_facts(prepared / "facts")["small"]
    path = prepared / "facts" / "sets.yml"
    path.write_text(path.read_text().replace("everything", "nothing"))
    assert run(script, prepared) == 0
    after = read_facts(prepared / "facts")["small"]
    assert after["measured"] == before["measured"]
    assert (before["described"]["differs"], after["described"]["differs"]) == (
        "everything",
        "nothing",
    )


def test_data_that_were_never_there_are_described_only(script, prepared):
    assert run(script, prepared) == 0
    facts = read_facts(prepared / "facts")["small"]
    assert (facts["prepared"], facts["measured"]) == (False, None)


def test_a_picture_is_made_only_where_it_may_be_shown(script, prepared):
    run(script, prepared, "--data", str(prepared / "data"))
    assert read_facts(prepared / "facts")["small"]["measured"]["picture"] is None
    assert not (prepared / "pictures").exists()


def test_a_picture_that_stays_too_large_is_refused(script, tmp_path):
    noise = bit_generator(2).random_raw(400 * 400 * 3 // 8).view(np.uint8).reshape(400, 400, 3)
    with pytest.raises(ValueError, match="more than 30,000: show less"):
        script.write_picture(tmp_path / "x.webp", noise)
    assert not (tmp_path / "x.webp").exists()


def test_strokes_are_drawn_upright(script):
    upward = script.tile(np.array([[0.1, 0.0], [0.1, 1.0], [0.9, 1.0]]), 64)[0]
    assert upward[:, :20].sum() > 2 * upward[:, 44:].sum()  # the long side is at the left
    assert upward[:20].sum() > 2 * upward[44:].sum()  # and the short one on top


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        (["large"], None, "no data set 'large' in sets.yml: choose from small"),
        ([], ("- a", "- b"), "small names the original 'b': describe it"),
        ([], ("title: Small", "name: Small"), "description has no 'title'"),
    ],
)
def test_the_command_fails_in_one_line(script, prepared, capsys, arguments, change, message):
    if change:
        path = prepared / "facts" / "sets.yml"
        path.write_text(path.read_text().replace(*change))
    assert run(script, prepared, *arguments) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert message in line


def test_damaged_data_are_refused_in_one_line(script, prepared, capsys):
    path = prepared / "data" / "small" / "test-labels.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert run(script, prepared, "--data", str(prepared / "data")) == 2
    assert f"{path}: expected sha256" in capsys.readouterr().err
