"""Networks of MNIST-SVHN-Text: the released layers, counted and recomputed with plain Torch."""

import math

import pytest
import torch
from torch import nn

from multielbo.architectures.digits import (
    mnist_decoder,
    mnist_encoder,
    svhn_decoder,
    svhn_encoder,
    text_decoder,
    text_encoder,
)
from multielbo.data.mnist_svhn import ALPHABET
from multielbo.data.mnist_svhn import LENGTH as CHARACTERS
from multielbo.likelihoods import Categorical, Laplace
from multielbo.networks import seeded
from multielbo.setups import mnist_svhn, mnist_svhn_text
from multielbo.setups.setup import dimension_weights

D = 20
SHAPES = {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8, 71)}
ENCODERS = {"mnist": mnist_encoder, "svhn": svhn_encoder, "text": text_encoder}
DECODERS = {"mnist": mnist_decoder, "svhn": svhn_decoder, "text": text_decoder}

# Inputs and outputs of the released layers, with the cells of their kernels, first to last.
CONVOLUTIONS = [(3, 32, 16), (32, 64, 16), (64, 64, 16), (64, 128, 16)]
LAYERS = {
    "mnist": ([(784, 400, 1), (400, 2 * D, 1)], [(D, 400, 1), (400, 784, 1)]),
    "svhn": (
        [*CONVOLUTIONS, (128, 2 * D, 1)],
        [(D, 128, 1), *((target, source, cells) for source, target, cells in CONVOLUTIONS[::-1])],
    ),
    "text": (
        [(71, 128, 1), (128, 128, 4), (128, 128, 4), (128, 2 * D, 1)],
        [(D, 128, 1), (128, 128, 4), (128, 128, 4), (128, 71, 1)],
    ),
}
COUNTS = {"mnist": (330_040, 322_784), "svhn": (236_360, 233_763), "text": (145_704, 143_175)}


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SHAPES)
def test_the_networks_have_the_parameters_of_the_released_layers(name):
    networks = ENCODERS[name](D), DECODERS[name](D)
    for network, layers, count in zip(networks, LAYERS[name], COUNTS[name], strict=True):
        expected = sum((source * cells + 1) * target for source, target, cells in layers)
        assert size(network) == expected == count


@pytest.mark.parametrize("latent_dim", [1, 20])
@pytest.mark.parametrize("name", SHAPES)
def test_posteriors_and_likelihoods_have_the_shapes_of_latents_and_data(
    name, latent_dim, generator
):
    encoder, decoder = ENCODERS[name](latent_dim), DECODERS[name](latent_dim)
    x = torch.rand(4, *SHAPES[name], generator=generator)
    loc, scale = encoder(x)
    assert encoder.shape == SHAPES[name]
    assert loc.shape == scale.shape == (4, latent_dim)
    assert scale.min() > 0
    assert decoder(loc).shape == x.shape
    assert decoder(torch.stack([loc] * 3)).shape == (3, *x.shape)
    width = encoder.posterior.in_features
    assert encoder.features(x).shape == (4, width)


@pytest.mark.parametrize("network", [*ENCODERS.values(), *DECODERS.values()])
def test_a_latent_space_without_dimensions_is_refused(network):
    with pytest.raises(ValueError, match="at least 1 dimension"):
        network(0)


def forward(name: str, weights: list[torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """A released decoder by functions of Torch, from the weights and biases of its four layers."""
    f = nn.functional
    w = list(zip(weights[::2], weights[1::2], strict=True))
    if name == "mnist":
        return f.linear(f.linear(z, *w[0]).relu(), *w[1]).sigmoid().reshape(-1, 1, 28, 28)
    if name == "svhn":
        x = f.linear(z, *w[0]).relu()[:, :, None, None]
        x = f.conv_transpose2d(x, *w[1]).relu()
        for part in w[2:4]:
            x = f.conv_transpose2d(x, *part, stride=2, padding=1).relu()
        return f.conv_transpose2d(x, *w[4], stride=2, padding=1)
    x = f.linear(z, *w[0])[:, :, None]
    x = f.conv_transpose1d(x, *w[1]).relu()
    x = f.conv_transpose1d(x, *w[2], stride=2, padding=1).relu()
    return f.conv1d(x, *w[3]).mT


@pytest.mark.parametrize("name", SHAPES)
def test_decoders_compute_what_the_released_layers_compute(name, generator):
    with seeded(0):
        decoder = DECODERS[name](D).double()
    z = torch.randn(5, D, generator=generator, dtype=torch.float64)
    reference = forward(name, list(decoder.parameters()), z)
    torch.testing.assert_close(decoder(z), reference)
    if name == "text":
        twin = nn.Sequential(decoder.network[0], nn.ReLU(), *decoder.network[1:])
        assert not torch.allclose(twin(z), reference)


def test_the_sigmoid_bounds_mnist_and_nothing_bounds_svhn(generator):
    z = 1e3 * torch.randn(4, D, generator=generator)
    with seeded(0):
        mnist, svhn = mnist_decoder(D)(z), svhn_decoder(D)(z)
    assert 0 <= mnist.min() < mnist.max() <= 1
    assert svhn.min() < -1
    assert svhn.max() > 2


def test_the_text_encoder_reads_along_the_text_and_not_along_the_alphabet(generator):
    """The twin that forgets to swap the axes has 8 input channels and refuses the text."""
    encoder = text_encoder(D).double()
    x = torch.rand(2, *SHAPES["text"], generator=generator, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="channels"):
        encoder.features[1:](x)
    shuffled = x[:, torch.tensor([7, 1, 2, 3, 4, 5, 6, 0])]
    assert not torch.allclose(encoder(x)[0], encoder(shuffled)[0])


# The set-ups


def test_each_likelihood_counts_as_many_dimensions_as_svhn_has():
    weights = mnist_svhn_text.setup().likelihood_weights
    assert weights == {"mnist": 3072 / 784, "svhn": 1.0, "text": 3072 / 8}
    assert mnist_svhn.setup().likelihood_weights == {"mnist": 3072 / 784, "svhn": 1.0}


def test_counting_the_alphabet_would_weigh_the_text_by_a_seventy_first():
    """The twin: the paper's ratio of dimensions leaves open what a text's dimensions are."""
    twin = dimension_weights(SHAPES)["text"]
    assert math.isclose(71 * twin, mnist_svhn_text.setup().likelihood_weights["text"])


def test_the_set_up_has_the_released_networks_and_likelihoods():
    setup = mnist_svhn_text.setup()
    assert list(setup.modalities) == ["mnist", "svhn", "text"]
    for name, modality in setup.modalities.items():
        assert (size(modality.encoder(D)), size(modality.decoder(D))) == COUNTS[name]
        expected = Categorical() if name == "text" else Laplace(0.75)
        assert modality.likelihood == expected
    assert SHAPES["text"] == (CHARACTERS, len(ALPHABET))
    assert list(mnist_svhn.setup().modalities) == ["mnist", "svhn"]


def test_a_decoder_that_knows_nothing_says_each_symbol_with_one_chance_in_71(generator):
    decoder = text_decoder(D).double()
    for parameter in decoder.parameters():
        nn.init.zeros_(parameter)
    z = torch.randn(3, D, generator=generator, dtype=torch.float64)
    symbols = torch.randint(71, (3, 8), generator=generator)
    x = nn.functional.one_hot(symbols, 71).double()
    expected = torch.full((3,), -8 * math.log(71), dtype=torch.float64)
    torch.testing.assert_close(Categorical().log_prob(decoder(z), x), expected)
