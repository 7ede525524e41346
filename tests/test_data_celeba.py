"""Bimodal CelebA, prepared from small files in the format that CelebA is distributed in."""

from __future__ import annotations

import hashlib
import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multielbo.data.celeba import (
    ALPHABET,
    ATTRIBUTES,
    LENGTH,
    celeba,
    decode,
    encode,
    sentence,
    texts,
)
from multielbo.data.celeba_originals import crop
from multielbo.data.recipe import bit_generator
from multielbo.likelihoods import Categorical, Laplace
from multielbo.setups.celeba import PRIVATE_BETA, setup

PICTURES = [f"{number:06}.jpg" for number in range(1, 11)]
PARTITION = [0, 2, 0, 0, 1, 0, 2, 0, 1, 0]
ROWS = {"train": [0, 2, 3, 5, 7, 9], "validation": [4, 8], "test": [1, 6]}
ATTRIBUTE_FILE, PARTITION_FILE = "list_attr_celeba.txt", "list_eval_partition.txt"


def values() -> np.ndarray:
    """Attributes of the small files, (10, 40)."""
    return (bit_generator(3).random_raw(400) % np.uint64(4) == 0).reshape(10, 40)


def attribute_lines(names=ATTRIBUTES, rows=None) -> list[str]:
    rows = values() if rows is None else rows
    lines = [
        f"{picture} {' '.join(f'{1 if v else -1:2}' for v in row)}"
        for picture, row in zip(PICTURES, rows, strict=False)
    ]
    return [str(len(PICTURES)), " ".join(names) + " ", *lines]


def partition_lines() -> list[str]:
    return [f"{picture} {split}" for picture, split in zip(PICTURES, PARTITION, strict=True)]


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(number: int, size=(178, 218)) -> Image.Image:
    raw = bit_generator(number).random_raw(8).view(np.uint8)[:48].reshape(4, 4, 3)
    return Image.fromarray(raw).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(PICTURES):
        picture(number).save(folder / "img_align_celeba" / name)
    write(folder / ATTRIBUTE_FILE, attribute_lines())
    write(folder / PARTITION_FILE, partition_lines())
    return folder


@pytest.fixture
def prepare(root, raw, tmp_path, monkeypatch):
    """The command on the small files, whose checksums it takes for the published ones."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    import celeba as script

    def run(*arguments: str, digests: dict[str, str] | None = None) -> int:
        names = (ATTRIBUTE_FILE, PARTITION_FILE, "img_align_celeba.zip")
        known = {name: md5(raw / name) if (raw / name).is_file() else "md5:0" for name in names}
        monkeypatch.setattr(script, "known_digests", lambda: known | (digests or {}))
        return script.main(["--raw", str(raw), "--out", str(tmp_path / "data"), *arguments])

    return run


def md5(path: Path) -> str:
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def told(capsys) -> str:
    """The one line that a failure tells."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# --- the text -------------------------------------------------------------------------------------


def test_the_text_names_present_attributes_in_lower_case_and_leaves_out_absent_ones():
    present = [name in ("5_o_Clock_Shadow", "Male", "No_Beard") for name in ATTRIBUTES]
    assert sentence(present) == "5 o clock shadow, male, no beard"
    assert sentence([False] * 40) == ""
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 40


@pytest.mark.parametrize("draw", [0, 1, 2**64 - 1])
def test_every_text_fills_256_characters_and_comes_back_whole(draw):
    for row in values():
        symbols = encode(sentence(row), draw)
        assert symbols.shape == (LENGTH,)
        assert symbols.dtype == np.uint8
        assert decode(symbols) == sentence(row)


def test_a_text_begins_anywhere_that_leaves_one_star_behind_it():
    text = "male, young"
    starts = {
        "".join(ALPHABET[s] for s in encode(text, draw)).index(text) for draw in range(3 * LENGTH)
    }
    assert starts == set(range(LENGTH - 1 - len(text)))


