"""The inference gap on the toy: quadrature, the nearest Gaussian, flows, and what is shared."""

import math

import numpy as np
import pytest
import torch
import zuko
from scipy import integrate, stats
from torch.testing import assert_close

from multielbo import gaussians
from multielbo.networks import mlp_encoder, seeded
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian
from multielbo.quadrature import Plane, gaussian_gap
from multielbo.toy import GivenOne, Joint, correlation, fit_given_one, fit_joint, fit_shared


@pytest.fixture
def plane():
    return Plane(extent=12.0, side=241)


def rotated(plane, angle=0.6, widths=(0.4, 1.5)):
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )
    covariance = turn @ torch.diag(torch.tensor(widths, dtype=torch.float64) ** 2) @ turn.T
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    return normal.log_prob(plane.points), covariance


@pytest.mark.equation("eq-grid-evidence")
def test_the_plane_gives_the_oracles_evidence_and_posterior(plane, generator):
    oracle = LinearGaussian.random({"a": 3, "b": 2}, 2, orthogonal=False, generator=generator)
    batch = oracle.sample(3, generator)
    places = plane.points[:, None].expand(-1, 3, -1)
    log_joint = oracle.log_likelihood(batch)(places).sum(0).T + gaussians.log_prior(plane.points)
    assert_close(plane.evidence(log_joint), oracle.log_evidence(batch))
    posterior = plane.posterior(log_joint)
    mean, covariance = oracle.posterior(batch)
    exact = torch.distributions.MultivariateNormal(mean[:, None], covariance)
    assert_close(posterior, exact.log_prob(plane.points))
    assert_close(plane.expectation(posterior, plane.points), mean)
    assert plane.outside(posterior).abs().max() < 1e-12
    without_area = log_joint.logsumexp(-1)
    assert (without_area - oracle.log_evidence(batch)).abs().min() > 1


def test_the_plane_gives_scipys_integral_of_a_density_that_is_not_normal(plane):
    def log_joint(a, b):
        return -0.5 * a**2 - 2 * (b - 0.5 * a**2 + 1) ** 2 - 0.1 * b**4

    exact, _ = integrate.dblquad(lambda b, a: math.exp(log_joint(a, b)), -8, 8, -8, 8)
    found = plane.evidence(log_joint(*plane.points.unbind(-1)))
    assert math.isclose(found.item(), math.log(exact), rel_tol=1e-6)


def test_kl_on_the_plane_is_the_closed_form_of_gaussians(plane, dtype):
    loc, scale = (
        torch.tensor([[0.5, -0.3], [0.0, 0.4]], dtype=dtype),
        torch.tensor(0.8, dtype=dtype),
    )
    wide = torch.tensor([1.1, 0.7], dtype=dtype)
    log_p = gaussians.log_density(plane.points, loc[0], scale.expand(2))
    log_q = gaussians.log_density(plane.points, loc[1], wide)
    assert_close(plane.kl(log_p, log_q), gaussians.kl(loc[0], scale.expand(2), loc[1], wide))
    assert (plane.kl(log_q, log_p) - plane.kl(log_p, log_q)).abs() > 0.01
    assert_close(plane.entropy(log_q), gaussians.entropy(wide))


def test_mass_of_zero_costs_nothing(plane):
    log_p, _ = rotated(plane)
    cut = torch.where(plane.points[:, 0] > 0, log_p, -math.inf)
    assert plane.kl(plane.posterior(cut), log_p).isfinite()
    assert abs(plane.kl(plane.posterior(cut), log_p) - math.log(2)) < 0.05
    assert plane.kl(log_p, plane.posterior(cut)) == math.inf


@pytest.mark.equation("eq-gaussian-gap")
def test_gap_of_a_slanted_gaussian_is_the_one_that_its_correlation_gives(plane):
    log_p, covariance = rotated(plane)
    loc, scale, gap = gaussian_gap(plane, log_p)
    correlated = covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt()
    assert_close(gap, -0.5 * torch.log1p(-correlated.square()))
    assert_close(scale, covariance.diagonal().sqrt())
    assert_close(loc, torch.zeros_like(loc), atol=1e-12, rtol=0)
    log_q = gaussians.log_density(plane.points, loc, scale)
    assert_close(plane.kl(log_p, log_q), gap)


@pytest.mark.equation("eq-gaussian-gap")
def test_no_other_diagonal_gaussian_is_nearer(plane, generator, dtype):
    log_p, covariance = rotated(plane)
    loc, scale, gap = gaussian_gap(plane, log_p)
    for _ in range(50):
        moved = loc + 0.2 * torch.randn(2, generator=generator, dtype=dtype)
        stretched = scale * (0.2 * torch.randn(2, generator=generator, dtype=dtype)).exp()
        assert plane.kl(log_p, gaussians.log_density(plane.points, moved, stretched)) > gap
    # Wrong twin: the widths that minimise the other direction, from the precision's diagonal.
    narrow = torch.linalg.inv(covariance).diagonal().rsqrt()
    assert plane.kl(log_p, gaussians.log_density(plane.points, loc, narrow)) > gap + 0.1


def test_gap_of_a_diagonal_gaussian_is_zero(plane, dtype):
    log_p = gaussians.log_density(
        plane.points, torch.tensor([0.3, -0.8], dtype=dtype), torch.tensor([0.5, 0.9], dtype=dtype)
    )
    assert abs(gaussian_gap(plane, log_p)[2]) < 1e-10


