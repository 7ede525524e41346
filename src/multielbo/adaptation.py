"""Dual averaging: find the step size at which chains accept as often as they should.

Acceptance falls as the step grows, and one trajectory shows it with much noise. So this is a search
for the root of a decreasing function that is seen through noise.
"""

from __future__ import annotations

__all__ = ["DualAveraging"]

import torch
from torch import Tensor

SHRINKAGE = 0.05  # gamma: how strongly the search is held at ten times the first step size
DELAY = 10  # t0: damps the first moves, which know the least
DECAY = 0.75  # kappa: how fast the final average forgets where the search began


class DualAveraging:
    """Adapts the logarithms of step sizes to a target acceptance, Equation eq-dual-averaging.

    Args:
        step_size: Where to begin; any shape, each entry is adapted by itself.
        target: Acceptance probability to aim at.

    Raises:
        ValueError: The target is not strictly between 0 and 1.

    Source:
        Nesterov (2009); the constants are those of Hoffman and Gelman (2014).
    """

    def __init__(self, step_size: Tensor, target: float = 0.8) -> None:
        if not 0 < target < 1:
            raise ValueError(f"hmc: target acceptance is {target}; choose it between 0 and 1")
        self.target, self.center, self.t = target, (10 * step_size).log(), 0
        self.shortfall = self.average = torch.zeros_like(step_size)

    def update(self, acceptance: Tensor, last: bool = False) -> Tensor:
        """The step sizes to try next, or at the `last` call those to keep.

        Args:
            acceptance: What the latest step sizes gave, in their shape.
            last: Return the average over the search, which is less noisy than its end.
        """
        self.t += 1
        self.shortfall = self.shortfall + self.target - acceptance
        pull = SHRINKAGE * (self.t + DELAY) / self.t**0.5
        log_step = self.center - self.shortfall / pull
        weight = self.t**-DECAY
        self.average = weight * log_step + (1 - weight) * self.average
        return (self.average if last else log_step).exp()
