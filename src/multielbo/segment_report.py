"""What trained encoders on data in segments are worth: likelihood, and agreement with the truth."""

from __future__ import annotations

__all__ = ["Scores", "codes", "log_likelihood", "objective", "reference", "scores"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from multielbo import gaussians
from multielbo.identifiability import Split, strong_mcc, weak_mcc
from multielbo.mixtures import Posteriors
from multielbo.segment_data import SegmentData
from multielbo.segment_experiment import Trained, bound


class Scores(NamedTuple):
    """Mean correlation coefficients, one number for each seed or one for all.

    Attributes:
        weak: Up to an affine map.
        strong: Up to order, sign, scale and shift.
    """

    weak: Tensor
    strong: Tensor


def scores(codes: Tensor, z: Tensor, split: Split) -> Scores:
    """Of every seed's codes, `(R, B, I)`, with Pearson's correlation.

    Args:
        codes: Learned latents.
        z: True latents, `(B, D)`.
        split: Where matching and maps are fitted, and where they are judged.
    """
    return Scores(
        *(torch.stack([score(c, z, split) for c in codes]) for score in (weak_mcc, strong_mcc))
    )


def codes(trained: Trained, data: SegmentData, members: Tensor | None = None) -> Tensor:
    """Means of q(z | x_S) of every seed, `(R, B, D)`.

    Args:
        trained: The seeds.
        data: As in training, or new.
        members: S of each example, `(M, B)` bool, or None for all that is observed.
    """
    answer, _ = _answer(trained, data, data.observed if members is None else members)
    return answer.loc[0].unflatten(0, (len(trained.weights["log_noise"]), -1))


def log_likelihood(trained: Trained, data: SegmentData, samples: int = 64, seed: int = 0) -> Tensor:
    """Importance-weighted estimate of log p of all that is observed, per example, `(R,)`.

    Below the log-likelihood in expectation, and tends to it.

    Args:
        trained: The seeds.
        data: Examples.
        samples: Latents from q(z | x) for each example.
        seed: Of the latents.
    """
    generator = torch.Generator().manual_seed(seed)
    q, x = _answer(trained, data, data.observed)
    seeds = x.shape[1]
    shape = (samples, *q.loc[0].shape)
    z = gaussians.sample(q.loc[0].expand(shape), q.scale[0].expand(shape), generator)
    explain = trained.explained(data, x, data.observed.repeat(1, seeds))
    weights = explain(z).sum(0) + trained.log_prior(z) - q.log_density(z)
    return (weights.logsumexp(0) - math.log(samples)).unflatten(0, (seeds, -1)).mean(1).double()


def objective(trained: Trained, data: SegmentData, rounds: int = 10, seed: int = 0) -> Tensor:
    """Value of the training objective per example, `(R,)`.

    Args:
        trained: The seeds.
        data: Examples.
        rounds: Passes over them, with fresh masks and latents.
        seed: Of these.
    """
    generator = torch.Generator().manual_seed(seed)
    seeds = len(trained.weights["log_noise"])
    x = data.readable().float()[:, None].expand(-1, seeds, -1, -1)
    observed = data.observed.repeat(1, seeds)
    with torch.no_grad():
        values = [bound(trained, data, x, observed, generator).elbo() for _ in range(rounds)]
    return torch.stack(values).mean(0).unflatten(0, (seeds, -1)).mean(1).double()


def reference(columns: Tensor, z: Tensor, split: Split) -> Scores:
    """Of numbers that no training made, `(B, I)`."""
    return Scores(weak_mcc(columns, z, split), strong_mcc(columns, z, split))


def _answer(trained: Trained, data: SegmentData, members: Tensor) -> tuple[Posteriors, Tensor]:
    seeds = len(trained.weights["log_noise"])
    x = data.readable().float()[:, None].expand(-1, seeds, -1, -1)
    with torch.no_grad():
        return trained.answers(x, (members & data.observed).repeat(1, seeds)[None])[0], x
