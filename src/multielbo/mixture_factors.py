"""A linear decoder under a mixture prior, whose evidence and posteriors are mixtures too.

x = W z + b + noise with z from a mixture of diagonal Gaussians. Leading axes may hold seeds.
"""

from __future__ import annotations

__all__ = ["PRIORS", "MixtureFactors", "fit"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from multielbo.gaussians import LOG_2PI
from multielbo.mixture_priors import MixturePrior, mixture_of, standard_normal

PRIORS = ("normal", "equal scales", "mixture")


@dataclass(frozen=True)
class MixtureFactors:
    """Decoder N(W z + b, s^2 I) and prior.

    Attributes:
        loadings: W, `(..., N, D)`.
        offset: b, `(..., N)`.
        prior: With K components of D dimensions.
        noise: s.
    """

    loadings: Tensor
    offset: Tensor
    prior: MixturePrior
    noise: float

    def log_joint(self, x: Tensor) -> Tensor:
        """log of the probability of component k and x, `(..., n, K)` from data `(n, N)`."""
        loc, covariance, log_weights = self._components()
        factor = torch.linalg.cholesky(covariance)
        eye = torch.eye(x.shape[-1], dtype=x.dtype)
        whiten = torch.linalg.solve_triangular(factor, eye, upper=False)  # (..., K, N, N)
        white = x @ whiten.mT - loc[..., None, :] @ whiten.mT
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        logs = -0.5 * (white.square().sum(-1) + log_det[..., None] + x.shape[-1] * LOG_2PI)
        return (log_weights[..., None] + logs).mT

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exactly, Equation eq-linear-mixture-evidence.

        Args:
            x: Data, `(n, N)`.

        Returns:
            `(..., n)`, in nats.
        """
        return self.log_joint(x).logsumexp(-1)

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of p(z | x), `(..., n, D)`, a mixture's."""
        at, scale, _ = self.prior.readable()
        loc, covariance, _ = self._components()
        spread = scale.square()[..., :, None] * self.loadings.mT[..., None, :, :]  # (..., K, D, N)
        gain = torch.linalg.solve(covariance, spread.mT).mT
        means = at[..., None, :] + (x - loc[..., None, :]) @ gain.mT  # (..., K, n, D)
        return (self.log_joint(x).softmax(-1).mT[..., None] * means).sum(-3)

    def _components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means `(..., K, N)`, covariances `(..., K, N, N)` and log-weights of x's mixture."""
        at, scale, log_weights = self.prior.readable()
        loc = at @ self.loadings.mT + self.offset[..., None, :]
        stretched = self.loadings[..., None, :, :] * scale[..., None, :]
        eye = torch.eye(stretched.shape[-2], dtype=stretched.dtype)
        return loc, stretched @ stretched.mT + self.noise**2 * eye, log_weights


def fit(
    x: Tensor,
    latent_dim: int,
    prior: str,
    components: int,
    noise: float,
    seeds: Sequence[int],
    steps: int,
    learning_rate: float = 0.02,
) -> MixtureFactors:
    """Maximise the exact likelihood from the principal plane, turned at random by each seed.

    First means are those of randomly chosen rows.

    Args:
        x: Data, `(n, N)`.
        latent_dim: D.
        prior: "normal", "equal scales" for components that differ in means alone, or "mixture".
        components: K, of the two mixtures.
        noise: s, known.
        seeds: Of the first turns and means.
        steps: Number of full-batch steps of Adam.
        learning_rate: Of Adam, falling to zero along a cosine.

    Raises:
        ValueError: An unknown prior.
    """
    if prior not in PRIORS:
        raise ValueError(f"mixture factors: no prior {prior!r}; choose from {', '.join(PRIORS)}")
    free = _start(x, latent_dim, prior, components, seeds)
    optimiser = torch.optim.Adam(free.values(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        (-_model(free, noise).log_evidence(x).mean(-1).sum()).backward()
        optimiser.step()
        schedule.step()
    return _model({name: value.detach() for name, value in free.items()}, noise)


def _start(
    x: Tensor, dim: int, prior: str, components: int, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Trainable parameters of all seeds, `(R, ...)` each."""
    offset = x.mean(0)
    _, lengths, axes = torch.linalg.svd(x - offset, full_matrices=False)
    plane = axes[:dim].T * lengths[:dim] / len(x) ** 0.5
    turns, means = [], []
    for seed in seeds:
        generator = Generator().manual_seed(seed)
        gaussian = torch.randn(dim, dim, generator=generator, dtype=x.dtype)
        turns.append(torch.linalg.qr(gaussian).Q)
        chosen = x[torch.randperm(len(x), generator=generator)[:components]] - offset
        means.append(chosen @ axes[:dim].T / lengths[:dim] * len(x) ** 0.5 @ turns[-1])
    free = {
        "loadings": plane @ torch.stack(turns),
        "offset": offset.expand(len(seeds), -1).clone(),
    }
    if prior != "normal":
        free["loc"] = torch.stack(means)
        rows = 1 if prior == "equal scales" else components
        free["log_scale"] = x.new_full((len(seeds), rows, dim), -0.5)
        free["logits"] = x.new_zeros(len(seeds), components)
    return {name: value.requires_grad_() for name, value in free.items()}


def _model(free: dict[str, Tensor], noise: float) -> MixtureFactors:
    loadings, offset = free["loadings"], free["offset"]
    if "loc" in free:
        prior = mixture_of(free["loc"], free["log_scale"], free["logits"])
    else:
        fixed = standard_normal(loadings.shape[-1], dtype=loadings.dtype)
        prior = MixturePrior(*(part.expand(len(loadings), *part.shape) for part in fixed))
    return MixtureFactors(loadings, offset, prior, noise)
