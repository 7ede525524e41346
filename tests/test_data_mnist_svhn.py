"""MNIST-SVHN-Text, prepared from small files in the real formats."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from multielbo.data import mnist as mnist_data
from multielbo.data.mnist_svhn import (
    ALPHABET,
    PAIRS,
    WORDS,
    match,
    mnist_svhn,
    mnist_svhn_text,
    pair,
    read_text,
    spell,
)
from multielbo.data.recipe import bit_generator
from multielbo.data.svhn import FILES, read_svhn
from multielbo.setups import mnist_svhn as pair_setup
from multielbo.setups import mnist_svhn_text as triple_setup

COUNTS = {"mnist": {"train": 200, "test": 60}, "svhn": {"train": 120, "test": 50}}
SPLITS = ("train", "test")


def digits(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, all different, and their classes, which are not equally frequent."""
    count, shape = COUNTS[name][split], (28, 28) if name == "mnist" else (3, 32, 32)
    bits = bit_generator(7, len(name + split))
    pixels = bits.random_raw(count * int(np.prod(shape)) // 8).view(np.uint8)
    labels = np.concatenate([np.arange(10), bits.random_raw(count - 10) % np.uint64(10)])
    return pixels.reshape(count, *shape), labels.astype(np.int64)


def svhn_variables(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What SVHN's file holds: images along the last axis, and 10 for the digit 0."""
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    return {"X": images.transpose(2, 3, 1, 0), "y": y}


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    for part in ("mnist", "svhn"):
        (folder / part).mkdir(parents=True)
    for split, files in mnist_data.FILES.items():
        for name, array in zip(files, digits("mnist", split), strict=True):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)
            (folder / "mnist" / name).write_bytes(content)
    for split, file in FILES.items():
        savemat(folder / "svhn" / file, svhn_variables(*digits("svhn", split)))
    return folder


@pytest.fixture
def script(root, raw, monkeypatch):
    """The command's module, told to expect the small MNIST and to find no mirror."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import fetch
    import mnist_svhn as module

    nowhere = "http://127.0.0.1:9/"  # the discard port: nobody answers
    remotes = {
        path.name: fetch.Remote(f"mnist/{path.name}", (nowhere,), md5(path))
        for path in sorted((raw / "mnist").iterdir())
    }
    monkeypatch.setattr(module, "mnist_remotes", lambda: remotes)
    monkeypatch.setattr(module, "STANFORD", nowhere)
    for split, count in COUNTS["mnist"].items():
        monkeypatch.setitem(mnist_data.IMAGES, split, count)
    return module


@pytest.fixture
def command(raw, tmp_path) -> list[str]:
    """The options for the small SVHN."""
    return ["--raw", str(raw), "--out", str(tmp_path / "data"), "--allow-reduced"]


@pytest.fixture
def genuine(script, raw, monkeypatch):
    """Let the small SVHN pass for the real one."""
    for split, file in FILES.items():
        monkeypatch.setitem(script.MD5, split, md5(raw / "svhn" / file))


def md5(path: Path) -> str:
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def one_line(capsys) -> str:
    """What was told on stderr, bar progress bars: one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def classes_agree(mnist: np.ndarray, svhn: np.ndarray, labels: np.ndarray, split: str) -> bool:
    """Whether the originals in every tuple have its class, as told by their pixels."""
    return all(
        [known[image.tobytes()] for image in images] == labels.tolist()
        for images, known in (
            (mnist, {x.tobytes(): y for x, y in zip(*digits("mnist", split), strict=True)}),
            (svhn, {x.tobytes(): y for x, y in zip(*digits("svhn", split), strict=True)}),
        )
    )


# Pairs


def test_in_a_class_as_many_originals_meet_as_the_smaller_set_has_each_in_every_matching():
    first, second = digits("mnist", "train")[1], digits("svhn", "train")[1]
    rows = match(first, second, 7, bit_generator(0))
    assert np.array_equal(first[rows[0]], second[rows[1]])
    smaller = np.minimum(np.bincount(first), np.bincount(second))
    assert len(rows[0]) == len(rows[1]) == 7 * smaller.sum()
    for labels, used in zip((first, second), rows, strict=True):
        kept = np.concatenate([np.flatnonzero(labels == c)[:n] for c, n in enumerate(smaller)])
        assert Counter(used.tolist()) == dict.fromkeys(kept.tolist(), 7)


def test_every_matching_of_a_class_is_equally_likely():
    bits, labels = bit_generator(0), np.zeros(3, int)
    drawn = [match(labels, labels, 1, bits) for _ in range(3000)]
    counts = Counter(tuple(second[np.argsort(first)].tolist()) for first, second in drawn)
    assert len(counts) == 6
    assert sum((n - 500) ** 2 / 500 for n in counts.values()) < 22  # 5 degrees: once in 2,000


def repeats(rows: tuple[np.ndarray, np.ndarray]) -> int:
    """How often two matchings agree on a pair, summed over pairs of matchings."""
    tuples = Counter(zip(rows[0].tolist(), rows[1].tolist(), strict=True))
    return sum(n * (n - 1) // 2 for n in tuples.values())


def test_matchings_are_independent():
    """Two random permutations agree in one place on average, with variance one."""
    labels = np.zeros(200, int)
    two_matchings = 20 * 19 // 2
    found = repeats(match(labels, labels, 20, bit_generator(0)))
    assert abs(found - two_matchings) < 5 * np.sqrt(two_matchings)
    once = match(labels, labels, 1, bit_generator(0))
    assert repeats(tuple(np.tile(rows, 20) for rows in once)) == 200 * two_matchings


def test_the_first_tuples_are_a_fair_sample_of_all():
    labels = digits("mnist", "train")[1]
    tuples = labels[match(labels, labels, 20, bit_generator(0))[0]]
    everything = np.bincount(tuples, minlength=10)
    expected = 500 * everything / everything.sum()

    def distance(sample: np.ndarray) -> float:
        return ((np.bincount(sample, minlength=10) - expected) ** 2 / expected).sum()

    assert distance(tuples[:500]) < 30  # 9 degrees: less than once in 2,000
    assert distance(np.sort(tuples)[:500]) > 100  # the twin that leaves class after class


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ValueError, match="class 3 is in one of the two sets only"):
        match(np.array([1, 3]), np.array([1, 1]), 1, bit_generator(0))
    with pytest.raises(ValueError, match="0 matchings make no tuple"):
        match(np.array([1]), np.array([1]), 0, bit_generator(0))


def test_the_tuples_are_the_same_on_every_machine():
    made = pair(digits("mnist", "test"), digits("svhn", "test"), split="test", pairs=3, seed=5)
    digest = hashlib.sha256()
    for name, array in made.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    assert digest.hexdigest() == (
        "6a1685b6d7c422a4ad6c4c8eb9091490039e55a3a81477078ae27c10fa5ca3f5"
    )


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "test"}])
def test_seed_and_split_draw_independently(change):
    images = digits("mnist", "train"), digits("svhn", "train")
    chosen = {"split": "train", "pairs": 1, "seed": 0}
    reference, other = pair(*images, **chosen), pair(*images, **(chosen | change))
    assert np.mean(reference["svhn.rows"] == other["svhn.rows"]) < 0.2
    assert not np.array_equal(reference["text"], other["text"])


