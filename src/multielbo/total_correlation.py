"""Objectives with KL(q(z | x) || q(z | x_S)) in them: the total correlation family.

They ask the joint posterior to stay near those of subsets. The package's `Bound` holds both sides,
so that beta multiplies every divergence, as in the released codes.
"""

from __future__ import annotations

__all__ = ["mvtcae_elbo", "tc_elbo"]

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood, joint_elbo


def tc_elbo(
    full: Posteriors,
    part: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
) -> Bound:
    """Explain everything from q(z | x), with q(z | x_S) for a prior, Equation eq-tc.

    Not a bound on log p(x): what x_S says about z is free of charge.

    Args:
        full: q(z | x), with K = 1.
        part: q(z | x_S), with K = 1.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per example.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), an option of their released code.
    """
    z = gaussians.sample(_only(full).loc[0], full.scale[0], generator)
    return Bound(log_likelihood(z), _kl(full, part))


def mvtcae_elbo(
    full: Posteriors,
    parts: Sequence[Posteriors],
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
    *,
    alpha: float,
) -> Bound:
    """Joint ELBO and conditional bottlenecks, weighted by alpha, Equation eq-mvtcae.

    Args:
        full: q(z | x), with K = 1.
        parts: q(z | x_m) of each of the M modalities, with K = 1.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per example.
        alpha: Share of the conditional bottlenecks, from 0, the joint ELBO, to 1.

    Raises:
        ValueError: `alpha` is outside of [0, 1].

    Source:
        Hwang, Kim, Hong and Kim (2021).
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"mvtcae: alpha is {alpha}; it shares between two terms, so 0 to 1")
    joint = joint_elbo(_only(full), log_likelihood, generator)
    bottlenecks = torch.stack([_kl(full, part) for part in parts]).mean(0)
    rate = (1 - alpha) * joint.rate + alpha * bottlenecks
    return Bound((1 - alpha / len(parts)) * joint.reconstruction, rate)


def _kl(q: Posteriors, p: Posteriors) -> Tensor:
    q, p = _only(q), _only(p)
    return gaussians.kl(q.loc[0], q.scale[0], p.loc[0], p.scale[0])


def _only(q: Posteriors) -> Posteriors:
    if len(q.loc) != 1:
        raise ValueError(
            f"total correlation: a posterior has {len(q.loc)} components; these divergences are "
            "in closed form, so give single Gaussians"
        )
    return q
