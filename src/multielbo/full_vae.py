"""WB-VAE and MWB-VAE with full covariances: posteriors that may lean.

An extension of the barycentric models; with diagonal factors it is those models, number for number.
Everything but the form of the posterior is `MultimodalVAE`'s: where that has standard deviations,
this has the lower triangular factors of covariances.
"""

from __future__ import annotations

__all__ = ["CholeskyEncoder", "FullCovarianceVAE"]

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multielbo.networks import LARGEST_LOG_VARIANCE, Encoder
from multielbo.vae import MultimodalVAE


class CholeskyEncoder(Encoder):
    """A unimodal posterior with a full covariance: features of x, then mean and Cholesky factor.

    Args:
        features: From x, `(B, *shape)`, to `(B, width)`.
        shape: Shape of one example.
        width: Number of features.
        latent_dim: D.

    Raises:
        ValueError: The latent space has no dimension.
    """

    def __init__(
        self, features: nn.Module, shape: Sequence[int], width: int, latent_dim: int
    ) -> None:
        super().__init__(features, shape, width, latent_dim)
        below = latent_dim * (latent_dim - 1) // 2
        self.posterior = nn.Linear(width, 2 * latent_dim + below)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean `(B, D)`, and lower triangular factor with positive diagonal, `(B, D, D)`."""
        parameters = self.posterior(self.features(x))
        parameters = parameters.to(torch.promote_types(x.dtype, parameters.dtype))
        dim = self.latent_dim
        loc, log_var, below = parameters.tensor_split([dim, 2 * dim], -1)
        scale = (0.5 * log_var.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)).exp()
        rows, columns = torch.tril_indices(dim, dim, -1, device=x.device)
        factor = torch.diag_embed(scale)
        return loc, factor.index_put(
            (torch.arange(len(x), device=x.device)[:, None], rows, columns), below
        )


class FullCovarianceVAE(MultimodalVAE):
    """A multimodal VAE of `CholeskyEncoder`s around a `multielbo.full_posteriors.FullAggregator`.

    `encode` gives factors `(M, B, D, D)` where `MultimodalVAE` gives standard deviations.
    """

    def _stacked(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        loc, factor = next(iter(found.values()))
        identity = torch.eye(self.latent_dim, dtype=factor.dtype, device=factor.device)
        unread = torch.zeros_like(loc), identity.expand_as(factor)
        locs, factors = zip(*(found.get(m, unread) for m in self.modalities), strict=True)
        return torch.stack(locs), torch.stack(factors)
