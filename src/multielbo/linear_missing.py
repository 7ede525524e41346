"""Linear multimodal data of which modalities are missing: exact likelihoods and their maximum.

All rows that observe the same modalities form a pattern; of it only the average and the covariance
count, so that nothing here depends on the number of rows.
"""

from __future__ import annotations

__all__ = ["Pattern", "imputed", "likeliest", "log_likelihood", "patterns"]

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from multielbo import masks
from multielbo.linear_data import LinearModel, average_and_covariance, likelihood_of
from multielbo.masks import MaskLaw
from multielbo.oracle_encoders import imputation


class Pattern(NamedTuple):
    """Rows that say the same modalities.

    Attributes:
        share: Of all rows.
        powers: Of every modality's likelihood, `(M,)`: one if observed, zero if missing, and
            between them where the same latents have to explain rows of both kinds.
        average, covariance: Of the dimensions of positive power, side by side, `(n,)`, `(n, n)`.
    """

    share: float
    powers: Tensor
    average: Tensor
    covariance: Tensor


def patterns(x: Tensor, observed: Tensor, model: LinearModel) -> list[Pattern]:
    """Of data `(M, B, N)`; what is missing is not read.

    Args:
        x: Data.
        observed: `(M, B)` bool.
        model: Says which dimensions there are.

    Raises:
        ValueError: Nothing is observed of some example.
    """
    if bool((~observed.any(0)).any()):
        row = int((~observed.any(0)).nonzero()[0])
        raise ValueError(f"linear data: nothing is observed of example {row}; leave it out")
    found = []
    for members in masks.all_subsets(len(x))[1:]:
        rows = (observed == members[:, None]).all(0)
        if rows.any():
            moments = average_and_covariance(_of(model, members), x[:, rows])
            found.append(Pattern(float(rows.double().mean()), members.double(), *moments))
    return found


def log_likelihood(model: LinearModel, seen: Sequence[Pattern]) -> Tensor:
    """Average of log p(x_O), exactly, in nats, Equation eq-observed-likelihood."""
    return sum(p.share * likelihood_of(_of(model, p.powers > 0), *p[2:]) for p in seen)


def likeliest(start: LinearModel, seen: Sequence[Pattern], rounds: int = 300) -> LinearModel:
    """The decoders of largest likelihood with this noise, by expectation maximisation.

    Args:
        start: Where it begins, not at loadings of zero.
        seen: The data.
        rounds: Of an expectation and a maximisation.

    Raises:
        ValueError: A modality is missing everywhere, so that nothing is known of its decoder.

    Source:
        Rubin and Thayer (1982).
    """
    never = ~torch.stack([p.powers > 0 for p in seen]).any(0)
    if bool(never.any()):
        raise ValueError(
            f"linear data: modality {int(never.nonzero()[0])} is missing everywhere; leave it out"
        )
    for _ in range(rounds):
        start = _improved(start, seen)
    return start


def imputed(seen: Sequence[Pattern], model: LinearModel, law: MaskLaw) -> list[Pattern]:
    """What the mixture objective makes of data with gaps, Equation eq-imputed-gaps.

    For each subset S that a mask may leave: x_S, and the means given x_S of the others, each to
    the power of its chance to be observed in these rows.

    Args:
        seen: The data.
        model: That predicts what is hidden.
        law: Of the masks.
    """
    w, b = (v[model.present].double() for v in (model.loadings, model.offsets))
    modelled = w @ w.T + model.noise**2 * torch.eye(len(w), dtype=w.dtype)
    owner = model.present.nonzero()[:, 0]
    chances: dict[tuple[bool, ...], list[tuple[float, Pattern]]] = {}
    for p in seen:
        for kept, chance in zip(*law(len(p.powers)), strict=True):
            left = tuple((kept & (p.powers > 0)).tolist())
            chances.setdefault(left, []).append((p.share * float(chance), p))
    found = []
    for left, rows in chances.items():
        share = sum(chance for chance, _ in rows)
        powers = sum(chance * p.powers for chance, p in rows) / share
        at = torch.tensor(left)[owner].nonzero()[:, 0]
        average, second = w.new_zeros(len(at)), w.new_zeros(len(at), len(at))
        for chance, p in rows:
            inside = torch.tensor(left)[owner[(p.powers > 0)[owner]]].nonzero()[:, 0]
            mean = p.average[inside] - b[at]
            average += chance / share * mean
            spread = p.covariance[inside[:, None], inside] + torch.outer(mean, mean)
            second += chance / share * spread
        fill = imputation(modelled, at)[:, at] if len(at) else w.new_zeros(len(w), 0)
        covariance = fill @ (second - torch.outer(average, average)) @ fill.T
        used = (powers > 0)[owner].nonzero()[:, 0]
        moments = (b + fill @ average)[used], covariance[used[:, None], used]
        found.append(Pattern(share, powers, *moments))
    return found


def _improved(model: LinearModel, seen: Sequence[Pattern]) -> LinearModel:
    count, width, dim = model.loadings.shape
    latents = torch.zeros(count, dim + 1, dim + 1, dtype=torch.float64)
    products = torch.zeros(count, width, dim + 1, dtype=torch.float64)
    for p in seen:
        here = _of(model, p.powers > 0).present
        powers = p.powers[here.nonzero()[:, 0], None]
        w, b = model.loadings[here].double(), model.offsets[here].double()
        votes = (powers * w).T / model.noise**2
        spread = torch.linalg.inv(torch.eye(dim, dtype=w.dtype) + votes @ w)  # of z given x_O
        gain = spread @ votes
        mean = gain @ (p.average - b)
        both = torch.cat([mean, mean.new_ones(1)])
        second = torch.outer(both, both)  # of (z, 1)
        second[:dim, :dim] += spread + gain @ p.covariance @ gain.T
        cross = torch.outer(p.average, both)
        cross[:, :dim] += p.covariance @ gain.T
        latents += p.share * p.powers[:, None, None] * second
        products[here] += p.share * powers * cross
    solved = torch.linalg.solve(latents, products, left=False)
    return replace(model, loadings=solved[..., :dim], offsets=solved[..., dim])


def _of(model: LinearModel, members: Tensor) -> LinearModel:
    """The model of these modalities alone."""
    return replace(model, present=model.present & members[:, None])
