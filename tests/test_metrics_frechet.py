"""Frechet distances that are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Generator, Tensor, nn

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.data.multimodal import MultimodalData
from multielbo.likelihoods import Normal
from multielbo.metrics.frechet import (
    frechet_distance,
    frechet_distances,
    inception_features,
    moments,
)
from multielbo.metrics.latents import encode
from multielbo.networks import Decoder, Encoder
from multielbo.objectives import joint_elbo
from multielbo.subsets import full_set, powerset
from multielbo.vae import MultimodalVAE

WIDTH = 5


def gaussian(generator: Generator) -> tuple[Tensor, Tensor]:
    root = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    return torch.randn(WIDTH, generator=generator, dtype=torch.float64), root @ root.mT


def test_the_distance_is_that_of_scipys_matrix_root(generator):
    (loc, covariance), (other, spread) = gaussian(generator), gaussian(generator)
    shared = np.trace(np.real(sqrtm((covariance @ spread).numpy())))
    expected = (loc - other).square().sum() + covariance.trace() + spread.trace() - 2 * shared
    found = frechet_distance(loc, covariance, other, spread)
    assert float(found) == pytest.approx(float(expected), rel=1e-9)
    assert float(frechet_distance(other, spread, loc, covariance)) == pytest.approx(float(found))
    without_root = expected + 2 * shared  # the tempting forgetful twin
    assert float(without_root) > 1.5 * float(found)


def test_axis_aligned_gaussians_differ_by_means_and_standard_deviations(generator):
    loc, scale, other, spread = torch.rand(4, WIDTH, generator=generator, dtype=torch.float64)
    found = frechet_distance(loc, scale.square().diag(), other, spread.square().diag())
    expected = (loc - other).square().sum() + (scale - spread).square().sum()
    torch.testing.assert_close(found, expected)


def test_moving_by_a_vector_costs_its_squared_length_and_staying_nothing(generator):
    features = torch.randn(50, WIDTH, generator=generator)
    step = torch.randn(WIDTH, generator=generator)
    assert float(frechet_distance(*moments(features), *moments(features))) == pytest.approx(
        0, abs=1e-7
    )
    moved = frechet_distance(*moments(features), *moments(features + step))
    assert float(moved) == pytest.approx(float(step.square().sum()), rel=1e-5)


def test_fewer_examples_than_features_are_no_obstacle(generator):
    few = torch.randn(4, 20, generator=generator)
    found = frechet_distance(*moments(few), *moments(3 * few))
    mean, covariance = moments(few)
    expected = 4 * mean.square().sum() + 4 * covariance.trace()  # standard deviations 1 and 3
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_several_are_compared_with_one_at_a_time(generator):
    one, *others = (gaussian(generator) for _ in range(3))
    loc, covariance = (torch.stack(part) for part in zip(*others, strict=True))
    apart = torch.stack([frechet_distance(*one, *other) for other in others])
    torch.testing.assert_close(frechet_distance(*one, loc, covariance), apart)


def test_moments_are_those_of_numpy(generator):
    features = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    mean, covariance = moments(features)
    np.testing.assert_allclose(mean, features.numpy().mean(0))
    np.testing.assert_allclose(covariance, np.cov(features.numpy().T))


# ---------------------------------------------------------------- of a model


class Pixels:
    """A judge whose features are the pixels."""

    def features(self, name: str, x: Tensor) -> Tensor:
        return x.flatten(1)


class Certain(nn.Module):
    """Puts a picture's pixels into the posterior's mean, without any doubt."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1), torch.full_like(x.flatten(1), -40)], 1)


@pytest.fixture
def data(generator) -> MultimodalData:
    pictures = torch.randint(256, (600, 1, 2, 2), generator=generator).to(torch.uint8)
    sound = pictures.flatten(1) / 255
    parts = {"x": pictures, "y": pictures, "sound": sound}
    return MultimodalData("dots-test", parts, torch.zeros(600, dtype=torch.int64))


@pytest.fixture
def copier(data) -> MultimodalVAE:
    """All modalities are one observation, and the latent is it."""
    encoders, decoders = {}, {}
    for name, shape in data.shapes.items():
        encoders[name] = Encoder(Certain(), shape, 8, 4)
        encoders[name].posterior = nn.Identity()
        decoders[name] = Decoder(nn.Unflatten(1, shape), 4)
    likelihoods = dict.fromkeys(data.shapes, Normal(1.0))
    aggregator = Aggregator(product_of_experts(prior_expert=False), full_set)
    model = MultimodalVAE(encoders, decoders, likelihoods, aggregator, joint_elbo, 4)
    model.scale = nn.Parameter(torch.ones(()))  # tells where the model is, and its type
    return model


def test_perfect_copies_are_at_no_distance_and_the_prior_at_its_own(data, copier, generator):
    given, prior = frechet_distances(
        copier, Pixels(), data, *encode(copier, data), powerset(3)[:-1], generator
    )
    assert given.shape == (3, 2)
    assert float(given[:2].max()) < 1e-3
    # The prior is standard normal, and the pixels are uniform between 0 and 1.
    expected = 4 * (0.5**2 + (1 - 12**-0.5) ** 2)
    assert prior[:2].tolist() == pytest.approx([expected] * 2, rel=0.1)
    assert bool(given[2].isnan().all())  # the sound is no picture
    assert bool(prior[2].isnan())


def test_inception_without_its_weights_says_where_they_are_from(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="download torch-fidelity's weights") as error:
        inception_features(torch.zeros(2, 3, 8, 8).byte(), tmp_path / "weights.pth")
    assert "\n" not in str(error.value)
