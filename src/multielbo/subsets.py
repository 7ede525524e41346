"""Families of modality subsets, as membership matrices of shape `(K, M)`.

Row k holds True where the k-th subset contains the modality. A family is a function of the
number of modalities (and of a generator, for families that are drawn), so that one argument
turns MoPoE into MVAE or MMVAE.
"""

from __future__ import annotations

__all__ = ["Family", "full_set", "powerset", "singletons", "subsampled"]

from collections.abc import Callable

import torch
from torch import Generator, Tensor

Family = Callable[[int, Generator | None], Tensor]


def full_set(modalities: int, generator: Generator | None = None) -> Tensor:
    """The one subset that holds every modality, `(1, M)`."""
    _check(modalities)
    return torch.ones(1, modalities, dtype=torch.bool)


def singletons(modalities: int, generator: Generator | None = None) -> Tensor:
    """Every modality by itself, `(M, M)`."""
    _check(modalities)
    return torch.eye(modalities, dtype=torch.bool)


def powerset(modalities: int, generator: Generator | None = None) -> Tensor:
    """All 2^M - 1 non-empty subsets, smallest first, `(2^M - 1, M)`, Equation eq-powerset.

    >>> powerset(2).int()
    tensor([[1, 0],
            [0, 1],
            [1, 1]], dtype=torch.int32)
    """
    _check(modalities)
    codes = torch.arange(1, 2**modalities)
    membership = codes[:, None].bitwise_right_shift(torch.arange(modalities)).bitwise_and(1).bool()
    return membership[membership.sum(1).argsort(stable=True)]


def subsampled(extra: int) -> Family:
    """MVAE's family: the full set, every singleton, and `extra` subsets drawn anew at each call.

    The drawn subsets are distinct and hold at least two modalities but not all of them.

    Args:
        extra: The number k of drawn subsets, at least 0.

    Raises:
        ValueError: `extra` is negative, or larger than the number of such subsets.

    Source:
        Wu and Goodman (2018), their sub-sampled training objective.
    """
    if extra < 0:
        raise ValueError(f"subsampled: extra is {extra}; it counts subsets, so give 0 or more")

    def family(modalities: int, generator: Generator | None = None) -> Tensor:
        fixed = torch.cat([full_set(modalities), singletons(modalities)]).unique(dim=0).flip(0)
        if extra == 0:
            return fixed
        candidates = powerset(modalities)
        sizes = candidates.sum(1)
        candidates = candidates[(sizes > 1) & (sizes < modalities)]
        if extra > len(candidates):
            raise ValueError(
                f"subsampled: extra is {extra}, but {modalities} modalities have only "
                f"{len(candidates)} subsets between the singletons and the full set"
            )
        device = generator.device if generator is not None else None
        order = torch.randperm(len(candidates), generator=generator, device=device).cpu()
        return torch.cat([fixed, candidates[order[:extra]]])

    return family


def _check(modalities: int) -> None:
    if modalities < 1:
        raise ValueError(f"subsets: {modalities} modalities; a family needs at least one")
