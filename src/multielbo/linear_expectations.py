"""The objectives of linear decoders without latents drawn for the reconstruction.

What `masked_elbo`, `stratified_elbo`, `joint_elbo` and `tc_elbo` estimate from latents is, with
linear decoders, a quadratic expectation. Only the density of a mixture has to be sampled.
"""

from __future__ import annotations

__all__ = ["EXPECTED", "joint", "masked", "mixture", "tc"]

from collections.abc import Callable

import torch
from torch import Generator

from multielbo import gaussians
from multielbo.linear_likelihoods import Quadratic
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound

Expected = Callable[[Posteriors, Posteriors, Quadratic, Generator | None], Bound]


def masked(
    full: Posteriors, part: Posteriors, explain: Quadratic, generator: Generator | None = None
) -> Bound:
    """What `multielbo.masked.masked_elbo` is on average over its latents.

    Args:
        full: q(z | x).
        part: q(z | x_S).
        explain: log p(x_m | z).
        generator: Source of latents for the density of a mixture.
    """
    kept = part.members.any(0)
    scores = torch.where(kept, explain.expected(part), explain.expected(full))
    return Bound(scores, _to_prior(part, generator) + _between(full, part, generator))


def mixture(
    full: Posteriors, part: Posteriors, explain: Quadratic, generator: Generator | None = None
) -> Bound:
    """The ELBO of q(z | x_S) on log p(x), on average over its latents."""
    return Bound(explain.expected(part), _to_prior(part, generator))


def joint(
    full: Posteriors, part: Posteriors, explain: Quadratic, generator: Generator | None = None
) -> Bound:
    """The ELBO of q(z | x) on log p(x), on average over its latents."""
    return Bound(explain.expected(full), _to_prior(full, generator))


def tc(
    full: Posteriors, part: Posteriors, explain: Quadratic, generator: Generator | None = None
) -> Bound:
    """What `multielbo.total_correlation.tc_elbo` is on average over its latents.

    Raises:
        ValueError: A posterior is a mixture; `tc_elbo` has none either.
    """
    if len(full.loc) != 1 or len(part.loc) != 1:
        raise ValueError(
            f"total correlation: a posterior has {max(len(full.loc), len(part.loc))} components; "
            "these divergences are in closed form, so give single Gaussians"
        )
    return Bound(explain.expected(full), _between(full, part, generator))


EXPECTED: dict[str, Expected] = {"masked": masked, "mixture": mixture, "joint": joint, "tc": tc}


def _to_prior(q: Posteriors, generator: Generator | None) -> torch.Tensor:
    """KL(q || prior), with one component and one latent drawn for each example of a mixture."""
    if len(q.loc) == 1:
        return gaussians.kl_to_prior(q.loc[0], q.scale[0])
    z = q.sample(generator)
    return q.log_density(z) - gaussians.log_prior(z)


def _between(q: Posteriors, p: Posteriors, generator: Generator | None) -> torch.Tensor:
    """KL(q || p), with one component and one latent drawn for each example of a mixture."""
    if len(q.loc) == len(p.loc) == 1:
        return gaussians.kl(q.loc[0], q.scale[0], p.loc[0], p.scale[0])
    z = q.sample(generator)
    return q.log_density(z) - p.log_density(z)