# Text


def test_a_text_is_the_word_of_its_class_among_spaces():
    labels = np.arange(3000) % 10
    texts = read_text(spell(labels, bit_generator(0)))
    assert {len(text) for text in texts} == {8}
    assert [text.strip(" ") for text in texts] == [WORDS[label] for label in labels]


@pytest.mark.parametrize("label", [0, 1, 3])
def test_a_word_starts_equally_often_wherever_it_fits(label):
    """Up to the last place: the released code never lets a word end with the text."""
    texts = read_text(spell(np.full(3000, label), bit_generator(1)))
    counts = Counter(text.index(WORDS[label]) for text in texts)
    places = 8 - len(WORDS[label]) + 1
    assert sorted(counts) == list(range(places))
    expected = 3000 / places
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 22  # at most 5 degrees


def test_the_alphabet_has_71_symbols_and_the_first_of_two_equal_ones_is_used():
    assert len(ALPHABET) == 71
    assert [symbol for symbol, n in Counter(ALPHABET).items() if n > 1] == ["-"]
    used = spell(np.arange(10), bit_generator(0))
    assert [ALPHABET.index(symbol) for symbol in "".join(read_text(used))] == used.ravel().tolist()


# SVHN's files


def test_an_svhn_file_is_read_back_with_10_for_the_digit_0(raw):
    for split, file in FILES.items():
        images, labels = read_svhn(raw / "svhn" / file)
        expected = digits("svhn", split)
        assert images.flags.c_contiguous
        assert np.array_equal(images, expected[0])
        assert np.array_equal(labels, expected[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": None}, "has no variable X, only y: take SVHN's train_32x32.mat"),
        ({"y": None}, "has no variable y, only X: take"),
        ({"X": None, "y": None, "images": np.zeros(3)}, "has no variable X, only images"),
        ({"X": np.zeros((28, 28, 3, 4), np.uint8)}, r"X is uint8 \(28, 28, 3, 4\), expected uint8"),
        ({"X": np.zeros((4, 3, 32, 32), np.uint8)}, r"\(4, 3, 32, 32\), expected uint8 \(32, 32"),
        ({"X": np.zeros((32, 32, 3, 4))}, r"X is float64 \(32, 32, 3, 4\), expected uint8"),
        ({"y": np.ones((3, 1), np.uint8)}, "120 images in X and 3 labels in y"),
        ({"y": np.full((120, 1), 11, np.uint8)}, "y holds the label 11, outside 1 ... 10"),
        ({"y": np.zeros((120, 1), np.uint8)}, "y holds the label 0, outside 1 ... 10"),
        ({"y": np.array([["1"] * 120], object)}, "labels in y as object, expected numbers"),
        ({"y": np.full((120, 1), 1.5)}, "y holds the label 1.5, outside 1 ... 10"),
    ],
)
def test_an_svhn_file_that_holds_something_else_is_named_in_one_line(tmp_path, change, message):
    path = tmp_path / "train_32x32.mat"
    variables = svhn_variables(*digits("svhn", "train")) | change
    savemat(path, {name: value for name, value in variables.items() if value is not None})
    with pytest.raises(ValueError, match=message) as error:
        read_svhn(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 100, 128, 140, 200, 5000, -1])
