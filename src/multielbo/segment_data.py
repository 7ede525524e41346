"""Data in segments as several modalities: with a class beside them, or with half of them missing.

Modalities differ in width, so they are padded with zeros to the widest, as in `linear_data`.
"""

from __future__ import annotations

__all__ = ["DeepMixing", "SegmentData", "bimodal", "half_missing", "multimodal", "random_mixing"]

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import leaky_relu, one_hot

from multielbo.mixture_priors import MixturePrior
from multielbo.segments import Segments


@dataclass(frozen=True)
class SegmentData:
    """B examples of M modalities.

    Attributes:
        z: True latents, `(B, D)`; no training reads them.
        x: `(M, B, N)`, zero in the padding; a class is one-hot.
        present: Which dimensions a modality has, `(M, N)` bool, the first ones.
        classes: Which modalities are classes, `(M,)` bool.
        observed: What is there, `(M, B)` bool; the rest of x is never read.
    """

    z: Tensor
    x: Tensor
    present: Tensor
    classes: Tensor
    observed: Tensor

    def readable(self) -> Tensor:
        """x with zeros for what is missing and in the padding, whatever stood there."""
        return torch.where(self.observed[..., None] & self.present[:, None], self.x, 0.0)


def bimodal(source: Segments, examples: int, generator: Generator) -> SegmentData:
    """Points, and the number of their segment as a second modality; both observed.

    Args:
        source: Of points and segments.
        examples: A multiple of the number of segments.
        generator: Source of latents and noise.
    """
    z, points, segment = source.sample(examples, generator)
    counts = torch.tensor([points.shape[1], len(source.prior.weights)])
    present = torch.arange(int(counts.max())) < counts[:, None]
    x = points.new_zeros(2, examples, present.shape[1])
    x[0, :, : counts[0]] = points
    x[1, :, : counts[1]] = one_hot(segment, int(counts[1])).to(points)
    observed = torch.ones(2, examples, dtype=torch.bool)
    return SegmentData(z, x, present, torch.tensor([False, True]), observed)


@dataclass(frozen=True)
class DeepMixing:
    """Each modality's own f_m(z), leaky rectifiers between linear maps, and noise.

    Attributes:
        prior: Of latents, one component for each segment.
        maps: Of each modality its matrices, `(D, N)` first, then `(N, N)`.
        noise: s.
        slope: Of the leaky rectifier on the negative side.
    """

    prior: MixturePrior
    maps: list[list[Tensor]]
    noise: float = 0.5
    slope: float = 0.1

    def mix(self, z: Tensor) -> Tensor:
        """f_m(z) of all modalities, Equation eq-deep-mixing, `(M, B, N)`."""
        return torch.stack([self._mixed(z, matrices) for matrices in self.maps])

    def _mixed(self, z: Tensor, matrices: list[Tensor]) -> Tensor:
        for matrix in matrices[:-1]:
            z = leaky_relu(z @ matrix, self.slope)
        return z @ matrices[-1]


def multimodal(
    source: DeepMixing, examples: int, missing: float, generator: Generator
) -> SegmentData:
    """Views of the same latents, of which some are missing.

    Args:
        source: Of the views.
        examples: B.
        missing: Fraction of them, as `half_missing` has it.
        generator: Source of latents, noise and what is missing.
    """
    z, _ = source.prior.sample(examples, generator)
    clean = source.mix(z)
    x = clean + source.noise * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    count, _, width = x.shape
    present, classes = torch.ones(count, width).bool(), torch.zeros(count).bool()
    return SegmentData(z, x, present, classes, half_missing(count, examples, missing, generator))


def half_missing(count: int, examples: int, missing: float, generator: Generator) -> Tensor:
    """What is observed, `(M, B)` bool: one modality for sure, of the others some.

    Args:
        count: M.
        examples: B.
        missing: Expected fraction that is missing, from 0 to (M - 1) / M.
        generator: Source of the choice.

    Raises:
        ValueError: So many cannot be missing while every example keeps one.

    Source:
        Zhang et al. (2019), whose mechanism Hirt, Campolo, Leong and Ortega (2024) use.
    """
    if not 0 <= missing <= (count - 1) / count:
        raise ValueError(
            f"segment data: a fraction of {missing} missing of {count} modalities leaves some "
            f"example without any; take at most {(count - 1) / count:g}"
        )
    if count == 1:
        return torch.ones(1, examples, dtype=torch.bool)
    others = (count * (1 - missing) - 1) / (count - 1)
    sure = torch.randint(count, (examples,), generator=generator)
    kept = torch.rand(count, examples, generator=generator) < others
    return kept | (torch.arange(count)[:, None] == sure)


def random_mixing(
    prior: MixturePrior,
    modalities: int,
    width: int,
    generator: Generator,
    layers: int = 3,
    draws: int = 200,
) -> DeepMixing:
    """Matrices with columns of length one, well conditioned among many that were drawn.

    Args:
        prior: Of latents.
        modalities: M.
        width: N, of every modality.
        generator: Source of the matrices, entries U(-1, 1) before scaling.
        layers: Linear maps of each modality.
        draws: Matrices of which the best conditioned quarter counts as well conditioned.

    Source:
        Khemakhem, Kingma, Monti and Hyvärinen (2020), their released code.
    """

    def drawn(shape: tuple[int, int]) -> Tensor:
        entries = 2 * torch.rand(draws, *shape, generator=generator, dtype=torch.float64) - 1
        candidates = entries / entries.norm(dim=1, keepdim=True)
        conditions = torch.linalg.cond(candidates)
        good = (conditions <= conditions.quantile(0.25)).nonzero()[0, 0]
        return candidates[good]

    dim = prior.loc.shape[-1]
    shapes = [(dim, width), *[(width, width)] * (layers - 1)]
    return DeepMixing(prior, [[drawn(shape) for shape in shapes] for _ in range(modalities)])