def test_names_that_find_no_room_are_left_out_from_the_end():
    everything = sentence([True] * 40)
    names = [name.replace("_", " ").lower() for name in ATTRIBUTES]
    kept = len(everything.split(", "))
    assert everything == ", ".join(names[:kept])
    assert len(everything) <= LENGTH < len(", ".join(names[: kept + 1]))
    assert decode(encode(everything, 7)) == everything


@pytest.mark.parametrize("length", [254, 255, 256])
def test_texts_as_long_as_the_room_begin_at_its_beginning(length):
    assert decode(encode("a" * length, 12345)) == "a" * length
    assert "".join(ALPHABET[s] for s in encode("a" * length, 9)).index("a") == 0


@pytest.mark.parametrize(("text", "what"), [("a" * 257, "257 characters"), ("Änne", "characters")])
def test_a_text_that_cannot_be_written_is_refused(text, what):
    with pytest.raises(ValueError, match=what):
        encode(text)


def test_a_text_depends_on_seed_split_and_place_and_not_on_its_neighbours():
    labels = values()
    found = texts(labels, split="train")
    assert np.array_equal(found, texts(labels, split="train"))
    assert np.array_equal(found[:4], texts(labels[:4], split="train"))
    for other in (texts(labels, split="test"), texts(labels, split="train", seed=1)):
        assert not np.array_equal(found, other)
        assert [decode(a) for a in found] == [decode(b) for b in other]
    assert texts(labels[:0], split="train").shape == (0, LENGTH)


# --- the face -------------------------------------------------------------------------------------


def test_a_face_is_the_middle_of_its_picture():
    inside, outside = np.zeros((218, 178, 3), np.uint8), np.zeros((218, 178, 3), np.uint8)
    inside[35 : 35 + 148, 15 : 15 + 148] = 255
    outside[...] = 255
    outside[35 : 35 + 148, 15 : 15 + 148] = 0
    assert (crop(Image.fromarray(inside)) == 255).all()
    assert (crop(Image.fromarray(outside)) == 0).all()


def test_a_face_keeps_its_channels_and_its_direction():
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[:109, :, 0] = 200  # the upper half is red
    face = crop(Image.fromarray(pixels))
    assert face.shape == (3, 64, 64)
    assert (face[0, :28] == 200).all()
    assert (face[0, -28:] == 0).all()
    assert not face[1:].any()


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ROWS)
def test_a_split_holds_its_faces_texts_and_attributes(split, prepare, tmp_path, raw):
    assert prepare() == 0
    data = celeba(tmp_path / "data", split)
    rows = ROWS[split]
    assert data.name == f"celeba-{split}"
    assert data.labels.dtype == torch.bool
    assert np.array_equal(data.labels.numpy(), values()[rows])
    assert data.shapes == {"image": (3, 64, 64), "text": (256, 71)}
    for row, face, text in zip(rows, data["image"], data["text"], strict=True):
        with Image.open(raw / "img_align_celeba" / PICTURES[row]) as original:
            assert np.array_equal(face.numpy(), crop(original))
        assert decode(text) == sentence(values()[row])
    batch = data.batch(slice(0, 2))
    assert batch["text"].shape == (2, 256, 71)
    assert torch.equal(batch["text"].sum(-1), torch.ones(2, 256))


def test_the_archive_gives_the_same_bytes_as_the_folder(prepare, tmp_path, raw):
    assert prepare() == 0
    folder = celeba(tmp_path / "data", "train").sha256
    with zipfile.ZipFile(raw / "img_align_celeba.zip", "w") as archive:
        for name in PICTURES:
            archive.write(raw / "img_align_celeba" / name, f"img_align_celeba/{name}")
    for path in (raw / "img_align_celeba").iterdir():
        path.unlink()
    (raw / "img_align_celeba").rmdir()
    assert prepare("--out", str(tmp_path / "again")) == 0
    assert celeba(tmp_path / "again", "train").sha256 == folder


