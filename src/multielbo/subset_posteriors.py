"""The posterior of a subset of modalities, from the posteriors of its members.

Modalities that are independent given z have p(z | x_S) proportional to p(z) prod_S p(x_m | z), and
each p(x_m | z) to p(z | x_m) / p(z): the prior is divided out once for every member but the first.
"""

from __future__ import annotations

__all__ = ["gaussian_subset_posterior", "prior_exponent", "subset_log_density"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multielbo import barycenters, gaussians


def prior_exponent(members: int, *, single_division: bool = False) -> int:
    """The exponent 1 - |S| of the prior in the product of |S| unimodal posteriors.

    Args:
        members: |S|.
        single_division: Divide the prior out once whatever |S| is, as MultiVae 1.0.3 does for two
            members and more; right for two.

    Raises:
        ValueError: The subset has no member; its posterior is the prior.
    """
    if members < 1:
        raise ValueError(
            "subset: it has no member, so there is nothing to infer from; name a modality, or "
            "sample z from the prior instead"
        )
    return max(1 - members, -1) if single_division else 1 - members


def subset_log_density(
    z: Tensor,
    log_posteriors: Sequence[Callable[[Tensor], Tensor]],
    *,
    single_division: bool = False,
) -> Tensor:
    """log of p(z)^(1 - |S|) prod_S q(z | x_m), not normalised, Equation eq-subset-posterior.

    Args:
        z: Latents, `(..., D)`.
        log_posteriors: log q(z | x_m) of each member, from `(..., D)` to `(...)`.
        single_division: Divide the prior out once whatever |S| is.

    Returns:
        `(...)`, in nats, up to a number that depends on x alone.

    Raises:
        ValueError: The subset has no member.
    """
    exponent = prior_exponent(len(log_posteriors), single_division=single_division)
    prior = exponent * gaussians.log_prior(z) if exponent else 0.0
    return prior + sum(log_posterior(z) for log_posterior in log_posteriors)


def gaussian_subset_posterior(
    loc: Tensor, scale: Tensor, *, single_division: bool = False
) -> tuple[Tensor, Tensor]:
    """The same product of Gaussian posteriors, which is a Gaussian if it is anything.

    Args:
        loc, scale: Means and standard deviations of the members' posteriors, `(|S|, B, D)`.
        single_division: Divide the prior out once whatever |S| is.

    Returns:
        Mean and standard deviation, `(B, D)`.

    Raises:
        ValueError: The subset has no member, or the product has no integral: in some dimension
            the members' precisions do not exceed those of the prior that are divided out.
    """
    exponent = prior_exponent(len(loc), single_division=single_division)
    precision = scale.square().reciprocal().sum(0) + exponent
    if not bool((precision > 0).all()):
        raise ValueError(
            f"subset: in some dimension the {len(loc)} posteriors together are no sharper than "
            f"{-exponent} priors, so that the product cannot be normalised; posteriors wider than "
            "the prior are wrong, train them longer"
        )
    members = torch.ones(1, len(loc), dtype=loc.dtype, device=loc.device)
    pooled = barycenters.product(loc, scale, members, prior_exponent=exponent)
    return pooled[0][0], pooled[1][0]
