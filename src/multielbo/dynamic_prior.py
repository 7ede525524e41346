"""Rates against a prior that moves with the experts: the Jensen-Shannon divergence of mmJSD.

The dynamic prior is the weighted geometric mean of the experts and of p(z). All of it is Gaussian,
so nothing has to be drawn for the rate.
"""

from __future__ import annotations

__all__ = ["dynamic_prior", "geometric_jensen_shannon", "mmjsd_elbo"]

import torch
from torch import Generator, Tensor

from multielbo import barycenters, gaussians
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood


def dynamic_prior(q: Posteriors, prior_weight: float | None = None) -> tuple[Tensor, Tensor]:
    r"""Geometric mean of prior and experts, Equation eq-dynamic-prior.

    Args:
        q: Experts, and how they share the weight that the prior leaves.
        prior_weight: Weight pi_0 of the prior, between 0 and 1; None for that of one expert among
            an example's experts of positive weight, all equal in `mmjsd`.

    Returns:
        Mean and standard deviation, `(B, D)`.

    Raises:
        ValueError: `prior_weight` is outside of (0, 1).
    """
    of_prior, of_experts = _weights(q, prior_weight)
    exponent = of_prior[..., None]
    loc, scale = barycenters.product(q.loc, q.scale, of_experts[None], prior_exponent=exponent)
    return loc[0], scale[0]


def geometric_jensen_shannon(q: Posteriors, prior_weight: float | None = None) -> Tensor:
    r"""pi_0 KL(p || p_f) + sum_k pi_k KL(q_k || p_f), Equation eq-mmjsd-rate.

    Args:
        q: Experts, and how they share the weight that the prior leaves.
        prior_weight: As in `dynamic_prior`.

    Returns:
        `(B,)`, in nats, in closed form.

    Raises:
        ValueError: `prior_weight` is outside of (0, 1).
    """
    of_prior, of_experts = _weights(q, prior_weight)
    loc, scale = dynamic_prior(q, prior_weight)
    of_p = gaussians.kl(torch.zeros_like(loc), torch.ones_like(scale), loc, scale)
    return of_prior * of_p + (of_experts * gaussians.kl(q.loc, q.scale, loc, scale)).sum(0)


def mmjsd_elbo(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
    *,
    prior_weight: float | None = None,
) -> Bound:
    """Explain from a mixture, pay the divergence to the dynamic prior, Equation eq-mmjsd.

    No bound on log p(x): the dynamic prior is no prior of the model.

    Args:
        q: Experts, and how they share the weight that the prior leaves.
        log_likelihood: log p(x_m | z).
        generator: Source of one component and one sample per example.
        prior_weight: As in `dynamic_prior`.

    Raises:
        ValueError: `prior_weight` is outside of (0, 1).

    Source:
        Sutter, Daunhawer and Vogt (2020), as their released code computes it.
    """
    return Bound(log_likelihood(q.sample(generator)), geometric_jensen_shannon(q, prior_weight))


def _weights(q: Posteriors, prior_weight: float | None) -> tuple[Tensor, Tensor]:
    """pi_0 as `(B,)` and pi_1 to pi_K as `(K, B)`."""
    if prior_weight is None:
        of_prior = 1 / (1 + (q.weights > 0).sum(0).to(q.loc.dtype))
    elif 0 < prior_weight < 1:
        of_prior = torch.full_like(q.weights[0], prior_weight)
    else:
        raise ValueError(f"dynamic prior: prior_weight is {prior_weight}; give one between 0 and 1")
    return of_prior, (1 - of_prior) * q.weights
