"""Hamiltonian Monte Carlo, from scratch: draws from a density known up to a constant.

All chains of all examples are one tensor `(..., D)`, and one call of the log-density moves them
all. It has to score every point by itself, as densities do, or chains would feel one another.
A chain that meets a number that is not finite stays where it was and is counted.
"""

from __future__ import annotations

__all__ = [
    "ADAPTED",
    "RELEASED",
    "Chains",
    "LogDensity",
    "Point",
    "acceptance",
    "energy",
    "evaluate",
    "hmc",
    "leapfrog",
    "transition",
]

import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from multielbo.adaptation import DualAveraging

LogDensity = Callable[[Tensor], Tensor]

# As MultiVae samples JNF's subset posteriors: no adaptation, and the last state is the draw.
RELEASED: Mapping[str, int | float] = MappingProxyType(
    {"iterations": 100, "leapfrog_steps": 10, "step_size": 0.01}
)
# A hundred gradients instead of a thousand: the step size is found while the chains settle.
ADAPTED: Mapping[str, int | float] = MappingProxyType(
    {"iterations": 5, "leapfrog_steps": 9, "step_size": 0.1, "warmup": 15, "vary": True}
)
# An energy error that no accurate trajectory makes; Stan's threshold.
DIVERGENCE = 1000.0


class Point(NamedTuple):
    """Positions `(..., D)` with their log-densities `(...)` and gradients `(..., D)`."""

    z: Tensor
    value: Tensor
    gradient: Tensor


class Chains(NamedTuple):
    """What the chains did after warm-up.

    Attributes:
        z: Draws, `(draws, ..., D)`, the last ones last.
        acceptance: Mean acceptance probability of each chain, `(...)`.
        step_size: The step sizes used, in the shape they were given in.
        divergent: Proposals of each chain rejected for an energy error above 1000, `(...)`.
        nonfinite: Proposals of each chain whose energy was not a number or infinite, `(...)`.
    """

    z: Tensor
    acceptance: Tensor
    step_size: Tensor
    divergent: Tensor
    nonfinite: Tensor


def evaluate(log_density: LogDensity, z: Tensor) -> Point:
    """The log-density and its gradient at `z`; NaN where there is no finite density."""
    finite = z.isfinite().all(-1)
    # Distributions that check their arguments would stop all chains for one that has left.
    inside = torch.where(finite[..., None], z.detach(), 0.0).requires_grad_()
    with torch.enable_grad():
        value = log_density(inside)
        (gradient,) = torch.autograd.grad(value.sum(), inside)
    usable = finite & (value < math.inf)  # a chain would never leave an infinite density
    return Point(z.detach(), torch.where(usable, value.detach(), math.nan), gradient)


def energy(point: Point, momentum: Tensor) -> Tensor:
    """The Hamiltonian: potential plus kinetic energy, Equation eq-hamiltonian.

    Args:
        point: Positions and their log-densities.
        momentum: `(..., D)`.

    Returns:
        `(...)`, in nats.
    """
    return -point.value + 0.5 * momentum.square().sum(-1)


def leapfrog(
    log_density: LogDensity, point: Point, momentum: Tensor, step: Tensor, steps: int
) -> tuple[Point, Tensor]:
    """Follow Hamilton's equations: half a kick, a drift, half a kick, Equation eq-leapfrog.

    Args:
        log_density: From `(..., D)` to `(...)`.
        point: Where the trajectories start.
        momentum: `(..., D)`.
        step: Step size, broadcast to `(..., D)`.
        steps: Number of steps; as many gradients are taken.

    Returns:
        The end points and the momenta there.
    """
    for _ in range(steps):
        momentum = momentum + 0.5 * step * point.gradient
        point = evaluate(log_density, point.z + step * momentum)
        momentum = momentum + 0.5 * step * point.gradient
    return point, momentum


def acceptance(error: Tensor) -> Tensor:
    """The probability min(1, exp(-error)) of accepting a proposal, Equation eq-acceptance.

    Args:
        error: H(proposal) - H(start), in nats, of any shape; where it is not a number, zero.
    """
    return (-error).clamp(max=0).exp().nan_to_num(0.0)


def transition(
    log_density: LogDensity, point: Point, step: Tensor, steps: int, generator: Generator | None
) -> tuple[Point, Tensor]:
    """Draw momenta, propose the ends of their trajectories, accept or stay.

    Args:
        log_density: From `(..., D)` to `(...)`.
        point: The current states.
        step: Step size, broadcast to `(..., D)`.
        steps: Leapfrog steps of each trajectory.
        generator: Source of momenta and acceptances, on the device of the states.

    Returns:
        The next states, and the energy errors H(proposal) - H(start), `(...)`.
    """
    like = {"dtype": point.z.dtype, "device": point.z.device, "generator": generator}
    momentum = torch.randn(point.z.shape, **like)
    proposal, last = leapfrog(log_density, point, momentum, step, steps)
    error = energy(proposal, last) - energy(point, momentum)
    accept = torch.rand(error.shape, **like) < acceptance(error)
    chosen = (accept[..., None], accept, accept[..., None])
    return Point(*map(torch.where, chosen, proposal, point)), error


