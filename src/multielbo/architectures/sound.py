"""Networks for sounds and for trajectories, batch-normalised, as papers on MHD use them.

Layers are those of the MHD experiments that MultiVae's authors released, which keep the ones of
Nexus (Vasco et al., 2021). All data there lie in [0, 1], and so do the outputs of the decoders.
"""

from __future__ import annotations

__all__ = ["sound_decoder", "sound_encoder", "trajectory_decoder", "trajectory_encoder"]

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from multielbo.networks import Decoder, Encoder, from_latents

CHANNELS = (128, 128, 256)
HIDDEN = (512, 512, 512)


def sound_encoder(shape: Sequence[int], latent_dim: int) -> Encoder:
    """A convolution over the whole spectrum of each frame, then two that halve the frames.

    Args:
        shape: 1, frames and bands of a spectrogram; four divides the frames.
        latent_dim: Of the posterior.

    Raises:
        ValueError: The latent space has no dimension, or the shape does not fit.
    """
    _, frames, bands = _fitting(shape)
    layers: list[nn.Module] = [nn.Conv2d(1, CHANNELS[0], (1, bands), bias=False)]
    for source, target in pairwise(CHANNELS):
        layers += [nn.BatchNorm2d(source), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(source, target, (4, 1), stride=(2, 1), padding=(1, 0), bias=False)]
    layers += [nn.BatchNorm2d(CHANNELS[-1]), nn.ReLU(inplace=True), nn.Flatten()]
    return Encoder(nn.Sequential(*layers), shape, CHANNELS[-1] * frames // 4, latent_dim)


def sound_decoder(shape: Sequence[int], latent_dim: int) -> Decoder:
    """The encoder mirrored behind a linear layer, squashed into [0, 1].

    Args:
        shape: 1, frames and bands of a spectrogram; four divides the frames.
        latent_dim: Of the decoder's input.

    Raises:
        ValueError: The latent space has no dimension, or the shape does not fit.
    """
    _, frames, bands = _fitting(shape)
    smallest = (CHANNELS[-1], frames // 4, 1)
    width = math.prod(smallest)
    layers: list[nn.Module] = [from_latents(latent_dim, width), nn.BatchNorm1d(width)]
    layers += [nn.ReLU(inplace=True), nn.Unflatten(1, smallest)]
    for source, target in pairwise(reversed(CHANNELS)):
        layers += [
            nn.ConvTranspose2d(source, target, (4, 1), stride=(2, 1), padding=(1, 0), bias=False),
            nn.BatchNorm2d(target),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ConvTranspose2d(CHANNELS[0], 1, (1, bands), bias=False), nn.Sigmoid()]
    return Decoder(nn.Sequential(*layers), latent_dim)


def trajectory_encoder(
    shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = HIDDEN
) -> Encoder:
    """A multilayer perceptron on the flattened trajectory.

    Args:
        shape: Of one trajectory.
        latent_dim: Of the posterior.
        hidden: Widths of the hidden layers, at least one.

    Raises:
        ValueError: The latent space has no dimension.
    """
    layers = nn.Sequential(nn.Flatten(), *_perceptron((math.prod(shape), *hidden)))
    return Encoder(layers, shape, hidden[-1], latent_dim)


def trajectory_decoder(
    shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = HIDDEN
) -> Decoder:
    """A multilayer perceptron to the flattened trajectory, squashed into [0, 1].

    Args:
        shape: Of one trajectory.
        latent_dim: Of the decoder's input.
        hidden: Widths of the hidden layers, at least one.

    Raises:
        ValueError: The latent space has no dimension.
    """
    layers = [from_latents(latent_dim, hidden[0]), *_normalised(hidden[0]), *_perceptron(hidden)]
    layers += [nn.Linear(hidden[-1], math.prod(shape)), nn.Sigmoid()]
    return Decoder(nn.Sequential(*layers, nn.Unflatten(1, tuple(shape))), latent_dim)


def _perceptron(widths: Sequence[int]) -> Iterator[nn.Module]:
    for source, target in pairwise(widths):
        yield from (nn.Linear(source, target), *_normalised(target))


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm1d(width), nn.LeakyReLU(inplace=True)


def _fitting(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] != 1 or shape[1] % 4 or min(shape) < 1:
        raise ValueError(
            f"sound networks: a spectrogram is {tuple(shape)}; give (1, frames, bands) with a "
            "number of frames that four divides"
        )
    return tuple(shape)
