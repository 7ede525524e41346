"""Weights by hand: a sum pooling that is the product of experts, exactly and for every subset.

On the oracle the precision of p(z | x_S) depends on S alone, so it takes finitely many values, and
a rectifier network can look them up. Nothing is trained and nothing is approximated.
"""

from __future__ import annotations

__all__ = ["product_by_sum", "votes"]

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from multielbo.masks import all_subsets
from multielbo.oracle import LinearGaussian
from multielbo.set_encoders import SumPooling


def votes(oracle: LinearGaussian, batch: Mapping[str, Tensor]) -> Tensor:
    """Features for `product_by_sum`: precision-weighted means, and the modality's number 2^m.

    Args:
        oracle: The model.
        batch: Modalities, `(B, D_m)`.

    Returns:
        `(M, B, D + 1)`, affine in x.
    """
    found = []
    for m, (name, w) in enumerate(oracle.loadings.items()):
        vote = batch[name] @ w / oracle.noise[name] ** 2
        found.append(torch.cat([vote, torch.full_like(vote[:, :1], 2.0**m)], 1))
    return torch.stack(found)


def product_by_sum(precision: Tensor, reach: float) -> SumPooling:
    """A `SumPooling` that answers with the product of all experts and the prior.

    It does so wherever no sum of votes is larger than `reach`. The sum of the numbers 2^m names
    the subset, and every subset has hidden units of its own that are silent for all others,
    Equation eq-gated-product.

    Args:
        precision: Of the likelihood of every modality, `(M, D)`.
        reach: Largest absolute sum of votes, in any dimension.

    Raises:
        ValueError: `reach` is not positive.
    """
    if reach <= 0:
        raise ValueError(f"set encoder: reach is {reach}; it must be positive")
    count, dim = precision.shape
    subsets = all_subsets(count)
    names = subsets.to(precision.dtype) @ 2.0 ** torch.arange(count, dtype=precision.dtype)
    total = 1 + subsets.to(precision.dtype) @ precision  # (K, D)
    width = len(subsets) * (4 * dim + 2)
    encoder = SumPooling(dim + 1, dim, width).to(precision.dtype)
    for parameter in encoder.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        _pass_through(encoder.inner, dim + 1)
        _look_up(encoder.outer, names, total, reach)
    return encoder


def _pass_through(network: nn.Sequential, dim: int) -> None:
    """Make a network the identity on `dim` numbers: x is a difference of its leaky halves."""
    first, leak, second, _, last = network
    split, join = _halves(torch.eye(dim, dtype=first.weight.dtype), leak.negative_slope)
    first.weight[: 2 * dim, :dim] = split
    second.weight[: 2 * dim, : 2 * dim] = split @ join
    last.weight[:dim, : 2 * dim] = join


def _look_up(network: nn.Sequential, names: Tensor, total: Tensor, reach: float) -> None:
    """Make a network divide the votes by the row of `total` that their subset's name selects."""
    first, leak, second, _, last = network
    (count, dim), slope = total.shape, leak.negative_slope
    split, join = _halves(torch.eye(dim, dtype=total.dtype), slope)
    first.weight[: 2 * dim, :dim] = split
    away = torch.arange(2 * count).view(2, count) + 2 * dim  # units of +-(name - name_k)
    first.weight[away[0], dim], first.bias[away[0]] = 1.0, -names
    first.weight[away[1], dim], first.bias[away[1]] = -1.0, names
    unit = 0
    for k in range(count):
        distance = torch.zeros_like(first.bias)
        distance[away[:, k]] = 1 / (1 - slope)  # |t| from the two leaky rectifiers of +-t
        for d in range(dim):
            mean = torch.zeros_like(distance)
            mean[: 2 * dim] = join[d] / total[k, d]
            for sign in (1.0, -1.0):
                _rectifier(second, unit, sign * mean - reach * distance, 0.0)
                _read(last, 1 + d, unit, sign, slope)
                unit += 2
        _rectifier(second, unit, -distance, 1.0)
        for d in range(dim):
            _read(last, 1 + dim + d, unit, float(-total[k, d].log()), slope)
        unit += 2


def _halves(identity: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Rows that split x into x and -x, and rows that join their leaky rectifiers to x again."""
    return torch.cat([identity, -identity]), torch.cat([identity, -identity], 1) / (1 + slope)


def _rectifier(layer: nn.Linear, unit: int, weight: Tensor, bias: float) -> None:
    """Two leaky units, of t and of -t, from which `_read` makes the rectifier of t."""
    layer.weight[unit], layer.bias[unit] = weight, bias
    layer.weight[unit + 1], layer.bias[unit + 1] = -weight, -bias


def _read(layer: nn.Linear, output: int, unit: int, factor: float, slope: float) -> None:
    layer.weight[output, unit] += factor / (1 - slope**2)
    layer.weight[output, unit + 1] += factor * slope / (1 - slope**2)
