"""Objectives whose prior may be a mixture and whose data may miss modalities."""

from __future__ import annotations

__all__ = ["OBJECTIVES", "kept_or_all", "masked", "mixture"]

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood

LogPrior = Callable[[Tensor], Tensor]


def masked(
    full: Posteriors,
    part: Posteriors,
    explain: LogLikelihood,
    log_prior: LogPrior,
    generator: Generator | None = None,
) -> Bound:
    """`multielbo.masked.masked_elbo` under any prior, for single Gaussians.

    Args:
        full: q(z | x) of all that is observed.
        part: q(z | x_S); S is among what is observed, and not empty.
        explain: log p(x_m | z), zero where x_m is missing.
        log_prior: log p(z).
        generator: Source of one latent from each.
    """
    latents = torch.stack([part.sample(generator), full.sample(generator)])
    of_part, of_full = explain(latents).unbind(1)
    scores = torch.where(part.members.any(0), of_part, of_full)
    beyond = gaussians.kl(full.loc[0], full.scale[0], part.loc[0], part.scale[0])
    return Bound(scores, part.log_density(latents[0]) - log_prior(latents[0]) + beyond)


def mixture(
    full: Posteriors,
    part: Posteriors,
    explain: LogLikelihood,
    log_prior: LogPrior,
    generator: Generator | None = None,
) -> Bound:
    """The ELBO of q(z | x_S) on log p of all that is observed."""
    z = part.sample(generator)
    return Bound(explain(z), part.log_density(z) - log_prior(z))


OBJECTIVES: dict[str, Callable[..., Bound]] = {"masked": masked, "mixture": mixture}


def kept_or_all(kept: Tensor, observed: Tensor) -> Tensor:
    """What a mask leaves of what is observed, and all of that where it leaves nothing.

    With the prior for q(z | no data) the masked objective is the same with an empty mask and with
    a full one, so it need not be asked for the empty one.

    Args:
        kept, observed: `(M, B)` bool.
    """
    left = kept & observed
    return torch.where(left.any(0), left, observed)
