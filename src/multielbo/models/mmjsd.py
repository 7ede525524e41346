"""mmJSD (Sutter et al., 2020): a mixture of experts, charged against a prior made of them.

Modalities have no latents of their own here. The paper's text was not at hand; what is stated of
it is in the released code.
"""

from __future__ import annotations

__all__ = ["mmjsd"]

from functools import partial

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.dynamic_prior import mmjsd_elbo
from multielbo.models.model import Model
from multielbo.subsets import singletons


def mmjsd(prior_weight: float | None = None) -> Model:
    """One sample per example from the mixture of experts, which also answers a subset.

    Args:
        prior_weight: Of p(z) in the dynamic prior; None for as much as each expert that is there
            has, as released.
    """
    single = product_of_experts(prior_expert=False)  # the product of one expert is that expert
    experts = Aggregator(single, family=singletons, answer=singletons)
    return Model(experts, partial(mmjsd_elbo, prior_weight=prior_weight))
