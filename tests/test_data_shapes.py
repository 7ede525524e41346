"""Circles and squares: what is drawn, what is shared, and the same bytes for the same seed."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.feature_selection import mutual_info_classif

from multielbo.data.shapes import (
    CLASSES,
    MODALITIES,
    RADII,
    THICKNESS,
    circles_and_squares,
    draw,
    factors,
)


def test_a_full_shape_has_the_area_of_its_formula(dtype):
    radius = torch.linspace(*RADII, 7, dtype=dtype)
    full = torch.zeros(7)
    cell = (2 / 511) ** 2
    areas = {m: draw(m, radius, full, 512).sum((1, 2, 3)) * cell for m in MODALITIES}
    assert (areas["circle"] / (math.pi * radius**2) - 1).abs().max() < 0.01
    assert (areas["square"] / (2 * radius**2) - 1).abs().max() < 0.01
    assert (areas["square"] / (4 * radius**2) - 1).abs().min() > 0.4, "it stands on a corner"


def test_an_empty_shape_is_the_full_one_without_its_middle(dtype):
    radius = torch.full((2,), 0.8, dtype=dtype)
    for modality in MODALITIES:
        full, empty = draw(modality, radius, torch.tensor([0, 1]), 512)
        hole = draw(modality, radius[:1] - THICKNESS, torch.tensor([0]), 512)[0]
        assert (full - empty - hole).abs().mean() < 1e-3  # the rim of the hole belongs to both
        assert hole.mean() > 0.1


def test_pairs_share_their_class_and_nothing_else():
    radii, labels = factors("train")
    assert stats.pearsonr(*radii.T).pvalue > 1e-3
    for label in (0, 1):
        for m in range(2):
            fit = stats.kstest(radii[labels == label, m], stats.uniform(0.3, 0.6).cdf)
            assert fit.pvalue > 1e-3
    data = circles_and_squares("train", 2000, size=16)
    ink = data["circle"].double().mean((1, 2, 3))
    told = mutual_info_classif(
        data["square"].flatten(1).numpy()[:, ::8], (ink > ink.median()).numpy(), random_state=0
    )
    assert told.max() < math.log(2), "a square does not tell its circle's ink"
    assert torch.equal(data.labels, labels[:2000])


def test_the_picture_tells_the_class_of_all_but_small_shapes():
    radius = torch.linspace(*RADII, 61)
    for modality in MODALITIES:
        full, empty = (draw(modality, radius, torch.full((61,), c), 32) for c in (0, 1))
        same = (full == empty).all((1, 2, 3)).flatten()
        assert radius[same].max() < 0.33 if same.any() else True
        assert not same[radius > 0.35].any()


def test_the_same_seed_gives_the_same_bytes_and_splits_differ():
    first, again = (circles_and_squares("test", 50) for _ in range(2))
    assert first.sha256 == again.sha256
    assert first.sha256 != circles_and_squares("test", 50, seed=1).sha256
    train, test = (factors(split, 50)[0] for split in ("train", "test"))
    assert not np.intersect1d(train, test).size
    known = circles_and_squares("test", 50)
    assert known.shapes == {"square": (1, 32, 32), "circle": (1, 32, 32)}
    assert known.classes == len(CLASSES)
    assert set(known["circle"].unique().tolist()) == {0, 255}


def test_fewer_pairs_are_the_first_of_more():
    assert torch.equal(factors("train", 20)[0], factors("train", 50)[0][:20])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "has no split 'valid': choose from train, test"),
        ({"pairs": 0}, "0 pairs asked for, at least 1"),
        ({"size": 4}, "size 4 is below 8 pixels"),
    ],
)
def test_bad_requests_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        circles_and_squares(**arguments)


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="no modality 'triangle': choose from square, circle"):
        draw("triangle", torch.ones(1), torch.zeros(1))