def test_a_truncated_svhn_file_is_named_in_one_line(tmp_path, kept, compressed):
    path = tmp_path / "train_32x32.mat"
    savemat(path, svhn_variables(*digits("svhn", "train")), do_compression=compressed)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"not a complete MATLAB file|has no variable") as error:
        read_svhn(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404 Not Found</html>" * 40, "not a complete MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "newer format"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path, content, message):
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_svhn(path)


def test_an_svhn_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"test_32x32\.mat is not there"):
        read_svhn(tmp_path / "test_32x32.mat")


# The command


def test_every_tuple_of_the_prepared_data_shows_and_spells_one_class(script, command, tmp_path):
    assert script.main(command) == 0
    for split in SPLITS:
        data = mnist_svhn_text(tmp_path / "data", split)
        labels = data.labels.numpy()
        mnist, svhn = data["mnist"].numpy(), data["svhn"].numpy()
        assert data.name == f"mnist-svhn-text-reduced-{split}"
        assert data.shapes == {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8, 71)}
        assert classes_agree(mnist, svhn, labels, split)
        assert [text.strip() for text in read_text(data["text"].tolist())] == [
            WORDS[label] for label in labels
        ]
        ignorant = svhn[bit_generator(0).random_raw(len(svhn)).argsort()]
        assert not classes_agree(mnist, ignorant, labels, split)  # the twin that forgets classes


