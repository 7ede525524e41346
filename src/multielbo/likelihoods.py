"""What a decoder's output means: the likelihoods p(x | z).

A likelihood turns a decoder's output, `parameters`, into the log-density of an observation. It sums
over all dimensions of an example, with every normalising constant, so results are per example, in
nats. It has no weight of its own: balancing modalities is an argument of the bound.
"""

from __future__ import annotations

__all__ = ["Bernoulli", "Categorical", "Laplace", "Likelihood", "Normal"]

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softplus

from multielbo.gaussians import LOG_2PI


class Likelihood(Protocol):
    """One modality's p(x | z), given what its decoder returns for z."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p(x | z) of each example, summed over its dimensions.

        Args:
            parameters: The decoder's output, `(..., B, *shape)`: any number of draws of z.
            x: Observations, `(B, *shape)`.

        Returns:
            `(..., B)`, in nats.

        Raises:
            ValueError: The shapes do not meet.
        """

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x | z], `(..., B, *shape)`: what is shown of a draw."""


@dataclass(frozen=True)
class Normal:
    """Independent normal pixels around the decoder's output.

    Attributes:
        scale: Standard deviation, in units of x.
    """

    scale: float

    def __post_init__(self) -> None:
        _check_scale(self)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log N(x; parameters, scale^2 I), in nats."""
        deviation = (_meeting(parameters, x) - x).square()
        constant = 0.5 * LOG_2PI + math.log(self.scale)
        return -_per_example(deviation, x) / (2 * self.scale**2) - constant * math.prod(x.shape[1:])

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoder's output."""
        return parameters


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace pixels around the decoder's output.

    Attributes:
        scale: The b of exp(-|x - loc| / b) / 2b, in units of x; the standard deviation is
            sqrt(2) b. The papers on PolyMNIST use 0.75.
    """

    scale: float

    def __post_init__(self) -> None:
        _check_scale(self)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log Laplace(x; parameters, scale), in nats."""
        deviation = (_meeting(parameters, x) - x).abs()
        return -_per_example(deviation, x) / self.scale - math.log(2 * self.scale) * math.prod(
            x.shape[1:]
        )

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoder's output."""
        return parameters


@dataclass(frozen=True)
class Bernoulli:
    """Independent binary pixels; the decoder's output is their logits.

    An x strictly between 0 and 1 gives the binary cross-entropy, which is then no log-density.
    """

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """x log sigmoid(parameters) + (1 - x) log sigmoid(-parameters), in nats."""
        logits = _logits(parameters, x)
        return _per_example(x * logits - softplus(logits), x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The probability of a one."""
        return parameters.sigmoid()


@dataclass(frozen=True)
class Categorical:
    """Independent symbols, one-hot on the last axis; the decoder's output is their logits."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The log-probability of the symbols that x marks, in nats."""
        return _per_example(x * log_softmax(_logits(parameters, x), -1), x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The probability of each symbol."""
        return parameters.softmax(-1)


def _per_example(values: Tensor, x: Tensor) -> Tensor:
    """Sum `(..., B, *shape)` over the dimensions of an example of `x`."""
    return values.sum(tuple(range(1 - x.dim(), 0)))


def _meeting(parameters: Tensor, x: Tensor) -> Tensor:
    """The parameters, if they have the shape of x behind their leading axes.

    Broadcasting would otherwise score a grey picture against three channels without a word.
    """
    if parameters.shape[-x.dim() :] != x.shape:
        raise ValueError(
            f"likelihood: the decoder returns {tuple(parameters.shape)}, which does not end in "
            f"the shape {tuple(x.shape)} of the observations; build it for that shape"
        )
    return parameters


def _logits(parameters: Tensor, x: Tensor) -> Tensor:
    """The parameters as logits, at least as exact as x.

    Under autocast a decoder ends in bfloat16, and a CPU would take logarithms of three digits.
    """
    return _meeting(parameters, x).to(torch.promote_types(parameters.dtype, x.dtype))


def _check_scale(likelihood: Normal | Laplace) -> None:
    if not 0 < likelihood.scale < math.inf:
        name = type(likelihood).__name__
        raise ValueError(f"{name}: scale is {likelihood.scale!r}; give a positive number")
