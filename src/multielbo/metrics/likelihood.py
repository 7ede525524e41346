"""Importance-sampled log-likelihood, and how far to trust it."""

from __future__ import annotations

__all__ = ["importance_log_likelihood", "log_likelihoods"]

import math
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo.gaussians import log_prior
from multielbo.metrics.estimates import Estimate
from multielbo.metrics.latents import answers, blocks, draw
from multielbo.mixtures import Posteriors
from multielbo.objectives import LogLikelihood

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData
    from multielbo.vae import MultimodalVAE


def importance_log_likelihood(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    samples: int,
    generator: Generator | None = None,
    chunk: int = 512,
) -> Estimate:
    r"""log 1/L sum_l p(x | z_l) p(z_l) / q(z_l | x_S) with z_l from q, Equation eq-importance.

    On average it lies below log p(x), ever less so as L grows.

    Args:
        q: The proposal, a mixture for each of B examples.
        log_likelihood: log p(x_m | z) of all modalities that are to be explained.
        samples: The number L.
        generator: Source of the draws.
        chunk: Latents decoded at a time, which bounds the memory.

    Returns:
        The estimate `(B,)`, in nats, and its Monte Carlo error to first order: never above one,
        reached when a single sample carries all the weight (not a number for a single sample).
    """
    batch = q.loc.shape[1]
    log_weights = []
    for part in torch.arange(samples).split(max(1, chunk // batch)):
        z = draw(q, len(part), generator)
        log_weights.append(log_likelihood(z).sum(0) + log_prior(z) - q.log_density(z))
    log_weight = torch.cat(log_weights)  # (L, B)
    share = log_weight.softmax(0)
    spread = (share - 1 / samples).square().sum(0)
    error = (spread * samples / (samples - 1)).sqrt()
    return Estimate(log_weight.logsumexp(0) - math.log(samples), error)


@torch.no_grad()
def log_likelihoods(
    model: MultimodalVAE,
    data: MultimodalData,
    membership: Tensor,
    samples: int,
    generator: Generator | None = None,
    batch_size: int = 256,
) -> Estimate:
    """log p(x) of all modalities, with the posterior of each subset as proposal, `(K, N)`.

    Args:
        model: The model; its likelihoods count unweighted, whatever it was trained with.
        data: N tuples.
        membership: The K subsets, `(K, M)` bool.
        samples: Importance samples for each example and subset.
        generator: Source of the draws.
        batch_size: Examples at a time.
    """
    columns = []
    for rows in blocks(len(data), batch_size):
        batch = data.batch(rows)
        loc, scale, _ = model.encode(batch)
        score = model.log_likelihood(batch, generator=generator)
        found = [
            importance_log_likelihood(q, score, samples, generator)
            for q in answers(model.aggregator, loc, scale, membership)
        ]
        columns.append([torch.stack(part) for part in zip(*found, strict=True)])
    return Estimate(*(torch.cat(part, 1) for part in zip(*columns, strict=True)))
