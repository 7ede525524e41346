"""The networks of all seeds as batched products: what `LinearVAE` answers, without its overhead.

A loop over layers in place of a mapped module saves most of a small network's time. The last layer
of a sum pooling's inner network is affine, so it is applied to the sum instead of to every member.
"""

from __future__ import annotations

__all__ = ["experts", "sum_pooled"]

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, relu

from multielbo.set_networks import gaussians_of

SLOPE = 0.01  # of `torch.nn.LeakyReLU`


def experts(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Outputs of every seed's unimodal encoders, `(R, M, B, 2 D)`.

    Args:
        weights: Of every seed, as `torch.func.stack_module_state` names those of a `LinearVAE`.
        x: Data of each seed, `(M, R, B, N)`.
    """
    h = x.movedim(1, 0)
    seeds, count = h.shape[:2]
    h = h.flatten(0, 1)
    for layer in (0, 2, 4):
        weight, bias = (
            weights[f"encoders.{layer}.{kind}"].flatten(0, 1) for kind in ("weight", "bias")
        )
        h = torch.baddbmm(bias, h, weight)
        h = relu(h, inplace=True) if layer < 4 else h
    return h.unflatten(0, (seeds, count))


def sum_pooled(
    weights: dict[str, Tensor], features: Tensor, members: Tensor
) -> tuple[Tensor, Tensor]:
    """Answers of every seed's `SumPooling` with one component, two of `(K, R, B, D)`.

    Args:
        weights: As for `experts`.
        features: Of every modality, `(R, M, B, E)`.
        members: Subsets of each example, `(K, M, R, B)` bool.
    """
    seeds, count, batch = features.shape[:3]
    inner = features.reshape(seeds, count * batch, -1)
    for layer in (0, 2):
        inner = leaky_relu(_affine(weights, f"inner.{layer}", inner), SLOPE, inplace=True)
    inner = inner.unflatten(1, (count, batch))
    by_seed = members.movedim(2, 0).to(inner.dtype)  # (R, K, M, B)
    sums = [(row[..., None] * inner).sum(1) for row in by_seed.unbind(1)]
    sizes = by_seed.sum(2).flatten(1)[..., None]  # (R, K B, 1)
    weight, bias = (weights[f"aggregator.inner.4.{kind}"] for kind in ("weight", "bias"))
    h = torch.stack(sums, 1).flatten(1, 2) @ weight.mT + sizes * bias[:, None]
    for layer in (0, 2, 4):
        h = _affine(weights, f"outer.{layer}", h)
        h = leaky_relu(h, SLOPE, inplace=True) if layer < 4 else h
    h = h.unflatten(1, (len(members), batch)).movedim(1, 0)
    return gaussians_of(h[..., 1:])  # the first is the logit of the only component


def _affine(weights: dict[str, Tensor], name: str, h: Tensor) -> Tensor:
    weight, bias = (weights[f"aggregator.{name}.{kind}"] for kind in ("weight", "bias"))
    return torch.baddbmm(bias[:, None], h, weight.mT)
