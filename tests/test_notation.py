"""The notation page is a contract: every dotted name on it exists in the package."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from multielbo.mixtures import Posteriors

PAGE = Path(__file__).parents[1] / "book" / "notation.md"


def dotted_names(text: str) -> list[str]:
    return re.findall(r"`(multielbo\.[\w.]+|Posteriors\.\w+)`", text)


def resolve(name: str) -> object:
    if name.startswith("Posteriors."):
        return getattr(Posteriors, name.split(".")[1])
    parts = name.split(".")
    found = import_module(".".join(parts[:2]))
    for part in parts[2:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", dotted_names(PAGE.read_text()))
def test_every_name_of_the_notation_page_exists(name):
    assert resolve(name) is not None


def test_a_name_that_does_not_exist_is_caught():
    with pytest.raises(AttributeError):
        resolve("multielbo.barycenters.geometric_mean")
    assert dotted_names("| x | `multielbo.barycenters.geometric_mean` |")
