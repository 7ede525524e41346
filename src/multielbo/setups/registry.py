"""The set-ups by name."""

from __future__ import annotations

__all__ = ["SETUPS", "module_of", "setup_of"]

from importlib import import_module

from multielbo.setups.setup import Setup

# One module each, imported when asked for: a record rests on its own set-up alone.
SETUPS = {
    "polydigits": "polydigits",
    "polydigits-small": "polydigits_small",
    "polymnist": "polymnist",
    "polymnist-resnet": "polymnist_resnet",
    "polymnist-small": "polymnist_small",
    "coarse-polymnist": "coarse_polymnist",
    "polymnist-published": "polymnist_published",
    "translated-polymnist": "translated_polymnist",
    "translated-polymnist-10": "translated_polymnist_ten",
    "mnist-svhn": "mnist_svhn",
    "mnist-svhn-text": "mnist_svhn_text",
    "mnist-svhn-text-private": "mnist_svhn_text_private",
    "written-spoken-drawn": "written_spoken_drawn",
    "celeba": "celeba",
    "mhd": "mhd",
}


def setup_of(dataset: str) -> Setup:
    """The set-up of that name.

    Raises:
        ValueError: No data set has that name.
    """
    return import_module(module_of(dataset)).setup()


def module_of(dataset: str) -> str:
    """The module that states the set-up of that name.

    Raises:
        ValueError: No data set has that name.
    """
    if dataset not in SETUPS:
        raise ValueError(f"setups: no data set {dataset!r}; choose one of {', '.join(SETUPS)}")
    return f"multielbo.setups.{SETUPS[dataset]}"
