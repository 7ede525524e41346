"""Networks: published parameter counts, shapes, and first weights that depend on the seed alone."""

import pytest
import torch
from torch import nn

from multielbo import networks
from multielbo.barycenters import product
from multielbo.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder, seeded
from multielbo.upsampling import Upsampling

POLYMNIST, POLYDIGITS = (3, 28, 28), (3, 16, 16)


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_convolutional_encoders_have_the_published_parameter_counts():
    features = (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 128
    assert size(conv_encoder(POLYMNIST, 512)) == features + 2 * (2048 * 512 + 512) == 2_191_424
    released = features + 2048 * 512 + 512 + 2 * (512 * 512 + 512)
    assert size(conv_encoder(POLYMNIST, 512, hidden=(512,))) == released == 1_667_648


def test_convolutional_decoder_has_the_published_parameter_count():
    upward = (128 * 9 * 64 + 64) + (64 * 9 * 32 + 32) + (32 * 9 * 3 + 3)
    assert size(conv_decoder(POLYMNIST, 512)) == 512 * 2048 + 2048 + upward == 1_143_747


def test_five_modalities_have_as_many_parameters_as_the_paper_that_counts_them():
    assert 5 * (size(conv_encoder(POLYMNIST, 512)) + size(conv_decoder(POLYMNIST, 512))) == (
        16_675_855
    )


@pytest.mark.parametrize("channels", [(32, 64, 128), (8, 16)])
@pytest.mark.parametrize("shape", [POLYMNIST, POLYDIGITS, (1, 28, 28), (3, 15, 22), (2, 9, 5)])
def test_convolutional_networks_fit_pictures_of_any_size(shape, channels, generator):
    x = torch.rand(4, *shape, generator=generator)
    loc, scale = conv_encoder(shape, 6, channels)(x)
    assert loc.shape == scale.shape == (4, 6)
    assert conv_decoder(shape, 6, channels)(loc).shape == x.shape


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_perceptrons_fit_examples_of_any_shape(hidden, generator):
    x = torch.rand(4, 3, 2, generator=generator)
    loc, scale = mlp_encoder((3, 2), 6, hidden)(x)
    assert loc.shape == scale.shape == (4, 6)
    assert mlp_decoder((3, 2), 6, hidden)(loc).shape == x.shape


def test_a_perceptron_without_hidden_layers_is_linear(generator):
    x = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    middle = x.mean(0, keepdim=True)
    encoder, decoder = mlp_encoder((5,), 4).double(), mlp_decoder((3,), 5).double()
    torch.testing.assert_close(encoder(middle)[0], encoder(x)[0].mean(0, keepdim=True))
    torch.testing.assert_close(decoder(middle), decoder(x).mean(0, keepdim=True))
    curved = mlp_decoder((3,), 5, hidden=(50,)).double()
    assert not torch.allclose(curved(2 * x - x.flip(0)), 2 * curved(x) - curved(x.flip(0)))


@pytest.mark.parametrize("build", [conv_decoder, mlp_decoder])
def test_a_decoder_treats_leading_axes_as_a_batch(build, generator):
    decoder = build(POLYDIGITS, 5).double()
    z = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    stacked = torch.stack([decoder(part) for part in z.flatten(0, 1)]).unflatten(0, (2, 3))
    torch.testing.assert_close(decoder(z), stacked)
    torch.testing.assert_close(decoder(z)[0, 1, 2], decoder(z[0, 1, 2]))


def test_nothing_squashes_the_decoder(generator):
    z = 1e3 * torch.randn(4, 5, generator=generator)
    with seeded(0):
        decoded = conv_decoder(POLYDIGITS, 5)(z)
    assert decoded.min() < -1
    assert decoded.max() > 2


@pytest.mark.parametrize("log_var", [-40.0, 0.0, 40.0])
def test_scale_is_the_exponential_of_half_the_log_variance_and_is_not_clamped(log_var, generator):
    encoder = mlp_encoder((3,), 2)
    with torch.no_grad():
        encoder.posterior.weight.zero_()
        encoder.posterior.bias.copy_(torch.tensor([1.0, 2.0, log_var, log_var]))
    loc, scale = encoder(torch.rand(4, 3, generator=generator))
    torch.testing.assert_close(loc, torch.tensor([1.0, 2.0]).expand(4, 2))
    torch.testing.assert_close(scale.double().log(), torch.full((4, 2), log_var / 2).double())
    scale.log().sum().backward()
    torch.testing.assert_close(encoder.posterior.bias.grad[2:], torch.full((2,), 2.0))


def test_under_autocast_the_posterior_keeps_the_precision_of_the_data(generator):
    with torch.autocast("cpu", torch.bfloat16):
        loc, scale = conv_encoder(POLYDIGITS, 4)(torch.rand(2, *POLYDIGITS, generator=generator))
    assert loc.dtype == scale.dtype == torch.float32


def test_weights_depend_on_the_seed_alone_and_the_global_generator_does_not_move():
    before = torch.random.get_rng_state()
    with seeded(1):
        first = conv_encoder(POLYDIGITS, 4)
    with seeded(1):
        second = conv_encoder(POLYDIGITS, 4)
    with seeded(2):
        other = conv_encoder(POLYDIGITS, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.posterior.weight, second.posterior.weight)
    assert not torch.equal(first.posterior.weight, other.posterior.weight)


@pytest.mark.parametrize("build", [conv_encoder, conv_decoder, mlp_encoder, mlp_decoder])
@pytest.mark.parametrize("latent_dim", [0, -3])
def test_a_latent_space_without_dimensions_is_refused_in_one_line(build, latent_dim):
    with pytest.raises(ValueError, match=f"^latent_dim is {latent_dim}; .* at least 1") as bad:
        build(POLYDIGITS, latent_dim)
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize("extra", [0, 1, (0, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsampling_is_the_transposed_convolution_of_torch(extra, layout, generator):
    with seeded(0):
        ours = Upsampling(6, 4, 3, 2, 1, extra).double().to(memory_format=layout)
        theirs = nn.ConvTranspose2d(6, 4, 3, 2, 1, extra).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, 5, 4, generator=generator, dtype=torch.float64)
    x = x.to(memory_format=layout).requires_grad_()
    found, reference = ours(x), theirs(x)
    torch.testing.assert_close(found, reference)
    towards = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for gradient, expected in zip(
        torch.autograd.grad(found, [x, *ours.parameters()], towards),
        torch.autograd.grad(reference, [x, *theirs.parameters()], towards),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected)
    flipped = torch.nn.functional.conv_transpose2d(x, ours.weight.flip(2, 3), None, 2, 1, extra)
    assert not torch.allclose(found, flipped + ours.bias[:, None, None])
    assert torch.autograd.gradcheck(ours, x)


def test_upsampling_under_autocast_is_torchs_to_the_precision_of_bfloat16(generator):
    x = torch.randn(2, 6, 5, 5, generator=generator)
    with seeded(0), torch.autocast("cpu", torch.bfloat16):
        layer = Upsampling(6, 4, 3, 2, 1)
        found = layer(x.bfloat16())
    reference = super(Upsampling, layer).forward(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), reference, rtol=0, atol=2**-6)


@pytest.mark.parametrize("clamped", [True, False])
def test_an_expert_that_knows_nothing_leaves_the_gradient_of_a_product_finite(clamped, monkeypatch):
    """The twin without a limit loses it, while the product itself is still right."""
    if not clamped:
        monkeypatch.setattr(networks, "LARGEST_LOG_VARIANCE", float("inf"))
    encoder = mlp_encoder((2,), 1)
    torch.nn.init.zeros_(encoder.posterior.weight)
    encoder.posterior.bias = torch.nn.Parameter(torch.tensor([0.5, 200.0]))
    loc, scale = encoder(torch.zeros(3, 2))
    pooled, spread = product(loc[None], scale[None], torch.ones(1, 1), prior_exponent=1.0)
    (pooled + spread).sum().backward()
    assert torch.equal(spread, torch.ones(1, 3, 1)), "the prior alone speaks"
    assert bool(encoder.posterior.bias.grad.isfinite().all()) is clamped


def test_the_limit_of_the_spread_is_a_float32_number_that_can_be_squared_and_inverted():
    spread = torch.tensor(0.5 * networks.LARGEST_LOG_VARIANCE).exp()
    tiny = torch.finfo(torch.float32).tiny
    assert tiny < spread.square().reciprocal() < spread.square() < torch.finfo(torch.float32).max
