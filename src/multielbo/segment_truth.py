"""What the model that made the data in segments says of them: the ceiling of every score."""

from __future__ import annotations

__all__ = ["Truth", "truth"]

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Normal
from torch.nn.functional import leaky_relu

from multielbo.segments import Segments


class Truth(NamedTuple):
    """Estimates for every example.

    Attributes:
        log_likelihood: log p(x, u), `(B,)`, in nats.
        mean: E[z | x, u], `(B, D)`.
    """

    log_likelihood: Tensor
    mean: Tensor


def truth(
    source: Segments, points: Tensor, segment: Tensor, samples: int, generator: Generator
) -> Truth:
    """Importance sampling of y = z A, in which the mixing acts on each coordinate by itself.

    Each coordinate is proposed on either side of the rectifier, as if that went on for ever.

    Args:
        source: Of the data.
        points: x, `(B, D)`.
        segment: u, `(B,)`.
        samples: Draws for each example.
        generator: Source of the draws.
    """
    w = points @ source.mixing.T  # the rectified y, with noise of the same size
    sides = (w, w / source.slope), (source.noise, source.noise / source.slope)
    shape = (samples, *w.shape)
    negative = torch.rand(shape, generator=generator) < 0.5
    centre, spread = (
        torch.where(negative, sides[0][1], sides[0][0]),
        torch.where(negative, *(torch.tensor(s, dtype=w.dtype) for s in reversed(sides[1]))),
    )
    y = centre + spread * torch.randn(shape, generator=generator, dtype=w.dtype)
    proposed = torch.stack([Normal(at, s).log_prob(y) for at, s in zip(*sides, strict=True)])
    z = y @ source.mixing.T
    prior = source.prior
    log_weight = (
        Normal(leaky_relu(y, source.slope), source.noise).log_prob(w).sum(-1)
        + Normal(prior.loc[segment], prior.scale[segment]).log_prob(z).sum(-1)
        + prior.weights[segment].log()
        - (proposed.logsumexp(0) - math.log(2)).sum(-1)
    )
    mean = (log_weight.softmax(0)[..., None] * z).sum(0)
    return Truth(log_weight.logsumexp(0) - math.log(samples), mean)
