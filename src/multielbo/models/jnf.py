"""JNF (Senellart and Allassonniere, 2025): a joint VAE first, then a flow for each modality."""

from __future__ import annotations

__all__ = ["held_out_split", "jnf", "jnf_stages", "joint_vae", "recipe"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Generator

from multielbo.data.multimodal import MultimodalData
from multielbo.flow_kinds import masked_autoregressive
from multielbo.flows import Flow
from multielbo.hmc import ADAPTED
from multielbo.joint import JointVAE, freeze
from multielbo.joint_first import JointFirst
from multielbo.models.recipe import Recipe
from multielbo.networks import seeded
from multielbo.setups.setup import Setup
from multielbo.stages import Stage
from multielbo.train_config import TrainConfig
from multielbo.unimodal import PosteriorFit, UnimodalPosteriors, joined

MakeFlow = Callable[[int], Flow]
HIDDEN = (512, 512)  # of MultiVae's joint encoder


def joint_vae(
    setup: Setup,
    latent_dim: int,
    *,
    seed: int,
    beta: float = 1.0,
    hidden: Sequence[int] = HIDDEN,
) -> JointVAE:
    """The joint VAE of a data set, with the same kind of network for a head as for an encoder.

    Args:
        setup: Networks, likelihoods and weights.
        latent_dim: D.
        seed: Source of the first weights.
        beta: Weight of the divergence in training.
        hidden: Widths of the joint encoder's layers between the heads and the posterior.
    """
    parts = setup.modalities
    with seeded(seed):
        heads = {name: part.encoder(latent_dim) for name, part in parts.items()}
        decoders = {name: part.decoder(latent_dim) for name, part in parts.items()}
        return JointVAE(
            heads,
            decoders,
            {name: part.likelihood for name, part in parts.items()},
            latent_dim,
            hidden,
            beta=beta,
            likelihood_weights=setup.likelihood_weights,
        )


def jnf(
    setup: Setup,
    latent_dim: int,
    *,
    seed: int,
    beta: float = 1.0,
    hidden: Sequence[int] = HIDDEN,
    flow: MakeFlow | None = None,
    sampler: Mapping[str, int | float] = ADAPTED,
) -> JointFirst:
    """JNF before it is trained.

    Args:
        setup: Networks, likelihoods and weights.
        latent_dim: D.
        seed: Source of the first weights, and of the draws that answer subsets.
        beta: Weight of the divergence in stage 1.
        hidden: Widths of the joint encoder's layers between the heads and the posterior; none of
            them learns fastest where epochs are few.
        flow: From D to a flow; two masked autoregressive blocks as wide as D, and at least 128
            units, by default.
        sampler: Settings of `multielbo.hmc.hmc`.
    """
    make = flow or partial(masked_autoregressive, width=max(128, latent_dim))
    joint = joint_vae(setup, latent_dim, seed=seed, beta=beta, hidden=hidden)
    with seeded(seed + 1):  # other first weights than those of the heads
        encoders = {name: part.encoder(latent_dim) for name, part in setup.modalities.items()}
        posteriors = UnimodalPosteriors(encoders, {name: make(latent_dim) for name in encoders})
    return JointFirst(joint, posteriors, sampler, seed)


def jnf_stages(
    model: JointFirst,
    train: MultimodalData,
    configs: Mapping[str, TrainConfig],
    held_out: MultimodalData | None = None,
) -> list[Stage]:
    """The two stages, `"joint"` and `"posteriors"`.

    Args:
        model: What is trained.
        train: Training examples.
        configs: Settings of both, by name.
        held_out: Examples that choose the best epoch, or None for the last one.
    """

    def joint() -> tuple[JointVAE, MultimodalData, MultimodalData | None]:
        return model.joint.requires_grad_(True), train, held_out

    def posteriors() -> tuple[PosteriorFit, MultimodalData, MultimodalData | None]:
        fit = PosteriorFit(model.posteriors, freeze(model.joint))
        chosen_by = None if held_out is None else joined(held_out, model.joint)
        return fit, joined(train, model.joint), chosen_by

    return [
        Stage("joint", joint, configs["joint"]),
        Stage("posteriors", posteriors, configs["posteriors"]),
    ]


def recipe() -> Recipe:
    """JNF as our experiments train it: as many epochs in either stage.

    The joint encoder has no layers behind its heads, unlike the released one: with the few epochs
    of our smaller profiles those layers keep the class from the latents.
    """
    return Recipe(partial(jnf, hidden=()), jnf_stages, {"joint": 1.0, "posteriors": 1.0})


def held_out_split(
    data: MultimodalData, share: float, seed: int
) -> tuple[MultimodalData, MultimodalData]:
    """The data without a random share of the examples, and that share.

    Raises:
        ValueError: One of the two would be empty.
    """
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise ValueError(
            f"held out: a share of {share:g} of {len(data)} examples is {count}; leave some on "
            "either side"
        )
    order = torch.randperm(len(data), generator=Generator().manual_seed(seed))
    order = order.to(data.labels.device)
    return data.take(order[count:]), data.take(order[:count])