def test_the_prepared_data_hold_each_original_once_and_as_many_tuples_of_it_as_matchings(
    script, command, tmp_path
):
    script.main(command)
    for split in SPLITS:
        data = mnist_svhn_text(tmp_path / "data", split)
        counts = [np.bincount(digits(name, split)[1]) for name in ("mnist", "svhn")]
        expected = np.minimum(*counts).sum()
        for name in ("mnist", "svhn"):
            originals = {image.tobytes() for image in data.modalities[name].numpy()}
            assert len(originals) == len(data.modalities[name]) == expected
            assert np.bincount(data.rows[name]).tolist() == [PAIRS] * expected
        assert len(data) == PAIRS * expected


def test_train_and_test_share_no_original(script, command, tmp_path):
    script.main(command)
    train, test = (mnist_svhn_text(tmp_path / "data", split) for split in SPLITS)
    for name in ("mnist", "svhn"):
        originals = [{x.tobytes() for x in data.modalities[name].numpy()} for data in (train, test)]
        assert originals[0].isdisjoint(originals[1])


def test_mnist_svhn_is_the_same_tuples_without_the_text(script, command, tmp_path):
    script.main(command)
    three, two = mnist_svhn_text(tmp_path / "data"), mnist_svhn(tmp_path / "data")
    assert two.name == "mnist-svhn-reduced-train"
    assert list(two.modalities) == ["mnist", "svhn"]
    for name, x in two.batch(slice(0, 9)).items():
        assert x.equal(three.batch(slice(0, 9))[name])


@pytest.mark.parametrize("module", [pair_setup, triple_setup])
def test_the_set_ups_load_what_their_networks_read(script, command, tmp_path, module):
    script.main(command)
    setup = module.setup()
    data = setup.load(tmp_path / "data", "test")
    batch = data.batch(slice(0, 5))
    assert setup.prepare == "data_scripts/mnist_svhn.py"
    assert list(batch) == list(setup.modalities)
    for name, modality in setup.modalities.items():
        loc, _ = modality.encoder(20)(batch[name])
        parameters = modality.decoder(20)(loc)
        assert modality.likelihood.log_prob(parameters, batch[name]).shape == (5,)


def test_the_manifest_says_which_svhn_was_paired_and_how(script, command, raw, tmp_path):
    script.main([*command, "--pairs", "3", "--seed", "4"])
    manifest = tmp_path / "data/mnist-svhn-text-reduced/manifest.json"
    recipe = json.loads(manifest.read_text())["recipe"]
    assert recipe["name"] == "mnist-svhn-text-reduced"
    assert (recipe["pairs"], recipe["seed"]) == (3, 4)
    assert recipe["symbols"] == {"text": 71}
    for split, file in FILES.items():
        assert recipe["svhn"][split] == {
            "file": file,
            "md5": md5(raw / "svhn" / file).removeprefix("md5:"),
            "digits": COUNTS["svhn"][split],
        }


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(script, command, raw, tmp_path):
    found = {}
    for place, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = tmp_path / place
        command = ["--raw", str(raw), "--out", str(out), "--allow-reduced", "--seed", seed]
        assert script.main(command) == 0
        files = sorted((out / "mnist-svhn-text-reduced").iterdir())
        found[place] = [path.read_bytes() for path in files]
    assert found["a"] == found["b"]
    assert found["a"] != found["c"]


def test_svhn_itself_needs_no_flag_and_has_the_plain_name(script, genuine, raw, tmp_path, capsys):
    command = ["--raw", str(raw), "--out", str(tmp_path / "data")]
    assert script.main(command) == 0
    assert mnist_svhn_text(tmp_path / "data").name == "mnist-svhn-text-train"
    assert mnist_svhn(tmp_path / "data").name == "mnist-svhn-train"
    shutil.rmtree(raw)
    assert script.main(["--out", str(tmp_path / "data")]) == 0
    assert "its checksums are right" in capsys.readouterr().out


