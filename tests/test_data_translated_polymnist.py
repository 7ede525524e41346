"""Translated PolyMNIST: exact scaling, places, pairing, and the command on files as they are."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from multielbo.data.mnist import FILES, IMAGES
from multielbo.data.pictures import bricks
from multielbo.data.polymnist import modality as polymnist_modality
from multielbo.data.recipe import bit_generator
from multielbo.data.translated_polymnist import (
    MODALITIES,
    NAMES,
    modality,
    placed,
    rings,
    three_quarters,
    translated_polymnist,
)
from multielbo.setups.translated_polymnist import setup
from multielbo.setups.translated_polymnist_ten import setup as setup_ten

COUNTS = {"train": 60, "test": 20}
BLACK = np.zeros((3, 40, 40), np.uint8)


def noise(count: int, size: int = 28) -> np.ndarray:
    """Images of noise, all different."""
    return bit_generator(5).random_raw(count * size**2 // 8).view(np.uint8).reshape(-1, size, size)


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise and their classes."""
    count = COUNTS[split]
    return noise(count), np.arange(count) * 7 % 10


def strokes(count: int) -> np.ndarray:
    """One bright square each, of side 8 in the middle."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 10:18, 10:18] = 255
    return images


# Scaling


def test_the_scaled_digit_is_torch_s_bilinear_interpolation(dtype):
    images = noise(50)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None].to(dtype), scale_factor=0.75, mode="bilinear"
    )[:, 0]
    found = three_quarters(images) / 36
    assert found.shape == (50, 21, 21)
    assert np.abs(found - expected.numpy()).max() < 1e-12


def test_the_scaled_digit_is_scipy_s_linear_interpolation_at_the_pixels_centres():
    image = noise(1)[0].astype(float)
    centres = (np.arange(21) + 0.5) * 4 / 3 - 0.5
    points = np.stack(np.meshgrid(centres, centres, indexing="ij"))
    expected = map_coordinates(image, points, order=1)
    assert np.abs(three_quarters(noise(1))[0] / 36 - expected).max() < 1e-12


def test_weights_are_whole_sixths():
    for i in range(21):
        centre = (Fraction(2 * i + 1, 2)) * Fraction(4, 3) - Fraction(1, 2)
        assert centre == Fraction(8 * i + 1, 6)


def test_scaling_from_the_pixels_corners_or_with_a_low_pass_would_be_seen():
    """Two plausible mistakes: aligned corners, and Pillow's filter, which averages more pixels."""
    images = noise(20)
    exact = three_quarters(images) / 36
    corners = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None].double(), (21, 21), mode="bilinear", align_corners=True
    )[:, 0]
    filtered = np.stack(
        [Image.fromarray(image).resize((21, 21), Image.Resampling.BILINEAR) for image in images]
    )
    assert np.abs(exact - corners.numpy()).mean() > 1
    assert np.abs(exact - filtered).mean() > 1


def test_the_largest_grey_value_does_not_overflow():
    white = np.full((1, 28, 28), 255, np.uint8)
    assert (three_quarters(white) == 255 * 36).all()


def test_a_side_without_three_quarters_is_refused():
    with pytest.raises(ValueError, match="images of 30 pixels have no three quarters"):
        three_quarters(np.zeros((1, 30, 30), np.uint8))


# Places


def test_a_digit_lies_where_its_place_says_and_nothing_else_is_drawn():
    drawn = np.ones((2, 3, 3), bool)
    found = placed(drawn, np.array([[0, 1], [2, 0]]), 5)
    assert found.sum() == 18
    assert found[0, 0:3, 1:4].all()
    assert found[1, 2:5, 0:3].all()


def test_every_place_of_seven_by_seven_is_drawn_about_equally_often():
    count = 4900
    built = modality(strokes(count), np.zeros(count, int), BLACK, split="train", index=0)
    ink = built[:, 0] == 255
    rows, columns = ink.any(2).argmax(1), ink.any(1).argmax(1)
    found, times = np.unique(np.stack([rows, columns]), axis=1, return_counts=True)
    assert len(times) == 49
    assert set(np.ptp(found, axis=1)) == {6}
    assert ((times - 100) ** 2 / 100).sum() < 85  # chi-squared, 48 degrees: once in 1,000


