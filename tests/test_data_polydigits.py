"""PolyDigits: one class, several writers, several backgrounds, and no leak between splits."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from multielbo.data import recipe
from multielbo.data.pictures import agate, bricks, portrait
from multielbo.data.polydigits import (
    backgrounds,
    digit_masks,
    polydigits,
    source_pool,
    tuple_sources,
)

CLASSES = load_digits().target


def coincidences(sources: np.ndarray) -> float:
    """How often two modalities of a tuple show one source digit."""
    modalities = sources.shape[1]
    pairs = [(m, n) for m in range(modalities) for n in range(m)]
    return float(np.mean([np.mean(sources[:, m] == sources[:, n]) for m, n in pairs]))


def corner(image: np.ndarray, background: np.ndarray) -> tuple[int, int] | None:
    """Where an image is an exact crop of a background."""
    height, width = image.shape[1:]
    windows = np.lib.stride_tricks.sliding_window_view(background, (height, width), axis=(1, 2))
    rows, columns = np.nonzero((windows == image[:, None, None]).all(axis=(0, 3, 4)))
    return (int(rows[0]), int(columns[0])) if len(rows) else None


def test_the_shapes_are_those_announced():
    train, test = polydigits(), polydigits("test")
    assert (len(train), len(test)) == (5600, 1400)
    assert {x.shape[1:] for x in train.modalities.values()} == {(3, 16, 16)}
    assert list(train.modalities) == ["m0", "m1", "m2", "m3", "m4"]
    assert polydigits(tuples=7, size=28)["m3"].shape == (7, 3, 28, 28)


def test_the_bytes_are_a_function_of_split_and_seed():
    reference = polydigits(tuples=50).sha256
    assert polydigits(tuples=50).sha256 == reference
    assert polydigits(tuples=50, seed=1).sha256 != reference
    assert polydigits("test", tuples=50).sha256 != reference


def test_the_pairing_and_the_drawn_textures_are_the_same_on_every_machine():
    sources, labels = tuple_sources()
    found = hashlib.sha256(sources.tobytes() + labels.tobytes() + bricks().tobytes()).hexdigest()
    assert found == "aa2061a9cc692ecdb94eea79a403c642c88bbcc9d6c5a0c37277b73c3db757a4"


def test_a_shorter_set_is_the_beginning_of_a_longer_one():
    assert polydigits(tuples=30).sha256 == polydigits(tuples=2000).take(slice(0, 30)).sha256


def test_no_source_digit_occurs_in_both_splits_whatever_the_seeds():
    train, test = source_pool("train"), source_pool("test")
    assert sorted([*train, *test]) == list(range(1797))
    for seed in range(3):
        assert set(tuple_sources("train", seed=seed)[0].ravel()) == set(train)
        assert set(tuple_sources("test", seed=seed + 1)[0].ravel()) == set(test)


def test_splitting_the_tuples_after_pairing_would_leak():
    sources, _ = tuple_sources("train")
    assert set(sources[:4480].ravel()) & set(sources[4480:].ravel())


def test_every_tuple_has_one_class_in_all_modalities():
    for split in ("train", "test"):
        sources, labels = tuple_sources(split)
        assert np.array_equal(CLASSES[sources], np.repeat(labels[:, None], 5, axis=1))
        assert np.bincount(labels).min() > 0.9 * len(labels) / 10


def test_permuting_across_classes_would_be_seen():
    sources, labels = tuple_sources("train")
    mixed = np.random.default_rng(0).permutation(sources, axis=0)
    assert not np.array_equal(CLASSES[mixed], np.repeat(labels[:, None], 5, axis=1))


def test_the_modalities_of_a_tuple_show_different_writers_digits():
    """Independent permutations of n digits agree in one place of n."""
    for split in ("train", "test"):
        sources, labels = tuple_sources(split)
        expected = np.mean([1 / np.sum(CLASSES[source_pool(split)] == y) for y in labels])
        standard_error = np.sqrt(expected / (10 * len(labels)))
        assert abs(coincidences(sources) - expected) < 5 * standard_error


def test_pairing_a_digit_with_itself_would_be_seen():
    sources, _ = tuple_sources("train")
    assert coincidences(np.repeat(sources[:, :1], 5, axis=1)) == 1


def test_each_round_shows_every_digit_once_in_every_modality():
    pool = source_pool("train")
    sources, _ = tuple_sources("train", tuples=3 * len(pool))
    for first in range(0, len(sources), len(pool)):
        for m in range(5):
            assert sorted(sources[first : first + len(pool), m]) == list(pool)
    assert not np.array_equal(sources[: len(pool)], sources[len(pool) : 2 * len(pool)])


def test_undoing_the_inversion_where_the_digit_is_leaves_a_crop_of_the_own_background():
    data = polydigits("test", tuples=6)
    masks = digit_masks(16)[tuple_sources("test", tuples=6)[0]]
    pictures = backgrounds()
    for m, (name, images) in enumerate(data.modalities.items()):
        for n, image in enumerate(images.numpy()):
            crop = np.where(masks[n, m], 255 - image, image)
            assert corner(crop, pictures[name]) is not None
            assert all(corner(crop, pictures[k]) is None for k in pictures if k != name)
            another = np.where(masks[(n + 1) % 6, m], 255 - image, image)
            assert corner(image, pictures[name]) is None
            assert corner(another, pictures[name]) is None


def test_a_mask_keeps_the_ink_of_the_source():
    images = load_digits().images
    masks = digit_masks(16)
    ink = images.mean((1, 2)) / 16
    assert np.corrcoef(masks.mean((1, 2)), ink)[0, 1] > 0.9
    assert np.array_equal(digit_masks(8), images >= 8)


def test_the_crop_tells_nothing_about_the_class():
    """Corners and pairing come from separate streams: one does not move with the other."""
    bits = recipe.bit_generator(0, 0, 3, 1)
    corners = recipe.random_corners(backgrounds()["m3"], 16, 5600, bits)
    _, labels = tuple_sources()
    for axis in (0, 1):
        means = [corners[labels == y, axis].mean() for y in range(10)]
        errors = [corners[:, axis].std() / np.sqrt(np.sum(labels == y)) for y in range(10)]
        assert np.all(np.abs(np.subtract(means, corners[:, axis].mean())) < 4 * np.array(errors))


def test_textures_and_pictures_are_all_different_and_larger_than_a_crop():
    pictures = backgrounds()
    assert len({p.tobytes() for p in pictures.values()}) == 5
    assert min(min(p.shape[1:]) for p in pictures.values()) > 64
    assert np.array_equal(agate(), agate())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "no split 'valid': choose from train, test"),
        ({"tuples": 0}, "0 tuples asked for, at least 1"),
        ({"size": 7}, "size 7 is below the 8 pixels"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        polydigits(**arguments)


def test_the_portrait_is_found_without_importing_matplotlib():
    program = (
        "import sys; from multielbo.data.polydigits import polydigits; polydigits(tuples=10); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"not installed: pip install matplotlib$"):
        portrait()
