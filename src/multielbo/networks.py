"""Encoders and decoders, the same for every model.

The convolutional ones are of the kind that MoPoE released for PolyMNIST. Torch draws first weights
from its global generator: build networks inside `seeded`, which leaves that generator as it was.
"""

from __future__ import annotations

__all__ = [
    "CHANNELS",
    "Decoder",
    "Encoder",
    "at_least_one",
    "conv_decoder",
    "conv_encoder",
    "from_latents",
    "mlp_decoder",
    "mlp_encoder",
    "seeded",
]

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from multielbo.upsampling import Upsampling

CHANNELS = (32, 64, 128)
# In a product with a prior expert nothing keeps the spread of an expert that knows nothing from
# growing without end. Up to here its square and its inverse are float32 numbers.
LARGEST_LOG_VARIANCE = 80.0


class Encoder(nn.Module):
    """A unimodal posterior q(z | x): features of x, then one linear map to mean and log-variance.

    Args:
        features: From x, `(B, *shape)`, to `(B, width)`.
        shape: Shape of one example.
        width: Number of features.
        latent_dim: D.

    Raises:
        ValueError: The latent space has no dimension.
    """

    def __init__(
        self, features: nn.Module, shape: Sequence[int], width: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent_dim = at_least_one(latent_dim)
        self.features = features
        self.posterior = nn.Linear(width, 2 * latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each `(B, D)`."""
        parameters = self.posterior(self.features(x))
        # Under autocast a bfloat16 would leave the posterior three digits: too few for precisions.
        loc, log_var = parameters.to(torch.promote_types(x.dtype, parameters.dtype)).chunk(2, -1)
        return loc, (0.5 * log_var.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)).exp()


class Decoder(nn.Module):
    """The parameters of a likelihood p(x | z).

    Args:
        network: From z, `(N, D)`, to `(N, *shape)`.
        latent_dim: D.
    """

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = at_least_one(latent_dim)
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        """Parameters `(..., *shape)` for latents `z`, `(..., D)`."""
        parameters = self.network(z.reshape(-1, z.shape[-1]))
        return parameters.reshape(*z.shape[:-1], *parameters.shape[1:])


def conv_encoder(
    shape: Sequence[int],
    latent_dim: int,
    channels: Sequence[int] = CHANNELS,
    hidden: Sequence[int] = (),
) -> Encoder:
    """Convolutions that halve the picture once per entry of `channels`, then linear layers.

    Args:
        shape: Channels, height and width of a picture.
        latent_dim: D.
        channels: Output channels of each 3x3 convolution with stride 2.
        hidden: Widths of linear layers before the posterior. For pictures of 3x28x28 and 512
            latents, none gives the 2,191,424 parameters of MultiVae's network, and `(512,)` the
            1,667,648 of the one that Sutter et al. (2021) released.

    Raises:
        ValueError: The latent space has no dimension.
    """
    layers: list[nn.Module] = []
    for source, target in pairwise((shape[0], *channels)):
        layers += [nn.Conv2d(source, target, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
    width = math.prod(_smallest_map(shape, channels))
    layers += [nn.Flatten(), *_perceptron((width, *hidden))]
    return Encoder(nn.Sequential(*layers), shape, hidden[-1] if hidden else width, latent_dim)


def conv_decoder(
    shape: Sequence[int], latent_dim: int, channels: Sequence[int] = CHANNELS
) -> Decoder:
    """A linear layer, then transposed convolutions that double the picture; nothing squashes it.

    Args:
        shape: Channels, height and width of a picture.
        latent_dim: D.
        channels: Of the mirrored encoder, so in reverse order here. For pictures of 3x28x28 and
            512 latents there are 1,143,747 parameters, as in both published decoders.

    Raises:
        ValueError: The latent space has no dimension.
    """
    smallest = _smallest_map(shape, channels)
    layers = [*_perceptron((at_least_one(latent_dim), math.prod(smallest)))]
    layers += [nn.Unflatten(1, smallest)]
    heights, widths = _halvings(shape[1], channels), _halvings(shape[2], channels)
    for i, (target, source) in reversed(list(enumerate(pairwise((shape[0], *channels))))):
        # A halving forgets whether the side was even; the extra row or column brings it back.
        extra = (1 - heights[i] % 2, 1 - widths[i] % 2)
        layers += [Upsampling(source, target, 3, 2, 1, extra), nn.ReLU(inplace=True)]
    return Decoder(nn.Sequential(*layers[:-1]), latent_dim)


def mlp_encoder(shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = ()) -> Encoder:
    """A multilayer perceptron on the flattened example; linear without hidden layers.

    Args:
        shape: Shape of one example.
        latent_dim: D.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: The latent space has no dimension.
    """
    widths = (math.prod(shape), *hidden)
    return Encoder(nn.Sequential(nn.Flatten(), *_perceptron(widths)), shape, widths[-1], latent_dim)


def mlp_decoder(shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = ()) -> Decoder:
    """A multilayer perceptron to the flattened example; linear without hidden layers.

    Args:
        shape: Shape of one example.
        latent_dim: D.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: The latent space has no dimension.
    """
    widths = (at_least_one(latent_dim), *hidden)
    last = nn.Linear(widths[-1], math.prod(shape))
    return Decoder(
        nn.Sequential(*_perceptron(widths), last, nn.Unflatten(1, tuple(shape))), latent_dim
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Networks built inside get the weights of this seed; the global generator does not move.

    >>> with seeded(1):
    ...     first = nn.Linear(1, 1)
    >>> with seeded(1):
    ...     second = nn.Linear(1, 1)
    >>> bool(first.weight == second.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(seed)
        yield


def from_latents(latent_dim: int, width: int) -> nn.Linear:
    """A decoder's first layer.

    Raises:
        ValueError: The latent space has no dimension.
    """
    return nn.Linear(at_least_one(latent_dim), width)


def at_least_one(latent_dim: int) -> int:
    """The number of latent dimensions, if it is one.

    Raises:
        ValueError: The latent space has no dimension.
    """
    if latent_dim < 1:
        raise ValueError(f"latent_dim is {latent_dim}; a latent space needs at least 1 dimension")
    return latent_dim


def _perceptron(widths: Sequence[int]) -> Iterator[nn.Module]:
    for source, target in pairwise(widths):
        yield from (nn.Linear(source, target), nn.ReLU(inplace=True))


def _smallest_map(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width after the last convolution."""
    return channels[-1], _halvings(shape[1], channels)[-1], _halvings(shape[2], channels)[-1]


def _halvings(side: int, channels: Sequence[int]) -> list[int]:
    """The side of the picture, then after each convolution."""
    sides = [side]
    for _ in channels:
        sides.append((sides[-1] + 1) // 2)
    return sides
