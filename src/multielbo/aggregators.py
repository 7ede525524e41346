"""How unimodal posteriors become the posterior of a subset: the first half of a model.

An aggregator is a pool (how the members of one subset are averaged), the family of subsets it is
trained on, and the family with which it answers at test time. A missing modality leaves each
subset S as S intersected with what was observed; a subset left empty gets weight zero, and its
posterior is the prior. Intersecting maps the non-empty subsets of all modalities evenly onto
those of the observed ones, so a uniform mixture stays uniform.
"""

from __future__ import annotations

__all__ = [
    "Aggregator",
    "Pool",
    "Posteriors",
    "log_opinion_pool",
    "product_of_experts",
    "wasserstein_barycenter",
]

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Generator, Tensor

from multielbo import barycenters
from multielbo.mixtures import Posteriors
from multielbo.subsets import Family, full_set

Pool = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def product_of_experts(*, prior_expert: bool) -> Pool:
    """Pool the members of each subset by their product, Equation eq-product.

    Args:
        prior_expert: Whether N(0, I) is one more expert in every product.
    """

    def pool(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        prior = _empty(members, loc.dtype) if not prior_expert else 1.0
        return barycenters.product(loc, scale, members, prior_exponent=prior)

    return pool


def log_opinion_pool(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the members of each subset by their equally weighted geometric mean."""
    prior = _empty(members, loc.dtype)
    return barycenters.product(loc, scale, _uniform(members, loc.dtype), prior_exponent=prior)


def wasserstein_barycenter(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the members of each subset by their equally weighted 2-Wasserstein barycenter."""
    pooled_loc, pooled_scale = barycenters.wasserstein(loc, scale, _uniform(members, loc.dtype))
    return pooled_loc, pooled_scale + _empty(members, loc.dtype)


@dataclass(frozen=True)
class Aggregator:
    """From unimodal posteriors to the posteriors of a family of subsets.

    Attributes:
        pool: How the members of one subset are averaged.
        family: The subsets that training uses.
        answer: The subsets that are mixed to answer a query: `full_set` pools whatever is
            observed, `singletons` mixes the unimodal posteriors.
    """

    pool: Pool
    family: Family
    answer: Family = full_set

    def __call__(
        self,
        loc: Tensor,
        scale: Tensor,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Posteriors:
        """Posteriors of the training family.

        Args:
            loc, scale: Unimodal posteriors, `(M, B, D)`; rows of missing modalities are not read.
            observed: `(M, B)` bool, or None when everything is observed.
            generator: Source of drawn subsets, for families that draw.

        Raises:
            ValueError: Shapes disagree, or an example has no observed modality.
        """
        return self._aggregate(self.family(len(loc), generator), loc, scale, observed)

    def posterior(self, loc: Tensor, scale: Tensor, observed: Tensor | None = None) -> Posteriors:
        """The posterior given all that is observed, as the model answers at test time.

        Args:
            loc, scale: Unimodal posteriors, `(M, B, D)`; rows of missing modalities are not read.
            observed: `(M, B)` bool, or None when everything is observed.

        Raises:
            ValueError: Shapes disagree, or an example has no observed modality.
        """
        return self._aggregate(self.answer(len(loc), None), loc, scale, observed)

    def _aggregate(
        self, membership: Tensor, loc: Tensor, scale: Tensor, observed: Tensor | None
    ) -> Posteriors:
        _check_shapes(loc, scale, observed)
        members = membership = _moved(membership, loc.device)  # (K, M)
        if observed is not None:
            loc = torch.where(observed[..., None], loc, 0.0)
            scale = torch.where(observed[..., None], scale, 1.0)
            members = membership[..., None] & observed  # (K, M, B)
        pooled = self.pool(loc, scale, members)
        everywhere = (
            members if members.dim() == 3 else members[..., None].expand(-1, *loc.shape[:2])
        )
        return Posteriors(*pooled, _uniform_mixture(everywhere, loc.dtype), everywhere)


def _moved(membership: Tensor, device: torch.device) -> Tensor:
    """The same subsets on `device`; a step that waits for their copy could not be captured."""
    if membership.device == device:
        return membership
    return _copied(tuple(map(tuple, membership.tolist())), device)


@cache  # without a limit: a captured step reads from these addresses
def _copied(rows: tuple[tuple[bool, ...], ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a copy first made for evaluation has to serve training
        return torch.tensor(rows, device=device)


def _uniform(members: Tensor, dtype: torch.dtype) -> Tensor:
    """Equal weights over the members of each subset, zero for an empty subset."""
    weights = members.to(dtype)
    return weights / weights.sum(1, keepdim=True).clamp_min(1)


def _empty(members: Tensor, dtype: torch.dtype) -> Tensor:
    """One where a subset has no member, shaped to meet `(K, B, D)`."""
    empty = (~members.any(1)).to(dtype)
    return empty[..., None] if empty.dim() == 2 else empty[:, None, None]


def _uniform_mixture(members: Tensor, dtype: torch.dtype) -> Tensor:
    """Equal weights `(K, B)` over the subsets that have a member."""
    present = members.any(1).to(dtype)
    return present / present.sum(0)


def _check_shapes(loc: Tensor, scale: Tensor, observed: Tensor | None) -> None:
    if loc.dim() != 3 or loc.shape != scale.shape:
        raise ValueError(
            f"aggregator: loc {tuple(loc.shape)} and scale {tuple(scale.shape)} must both be "
            "(modalities, batch, latent)"
        )
    if observed is None:
        return
    if observed.shape != loc.shape[:2] or observed.dtype != torch.bool:
        raise ValueError(
            f"aggregator: observed is {observed.dtype} {tuple(observed.shape)}, "
            f"expected torch.bool {tuple(loc.shape[:2])}, one row per modality"
        )
    nothing = ~observed.any(0)
    if bool(nothing.any()):
        row = int(nothing.nonzero()[0])
        raise ValueError(
            f"aggregator: example {row} of the batch has no observed modality; drop it, or "
            "sample from the prior instead"
        )
