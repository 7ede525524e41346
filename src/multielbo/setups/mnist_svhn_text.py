"""MNIST-SVHN-Text as Sutter et al. (2021) train on it, with the networks of their released code.

Likelihoods are weighted by the ratio of data dimensions to SVHN's (their appendix B). Of the text
they count the eight characters, not the symbols of the alphabet.
"""

from __future__ import annotations

__all__ = ["setup"]

from multielbo.architectures.digits import (
    LENGTH,
    MNIST,
    SVHN,
    mnist_decoder,
    mnist_encoder,
    svhn_decoder,
    svhn_encoder,
    text_decoder,
    text_encoder,
)
from multielbo.data.mnist_svhn import mnist_svhn_text
from multielbo.likelihoods import Categorical, Laplace
from multielbo.setups.setup import Modality, Setup, dimension_weights

IMAGES = Laplace(0.75)


def setup() -> Setup:
    """A handwritten digit, a house number and a word, of one class."""
    weights = dimension_weights({"mnist": MNIST, "svhn": SVHN, "text": (LENGTH,)})
    parts = {
        "mnist": (mnist_encoder, mnist_decoder, IMAGES),
        "svhn": (svhn_encoder, svhn_decoder, IMAGES),
        "text": (text_encoder, text_decoder, Categorical()),
    }
    modalities = {name: Modality(*part, weights[name]) for name, part in parts.items()}
    return Setup(mnist_svhn_text, modalities, "data_scripts/mnist_svhn.py")
