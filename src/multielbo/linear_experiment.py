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
from multielbo.aggregators import Aggregator
from multielbo.linear_data import LinearModel, average_and_covariance, likelihood_of
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
    moments = average_and_covariance(truth, x)
    x = truth.padded(x).float()
    aggregator = AGGREGATORS[settings.aggregator]
    networks = []
    for seed in seeds:
        with seeded(seed):
            networks.append(
                LinearVAE(truth.present, settings.latent_dim, settings.width, aggregator)
            )
    weights, _ = stack_module_state(networks)
    answers = "encoders.4" if isinstance(aggregator, Aggregator) else "aggregator.outer.4"
    with torch.no_grad():
        for name, value in weights.items():
            if name.endswith("weight") and value.dim() > 2 and not name.startswith(answers):
                value.mul_(settings.gain)
        log_variances = weights[f"{answers}.bias"][..., -settings.latent_dim :]
        log_variances.add_(2 * math.log(settings.first_scale))
        if settings.centred:
            average = x.mean(1)  # (M, N)
            weights["offsets"].copy_(average.expand_as(weights["offsets"]))
            seen = torch.einsum("mn,rmnw->rmw", average, weights["encoders.0.weight"])
            weights["encoders.0.bias"].sub_(seen[:, :, None])
    optimiser = torch.optim.Adam(weights.values(), fused=True)
    generator = torch.Generator().manual_seed(seeds[0])
    count, examples = x.shape[:2]
    steps = examples // settings.batch
    epochs, levels = [], []
    for epoch in range(settings.epochs):
        if epoch % settings.curve_every == 0:
            epochs.append(epoch)
            levels.append(_levels(weights, truth, moments))
        order = torch.stack([torch.randperm(examples, generator=generator) for _ in seeds])
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = learning_rate(settings, epoch + step / steps)
            rows = order[:, step * settings.batch : (step + 1) * settings.batch]
            batch = x[:, rows]  # (M, R, B, N)
            kept = masks.draw(settings.law, count, rows.numel(), generator)
            value = bound(networks[0], weights, settings, batch, kept, truth.noise, generator)
            optimiser.zero_grad()
            beta = settings.beta * risen(epoch + step / steps, settings.rate_warm_up) ** 3
            (-value.elbo(beta).sum() / settings.batch).backward()
            torch.nn.utils.clip_grad_value_(weights.values(), settings.clip)
            optimiser.step()
    weights = {name: value.detach() for name, value in weights.items()}
    epochs.append(settings.epochs)
    levels.append(_levels(weights, truth, moments))
    curve = epochs, torch.stack(levels)
    return Trained(settings, networks[0], weights, _decoders(weights, truth), curve)


def learning_rate(settings: Settings, epoch: float) -> float:
    """Of Adam after so many epochs: a linear rise, then what falls along a cosine or stays."""
    rate = settings.learning_rate * risen(epoch, settings.warm_up)
    if epoch < settings.warm_up or not settings.cosine:
        return rate
    done = (epoch - settings.warm_up) / (settings.epochs - settings.warm_up)
    return 0.5 * rate * (1 + math.cos(math.pi * done))


def risen(epoch: float, over: int) -> float:
    """From zero to one, linearly over so many epochs; one from the start if they are none."""
    return min(1.0, epoch / over) if over else 1.0


def _decoders(weights: dict[str, Tensor], truth: LinearModel) -> list[LinearModel]:
    here = truth.present
    return [
        LinearModel(w.detach() * here[..., None], b.detach() * here, here, truth.noise)
        for w, b in zip(weights["loadings"], weights["offsets"], strict=True)
    ]


def _levels(
    weights: dict[str, Tensor], truth: LinearModel, moments: tuple[Tensor, Tensor]
) -> Tensor:
    return torch.stack([likelihood_of(model, *moments) for model in _decoders(weights, truth)])


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
