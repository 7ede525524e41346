"""Train non-linear decoders with a trainable prior on data in segments, several seeds at once."""

from __future__ import annotations

__all__ = ["Settings", "Trained", "bound", "train"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.func import stack_module_state

from multielbo import linear_objectives, masks
from multielbo.linear_experiment import risen
from multielbo.linear_networks import LinearVAE
from multielbo.linear_objectives import AGGREGATORS, posteriors
from multielbo.mixture_priors import MixturePrior, TrainableMixture, mixture_of, standard_normal
from multielbo.mixtures import Posteriors
from multielbo.networks import seeded
from multielbo.objectives import Bound
from multielbo.segment_data import SegmentData
from multielbo.segment_networks import Decoders, Explained
from multielbo.segment_objectives import OBJECTIVES, kept_or_all

SINGLE = ("sum-pooling", "self-attention", "poe", "w2")  # those whose answer is one Gaussian


@dataclass(frozen=True)
class Settings:
    """What a run is made of; where the release says something, the defaults are that.

    Attributes:
        latent_dim: D.
        prior: "mixture", trained, or "normal".
        components: K, of the mixture.
        objective: A key of `OBJECTIVES`.
        aggregator: One of `SINGLE`.
        epochs, batch, learning_rate: Of Adam.
        cosine: Let the learning rate fall to zero along a cosine.
        rate_warm_up: Epochs in which the weight of the rate rises from zero to one, as a cube.
        width: Of encoders and aggregator.
        decoder_width, layers: Of decoders, hidden layers and affine maps.
        noise: Of decoders; None trains one for each modality.
        clip: Largest entry of a gradient.
    """

    latent_dim: int = 2
    prior: str = "mixture"
    components: int = 5
    objective: str = "masked"
    aggregator: str = "sum-pooling"
    epochs: int = 4000
    batch: int = 250
    learning_rate: float = 5e-4
    cosine: bool = False
    rate_warm_up: int = 0
    width: int = 128
    decoder_width: int = 128
    layers: int = 2
    noise: float | None = 0.1
    clip: float = 100.0


@dataclass(frozen=True)
class Trained:
    """R trained seeds.

    Attributes:
        settings: Of the run.
        network: The encoders' architecture, without weights of its own.
        weights: Of every seed, `(R, ...)` each.
        centre, spread: Of every input, `(M, 1, N)`: what encoders see is standardised by them.
    """

    settings: Settings
    network: LinearVAE
    weights: dict[str, Tensor]
    centre: Tensor
    spread: Tensor

    @property
    def prior(self) -> MixturePrior:
        """Of every seed."""
        if self.settings.prior == "mixture":
            return mixture_of(
                *(self.weights[f"prior.{name}"] for name in ("loc", "log_scale", "logits"))
            )
        seeds = len(self.weights["log_noise"])
        return MixturePrior(
            *(v.expand(seeds, *v.shape) for v in standard_normal(self.settings.latent_dim))
        )

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), `(..., R B)`, of latents `(..., R B, D)`."""
        seeds = len(self.weights["log_noise"])
        by_seed = z.unflatten(-2, (seeds, -1))  # (..., R, B, D)
        return self.prior.log_density(by_seed).flatten(-2)

    def answers(self, x: Tensor, members: Tensor) -> list[Posteriors]:
        """q(z | x_S) of K subsets, seeds behind one another.

        Args:
            x: Data of each seed, `(M, R, B, N)`, zero where missing.
            members: Subsets, `(K, M, R B)` bool.
        """
        of_encoders = linear_objectives.Settings(aggregator=self.settings.aggregator)
        seen = (x - self.centre[:, None]) / self.spread[:, None]
        return posteriors(self.network, self.weights, of_encoders, seen, members)

    def explained(self, data: SegmentData, x: Tensor, observed: Tensor) -> Explained:
        """log p(x_m | z) for data of each seed, `(M, R, B, N)`."""
        return Explained(self.weights, x, data.present, data.classes, observed)


def train(data: SegmentData, settings: Settings, seeds: Sequence[int]) -> Trained:
    """Train all seeds at once; masks keep each modality of those observed with one half.

    Args:
        data: What is missing is never read, nor are true latents.
        settings: Of the run.
        seeds: Of first weights; the first one also draws batches, masks and latents.

    Raises:
        ValueError: An unknown setting, fewer examples than a batch, or one without any modality.
    """
    _check(data, settings)
    x, observed = data.readable().float(), data.observed
    started = _started(data, x, settings, seeds)
    free = {
        name: v.requires_grad_() for name, v in started.weights.items() if _trains(name, started)
    }
    optimiser = torch.optim.Adam(free.values(), fused=True)
    generator = torch.Generator().manual_seed(seeds[0])
    examples = observed.shape[1]
    steps = examples // settings.batch
    for epoch in range(settings.epochs):
        order = torch.stack([torch.randperm(examples, generator=generator) for _ in seeds])
        for step in range(steps):
            now = epoch + step / steps
            optimiser.param_groups[0]["lr"] = _learning_rate(settings, now)
            rows = order[:, step * settings.batch : (step + 1) * settings.batch]
            found = bound(started, data, x[:, rows], observed[:, rows].flatten(1), generator)
            optimiser.zero_grad()
            beta = risen(now, settings.rate_warm_up) ** 3
            (-found.elbo(beta).sum() / settings.batch).backward()
            torch.nn.utils.clip_grad_value_(free.values(), settings.clip)
            optimiser.step()
    for value in started.weights.values():
        value.requires_grad_(False)
    return started


def bound(
    model: Trained, data: SegmentData, x: Tensor, observed: Tensor, generator: Generator
) -> Bound:
    """The objective of R seeds, whose examples stand behind one another, with one mask for each.

    Args:
        model: The seeds.
        data: Says what the modalities are.
        x: Data of each seed, `(M, R, B, N)`, zero where missing.
        observed: `(M, R B)` bool.
        generator: Source of masks and latents.
    """
    kept = masks.draw(masks.independent(), *observed.shape, generator)
    full, part = model.answers(x, torch.stack([observed, kept_or_all(kept, observed)]))
    explain = model.explained(data, x, observed)
    return OBJECTIVES[model.settings.objective](full, part, explain, model.log_prior, generator)


def _started(data: SegmentData, x: Tensor, settings: Settings, seeds: Sequence[int]) -> Trained:
    encoders, decoders, priors = [], [], []
    for seed in seeds:
        with seeded(seed):
            aggregator = AGGREGATORS[settings.aggregator]
            d = settings.latent_dim
            encoders.append(LinearVAE(data.present, d, settings.width, aggregator))
            decoders.append(Decoders(data.present, d, settings.decoder_width, settings.layers))
            priors.append(TrainableMixture(settings.components, d))
    weights = dict(stack_module_state(encoders)[0])
    for name in ("loadings", "offsets"):  # those of linear decoders
        del weights[name]
    for prefix, parts in (("decoders", decoders), ("prior", priors)):
        weights |= {f"{prefix}.{name}": v for name, v in stack_module_state(parts)[0].items()}
    log_noise = 0.0 if settings.noise is None else math.log(settings.noise)
    weights["log_noise"] = torch.full((len(seeds), len(x)), log_noise)
    weights = {name: value.detach() for name, value in weights.items()}
    there = data.observed[..., None].float()
    total = there.sum(1, keepdim=True).clamp_min(1)  # a modality may be missing everywhere
    centre = (there * x).sum(1, keepdim=True) / total
    spread = ((there * (x - centre).square()).sum(1, keepdim=True) / total).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    _to_the_data(weights, settings, centre, spread, data.classes)
    return Trained(settings, encoders[0], weights, centre, spread)


def _to_the_data(
    weights: dict[str, Tensor], settings: Settings, centre: Tensor, spread: Tensor, classes: Tensor
) -> None:
    """Let decoders of no class begin at the data's average and size."""
    last, others = f"decoders.maps.{settings.layers - 1}", ~classes
    weights[f"{last}.weight"][:, others] *= spread[others]
    weights[f"{last}.bias"][:, others] = centre[others]


