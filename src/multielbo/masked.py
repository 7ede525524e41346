"""The masked objective: a bound for what a mask leaves, and a step from there to everything.

A mask keeps the modalities S of an example. The first term asks q(z | x_S) to explain x_S. The
second asks q(z | x) to explain what is hidden, and charges for what it knows beyond q(z | x_S).
Both posteriors are `Posteriors` of K components, so any aggregator and any set encoder will do.
"""

from __future__ import annotations

__all__ = ["conditional_term", "kept_posterior", "marginal_term", "masked_elbo"]

import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.aggregators import Aggregator
from multielbo.mixtures import Posteriors
from multielbo.objectives import Bound, LogLikelihood


def masked_elbo(
    full: Posteriors,
    part: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
) -> Bound:
    """Marginal term plus conditional term of one mask per example, Equation eq-masked.

    In expectation over data it lies below minus their entropy; for a single x it need not lie
    below log p(x).

    Args:
        full: q(z | x) of all that is observed.
        part: q(z | x_S) of what the mask leaves; its members are S.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per component of each posterior.

    Raises:
        ValueError: The posteriors belong to different batches, or a mask keeps what is missing.

    Source:
        Hirt, Campolo, Leong and Ortega (2024).
    """
    _check(full.members.any(0), part.members.any(0))
    seen = marginal_term(part, log_likelihood, generator)
    hidden = conditional_term(full, part, log_likelihood, generator)
    return Bound(seen.reconstruction + hidden.reconstruction, seen.rate + hidden.rate)


def marginal_term(
    part: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """The ELBO of q(z | x_S) on log p(x_S), Equation eq-masked-marginal.

    Args:
        part: q(z | x_S); its members are S.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per component.
    """
    z = gaussians.sample(part.loc, part.scale, generator)
    scores = (part.weights * log_likelihood(z)).sum(1)
    if len(part.loc) == 1:
        rate = gaussians.kl_to_prior(part.loc[0], part.scale[0])
    else:
        rate = (part.weights * (part.log_density(z) - gaussians.log_prior(z))).sum(0)
    return Bound(torch.where(part.members.any(0), scores, 0.0), rate)


def conditional_term(
    full: Posteriors,
    part: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
) -> Bound:
    """The rest from q(z | x), with q(z | x_S) for a prior, Equation eq-masked-conditional.

    Args:
        full: q(z | x) of all that is observed.
        part: q(z | x_S); what it has not seen is explained here.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per component.

    Raises:
        ValueError: The posteriors belong to different batches, or a mask keeps what is missing.
    """
    observed, seen = full.members.any(0), part.members.any(0)
    _check(observed, seen)
    z = gaussians.sample(full.loc, full.scale, generator)
    scores = (full.weights * log_likelihood(z)).sum(1)
    return Bound(torch.where(observed & ~seen, scores, 0.0), _divergence(full, part, z))


def kept_posterior(
    aggregator: Aggregator,
    loc: Tensor,
    scale: Tensor,
    kept: Tensor,
    observed: Tensor | None = None,
) -> Posteriors:
    """q(z | x_S) of an aggregator, for S what is both kept and observed.

    Where nothing is left it is the prior.

    Args:
        aggregator: Pools unimodal posteriors.
        loc, scale: Unimodal posteriors, `(M, B, D)`; rows of missing modalities are not read.
        kept: `(M, B)` bool, the masks.
        observed: `(M, B)` bool, or None when everything is observed.

    Raises:
        ValueError: Shapes disagree, or an example has no observed modality.
    """
    if kept.shape != loc.shape[:2] or kept.dtype != torch.bool:
        raise ValueError(
            f"masked: kept is {kept.dtype} {tuple(kept.shape)}, expected torch.bool "
            f"{tuple(loc.shape[:2])}, one row per modality"
        )
    present = torch.ones_like(kept) if observed is None else observed
    seen = kept & present
    nothing = ~seen.any(0)
    # An aggregator refuses an empty row, so it pools what is there and the prior replaces it.
    q = aggregator.posterior(loc, scale, torch.where(nothing, present, seen))
    return Posteriors(
        torch.where(nothing[:, None], 0.0, q.loc),
        torch.where(nothing[:, None], 1.0, q.scale),
        q.weights,
        q.members & ~nothing,
    )


def _divergence(q: Posteriors, p: Posteriors, z: Tensor) -> Tensor:
    """KL(q || p): in closed form for single Gaussians, else from the samples z of q."""
    if len(q.loc) == len(p.loc) == 1:
        return gaussians.kl(q.loc[0], q.scale[0], p.loc[0], p.scale[0])
    return (q.weights * (q.log_density(z) - p.log_density(z))).sum(0)


def _check(observed: Tensor, seen: Tensor) -> None:
    if observed.shape != seen.shape:
        raise ValueError(
            f"masked: q(z|x) is of {tuple(observed.shape)} modalities and examples, q(z|x_S) of "
            f"{tuple(seen.shape)}; they must belong to one batch"
        )
    stray = seen & ~observed
    if bool(stray.any()):
        modality, example = (int(i) for i in stray.nonzero()[0])
        raise ValueError(
            f"masked: the mask of example {example} keeps modality {modality}, which is not "
            "observed; intersect masks with what is observed"
        )
