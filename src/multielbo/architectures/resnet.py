"""Residual networks for PolyMNIST, as MMVAE+ has them.

The picture is halved twice, 28x28 to 7x7, while the maps double from 64 to 256. MMVAE+ has one such
encoder for its shared and another for its private latents; an encoder here is one of the two.
"""

from __future__ import annotations

__all__ = ["resnet_decoder", "resnet_encoder"]

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from multielbo.networks import Decoder, Encoder, from_latents

WIDTH = 64  # maps at full size
HALVINGS = 2
SLOPE = 0.2  # of the leaky rectifier, below zero
STEP = 0.1  # weight of a block's residual


def resnet_encoder(shape: Sequence[int], latent_dim: int, width: int = WIDTH) -> Encoder:
    """A convolution, then residual blocks between two halvings of the picture.

    Args:
        shape: Channels, height and width of a picture; both sides are multiples of 4.
        latent_dim: D.
        width: Maps at full size; each halving doubles them.

    Raises:
        ValueError: A side is not a multiple of 4, or the latent space has no dimension.

    Source:
        Palumbo, Daunhawer and Vogt (2023), the released code.
    """
    smallest = _smallest_map(shape, width)
    layers = [nn.Conv2d(shape[0], width, 3, padding=1), ResidualBlock(width, width)]
    for k in range(HALVINGS):
        layers += [nn.AvgPool2d(3, stride=2, padding=1)]
        layers += [ResidualBlock(width << k, width << (k + 1))]
    features = smallest[0] * smallest[1] * smallest[2]
    return Encoder(nn.Sequential(*layers, nn.Flatten()), shape, features, latent_dim)


def resnet_decoder(shape: Sequence[int], latent_dim: int, width: int = WIDTH) -> Decoder:
    """A linear layer, then residual blocks between two doublings; nothing squashes the picture.

    Args:
        shape: Channels, height and width of a picture; both sides are multiples of 4.
        latent_dim: D.
        width: Maps at full size.

    Raises:
        ValueError: A side is not a multiple of 4, or the latent space has no dimension.

    Source:
        Palumbo, Daunhawer and Vogt (2023), the released code.
    """
    smallest = _smallest_map(shape, width)
    features = smallest[0] * smallest[1] * smallest[2]
    layers: list[nn.Module] = [from_latents(latent_dim, features), nn.Unflatten(1, smallest)]
    for k in reversed(range(HALVINGS)):
        layers += [ResidualBlock(width << (k + 1), width << k), nn.Upsample(scale_factor=2)]
    layers += [ResidualBlock(width, width), nn.LeakyReLU(SLOPE)]
    layers += [nn.Conv2d(width, shape[0], 3, padding=1)]
    return Decoder(nn.Sequential(*layers), latent_dim)


class ResidualBlock(nn.Module):
    """x + 0.1 f(x), f two 3x3 convolutions, each after a leaky rectifier.

    Where the number of maps changes, a 1x1 convolution without bias takes the place of the
    first x.

    Args:
        source: Maps of the input.
        target: Maps of the output.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        hidden = min(source, target)
        self.first = nn.Conv2d(source, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, target, 3, padding=1)
        self.shortcut = (
            nn.Identity() if source == target else nn.Conv2d(source, target, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, target, H, W)` for maps `(B, source, H, W)`."""
        residual = self.second(leaky_relu(self.first(leaky_relu(x, SLOPE)), SLOPE))
        return self.shortcut(x) + STEP * residual


def _smallest_map(shape: Sequence[int], width: int) -> tuple[int, int, int]:
    """Channels, height and width after the last halving."""
    _, height, across = shape
    parts = 1 << HALVINGS
    if height % parts or across % parts:
        raise ValueError(
            f"pictures of {across}x{height} pixels cannot be halved {HALVINGS} times: "
            f"both sides must be multiples of {parts}"
        )
    return width << HALVINGS, height // parts, across // parts
