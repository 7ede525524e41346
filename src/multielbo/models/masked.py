"""A product of experts under the masked objective of Hirt et al. (2024)."""

from __future__ import annotations

__all__ = [
    "EVERY_SUBSET",
    "choose",
    "full_then",
    "masked_at_random",
    "masked_halves",
    "masked_poe",
]

from functools import partial

import torch
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.masked import masked_elbo
from multielbo.masks import MaskLaw, independent
from multielbo.mixtures import Posteriors
from multielbo.models.model import Model
from multielbo.objectives import Bound, LogLikelihood
from multielbo.subsets import Family, full_set

EVERY_SUBSET = independent(0.5)  # all equally likely, the empty one and the full one included


def masked_poe(law: MaskLaw = EVERY_SUBSET) -> Model:
    """Product with a prior expert; a mask for each example says what it starts from.

    The prior expert alone is the product of the empty set, so that q(z | x_S) of a mask that
    keeps nothing is p(z).

    Args:
        law: Of the masks. What it keeps is intersected with what an example has.

    Source:
        Hirt, Campolo, Leong and Ortega (2024); the law is that of their released code.
    """
    pool = product_of_experts(prior_expert=True)
    return Model(Aggregator(pool, family=full_then(law)), partial(masked_at_random, law=law))


def full_then(law: MaskLaw) -> Family:
    """The full set, then every subset of the law, `(1 + R, M)`."""

    def family(modalities: int, generator: Generator | None = None) -> Tensor:
        return torch.cat([full_set(modalities), law(modalities)[0]])

    return family


def masked_at_random(
    q: Posteriors,
    log_likelihood: LogLikelihood,
    generator: Generator | None = None,
    *,
    law: MaskLaw,
) -> Bound:
    """The masked objective of one drawn mask for each example.

    Not a bound on log p(x) for a single x. Each observed modality is scored once, from q(z | x_S)
    or from q(z | x), so that a latent of its own is paid for once.

    Args:
        q: Posteriors of `full_then`.
        log_likelihood: log p(x_m | z).
        generator: Source of the masks and of two samples per example.
        law: Of the masks.
    """
    modalities, examples = q.members.shape[1:]
    _, chances = law(modalities)
    row = 1 + choose(chances, examples, generator, q.loc.device)
    column = torch.arange(examples, device=row.device)
    loc = torch.stack([q.loc[0], q.loc[row, column]])
    scale = torch.stack([q.scale[0], q.scale[row, column]])
    members = torch.stack([q.members[0], q.members[row, :, column].T])
    # Not the weights of q, a mixture that nobody asks for.
    pair = Posteriors(loc, scale, torch.ones_like(loc[..., 0]), members)
    return masked_halves(pair, log_likelihood, generator)


def masked_halves(
    q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
) -> Bound:
    """`multielbo.masked.masked_elbo` of q(z | x), the first half of q, and q(z | x_S), the second.

    Args:
        q: Two posteriors of as many components each, with weights that sum to one over each half.
        log_likelihood: log p(x_m | z).
        generator: Source of one sample per component of each.
    """
    half = len(q.loc) // 2
    full, part = (Posteriors(*(p[rows] for p in q)) for rows in (slice(half), slice(half, None)))
    return masked_elbo(full, part, log_likelihood, generator)


def choose(
    chances: Tensor, examples: int, generator: Generator | None, device: torch.device
) -> Tensor:
    """A row for each example, `(examples,)`, with these probabilities, drawn where they are used.

    Args:
        chances: Probabilities of the rows, `(R,)`, on the CPU.
        examples: B.
        generator: On `device`.
        device: Of the result.
    """
    edges = chances.cumsum(0)
    drawn = torch.rand(examples, generator=generator, dtype=torch.float64, device=device)
    return torch.searchsorted((edges / edges[-1]).to(device), drawn, right=True)
