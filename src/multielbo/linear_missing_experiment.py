"""Train linear decoders on rows of which modalities are missing, and hold them against theory."""

from __future__ import annotations

__all__ = ["Report", "report", "train"]

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from multielbo import linear_experiment, masks
from multielbo.linear_data import LinearModel, centred, oracle
from multielbo.linear_expectations import EXPECTED
from multielbo.linear_experiment import Trained, learning_rate, risen
from multielbo.linear_likelihoods import quadratic
from multielbo.linear_missing import log_likelihood, patterns
from multielbo.linear_objectives import Settings, posteriors
from multielbo.linear_report import subset_divergence
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound


class Report(NamedTuple):
    """Averages over data, in nats per example, for each of R seeds.

    Attributes:
        log_likelihood: Exact, of what is observed, under the learned decoders, `(R,)`.
        objective, rate: Its value, and what it pays, `(R,)`.
        divergence: KL(q(z | x_S) || p(z | x_S)) on complete rows, `(2^M, R)`.
    """

    log_likelihood: Tensor
    objective: Tensor
    rate: Tensor
    divergence: Tensor


def train(
    x: Tensor, observed: Tensor, truth: LinearModel, settings: Settings, seeds: Sequence[int]
) -> Trained:
    """`multielbo.linear_experiment.train` on what is observed; the rest is never read.

    Args:
        x: Data, `(M, B, N)`.
        observed: `(M, B)` bool.
        truth: Says which dimensions there are and what the noise is.
        settings: Of the run, with expectations in closed form.
        seeds: Of first weights; the first one also draws batches, masks and latents.

    Raises:
        ValueError: As for `train`, or nothing is observed of some example.
    """
    seen = patterns(x, observed, truth)
    x = torch.where(observed[..., None], truth.padded(x), 0.0).float()
    there = observed[..., None].float()
    average = x.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
    # First weights are centred at the average, which must be that of observed rows.
    started = linear_experiment.train(
        torch.where(observed[..., None], x, average), truth, replace(settings, epochs=0), seeds
    )
    weights = {name: value.requires_grad_() for name, value in started.weights.items()}
    optimiser = torch.optim.Adam(weights.values(), fused=True)
    generator = torch.Generator().manual_seed(seeds[0])
    examples = x.shape[1]
    steps = examples // settings.batch
    now = replace(started, weights=weights)
    for epoch in range(settings.epochs):
        order = torch.stack([torch.randperm(examples, generator=generator) for _ in seeds])
        for step in range(steps):
            at = epoch + step / steps
            optimiser.param_groups[0]["lr"] = learning_rate(settings, at)
            rows = order[:, step * settings.batch : (step + 1) * settings.batch]
            value = _bound(now, x[:, rows], observed[:, rows].flatten(1), truth.noise, generator)
            optimiser.zero_grad()
            beta = settings.beta * risen(at, settings.rate_warm_up) ** 3
            (-value.elbo(beta).sum() / settings.batch).backward()
            torch.nn.utils.clip_grad_value_(weights.values(), settings.clip)
            optimiser.step()
    weights = {name: value.detach() for name, value in weights.items()}
    here = truth.present
    decoders = [
        LinearModel(w * here[..., None], b * here, here, truth.noise)
        for w, b in zip(weights["loadings"], weights["offsets"], strict=True)
    ]
    levels = torch.stack([log_likelihood(model, seen) for model in decoders])
    return Trained(settings, started.network, weights, decoders, ([settings.epochs], levels[None]))


def report(
    trained: Trained,
    x: Tensor,
    observed: Tensor,
    whole: Tensor,
    rounds: int = 4,
    seed: int = 0,
) -> Report:
    """Evaluate all seeds.

    Args:
        trained: The seeds.
        x: Data, `(M, B, N)`; what is missing is not read.
        observed: `(M, B)` bool.
        whole: Complete examples, `(M, B', N)`, for divergences.
        rounds: Passes over the data for the objective, with fresh masks.
        seed: Of masks.
    """
    generator = torch.Generator().manual_seed(seed)
    first, seeds = trained.decoders[0], len(trained.decoders)
    everyone = torch.where(observed[..., None], first.padded(x), 0.0).float()
    everyone = everyone[:, None].expand(-1, seeds, -1, -1)
    with torch.no_grad():
        found = [
            _bound(trained, everyone, observed.repeat(1, seeds), first.noise, generator)
            for _ in range(rounds)
        ]
        subsets = masks.all_subsets(len(x))
        rows = subsets[..., None].expand(-1, -1, seeds * whole.shape[1])
        complete = first.padded(whole).float()[:, None].expand(-1, seeds, -1, -1)
        answers = posteriors(trained.network, trained.weights, trained.settings, complete, rows)
    divergence = []
    for q, row in zip(answers, subsets.tolist(), strict=True):
        names = [str(m) for m, seen in enumerate(row) if seen]
        of_seeds = [
            subset_divergence(
                oracle(model), centred(model, whole), _of_seed(q, r, seeds), names, draws=1
            ).mean()
            for r, model in enumerate(trained.decoders)
        ]
        divergence.append(torch.stack(of_seeds))
    return Report(
        trained.curve[1][-1],
        _by_seed(torch.stack([b.elbo(trained.settings.beta) for b in found]), seeds),
        _by_seed(torch.stack([b.rate for b in found]), seeds),
        torch.stack(divergence),
    )


def _bound(
    trained: Trained, x: Tensor, observed: Tensor, noise: float, generator: Generator
) -> Bound:
    settings = trained.settings
    kept = masks.draw(settings.law, *observed.shape, generator) & observed
    asked = trained.network, trained.weights, settings, x, torch.stack([observed, kept])
    full, part = posteriors(*asked)
    explain = quadratic(trained.weights, x, trained.network.present, noise)
    found = EXPECTED[settings.objective](full, part, explain, generator)
    return Bound(torch.where(observed, found.reconstruction, 0.0), found.rate)


def _of_seed(q: Posteriors, r: int, seeds: int) -> Posteriors:
    examples = q.loc.shape[1] // seeds
    here = slice(r * examples, (r + 1) * examples)
    loc, scale, weights = (v[:, here].double() for v in q[:3])
    return Posteriors(loc, scale, weights, q.members[..., here])


def _by_seed(values: Tensor, seeds: int) -> Tensor:
    return values.mean(0).view(seeds, -1).mean(1).double()
