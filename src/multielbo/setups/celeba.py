"""Bimodal CelebA as Sutter et al. (2021) train on it: a face, and a text of its attributes.

Of the 64 latents of a modality 32 are shared. Likelihoods are weighted by the ratio of data
dimensions (their appendix B), where a text counts its 256 characters and not the symbols of the
alphabet. The divergence of a private latent is weighted as in the released job script.
"""

from __future__ import annotations

__all__ = ["PRIVATE_BETA", "PRIVATE_DIM", "setup"]

from functools import partial

from multielbo.architectures.faces import (
    FACE,
    LENGTH,
    face_decoder,
    face_encoder,
    text_decoder,
    text_encoder,
)
from multielbo.data.celeba import ALPHABET, celeba
from multielbo.likelihoods import Categorical, Laplace
from multielbo.private import PrivateMultimodalVAE
from multielbo.setups.setup import Modality, Setup, dimension_weights

PRIVATE_DIM = 32
# Relative to the shared divergence: the script's factor 2 for all styles, then 1 and 5 by modality.
PRIVATE_BETA = {"image": 2.0 * 1.0, "text": 2.0 * 5.0}


def setup() -> Setup:
    """Two modalities, with 32 private latents each."""
    weights = dimension_weights({"image": FACE, "text": (LENGTH,)})
    symbols = len(ALPHABET)
    image = Modality(face_encoder, face_decoder, Laplace(0.75), weights["image"])
    text = Modality(
        encoder=partial(text_encoder, symbols=symbols),
        decoder=partial(text_decoder, symbols=symbols),
        likelihood=Categorical(),
        weight=weights["text"],
    )
    return Setup(
        celeba,
        {"image": image, "text": text},
        "data_scripts/celeba.py",
        private_dim=PRIVATE_DIM,
        vae=partial(PrivateMultimodalVAE, private_dim=PRIVATE_DIM, private_beta=PRIVATE_BETA),
    )
