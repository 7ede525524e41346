"""Laws of random masks: which modalities the masked objective keeps, and how often.

A law is known in full, as the probability of each subset. So an expectation over masks can be
summed instead of sampled, and a sampler can be held against it.
"""

from __future__ import annotations

__all__ = ["MaskLaw", "all_subsets", "by_size", "draw", "fixed", "independent"]

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from multielbo.subsets import Family, powerset

MaskLaw = Callable[[int], tuple[Tensor, Tensor]]


def all_subsets(modalities: int) -> Tensor:
    """All 2^M subsets, the empty one first, `(2^M, M)`."""
    full = powerset(modalities)
    return torch.cat([torch.zeros_like(full[:1]), full])


def independent(keep: float = 0.5) -> MaskLaw:
    """Keep every modality with the same probability, independently, Equation eq-mask-independent.

    One half makes all subsets equally likely, the empty one and the full one included.

    Args:
        keep: Probability that a modality is kept, from 0 to 1.

    Raises:
        ValueError: `keep` is no probability.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), their released code.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"mask law: keep is {keep}; a probability lies between 0 and 1")

    def law(modalities: int) -> tuple[Tensor, Tensor]:
        subsets = all_subsets(modalities)
        sizes = subsets.sum(1).double()
        return subsets, keep**sizes * (1 - keep) ** (modalities - sizes)

    return law


def by_size(sizes: Sequence[float] | None = None) -> MaskLaw:
    """Choose how many modalities to keep, then which, Equation eq-mask-size.

    Args:
        sizes: Probability of keeping 0, 1, ..., M modalities; None makes all M + 1 equal.

    Raises:
        ValueError: The probabilities are negative, do not sum to one, or are not M + 1.
    """

    def law(modalities: int) -> tuple[Tensor, Tensor]:
        subsets = all_subsets(modalities)
        chances = torch.full((modalities + 1,), 1 / (modalities + 1), dtype=torch.float64)
        if sizes is not None:
            chances = torch.tensor(list(sizes), dtype=torch.float64)
        if len(chances) != modalities + 1:
            raise ValueError(
                f"mask law: {len(chances)} probabilities of sizes for {modalities} modalities; "
                f"give {modalities + 1}, for 0 to {modalities}"
            )
        _check(chances)
        count = subsets.sum(1)
        return subsets, chances[count] / torch.bincount(count)[count]

    return law


def fixed(family: Family, weights: Sequence[float] | None = None) -> MaskLaw:
    """The subsets of a family, such as `multielbo.subsets.singletons`.

    Args:
        family: From the number of modalities to its subsets.
        weights: Probability of each of them; None makes them equal.

    Raises:
        ValueError: The probabilities are negative, do not sum to one, or are too few or too many.
    """

    def law(modalities: int) -> tuple[Tensor, Tensor]:
        subsets = family(modalities, None)
        chances = torch.full((len(subsets),), 1 / len(subsets), dtype=torch.float64)
        if weights is not None:
            chances = torch.tensor(list(weights), dtype=torch.float64)
        if len(chances) != len(subsets):
            raise ValueError(
                f"mask law: {len(chances)} probabilities for {len(subsets)} subsets; give as many"
            )
        _check(chances)
        return subsets, chances

    return law


def draw(
    law: MaskLaw, modalities: int, examples: int, generator: Generator | None = None
) -> Tensor:
    """Draw one mask per example.

    Args:
        law: Of the masks.
        modalities: M.
        examples: B.
        generator: Source of the masks, on the CPU.

    Returns:
        `(M, B)` bool, True where a modality is kept.
    """
    subsets, chances = law(modalities)
    chosen = torch.multinomial(chances, examples, replacement=True, generator=generator)
    return subsets[chosen].T.contiguous()


def _check(chances: Tensor) -> None:
    total = float(chances.sum())
    if bool((chances < 0).any()) or abs(total - 1) > 1e-9:
        raise ValueError(
            f"mask law: the probabilities sum to {total:g} and the smallest is "
            f"{float(chances.min()):g}; they must sum to 1 and none may be negative"
        )
