r"""The oracle: a linear-Gaussian multimodal VAE in which everything is known exactly.

The modalities share one latent and are independent given it,

    z ~ N(0, I),    x_m | z ~ N(W_m z, s_m^2 I),

so the evidence of every subset and every posterior are Gaussian. Each bound of the book meets
this model before it meets a neural network.
"""

from __future__ import annotations

__all__ = ["LinearGaussian"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from multielbo.gaussians import LOG_2PI
from multielbo.objectives import LogLikelihood


@dataclass(frozen=True)
class LinearGaussian:
    """A linear-Gaussian multimodal model, Equation eq-oracle.

    Attributes:
        loadings: W_m for every modality, `(D_m, D)`.
        noise: Observation standard deviation s_m for every modality.

    Example:
        >>> one = torch.ones(2, 1, dtype=torch.float64)
        >>> oracle = LinearGaussian({"a": one, "b": one}, {"a": 0.5, "b": 0.5})
        >>> oracle.posterior({"a": torch.ones(1, 2, dtype=torch.float64)})[0]
        tensor([[0.8889]], dtype=torch.float64)
    """

    loadings: Mapping[str, Tensor]
    noise: Mapping[str, float]

    @classmethod
    def random(
        cls,
        dims: Mapping[str, int],
        latent_dim: int,
        noise: float | Mapping[str, float] = 1.0,
        *,
        orthogonal: bool = True,
        generator: Generator | None = None,
    ) -> LinearGaussian:
        """Draw loadings; with orthogonal columns every posterior is a diagonal Gaussian.

        Args:
            dims: D_m for every modality; at least `latent_dim` when `orthogonal`.
            latent_dim: D.
            noise: Observation standard deviation, one for all or one per modality.
            orthogonal: Give each W_m orthogonal columns of random lengths.
            generator: Source of the loadings.
        """
        if latent_dim < 1:
            raise ValueError(f"oracle: latent_dim is {latent_dim}, it must be at least 1")
        loadings = {}
        for name, dim in dims.items():
            w = torch.randn(dim, latent_dim, generator=generator, dtype=torch.float64)
            if orthogonal:
                if dim < latent_dim:
                    raise ValueError(
                        f"oracle: modality {name!r} has {dim} dimensions, too few for "
                        f"{latent_dim} orthogonal columns; pass orthogonal=False"
                    )
                lengths = w.norm(dim=0)
                w = torch.linalg.qr(w).Q * lengths
            loadings[name] = w
        if not isinstance(noise, Mapping):
            noise = dict.fromkeys(dims, float(noise))
        return cls(loadings, noise)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of every stack."""
        return tuple(self.loadings)

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions, D."""
        return next(iter(self.loadings.values())).shape[1]

    def sample(self, examples: int, generator: Generator | None = None) -> dict[str, Tensor]:
        """Draw a batch from the model: one `(B, D_m)` tensor per modality."""
        z = torch.randn(examples, self.latent_dim, generator=generator, dtype=torch.float64)
        batch = {}
        for name, w in self.loadings.items():
            noise = torch.randn(examples, len(w), generator=generator, dtype=torch.float64)
            batch[name] = z @ w.T + self.noise[name] * noise
        return batch

    def log_evidence(
        self, batch: Mapping[str, Tensor], subset: Iterable[str] | None = None
    ) -> Tensor:
        """log p(x_S), exactly, Equation eq-oracle-evidence.

        Args:
            batch: Modalities, `(B, D_m)`.
            subset: Names of the modalities in S, or None for all in the batch.

        Returns:
            `(B,)`, in nats.
        """
        x, w, noise = self._stack(batch, subset)
        covariance = w @ w.T + torch.diag(noise.square())
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, x.T, upper=False)
        log_det = 2 * factor.diagonal().log().sum()
        return -0.5 * (white.square().sum(0) + log_det + x.shape[1] * LOG_2PI)

    def posterior(
        self, batch: Mapping[str, Tensor], subset: Iterable[str] | None = None
    ) -> tuple[Tensor, Tensor]:
        """p(z | x_S), exactly, Equation eq-oracle-posterior.

        Args:
            batch: Modalities, `(B, D_m)`.
            subset: Names of the modalities in S, or None for all in the batch.

        Returns:
            Mean `(B, D)`, and covariance `(D, D)`, which is the same for every example.
        """
        x, w, noise = self._stack(batch, subset)
        scaled = w / noise.square()[:, None]
        covariance = torch.linalg.inv(torch.eye(self.latent_dim, dtype=w.dtype) + w.T @ scaled)
        return x @ scaled @ covariance, covariance

    def unimodal_posteriors(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Exact p(z | x_m) as stacks `(M, B, D)` of means and standard deviations.

        Raises:
            ValueError: A posterior is not diagonal; build the oracle with orthogonal loadings.
        """
        locs, scales = [], []
        for name in self.modalities:
            loc, covariance = self.posterior(batch, [name])
            variance = covariance.diagonal()
            if not torch.allclose(covariance, torch.diag(variance), atol=1e-10, rtol=0):
                raise ValueError(
                    f"oracle: the posterior of {name!r} is not diagonal; "
                    "use LinearGaussian.random(..., orthogonal=True)"
                )
            locs.append(loc)
            scales.append(variance.sqrt().expand_as(loc))
        return torch.stack(locs), torch.stack(scales)

    def log_likelihood(self, batch: Mapping[str, Tensor]) -> LogLikelihood:
        """log p(x_m | z) of every modality as a function of z, `(..., B, D)` to `(M, ..., B)`.

        Modalities that the batch lacks score zero.
        """

        def score(z: Tensor, wanted: Tensor | None = None) -> Tensor:
            zero = z.new_zeros(z.shape[:-1])
            scores = [
                self._log_normal(name, batch, z) if name in batch else zero
                for name in self.modalities
            ]
            stacked = torch.stack(scores)
            return stacked if wanted is None else stacked * wanted.T[..., None]

        return score

    def elbo(
        self,
        batch: Mapping[str, Tensor],
        loc: Tensor,
        covariance: Tensor,
        subset: Iterable[str] | None = None,
    ) -> Tensor:
        """ELBO on log p(x_S) of a Gaussian posterior, in closed form, Equation eq-oracle-elbo.

        Args:
            batch: Modalities, `(B, D_m)`.
            loc: Mean of q, `(B, D)`.
            covariance: Covariance of q, `(D, D)` or `(B, D, D)`.
            subset: Names of the modalities in S, or None for all in the batch.

        Returns:
            `(B,)`, in nats.
        """
        x, w, noise = self._stack(batch, subset)
        precision = noise.square().reciprocal()
        residual = ((x - loc @ w.T).square() * precision).sum(-1)
        blur = ((w.T * precision) @ w * covariance).sum((-2, -1))
        log_norm = (noise.log() + 0.5 * LOG_2PI).sum()
        expected = -0.5 * (residual + blur) - log_norm
        dim = loc.shape[-1]
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        rate = 0.5 * (loc.square().sum(-1) + trace - dim - torch.logdet(covariance))
        return expected - rate

    def gap(
        self,
        batch: Mapping[str, Tensor],
        loc: Tensor,
        covariance: Tensor,
        subset: Iterable[str] | None = None,
    ) -> Tensor:
        """KL(q || p(z | x_S)): by how much the ELBO misses the evidence, Equation eq-elbo-gap.

        Args:
            batch: Modalities, `(B, D_m)`.
            loc: Mean of q, `(B, D)`.
            covariance: Covariance of q, `(D, D)` or `(B, D, D)`.
            subset: Names of the modalities in S, or None for all in the batch.

        Returns:
            `(B,)`, in nats.
        """
        mean, exact = self.posterior(batch, subset)
        precision = torch.linalg.inv(exact)
        shift = torch.einsum("bi,ij,bj->b", loc - mean, precision, loc - mean)
        trace = (precision * covariance).sum((-2, -1))
        log_dets = torch.logdet(exact) - torch.logdet(covariance)
        return 0.5 * (trace + shift - self.latent_dim + log_dets)

    def _log_normal(self, name: str, batch: Mapping[str, Tensor], z: Tensor) -> Tensor:
        w, noise = self.loadings[name], self.noise[name]
        residual = (batch[name] - z @ w.T) / noise
        log_norm = torch.log(torch.as_tensor(noise, dtype=z.dtype)) + 0.5 * LOG_2PI
        return -0.5 * residual.square().sum(-1) - len(w) * log_norm

    def _stack(
        self, batch: Mapping[str, Tensor], subset: Iterable[str] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Modalities of S side by side, their loadings, and the noise of each dimension."""
        names = list(batch if subset is None else subset)
        unknown = [name for name in names if name not in self.loadings]
        if unknown or not names:
            what = f"no modality {unknown[0]!r}" if unknown else "an empty subset"
            raise ValueError(f"oracle: {what}; it knows {', '.join(self.modalities)}")
        x = torch.cat([batch[name] for name in names], dim=-1)
        w = torch.cat([self.loadings[name] for name in names])
        noise = torch.cat([w.new_full((len(self.loadings[n]),), self.noise[n]) for n in names])
        return x, w, noise
