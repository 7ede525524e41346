"""Train linear decoders under any objective with any aggregator, several seeds at once.

Seeds are a leading axis of every weight. Behind the encoders they join the axis of examples, so
that objectives and aggregators are those of every other chapter.
"""

from __future__ import annotations

__all__ = ["AGGREGATORS", "OBJECTIVES", "Settings", "Trained", "bound", "posteriors", "train"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.func import functional_call, stack_module_state, vmap

from multielbo import masks, subsets
from multielbo.aggregators import Aggregator, product_of_experts, wasserstein_barycenter
from multielbo.gaussians import LOG_2PI
from multielbo.linear_data import LinearModel, log_likelihood
from multielbo.linear_networks import LinearVAE
from multielbo.masked import kept_posterior, masked_elbo
from multielbo.masks import MaskLaw
from multielbo.mixtures import Posteriors
from multielbo.networks import seeded
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


def _elbo(q: Posteriors, explain: LogLikelihood, generator: Generator | None) -> Bound:
    return (joint_elbo if len(q.loc) == 1 else stratified_elbo)(q, explain, generator)


OBJECTIVES: dict[str, Callable[..., Bound]] = {
    "masked": masked_elbo,
    "mixture": lambda full, part, explain, generator: _elbo(part, explain, generator),
    "joint": lambda full, part, explain, generator: _elbo(full, explain, generator),
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


@dataclass(frozen=True)
class Trained:
    """R trained seeds.

    Attributes:
        settings: Of the run.
        network: The architecture, without weights of its own.
        weights: Of every seed, `(R, ...)` each.
        decoders: What each seed learned.
        curve: Epochs, and exact average log-likelihood of the learned decoders at each, `(T, R)`.
    """

    settings: Settings
    network: LinearVAE
    weights: dict[str, Tensor]
    decoders: list[LinearModel]
    curve: tuple[list[int], Tensor]


def train(
    x: Tensor, truth: LinearModel, settings: Settings, seeds: Sequence[int] = range(5)
) -> Trained:
    """Train all seeds at once.

    Args:
        x: Data, `(M, B, N)`; the padding is not read.
        truth: Says which dimensions there are and what the noise is; its loadings are not used.
        settings: Of the run.
        seeds: Of first weights; the first one also draws batches, masks and latents.

    Raises:
        ValueError: An unknown aggregator or objective, or fewer examples than a batch.
    """
    _check(settings, x)
    aggregator = AGGREGATORS[settings.aggregator]
    networks = []
    for seed in seeds:
        with seeded(seed):
            networks.append(
                LinearVAE(truth.present, settings.latent_dim, settings.width, aggregator)
            )
    weights, _ = stack_module_state(networks)
    optimiser = torch.optim.Adam(weights.values(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(seeds[0])
    x = truth.padded(x).float()
    count, examples = x.shape[:2]
    steps = examples // settings.batch
    epochs, levels = [], []
    for epoch in range(settings.epochs):
        if epoch % settings.curve_every == 0:
            epochs.append(epoch)
            levels.append(_levels(weights, truth, x))
        order = torch.stack([torch.randperm(examples, generator=generator) for _ in seeds])
        for step in range(steps):
            if settings.cosine:
                done = (epoch * steps + step) / (settings.epochs * steps)
                rate = 0.5 * settings.learning_rate * (1 + math.cos(math.pi * done))
                optimiser.param_groups[0]["lr"] = rate
            rows = order[:, step * settings.batch : (step + 1) * settings.batch]
            batch = x[:, rows]  # (M, R, B, N)
            kept = masks.draw(settings.law, count, rows.numel(), generator)
            value = bound(networks[0], weights, settings, batch, kept, truth.noise, generator)
            optimiser.zero_grad()
            (-value.elbo(settings.beta).sum() / settings.batch).backward()
            torch.nn.utils.clip_grad_value_(weights.values(), settings.clip)
            optimiser.step()
    weights = {name: value.detach() for name, value in weights.items()}
    epochs.append(settings.epochs)
    levels.append(_levels(weights, truth, x))
    curve = epochs, torch.stack(levels)
    return Trained(settings, networks[0], weights, _decoders(weights, truth), curve)


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
    explain = _explain(weights, x, network.present, noise)
    return OBJECTIVES[settings.objective](full, part, explain, generator)


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


def _explain(weights: dict[str, Tensor], x: Tensor, present: Tensor, noise: float) -> LogLikelihood:
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


def _decoders(weights: dict[str, Tensor], truth: LinearModel) -> list[LinearModel]:
    here = truth.present
    return [
        LinearModel(w.detach() * here[..., None], b.detach() * here, here, truth.noise)
        for w, b in zip(weights["loadings"], weights["offsets"], strict=True)
    ]


def _levels(weights: dict[str, Tensor], truth: LinearModel, x: Tensor) -> Tensor:
    return torch.stack([log_likelihood(model, x) for model in _decoders(weights, truth)])


def _check(settings: Settings, x: Tensor) -> None:
    for kind, known in [("aggregator", AGGREGATORS), ("objective", OBJECTIVES)]:
        name = getattr(settings, kind)
        if name not in known:
            raise ValueError(
                f"linear experiment: unknown {kind} {name!r}; choose from {', '.join(known)}"
            )
    if x.shape[1] < settings.batch:
        raise ValueError(
            f"linear experiment: {x.shape[1]} examples make no batch of {settings.batch}"
        )
