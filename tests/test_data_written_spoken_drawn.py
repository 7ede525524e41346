"""Written, spoken and drawn digits, prepared from small files in the real formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import wave
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multielbo.data import fsdd, pendigits
from multielbo.data.fsdd import SPEAKERS, read_recordings
from multielbo.data.mnist import FILES, IMAGES
from multielbo.data.pendigits import read_pendigits
from multielbo.data.recipe import bit_generator
from multielbo.data.spectrogram import picture
from multielbo.data.written_spoken_drawn import MODALITIES, pairing, shuffle, written_spoken_drawn
from multielbo.networks import seeded
from multielbo.setups.written_spoken_drawn import setup

IMAGE_COUNTS = {"train": 200, "test": 50}
TAKES = 2  # recordings of each digit by each speaker
STROKE_COUNTS = {"train": 70, "test": 30}


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in MNIST's file format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def wav(samples: np.ndarray, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    """A wav file."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as target:
        target.setframerate(rate)
        target.setnchannels(channels)
        target.setsampwidth(width)
        target.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def said(digit: int, speaker: str, take: int) -> np.ndarray:
    """What a recording holds: noise of its own length."""
    length = 1200 + 40 * digit + take
    bits = bit_generator(digit, take, *speaker.encode()).random_raw(length)
    return (bits >> 50).astype(np.int64) - 8192


def recordings() -> dict[str, bytes]:
    """All recordings by name."""
    return {
        f"{digit}_{speaker}_{take}.wav": wav(said(digit, speaker, take))
        for speaker in sum(SPEAKERS.values(), ())
        for digit in range(10)
        for take in range(TAKES)
    }


def archive(members: dict[str, bytes], folder: str = "recordings/") -> bytes:
    """A zip file of the members in a folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        if folder:
            target.writestr(folder, b"")
        for name, content in members.items():
            target.writestr(folder + name, content)
    return stream.getvalue()


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, all different, and their classes."""
    count = IMAGE_COUNTS[split]
    raw = bit_generator(7, len(split)).random_raw(count * 98)
    return raw.view(np.uint8).reshape(count, 28, 28), np.arange(count) * 7 % 10


