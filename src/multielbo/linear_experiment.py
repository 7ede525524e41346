"""Train linear decoders under any objective with any aggregator, several seeds at once."""

from __future__ import annotations

__all__ = ["Trained", "train"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import stack_module_state

from multielbo import masks
from multielbo.linear_data import LinearModel, log_likelihood
from multielbo.linear_networks import LinearVAE
from multielbo.linear_objectives import AGGREGATORS, OBJECTIVES, Settings, bound
from multielbo.networks import seeded


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
