"""Coherence: whether generated modalities show the class, or the attributes, that they should."""

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
from multielbo.metrics.latents import answers, blocks, draw, prior_draws

if TYPE_CHECKING:
    from multielbo.metrics.classifiers import Classifiers
    from multielbo.vae import MultimodalVAE


def conditional_coherence(predicted: Tensor, labels: Tensor) -> Estimate:
    r"""Share of examples generated in their inputs' class, Equation eq-conditional-coherence.

    Attributes have no such share: `multielbo.metrics.judgement` gives their average precision.

    Args:
        predicted: Class that a classifier sees in each generated example, `(..., N)`.
        labels: Class of the inputs, `(N,)`.

    Returns:
        `(...)`, between 0 and 1.

    Source:
        Sutter, Daunhawer and Vogt (2021), appendix B.
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


def shared_targets(values: Tensor, membership: Tensor) -> Tensor:
    """Mean over the targets outside each subset, `(K, N)`.

    Args:
        values: `(K, M, N)`: hits, or anything that is averaged over targets.
        membership: Proper subsets, `(K, M)` bool.
    """
    targets = ~membership
    return (values * targets[..., None]).sum(1) / targets.sum(1, keepdim=True)


@torch.no_grad()
def conditional_predictions(
    model: MultimodalVAE,
    classifiers: Classifiers,
    loc: Tensor,
    scale: Tensor,
    membership: Tensor,
    generator: Generator | None = None,
    chunk: int = 256,
) -> Tensor:
    """What classifiers see in the modalities generated from each subset of the others.

    One latent is drawn from each posterior, and the decoders' means are classified.

    Args:
        model: The model.
        classifiers: One for each modality.
        loc, scale: Unimodal posteriors of the inputs, `(M, N, D)`.
        membership: The K subsets, `(K, M)` bool.
        generator: Source of the draws.
        chunk: Latents decoded at a time, which bounds the memory.

    Returns:
        Classes `(K, M, N)`, or scores of attributes `(K, M, N, A)`; -1 where the modality is
        itself an input.
    """
    z = torch.stack(
        [draw(q, 1, generator)[0] for q in answers(model.aggregator, loc, scale, membership)]
    )
    columns = []
    for m, name in enumerate(model.modalities):
        absent = ~membership[:, m]
        latents = z[absent.to(z.device)].flatten(0, 1)
        seen = [
            classifiers.predict(name, model.generate(name, latents[rows], generator=generator))
            for rows in blocks(len(latents), chunk)
        ]
        found = torch.cat(seen).unflatten(0, (-1, loc.shape[1])).cpu()
        columns.append(found.new_full((len(membership), *found.shape[1:]), -1))
        columns[m][absent] = found
    return torch.stack(columns, 1)


@torch.no_grad()
def joint_predictions(
    model: MultimodalVAE,
    classifiers: Classifiers,
    samples: int,
    generator: Generator | None = None,
    chunk: int = 256,
) -> Tensor:
    """Classes of all modalities generated from draws of the prior, `(M, samples)`.

    Args:
        model: The model.
        classifiers: One for each modality.
        samples: Draws of the prior.
        generator: Source of the draws.
        chunk: Latents decoded at a time, which bounds the memory.
    """
    noise = prior_draws(model, samples, generator)
    classes = [
        [
            classifiers.predict(name, model.generate(name, z, generator=generator))
            for z in noise.split(chunk)
        ]
        for name in model.modalities
    ]
    return torch.stack([torch.cat(parts) for parts in classes]).cpu()
