"""What the linear experiment should find: values that no training decides."""

from __future__ import annotations

__all__ = ["Expected", "levels", "mixture_optimum"]

from typing import NamedTuple

import torch
from torch import Tensor

from multielbo import oracle_bounds, oracle_encoders
from multielbo.linear_data import LinearModel, average_and_covariance, likelihood_of, oracle
from multielbo.masks import MaskLaw
from multielbo.oracle_imputation import learned_by_mixture


class Expected(NamedTuple):
    """An objective's optimum over all linear decoders, in nats per example.

    Attributes:
        model: The decoders there.
        log_likelihood: Of these decoders.
        objective: Its value.
    """

    model: LinearModel
    log_likelihood: Tensor
    objective: Tensor


def levels(x: Tensor, model: LinearModel, most: int) -> Tensor:
    """The largest log-likelihood with 0, 1, ..., `most` latents in use, `(most + 1,)`.

    Each adds what Equation eq-latent-worth says.

    Args:
        x: Data, `(M, B, N)`; the padding is not read.
        model: Says which dimensions there are and what the noise is.
        most: Number of latents.

    Source:
        Tipping and Bishop (1999).
    """
    average, covariance = average_and_covariance(model, x)
    nothing = torch.zeros(*model.present.shape, 1, dtype=torch.float64)
    offsets = torch.zeros(model.present.shape, dtype=torch.float64)
    offsets[model.present] = average
    unused = LinearModel(nothing, offsets, model.present, model.noise)
    values = torch.linalg.eigvalsh(covariance).flip(0)[:most] / model.noise**2
    gains = torch.where(values > 1, 0.5 * (values - 1 - values.log()), 0.0)
    start = likelihood_of(unused, average, covariance)
    return start + torch.cat([gains.new_zeros(1), gains.cumsum(0)])


def mixture_optimum(x: Tensor, truth: LinearModel, law: MaskLaw) -> Expected:
    """The mixture objective's optimum on these very data, as `learned_by_mixture` has it.

    Encoders may be any linear ones, one for each subset.

    Args:
        x: Data, `(M, B, N)`; the padding is not read.
        truth: Says which dimensions there are, what the noise is and how many latents.
        law: Of the masks.
    """
    average, covariance = average_and_covariance(truth, x)
    rows, chances = law(len(x))
    subsets = [[str(m) for m, seen in enumerate(row) if seen] for row in rows.tolist()]
    learned = learned_by_mixture(oracle(truth), subsets, chances, covariance)
    value = sum(
        chance
        * oracle_bounds.mixture(
            learned, oracle_encoders.best_for_mixture(learned, subset, covariance), covariance
        )
        for subset, chance in zip(subsets, chances, strict=True)
    )
    loadings = torch.zeros_like(truth.loadings, dtype=torch.float64)
    loadings[truth.present] = torch.cat(list(learned.loadings.values()))
    offsets = torch.zeros_like(truth.offsets, dtype=torch.float64)
    offsets[truth.present] = average
    model = LinearModel(loadings, offsets, truth.present, truth.noise)
    return Expected(model, likelihood_of(model, average, covariance), value)
