"""Objectives of linear decoders for R seeds at once: their examples stand behind one another.

A network's weights have a leading axis of seeds. Behind the encoders that axis joins the one of
examples, so that objectives and aggregators are those of every other chapter.
"""

from __future__ import annotations

__all__ = ["AGGREGATORS", "OBJECTIVES", "Settings", "bound", "mapped", "posteriors"]

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.func import functional_call, vmap

from multielbo import masks, subsets
from multielbo.aggregators import Aggregator, product_of_experts, wasserstein_barycenter
from multielbo.linear_expectations import EXPECTED
from multielbo.linear_likelihoods import quadratic
from multielbo.linear_networks import LinearVAE
from multielbo.linear_stacks import experts, sum_pooled
from multielbo.masked import kept_posterior, masked_elbo
from multielbo.masks import MaskLaw
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood, joint_elbo, stratified_elbo
from multielbo.set_encoders import SelfAttention, SetEncoder, SetPosteriors, SumPooling
from multielbo.set_networks import gaussians_of
from multielbo.total_correlation import tc_elbo

AGGREGATORS: dict[str, Aggregator | type[SetEncoder]] = {
    "poe": Aggregator(product_of_experts(prior_expert=True), subsets.full_set),
    "moe": Aggregator(wasserstein_barycenter, subsets.singletons, subsets.singletons),
    "mopoe": Aggregator(product_of_experts(prior_expert=True), subsets.powerset, subsets.powerset),
    "w2": Aggregator(wasserstein_barycenter, subsets.full_set),
    "mixture-of-w2": Aggregator(wasserstein_barycenter, subsets.powerset, subsets.powerset),
    "sum-pooling": SumPooling,
    "self-attention": SelfAttention,
}


def _elbo(q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None) -> Bound:
    return (joint_elbo if len(q.loc) == 1 else stratified_elbo)(q, log_likelihood, generator)


OBJECTIVES: dict[str, Callable[..., Bound]] = {
    "masked": masked_elbo,
    "mixture": lambda full, part, *rest: _elbo(part, *rest),
    "joint": lambda full, part, *rest: _elbo(full, *rest),
    "tc": tc_elbo,
}


@dataclass(frozen=True)
class Settings:
    """What a run is made of; the defaults are those of the released simulation.

    Attributes:
        latent_dim: D.
        aggregator, objective: Keys of `AGGREGATORS` and `OBJECTIVES`.
        epochs, batch, learning_rate: Of Adam.
        cosine: Let the learning rate fall to zero along a cosine, step by step.
        warm_up: Epochs in which it rises linearly first.
        rate_warm_up: Epochs in which the weight of the rate rises from zero to beta, as a cube.
        expected: Average over latents in closed form where there is one, instead of drawing one.
        width: Of all hidden layers.
        gain: Factor on the first weights of encoders and aggregator; 1 is PyTorch's default, a
            root of 6 that of He et al. (2015), which keeps the size of what passes through.
        first_scale: Standard deviation of first posteriors, about.
        centred: Let first weights take the data's average away before encoders and add it after
            decoders.
        clip: Largest entry of a gradient.
        beta: Weight of the rate.
        law: Of the masks.
        curve_every: Epochs between exact log-likelihoods.
    """

    latent_dim: int = 5
    aggregator: str = "sum-pooling"
    objective: str = "masked"
    epochs: int = 4000
    batch: int = 500
    learning_rate: float = 1e-3
    cosine: bool = False
    warm_up: int = 0
    rate_warm_up: int = 0
    expected: bool = False
    width: int = 256
    gain: float = 1.0
    first_scale: float = 1.0
    centred: bool = False
    clip: float = 100.0
    beta: float = 1.0
    law: MaskLaw = field(default_factory=masks.independent)
    curve_every: int = 10


def bound(
    network: LinearVAE,
    weights: dict[str, Tensor],
    settings: Settings,
    x: Tensor,
    kept: Tensor,
    noise: float,
    generator: Generator | None = None,
) -> Bound:
    """The objective of R seeds, whose examples stand behind one another, R B in all.

    Args:
        network, weights, settings: As `Trained` has them.
        x: Data of each seed, `(M, R, B, N)`.
        kept: Masks, `(M, R B)` bool.
        noise: Observation standard deviation.
        generator: Source of latents.
    """
    everything = torch.ones_like(kept)
    full, part = posteriors(network, weights, settings, x, torch.stack([everything, kept]))
    log_likelihood = quadratic(weights, x, network.present, noise)
    kind = EXPECTED if settings.expected else OBJECTIVES
    return kind[settings.objective](full, part, log_likelihood, generator)


def posteriors(
    network: LinearVAE, weights: dict[str, Tensor], settings: Settings, x: Tensor, members: Tensor
) -> list[Posteriors]:
    """q(z | x_S) of every subset, of R seeds whose examples stand behind one another.

    Args:
        network, weights, settings: As `Trained` has them.
        x: Data of each seed, `(M, R, B, N)`.
        members: Subsets of each example, `(K, M, R B)` bool.
    """
    seeds, aggregator = x.shape[1], AGGREGATORS[settings.aggregator]
    if isinstance(aggregator, Aggregator):
        loc, scale = gaussians_of(experts(weights, x).movedim(0, 1).flatten(1, 2))
        return [kept_posterior(aggregator, loc, scale, kept) for kept in members]
    by_seed = members.unflatten(-1, (seeds, -1))  # (K, M, R, B)
    if aggregator is SumPooling:
        found = sum_pooled(weights, experts(weights, x), by_seed)
        loc, scale = (v.flatten(1, 2)[:, None] for v in found)
        answers = SetPosteriors(loc, scale, torch.ones_like(loc[..., 0]), members)
    else:
        found = mapped(network, weights, x, by_seed)
        loc, scale, mixing = (v.movedim(0, 2).flatten(2, 3) for v in found)
        answers = SetPosteriors(loc, scale, mixing, members)
    return [answers.subset(k) for k in range(len(members))]


def mapped(
    network: LinearVAE, weights: dict[str, Tensor], x: Tensor, members: Tensor
) -> tuple[Tensor, ...]:
    """What the network answers with every seed's weights, the seeds first.

    Args:
        network, weights: As `Trained` has them.
        x: Data of each seed, `(M, R, B, N)`.
        members: Subsets of each example, `(K, M, R, B)` bool.
    """

    def one(weights: dict[str, Tensor], x: Tensor, members: Tensor) -> tuple[Tensor, ...]:
        return functional_call(network, weights, (x, members))

    return vmap(one, in_dims=(0, 1, 2))(weights, x, members)
