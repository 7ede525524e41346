"""Decoders of all modalities with leaky rectifiers, and their likelihoods, of all seeds at once."""

from __future__ import annotations

__all__ = ["SLOPE", "Decoders", "Explained", "decoded"]

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from multielbo.gaussians import LOG_2PI
from multielbo.linear_networks import StackedLinear

SLOPE = 0.1  # that of the rectifiers in the data


class Decoders(nn.Module):
    """For each modality affine maps with leaky rectifiers between them.

    Args:
        present: Which dimensions a modality has, `(M, N)` bool.
        latent_dim: D.
        width: Of the hidden layers; with D the maps are square where N is D, and one-to-one.
        layers: Number of affine maps.
    """

    def __init__(self, present: Tensor, latent_dim: int, width: int, layers: int) -> None:
        super().__init__()
        count, outputs = present.shape
        sizes = [latent_dim, *[width] * (layers - 1), outputs]
        self.maps = nn.ModuleList(
            StackedLinear(torch.full((count,), a), b) for a, b in pairwise(sizes)
        )
        for each in self.maps:  # far from singular, and so from folding
            for weight in each.weight:
                nn.init.orthogonal_(weight)
            nn.init.zeros_(each.bias)


def decoded(weights: dict[str, Tensor], z: Tensor) -> Tensor:
    """Means or logits of every modality, `(M, K, R, B, N)`.

    Args:
        weights: Of every seed, `decoders.maps.0.weight` `(R, M, D, W)` and so on.
        z: Latents, `(K, R, B, D)`.
    """
    draws, seeds, examples, _ = z.shape
    count = weights["decoders.maps.0.weight"].shape[1]
    h = z.movedim(1, 0).flatten(1, 2)[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    layers = sum(name.startswith("decoders.maps.") for name in weights) // 2
    for layer in range(layers):
        weight, bias = (
            weights[f"decoders.maps.{layer}.{kind}"].flatten(0, 1) for kind in ("weight", "bias")
        )
        h = torch.baddbmm(bias, h, weight)
        h = leaky_relu(h, SLOPE, inplace=True) if layer < layers - 1 else h
    return h.view(seeds, count, draws, examples, -1).permute(1, 2, 0, 3, 4)


@dataclass(frozen=True)
class Explained:
    """log p(x_m | z) of R seeds, zero where x_m is missing: what `LogLikelihood` asks.

    Attributes:
        weights: Of decoders, and `log_noise` `(R, M)` for modalities that are no classes.
        x: Data of each seed, `(M, R, B, N)`, zero where missing and in the padding.
        present: Which dimensions a modality has, `(M, N)` bool.
        classes: Which modalities are classes, `(M,)` bool.
        observed: `(M, R B)` bool.
    """

    weights: dict[str, Tensor]
    x: Tensor
    present: Tensor
    classes: Tensor
    observed: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """`(M, ..., R B)` in nats, for latents `(..., R B, D)`."""
        seeds, examples = self.x.shape[1:3]
        outputs = decoded(self.weights, z.reshape(-1, seeds, examples, z.shape[-1]))
        scores = torch.stack(
            [
                self._of_class(outputs[m], m) if a_class else self._of_normal(outputs[m], m)
                for m, a_class in enumerate(self.classes.tolist())
            ]
        )
        scores = scores.reshape(len(self.x), *z.shape[:-1])
        shape = (len(self.x), *[1] * (z.dim() - 2), seeds * examples)
        return torch.where(self.observed.view(shape), scores, 0.0)

    def _of_normal(self, mean: Tensor, m: int) -> Tensor:
        here, log_noise = self.present[m], self.weights["log_noise"][:, m, None]  # (R, 1)
        squares = (self.x[m][..., here] - mean[..., here]).square().sum(-1)  # (K, R, B)
        log_norm = int(here.sum()) * (log_noise + 0.5 * LOG_2PI)
        return -0.5 * squares * (-2 * log_noise).exp() - log_norm

    def _of_class(self, logits: Tensor, m: int) -> Tensor:
        logits = logits.masked_fill(~self.present[m], -math.inf)
        # A padded logit times the zero there would not be a number.
        return (self.x[m] * logits.masked_fill(~self.present[m], 0)).sum(-1) - logits.logsumexp(-1)