def strokes(split: str) -> str:
    """A table of pen digits."""
    count = STROKE_COUNTS[split]
    points = bit_generator(9, len(split)).random_raw(16 * count).reshape(count, 16) % 101
    return "".join(
        f"{','.join(f'{value:3d}' for value in row)}, {n % 10}\n" for n, row in enumerate(points)
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """As many originals as the tests write."""
    for split in ("train", "test"):
        monkeypatch.setitem(IMAGES, split, IMAGE_COUNTS[split])
        monkeypatch.setitem(fsdd.COUNTS, split, 10 * TAKES * len(SPEAKERS[split]))
        monkeypatch.setitem(pendigits.COUNTS, split, STROKE_COUNTS[split])


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    for name in ("mnist", "fsdd", "pendigits"):
        (folder / name).mkdir(parents=True)
    for split, files in FILES.items():
        for name, array in zip(files, digits(split), strict=True):
            (folder / "mnist" / name).write_bytes(gzip.compress(idx(array), mtime=0))
        (folder / "pendigits" / pendigits.FILES[split]).write_text(strokes(split))
    (folder / "fsdd/recordings.zip").write_bytes(archive(recordings()))
    return folder


@pytest.fixture
def main(root, raw, monkeypatch):
    """The command, told that no server answers."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import fetch
    import written_spoken_drawn as script

    nowhere = ("http://127.0.0.1:9/file",)  # the discard port: nobody answers
    remotes = {}
    for path in sorted((raw / "mnist").iterdir()):
        digest = f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        remotes[path.name] = fetch.Remote(f"mnist/{path.name}", nowhere, digest)
    monkeypatch.setattr(script, "mnist_remotes", lambda: remotes)
    for name in ("FSDD", "PENDIGITS"):
        monkeypatch.setattr(script, name, replace(getattr(script, name), urls=nowhere))
    return script.main


def run(main, raw: Path, tmp_path: Path, *more: str) -> int:
    return main(["--raw", str(raw), "--out", str(tmp_path / "data"), *more])


def one_line(capsys) -> str:
    """What was told on stderr, bar progress bars: one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# Pairing


def test_every_source_of_a_class_is_taken_as_often_as_any_other_up_to_one():
    labels, sources = np.arange(1003) * 7 % 10, np.repeat(np.arange(10), 6)
    rows = pairing(labels, sources, bit_generator(0))
    assert np.array_equal(sources[rows], labels)
    taken = np.bincount(rows, minlength=len(sources)).reshape(10, 6)
    assert (np.ptp(taken, axis=1) <= 1).all()


def test_drawing_sources_with_replacement_would_be_seen():
    """The twin that draws each source independently."""
    taken = np.bincount(bit_generator(0).random_raw(1000) % 60, minlength=60)
    assert np.ptp(taken) > 1


def test_each_round_of_sources_comes_in_another_order():
    rows = pairing(np.zeros(40, int), np.zeros(20, int), bit_generator(0))
    first, second = rows[:20], rows[20:]
    assert sorted(first) == sorted(second) == list(range(20))
    assert not np.array_equal(first, second)


def test_a_class_without_source_is_named():
    with pytest.raises(ValueError, match="no source is of class 3"):
        pairing(np.array([1, 3]), np.array([1, 2]), bit_generator(0))


def test_shuffled_images_keep_their_labels_and_leave_their_order():
    images, labels = digits("train")
    shuffled, their = shuffle(images, labels, bit_generator(0))
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [known[image.tobytes()] for image in shuffled] == list(their)
    assert not np.array_equal(their, labels)
    assert sorted(their) == sorted(labels)


def test_labels_of_another_split_are_refused():
    with pytest.raises(ValueError, match="200 images stand beside 50 labels"):
        shuffle(digits("train")[0], digits("test")[1], bit_generator(0))


# The command


def test_prepared_tuples_hold_the_originals_of_their_class(main, raw, tmp_path):
    assert run(main, raw, tmp_path) == 0
    for split in ("train", "test"):
        data = written_spoken_drawn(tmp_path / "data", split)
        images, labels = digits(split)
        assert data.name == f"written-spoken-drawn-{split}"
        assert tuple(data.modalities) == MODALITIES
        written = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
        shown = [image.tobytes() for image in data["written"].numpy()]
        assert sorted(shown) == sorted(written), "every image is in one tuple"
        assert [written[image] for image in shown] == data.labels.tolist()
        spoken = {
            picture(said(digit, speaker, take) / 32768).tobytes(): digit
            for speaker in SPEAKERS[split]
            for digit in range(10)
            for take in range(TAKES)
        }
        assert [spoken[x.tobytes()] for x in data["spoken"].numpy()] == data.labels.tolist()
        points, drawn = read_pendigits(strokes(split).encode(), split, "table")
        paths = {path.tobytes(): digit for path, digit in zip(points, drawn, strict=True)}
        assert [paths[x.tobytes()] for x in data["drawn"].numpy()] == data.labels.tolist()


def test_a_batch_is_in_the_unit_interval_and_of_the_shapes_of_the_setup(main, raw, tmp_path):
    run(main, raw, tmp_path)
    data = setup().load(tmp_path / "data", "train")
    batch = data.batch(slice(0, 7))
    with seeded(0):
        for name, modality in setup().modalities.items():
            x = batch[name]
            assert 0 <= x.min() < x.max() <= 1
            loc, _ = modality.encoder(5)(x)
            found = modality.decoder(5)(loc)
            assert found.shape == x.shape
            assert modality.likelihood.log_prob(found, x).shape == (7,)
    assert setup().likelihood_weights == {"written": 1024 / 784, "spoken": 1.0, "drawn": 64.0}


def test_no_original_is_in_both_splits(main, raw, tmp_path):
    run(main, raw, tmp_path)
    train, test = (written_spoken_drawn(tmp_path / "data", split) for split in ("train", "test"))
    for name in MODALITIES:
        first, second = ({x.tobytes() for x in data[name].numpy()} for data in (train, test))
        assert not first & second
    assert not set(SPEAKERS["train"]) & set(SPEAKERS["test"])


def test_modalities_share_the_class_and_nothing_else(main, raw, tmp_path):
    """Given the class, the place of a recording says nothing about the place of a pen's path."""
    run(main, raw, tmp_path)
    data = written_spoken_drawn(tmp_path / "data", "train")
    spoken, drawn = data.rows["spoken"].numpy(), data.rows["drawn"].numpy()
    ranks = spoken % (TAKES * 4) / (TAKES * 4), drawn // 10 / 7
    assert abs(np.corrcoef(*ranks)[0, 1]) < 4 / np.sqrt(len(data))


def test_the_first_tuples_are_a_fair_sample(main, raw, tmp_path):
    run(main, raw, tmp_path)
    data = written_spoken_drawn(tmp_path / "data", "train").take(slice(0, 100))
    counts = torch.bincount(data.labels, minlength=10).double()
    # Without replacement: variance n p (1 - p) (N - n) / (N - 1), here 4.5.
    assert ((counts - 10) ** 2 / 4.52).sum() < 9 * 3.3  # chi-squared, 9 degrees: once in 2,000


def test_content_and_manifest_vouch_for_each_other(main, raw, tmp_path):
    run(main, raw, tmp_path)
    data = written_spoken_drawn(tmp_path / "data", "test")
    assert data.take(slice(None)).sha256 == data.sha256
    folder = tmp_path / "data/written-spoken-drawn"
    recipe = json.loads((folder / "manifest.json").read_text())["recipe"]
    content = (raw / "fsdd/recordings.zip").read_bytes()
    assert recipe["fsdd"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert recipe["speakers"] == {split: list(names) for split, names in SPEAKERS.items()}


def test_the_tuples_are_the_same_on_every_machine_and_another_seed_makes_others(
    main, raw, tmp_path
):
    run(main, raw, tmp_path)
    first = written_spoken_drawn(tmp_path / "data", "test")
    assert first.sha256 == ("ecd10f2967836f29d0ea82d9797019d2cdcea064e67534ea9b7db7c9e76f60a7")
    assert run(main, raw, tmp_path, "--seed", "1") == 0
    assert written_spoken_drawn(tmp_path / "data", "test").sha256 != first.sha256


def test_the_release_archives_are_read_as_they_are_offered(main, raw, tmp_path):
    """Recordings below the release's folder beside other files, strokes inside UCI's archive."""
    run(main, raw, tmp_path)
    expected = written_spoken_drawn(tmp_path / "data", "train").sha256
    folder = "free-spoken-digit-dataset-1.0.10/"
    (raw / "fsdd/recordings.zip").unlink()
    members = {f"recordings/{name}": content for name, content in recordings().items()}
    members |= {"README.md": b"text", "metadata.py": b"code"}
    (raw / "free-spoken-digit-dataset-1.0.10.zip").write_bytes(archive(members, folder))
    tables = {}
    for file in pendigits.FILES.values():
        tables[file] = (raw / "pendigits" / file).read_bytes()
        (raw / "pendigits" / file).unlink()
    (raw / "pendigits/pendigits.zip").write_bytes(archive(tables | {"pendigits.names": b""}, ""))
    assert main(["--raw", str(raw), "--out", str(tmp_path / "other")]) == 0
    assert written_spoken_drawn(tmp_path / "other", "train").sha256 == expected


def test_a_second_run_needs_no_originals(main, raw, tmp_path, capsys):
    run(main, raw, tmp_path)
    assert main(["--out", str(tmp_path / "data")]) == 0
    assert "its checksums are right" in capsys.readouterr().out


# Bad input


def test_a_truncated_archive_of_recordings_is_named(main, raw, tmp_path, capsys):
    path = raw / "fsdd/recordings.zip"
    path.write_bytes(path.read_bytes()[:-40])
    assert run(main, raw, tmp_path) == 2
    assert f"{path} is not a complete zip file" in one_line(capsys)


def test_a_recording_damaged_inside_the_archive_is_named(tmp_path):
    path = tmp_path / "recordings.zip"
    content = bytearray(archive(recordings()))
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a complete zip file"):
        read_recordings(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("seven_theo_1.wav", b"", "'seven_theo_1.wav' is not named DIGIT_SPEAKER_INDEX.wav"),
        ("10_theo_1.wav", b"", "'10_theo_1.wav' is not named"),
        ("7_theo.wav", b"", "'7_theo.wav' is not named"),
        ("7_theo_1.mp3", b"", "'7_theo_1.mp3' is not named"),
        ("7_nobody_1.wav", b"", "'7_nobody_1.wav' is of a speaker beside george"),
        ("7_theo_1.wav", wav(np.ones(900), rate=16000), "7_theo_1.wav has 16000 Hz"),
        ("7_theo_1.wav", wav(np.ones(900), channels=2), r"has 8000 Hz, 2 channel\(s\)"),
        ("7_theo_1.wav", wav(np.ones(900), width=1), r"1 channel\(s\) and 8 bit, expected 8000"),
        ("7_theo_1.wav", wav(np.ones(900))[:-6], "holds 897 samples, but announces 900"),
        ("7_theo_1.wav", wav(np.ones(0)), "holds 0 samples, but announces 0"),
        ("7_theo_1.wav", b"RIFF", "is no complete wav file"),
        ("7_theo_9.wav", wav(np.ones(900)), "holds 41 recordings of theo, yweweler, expected 40"),
    ],
)
def test_a_recording_of_another_form_is_named_in_one_line(tmp_path, name, content, message):
    path = tmp_path / "recordings.zip"
    path.write_bytes(archive(recordings() | {name: content}))
    with pytest.raises(ValueError, match=message) as error:
        read_recordings(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_recording_is_counted(tmp_path):
    members = recordings()
    del members["3_lucas_0.wav"]
    (tmp_path / "recordings.zip").write_bytes(archive(members))
    with pytest.raises(ValueError, match=r"holds 79 recordings of george.*expected 80"):
        read_recordings(tmp_path / "recordings.zip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row[1:], "line 3 has 16 fields, expected 17"),
        (lambda row: [*row, "0"], "line 3 has 18 fields"),
        (lambda row: ["101", *row[1:]], "line 3 has coordinates from . to 101, outside 0 ... 100"),
        (lambda row: ["-1", *row[1:]], "line 3 has coordinates from -1"),
        (lambda row: [*row[:-1], "10"], "line 3 is of class 10, outside 0 ... 9"),
        (lambda row: ["1.5", *row[1:]], "line 3 holds no integers"),
        (lambda row: ["?", *row[1:]], "line 3 holds no integers"),
    ],
)
def test_a_line_of_another_form_is_named_with_its_number(change, message):
    lines = strokes("train").splitlines()
    lines[2] = ",".join(change(lines[2].split(",")))
    with pytest.raises(ValueError, match=message):
        read_pendigits("\n".join(lines).encode(), "train", "pendigits.tra")


def test_swapped_tables_are_told_by_their_counts(main, raw, tmp_path, capsys):
    for split, other in (("train", "test"), ("test", "train")):
        (raw / "pendigits" / pendigits.FILES[split]).write_text(strokes(other))
    assert run(main, raw, tmp_path) == 2
    told = one_line(capsys)
    assert "pendigits.tra holds 30 digits (as many as pendigits.tes: are the two swapped?)" in told


def test_an_archive_without_the_table_is_named(main, raw, tmp_path, capsys):
    (raw / "pendigits/pendigits.tes").unlink()
    (raw / "pendigits/pendigits.zip").write_bytes(archive({"Index": b""}, ""))
    assert run(main, raw, tmp_path) == 2
    assert "pendigits.zip holds no file pendigits.tes" in one_line(capsys)


def test_a_missing_original_that_no_server_has_is_named(main, raw, tmp_path, capsys):
    (raw / "fsdd/recordings.zip").unlink()
    assert run(main, raw, tmp_path) == 2
    told = one_line(capsys)
    assert "recordings.zip could not be downloaded" in told
    assert "--raw" in told


def test_data_that_were_never_prepared_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/written_spoken_drawn"):
        written_spoken_drawn(tmp_path)
