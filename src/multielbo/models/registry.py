"""The models by name."""

from __future__ import annotations

__all__ = ["CELLS", "MODELS", "STAGED", "build", "known", "module_of", "recipe"]

from importlib import import_module
from typing import TYPE_CHECKING

from multielbo.models.atlas import (
    joint_product,
    mixture_of_products_with_prior,
    subsampled_log_pool,
    subsampled_wasserstein,
)
from multielbo.models.hellinger import hellinger, hellinger_exact, mixture_of_hellinger
from multielbo.models.logpool import log_pool, mixture_of_log_pools
from multielbo.models.masked import masked_poe
from multielbo.models.mmjsd import mmjsd
from multielbo.models.mmvae import mmvae, mmvae_averaged
from multielbo.models.model import Model
from multielbo.models.mopoe import mopoe, powerset
from multielbo.models.mvae import mvae
from multielbo.models.mvtcae import mvtcae
from multielbo.models.wbvae import mwb_vae, wb_vae

if TYPE_CHECKING:
    from multielbo.models.recipe import Recipe

MODELS = {
    "mvae": mvae,
    "mmvae": mmvae,
    "mmvae-averaged": mmvae_averaged,
    "mopoe": mopoe,
    "powerset": powerset,
    "wb-vae": wb_vae,
    "mwb-vae": mwb_vae,
    "log-pool": log_pool,
    "mixture-of-log-pools": mixture_of_log_pools,
    "hellinger": hellinger,
    "mixture-of-hellinger": mixture_of_hellinger,
    "hellinger-exact": hellinger_exact,
    "mvtcae": mvtcae,
    "mmjsd": mmjsd,
    "masked-poe": masked_poe,
}
# Trained for the atlas alone.
CELLS = {
    "product": joint_product,
    "mopoe-with-prior": mixture_of_products_with_prior,
    "log-pool-subsampled": subsampled_log_pool,
    "wb-vae-subsampled": subsampled_wasserstein,
}
# Not an aggregator and an objective, but a recipe of stages, which may be one. The module that
# states it is imported when it is asked for: its flows come from a package that the other models do
# without.
STAGED = {
    "jmvae": "multielbo.models.jmvae",
    "mmvae-plus": "multielbo.models.mmvae_plus",
    "masked-sum-pooling": "multielbo.models.masked_sum_pooling",
    "masked-self-attention": "multielbo.models.masked_self_attention",
    "jnf": "multielbo.models.jnf",
    "jnf-dcca": "multielbo.models.jnf_dcca",
    "jnf-contrastive": "multielbo.models.jnf_contrastive",
}


def known() -> tuple[str, ...]:
    """The names of all models."""
    return (*MODELS, *CELLS, *STAGED)


def build(name: str) -> Model:
    """Aggregator and objective of the model of that name, with its defaults.

    Raises:
        ValueError: No model has that name, or it trains in stages.
    """
    _check(name)
    if name in STAGED:
        raise ValueError(f"models: {name} trains in stages; call registry.recipe for it")
    return (MODELS | CELLS)[name]()


def recipe(name: str) -> Recipe:
    """The recipe of the model of that name, which trains in stages.

    Raises:
        ValueError: No model has that name, or it trains in one stage.
    """
    _check(name)
    if name not in STAGED:
        raise ValueError(f"models: {name} trains in one stage; call registry.build for it")
    return import_module(STAGED[name]).recipe()


def module_of(name: str) -> str:
    """The module that states the model of that name.

    Raises:
        ValueError: No model has that name.
    """
    _check(name)
    return STAGED[name] if name in STAGED else (MODELS | CELLS)[name].__module__


def _check(name: str) -> None:
    if name not in known():
        raise ValueError(f"models: no model {name!r}; choose one of {', '.join(known())}")