def test_no_digit_is_cut_off():
    built = modality(strokes(200), np.zeros(200, int), BLACK, split="train", index=0)
    inks = (built[:, 0] == 255).sum((1, 2))
    assert set(inks) == {(three_quarters(strokes(1)) > 128 * 36).sum()}


def test_the_place_of_one_modality_says_nothing_about_another_s():
    count = 4900
    places = []
    for index in range(2):
        built = modality(strokes(count), np.zeros(count, int), BLACK, split="train", index=index)
        places.append((built[:, 0] == 255).any(2).argmax(1))
    standard_error = 1 / np.sqrt(count)
    assert abs(np.corrcoef(places)[0, 1]) < 4 * standard_error


# Recipe


def test_backgrounds_are_cropped_as_in_polymnist():
    images, labels = digits("train")
    where = {"split": "train", "index": 2, "seed": 4}
    translated = modality(np.zeros_like(images), labels, bricks(64), **where)
    original = polymnist_modality(np.zeros_like(images), labels, bricks(64), **where)
    assert np.array_equal(translated, original)


def test_a_tuple_shows_the_digits_of_the_same_tuple_of_polymnist():
    shade = np.arange(60) * 2 + 130  # each image its own bright square, of its own size
    images = np.zeros((60, 28, 28), np.uint8)
    for n in range(60):
        images[n, : 4 + n % 20, : 4 + n // 20] = shade[n]
    labels = np.arange(60) % 5
    where = {"split": "train", "index": 1}
    small = (modality(images, labels, BLACK, **where)[:, 0] == 255).sum((1, 2))
    large = (polymnist_modality(images, labels, BLACK, **where)[:, 0] == 255).sum((1, 2))
    scaled = {}
    for n, ink in enumerate((three_quarters(images) > 128 * 36).sum((1, 2))):
        scaled.setdefault(int((images[n] > 128).sum()), set()).add(int(ink))
    assert all(int(s) in scaled[int(x)] for s, x in zip(small, large, strict=True))
    assert len(set(large)) > 20


def test_a_grey_value_of_128_is_not_ink_and_129_is():
    for grey, ink in ((128, 0), (129, 3 * 21**2 * 255)):
        images = np.full((1, 28, 28), grey, np.uint8)
        built = modality(images, np.zeros(1, int), BLACK, split="train", index=0)
        assert built.sum() == ink


def test_the_images_are_the_same_on_every_machine():
    images, labels = digits("test")
    built = modality(images, labels, bricks(64), split="test", index=2, seed=3)
    assert hashlib.sha256(built.tobytes()).hexdigest() == (
        "1fe929d602e95936f3b3134a98a867917e48a475a1b6f6594939d1ea60486290"
    )


@pytest.mark.parametrize("change", [{"seed": 1}, {"index": 1}, {"split": "test"}])
def test_seed_modality_and_split_draw_independently(change):
    images, labels = digits("train")
    first = {"split": "train", "index": 0, "seed": 0}
    reference = modality(images, labels, bricks(64), **first)
    other = modality(images, labels, bricks(64), **(first | change))
    assert np.mean((reference == other).all(axis=(1, 2, 3))) < 0.05


def test_a_drawn_background_leaves_room_for_its_inverse():
    """A digit is seen where a colour and its inverse differ, so not around middle grey."""
    assert np.abs(255 - 2 * rings().astype(int)).max(0).min() > 128


# The command


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    (folder / "mnist").mkdir(parents=True)
    for split, files in FILES.items():
        for name, array in zip(files, digits(split), strict=True):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)
            (folder / "mnist" / name).write_bytes(content)
    (folder / "backgrounds").mkdir()
    for k, name in enumerate(("fractal_tree", "The_Scream", "star_field", "shingles")):
        picture = np.roll(bricks(64), 17 * k, axis=2).transpose(1, 2, 0)
        Image.fromarray(picture).save(folder / "backgrounds" / f"{name}.jpg")
    return folder


