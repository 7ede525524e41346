"""The published PolyMNIST archive, in small files of both known layouts, whole and damaged."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multielbo.data.mnist import IMAGES
from multielbo.data.polymnist_archive import MODALITIES, polymnist_published
from multielbo.data.polymnist_zip import CLASS_COUNTS, class_by_class, open_archive
from multielbo.data.recipe import bit_generator
from multielbo.setups.polymnist_published import setup

COUNTS = {"train": (2, 1, 3, 1, 1, 1, 2, 1, 1, 1), "test": (1, 1, 1, 2, 1, 1, 1, 1, 1, 1)}
PUBLISHED = dict(CLASS_COUNTS)  # before any test makes it small
Members = dict[str, bytes]


def names(split: str) -> list[tuple[int, int]]:
    """Number and digit of each image, in the order of the digits."""
    return [(n, digit) for digit, count in enumerate(COUNTS[split]) for n in range(count)]


def images(split: str, m: str) -> np.ndarray:
    """Images of noise, all different, in the order of `names`."""
    count = len(names(split))
    raw = bit_generator(3, len(split), int(m[1])).random_raw(count * 294)
    return raw.view(np.uint8).reshape(count, 3, 28, 28)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "png")
    return stream.getvalue()


def pt(tensor: object) -> bytes:
    stream = io.BytesIO()
    torch.save(tensor, stream)
    return stream.getvalue()


def pictures(top: str = "PolyMNIST/") -> Members:
    """The layout of PNG files, out of order as a file system lists them."""
    found = {"clf/pretrained_img_to_digit_clf_m0": b"weights"}
    for split in COUNTS:
        for m in MODALITIES:
            pairs = list(zip(names(split), images(split, m), strict=True))
            for (n, digit), image in reversed(pairs):
                found[f"{top}{split}/{m}/{n}.{digit}.png"] = png(image)
    return found


def tensors(top: str = "MMNIST/", scale: Callable = lambda x: x.float() / 255) -> Members:
    """The layout of tensors, with an order of the tuples of their own."""
    found = {"clf/pretrained_img_to_digit_clf_m0": b"weights"}
    for split in COUNTS:
        order = torch.from_numpy(np.argsort(bit_generator(9).random_raw(len(names(split)))))
        labels = torch.tensor([digit for _, digit in names(split)])
        found[f"{top}{split}/labels.pt"] = pt(labels[order])
        for m in MODALITIES:
            stored = torch.from_numpy(images(split, m))
            found[f"{top}{split}/{m}.pt"] = pt(scale(stored)[order])
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Expect the small archive's classes."""
    for split, counts in COUNTS.items():
        monkeypatch.setitem(CLASS_COUNTS, split, counts)


@pytest.fixture
def command(root, monkeypatch, tmp_path):
    """Write an archive with the given members and run the command on it."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    import polymnist_archive as script

    def run(members: Members, cut: int = 0) -> int:
        raw = tmp_path / "originals"
        raw.mkdir(exist_ok=True)
        path = raw / "PolyMNIST.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
        return script.main(["--raw", str(raw), "--out", str(tmp_path / "data")])

    return run


def refusal(capsys) -> str:
    """What was told on stderr: one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def content(data) -> set[tuple[int, bytes]]:
    """Label and images of each tuple, whatever the order."""
    stored = np.stack([data[m].numpy() for m in MODALITIES], 1)
    return {(int(y), x.tobytes()) for y, x in zip(data.labels, stored, strict=True)}


def expected(split: str) -> set[tuple[int, bytes]]:
    stored = np.stack([images(split, m) for m in MODALITIES], 1)
    return {(d, x.tobytes()) for (_, d), x in zip(names(split), stored, strict=True)}


# What is read


@pytest.mark.parametrize(
    "members",
    [
        pictures(),
        pictures("MMNIST/"),
        pictures(""),
        pictures("PolyMNIST/MMNIST/"),
        tensors(),
        tensors("PolyMNIST/"),
        tensors(scale=lambda x: x),
    ],
    ids=[
        "PNG",
        "PNG as MMNIST",
        "PNG at the top",
        "PNG deeper",
        "floats",
        "floats, other",
        "bytes",
    ],
)
def test_both_layouts_give_every_tuple_with_its_label(command, tmp_path, members):
    assert command(members) == 0
    for split in COUNTS:
        data = polymnist_published(tmp_path / "data", split)
        assert data.name == f"polymnist-published-{split}"
        assert content(data) == expected(split)


@pytest.mark.parametrize("members", [pictures(), tensors()], ids=["PNG", "tensors"])
def test_the_first_tuples_show_one_digit_of_each_class(command, tmp_path, members):
    command(members)
    assert polymnist_published(tmp_path / "data").labels[:10].tolist() == list(range(10))


def test_the_order_by_class_is_a_permutation():
    labels = np.array([3, 3, 0, 3, 0, 1])
    found = class_by_class(labels)
    assert labels[found].tolist() == [0, 1, 3, 0, 3, 3]
    assert found.tolist() == [2, 5, 0, 4, 1, 3]


def test_the_expected_classes_are_as_many_as_mnist_s():
    assert {split: sum(counts) for split, counts in PUBLISHED.items()} == IMAGES


def test_the_manifest_names_the_archive_and_its_checksum(command, tmp_path):
    command(tensors())
    folder = tmp_path / "data/polymnist-published"
    recipe = json.loads((folder / "manifest.json").read_text())["recipe"]
    assert recipe["layout"] == "tensors"
    assert recipe["originals"]["PolyMNIST.zip"].startswith("sha256:")


def test_the_photograph_that_is_not_free_is_named_once(command, capsys):
    command(pictures())
    told = capsys.readouterr()
    assert (told.out + told.err).count("not free") == 1
    command(pictures())
    assert "not free" not in capsys.readouterr().out


