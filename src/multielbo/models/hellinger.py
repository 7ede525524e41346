"""HELVAE, MoHELVAE (Vo and Valera, 2026) and the pool that they approximate.

The Hellinger barycenter of Gaussian experts is a mixture of the experts and of the log-pools of all
pairs. The paper's models take the Gaussian with its moments; the last model here keeps the mixture.
"""

from __future__ import annotations

__all__ = [
    "PowerMeanAggregator",
    "hellinger",
    "hellinger_exact",
    "mixture_of_hellinger",
    "power_pool",
]

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator, Pool, product_of_experts
from multielbo.mixtures import Posteriors
from multielbo.models.model import Model
from multielbo.objectives import joint_elbo, mixture_elbo, stratified_elbo
from multielbo.power_means import compositions, moments, power_mean
from multielbo.subsets import full_set, powerset, singletons


def power_pool(order: int) -> Pool:
    """Pool the members of each subset by the moments of their equally weighted power mean.

    Args:
        order: n = 1/r; 2 is Hellinger's.
    """

    def pool(loc: Tensor, scale: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        return moments(power_mean(loc, scale, members, order))

    return pool


@dataclass(frozen=True)
class PowerMeanAggregator:
    """The power mean of all that is observed, kept as the mixture that it is.

    Attributes:
        order: n = 1/r; 2 is Hellinger's.
    """

    order: int = 2

    def __call__(
        self,
        loc: Tensor,
        scale: Tensor,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Posteriors:
        """The mixture, in training as in answering; weights depend on how far experts agree.

        Args:
            loc, scale: Unimodal posteriors, `(M, B, D)`; rows of missing modalities are not read.
            observed: `(M, B)` bool, or None when everything is observed.
            generator: Not used; nothing is drawn.

        Raises:
            ValueError: Shapes disagree, or an example has no observed modality.
        """
        each = _EACH(loc, scale, observed)  # missing modalities have weight zero
        mean = power_mean(each.loc, each.scale, each.weights[None], self.order)
        counts, _ = compositions(len(loc), self.order, loc.device)
        members = (counts > 0)[..., None] & each.members.any(0)
        # The density takes logarithms of the weights, and zero has none with a gradient.
        weights = mean.weights[0].clamp_min(torch.finfo(loc.dtype).tiny)
        return Posteriors(mean.loc, mean.scale, weights, members)

    posterior = __call__


def hellinger() -> Model:
    """HELVAE: the Hellinger barycenter of all modalities, moment-matched, under the joint ELBO."""
    return Model(Aggregator(power_pool(2), family=full_set), joint_elbo)


def mixture_of_hellinger() -> Model:
    """MoHELVAE: a mixture, over all subsets, of moment-matched barycenters, trained as MoPoE is."""
    return Model(Aggregator(power_pool(2), family=powerset), mixture_elbo)


def hellinger_exact() -> Model:
    """The Hellinger barycenter itself, one sample from each of its M (M + 1) / 2 components."""
    return Model(PowerMeanAggregator(2), stratified_elbo)


_EACH = Aggregator(product_of_experts(prior_expert=False), family=singletons)
