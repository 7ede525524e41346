"""The models by name."""

from __future__ import annotations

__all__ = ["CELLS", "MODELS", "build", "module_of"]

from collections.abc import Callable

from multielbo.models.atlas import (
    joint_product,
    mixture_of_products_with_prior,
    subsampled_log_pool,
    subsampled_wasserstein,
)
from multielbo.models.hellinger import hellinger, hellinger_exact, mixture_of_hellinger
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
    "hellinger": hellinger,
    "mixture-of-hellinger": mixture_of_hellinger,
    "hellinger-exact": hellinger_exact,
}
# Trained for the atlas alone.
CELLS = {
    "product": joint_product,
    "mopoe-with-prior": mixture_of_products_with_prior,
    "log-pool-subsampled": subsampled_log_pool,
    "wb-vae-subsampled": subsampled_wasserstein,
}


def build(name: str) -> Model:
    """The model of that name with its defaults.

    Raises:
        ValueError: No model has that name.
    """
    return _known(name)()


def module_of(name: str) -> str:
    """The module that states the model of that name.

    Raises:
        ValueError: No model has that name.
    """
    return _known(name).__module__


def _known(name: str) -> Callable[[], Model]:
    known = MODELS | CELLS
    if name not in known:
        raise ValueError(f"models: no model {name!r}; choose one of {', '.join(known)}")
    return known[name]
