"""CelebA's residual networks: parameters of the published layers, shapes, and what a block does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from multielbo.architectures.faces import (
    FACE,
    LENGTH,
    face_decoder,
    face_encoder,
    text_decoder,
    text_encoder,
)
from multielbo.data.celeba import ALPHABET
from multielbo.networks import seeded

LATENTS = 64  # 32 shared and 32 private ones
SYMBOLS = len(ALPHABET)
# Each block as (channels in, channels out), read from the released code; all kernels span 4 pixels.
FACE_BLOCKS = [(128, 256), (256, 384), (384, 512), (512, 640)]
TEXT_BLOCKS = [(128, 256), (256, 384), (384, 512), (512, 640), (640, 640), (640, 640)]


def face_block(source: int, target: int) -> int:
    """Two normalisations, a 1x1 and a 4x4 convolution without bias, and a projection with one."""
    branch = 2 * source + source * source + 2 * source + 16 * source * target
    return branch + (16 * source * target + target) + 2 * target


def text_block(source: int, target: int) -> int:
    """The same along one axis, with biases everywhere."""
    branch = 2 * source + (source * source + source) + 2 * source + (4 * source * target + target)
    return branch + (4 * source * target + target) + 2 * target


def linear(source: int, target: int) -> int:
    return source * target + target


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_face_encoder_has_the_parameters_of_the_published_layers():
    expected = 3 * 128 * 9 + sum(face_block(*block) for block in FACE_BLOCKS)
    heads = 2 * linear(640, 32) + 2 * linear(640, 32)  # means and log-variances, private and shared
    assert parameters(face_encoder(LATENTS)) == expected + heads


def test_the_face_decoder_has_the_parameters_of_the_published_layers():
    blocks = [(target, source) for source, target in reversed(FACE_BLOCKS)]
    expected = linear(64, 640) + sum(face_block(*block) for block in blocks) + (128 * 3 * 9 + 3)
    assert parameters(face_decoder(LATENTS)) == expected


def test_the_text_encoder_has_the_parameters_of_the_published_layers():
    expected = (71 * 128 * 4 + 128) + sum(text_block(*block) for block in TEXT_BLOCKS)
    assert parameters(text_encoder(LATENTS, SYMBOLS)) == expected + 4 * linear(640, 32)


def test_the_text_decoder_has_the_parameters_of_the_published_layers():
    blocks = [(target, source) for source, target in reversed(TEXT_BLOCKS)]
    expected = linear(64, 640) + sum(text_block(*block) for block in blocks) + (128 * 71 * 4 + 71)
    assert parameters(text_decoder(LATENTS, SYMBOLS)) == expected


@pytest.mark.parametrize(
    ("encoder", "decoder", "shape"),
    [
        (face_encoder, face_decoder, FACE),
        (text_encoder, text_decoder, (LENGTH, 9)),
    ],
    ids=["face", "text"],
)
def test_encoder_and_decoder_meet_in_the_shape_of_the_modality(encoder, decoder, shape, generator):
    symbols = {} if shape == FACE else {"symbols": 9}
    with seeded(0):
        encoder, decoder = (make(6, width=4, **symbols).eval() for make in (encoder, decoder))
    loc, scale = encoder(torch.rand(3, *shape, generator=generator))
    assert encoder.shape == shape
    assert loc.shape == scale.shape == (3, 6)
    assert encoder.features(torch.rand(3, *shape, generator=generator)).shape == (3, 20)
    assert decoder(torch.randn(2, 3, 6, generator=generator)).shape == (2, 3, *shape)


def test_the_text_decoder_scores_symbols_on_the_last_axis(generator):
    """Doubling the weights that lead to one symbol moves that symbol's logits and no other's."""
    with seeded(0):
        decoder = text_decoder(6, 9, width=4).eval()
    z = torch.randn(2, 6, generator=generator)
    last = decoder.network[-2]
    before = decoder(z).detach()
    with torch.no_grad():
        last.weight[:, 5] *= 2
    moved = (decoder(z).detach() != before).any(0).any(0)
    assert moved.tolist() == [symbol == 5 for symbol in range(9)]


def test_a_block_weighs_its_projection_by_two_and_its_branch_by_three_tenths(generator):
    with seeded(0):
        block = face_encoder(6, width=4).features[1].eval()
    x = torch.randn(2, 4, 33, 33, generator=generator)
    expected = 2.0 * block.shortcut(x) + 0.3 * block.branch(x)
    torch.testing.assert_close(block(x), expected)
    assert not torch.allclose(block(x), block.shortcut(x) + block.branch(x))


def test_blocks_drop_whole_maps_of_faces_and_single_features_of_texts_in_training_only():
    kinds = {
        nn.Dropout2d: (face_encoder(6, width=4), face_decoder(6, width=4)),
        nn.Dropout: (text_encoder(6, 9, width=4), text_decoder(6, 9, width=4)),
    }
    for kind, networks in kinds.items():
        for network in networks:
            dropped = [m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
            assert dropped
            assert all(type(m) is kind and m.p == 0.5 for m in dropped)
    x = torch.rand(2, *FACE)
    encoder = kinds[nn.Dropout2d][0]
    assert torch.equal(encoder.eval()(x)[0], encoder(x)[0])
    assert not torch.equal(encoder.train()(x)[0], encoder(x)[0])
    calm = face_encoder(6, width=4, dropout=0.0)
    assert torch.equal(calm(x)[0], calm(x)[0])


@pytest.mark.parametrize(
    "make",
    [
        face_encoder,
        face_decoder,
        lambda latent_dim: text_encoder(latent_dim, 9),
        lambda latent_dim: text_decoder(latent_dim, 9),
    ],
)
def test_a_latent_space_without_dimensions_is_refused(make):
    with pytest.raises(ValueError, match="latent_dim is 0"):
        make(0)
