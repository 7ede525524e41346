"""Equivariant encoders: posteriors of private latents, one per modality, from a set.

Each modality's private latent u_m is inferred from a shared latent z and the features of S.
Reordering the modalities reorders the answers and changes nothing else.
"""

from __future__ import annotations

__all__ = ["EquivariantSelfAttention", "EquivariantSumPooling"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multielbo.networks import at_least_one
from multielbo.set_networks import TransformerBlock, gaussians_of, perceptron, readable


class _Equivariant(nn.Module):
    feature_dim: int
    latent_dim: int

    def forward(
        self,
        features: Tensor | Sequence[Tensor],
        z: Tensor,
        members: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of q(u_m | z, x_S); N(0, I) for modalities not in S.

        Args:
            features: e_m of every modality, `(M, B, E)` or M times `(B, E)`; what no subset holds
                is not read.
            z: Shared latents, one for each subset, `(K, B, D)`.
            members: Subsets, `(K, M)` or `(K, M, B)` bool, or None for the one of everything.
            observed: `(M, B)` bool, or None when everything is observed.

        Returns:
            Two of `(K, M, B, P)`.

        Raises:
            ValueError: Shapes disagree.
        """
        features, members = readable(features, members, observed, self.feature_dim)
        expected = (len(members), features.shape[1], self.latent_dim)
        if z.shape != expected:
            raise ValueError(
                f"set encoder: z is {tuple(z.shape)}, expected {expected}: subsets, batch, latent"
            )
        loc, scale = gaussians_of(self.answers(features, z, members))
        here = members[..., None]
        return torch.where(here, loc, 0.0), torch.where(here, scale, 1.0)


class EquivariantSumPooling(_Equivariant):
    """A network of the set's sum, of z, and of the modality itself, Equation eq-equivariant-sum.

    Args:
        feature_dim: E, features of every modality.
        latent_dim: D, of the shared latent.
        private_dim: P, of each private latent.
        width: Width of the hidden layers and of the sum.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), their released code.
    """

    def __init__(
        self, feature_dim: int, latent_dim: int, private_dim: int, width: int = 256
    ) -> None:
        super().__init__()
        self.feature_dim, self.latent_dim = feature_dim, latent_dim
        self.of_all = perceptron((feature_dim, width, width))
        self.of_shared = perceptron((latent_dim, width, width))
        self.of_own = perceptron((feature_dim, width, width))
        self.outer = perceptron((width, width, width, 2 * at_least_one(private_dim)))

    def answers(self, features: Tensor, z: Tensor, members: Tensor) -> Tensor:
        """Parameters for every modality, `(K, M, B, 2 P)`."""
        pooled = (members[..., None] * self.of_all(features)).sum(1)
        return self.outer((pooled + self.of_shared(z))[:, None] + self.of_own(features))


class EquivariantSelfAttention(_Equivariant):
    """Members that know z attend to one another and are not pooled.

    Equation eq-equivariant-attention.

    Args:
        feature_dim: E, features of every modality.
        latent_dim: D, of the shared latent.
        private_dim: P, of each private latent.
        width: Width of the hidden layers, a multiple of `heads`.
        layers: Number of transformer blocks.
        heads: Attention heads of each.

    Raises:
        ValueError: The heads do not divide the width.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), their released code.
    """

    def __init__(
        self,
        feature_dim: int,
        latent_dim: int,
        private_dim: int,
        width: int = 256,
        *,
        layers: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.feature_dim, self.latent_dim = feature_dim, latent_dim
        self.of_own = perceptron((feature_dim, width, width))
        self.of_shared = perceptron((latent_dim, width, width))
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.outer = nn.Linear(width, 2 * at_least_one(private_dim))

    def answers(self, features: Tensor, z: Tensor, members: Tensor) -> Tensor:
        """Parameters for every modality, `(K, M, B, 2 P)`."""
        present = members.movedim(1, -1)  # (K, B, M)
        g = self.of_own(features).movedim(0, 1) + self.of_shared(z)[:, :, None]  # (K, B, M, W)
        for block in self.blocks:
            g = block(g, present)
        return self.outer(self.norm(g)).movedim(2, 1)
