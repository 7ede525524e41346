"""Power means of Gaussian experts: the barycenters of the alpha family, as mixtures of log-pools.

With weights that sum to one, (sum_m w_m q_m^(1/n))^n is expanded into all products of n factors.
Each is an unnormalised log-pool, so the whole is a Gaussian mixture that can be sampled: for n = 1
that of the experts, for n = 2 the Hellinger barycenter, for large n nearly the log-pool.
"""

from __future__ import annotations

__all__ = ["PowerMean", "compositions", "moments", "power_mean"]

from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multielbo.barycenters import combine, log_pool
from multielbo.divergences import log_affinity


class PowerMean(NamedTuple):
    """Components that K power means share, and how much each of them makes of a component.

    Attributes:
        loc, scale: The P log-pools of n factors, `(P, B, D)`.
        affinity: Their integrals before they are normalised, `(P, B)`, at most one.
        coefficient: Multinomial coefficient times weights, `(K, P)` or `(K, P, B)`.
    """

    loc: Tensor
    scale: Tensor
    affinity: Tensor
    coefficient: Tensor

    @property
    def mass(self) -> Tensor:
        """Each component's part of the integral of the power mean, `(K, P, B)`."""
        coefficient = self.coefficient
        return (coefficient if coefficient.dim() == 3 else coefficient[..., None]) * self.affinity

    @property
    def weights(self) -> Tensor:
        """Mixture weights `(K, P, B)`, summing to one over P."""
        return self.mass / self.mass.sum(1, keepdim=True)


def power_mean(loc: Tensor, scale: Tensor, weights: Tensor, order: int) -> PowerMean:
    r"""(sum_m w_m q_m^(1/n))^n as a mixture of log-pools, Equation eq-power-mean-mixture.

    Normalised, it is the barycenter of the experts under the alpha-divergence of power r = 1/n.

    Args:
        loc, scale: Experts, `(M, B, D)`.
        weights: `(K, M)` or `(K, M, B)`, non-negative; a common factor only scales the integral.
        order: n = 1/r, at least 1; there are (M + n - 1 choose n) components.

    Raises:
        ValueError: The order is below 1.
    """
    if order < 1:
        raise ValueError(f"power_mean: order is {order}; only 1, 2, 3, ... give Gaussian mixtures")
    counts, ways = compositions(len(loc), order, loc.device)
    exponents = counts.to(loc.dtype) / order
    pooled_loc, pooled_scale = log_pool(loc, scale, exponents)
    affinity = log_affinity(loc, scale, exponents).exp()
    return PowerMean(pooled_loc, pooled_scale, affinity, _products(weights, counts, ways, loc))


def moments(mean: PowerMean) -> tuple[Tensor, Tensor]:
    """Diagonal Gaussian with the moments of a power mean, Equation eq-power-mean-moments.

    Sums run in double precision: of 2^M subsets none can be centred at its own mean beforehand.
    Where all weights are zero, the answer is N(0, I).

    Returns:
        Mean and standard deviation, `(K, B, D)`.
    """
    loc, scale, affinity, coefficient = _or_prior(mean)
    centre = loc.mean(0)
    away, width = (loc - centre).double(), scale.double().square()
    parts = affinity.double()[..., None] * torch.cat(
        [torch.ones_like(away[..., :1]), away, away.square() + width], -1
    )
    shift, variance = _FirstTwo.apply(coefficient, parts, loc.dtype)
    # No mixture is narrower than its narrowest component. Half of that catches rounding alone: at
    # the component's own variance, where a single expert is, the gradient would be cut.
    return shift + centre, variance.clamp_min(0.5 * scale.detach().square().amin(0)).sqrt()


@cache  # without a limit: a captured step reads from these addresses
def compositions(
    experts: int, order: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """All ways to draw n of M experts with repetition, and how many orders each way has.

    >>> compositions(2, 2)
    (tensor([[2, 0],
            [1, 1],
            [0, 2]]), tensor([1, 2, 1]))

    Returns:
        Counts `(P, M)`, each row summing to n, and multinomial coefficients `(P,)`.
    """
    drawn = list(combinations_with_replacement(range(experts), order))
    rows = [[draw.count(m) for m in range(experts)] for draw in drawn]
    ways = [factorial(order) // prod(map(factorial, row)) for row in rows]
    with torch.inference_mode(False):  # made for evaluation, they have to serve training too
        return torch.tensor(rows, device=device), torch.tensor(ways, device=device)


def _products(weights: Tensor, counts: Tensor, ways: Tensor, like: Tensor) -> Tensor:
    """Multinomial coefficients times prod_m w_m^{k_m}, `(K, P)` or `(K, P, B)`; 0 to the 0 is 1."""
    counts, absent = counts.to(like.dtype), (weights == 0).to(like.dtype)
    ways = ways.to(like.dtype).view(-1, *[1] * (weights.dim() - 2))
    missing = torch.einsum("pm,km...->kp...", counts, absent)
    if weights.dtype == torch.bool:
        return ways * (missing == 0)
    logs = torch.einsum("pm,km...->kp...", counts, (weights + absent).to(like.dtype).log())
    return torch.where(missing == 0, ways * logs.exp(), 0.0)


def _or_prior(mean: PowerMean) -> PowerMean:
    """The same with N(0, I) as one more component, which counts where no other does."""
    loc, scale, affinity, coefficient = mean
    empty = (coefficient == 0).all(1, keepdim=True).to(coefficient.dtype)
    return PowerMean(
        torch.cat([loc, torch.zeros_like(loc[:1])]),
        torch.cat([scale, torch.ones_like(scale[:1])]),
        torch.cat([affinity, torch.ones_like(affinity[:1])]),
        torch.cat([coefficient, empty], 1),
    )


class _FirstTwo(torch.autograd.Function):
    """A / t and B / t - (A / t)^2, where t, A and B are sums over P of what `parts` holds.

    Autograd would keep and pass through many stacks of all subsets in double precision; derivatives
    written out need few, in the precision of the experts.
    """

    @staticmethod
    def forward(
        ctx: Any, coefficient: Tensor, parts: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        total, first, second = _split(combine(coefficient, parts))
        first.div_(total)
        second.div_(total).addcmul_(first, first, value=-1)
        shift, variance = first.to(dtype), second.to(dtype)
        ctx.save_for_backward(coefficient, total.to(dtype), shift, variance)
        return shift, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_shift: Tensor, to_variance: Tensor) -> tuple[None, Tensor, None]:
        coefficient, total, shift, variance = ctx.saved_tensors
        to_second = to_variance / total
        to_first = (to_shift / total).addcmul_(shift, to_second, value=-2)
        inner = torch.addcmul(variance, shift, shift, value=-1).mul_(to_second)
        to_total = -inner.addcmul_(shift, to_shift / total).sum(-1, keepdim=True)
        stacked = torch.cat([to_total, to_first, to_second], -1)
        return None, combine(coefficient.transpose(0, 1), stacked).double(), None


def _split(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    half = (sums.shape[-1] - 1) // 2
    return sums.split([1, half, half], -1)
