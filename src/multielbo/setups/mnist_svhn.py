"""MNIST-SVHN: MNIST-SVHN-Text without the text, so with the same networks and weights."""

from __future__ import annotations

__all__ = ["setup"]

from dataclasses import replace

from multielbo.data.mnist_svhn import MODALITIES, mnist_svhn
from multielbo.setups import mnist_svhn_text
from multielbo.setups.setup import Setup


def setup() -> Setup:
    """A handwritten digit and a house number, of one class."""
    three = mnist_svhn_text.setup()
    modalities = {name: three.modalities[name] for name in MODALITIES[:2]}
    return replace(three, load=mnist_svhn, modalities=modalities)
