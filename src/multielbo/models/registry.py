"""The models by name."""

from __future__ import annotations

__all__ = ["MODELS", "build", "module_of"]

from multielbo.models.logpool import log_pool, mixture_of_log_pools
from multielbo.models.mmvae import mmvae, mmvae_averaged
from multielbo.models.model import Model
from multielbo.models.mopoe import mopoe, powerset
from multielbo.models.mvae import mvae
from multielbo.models.wbvae import mwb_vae, wb_vae

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
}


def build(name: str) -> Model:
    """The model of that name with its defaults.

    Raises:
        ValueError: No model has that name.
    """
    _require(name)
    return MODELS[name]()


def module_of(name: str) -> str:
    """The module that states the model of that name.

    Raises:
        ValueError: No model has that name.
    """
    _require(name)
    return MODELS[name].__module__


def _require(name: str) -> None:
    if name not in MODELS:
        raise ValueError(f"models: no model {name!r}; choose one of {', '.join(MODELS)}")