def test_a_finished_folder_is_left_alone_and_a_damaged_file_is_made_anew(prepare, tmp_path, capsys):
    assert prepare() == 0
    path = tmp_path / "data" / "celeba" / "test-image.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"test-image.npy: expected sha256"):
        celeba(tmp_path / "data", "test")
    assert prepare() == 0
    assert path.read_bytes() == whole
    capsys.readouterr()
    assert prepare() == 0
    assert "is complete and its checksums are right" in capsys.readouterr().out


def test_another_seed_moves_the_texts_and_nothing_else(prepare, tmp_path):
    assert prepare() == 0
    first = json.loads((tmp_path / "data/celeba/manifest.json").read_text())
    assert prepare("--seed", "1") == 0
    other = json.loads((tmp_path / "data/celeba/manifest.json").read_text())
    moved = [name for name in first["files"] if first["files"][name] != other["files"][name]]
    assert moved == ["train-text.npy", "validation-text.npy", "test-text.npy"]


def test_columns_in_another_order_give_the_same_labels(prepare, raw, tmp_path):
    order = list(reversed(range(40)))
    names = [ATTRIBUTES[k] for k in order]
    write(raw / ATTRIBUTE_FILE, attribute_lines(names, values()[:, order]))
    assert prepare() == 0
    found = celeba(tmp_path / "data", "train").labels.numpy()
    assert np.array_equal(found, values()[ROWS["train"]])


def test_the_published_checksums_are_those_that_torchvision_lists(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import celeba as script

    assert all(digest.startswith("md5:") for digest in script.known_digests().values())
    assert len(script.known_digests()) == 3


# --- bad input ------------------------------------------------------------------------------------


def drop_column(raw: Path) -> None:
    names, rows = [n for n in ATTRIBUTES if n != "Smiling"], np.delete(values(), 31, 1)
    write(raw / ATTRIBUTE_FILE, attribute_lines(names, rows))


def extra_column(raw: Path) -> None:
    write(raw / ATTRIBUTE_FILE, attribute_lines((*ATTRIBUTES, "Tall")))


def short_row(raw: Path) -> None:
    lines = attribute_lines()
    lines[4] = lines[4].rsplit(maxsplit=1)[0]
    write(raw / ATTRIBUTE_FILE, lines)


def odd_value(raw: Path) -> None:
    lines = attribute_lines()
    lines[4] = lines[4].rsplit(maxsplit=1)[0] + " 0"
    write(raw / ATTRIBUTE_FILE, lines)


def missing_rows(raw: Path) -> None:
    write(raw / ATTRIBUTE_FILE, attribute_lines()[:-3])


def twin_rows(raw: Path) -> None:
    lines = attribute_lines()
    write(raw / ATTRIBUTE_FILE, [*lines[:-1], lines[2]])


def empty_file(raw: Path) -> None:
    (raw / ATTRIBUTE_FILE).write_text("")


def swapped_text_files(raw: Path) -> None:
    one, other = raw / ATTRIBUTE_FILE, raw / PARTITION_FILE
    first, second = one.read_text(), other.read_text()
    one.write_text(second)
    other.write_text(first)


def swapped_partition(raw: Path) -> None:
    (raw / PARTITION_FILE).write_text((raw / ATTRIBUTE_FILE).read_text())


def picture_as_text(raw: Path) -> None:
    (raw / ATTRIBUTE_FILE).write_bytes((raw / "img_align_celeba" / PICTURES[0]).read_bytes())


def unknown_picture(raw: Path) -> None:
    write(raw / PARTITION_FILE, [*partition_lines(), "999999.jpg 0"])


def odd_split(raw: Path) -> None:
    write(raw / PARTITION_FILE, [*partition_lines()[:-1], f"{PICTURES[-1]} 3"])


def unassigned_picture(raw: Path) -> None:
    write(raw / PARTITION_FILE, partition_lines()[:-2])


def missing_picture(raw: Path) -> None:
    (raw / "img_align_celeba" / PICTURES[3]).unlink()


def truncated_picture(raw: Path) -> None:
    path = raw / "img_align_celeba" / PICTURES[2]
    path.write_bytes(path.read_bytes()[:-400])


def no_picture(raw: Path) -> None:
    (raw / "img_align_celeba" / PICTURES[2]).write_text("none")


def wrong_size(raw: Path) -> None:
    picture(2, (218, 178)).save(raw / "img_align_celeba" / PICTURES[2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_column, "list_attr_celeba.txt has no column Smiling"),
        (extra_column, "list_attr_celeba.txt has a column Tall too many"),
        (short_row, "line 5: expected a picture and 40 values of -1 or 1, found 39 values"),
        (odd_value, "line 5: expected a picture and 40 values of -1 or 1"),
        (missing_rows, "promises 10 pictures and has 7: it is not complete"),
        (twin_rows, "names 000001.jpg twice"),
        (empty_file, "has 0 lines"),
        (swapped_text_files, "is it list_attr_celeba.txt, not swapped"),
        (swapped_partition, "is it list_eval_partition.txt, not swapped"),
        (picture_as_text, "list_attr_celeba.txt: the first line is"),
        (unknown_picture, "line 11: 999999.jpg is unknown to the attribute file"),
        (odd_split, "line 10: expected a picture and its split 0, 1 or 2"),
        (unassigned_picture, "has no row for 2 of 10 pictures, first of all 000009.jpg"),
        (missing_picture, "lacks 1 of 10 pictures, first of all 000004.jpg"),
        (truncated_picture, "000003.jpg is not a complete picture (image file is truncated"),
        (no_picture, "000003.jpg is not a complete picture (cannot identify image file"),
        (wrong_size, "000003.jpg has 218x178 pixels, expected 178x218"),
    ],
    ids=lambda part: part.__name__ if callable(part) else "",
)
def test_bad_originals_are_refused_in_one_line(spoil, message, prepare, raw, tmp_path, capsys):
    spoil(raw)
    assert prepare() == 2
    assert message in told(capsys)
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/celeba.py --out"):
        celeba(tmp_path / "data", "train")


