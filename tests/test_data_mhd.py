"""MHD, prepared from small files in the layout that its authors distribute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from multielbo.data.mhd import MODALITIES, SHAPES, mhd, read_original, unrolled
from multielbo.likelihoods import Normal
from multielbo.setups.mhd import setup

COUNTS = {"train": 12, "test": 5}
EXTREMES = [{"min": -1.25, "max": 1.5}, {"min": -80.0, "max": 0.0}]


def original(split: str) -> list:
    """Labels, pictures, trajectories, sounds, and two pairs of extremes."""
    count = COUNTS[split]
    generator = Generator().manual_seed(count)
    shapes = ((1, 28, 28), (200,), (4, 32, 32))
    parts = [torch.rand(count, *shape, generator=generator) for shape in shapes]
    return [torch.arange(count) % 10, *parts, *EXTREMES]


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    folder.mkdir()
    for split in COUNTS:
        torch.save(tuple(original(split)), folder / f"mhd_{split}.pt")
    return folder


@pytest.fixture
def prepare(root, raw, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    import mhd as script

    return lambda: script.main(["--raw", str(raw), "--out", str(tmp_path / "data")])


def told(capsys) -> str:
    """The one line that a failure tells."""
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert not captured.out
    return lines[0]


def test_a_sound_is_unrolled_block_by_block_with_its_frames_first():
    stored = torch.arange(2 * 4 * 32 * 32).reshape(2, 4, 32, 32)
    found = unrolled(stored)
    assert found.shape == (2, 1, 32, 128)
    for example, block, band, frame in [(0, 0, 0, 0), (1, 3, 31, 2), (0, 2, 5, 30)]:
        assert found[example, 0, frame, 32 * block + band] == stored[example, block, band, frame]


@pytest.mark.parametrize("split", COUNTS)
def test_a_split_holds_what_the_authors_file_holds(split, prepare, tmp_path):
    assert prepare() == 0
    data = mhd(tmp_path / "data", split)
    labels, image, trajectory, audio, *_ = original(split)
    assert data.name == f"mhd-{split}"
    assert data.shapes == SHAPES
    assert torch.equal(data.labels, labels)
    batch = data.batch(slice(0, 3))
    assert torch.equal(batch["image"], image[:3])
    assert torch.equal(batch["trajectory"], trajectory[:3])
    assert torch.equal(batch["audio"], unrolled(audio)[:3])
    assert list(data.modalities) == list(MODALITIES)


def test_the_manifest_keeps_the_extremes_and_the_checksums_of_the_originals(prepare, tmp_path):
    assert prepare() == 0
    recipe = json.loads((tmp_path / "data/mhd/manifest.json").read_text())["recipe"]
    assert recipe["extremes"]["train"] == dict(zip(("trajectory", "audio"), EXTREMES, strict=True))
    assert set(recipe["originals"]) == {"mhd_train.pt", "mhd_test.pt"}


@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.tensor], ids=lambda k: k.__name__)
def test_extremes_may_be_scalars_of_numpy_or_tensors(kind, tmp_path):
    parts = original("test")
    parts[4] = {key: kind(value) for key, value in EXTREMES[0].items()}
    torch.save(tuple(parts), tmp_path / "file.pt")
    assert read_original(tmp_path / "file.pt").extremes["trajectory"] == EXTREMES[0]


def test_a_finished_folder_is_left_alone_and_a_missing_file_is_made_anew(prepare, tmp_path, capsys):
    assert prepare() == 0
    path = tmp_path / "data" / "mhd" / "train-audio.npy"
    whole = path.read_bytes()
    path.unlink()
    assert prepare() == 0
    assert path.read_bytes() == whole
    capsys.readouterr()
    assert prepare() == 0
    assert "is complete and its checksums are right" in capsys.readouterr().out


# --- bad input ------------------------------------------------------------------------------------


def changed(part: int, value) -> Callable[[Path], None]:
    def spoil(raw: Path) -> None:
        parts = original("train")
        parts[part] = value(parts[part])
        torch.save(tuple(parts), raw / "mhd_train.pt")

    return spoil


class Harmful:
    """A pickle that would call a function."""

    def __reduce__(self):
        return print, ("this must not run",)


def truncated(raw: Path) -> None:
    path = raw / "mhd_train.pt"
    path.write_bytes(path.read_bytes()[:-2000])


def no_file_of_torch(raw: Path) -> None:
    (raw / "mhd_train.pt").write_text("<html>Google Drive could not scan this file</html>")


def harmful(raw: Path) -> None:
    torch.save(Harmful(), raw / "mhd_train.pt")


def three_parts(raw: Path) -> None:
    torch.save(tuple(original("train")[:3]), raw / "mhd_train.pt")


def twins(raw: Path) -> None:
    (raw / "mhd_test.pt").write_bytes((raw / "mhd_train.pt").read_bytes())


def swapped(raw: Path) -> None:
    (raw / "mhd_test.pt").rename(raw / "kept.pt")
    (raw / "mhd_train.pt").rename(raw / "mhd_test.pt")
    (raw / "kept.pt").rename(raw / "mhd_train.pt")


def absent(raw: Path) -> None:
    (raw / "mhd_train.pt").unlink()


BAD = {
    "truncated": (truncated, "mhd_train.pt is no complete file of torch"),
    "a page of the server": (no_file_of_torch, "mhd_train.pt is no complete file of torch"),
    "code": (harmful, "mhd_train.pt is no complete file of torch"),
    "parts": (three_parts, "holds a tuple of 3, expected six parts"),
    "twins": (twins, "are the same file"),
    "swapped": (swapped, "has 12 tuples and"),
    "absent": (absent, "download it from https://docs.google.com/uc?export=download&id="),
    "fewer": (changed(1, lambda x: x[:-1]), "image is torch.float32 (11, 1, 28, 28), expected"),
    "channels": (changed(1, lambda x: x.expand(-1, 3, -1, -1)), "(12, 3, 28, 28), expected"),
    "size": (changed(2, lambda x: x[:, :-1]), "trajectory is torch.float32 (12, 199), expected"),
    "pieces": (changed(3, lambda x: x[:, :3]), "audio is torch.float32 (12, 3, 32, 32), expected"),
    "integers": (changed(1, lambda x: x.byte()), "image holds torch.uint8 (12, 1, 28, 28)"),
    "infinite": (changed(3, lambda x: x / 0), "audio holds torch.float32 (12, 4, 32, 32)"),
    "classes": (changed(0, lambda x: x + 1), "labels run from 1 to 10, outside 0 ... 9"),
    "no labels": (changed(0, lambda x: x.tolist()), "labels is a list of 12, expected a tensor"),
    "extremes": (changed(5, lambda x: x["max"]), "the extremes of audio are a float, expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_originals_are_refused_in_one_line(name, prepare, raw, tmp_path, capsys):
    spoil, message = BAD[name]
    spoil(raw)
    assert prepare() == 2
    assert message in told(capsys)
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/mhd.py --out"):
        mhd(tmp_path / "data", "train")


# --- the set-up -----------------------------------------------------------------------------------


def test_the_setup_is_that_of_multivae_s_authors():
    found = setup()
    assert found.prepare == "data_scripts/mhd.py"
    assert found.private_dim == 0
    # Three channels are counted for a picture that has one.
    assert found.likelihood_weights == {
        "image": 32 * 128 / (3 * 28 * 28),
        "audio": 1.0,
        "trajectory": 32 * 128 / 200,
    }
    for name, part in found.modalities.items():
        assert part.likelihood == Normal(1.0)
        encoder, decoder = part.encoder(6), part.decoder(6).eval()
        assert encoder.shape == SHAPES[name]
        assert decoder(torch.zeros(1, 6)).shape == (1, *SHAPES[name])