def _trains(name: str, model: Trained) -> bool:
    if name.startswith("prior."):
        return model.settings.prior == "mixture"
    return name != "log_noise" or model.settings.noise is None


def _learning_rate(settings: Settings, epoch: float) -> float:
    if not settings.cosine:
        return settings.learning_rate
    return 0.5 * settings.learning_rate * (1 + math.cos(math.pi * epoch / settings.epochs))


def _check(data: SegmentData, settings: Settings) -> None:
    for kind, known in [
        ("aggregator", SINGLE),
        ("objective", OBJECTIVES),
        ("prior", ("mixture", "normal")),
    ]:
        name = getattr(settings, kind)
        if name not in known:
            raise ValueError(
                f"segment experiment: unknown {kind} {name!r}; choose from {', '.join(known)}"
            )
    if settings.aggregator == "poe" and settings.prior == "mixture":
        raise ValueError(
            "segment experiment: a product of experts holds a normal prior; take prior='normal', "
            "or an aggregator that is trained"
        )
    if data.x.shape[1] < settings.batch:
        raise ValueError(
            f"segment experiment: {data.x.shape[1]} examples make no batch of {settings.batch}"
        )
    nothing = ~data.observed.any(0)
    if bool(nothing.any()):
        raise ValueError(
            f"segment experiment: nothing is observed of example {int(nothing.nonzero()[0])}; "
            "leave it out"
        )
