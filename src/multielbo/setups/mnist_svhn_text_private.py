"""MNIST-SVHN-Text with latents that each modality has for itself.

Hirt et al. (2024) train with and without them; how many they take is not known to us. We leave the
networks of `multielbo.setups.mnist_svhn_text` as wide as they are there: of the 20 latents of a
modality 10 are shared and 10 its own. So what changes is who may read a latent, not how many there
are. All divergences have one weight.
"""

from __future__ import annotations

__all__ = ["PRIVATE_DIM", "setup"]

from dataclasses import replace
from functools import partial

from multielbo.private import PrivateMultimodalVAE
from multielbo.setups import mnist_svhn_text
from multielbo.setups.setup import Setup

PRIVATE_DIM = 10


def setup() -> Setup:
    """The set-up without private latents, on other latents."""
    vae = partial(PrivateMultimodalVAE, private_dim=PRIVATE_DIM)
    return replace(mnist_svhn_text.setup(), private_dim=PRIVATE_DIM, vae=vae)
