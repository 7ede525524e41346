"""log p(x_m | z) of linear decoders, as the quadratic of z that it is.

A residual of N dimensions is never formed: what a modality says of z is a vote of D numbers and a
precision. The expectation over a Gaussian z is then in closed form, too.
"""

from __future__ import annotations

__all__ = ["Quadratic", "quadratic"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from multielbo.gaussians import LOG_2PI
from multielbo.mixtures import Posteriors


class Quadratic(NamedTuple):
    """log p(x_m | z) = level + z . vote - z . precision z / 2, of R seeds of B examples each.

    Attributes:
        level: log p(x_m | z = 0), `(M, R, B)`, in nats.
        vote: W_m^T (x_m - b_m) / s^2, `(M, R, B, D)`.
        precision: W_m^T W_m / s^2, `(M, R, D, D)`.
    """

    level: Tensor
    vote: Tensor
    precision: Tensor

    def __call__(self, z: Tensor, wanted: Tensor | None = None) -> Tensor:
        """log p(x_m | z), `(M, ..., R B)`, for latents `(..., R B, D)`, as `LogLikelihood` asks."""
        seeds, examples, dim = self.vote.shape[1:]
        flat = z.reshape(-1, seeds, examples, dim)  # (K, R, B, D)
        rows = flat.movedim(0, 1).reshape(seeds, -1, dim)
        # One product for all modalities: their precisions stand side by side.
        beside = self.precision.movedim(0, 2).flatten(2)  # (R, D, M D)
        pushed = (rows @ beside).view(seeds, -1, examples, len(self.vote), dim)
        pushed = pushed.permute(3, 1, 0, 2, 4)  # (M, K, R, B, D)
        scores = self.level[:, None] + (flat * (self.vote[:, None] - 0.5 * pushed)).sum(-1)
        scores = scores.reshape(len(self.vote), *z.shape[:-1])
        return scores if wanted is None else scores * wanted.T[..., None]

    def expected(self, q: Posteriors) -> Tensor:
        """E_q log p(x_m | z) of a mixture of Gaussians, `(M, R B)`.

        Equation eq-quadratic-expectation.
        """
        spread = q.scale.square().view(len(q.scale), *self.vote.shape[1:])
        blur = torch.einsum("krbd,mrdd->mkrb", spread, self.precision).flatten(2)
        return (q.weights * (self(q.loc) - 0.5 * blur)).sum(1)


def quadratic(weights: dict[str, Tensor], x: Tensor, present: Tensor, noise: float) -> Quadratic:
    """What the data say of latents, under every seed's own decoders.

    Args:
        weights: Of every seed, with "loadings" `(R, M, N, D)` and "offsets" `(R, M, N)`.
        x: Data of each seed, `(M, R, B, N)`, zero in the padding.
        present: Which dimensions a modality has, `(M, N)` bool.
        noise: Observation standard deviation.
    """
    loadings = (weights["loadings"] * present[..., None] / noise).movedim(0, 1)  # (M, R, N, D)
    offsets = (weights["offsets"] * present / noise).movedim(0, 1)[..., None]  # (M, R, N, 1)
    x = x / noise if noise != 1 else x
    both = torch.cat([loadings, offsets], -1)
    products = x @ both  # (M, R, B, D + 1)
    own = offsets.mT @ both  # (M, R, 1, D + 1)
    squares = x.square().sum(-1) - 2 * products[..., -1] + own[..., -1]
    log_norm = present.sum(1) * (math.log(noise) + 0.5 * LOG_2PI)
    level = -0.5 * squares - log_norm[:, None, None]
    return Quadratic(level, products[..., :-1] - own[..., :-1], loadings.mT @ loadings)
