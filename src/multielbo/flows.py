"""Normalising flows: invertible maps whose Jacobian's determinant costs no more than they do.

A flow f takes a latent z to u = f(z), on which a Gaussian sits. It starts as the identity, so that
a posterior with a flow starts as the Gaussian without. `multielbo.flow_kinds` builds them.
"""

from __future__ import annotations

__all__ = ["Flow", "fixed", "log_density", "sample"]

from collections.abc import Iterable, Iterator
from copy import deepcopy

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Transform
from zuko.lazy import LazyTransform
from zuko.nn import MaskedLinear, MaskedMLP
from zuko.transforms import AutoregressiveTransform

from multielbo import gaussians


class Flow(nn.Module):
    """u = f(z), and optionally a context that the map depends on.

    Args:
        blocks: Maps that are applied one after the other, the first to z.
        latent_dim: D.
        context_dim: Number of features of x that every block reads; 0 for none.
        backwards: Run the blocks against their cheap direction, from u to z.
    """

    def __init__(
        self,
        blocks: Iterable[LazyTransform],
        latent_dim: int,
        context_dim: int = 0,
        *,
        backwards: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.latent_dim, self.context_dim, self.backwards = latent_dim, context_dim, backwards
        for parameter in _last_parameters(self):
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f(z), `(..., D)`, and log |det df/dz|, `(...)`.

        Args:
            z: Latents, `(..., D)`.
            context: Features of x, broadcast to `(..., context_dim)`, where the flow has some.

        Raises:
            ValueError: Another number of latents or of features.
        """
        self._check(z, context)
        log_det = z.new_zeros(z.shape[:-1])
        for block in self.blocks:
            step = block(context)
            if self.backwards:
                target, z = z, _solve(step, z)
                log_det = log_det - step.log_abs_det_jacobian(z, target)
            else:
                z, change = step.call_and_ladj(z)
                log_det = log_det + change
        return z, log_det

    def inverse(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The z with f(z) = u, `(..., D)`.

        Args:
            u: Points of the base, `(..., D)`.
            context: Features of x, broadcast to `(..., context_dim)`, where the flow has some.

        Raises:
            ValueError: Another number of latents or of features.
        """
        self._check(u, context)
        for block in reversed(self.blocks):
            u = block(context)(u) if self.backwards else _solve(block(context), u)
        return u

    def _check(self, z: Tensor, context: Tensor | None) -> None:
        given = 0 if context is None else context.shape[-1]
        if (z.shape[-1], given) != (self.latent_dim, self.context_dim):
            raise ValueError(
                f"flow: given {z.shape[-1]} latents and {given} features of x, but it was built "
                f"for {self.latent_dim} and {self.context_dim}; build it with these numbers"
            )


def log_density(
    flow: Flow, z: Tensor, loc: Tensor, scale: Tensor, context: Tensor | None = None
) -> Tensor:
    """log N(f(z); loc, scale) + log |det df/dz|, Equation eq-flow-density.

    Args:
        flow: f.
        z: Latents, `(..., D)`.
        loc, scale: Mean and standard deviation of the base, `(..., D)`.
        context: Features of x, where the flow has some.

    Returns:
        `(...)`, in nats.
    """
    u, log_det = flow(z, context)
    return gaussians.log_density(u, loc, scale) + log_det


def sample(
    flow: Flow,
    loc: Tensor,
    scale: Tensor,
    generator: Generator | None = None,
    context: Tensor | None = None,
) -> Tensor:
    """Draw u from the base and return the z with f(z) = u, `(..., D)`.

    Args:
        flow: f.
        loc, scale: Mean and standard deviation of the base, `(..., D)`.
        generator: Source of u.
        context: Features of x, where the flow has some.
    """
    return flow.inverse(gaussians.sample(loc, scale, generator), context)


def fixed(flow: Flow) -> Flow:
    """A copy to be asked many times with the same weights: masks are applied now, once for all."""
    copy = deepcopy(flow).requires_grad_(False)
    for network in [m for m in copy.modules() if isinstance(m, MaskedMLP)]:
        for name, layer in network.named_children():
            if isinstance(layer, MaskedLinear):
                plain = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
                plain.weight = nn.Parameter(layer.mask * layer.weight, requires_grad=False)
                plain.bias = layer.bias
                setattr(network, name, plain)
    return copy


def _solve(step: Transform, y: Tensor) -> Tensor:
    """The x with step(x) = y.

    Autoregressive steps are solved for one group after the other, by passes over all of x that
    settle at least one more group each. A pass that changes no bit is followed by none that does.
    """
    if not isinstance(step, AutoregressiveTransform):
        return step.inv(y)
    x = torch.zeros_like(y)
    for _ in range(step.passes):
        previous, x = x, step.meta(x).inv(y)
        # With a gradient every pass counts: later ones carry what earlier ones depend on.
        if not x.requires_grad and torch.equal(x, previous):
            break
    return x


def _last_parameters(flow: nn.Module) -> Iterator[nn.Parameter]:
    """Those that add up to a block's shifts, log-scales and splines: with zeros it is still."""
    for module in flow.modules():
        if isinstance(module, nn.Sequential):
            yield from module[-1].parameters()
        if isinstance(module, nn.ParameterList):  # a single latent without features of x
            yield from module
