"""What MMVAE+ learns of a private factor, with linear decoders of fixed noise."""

from __future__ import annotations

__all__ = ["auxiliary_loading"]

import torch
from torch import Tensor


def auxiliary_loading(
    true: Tensor | float, noise: Tensor | float, chance: float, spread: float
) -> Tensor:
    """Squared loading of a private latent that others guess, Equation eq-auxiliary-loading.

    Args:
        true: w_0^2, the squared loading in the data.
        noise: s^2, the noise variance.
        chance: r, the share of terms in which the modality's own encoder gives its private latent.
        spread: rho, the standard deviation of the auxiliary prior that all other terms draw from.
    """
    true, noise = (torch.as_tensor(v, dtype=torch.float64) for v in (true, noise))
    pull = 4 * (1 - chance) / chance * spread**2 / noise
    variance = 2 * (true + noise) / (1 + (1 + pull * (true + noise)).sqrt())
    return (variance - noise).clamp_min(0)
