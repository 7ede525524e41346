"""The papers' models, one small file each: a model is a pair of an aggregator and an objective."""

from __future__ import annotations

__all__ = ["MODELS", "Model", "build"]

from multielbo.models.logpool import log_pool, mixture_of_log_pools
from multielbo.models.mmvae import mmvae
from multielbo.models.model import Model
from multielbo.models.mopoe import mopoe, powerset
from multielbo.models.mvae import mvae
from multielbo.models.wbvae import mwb_vae, wb_vae

MODELS = {
    "mvae": mvae,
    "mmvae": mmvae,
    "mopoe": mopoe,
    "powerset": powerset,
    "wb-vae": wb_vae,
    "mwb-vae": mwb_vae,
    "log-pool": log_pool,
    "mixture-of-log-pools": mixture_of_log_pools,
}


def build(name: str) -> Model:
    """The model of that name with its defaults.

    Raises:
        ValueError: No model has that name.
    """
    if name not in MODELS:
        raise ValueError(f"models: no model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name]()
