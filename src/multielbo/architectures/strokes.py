"""Batch-normalised convolutions for grey pictures of 28x28, as papers on MHD use them.

Layers are those of pythae's networks for MNIST, which the MHD experiments of MultiVae's authors
take for its pictures.
"""

from __future__ import annotations

__all__ = ["PICTURE", "picture_decoder", "picture_encoder"]

from itertools import pairwise

from torch import nn

from multielbo.networks import Decoder, Encoder, from_latents

PICTURE = (1, 28, 28)
CHANNELS = (128, 256, 512, 1024)


def picture_encoder(latent_dim: int) -> Encoder:
    """Four convolutions that halve the picture, to 1,024 features of a single pixel.

    Raises:
        ValueError: The latent space has no dimension.
    """
    layers: list[nn.Module] = []
    for source, target in pairwise((PICTURE[0], *CHANNELS)):
        layers += [nn.Conv2d(source, target, 4, stride=2, padding=1), nn.BatchNorm2d(target)]
        layers += [nn.ReLU(inplace=True)]
    return Encoder(nn.Sequential(*layers, nn.Flatten()), PICTURE, CHANNELS[-1], latent_dim)


def picture_decoder(latent_dim: int) -> Decoder:
    """A linear layer to 4x4 pixels and three transposed convolutions, squashed into [0, 1].

    Raises:
        ValueError: The latent space has no dimension.
    """
    smallest = (CHANNELS[-1], 4, 4)
    layers: list[nn.Module] = [from_latents(latent_dim, CHANNELS[-1] * 4 * 4)]
    layers += [nn.Unflatten(1, smallest)]
    # From 4 to 7 pixels, then doubling.
    for source, target, extra in ((1024, 512, 0), (512, 256, 1)):
        layers += [
            nn.ConvTranspose2d(source, target, 3, stride=2, padding=1, output_padding=extra),
            nn.BatchNorm2d(target),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ConvTranspose2d(256, PICTURE[0], 3, stride=2, padding=1, output_padding=1)]
    return Decoder(nn.Sequential(*layers, nn.Sigmoid()), latent_dim)
