r"""Bounds on the oracle in expectation: what every objective is worth, without sampling.

On a linear-Gaussian model with linear encoders q(z | x) = N(B x, V) an expectation over data needs
their covariance alone. All values are nats per example. Subsets are names; x is all modalities side
by side in the oracle's order.
"""

from __future__ import annotations

__all__ = [
    "LinearEncoder",
    "conditional",
    "data_covariance",
    "expected_kl",
    "expected_log_evidence",
    "expected_reconstruction",
    "joint",
    "marginal",
    "masked",
    "mixture",
    "mvtcae",
    "positions",
    "prior",
    "tc",
]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multielbo.gaussians import LOG_2PI
from multielbo.oracle import LinearGaussian


class LinearEncoder(NamedTuple):
    """q(z | x) = N(weight x, covariance), for all modalities of an oracle or for a subset.

    Attributes:
        weight: B, `(D, N)`, with N the sum of all D_m and zeros where nothing is read.
        covariance: V, `(D, D)`.
    """

    weight: Tensor
    covariance: Tensor


def prior(oracle: LinearGaussian) -> LinearEncoder:
    """N(0, I), an encoder that reads nothing."""
    identity = torch.eye(oracle.latent_dim, dtype=torch.float64)
    return LinearEncoder(identity.new_zeros(len(identity), len(positions(oracle))), identity)


def positions(oracle: LinearGaussian, subset: Iterable[str] | None = None) -> Tensor:
    """Where the dimensions of a subset stand among the N of x.

    Raises:
        ValueError: The oracle has no such modality.
    """
    sizes = [len(w) for w in oracle.loadings.values()]
    blocks = dict(zip(oracle.modalities, torch.arange(sum(sizes)).split(sizes), strict=True))
    names = set(oracle.modalities if subset is None else subset)
    if names - set(blocks):
        raise ValueError(
            f"oracle: no modality {min(names - set(blocks))!r}; it knows "
            f"{', '.join(oracle.modalities)}"
        )
    chosen = [block for name, block in blocks.items() if name in names]
    return torch.cat([torch.zeros(0, dtype=torch.long), *chosen])


def data_covariance(oracle: LinearGaussian) -> Tensor:
    """Covariance of x under the oracle, `(N, N)`."""
    w = torch.cat(list(oracle.loadings.values()))
    return w @ w.T + torch.diag(_noise(oracle))


def expected_log_evidence(
    oracle: LinearGaussian, subset: Iterable[str] | None = None, data: Tensor | None = None
) -> Tensor:
    """E log p(x_S), Equation eq-expected-evidence.

    Args:
        oracle: The model p.
        subset: Names of the modalities in S, or None for all.
        data: Covariance of centred data, `(N, N)`, or None if they come from the model; E log p(x)
            is then minus their entropy.
    """
    at = positions(oracle, subset)
    model = data_covariance(oracle)[at[:, None], at]
    seen = model if data is None else data[at[:, None], at]
    misfit = torch.trace(torch.linalg.solve(model, seen)) if len(at) else model.new_zeros(())
    return -0.5 * (len(at) * LOG_2PI + torch.logdet(model) + misfit)


def expected_kl(q: LinearEncoder, p: LinearEncoder, data: Tensor) -> Tensor:
    """E KL(q(z | x) || p(z | x)) over data with covariance `data`, Equation eq-expected-kl."""
    shift = q.weight - p.weight
    both = q.covariance + shift @ data @ shift.T
    log_dets = torch.logdet(p.covariance) - torch.logdet(q.covariance)
    return 0.5 * (torch.trace(torch.linalg.solve(p.covariance, both)) - len(both) + log_dets)


def expected_reconstruction(
    oracle: LinearGaussian, q: LinearEncoder, subset: Iterable[str], data: Tensor
) -> Tensor:
    """E E_q log p(x_S | z), Equation eq-expected-reconstruction."""
    at = positions(oracle, subset)
    w = torch.cat(list(oracle.loadings.values()))[at]
    noise = _noise(oracle)[at]
    error = torch.eye(len(data), dtype=data.dtype)[at] - w @ q.weight
    spread = error @ data @ error.T + w @ q.covariance @ w.T
    return -0.5 * (noise.log() + LOG_2PI + spread.diagonal() / noise).sum()


def marginal(
    oracle: LinearGaussian, part: LinearEncoder, subset: Iterable[str], data: Tensor | None = None
) -> Tensor:
    """Expected ELBO of q(z | x_S) on log p(x_S)."""
    data = data_covariance(oracle) if data is None else data
    rate = expected_kl(part, prior(oracle), data)
    return expected_reconstruction(oracle, part, subset, data) - rate


def conditional(
    oracle: LinearGaussian,
    full: LinearEncoder,
    part: LinearEncoder,
    subset: Iterable[str],
    data: Tensor | None = None,
) -> Tensor:
    """Expected reconstruction of what S hides from q(z | x), minus KL(q(z | x) || q(z | x_S))."""
    data = data_covariance(oracle) if data is None else data
    hidden = set(oracle.modalities) - set(subset)
    return expected_reconstruction(oracle, full, hidden, data) - expected_kl(full, part, data)


def masked(
    oracle: LinearGaussian,
    full: LinearEncoder,
    part: LinearEncoder,
    subset: Iterable[str],
    data: Tensor | None = None,
) -> Tensor:
    """Expected masked objective of the mask S: marginal plus conditional term."""
    subset = list(subset)
    seen = marginal(oracle, part, subset, data)
    return seen + conditional(oracle, full, part, subset, data)


def mixture(oracle: LinearGaussian, part: LinearEncoder, data: Tensor | None = None) -> Tensor:
    """Expected ELBO of q(z | x_S) on log p(x): one component of a mixture objective."""
    return marginal(oracle, part, oracle.modalities, data)


joint = mixture  # the same function of q(z | x)


def tc(
    oracle: LinearGaussian, full: LinearEncoder, part: LinearEncoder, data: Tensor | None = None
) -> Tensor:
    """Expected reconstruction of everything from q(z | x), minus KL(q(z | x) || q(z | x_S))."""
    data = data_covariance(oracle) if data is None else data
    explained = expected_reconstruction(oracle, full, oracle.modalities, data)
    return explained - expected_kl(full, part, data)


def mvtcae(
    oracle: LinearGaussian,
    full: LinearEncoder,
    parts: Sequence[LinearEncoder],
    alpha: float,
    data: Tensor | None = None,
) -> Tensor:
    """Expected value of Equation eq-mvtcae, with q(z | x_m) of every modality for `parts`."""
    data = data_covariance(oracle) if data is None else data
    explained = expected_reconstruction(oracle, full, oracle.modalities, data)
    beyond = torch.stack([expected_kl(full, part, data) for part in parts]).mean()
    rate = (1 - alpha) * expected_kl(full, prior(oracle), data) + alpha * beyond
    return (1 - alpha / len(parts)) * explained - rate


def _noise(oracle: LinearGaussian) -> Tensor:
    """Noise variance of each of the N dimensions of x."""
    return torch.cat(
        [w.new_full((len(w),), oracle.noise[m] ** 2) for m, w in oracle.loadings.items()]
    )