@pytest.fixture
def command(root, raw, monkeypatch, tmp_path):
    """The command, told to expect the small originals and to find no mirror."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import fetch
    import polymnist as polymnist_script
    import translated_polymnist as script

    nowhere = ("http://127.0.0.1:9/file",)  # the discard port: nobody answers
    remotes = {}
    for path in sorted((raw / "mnist").iterdir()):
        digest = f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        remotes[path.name] = fetch.Remote(f"mnist/{path.name}", nowhere, digest)
    backgrounds = {
        m: replace(remote, urls=nowhere, digest=None)
        for m, remote in polymnist_script.BACKGROUNDS.items()
    }
    monkeypatch.setattr(script, "mnist_remotes", lambda: remotes)
    monkeypatch.setattr(polymnist_script, "BACKGROUNDS", backgrounds)
    for split, count in COUNTS.items():
        monkeypatch.setitem(IMAGES, split, count)
    return lambda *more: script.main(["--raw", str(raw), "--out", str(tmp_path / "data"), *more])


@pytest.mark.parametrize("backgrounds", [5, 10])
def test_what_the_command_prepares_is_what_the_recipe_makes(command, tmp_path, backgrounds):
    assert command("--backgrounds", str(backgrounds)) == 0
    data = translated_polymnist(tmp_path / "data", "test", backgrounds)
    images, labels = digits("test")
    assert data.name == f"{NAMES[backgrounds]}-test"
    assert tuple(data.modalities) == MODALITIES[backgrounds]
    assert set(data.shapes.values()) == {(3, 28, 28)}
    assert np.array_equal(data.labels, labels)
    if backgrounds == 10:
        expected = modality(images, labels, bricks(), split="test", index=8)
        assert np.array_equal(data["m8"], expected)


def test_five_of_ten_modalities_are_those_of_five(command, tmp_path):
    command()
    command("--backgrounds", "10")
    five, ten = (translated_polymnist(tmp_path / "data", "train", n) for n in NAMES)
    assert all(torch.equal(five[m], ten[m]) for m in MODALITIES[5])


def test_the_manifest_says_which_backgrounds_are_substitutes(command, tmp_path):
    command("--backgrounds", "10")
    manifest = json.loads((tmp_path / "data" / NAMES[10] / "manifest.json").read_text())
    pictures = manifest["recipe"]["backgrounds"]
    assert tuple(pictures) == MODALITIES[10]
    substitutes = {m for m, picture in pictures.items() if "substitute" in picture}
    assert substitutes == {"m1", "m2", "m5", "m6", "m7", "m8", "m9"}
    assert all(len(picture["sha256"]) == 64 for picture in pictures.values())


def test_a_second_run_writes_nothing_and_another_seed_other_images(command, tmp_path, capsys):
    command()
    first = translated_polymnist(tmp_path / "data")
    command()
    assert "its checksums are right" in capsys.readouterr().out
    command("--seed", "1")
    assert translated_polymnist(tmp_path / "data").sha256 != first.sha256


@pytest.mark.parametrize("file", ["mnist/train-images-idx3-ubyte.gz", "backgrounds/shingles.jpg"])
def test_a_truncated_original_stops_the_command_in_one_line(command, raw, capsys, file, tmp_path):
    (raw / file).write_bytes((raw / file).read_bytes()[:-200])
    assert command() == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert str(raw / file) in told[0]
    assert not (tmp_path / "data").exists()


def test_data_that_were_never_prepared_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"translated_polymnist\.py --backgrounds 10 --out"):
        translated_polymnist(tmp_path, backgrounds=10)


def test_another_number_of_backgrounds_is_refused(tmp_path):
    with pytest.raises(ValueError, match="5 or 10 backgrounds, not 7"):
        translated_polymnist(tmp_path, backgrounds=7)


@pytest.mark.parametrize(("made", "count"), [(setup, 5), (setup_ten, 10)])
def test_the_set_up_has_the_modalities_and_shapes_of_its_data(made, count, command, tmp_path):
    command("--backgrounds", str(count))
    parts = made()
    data = parts.load(tmp_path / "data", "test")
    assert tuple(parts.modalities) == tuple(data.modalities)
    first = parts.modalities["m0"]
    loc, _ = first.encoder(4)(data.batch(slice(0, 2))["m0"])
    assert first.decoder(4)(loc).shape == (2, *data.shapes["m0"])
