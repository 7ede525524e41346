"""A plane seen three times: a toy on which JNF trains in seconds and every posterior is a sum.

The first modality shows one number, a bent function of a point, so that its posterior follows a
curve; the second shows one coordinate, and the third the point itself, whose quadrant is the class.
The latent has two dimensions, so what chains draw from the posterior of the first two can be held
against a grid.
"""

from __future__ import annotations

__all__ = ["NOISE", "PAIR", "answered", "draw", "pair_density", "quadrant", "trained"]

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from multielbo.data.multimodal import MultimodalData
from multielbo.flow_kinds import masked_autoregressive
from multielbo.hmc import LogDensity
from multielbo.joint_first import JointFirst
from multielbo.likelihoods import Normal
from multielbo.models.jnf import jnf, jnf_stages
from multielbo.networks import mlp_decoder, mlp_encoder
from multielbo.setups.setup import Modality, Setup
from multielbo.train import fit
from multielbo.train_config import TrainConfig

NOISE = {"first": 0.5, "second": 0.7, "point": 0.3}  # standard deviations
PAIR = ("first", "second")
SHAPES = {"first": (1,), "second": (1,), "point": (2,)}


def draw(split: str, count: int, generator: Generator | None = None) -> MultimodalData:
    """Points u of the plane, standard normal, and what the modalities show of them.

    The first shows u_1 + sin 2 u_2, the second u_2, the third u, each with normal noise.

    Args:
        split: What the name ends in.
        count: Number of points.
        generator: Source of points and noise.
    """
    u = torch.randn(count, 2, generator=generator, dtype=torch.float32)
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float32)
    bent = u[:, :1] + (2 * u[:, 1:]).sin()
    parts = torch.cat([bent, u[:, 1:], u], 1).split([1, 1, 2], 1)
    modalities = {
        name: part + NOISE[name] * some
        for name, part, some in zip(SHAPES, parts, noise.split([1, 1, 2], 1), strict=True)
    }
    return MultimodalData(f"quadrants-{split}", modalities, quadrant(u), classes=4)


def quadrant(points: Tensor) -> Tensor:
    """Number of the quadrant that holds each point, `(...)`.

    Of what the third modality shows it is the most probable class: prior and noise are symmetric.

    Args:
        points: `(..., 2)`.
    """
    right, upper = (points > 0).long().unbind(-1)
    return 2 * right + upper


def trained(train: MultimodalData, seed: int) -> JointFirst:
    """JNF with two latents after both of its stages, frozen.

    Args:
        train: As `draw` gives it.
        seed: Of weights, batches and draws.
    """
    parts = {
        name: Modality(
            partial(mlp_encoder, shape, hidden=(32,)),
            partial(mlp_decoder, shape, hidden=(32,)),
            Normal(NOISE[name]),
        )
        for name, shape in SHAPES.items()
    }
    setup = Setup(lambda root, split: train, parts)
    flow = partial(masked_autoregressive, width=32, hidden_layers=2)
    model = jnf(setup, 2, seed=seed, hidden=(), flow=flow).float()
    configs = {
        "joint": TrainConfig(epochs=15, batch_size=200, learning_rate=2e-2, seed=seed),
        "posteriors": TrainConfig(epochs=25, batch_size=200, learning_rate=5e-3, seed=seed),
    }
    for stage in jnf_stages(model, train, configs):
        module, examples, _ = stage.prepare()
        fit(module, examples, stage.config, progress=False)
    return model.requires_grad_(False).eval()


def pair_density(model: JointFirst, data: MultimodalData) -> LogDensity:
    """log of the product for the pair of every example, in float64.

    Args:
        model: As `trained` gives it.
        data: N examples.

    Returns:
        From latents `(..., N, 2)` to `(..., N)`, up to a number for each example.
    """
    exact = deepcopy(model).double()
    answers = replace(exact.aggregator, posteriors=exact.posteriors.fixed())
    loc, scale, _ = model.encode(data.batch(slice(None)))
    base = {"loc": loc, "scale": scale}
    base = {name: x[..., : model.latent_dim].double() for name, x in base.items()}
    places = [model.modalities.index(name) for name in PAIR]
    return partial(answers.log_density, members=places, **base)


def answered(model: JointFirst, data: MultimodalData, sampler: Mapping[str, int | float]) -> Tensor:
    """The draw with which the model answers the pair of every example, `(N, 2)`.

    Args:
        model: As `trained` gives it.
        data: N examples.
        sampler: Settings of `multielbo.hmc.hmc`.
    """
    answers = replace(model.aggregator, sampler=sampler)
    batch = data.batch(slice(None))
    return answers.posterior(*model.encode({name: batch[name] for name in PAIR})).loc[0]
