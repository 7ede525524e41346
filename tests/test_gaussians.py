"""Diagonal Gaussians, against torch.distributions, quadrature and POT."""

import ot
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from multielbo import gaussians


@pytest.fixture
def pair(generator):
    shape = (2, 6, 3)
    loc = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = torch.randn(shape, generator=generator, dtype=torch.float64).exp()
    return loc[0], scale[0], loc[1], scale[1]


@pytest.mark.equation("eq-gaussian-density")
def test_log_density_is_that_of_torch_distributions(pair):
    loc, scale, z, _ = pair
    reference = Independent(Normal(loc, scale), 1).log_prob(z)
    torch.testing.assert_close(gaussians.log_density(z, loc, scale), reference)


@pytest.mark.equation("eq-gaussian-density")
def test_density_integrates_to_one_and_a_variance_in_place_of_a_scale_is_caught():
    z = torch.linspace(-30, 30, 20_001, dtype=torch.float64)[:, None]
    loc, scale = torch.tensor([0.7], dtype=torch.float64), torch.tensor([1.9], dtype=torch.float64)
    density = gaussians.log_density(z, loc, scale).exp()
    torch.testing.assert_close(torch.trapezoid(density, z[:, 0]), torch.ones_like(loc)[0])
    variance = torch.trapezoid(density * (z[:, 0] - loc) ** 2, z[:, 0])
    torch.testing.assert_close(variance, scale[0] ** 2)
    mistaken = gaussians.log_density(z, loc, scale**2).exp()
    spread = torch.trapezoid(mistaken * (z[:, 0] - loc) ** 2, z[:, 0])
    assert not torch.isclose(spread, scale[0] ** 2, rtol=0.1)


@pytest.mark.equation("eq-gaussian-kl")
def test_kl_is_that_of_torch_distributions(pair):
    loc_q, scale_q, loc_p, scale_p = pair
    q, p = Independent(Normal(loc_q, scale_q), 1), Independent(Normal(loc_p, scale_p), 1)
    torch.testing.assert_close(gaussians.kl(*pair), kl_divergence(q, p))


@pytest.mark.equation("eq-gaussian-kl")
def test_kl_with_its_arguments_swapped_is_another_number(pair):
    loc_q, scale_q, loc_p, scale_p = pair
    swapped = gaussians.kl(loc_p, scale_p, loc_q, scale_q)
    assert not torch.allclose(gaussians.kl(*pair), swapped, rtol=1e-2)


@pytest.mark.equation("eq-gaussian-kl")
def test_kl_to_the_prior_is_kl_to_the_standard_normal(pair):
    loc, scale, *_ = pair
    prior = torch.zeros_like(loc), torch.ones_like(scale)
    torch.testing.assert_close(gaussians.kl_to_prior(loc, scale), gaussians.kl(loc, scale, *prior))


def test_entropy_is_that_of_torch_distributions(pair):
    loc, scale, *_ = pair
    reference = Independent(Normal(loc, scale), 1).entropy()
    torch.testing.assert_close(gaussians.entropy(scale), reference)


@pytest.mark.equation("eq-w2")
def test_w2_is_that_of_pot(pair):
    for mean_q, scale_q, mean_p, scale_p, distance in zip(
        *pair, gaussians.w2_squared(*pair), strict=True
    ):
        reference = ot.gaussian.bures_wasserstein_distance(
            mean_q, mean_p, torch.diag(scale_q**2), torch.diag(scale_p**2)
        )
        torch.testing.assert_close(distance, reference.squeeze() ** 2)


@pytest.mark.equation("eq-w2")
def test_distance_between_variances_is_not_w2(pair):
    loc_q, scale_q, loc_p, scale_p = pair
    mistaken = ((loc_q - loc_p) ** 2 + (scale_q**2 - scale_p**2).abs()).sum(-1)
    assert not torch.allclose(gaussians.w2_squared(*pair), mistaken, rtol=1e-2)


def test_draws_have_the_mean_and_spread_they_were_asked_for(generator):
    n = 200_000
    loc, scale = torch.tensor([3.0]), torch.tensor([0.25])
    z = gaussians.sample(loc.expand(n, 1), scale.expand(n, 1), generator)
    assert abs(z.mean() - 3) < 5 * 0.25 / n**0.5
    assert abs(z.std() - 0.25) < 5 * 0.25 / (2 * n) ** 0.5


def test_same_seed_same_draws_and_the_global_state_is_left_alone():
    loc, scale = torch.zeros(4, 2), torch.ones(4, 2)
    state = torch.random.get_rng_state()
    first, second = (gaussians.sample(loc, scale, torch.Generator().manual_seed(5)) for _ in "ab")
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())
    other = gaussians.sample(loc, scale, torch.Generator().manual_seed(6))
    assert not torch.equal(first, other)
