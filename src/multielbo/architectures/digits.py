"""Networks for handwritten digits, house numbers and digits' words, as MoPoE released them.

The layers are those behind the MNIST-SVHN-Text results of Sutter et al. (2021): fully connected
for MNIST, convolutional for SVHN and for text. The last layers differ: a sigmoid squashes MNIST's
pixels, nothing squashes SVHN's, and the text's are the logits of its symbols.
"""

from __future__ import annotations

__all__ = [
    "LENGTH",
    "MNIST",
    "SVHN",
    "SYMBOLS",
    "mnist_decoder",
    "mnist_encoder",
    "svhn_decoder",
    "svhn_encoder",
    "text_decoder",
    "text_encoder",
]

from torch import Tensor, nn

from multielbo.networks import Decoder, Encoder, from_latents, mlp_encoder
from multielbo.upsampling import Upsampling

MNIST, SVHN = (1, 28, 28), (3, 32, 32)
LENGTH, SYMBOLS = 8, 71  # of the text, and of its alphabet
HIDDEN = 400  # of MNIST's one hidden layer
WIDTH = 128  # features of a house number or a word


def mnist_encoder(latent_dim: int) -> Encoder:
    """From 1x28x28 through one hidden layer; 330,040 parameters for 20 latents.

    Raises:
        ValueError: The latent space has no dimension.
    """
    return mlp_encoder(MNIST, latent_dim, (HIDDEN,))


def mnist_decoder(latent_dim: int) -> Decoder:
    """The mirror of the encoder, with pixels in (0, 1); 322,784 parameters for 20 latents.

    Raises:
        ValueError: The latent space has no dimension.
    """
    network = nn.Sequential(
        from_latents(latent_dim, HIDDEN),
        nn.ReLU(inplace=True),
        nn.Linear(HIDDEN, MNIST[1] * MNIST[2]),
        nn.Sigmoid(),
        nn.Unflatten(1, MNIST),
    )
    return Decoder(network, latent_dim)


def svhn_encoder(latent_dim: int) -> Encoder:
    """From 3x32x32 through four 4x4 convolutions; 236,360 parameters for 20 latents.

    Raises:
        ValueError: The latent space has no dimension.
    """
    features = nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, WIDTH, 4),  # what is left is 4x4
        nn.ReLU(inplace=True),
        nn.Flatten(),
    )
    return Encoder(features, SVHN, WIDTH, latent_dim)


def svhn_decoder(latent_dim: int) -> Decoder:
    """The mirror of the encoder; nothing squashes it; 233,763 parameters for 20 latents.

    Raises:
        ValueError: The latent space has no dimension.
    """
    network = nn.Sequential(
        from_latents(latent_dim, WIDTH),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, (WIDTH, 1, 1)),
        Upsampling(WIDTH, 64, 4),
        nn.ReLU(inplace=True),
        Upsampling(64, 64, 4, 2, 1),
        nn.ReLU(inplace=True),
        Upsampling(64, 32, 4, 2, 1),
        nn.ReLU(inplace=True),
        Upsampling(32, 3, 4, 2, 1),
    )
    return Decoder(network, latent_dim)


def text_encoder(latent_dim: int) -> Encoder:
    """From 8 one-hot symbols through three convolutions; 145,704 parameters for 20 latents.

    Raises:
        ValueError: The latent space has no dimension.
    """
    features = nn.Sequential(
        Transpose(),
        nn.Conv1d(SYMBOLS, WIDTH, 1),
        nn.ReLU(inplace=True),
        nn.Conv1d(WIDTH, WIDTH, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv1d(WIDTH, WIDTH, 4, stride=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
    )
    return Encoder(features, (LENGTH, SYMBOLS), WIDTH, latent_dim)


def text_decoder(latent_dim: int) -> Decoder:
    """The mirror of the encoder, to logits; 143,175 parameters for 20 latents.

    Its first layer alone is linear, as in the released code.

    Raises:
        ValueError: The latent space has no dimension.
    """
    network = nn.Sequential(
        from_latents(latent_dim, WIDTH),
        nn.Unflatten(1, (WIDTH, 1)),
        nn.ConvTranspose1d(WIDTH, WIDTH, 4),
        nn.ReLU(inplace=True),
        nn.ConvTranspose1d(WIDTH, WIDTH, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv1d(WIDTH, SYMBOLS, 1),
        Transpose(),
    )
    return Decoder(network, latent_dim)


class Transpose(nn.Module):
    """Swap the last two axes: convolutions want the symbols first, likelihoods want them last."""

    def forward(self, x: Tensor) -> Tensor:
        """`(B, L, A)` to `(B, A, L)`, and back."""
        return x.transpose(-2, -1)
