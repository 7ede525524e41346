"""Residual networks: published sizes, the block's formula, and what a plausible mistake changes."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu

from multielbo.architectures.resnet import ResidualBlock, resnet_decoder, resnet_encoder
from multielbo.networks import seeded

POLYMNIST = (3, 28, 28)


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def conv(source: int, target: int, side: int = 3, bias: bool = True) -> int:
    """Weights and biases of one convolution."""
    return source * side**2 * target + bias * target


def block(source: int, target: int) -> int:
    """Two 3x3 convolutions through the smaller width, and the shortcut where widths differ."""
    hidden = min(source, target)
    shortcut = conv(source, target, 1, bias=False) if source != target else 0
    return conv(source, hidden) + conv(hidden, target) + shortcut


@pytest.mark.parametrize("latent_dim", [32, 200, 512])
def test_the_encoder_has_the_parameters_of_the_published_layers(latent_dim):
    layers = conv(3, 64) + block(64, 64) + block(64, 128) + block(128, 256)
    heads = 2 * (256 * 7 * 7 * latent_dim + latent_dim)
    assert size(resnet_encoder(POLYMNIST, latent_dim)) == layers + heads
    assert layers == 670_144


@pytest.mark.parametrize("latent_dim", [32, 200, 512])
def test_the_decoder_has_the_parameters_of_the_published_layers(latent_dim):
    layers = block(256, 128) + block(128, 64) + block(64, 64) + conv(64, 3)
    first = latent_dim * 256 * 7 * 7 + 256 * 7 * 7
    assert size(resnet_decoder(POLYMNIST, latent_dim)) == first + layers
    assert layers == 669_891


@pytest.mark.parametrize(("source", "target"), [(4, 4), (4, 8), (8, 4)])
def test_a_block_adds_a_tenth_of_its_residual_to_its_shortcut(source, target, generator):
    with seeded(0):
        made = ResidualBlock(source, target).double()
    x = torch.randn(2, source, 5, 6, generator=generator, dtype=torch.float64)
    hidden = conv2d(leaky_relu(x, 0.2), made.first.weight, made.first.bias, padding=1)
    residual = conv2d(leaky_relu(hidden, 0.2), made.second.weight, made.second.bias, padding=1)
    plain = x
    if source != target:
        plain = torch.einsum("oi,bihw->bohw", made.shortcut.weight[..., 0, 0], x)
    torch.testing.assert_close(made(x), plain + 0.1 * residual)
    assert not torch.allclose(made(x), plain + residual)
    assert not torch.allclose(made(x), plain + 0.1 * residual.relu())


def test_the_features_are_the_maps_of_the_last_block_at_a_quarter_of_the_side(generator):
    encoder = resnet_encoder(POLYMNIST, 8)
    x = torch.rand(2, *POLYMNIST, generator=generator)
    assert encoder.features(x).shape == (2, 256 * 7 * 7)
    loc, scale = encoder(x)
    assert loc.shape == scale.shape == (2, 8)
    assert (scale > 0).all()


@pytest.mark.parametrize("shape", [POLYMNIST, (1, 12, 8), (3, 32, 32)])
def test_the_networks_fit_pictures_whose_sides_are_multiples_of_four(shape, generator):
    x = torch.rand(2, *shape, generator=generator)
    loc, _ = resnet_encoder(shape, 3, width=4)(x)
    assert resnet_decoder(shape, 3, width=4)(loc).shape == x.shape


@pytest.mark.parametrize("build", [resnet_encoder, resnet_decoder])
def test_other_sides_are_refused(build):
    with pytest.raises(ValueError, match=r"15x22 pixels cannot be halved 2 times: .* of 4"):
        build((3, 22, 15), 8)


@pytest.mark.parametrize("build", [resnet_encoder, resnet_decoder])
def test_a_latent_space_without_dimension_is_refused(build):
    with pytest.raises(ValueError, match="latent_dim is 0"):
        build(POLYMNIST, 0)


def test_a_decoder_treats_leading_axes_as_a_batch(generator):
    decoder = resnet_decoder((3, 8, 8), 5, width=4).double()
    z = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(decoder(z)[1, 2], decoder(z[1, 2]))


def test_nothing_squashes_the_decoder(generator):
    with seeded(0):
        decoder = resnet_decoder((3, 8, 8), 5, width=4)
    decoded = decoder(1e4 * torch.randn(4, 5, generator=generator))
    assert decoded.min() < -1
    assert decoded.max() > 2


@pytest.mark.parametrize(
    "name", ["polymnist_resnet", "translated_polymnist", "translated_polymnist_ten"]
)
def test_set_ups_with_residual_networks_have_one_pair_of_the_published_size_a_modality(name):
    made = import_module(f"multielbo.setups.{name}").setup()
    assert len(made.modalities) == (10 if name.endswith("ten") else 5)
    for part in made.modalities.values():
        assert size(part.encoder(32)) == size(resnet_encoder(POLYMNIST, 32))
        assert size(part.decoder(32)) == size(resnet_decoder(POLYMNIST, 32))
        assert (part.likelihood.scale, part.weight) == (0.75, 1.0)
