r"""Linear multimodal Gaussian data with offsets, and the best decoders that they allow.

z ~ N(0, I), x_m | z ~ N(W_m z + b_m, s^2 I). Modalities differ in width, so they are padded with
zeros to the widest: then one batched product serves them all. A leading axis may hold seeds.
"""

from __future__ import annotations

__all__ = [
    "LinearModel",
    "average_and_covariance",
    "centred",
    "dense",
    "likeliest",
    "likelihood_of",
    "log_likelihood",
    "oracle",
    "second_moment",
    "sparse",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from multielbo import oracle_bounds
from multielbo.gaussians import LOG_2PI
from multielbo.oracle import LinearGaussian


@dataclass(frozen=True)
class LinearModel:
    """Linear decoders of M modalities, padded to a width of N.

    Attributes:
        loadings: W_m, `(M, N, D)`, zero in the padding.
        offsets: b_m, `(M, N)`, zero in the padding.
        present: Which of the N dimensions a modality has, `(M, N)` bool, the first ones.
        noise: Observation standard deviation s, of all modalities.
    """

    loadings: Tensor
    offsets: Tensor
    present: Tensor
    noise: float

    def sample(self, examples: int, generator: Generator | None = None) -> Tensor:
        """Draw examples, `(M, B, N)`, zero in the padding."""
        count, width, dim = self.loadings.shape
        like = {"dtype": self.loadings.dtype, "generator": generator}
        z = torch.randn(examples, dim, **like)
        noise = torch.randn(count, examples, width, **like)
        x = torch.einsum("bd,mnd->mbn", z, self.loadings) + self.offsets[:, None]
        return self.padded(x + self.noise * noise)

    def padded(self, x: Tensor) -> Tensor:
        """Data `(M, B, N)` with zeros in the padding, whatever stood there."""
        return torch.where(self.present[:, None], x, 0.0)


def dense(
    widths: list[int], latent_dim: int, noise: float = 1.0, generator: Generator | None = None
) -> LinearModel:
    """Every modality carries every latent, with orthonormal loadings.

    Args:
        widths: D_m of every modality, at least `latent_dim`.
        latent_dim: D.
        noise: Observation standard deviation.
        generator: Source of loadings and offsets.

    Raises:
        ValueError: A modality is too narrow for orthonormal loadings.
    """
    everything = [list(range(latent_dim))] * len(widths)
    return _model(widths, latent_dim, everything, noise, generator)


def sparse(
    widths: list[int],
    shared: int,
    private: int,
    noise: float = 1.0,
    generator: Generator | None = None,
) -> LinearModel:
    """Every modality carries the shared latents and private ones of its own, D = shared + M P.

    Args:
        widths: D_m of every modality, at least `shared + private`.
        shared: Number of latents that all modalities carry.
        private: P, number of latents that one modality carries.
        noise: Observation standard deviation.
        generator: Source of loadings and offsets.

    Raises:
        ValueError: A modality is too narrow for orthonormal loadings.
    """
    owned = [
        [*range(shared), *range(shared + m * private, shared + (m + 1) * private)]
        for m in range(len(widths))
    ]
    return _model(widths, shared + len(widths) * private, owned, noise, generator)


def oracle(model: LinearModel) -> LinearGaussian:
    """The same model of centred data, modalities named "0", "1", ..."""
    loadings = {
        str(m): w[here].double()
        for m, (w, here) in enumerate(zip(model.loadings, model.present, strict=True))
    }
    return LinearGaussian(loadings, dict.fromkeys(loadings, model.noise))


def centred(model: LinearModel, x: Tensor) -> dict[str, Tensor]:
    """Data for `oracle`, offsets subtracted and padding dropped, from `(M, B, N)`."""
    shifted = (x - model.offsets[:, None]).double()
    return {
        str(m): rows[:, here]
        for m, (rows, here) in enumerate(zip(shifted, model.present, strict=True))
    }


def second_moment(batch: Mapping[str, Tensor]) -> Tensor:
    """Average of x x^T over examples, all modalities side by side."""
    x = torch.cat(list(batch.values()), 1)
    return x.T @ x / len(x)


def log_likelihood(model: LinearModel, x: Tensor) -> Tensor:
    """Average of log p(x), exactly, in nats, of `(M, B, N)`."""
    moment = second_moment(centred(model, x))
    return oracle_bounds.expected_log_evidence(oracle(model), data=moment)


def average_and_covariance(model: LinearModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of data `(M, B, N)`, all dimensions side by side; all that `likelihood_of` reads."""
    rows = model.padded(x).double().movedim(1, 0)[:, model.present]
    average = rows.mean(0)
    shifted = rows - average
    return average, shifted.T @ shifted / len(rows)


def likelihood_of(model: LinearModel, average: Tensor, covariance: Tensor) -> Tensor:
    """What `log_likelihood` is, from the data's moments and with matrices of size D alone.

    Args:
        model: The decoders.
        average, covariance: As `average_and_covariance` has them.
    """
    w, b = (v[model.present].double() / model.noise for v in (model.loadings, model.offsets))
    shift = average / model.noise - b
    precision = torch.eye(w.shape[1], dtype=w.dtype) + w.T @ w
    votes = w.T @ (covariance @ w) / model.noise**2 + torch.outer(w.T @ shift, w.T @ shift)
    squares = covariance.trace() / model.noise**2 + shift @ shift
    explained = torch.linalg.solve(precision, votes).trace()
    log_norm = len(w) * (LOG_2PI + 2 * math.log(model.noise))
    return -0.5 * (log_norm + torch.logdet(precision) + squares - explained)


def likeliest(
    x: Tensor, present: Tensor, latent_dim: int, noise: float | None = None
) -> LinearModel:
    """The decoders of largest likelihood: probabilistic principal components.

    Args:
        x: Data, `(M, B, N)`; the padding is not read.
        present: Which dimensions a modality has, `(M, N)` bool.
        latent_dim: D.
        noise: The known noise s, or None to find the likeliest.

    Raises:
        ValueError: There are as many latents as dimensions.

    Source:
        Tipping and Bishop (1999).
    """
    total = int(present.sum())
    if latent_dim >= total:
        raise ValueError(f"linear data: {latent_dim} latents for {total} dimensions; take fewer")
    x = torch.where(present[:, None], x, 0.0).double()
    offsets = x.mean(1)
    rows = (x - offsets[:, None]).movedim(1, 0)[:, present]
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    variance = values[:-latent_dim].mean() if noise is None else torch.tensor(noise**2).double()
    lengths = (values[-latent_dim:] - variance).clamp_min(0).sqrt()
    loadings = x.new_zeros(*present.shape, latent_dim)
    loadings[present] = vectors[:, -latent_dim:] * lengths
    return LinearModel(loadings, offsets, present, float(variance.sqrt()))


def _model(
    widths: list[int],
    latent_dim: int,
    owned: list[list[int]],
    noise: float,
    generator: Generator | None,
) -> LinearModel:
    if not widths or latent_dim < 1:
        raise ValueError(
            f"linear data: {len(widths)} modalities of {latent_dim} latents; need some"
        )
    loadings = torch.zeros(len(widths), max(widths), latent_dim, dtype=torch.float64)
    offsets = torch.zeros(len(widths), max(widths), dtype=torch.float64)
    present = torch.zeros(len(widths), max(widths), dtype=torch.bool)
    for m, (width, columns) in enumerate(zip(widths, owned, strict=True)):
        if width < len(columns):
            raise ValueError(
                f"linear data: modality {m} has {width} dimensions, too few for {len(columns)} "
                "orthonormal loadings"
            )
        drawn = torch.rand(width, len(columns), generator=generator, dtype=torch.float64)
        loadings[m, :width, columns] = torch.linalg.qr(2 * drawn - 1).Q
        offsets[m, :width] = torch.randn(width, generator=generator, dtype=torch.float64)
        present[m, :width] = True
    return LinearModel(loadings, offsets, present, float(noise))
