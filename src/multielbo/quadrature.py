"""A latent plane cut into squares: posteriors, divergences and moments by summation.

In two dimensions no posterior needs an approximation. Log-densities are kept as values on the grid,
`(..., N)`; whatever is outside the plane is lost, and `outside` says how much that is.
"""

from __future__ import annotations

__all__ = ["Plane", "gaussian_gap"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multielbo.gaussians import LOG_2PI


@dataclass(frozen=True)
class Plane:
    """The square from -extent to extent in both directions, with `side` points along each.

    Raises:
        ValueError: There are too few points, or no area.
    """

    extent: float = 4.5
    side: int = 121

    def __post_init__(self) -> None:
        if self.side < 2 or not 0 < self.extent < math.inf:
            raise ValueError(
                f"plane: extent {self.extent} with {self.side} points a side; "
                "give a positive extent and at least 2 points"
            )

    @property
    def points(self) -> Tensor:
        """The grid, `(N, 2)`, the second coordinate running fastest."""
        axis = torch.linspace(-self.extent, self.extent, self.side, dtype=torch.float64)
        return torch.cartesian_prod(axis, axis)

    @property
    def cell(self) -> float:
        """Area of one square."""
        return (2 * self.extent / (self.side - 1)) ** 2

    def evidence(self, log_joint: Tensor) -> Tensor:
        """log p(x) = log of the integral of p(x, z), Equation eq-grid-evidence.

        Args:
            log_joint: log p(x, z) at the points, `(..., N)`.

        Returns:
            `(...)`, in nats.
        """
        return log_joint.logsumexp(-1) + math.log(self.cell)

    def posterior(self, log_joint: Tensor) -> Tensor:
        """log p(z | x) at the points, `(..., N)`, by Bayes' rule."""
        return log_joint - self.evidence(log_joint)[..., None]

    def expectation(self, log_p: Tensor, values: Tensor) -> Tensor:
        """E_p of a function given at the points.

        Args:
            log_p: `(..., N)`.
            values: `(N, F)`.

        Returns:
            `(..., F)`.
        """
        return log_p.exp() @ values * self.cell

    def entropy(self, log_p: Tensor) -> Tensor:
        """Entropy of p, `(...)`, in nats."""
        return -self._integral(log_p, log_p)

    def kl(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """KL(p || q) of densities given at the points, `(...)`, in nats."""
        return self._integral(log_p, log_p - log_q)

    def outside(self, log_p: Tensor) -> Tensor:
        """Mass that the grid misses, `(...)`: what p lacks to sum to one."""
        return 1 - log_p.exp().sum(-1) * self.cell

    def _integral(self, log_p: Tensor, values: Tensor) -> Tensor:
        p = log_p.exp()
        return torch.where(p > 0, p * values, 0.0).sum(-1) * self.cell


def gaussian_gap(plane: Plane, log_p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The diagonal Gaussian nearest to p, and how near it is, Equation eq-gaussian-gap.

    Args:
        plane: Where p is given.
        log_p: `(..., N)`.

    Returns:
        Its mean and standard deviation, `(..., 2)`, and KL(p || N), `(...)`, in nats.
    """
    loc = plane.expectation(log_p, plane.points)
    variance = plane.expectation(log_p, plane.points.square()) - loc.square()
    entropy_of_gaussian = 0.5 * (variance.log() + LOG_2PI + 1).sum(-1)
    return loc, variance.sqrt(), entropy_of_gaussian - plane.entropy(log_p)
