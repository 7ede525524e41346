"""Frechet distance between generated and real pictures, in the features of a judge.

Numbers compare only where judge, number of examples and data are the same: the classifiers of one
data set are another judge than Inception, and few examples make the distance too large.
"""

from __future__ import annotations

__all__ = ["frechet_distance", "frechet_distances", "inception_features", "moments"]

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo.metrics.latents import answers, blocks, draw, prior_draws

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData
    from multielbo.metrics.classifiers import Classifiers
    from multielbo.vae import MultimodalVAE


def frechet_distance(
    loc: Tensor, covariance: Tensor, other_loc: Tensor, other_covariance: Tensor
) -> Tensor:
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) between Gaussians, `(...)`.

    The trace of the last root is that of the symmetric (S_1^(1/2) S_2 S_1^(1/2))^(1/2), which is
    there for singular covariances too.

    Args:
        loc: Mean of one Gaussian, `(F,)`.
        covariance: Positive semidefinite, `(F, F)`.
        other_loc: Means of the others, `(..., F)`.
        other_covariance: `(..., F, F)`.

    Source:
        Dowson and Landau (1982); of Inception's features it is the FID of Heusel et al. (2017).
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum(-1)
    traces = covariance.trace() + other_covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (loc - other_loc).square().sum(-1) + traces - 2 * shared


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `(F,)` and unbiased covariance `(F, F)` of features `(N, F)`, in float64."""
    features = features.double()
    return features.mean(0), features.mT.cov()


@torch.no_grad()
def frechet_distances(
    model: MultimodalVAE,
    classifiers: Classifiers,
    data: MultimodalData,
    loc: Tensor,
    scale: Tensor,
    membership: Tensor,
    generator: Generator | None = None,
    chunk: int = 256,
) -> tuple[Tensor, Tensor]:
    """Distance of generated pictures to the real ones, in the features of the classifiers.

    One set of pictures is generated for each target and number of inputs, one from each tuple;
    the subsets of that size take turns. Another is generated from the prior, of the same size.

    Args:
        model: The model.
        classifiers: Judges, whose last but one layer gives the features.
        data: N tuples, whose pictures are the real ones.
        loc, scale: Their unimodal posteriors, `(M, N, D)`.
        membership: Proper subsets, `(K, M)` bool.
        generator: Source of the draws.
        chunk: Pictures at a time, which bounds the memory.

    Returns:
        Given each number of inputs `(M, sizes)`, and from the prior `(M,)`; not a number for
        modalities that are no pictures.
    """
    z = [draw(q, 1, generator)[0] for q in answers(model.aggregator, loc, scale, membership)]
    unconditional = prior_draws(model, len(data), generator)
    sizes = membership.sum(1)
    found = torch.full((len(model.modalities), len(sizes.unique()) + 1), float("nan")).double()
    for m, name in enumerate(model.modalities):
        if len(data.shapes[name]) != 3:
            continue
        real = moments(_real_features(classifiers, data, name, chunk))
        sources = [
            _in_turn([z[k] for k in torch.where((sizes == size) & ~membership[:, m])[0].tolist()])
            for size in sizes.unique()
        ]
        generated = [
            moments(
                torch.cat(
                    [
                        classifiers.features(name, model.generate(name, part, generator=generator))
                        for part in latents.split(chunk)
                    ]
                )
            )
            for latents in [*sources, unconditional]
        ]
        others = (torch.stack(part) for part in zip(*generated, strict=True))
        found[m] = frechet_distance(*real, *others).cpu()
    return found[:, :-1], found[:, -1]


def inception_features(pictures: Tensor, weights: Path) -> Tensor:
    """The 2048 features of the Inception network behind the FID, `(N, 2048)`.

    Args:
        pictures: uint8 `(N, 3, H, W)`.
        weights: torch-fidelity's file of the network's weights.

    Raises:
        ImportError: torchmetrics, torch-fidelity or a torchvision that fits torch is missing.
        FileNotFoundError: The weights are not there.
    """
    if not weights.is_file():
        raise FileNotFoundError(
            f"inception features: no file {weights}; download torch-fidelity's "
            "weights-inception-2015-12-05-6726825d.pth there"
        )
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    except (ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ImportError(
            f"inception features: the network cannot be built ({reason}); install "
            "torchmetrics[image] and the torchvision that belongs to this torch"
        ) from error
    with torch.no_grad():
        return torch.cat([network(part) for part in pictures.split(64)])


def _real_features(classifiers: Classifiers, data: MultimodalData, name: str, chunk: int) -> Tensor:
    one = data.select([name])
    return torch.cat(
        [classifiers.features(name, one.batch(rows)[name]) for rows in blocks(len(one), chunk)]
    )


def _in_turn(latents: Sequence[Tensor]) -> Tensor:
    """Row n of the first, the second, ... of several `(N, D)`, in turn."""
    stacked = torch.stack(list(latents))
    rows = torch.arange(stacked.shape[1], device=stacked.device)
    return stacked[rows % len(stacked), rows]
