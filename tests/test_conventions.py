"""What the conventions page says of a set-up or a preset is what the code has."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from multielbo.likelihoods import Categorical
from multielbo.presets import PRESETS
from multielbo.setups.registry import SETUPS, setup_of

PAGE = (Path(__file__).parents[1] / "book" / "conventions.md").read_text(encoding="utf-8")
POLYMNIST = "PolyMNIST and Translated PolyMNIST"
TEXT = "MNIST-SVHN and MNIST-SVHN-Text"
DRAWN = "Written, spoken and drawn digits"


def cell(section: str, row: str, column: int | slice = -1) -> str | list[str]:
    """A cell of the table in a section, or several; by default what it says of ours."""
    _, _, text = PAGE.partition(f"\n## {section}")
    assert text, section
    lines = text.partition("\n## ")[0].splitlines()
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines if line.startswith("|")]
    (found,) = [cells for cells in rows if cells[0] == row]
    return found[column]


def numbers(text: str) -> list[float]:
    """All numbers of a text, ratios as such."""
    found = re.findall(r"\d[\d,]*(?:\.\d+)?(?:/\d+)?", text.replace(r"\beta=", " "))
    return [float(Fraction(number.replace(",", ""))) for number in found]


@pytest.mark.parametrize(
    ("section", "column", "dataset", "order"),
    [
        (TEXT, 2, "mnist-svhn-text", ["svhn", "mnist", "text"]),
        ("Bimodal CelebA", -1, "celeba", ["image", "text"]),
        (DRAWN, -1, "written-spoken-drawn", ["written", "spoken", "drawn"]),
    ],
)
def test_the_likelihood_weights_are_those_of_the_set_up(section, column, dataset, order):
    weights = setup_of(dataset).likelihood_weights
    told = numbers(cell(section, "likelihood weights", column))
    assert told == pytest.approx([weights[name] for name in order], abs=1e-9)


def test_the_weights_of_mhd_are_those_of_the_set_up_as_printed():
    told = numbers(cell("MHD", "likelihood", 1))
    assert told == [round(weight, 2) for weight in setup_of("mhd").likelihood_weights.values()]


@pytest.mark.parametrize(
    ("section", "column", "datasets"),
    [
        (POLYMNIST, 1, [name for name in SETUPS if "polymnist" in name]),
        (TEXT, 2, ["mnist-svhn", "mnist-svhn-text"]),
        ("Bimodal CelebA", 2, ["celeba"]),
        (DRAWN, -1, ["written-spoken-drawn"]),
    ],
)
def test_the_likelihoods_of_pictures_and_paths_and_their_scale_are_told(section, column, datasets):
    said = cell(section, "likelihoods", column)
    (told,) = numbers(said)
    for dataset in datasets:
        found = [part.likelihood for part in setup_of(dataset).modalities.values()]
        scaled = {(type(one), one.scale) for one in found if not isinstance(one, Categorical)}
        ((family, scale),) = scaled
        assert said.lower().startswith(family.__name__.lower()), dataset
        assert scale == told, dataset


def test_polymnist_is_not_weighted_and_the_page_says_so():
    assert "not weighted" in cell(POLYMNIST, "likelihoods", 1)
    for dataset in (name for name in SETUPS if "polymnist" in name):
        assert {*setup_of(dataset).likelihood_weights.values()} == {1.0}


TRAINING = r"latents, $\beta$, training"


@pytest.mark.parametrize(
    ("section", "row", "dataset", "profile"),
    [
        (POLYMNIST, f"{TRAINING} of PolyMNIST", "polymnist", "full"),
        (POLYMNIST, f"{TRAINING} of Translated PolyMNIST", "translated-polymnist", "full"),
        (TEXT, TRAINING, "mnist-svhn-text", "full"),
        ("MHD", TRAINING, "mhd", "full"),
        (DRAWN, TRAINING, "written-spoken-drawn", "laptop"),
    ],
)
def test_the_settings_of_a_preset_are_told(section, row, dataset, profile):
    """Each stands in the row: in our cell, or in that of the paper or the code it is taken from."""
    told = numbers(" ".join(cell(section, row, slice(1, None))))
    preset = PRESETS[dataset, profile]
    for setting in ("latent_dim", "beta", "learning_rate", "batch_size"):
        assert preset[setting] in told, setting


def test_beta_of_the_polymnist_presets_is_told():
    told = numbers(cell("MoPoE", r"$\beta$"))
    assert told == [PRESETS["polymnist", profile]["beta"] for profile in ("full", "laptop")]
    assert numbers(cell("Bimodal CelebA", r"$\beta$"))[0] == PRESETS["celeba", "full"]["beta"]


@pytest.mark.parametrize(
    ("section", "row", "dataset"),
    [
        (POLYMNIST, "log-likelihood: samples and proposals", "polymnist"),
        (TEXT, "log-likelihood", "mnist-svhn-text"),
        ("Bimodal CelebA", "log-likelihood: samples and proposals", "celeba"),
        ("MHD", "log-likelihood", "mhd"),
        (DRAWN, "log-likelihood", "written-spoken-drawn"),
    ],
)
def test_every_set_says_with_how_many_samples_the_likelihood_is_estimated(section, row, dataset):
    profile = "full" if (dataset, "full") in PRESETS else "laptop"
    samples = PRESETS[dataset, profile]["importance_samples"]
    assert tuple(numbers(cell(section, row)))[: len(samples)] == samples


def test_the_tuples_of_celebas_likelihood_are_told():
    told = numbers(cell("Bimodal CelebA", "log-likelihood: tuples"))
    assert tuple(told[:2]) == PRESETS["celeba", "full"]["likelihood_examples"]