def hmc(
    log_density: LogDensity,
    start: Tensor,
    *,
    step_size: float | Tensor,
    leapfrog_steps: int,
    iterations: int,
    warmup: int = 0,
    target: float = 0.8,
    vary: bool = False,
    scale: float | Tensor = 1.0,
    keep: int | None = None,
    generator: Generator | None = None,
) -> Chains:
    """Run all chains side by side.

    Args:
        log_density: From points `(..., D)` to their log-densities `(...)`, up to a constant.
        start: Where the chains start, `(..., D)`, such as `(chains, B, D)`.
        step_size: One for all, or a tensor that broadcasts to `(...)`: one for each example,
            `(B,)`, or for each chain.
        leapfrog_steps: Steps of a trajectory.
        iterations: Trajectories after warm-up.
        warmup: Trajectories in which the step size adapts; their states are not kept. Chains that
            share a step size adapt it together.
        target: Acceptance probability that warm-up aims at.
        vary: In each iteration take a number of steps uniform on 1 ... `leapfrog_steps`, the same
            for all chains, against trajectories that return to where they started.
        scale: Typical widths of the density, broadcast to `(..., D)`; the mass matrix is
            diag(scale)^-2.
        keep: How many of the last states to return; all by default.
        generator: Source of all randomness, on the device of `start`.

    Raises:
        ValueError: A setting is out of range, a start is not finite, or the log-density does not
            give one number for each point.

    Warns:
        RuntimeWarning: Some chains met a density or a gradient that is not finite.

    Source:
        Duane, Kennedy, Pendleton and Roweth (1987); Neal (2011).
    """
    _check(start, step_size, scale, leapfrog_steps, iterations, warmup, keep)
    like = {"dtype": start.dtype, "device": start.device}
    step_size, scale = torch.as_tensor(step_size, **like), torch.as_tensor(scale, **like)
    averaging = DualAveraging(step_size, target)
    point = evaluate(_one_number_each(log_density), start)
    draws, errors = deque(maxlen=keep), []
    for iteration in range(-warmup, iterations):
        steps = _uniform(leapfrog_steps, generator) if vary else leapfrog_steps
        moving = point.value.isfinite() & point.gradient.isfinite().all(-1)
        step = step_size[..., None] * scale
        point, error = transition(log_density, point, step, steps, generator)
        if iteration < 0:
            seen = _mean_to(step_size.shape, acceptance(error), moving)
            step_size = averaging.update(seen, last=iteration == -1)
        else:
            draws.append(point.z)
            errors.append(error)
    return _summarise(torch.stack(tuple(draws)), step_size, torch.stack(errors))


def _summarise(z: Tensor, step_size: Tensor, errors: Tensor) -> Chains:
    """Count what went wrong, and tell the caller of numbers that were not finite."""
    divergent, nonfinite = (~(errors <= DIVERGENCE)).sum(0), (~(errors < math.inf)).sum(0)
    if marked := int((nonfinite > 0).sum()):
        warnings.warn(
            f"hmc: {marked} of {nonfinite.numel()} chains met a density or gradient that is not "
            f"finite; {int(nonfinite.sum())} proposals were rejected for it, counted in "
            "Chains.nonfinite. Try a smaller step size, or look at the density there",
            RuntimeWarning,
            stacklevel=3,
        )
    return Chains(z, acceptance(errors).mean(0), step_size, divergent, nonfinite)


def _uniform(most: int, generator: Generator | None) -> int:
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(1, most + 1, (), generator=generator, device=device))


def _mean_to(shape: torch.Size, values: Tensor, counted: Tensor) -> Tensor:
    """Average `values` over the chains that share a step size, without those that are stuck."""
    counted = counted.to(values.dtype)
    return (values * counted).sum_to_size(shape) / counted.sum_to_size(shape).clamp_min(1)


def _one_number_each(log_density: LogDensity) -> LogDensity:
    def checked(z: Tensor) -> Tensor:
        value = log_density(z)
        if value.shape != z.shape[:-1]:
            raise ValueError(
                f"hmc: the log-density of points {tuple(z.shape)} has shape {tuple(value.shape)}; "
                f"it must be {tuple(z.shape[:-1])}, one number for each point"
            )
        return value

    return checked


def _check(
    start: Tensor,
    step_size: float | Tensor,
    scale: float | Tensor,
    leapfrog_steps: int,
    iterations: int,
    warmup: int,
    keep: int | None,
) -> None:
    if start.dim() == 0 or not start.is_floating_point() or not start.isfinite().all():
        raise ValueError(
            "hmc: the start must be finite floating-point numbers (..., D); look at what drew it"
        )
    for name, sizes in (("step_size", step_size), ("scale", scale)):
        if not (torch.as_tensor(sizes) > 0).all():
            raise ValueError(f"hmc: {name} holds a number that is not positive; all must be")
    counts = {"leapfrog_steps": (leapfrog_steps, 1), "iterations": (iterations, 1)}
    counts |= {"warmup": (warmup, 0), "keep": (1 if keep is None else keep, 1)}
    for name, (count, least) in counts.items():
        if count < least:
            raise ValueError(f"hmc: {name} is {count}, it must be at least {least}")