def test_the_set_up_has_the_modalities_of_the_data(command, tmp_path):
    command(pictures())
    data = setup().load(tmp_path / "data", "test")
    assert tuple(setup().modalities) == tuple(data.modalities)


def test_data_that_were_never_prepared_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/polymnist_archive\.py"):
        polymnist_published(tmp_path)


# What is refused


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: {key: x for key, x in members.items() if not key.endswith(name)}


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    return lambda members: {k: change(x) if k.endswith(name) else x for k, x in members.items()}


def renamed(old: str, new: str) -> Callable[[Members], Members]:
    return lambda members: {key.replace(old, new): x for key, x in members.items()}


def swapped(members: Members) -> Members:
    return {
        key.replace("train/", "*").replace("test/", "train/").replace("*", "test/"): x
        for key, x in members.items()
    }


def loaded(change: Callable) -> Callable[[bytes], bytes]:
    return lambda stored: pt(change(torch.load(io.BytesIO(stored), weights_only=True)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda members: {"README.md": b""}, "has neither m0/NUMBER.DIGIT.png nor m0.pt"),
        (lambda m: {k: x for k, x in m.items() if "test/m4/" not in k}, "has no test/m4/NUMBER"),
        (without("train/m2/1.2.png"), "train/m2 and train/m0 hold 13 and 14 images, not as many"),
        (renamed("train/m3/1.2.png", "train/m3/1.3.png"), "disagree in their labels: .* 1.2.png"),
        (renamed("2.2.png", "2.12.png"), "has label 12, outside 0 ... 9"),
        (renamed("2.2.png", "1.3.png"), "has the digit 2 2 times, MNIST has it 3 times"),
        (swapped, "train/m0 holds MNIST's test digits, train and test swapped"),
        (
            changed("test/m1/0.4.png", lambda x: png(np.zeros((3, 28, 27), np.uint8))),
            r"test/m1/0.4.png is of shape \(28, 27, 3\), expected 28x28 pixels in 3 colours",
        ),
        (
            changed("test/m1/0.4.png", lambda x: x[:60]),
            "test/m1/0.4.png is not a complete picture",
        ),
    ],
)
def test_a_spoilt_archive_of_pictures_is_refused_in_one_line(
    command, capsys, tmp_path, spoil, message
):
    assert command(spoil(pictures())) == 2
    told = refusal(capsys)
    assert str(tmp_path / "originals/PolyMNIST.zip") in told
    assert re.search(message, told)
    with pytest.raises(FileNotFoundError):
        polymnist_published(tmp_path / "data")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("train/labels.pt"), "has no train/labels.pt"),
        (without("test/m4.pt"), "has no test/m4.pt"),
        (changed("train/m1.pt", loaded(lambda x: x[1:])), "m1.pt holds 13 images for 14 labels"),
        (
            changed("train/m1.pt", loaded(lambda x: x[..., 1:])),
            r"holds images of shape \(3, 28, 27\), expected \(3, 28, 28\)",
        ),
        (changed("test/m0.pt", loaded(lambda x: 255 * x)), "neither bytes nor values in 0 ... 1"),
        (changed("test/m0.pt", loaded(lambda x: x.long())), "neither bytes nor values in 0 ... 1"),
        (changed("train/labels.pt", loaded(lambda x: x + 1)), "has label 10, outside 0 ... 9"),
        (changed("train/labels.pt", loaded(lambda x: x - 1)), "has label -1, outside 0 ... 9"),
        (changed("train/labels.pt", loaded(lambda x: x / 2)), r"holds torch.float32 \(14,\)"),
        (changed("train/m2.pt", loaded(lambda x: {"x": x})), "holds a dict, not a tensor"),
        (changed("train/m2.pt", lambda x: b"weights"), "m2.pt is no file of a tensor"),
        (changed("train/m2.pt", lambda x: x[:-900]), "m2.pt is no file of a tensor"),
        (swapped, "train/labels.pt holds MNIST's test digits, train and test swapped"),
    ],
)
def test_a_spoilt_archive_of_tensors_is_refused_in_one_line(
    command, capsys, tmp_path, spoil, message
):
    assert command(spoil(tensors())) == 2
    told = refusal(capsys)
    assert str(tmp_path / "originals/PolyMNIST.zip") in told
    assert re.search(message, told)
    with pytest.raises(FileNotFoundError):
        polymnist_published(tmp_path / "data")


def test_a_truncated_archive_is_refused_in_one_line(command, capsys, tmp_path):
    assert command(pictures(), cut=100) == 2
    told = refusal(capsys)
    assert f"{tmp_path / 'originals/PolyMNIST.zip'} is not a complete zip file" in told
    assert not (tmp_path / "data").exists()


def test_a_flipped_byte_inside_the_archive_is_refused(tmp_path):
    path = tmp_path / "PolyMNIST.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, stored in tensors().items():
            archive.writestr(name, stored)
        start = archive.getinfo("MMNIST/train/m0.pt").header_offset
    spoilt = bytearray(path.read_bytes())
    spoilt[start + 2000] ^= 1
    path.write_bytes(spoilt)
    assert open_archive(path).images("train", "m1").shape == (14, 3, 28, 28)
    with pytest.raises(ValueError, match=r"train/m0\.pt is damaged \(Bad CRC-32"):
        open_archive(path).images("train", "m0")


def test_a_file_that_would_run_code_is_not_unpickled(command, capsys, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    assert command(changed("train/m0.pt", lambda x: pt(Hostile()))(tensors())) == 2
    assert "is no file of a tensor" in refusal(capsys)
    assert not (tmp_path / "ran").exists()
