"""Test data in latent space: encoded once, then answered for every subset of the modalities."""

from __future__ import annotations

__all__ = ["answers", "conditional_samples", "draw", "encode", "prior_draws", "representation"]

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator
from multielbo.gaussians import sample
from multielbo.mixtures import Posteriors

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData
    from multielbo.vae import MultimodalVAE


@torch.no_grad()
def encode(
    model: MultimodalVAE, data: MultimodalData, batch_size: int = 512
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of every modality's posterior, `(M, N, D)` each."""
    batches = [model.encode(data.batch(rows)) for rows in blocks(len(data), batch_size)]
    return torch.cat([loc for loc, *_ in batches], 1), torch.cat([s for _, s, *_ in batches], 1)


def answers(
    aggregator: Aggregator, loc: Tensor, scale: Tensor, membership: Tensor
) -> Iterator[Posteriors]:
    """The posterior of each of K subsets in turn, from the same unimodal posteriors.

    Args:
        aggregator: How subsets are answered.
        loc, scale: Unimodal posteriors, `(M, B, D)`.
        membership: `(K, M)` bool.
    """
    for row in membership.to(loc.device):
        yield aggregator.posterior(loc, scale, row[:, None].expand(loc.shape[:2]))


def draw(q: Posteriors, samples: int, generator: Generator | None = None) -> Tensor:
    """Independent draws from each example's mixture, `(samples, B, D)`.

    Args:
        q: The mixture, `(K, B, D)`.
        samples: Draws for each example.
        generator: Source of the components and of the noise.
    """
    return sample(*_components(q, samples, generator), generator)


def representation(q: Posteriors, generator: Generator | None = None) -> Tensor:
    """One latent to stand for each example: the posterior's mean, `(B, D)`.

    Of a mixture it is the mean of one component, drawn for each example, because that is where
    the decoder will find it. The average over components lies where no component is, and would
    see all inputs at once, which the mixture's samples never do.
    """
    return _components(q, 1, generator)[0][0]


def prior_draws(model: MultimodalVAE, samples: int, generator: Generator | None = None) -> Tensor:
    """Draws from the prior, `(samples, D)`, where the model is and of its type."""
    weights = next(model.parameters())
    return weights.new_empty(samples, model.latent_dim).normal_(generator=generator)


@torch.no_grad()
def conditional_samples(
    model: MultimodalVAE,
    batch: Mapping[str, Tensor],
    membership: Tensor,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """All modalities as generated from each of K subsets of a batch, `(K, B, *shape)` by name.

    One latent is drawn from each posterior, and the decoders' means are shown.
    """
    loc, scale, _ = model.encode(batch)
    posteriors = answers(model.aggregator, loc, scale, membership)
    z = torch.stack([draw(q, 1, generator)[0] for q in posteriors])
    return {name: model.generate(name, z, generator=generator) for name in model.modalities}


def blocks(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `length`."""
    return (slice(start, start + size) for start in range(0, length, size))


def _components(q: Posteriors, samples: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of one component for each draw, `(samples, B, D)`."""
    components, batch = q.weights.shape
    if components == 1:
        return q.loc.expand(samples, -1, -1), q.scale.expand(samples, -1, -1)
    choice = torch.multinomial(q.weights.T, samples, replacement=True, generator=generator).T
    rows = torch.arange(batch, device=choice.device)
    return q.loc[choice, rows], q.scale[choice, rows]
