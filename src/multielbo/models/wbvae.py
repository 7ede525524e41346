"""WB-VAE and MWB-VAE (Qiu et al., 2025): Wasserstein barycenters in place of products.

The paper's text beyond its abstract was not at hand: equal weights, no prior expert, and a
uniform mixture over all subsets are this book's reading.
"""

from __future__ import annotations

__all__ = ["mwb_vae", "wb_vae"]

from multielbo.aggregators import Aggregator, wasserstein_barycenter
from multielbo.models.model import Model
from multielbo.objectives import joint_elbo, mixture_elbo
from multielbo.subsets import full_set, powerset


def wb_vae() -> Model:
    """The 2-Wasserstein barycenter of all modalities under the joint ELBO."""
    return Model(Aggregator(wasserstein_barycenter, family=full_set), joint_elbo)


def mwb_vae() -> Model:
    """A mixture, over all subsets, of 2-Wasserstein barycenters, trained as MoPoE is."""
    return Model(Aggregator(wasserstein_barycenter, family=powerset), mixture_elbo)