@pytest.mark.parametrize(("extent", "side"), [(0.0, 10), (1.0, 1), (math.inf, 5)])
def test_a_plane_without_area_is_refused(extent, side):
    with pytest.raises(ValueError, match=r"^plane: extent"):
        Plane(extent, side)


@pytest.mark.equation("eq-correlation")
def test_correlation_is_scipys_and_blind_to_scale(generator, dtype):
    u = torch.randn(200, 1, generator=generator, dtype=dtype)
    v = 0.4 * u + torch.randn(200, 1, generator=generator, dtype=dtype)
    exact = stats.pearsonr(u[:, 0], v[:, 0]).statistic
    assert math.isclose(correlation(u, v), exact, rel_tol=1e-12)
    assert math.isclose(correlation(3 * u - 1, 0.1 * v + 7), exact, rel_tol=1e-12)
    uncentred = (
        ((u + 2) * (v + 2)).mean() / ((u + 2) ** 2).mean() ** 0.5 / ((v + 2) ** 2).mean() ** 0.5
    )
    assert abs(uncentred - exact) > 0.1


def test_correlation_of_two_functions_is_the_product_of_their_shares_between_classes(
    generator, dtype
):
    """Independent given a binary class: the lemma of the chapter, by Monte Carlo."""
    count = 400_000
    label = torch.randint(2, (count, 1), generator=generator)
    u = label + 0.5 * torch.randn(count, 1, generator=generator, dtype=dtype)
    v = -2 * label + 1.5 * torch.randn(count, 1, generator=generator, dtype=dtype)
    shares = math.sqrt(0.25 / (0.25 + 0.25)) * math.sqrt(1 / (1 + 2.25))
    standard_error = 1 / math.sqrt(count)
    assert abs(abs(correlation(u, v)) - shares) < 4 * standard_error


def test_posterior_through_a_flow_is_a_density_and_samples_follow_it(generator):
    plane = Plane(extent=8.0, side=321)
    with seeded(3):
        q = GivenOne(
            mlp_encoder((4,), 2, (8,)), zuko.flows.MAF(2, 0, transforms=2, hidden_features=(16, 16))
        )
        for p in q.flow.parameters():
            p.data.mul_(1.5)  # so that the flow bends
    q = q.double().requires_grad_(False)
    x = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    log_q = q.log_density(plane.points, x)
    assert abs(plane.outside(log_q)) < 1e-3
    without = gaussians.log_density(q.flow().transform(plane.points), *q.encoder(x))
    assert abs(plane.outside(without)) > 0.02
    draws = q.sample(x.expand(20_000, -1), generator)
    for values, at in ((draws, plane.points), (draws**2, plane.points**2)):
        standard_error = values.std(0) / len(values) ** 0.5
        assert ((values.mean(0) - plane.expectation(log_q, at)).abs() < 5 * standard_error).all()


def test_elbo_of_the_joint_model_is_the_books(generator):
    from multielbo.mixtures import Posteriors
    from multielbo.toy import LIKELIHOOD

    with seeded(0):
        model = Joint((2, 6, 6), width=8)
    x = torch.rand(5, 2, 6, 6, generator=generator)
    loc, scale = model.encoder(x)
    ones = torch.ones(1, 5)
    q = Posteriors(loc[None], scale[None], ones, ones[:, None].bool())

    def score(z, wanted=None):
        return LIKELIHOOD.log_prob(model.decoder(z), x)[None]

    book = joint_elbo(q, score, torch.Generator().manual_seed(1)).elbo()
    assert_close(model.elbo(x, torch.Generator().manual_seed(1)), book)
    squares = model.log_likelihood(torch.zeros(3, 2), x[:, 0], 0)
    assert squares.shape == (5, 3)
    errors = (model.decoder(torch.zeros(1, 2))[0, 0] - x[:, 0]).square().sum((1, 2))
    assert_close(squares[:, 0], -errors - 18 * math.log(math.pi))


def test_second_stage_ends_at_the_average_of_the_joint_posteriors(generator):
    """Two joint posteriors for one and the same x: the best Gaussian matches their mixture."""
    count = 2000
    side = (torch.arange(count) % 2 * 2 - 1).float()
    loc = torch.stack([1.5 * side, torch.zeros(count)], 1)
    scale = torch.full((count, 2), 0.5)
    with seeded(0):
        q = GivenOne(mlp_encoder((1,), 2, (32,)))
    fit_given_one(q, torch.ones(count, 1), loc, scale, seed=0, steps=400)
    mean, width = q.encoder(torch.ones(1, 1))
    assert mean.abs().max() < 0.1
    assert_close(width[0], torch.tensor([math.sqrt(1.5**2 + 0.25), 0.5]), rtol=0.05, atol=0)


def test_fits_repeat_with_their_seed_and_leave_the_global_generator_alone(generator):
    x = torch.rand(80, 2, 8, 8, generator=generator)
    state = torch.get_rng_state()
    first, again = (fit_joint(x, 5, 3, width=8) for _ in range(2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
    projectors = fit_shared(x, 5, 3, width=8)
    assert projectors[0](x[:, 0]).shape == (80, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert np.isfinite([p.sum() for g in projectors for p in g.parameters()]).all()
