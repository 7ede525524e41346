"""What set encoders are made of: perceptrons, attention among members, and what may be read."""

from __future__ import annotations

__all__ = ["TransformerBlock", "gaussians_of", "perceptron", "readable"]

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from multielbo.networks import LARGEST_LOG_VARIANCE


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Affine layers of these widths with leaky rectifiers between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class TransformerBlock(nn.Module):
    """Attention among the members of a set, then a network for each, Equation eq-attention-block.

    Layer norms come first, the residual path has none.

    Args:
        width: Width of an element, a multiple of `heads`.
        heads: Number of attention heads.

    Raises:
        ValueError: The heads do not divide the width.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), their released code.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"set encoder: {heads} heads do not divide the width {width}; choose a divisor"
            )
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.join = nn.Linear(width, width, bias=False)
        self.each = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, g: Tensor, members: Tensor) -> Tensor:
        """Elements after the block.

        Args:
            g: Elements, `(K, B, M, W)`.
            members: Which of them belong to the set, `(K, B, M)` bool; the others are answered,
                too, but nobody attends to them.
        """
        g = g + self.join(self.attended(self.norms[0](g), members))
        return g + self.each(self.norms[1](g))

    def attended(self, g: Tensor, members: Tensor) -> Tensor:
        """What each element hears from the members, heads side by side, `(K, B, M, W)`."""
        query, key, value = self.project(g).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        scores = torch.einsum("kbihe,kbjhe->kbhij", query, key) / math.sqrt(key.shape[-1])
        # Not minus infinity: the softmax of an empty set would not be a number.
        hidden = ~members[:, :, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1)
        return torch.einsum("kbhij,kbjhe->kbihe", weights, value).flatten(-2)


def gaussians_of(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, `(..., D)`, from `(..., 2 D)` numbers."""
    loc, log_var = outputs.chunk(2, -1)
    return loc, (0.5 * log_var.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)).exp()


def readable(
    features: Tensor | Sequence[Tensor],
    members: Tensor | None,
    observed: Tensor | None,
    feature_dim: int,
) -> tuple[Tensor, Tensor]:
    """Features with zeros for what no subset holds, and each subset of each example.

    Args:
        features: `(M, B, E)` or M times `(B, E)`.
        members: `(K, M)` or `(K, M, B)` bool, or None for the subset of everything.
        observed: `(M, B)` bool, or None when everything is observed.
        feature_dim: E.

    Returns:
        `(M, B, E)`, and `(K, M, B)` bool.

    Raises:
        ValueError: Shapes disagree.
    """
    if not isinstance(features, Tensor):
        shapes = [tuple(h.shape) for h in features]
        if len(set(shapes)) != 1:
            raise ValueError(
                f"set encoder: features are {', '.join(map(str, shapes)) or 'none'}; give every "
                "modality an encoder of the same number of features"
            )
        features = torch.stack(list(features))
    if features.dim() != 3 or features.shape[-1] != feature_dim:
        raise ValueError(
            f"set encoder: features are {tuple(features.shape)}, expected (modalities, batch, "
            f"{feature_dim})"
        )
    count, batch = features.shape[:2]
    if members is None:
        members = torch.ones(1, count, dtype=torch.bool, device=features.device)
    fits = members.shape[1:] in [(count,), (count, batch)]
    if members.dtype != torch.bool or not fits:
        raise ValueError(
            f"set encoder: members is {members.dtype} {tuple(members.shape)}, expected torch.bool "
            f"(subsets, {count}) or (subsets, {count}, {batch})"
        )
    if members.dim() == 2:
        members = members[..., None].expand(-1, -1, batch)
    if observed is not None:
        if observed.dtype != torch.bool or observed.shape != (count, batch):
            raise ValueError(
                f"set encoder: observed is {observed.dtype} {tuple(observed.shape)}, expected "
                f"torch.bool {(count, batch)}, one row per modality"
            )
        members = members & observed
    return torch.where(members.any(0)[..., None], features, 0.0), members
