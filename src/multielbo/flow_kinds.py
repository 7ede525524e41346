"""Four kinds of flow, from the blocks of zuko: who depends on whom, and which way is cheap."""

from __future__ import annotations

__all__ = [
    "AffineBlock",
    "coupling",
    "inverse_autoregressive",
    "masked_autoregressive",
    "spline",
]

import torch
from torch import Tensor
from torch.distributions import Transform
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import LazyTransform
from zuko.transforms import DependentTransform, MonotonicAffineTransform, MonotonicRQSTransform
from zuko.utils import broadcast

from multielbo.flows import Flow


def masked_autoregressive(
    latent_dim: int,
    *,
    width: int,
    blocks: int = 2,
    hidden_layers: int = 3,
    groups: int | None = None,
    context_dim: int = 0,
) -> Flow:
    """MAF: u_i = exp(a_i) z_i + b_i with a_i, b_i functions of the z before i, Equation eq-maf.

    One pass through the networks gives all of u; z takes one pass for every group, because each
    has to wait for those before it.

    Args:
        latent_dim: D.
        width: Units of each hidden layer.
        blocks: Maps in a row; every other one takes the latents in reverse order.
        hidden_layers: Of each block's network.
        groups: Latents are split into so many groups of neighbours, and a latent depends on the
            groups before its own; None for D groups of one.
        context_dim: Features of x that the networks read.

    Raises:
        ValueError: Fewer units than groups: some latents would never be conditioned on.

    Source:
        Papamakarios, Pavlakou and Murray (2017).
    """
    made = _masked_blocks(latent_dim, width, blocks, hidden_layers, groups, context_dim)
    return Flow(made, latent_dim, context_dim)


def inverse_autoregressive(
    latent_dim: int,
    *,
    width: int,
    blocks: int = 2,
    hidden_layers: int = 3,
    groups: int | None = None,
    context_dim: int = 0,
) -> Flow:
    """IAF: the same maps run backwards, z_i = exp(a_i) u_i + b_i with functions of the u before i.

    Drawing takes one pass and the density of a given z one for every group.

    Args:
        latent_dim: D.
        width: Units of each hidden layer.
        blocks: Maps in a row; every other one takes the latents in reverse order.
        hidden_layers: Of each block's network.
        groups: Of neighbouring latents; None for D groups of one.
        context_dim: Features of x that the networks read.

    Raises:
        ValueError: Fewer units than groups: some latents would never be conditioned on.

    Source:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016).
    """
    made = _masked_blocks(latent_dim, width, blocks, hidden_layers, groups, context_dim)
    return Flow(made, latent_dim, context_dim, backwards=True)


def coupling(
    latent_dim: int,
    *,
    width: int,
    blocks: int = 4,
    hidden_layers: int = 2,
    context_dim: int = 0,
) -> Flow:
    """RealNVP: one half of the latents, scaled and shifted by functions of the other half.

    One pass in either direction. A block leaves half of the latents as they are, so at least two
    are needed before every latent has moved.

    Args:
        latent_dim: D.
        width: Units of each hidden layer.
        blocks: Maps in a row, with the halves in turn.
        hidden_layers: Of each block's network.
        context_dim: Features of x that the networks read.

    Raises:
        ValueError: No units, or no blocks.

    Source:
        Dinh, Sohl-Dickstein and Bengio (2017).
    """
    _at_least(1, latent_dim=latent_dim, width=width, blocks=blocks, hidden_layers=hidden_layers)
    even = torch.arange(latent_dim) % 2 == 1
    made = [
        GeneralCouplingTransform(
            latent_dim,
            context_dim,
            mask=even ^ bool(i % 2),
            hidden_features=[width] * hidden_layers,
        )
        for i in range(blocks)
    ]
    return Flow(made, latent_dim, context_dim)


def spline(
    latent_dim: int,
    *,
    width: int,
    blocks: int = 2,
    hidden_layers: int = 2,
    groups: int | None = None,
    bins: int = 8,
    context_dim: int = 0,
) -> Flow:
    """Masked autoregressive with monotone rational-quadratic splines in place of straight lines.

    A spline bends z_i itself, so that one block can make several modes of one. Outside [-5, 5] it
    is the identity.

    Args:
        latent_dim: D.
        width: Units of each hidden layer.
        blocks: Maps in a row; every other one takes the latents in reverse order.
        hidden_layers: Of each block's network.
        groups: Of neighbouring latents; None for D groups of one.
        bins: Pieces of each spline.
        context_dim: Features of x that the networks read.

    Raises:
        ValueError: Fewer units than groups: some latents would never be conditioned on.

    Source:
        Durkan, Bekasov, Murray and Papamakarios (2019).
    """
    pieces = {
        "block": MaskedAutoregressiveTransform,
        "univariate": MonotonicRQSTransform,
        "shapes": [(bins,), (bins,), (bins - 1,)],
    }
    made = _masked_blocks(latent_dim, width, blocks, hidden_layers, groups, context_dim, **pieces)
    return Flow(made, latent_dim, context_dim)


class AffineBlock(MaskedAutoregressiveTransform):
    """zuko's block with all shifts before all log-scales, so that taking them apart copies nothing.

    Its own network gives them in turn.
    """

    def __init__(self, *settings: object, **options: object) -> None:
        super().__init__(*settings, **options)
        last = self.hyper[-1]
        last.mask = torch.cat([last.mask[0::2], last.mask[1::2]])

    def meta(self, c: Tensor | None, x: Tensor) -> Transform:
        if c is not None:
            x = torch.cat(broadcast(x, c, ignore=1), -1)
        shift, log_scale = self.hyper(x).chunk(2, -1)
        return DependentTransform(MonotonicAffineTransform(shift, log_scale), 1)


def _masked_blocks(
    latent_dim: int,
    width: int,
    blocks: int,
    hidden_layers: int,
    groups: int | None,
    context_dim: int,
    block: type[LazyTransform] = AffineBlock,
    **univariate: object,
) -> list[LazyTransform]:
    groups = latent_dim if groups is None else groups
    _at_least(1, latent_dim=latent_dim, groups=groups, blocks=blocks, hidden_layers=hidden_layers)
    if width < groups:
        # A hidden unit reads the groups up to its own: with fewer units than groups, the last
        # groups are read by none.
        raise ValueError(
            f"flow: width is {width}, but a latent has to tell {groups} groups of latents apart; "
            f"give a width of at least {groups}, or at most {width} groups"
        )
    forwards = torch.arange(latent_dim)
    return [
        block(
            latent_dim,
            context_dim,
            passes=groups,
            order=forwards.flip(0) if i % 2 else forwards,
            hidden_features=[width] * hidden_layers,
            **univariate,
        )
        for i in range(blocks)
    ]


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise ValueError(f"flow: {name} is {value}; give at least {least}")
