"""Pools in which the prior N(0, I) is an expert, beside those that models use.

They are for comparison: the Wasserstein barycenter with the prior as one more expert, and the
product that holds the prior in the full set alone, as MoPoE's released code has it.
"""

from __future__ import annotations

__all__ = ["prior_in_full_set", "wasserstein_with_prior"]

from torch import Tensor

from multielbo import barycenters


def wasserstein_with_prior(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Equally weighted barycenter of a subset's experts and N(0, I), Equation eq-w2-prior.

    An empty subset has the prior alone.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        members: Subsets, `(K, M)` or `(K, M, B)` bool.

    Returns:
        Mean and standard deviation, `(K, B, D)`.
    """
    experts = members.to(loc.dtype)
    size = experts.sum(1, keepdim=True)
    share = 1 / (1 + size)  # of each member, and of the prior
    pooled_loc, pooled_scale = barycenters.wasserstein(loc, scale, share * experts)
    return pooled_loc, pooled_scale + _per_subset(share)


def prior_in_full_set(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Product of a subset's experts, with the prior as one more where all modalities are members.

    An empty subset has the prior alone.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        members: Subsets, `(K, M)` or `(K, M, B)` bool.

    Returns:
        Mean and standard deviation, `(K, B, D)`.

    Source:
        The code released with Sutter, Daunhawer and Vogt (2021).
    """
    with_prior = (members.all(1, keepdim=True) | ~members.any(1, keepdim=True)).to(loc.dtype)
    return barycenters.product(loc, scale, members, prior_exponent=_per_subset(with_prior))


def _per_subset(value: Tensor) -> Tensor:
    """From `(K, 1)` or `(K, 1, B)` to what meets `(K, B, D)`."""
    return value[:, 0, :, None] if value.dim() == 3 else value[..., None]
