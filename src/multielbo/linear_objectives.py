"""Objectives of linear decoders for R seeds at once: their examples stand behind one another.

A network's weights have a leading axis of seeds. Behind the encoders that axis joins the one of
examples, so that objectives and aggregators are those of every other chapter.
"""

from __future__ import annotations

__all__ = ["AGGREGATORS", "OBJECTIVES", "Settings", "bound", "explain", "posteriors"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.func import functional_call, vmap

from multielbo import masks, subsets
from multielbo.aggregators import Aggregator, product_of_experts, wasserstein_barycenter
from multielbo.gaussians import LOG_2PI
from multielbo.linear_networks import LinearVAE
from multielbo.masked import kept_posterior, masked_elbo
from multielbo.masks import MaskLaw
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood, joint_elbo, stratified_elbo
from multielbo.set_encoders import SelfAttention, SetEncoder, SetPosteriors, SumPooling
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
        width: Of all hidden layers.
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
    width: int = 256
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
    log_likelihood = explain(weights, x, network.present, noise)
    return OBJECTIVES[settings.objective](full, part, log_likelihood, generator)


def posteriors(
    network: LinearVAE, weights: dict[str, Tensor], settings: Settings, x: Tensor, members: Tensor
) -> list[Posteriors]:
    """q(z | x_S) of every subset, of R seeds whose examples stand behind one another.

    Args:
        network, weights, settings: As `Trained` has them.
        x: Data of each seed, `(M, R, B, N)`.
        members: Subsets of each example, `(K, M, R B)` bool.
    """
    seeds = x.shape[1]
    by_seed = members.unflatten(-1, (seeds, -1)).movedim(2, 0)  # (R, K, M, B)

    def one(weights: dict[str, Tensor], x: Tensor, members: Tensor) -> tuple[Tensor, ...]:
        return functional_call(network, weights, (x, members))

    found = vmap(one, in_dims=(0, 1, 0))(weights, x, by_seed)
    aggregator = AGGREGATORS[settings.aggregator]
    if isinstance(aggregator, Aggregator):
        loc, scale = (v.movedim(0, 1).flatten(1, 2) for v in found)
        return [kept_posterior(aggregator, loc, scale, kept) for kept in members]
    loc, scale = (v.movedim(0, 2).flatten(2, 3) for v in found[:2])
    answers = SetPosteriors(loc, scale, found[2].movedim(0, 2).flatten(2, 3), members)
    return [answers.subset(k) for k in range(len(members))]


def explain(weights: dict[str, Tensor], x: Tensor, present: Tensor, noise: float) -> LogLikelihood:
    """log p(x_m | z) of every seed's own decoders, for latents `(..., R B, D)`.

    Args:
        weights: Of every seed, with "loadings" `(R, M, N, D)` and "offsets" `(R, M, N)`.
        x: Data of each seed, `(M, R, B, N)`, zero in the padding.
        present: Which dimensions a modality has, `(M, N)` bool.
        noise: Observation standard deviation.
    """
    loadings = weights["loadings"] * present[..., None]  # (R, M, N, D)
    shifted = x - (weights["offsets"] * present).movedim(0, 1)[:, :, None]  # (M, R, B, N)
    log_norm = present.sum(1) * (math.log(noise) + 0.5 * LOG_2PI)

    def score(z: Tensor, wanted: Tensor | None = None) -> Tensor:
        by_seed = z.unflatten(-2, x.shape[1:3])  # (..., R, B, D)
        means = torch.einsum("...rbd,rmnd->m...rbn", by_seed, loadings)
        extra = shifted.view(len(x), *[1] * (z.dim() - 2), *x.shape[1:])
        squares = ((extra - means) / noise).square().sum(-1).flatten(-2)
        scores = -0.5 * squares - log_norm.view(-1, *[1] * (z.dim() - 1))
        return scores if wanted is None else scores * wanted.T[..., None]

    return score
