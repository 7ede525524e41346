"""Bimodal CelebA's residual networks, for pictures of 3x64x64 and texts of 256 characters.

Layers, kernels, strides and the weights of the branches are those of the code that Sutter et al.
(2021) released; at width 128 so are the numbers of parameters. Decoders return what a likelihood
takes: an unsquashed mean, and logits where the released code returns log-probabilities.

The blocks normalise over the batch and drop features at random. Both differ between `train()` and
`eval()`, and what is dropped is drawn from torch's global generator.
"""

from __future__ import annotations

__all__ = [
    "FACE",
    "LENGTH",
    "face_decoder",
    "face_encoder",
    "text_decoder",
    "text_encoder",
]

from collections.abc import Sequence

from torch import Tensor, nn

from multielbo.networks import Decoder, Encoder, from_latents

FACE = (3, 64, 64)
LENGTH = 256
WIDTH = 128
FACE_WIDTHS = (1, 2, 3, 4, 5)  # channels after each halving, in units of the width
TEXT_WIDTHS = (1, 2, 3, 4, 5, 5, 5)
SHORTCUT, BRANCH = 2.0, 0.3  # factors of the two summands of a block


def face_encoder(latent_dim: int, width: int = WIDTH, dropout: float = 0.5) -> Encoder:
    """A strided convolution and four residual blocks, from a face to 5 x `width` features.

    Args:
        latent_dim: Of the posterior; with private latents, shared and private ones together.
        width: Channels after the first convolution.
        dropout: Share of a block's channels that training drops.

    Raises:
        ValueError: The latent space has no dimension.
    """
    channels = [width * step for step in FACE_WIDTHS]
    # The padding of 2 makes a map of 33x33, of which the first block's kernel leaves out an edge.
    layers = [nn.Conv2d(FACE[0], width, 3, stride=2, padding=2, bias=False)]
    steps = [(2, 1), (2, 1), (2, 1), (2, 0)]
    layers += [
        _block(nn.Conv2d, channels[i], channels[i + 1], *step, dropout)
        for i, step in enumerate(steps)
    ]
    return Encoder(nn.Sequential(*layers, nn.Flatten()), FACE, channels[-1], latent_dim)


def face_decoder(latent_dim: int, width: int = WIDTH, dropout: float = 0.5) -> Decoder:
    """The encoder mirrored: a linear layer, four residual blocks, a transposed convolution.

    Args:
        latent_dim: Of the decoder's input.
        width: Channels before the last convolution.
        dropout: Share of a block's channels that training drops.

    Raises:
        ValueError: The latent space has no dimension.
    """
    channels = [width * step for step in reversed(FACE_WIDTHS)]
    steps = [(1, 0), (2, 1), (2, 1), (2, 1)]
    layers = [from_latents(latent_dim, channels[0]), nn.Unflatten(1, (channels[0], 1, 1))]
    layers += [
        _block(nn.ConvTranspose2d, channels[i], channels[i + 1], *step, dropout)
        for i, step in enumerate(steps)
    ]
    layers += [nn.ConvTranspose2d(width, FACE[0], 3, stride=2, padding=1, output_padding=1)]
    return Decoder(nn.Sequential(*layers), latent_dim)


def text_encoder(
    latent_dim: int, symbols: int, width: int = WIDTH, dropout: float = 0.5
) -> Encoder:
    """A strided convolution and six residual blocks over a text, to 5 x `width` features.

    Args:
        latent_dim: Of the posterior; with private latents, shared and private ones together.
        symbols: Size of the alphabet; a text is one-hot, `(256, symbols)`.
        width: Channels after the first convolution.
        dropout: Share of a block's features that training drops.

    Raises:
        ValueError: The latent space has no dimension.
    """
    channels = [width * step for step in TEXT_WIDTHS]
    layers = [_SwapAxes(), nn.Conv1d(symbols, width, 4, stride=2, padding=1)]
    steps = [(2, 1)] * 5 + [(2, 0)]
    layers += [
        _block(nn.Conv1d, channels[i], channels[i + 1], *step, dropout)
        for i, step in enumerate(steps)
    ]
    features = nn.Sequential(*layers, nn.Flatten())
    return Encoder(features, (LENGTH, symbols), channels[-1], latent_dim)


def text_decoder(
    latent_dim: int, symbols: int, width: int = WIDTH, dropout: float = 0.5
) -> Decoder:
    """The encoder mirrored, to the logits `(256, symbols)` of each character.

    Args:
        latent_dim: Of the decoder's input.
        symbols: Size of the alphabet.
        width: Channels before the last convolution.
        dropout: Share of a block's features that training drops.

    Raises:
        ValueError: The latent space has no dimension.
    """
    channels = [width * step for step in reversed(TEXT_WIDTHS)]
    steps = [(1, 0)] + [(2, 1)] * 5
    layers = [from_latents(latent_dim, channels[0]), nn.Unflatten(1, (channels[0], 1))]
    layers += [
        _block(nn.ConvTranspose1d, channels[i], channels[i + 1], *step, dropout)
        for i, step in enumerate(steps)
    ]
    layers += [nn.ConvTranspose1d(width, symbols, 4, stride=2, padding=1), _SwapAxes()]
    return Decoder(nn.Sequential(*layers), latent_dim)


class Residual(nn.Module):
    """SHORTCUT times a projection of x, plus BRANCH times what two convolutions make of it.

    Args:
        shortcut: The projection.
        branch: The convolutions, each behind a normalisation and a ReLU.
    """

    def __init__(self, shortcut: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.branch = shortcut, branch

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum of both paths."""
        return SHORTCUT * self.shortcut(x) + BRANCH * self.branch(x)


def _block(
    convolution: type[nn.Module],
    source: int,
    target: int,
    stride: int,
    padding: int,
    dropout: float,
) -> Residual:
    """A block whose kernels span four pixels; pictures drop whole maps, and need no biases."""
    flat = convolution in (nn.Conv1d, nn.ConvTranspose1d)
    normalise = nn.BatchNorm1d if flat else nn.BatchNorm2d
    drop = nn.Dropout if flat else nn.Dropout2d
    resize = {"kernel_size": 4, "stride": stride, "padding": padding}
    shortcut = nn.Sequential(convolution(source, target, **resize), normalise(target))
    branch: Sequence[nn.Module] = (
        normalise(source),
        nn.ReLU(inplace=True),
        convolution(source, source, 1, bias=flat),
        drop(dropout),
        normalise(source),
        nn.ReLU(inplace=True),
        convolution(source, target, **resize, bias=flat),
        drop(dropout),
    )
    return Residual(shortcut, nn.Sequential(*branch))


class _SwapAxes(nn.Module):
    """Characters by symbols to symbols by characters, and back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(-2, -1)