@pytest.mark.parametrize("name", [ATTRIBUTE_FILE, PARTITION_FILE, "img_align_celeba.zip"])
def test_an_original_that_only_differs_is_told_by_its_checksum(name, prepare, raw, capsys):
    if name.endswith(".zip"):
        (raw / "img_align_celeba").rename(raw / "elsewhere")
        with zipfile.ZipFile(raw / name, "w") as archive:
            archive.writestr("img_align_celeba/000001.jpg", b"")
    assert prepare(digests={name: "md5:1"}) == 2
    assert f"{name}: expected md5:1, found md5:" in told(capsys)


@pytest.mark.parametrize("name", [ATTRIBUTE_FILE, PARTITION_FILE, "img_align_celeba"])
def test_an_absent_original_is_said_where_to_get(name, prepare, raw, capsys):
    (raw / name).rename(raw / "elsewhere")
    assert prepare() == 2
    line = told(capsys)
    assert line.startswith(f"error: {name}")
    assert "mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in line
    assert "accept CelebA's terms" in line


# --- the set-up -----------------------------------------------------------------------------------


def test_the_setup_is_that_of_the_paper(prepare, tmp_path):
    assert prepare() == 0
    found = setup()
    assert found.private_dim == 32
    assert found.prepare == "data_scripts/celeba.py"
    assert found.likelihood_weights == {"image": 1.0, "text": 3 * 64 * 64 / 256}
    assert [part.likelihood for part in found.modalities.values()] == [Laplace(0.75), Categorical()]
    assert PRIVATE_BETA == {"image": 2.0, "text": 10.0}
    data = found.load(tmp_path / "data", "test")
    for name, part in found.modalities.items():
        assert part.encoder(64).shape == data.shapes[name]
