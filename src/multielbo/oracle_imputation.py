"""What the mixture objective learns: the likelihood of data whose gaps are filled with their means.

With decoders of fixed Gaussian noise, an encoder that must explain x_T without seeing it can do no
better than to believe E[x_T | x_S]. So the objective, at its best encoders, is the log-likelihood
of such imputed data, up to a number that no parameter moves; for linear decoders its maximum is an
eigenvalue problem.
"""

from __future__ import annotations

__all__ = [
    "imputed_moment",
    "learned_by_mixture",
    "priced_loading",
    "private_loading",
    "shared_loading",
]

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import positions
from multielbo.oracle_encoders import imputation


def imputed_moment(
    oracle: LinearGaussian,
    subsets: Sequence[Iterable[str]],
    chances: Tensor,
    data: Tensor,
) -> Tensor:
    """E_S E of x_hat x_hat^T with x_hat = E[x | x_S], Equation eq-imputed-moment.

    Args:
        oracle: Names and sizes of the modalities.
        subsets: Subsets S.
        chances: Their probabilities, `(K,)`.
        data: Covariance of centred Gaussian data, `(N, N)`.
    """
    moment = torch.zeros_like(data)
    for subset, chance in zip(subsets, chances, strict=True):
        fill = imputation(data, positions(oracle, subset))
        moment = moment + chance * fill @ data @ fill.T
    return moment


def learned_by_mixture(
    oracle: LinearGaussian,
    subsets: Sequence[Iterable[str]],
    chances: Tensor,
    data: Tensor,
    latent_dim: int | None = None,
) -> LinearGaussian:
    """The loadings that maximise the mixture objective over all linear decoders.

    Principal components of the imputed data, Equation eq-mixture-learns. With the full set for the
    only subset nothing is imputed, and these are the maximum likelihood loadings.

    Args:
        oracle: Names, sizes and noise of the modalities; its loadings are not read.
        subsets: Subsets S.
        chances: Their probabilities, `(K,)`.
        data: Covariance of centred Gaussian data, `(N, N)`.
        latent_dim: D, or None for the oracle's.

    Source:
        Tipping and Bishop (1999) for the maximisation of a Gaussian likelihood.
    """
    noise = torch.cat([w.new_full((len(w),), oracle.noise[m]) for m, w in oracle.loadings.items()])
    moment = imputed_moment(oracle, subsets, chances, data)
    values, vectors = torch.linalg.eigh(moment / noise / noise[:, None])
    keep = oracle.latent_dim if latent_dim is None else latent_dim
    lengths = (values.flip(0)[:keep] - 1).clamp_min(0).sqrt()
    stacked = noise[:, None] * vectors.flip(1)[:, :keep] * lengths
    sizes = [len(w) for w in oracle.loadings.values()]
    blocks = stacked.split(sizes)
    return LinearGaussian(dict(zip(oracle.modalities, blocks, strict=True)), oracle.noise)


def shared_loading(
    true: Tensor | float, noise: Tensor | float, chances: Mapping[int, float]
) -> Tensor:
    """Squared loading learned for a factor of n modalities, Equation eq-shared-loading.

    Args:
        true: w_0^2, the squared loading in the data.
        noise: s^2, the noise variance.
        chances: Probability that k of the n modalities are seen, for every k from 0 to n.
    """
    true, noise = (torch.as_tensor(v, dtype=torch.float64) for v in (true, noise))
    n = max(chances)
    seen = sum(chance * k / (k * true + noise) for k, chance in chances.items())
    return (((n * true + noise) / n) ** 2 * seen - noise / n).clamp_min(0)


def private_loading(true: Tensor | float, noise: Tensor | float, chance: float) -> Tensor:
    """Squared loading learned for a factor of one modality, Equation eq-private-loading.

    Args:
        true: w_0^2, the squared loading in the data.
        noise: s^2, the noise variance.
        chance: Probability that the modality is seen.
    """
    true, noise = (torch.as_tensor(v, dtype=torch.float64) for v in (true, noise))
    return (chance * true - (1 - chance) * noise).clamp_min(0)


def priced_loading(true: Tensor | float, noise: Tensor | float, price: Tensor | float) -> Tensor:
    """Squared private loading learned at a price per nat of rate, Equation eq-priced-loading.

    Args:
        true: w_0^2, the squared loading in the data.
        noise: s^2, the noise variance.
        price: Weight of the rate divided by that of the reconstruction; 1 for the ELBO.
    """
    true, noise, price = (torch.as_tensor(v, dtype=torch.float64) for v in (true, noise, price))
    return (true + (1 - price) * noise).clamp_min(0)
