"""Data whose latents may be identified: points in segments, through a mixing that can be undone.

Every segment draws its points from a Gaussian of its own, with independent coordinates. A leaky
rectifier between two orthogonal maps mixes them; the segment's number is a second modality.
"""

from __future__ import annotations

__all__ = ["Segments", "random_segments"]

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import leaky_relu

from multielbo.mixture_priors import MixturePrior


@dataclass(frozen=True)
class Segments:
    """x = f(z) + noise, with z from the segment's Gaussian.

    Attributes:
        prior: One component for each segment, equally likely.
        mixing: Orthogonal matrix A, `(D, D)`.
        slope: Of the leaky rectifier on the negative side.
        noise: s.
    """

    prior: MixturePrior
    mixing: Tensor
    slope: float = 0.1
    noise: float = 0.1

    def mix(self, z: Tensor) -> Tensor:
        """f(z), Equation eq-segment-mixing, `(..., D)`."""
        return leaky_relu(z @ self.mixing, self.slope) @ self.mixing

    def unmix(self, x: Tensor) -> Tensor:
        """The z with f(z) = x, `(..., D)`."""
        return leaky_relu(x @ self.mixing.T, 1 / self.slope) @ self.mixing.T

    def sample(self, examples: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents z and data x, `(n, D)`, and segments `(n,)`, the segments one after another.

        Raises:
            ValueError: The segments cannot have equally many examples.
        """
        count = len(self.prior.weights)
        if examples < count or examples % count:
            raise ValueError(
                f"segments: {examples} examples do not fill {count} segments equally; "
                f"take a multiple of {count}"
            )
        segment = torch.arange(count).repeat_interleave(examples // count)
        like = {"dtype": self.mixing.dtype, "generator": generator}
        unit = torch.randn(examples, len(self.mixing), **like)
        z = self.prior.loc[segment] + self.prior.scale[segment] * unit
        return z, self.mix(z) + self.noise * torch.randn(z.shape, **like), segment


def random_segments(segments: int, dim: int, generator: Generator) -> Segments:
    """Means from U(-5, 5), standard deviations from U(0.5, 3), an orthogonal mixing.

    Args:
        segments: Number of segments, K.
        dim: D.
        generator: Source of all three.

    Source:
        Khemakhem, Kingma, Monti and Hyvärinen (2020); Hirt, Campolo, Leong and Ortega (2024),
        their released code.
    """
    if segments < 1 or dim < 1:
        raise ValueError(f"segments: {segments} segments in {dim} dimensions; each at least 1")
    like = {"dtype": torch.float64, "generator": generator}
    scale = 0.5 + 2.5 * torch.rand(segments, dim, **like)
    loc = 10 * torch.rand(segments, dim, **like) - 5
    mixing = torch.linalg.qr(2 * torch.rand(dim, dim, **like) - 1).Q
    weights = torch.full((segments,), 1 / segments, dtype=torch.float64)
    return Segments(MixturePrior(loc, scale, weights), mixing)
