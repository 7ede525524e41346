"""Gaussian mixtures as priors: densities, responsibilities, draws, and parameters to train.

Leading axes may hold seeds: means and standard deviations are `(..., K, D)`, weights `(..., K)`.
"""

from __future__ import annotations

__all__ = ["MixturePrior", "TrainableMixture", "standard_normal"]

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from multielbo import gaussians


class MixturePrior(NamedTuple):
    """A mixture of K diagonal Gaussians.

    A component of weight zero is never read: what its mean and its scale hold changes no value
    and no gradient.

    Attributes:
        loc, scale: Means and standard deviations, `(..., K, D)`.
        weights: `(..., K)`, summing to one over K.
    """

    loc: Tensor
    scale: Tensor
    weights: Tensor

    def readable(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, scales and log-weights, with a standard normal for what has no weight."""
        used = self.weights > 0
        loc = torch.where(used[..., None], self.loc, 0.0)
        scale = torch.where(used[..., None], self.scale, 1.0)
        log_weights = torch.where(used, torch.where(used, self.weights, 1.0).log(), -torch.inf)
        return loc, scale, log_weights

    def log_joint(self, z: Tensor) -> Tensor:
        """log w_k + log N(z; loc_k, scale_k) for points `(..., B, D)`, as `(..., B, K)`."""
        loc, scale, log_weights = self.readable()
        logs = gaussians.log_density(z[..., None, :], loc[..., None, :, :], scale[..., None, :, :])
        return log_weights[..., None, :] + logs

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z), Equation eq-mixture-prior.

        Args:
            z: Points, `(..., B, D)`.

        Returns:
            `(..., B)`, in nats.
        """
        return self.log_joint(z).logsumexp(-1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """Probability of each component given z, Equation eq-prior-responsibility.

        Args:
            z: Points, `(..., B, D)`.

        Returns:
            `(..., B, K)`, summing to one.
        """
        return self.log_joint(z).softmax(-1)

    def sample(self, examples: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw points `(B, D)` and the components `(B,)` that they came from; one seed only."""
        chosen = torch.multinomial(self.weights, examples, replacement=True, generator=generator)
        return gaussians.sample(self.loc[chosen], self.scale[chosen], generator), chosen

    def checked(self) -> MixturePrior:
        """The mixture itself.

        Raises:
            ValueError: Weights are no probabilities, or a component that has weight no Gaussian.
        """
        w = self.weights
        if self.loc.shape != self.scale.shape or self.loc.shape[:-1] != w.shape:
            raise ValueError(
                f"mixture prior: loc {tuple(self.loc.shape)}, scale {tuple(self.scale.shape)} and "
                f"weights {tuple(w.shape)}; expected (K, D), (K, D) and (K,)"
            )
        room = 16 * w.shape[-1] * torch.finfo(w.dtype).eps
        if not bool((w >= 0).all()) or bool(((w.sum(-1) - 1).abs() > room).any()):
            raise ValueError(
                f"mixture prior: weights {w.tolist()} are no probabilities; divide by their sum"
            )
        used = w > 0
        if not bool((self.scale[used] > 0).all() & self.scale[used].isfinite().all()):
            raise ValueError("mixture prior: a scale is not positive; scales are deviations")
        if not bool(self.loc[used].isfinite().all()):
            raise ValueError("mixture prior: a mean is not finite")
        return self


def standard_normal(dim: int, **like: object) -> MixturePrior:
    """The usual prior, as a mixture of one."""
    return MixturePrior(
        torch.zeros(1, dim, **like), torch.ones(1, dim, **like), torch.ones(1, **like)
    )


class TrainableMixture(nn.Module):
    """Weights, means and scales as free parameters; no weight can reach zero.

    Args:
        components: K.
        dim: D.
        spread: Standard deviation of the first means; equal means would stay equal.
        shared_scale: Give all components the same standard deviations.

    Raises:
        ValueError: There is no component or no dimension.
    """

    def __init__(
        self, components: int, dim: int, spread: float = 1.0, *, shared_scale: bool = False
    ) -> None:
        super().__init__()
        if components < 1 or dim < 1:
            raise ValueError(
                f"mixture prior: {components} components of {dim} dimensions; each at least 1"
            )
        self.loc = nn.Parameter(spread * torch.randn(components, dim))
        self.log_scale = nn.Parameter(torch.zeros(1 if shared_scale else components, dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self) -> MixturePrior:
        """The mixture of the parameters as they are."""
        return mixture_of(self.loc, self.log_scale, self.logits)


def mixture_of(loc: Tensor, log_scale: Tensor, logits: Tensor) -> MixturePrior:
    """A mixture from unconstrained parameters, `(..., K, D)`, `(..., K or 1, D)`, `(..., K)`."""
    return MixturePrior(loc, log_scale.exp().expand_as(loc), logits.softmax(-1))
