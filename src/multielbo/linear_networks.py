"""Encoders of all modalities as one stack of layers, with linear decoders and an aggregator."""

from __future__ import annotations

__all__ = ["LinearVAE", "StackedLinear"]

import torch
from torch import Tensor, nn

from multielbo.aggregators import Aggregator
from multielbo.set_encoders import SetEncoder
from multielbo.set_networks import gaussians_of


class StackedLinear(nn.Module):
    """M affine layers, one for each modality, as one batched product.

    Args:
        inputs: Of each layer, `(M,)`; layers are padded to the widest.
        outputs: Of every layer.
    """

    def __init__(self, inputs: Tensor, outputs: int) -> None:
        super().__init__()
        width = int(inputs.max())
        bound = inputs.float().rsqrt()[:, None, None]  # that of nn.Linear
        self.weight = nn.Parameter((2 * torch.rand(len(inputs), width, outputs) - 1) * bound)
        self.bias = nn.Parameter((2 * torch.rand(len(inputs), 1, outputs) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """`(M, B, outputs)` from `(M, B, inputs)`."""
        return torch.baddbmm(self.bias, x, self.weight)


class LinearVAE(nn.Module):
    """Unimodal encoders with two hidden layers, an aggregator, linear decoders.

    Args:
        present: Which dimensions a modality has, `(M, N)` bool.
        latent_dim: D.
        width: Of all hidden layers.
        aggregator: A fixed one, or the class of a learned one.
    """

    def __init__(
        self,
        present: Tensor,
        latent_dim: int,
        width: int,
        aggregator: Aggregator | type[SetEncoder],
    ) -> None:
        super().__init__()
        widths = present.sum(1)
        hidden = torch.full_like(widths, width)
        self.present = present
        self.encoders = nn.Sequential(
            StackedLinear(widths, width),
            nn.ReLU(),
            StackedLinear(hidden, width),
            nn.ReLU(),
            StackedLinear(hidden, 2 * latent_dim),
        )
        self.aggregator = (
            None
            if isinstance(aggregator, Aggregator)
            else aggregator(2 * latent_dim, latent_dim, width)
        )
        bound = latent_dim**-0.5
        self.loadings = nn.Parameter((2 * torch.rand(*present.shape, latent_dim) - 1) * bound)
        self.offsets = nn.Parameter(torch.zeros(present.shape))

    def forward(self, x: Tensor, members: Tensor) -> tuple[Tensor, ...]:
        """Unimodal posteriors, two of `(M, B, D)`, or with a set encoder what it answers.

        Args:
            x: Data, `(M, B, N)`.
            members: Subsets, `(K, M, B)` bool; only a set encoder reads them here.

        Returns:
            Means and standard deviations; of a set encoder `(K, C, B, D)`, and weights
            `(K, C, B)`.
        """
        features = self.encoders(x)
        if self.aggregator is None:
            return gaussians_of(features)
        return self.aggregator(features, members)[:3]
