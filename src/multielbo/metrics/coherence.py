"""Coherence: whether generated modalities show the class that they should."""

from __future__ import annotations

__all__ = [
    "conditional_coherence",
    "conditional_predictions",
    "joint_coherence",
    "joint_predictions",
    "shared_targets",
]

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo.metrics.estimates import Estimate, mean
from multielbo.metrics.latents import answers, blocks, draw, generate

if TYPE_CHECKING:
    from multielbo.metrics.classifiers import Classifiers
    from multielbo.vae import MultimodalVAE


def conditional_coherence(predicted: Tensor, labels: Tensor) -> Estimate:
    r"""Share of examples generated in their inputs' class, Equation eq-conditional-coherence.

    Args:
        predicted: Class that a classifier sees in each generated example, `(..., N)`.
        labels: Class of the inputs, `(N,)`.

    Returns:
        `(...)`, between 0 and 1.
    """
    return mean(predicted == labels)


def joint_coherence(predicted: Tensor) -> Estimate:
    r"""Share of prior samples that show one class in all modalities, Equation eq-joint-coherence.

    Args:
        predicted: Class that each modality's classifier sees, `(M, N)`.

    Returns:
        A scalar between 0 and 1.
    """
    return mean((predicted == predicted[0]).all(0))


def shared_targets(hits: Tensor, membership: Tensor) -> Tensor:
    """Share of the targets outside each subset that were hit, `(K, N)`.

    Args:
        hits: `(K, M, N)` bool.
        membership: Proper subsets, `(K, M)` bool.
    """
    targets = ~membership
    return (hits & targets[..., None]).sum(1) / targets.sum(1, keepdim=True)


@torch.no_grad()
def conditional_predictions(
    model: MultimodalVAE,
    classifiers: Classifiers,
    loc: Tensor,
    scale: Tensor,
    membership: Tensor,
    generator: Generator | None = None,
    chunk: int = 2048,
) -> Tensor:
    """Classes of the modalities generated from each subset of the others, `(K, M, N)`.

    One latent is drawn from each posterior, and the decoders' means are classified.

    Args:
        model: The model.
        classifiers: One for each modality.
        loc, scale: Unimodal posteriors of the inputs, `(M, N, D)`.
        membership: The K subsets, `(K, M)` bool.
        generator: Source of the draws.
        chunk: Latents decoded at a time, which bounds the memory.

    Returns:
        Classes, and -1 where the modality is itself an input.
    """
    z = torch.stack(
        [draw(q, 1, generator)[0] for q in answers(model.aggregator, loc, scale, membership)]
    )
    predicted = torch.full((*membership.shape, loc.shape[1]), -1, dtype=torch.int64)
    for m, name in enumerate(model.modalities):
        absent = ~membership[:, m]
        latents = z[absent.to(z.device)].flatten(0, 1)
        classes = [
            classifiers.predict(name, generate(model, name, latents[rows]))
            for rows in blocks(len(latents), chunk)
        ]
        predicted[absent, m] = torch.cat(classes).unflatten(0, (-1, loc.shape[1])).cpu()
    return predicted


@torch.no_grad()
def joint_predictions(
    model: MultimodalVAE,
    classifiers: Classifiers,
    samples: int,
    generator: Generator | None = None,
    chunk: int = 2048,
) -> Tensor:
    """Classes of all modalities generated from draws of the prior, `(M, samples)`.

    Args:
        model: The model.
        classifiers: One for each modality.
        samples: Draws of the prior.
        generator: Source of the draws.
        chunk: Latents decoded at a time, which bounds the memory.
    """
    weights = next(model.parameters())
    noise = weights.new_empty(samples, model.latent_dim).normal_(generator=generator)
    classes = [
        [classifiers.predict(name, generate(model, name, z)) for z in noise.split(chunk)]
        for name in model.modalities
    ]
    return torch.stack([torch.cat(parts) for parts in classes]).cpu()