def test_the_full_data_are_preferred_to_the_reduced_ones(
    script, command, raw, tmp_path, monkeypatch
):
    script.main(command)
    for split, file in FILES.items():
        monkeypatch.setitem(script.MD5, split, md5(raw / "svhn" / file))
    script.main(command)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "mnist-svhn-text",
        "mnist-svhn-text-reduced",
    }
    assert mnist_svhn_text(tmp_path / "data").name == "mnist-svhn-text-train"


def test_one_replaced_file_makes_the_data_reduced(script, command, genuine, tmp_path, monkeypatch):
    monkeypatch.setitem(script.MD5, "test", "md5:0")
    script.main(command)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist-svhn-text-reduced"]


def test_unprepared_data_are_refused_with_the_command_that_prepares_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither mnist-svhn-text nor .*-reduced: run pyt"):
        mnist_svhn_text(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_prepared_file_is_named_and_made_anew(script, command, tmp_path, damage):
    script.main(command)
    path = tmp_path / "data/mnist-svhn-text-reduced/train-svhn.rows.npy"
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"expected sha256 .* again, it makes this file anew"):
        mnist_svhn_text(tmp_path / "data")
    assert script.main(command) == 0
    assert path.read_bytes() == content


def swap(raw: Path) -> None:
    train, test = (raw / "svhn" / file for file in FILES.values())
    contents = train.read_bytes(), test.read_bytes()
    test.write_bytes(contents[0])
    train.write_bytes(contents[1])


def test_a_smaller_svhn_is_refused_without_the_flag(script, command, tmp_path, capsys):
    assert script.main(command[:-1]) == 2
    line = one_line(capsys)
    assert "train_32x32.mat: expected md5:e26dedcc434d2e4c54c9b2d4a06d8373, found md5:" in line
    assert "add --allow-reduced to make mnist-svhn-text-reduced" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("flag", [[], ["--allow-reduced"]])
def test_svhn_with_swapped_names_is_recognised(script, genuine, command, raw, capsys, flag):
    swap(raw)
    assert script.main([*command[:-1], *flag]) == 2
    assert "train_32x32.mat is SVHN's test_32x32.mat: give each file its own" in one_line(capsys)


def test_a_smaller_svhn_with_swapped_names_is_recognised_by_its_counts(
    script, command, raw, capsys
):
    swap(raw)
    assert script.main(command) == 2
    line = one_line(capsys)
    assert "train_32x32.mat holds 50 digits and" in line
    assert "test_32x32.mat 120: SVHN has more to train than to test" in line


def test_one_file_given_twice_is_refused(script, command, raw, capsys):
    shutil.copy(raw / "svhn/train_32x32.mat", raw / "svhn/test_32x32.mat")
    assert script.main(command) == 2
    assert "holds 120 digits and" in one_line(capsys)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "not a complete MATLAB file"),
        (lambda path: savemat(path, {"X": np.zeros(3)}), "has no variable y, only X"),
    ],
)
def test_a_damaged_smaller_svhn_is_one_line(
    script, command, raw, tmp_path, capsys, damage, message
):
    damage(raw / "svhn/test_32x32.mat")
    assert script.main(command) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "data").exists()


def test_a_smaller_svhn_without_one_of_the_digits_is_refused(
    script, command, raw, tmp_path, capsys
):
    images, labels = digits("svhn", "test")
    variables = svhn_variables(images[labels != 7], labels[labels != 7])
    savemat(raw / "svhn/test_32x32.mat", variables)
    assert script.main(command) == 2
    assert "test: class 7 is in one of the two sets only" in one_line(capsys)
    assert not (tmp_path / "data").exists()


def test_no_matching_is_refused_before_anything_is_written(script, command, tmp_path, capsys):
    assert script.main([*command, "--pairs", "0"]) == 2
    assert "0 matchings make no tuple: choose at least 1" in one_line(capsys)
    assert not (tmp_path / "data").exists()


def test_svhn_that_is_nowhere_is_one_line(script, command, raw, capsys):
    (raw / "svhn/train_32x32.mat").unlink()
    assert script.main(command) == 2
    assert "put train_32x32.mat into a folder and name that with --raw" in one_line(capsys)
