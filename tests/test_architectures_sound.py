"""MHD's networks: parameters of the published layers, shapes, ranges, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from multielbo.architectures.sound import (
    sound_decoder,
    sound_encoder,
    trajectory_decoder,
    trajectory_encoder,
)
from multielbo.architectures.strokes import PICTURE, picture_decoder, picture_encoder
from multielbo.networks import seeded

LATENTS = 64
SOUND, TRAJECTORY = (1, 32, 128), (200,)
PAIRS = {
    "picture": (picture_encoder, picture_decoder, PICTURE),
    "sound": (lambda d: sound_encoder(SOUND, d), lambda d: sound_decoder(SOUND, d), SOUND),
    "trajectory": (
        lambda d: trajectory_encoder(TRAJECTORY, d),
        lambda d: trajectory_decoder(TRAJECTORY, d),
        TRAJECTORY,
    ),
}
# Read from the released code: normalisations have two numbers a channel, linear layers a bias.
FRAMES = 2048  # features of a sound: 256 channels by 8 frames
HIDDEN = 3 * 2 * 512 + 2 * (512 * 512 + 512)
EXPECTED = {
    ("sound", 0): (
        128 * 128 + 128 * 128 * 4 + 128 * 256 * 4 + 2 * (128 + 128 + 256) + 2 * (FRAMES * 64 + 64)
    ),
    ("sound", 1): (
        (64 * FRAMES + FRAMES)
        + 2 * FRAMES
        + 256 * 128 * 4
        + 128 * 128 * 4
        + 2 * (128 + 128)
        + 128 * 128
    ),
    ("trajectory", 0): (200 * 512 + 512) + HIDDEN + 2 * (512 * 64 + 64),
    ("trajectory", 1): (64 * 512 + 512) + HIDDEN + (512 * 200 + 200),
    ("picture", 0): (
        sum(16 * a * b + b + 2 * b for a, b in [(1, 128), (128, 256), (256, 512), (512, 1024)])
        + 2 * (1024 * 64 + 64)
    ),
    ("picture", 1): (
        (64 * 16384 + 16384)
        + sum(9 * a * b + b + 2 * b for a, b in [(1024, 512), (512, 256)])
        + (9 * 256 + 1)
    ),
}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "side"), EXPECTED)
def test_networks_have_the_parameters_of_the_published_layers(name, side):
    assert parameters(PAIRS[name][side](LATENTS)) == EXPECTED[name, side]


@pytest.mark.parametrize("name", PAIRS)
def test_encoder_and_decoder_meet_in_the_shape_of_the_modality(name, generator):
    encoder, decoder, shape = PAIRS[name]
    with seeded(0):
        encoder, decoder = encoder(5).eval(), decoder(5).eval()
    loc, scale = encoder(torch.rand(2, *shape, generator=generator))
    assert encoder.shape == shape
    assert loc.shape == scale.shape == (2, 5)
    made = decoder(5 * torch.randn(3, 2, 5, generator=generator))
    assert made.shape == (3, 2, *shape)
    assert 0 < made.min() < made.max() < 1


def test_the_first_layer_of_a_sound_hears_every_band_of_one_frame(generator):
    encoder = sound_encoder((1, 16, 24), 3)
    x = torch.rand(1, 1, 16, 24, generator=generator)
    other = x.clone()
    other[..., 4, :] += 1.0
    moved = (encoder.features[0](x) != encoder.features[0](other)).any(1).flatten()
    assert moved.tolist() == [frame == 4 for frame in range(16)]


def test_sounds_of_other_lengths_and_bands_have_networks_too():
    encoder, decoder = sound_encoder((1, 16, 24), 3).eval(), sound_decoder((1, 16, 24), 3).eval()
    assert encoder(torch.rand(2, 1, 16, 24))[0].shape == (2, 3)
    assert decoder(torch.rand(2, 3)).shape == (2, 1, 16, 24)


@pytest.mark.parametrize("shape", [(1, 30, 128), (2, 32, 128), (32, 128), (1, 0, 128)])
@pytest.mark.parametrize("make", [sound_encoder, sound_decoder])
def test_a_spectrogram_that_cannot_be_halved_twice_is_refused(make, shape):
    with pytest.raises(ValueError, match=r"give \(1, frames, bands\)"):
        make(shape, 3)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_a_latent_space_without_dimensions_is_refused(name, side):
    with pytest.raises(ValueError, match="latent_dim is 0"):
        PAIRS[name][side](0)
