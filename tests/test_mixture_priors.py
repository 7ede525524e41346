"""Mixture priors against torch.distributions; linear decoders under them against quadrature."""

import math

import pytest
import torch
from torch import distributions as td

from multielbo import gaussians, linear_data
from multielbo.mixture_factors import PRIORS, MixtureFactors, fit
from multielbo.mixture_priors import MixturePrior, TrainableMixture, mixture_of, standard_normal
from multielbo.networks import seeded


@pytest.fixture
def prior(generator):
    loc = 2 * torch.randn(3, 2, generator=generator).double()
    scale = 0.3 + torch.rand(3, 2, generator=generator).double()
    return MixturePrior(loc, scale, torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64))


@pytest.fixture
def model(prior, generator):
    w = torch.randn(4, 2, generator=generator).double()
    return MixtureFactors(w, torch.randn(4, generator=generator).double(), prior, 0.5)


def independent(prior):
    components = td.Independent(td.Normal(prior.loc, prior.scale), 1)
    return td.MixtureSameFamily(td.Categorical(prior.weights), components)


@pytest.mark.equation("eq-mixture-prior")
def test_density_is_that_of_torch(prior, generator):
    z = 3 * torch.randn(50, 2, generator=generator).double()
    torch.testing.assert_close(prior.log_density(z), independent(prior).log_prob(z))
    heavier = prior._replace(weights=torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    assert (prior.log_density(z) - heavier.log_density(z)).abs().max() > 0.1


def test_a_mixture_of_one_is_the_usual_prior(generator):
    z = torch.randn(50, 3, generator=generator).double()
    one = standard_normal(3, dtype=torch.float64)
    torch.testing.assert_close(one.log_density(z), gaussians.log_prior(z))


@pytest.mark.equation("eq-prior-responsibility")
def test_responsibilities_are_the_share_of_each_component_in_the_gradient(prior, generator):
    z = torch.randn(20, 2, generator=generator).double()
    logits = prior.weights.log().requires_grad_()
    weighted = prior._replace(weights=logits.exp())
    gradient = torch.autograd.functional.jacobian(
        lambda a: prior._replace(weights=a.exp()).log_density(z), logits.detach()
    )
    torch.testing.assert_close(weighted.responsibilities(z).detach(), gradient)
    torch.testing.assert_close(prior.responsibilities(z).sum(-1), torch.ones(20).double())


def test_draws_have_the_moments_of_the_mixture(prior, generator):
    z, chosen = prior.sample(40_000, generator)
    reference = independent(prior)
    error = reference.variance.sqrt() / 40_000**0.5
    assert ((z.mean(0) - reference.mean).abs() < 5 * error).all()
    share = chosen.bincount(minlength=3) / 40_000
    assert ((share - prior.weights).abs() < 5 * 0.5 / 40_000**0.5).all()


def test_a_component_of_weight_zero_is_never_read(prior, generator):
    z = torch.randn(20, 2, generator=generator).double()
    two = MixturePrior(
        prior.loc[:2], prior.scale[:2], torch.tensor([0.6, 0.4], dtype=torch.float64)
    )
    values, gradients = [], []
    for loc, scale in [(5.0, 1.0), (math.nan, math.nan), (math.inf, 0.0)]:
        spare = [
            torch.cat([x, torch.full((1, 2), v).double()])
            for x, v in zip(two[:2], (loc, scale), strict=True)
        ]
        weights = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
        leaves = [x.requires_grad_() for x in (*spare, weights)]
        three = MixturePrior(*leaves).checked()
        density = three.log_density(z)
        values.append(density)
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(density.sum(), leaves)])
        )
        assert (three.responsibilities(z)[:, 2] == 0).all()
        assert set(three.sample(200, generator)[1].tolist()) == {0, 1}
    for value, gradient in zip(values, gradients, strict=True):
        torch.testing.assert_close(value, two.log_density(z))
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.5, 0.5, 0.5], "are no probabilities"),
        ([0.0, 0.0, 0.0], "are no probabilities"),
        ([1.5, -0.5, 0.0], "are no probabilities"),
        ([math.nan, 0.5, 0.5], "are no probabilities"),
    ],
)
def test_weights_that_are_no_probabilities_are_refused(weights, said, prior):
    with pytest.raises(ValueError, match=said):
        prior._replace(weights=torch.tensor(weights, dtype=torch.float64)).checked()


def test_components_that_are_no_gaussians_are_refused(prior):
    for scale in (0.0, -1.0, math.nan, math.inf):
        wrong = prior.scale.clone()
        wrong[1, 0] = scale
        with pytest.raises(ValueError, match="a scale is not positive"):
            prior._replace(scale=wrong).checked()
    with pytest.raises(ValueError, match="a mean is not finite"):
        prior._replace(loc=prior.loc * math.nan).checked()
    with pytest.raises(ValueError, match=r"expected \(K, D\)"):
        prior._replace(loc=prior.loc[:2]).checked()
    for sizes in ((0, 2), (2, 0)):
        with pytest.raises(ValueError, match="each at least 1"):
            TrainableMixture(*sizes)


def test_a_trainable_mixture_trains_and_can_share_its_scales():
    with seeded(0):
        free, tied = TrainableMixture(3, 2), TrainableMixture(3, 2, shared_scale=True)
    for module, rows in ((free, 3), (tied, 1)):
        prior = module().checked()
        assert module.log_scale.shape == (rows, 2)
        prior.log_density(torch.ones(1, 2)).sum().backward()
        assert all((p.grad != 0).any() for p in module.parameters())


def test_seeds_side_by_side_are_seeds_one_by_one(generator):
    loc, log_scale = torch.randn(2, 4, 3, 2, generator=generator).double()
    logits = torch.randn(4, 3, generator=generator).double()
    z = torch.randn(4, 7, 2, generator=generator).double()
    together = mixture_of(loc, log_scale, logits).log_density(z)
    for r in range(4):
        alone = mixture_of(loc[r], log_scale[r], logits[r]).log_density(z[r])
        torch.testing.assert_close(together[r], alone)


@pytest.mark.equation("eq-linear-mixture-evidence")
def test_evidence_and_posterior_mean_are_those_of_quadrature(model, generator):
    z, _ = model.prior.sample(3, generator)
    x = z @ model.loadings.T + model.offset + 0.5
    axis = torch.linspace(-16, 16, 641, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mean = grid @ model.loadings.T + model.offset
    noise = torch.full_like(mean, 0.5)
    for row in x:
        joint = model.prior.log_density(grid) + gaussians.log_density(row, mean, noise)
        mass = joint.logsumexp(0) + 2 * (axis[1] - axis[0]).log()
        torch.testing.assert_close(model.log_evidence(row[None])[0], mass)
        torch.testing.assert_close(model.posterior_mean(row[None])[0], joint.softmax(0) @ grid)


def test_linear_decoders_do_not_read_a_component_of_weight_zero(model, generator):
    x = torch.randn(10, 4, generator=generator).double()
    nothing = torch.full((1, 2), math.nan, dtype=torch.float64)
    loc, scale, weights = model.prior
    spare = MixturePrior(
        torch.cat([loc, nothing]),
        torch.cat([scale, nothing]),
        torch.cat([weights, weights[:1] * 0]),
    )
    wider = MixtureFactors(model.loadings, model.offset, spare, model.noise)
    torch.testing.assert_close(wider.log_evidence(x), model.log_evidence(x))
    torch.testing.assert_close(wider.posterior_mean(x), model.posterior_mean(x))


def test_with_the_normal_prior_the_fit_is_probabilistic_principal_components(generator):
    x = (
        torch.randn(200, 2, generator=generator).double()
        @ torch.randn(2, 4, generator=generator).double()
    )
    x = x + 0.5 * torch.randn(200, 4, generator=generator).double()
    found = fit(x, 2, "normal", 1, 0.5, range(2), 200)
    best = linear_data.likeliest(x[None], torch.ones(1, 4, dtype=torch.bool), 2, 0.5)
    level = linear_data.log_likelihood(best, x[None])
    torch.testing.assert_close(found.log_evidence(x).mean(-1), level.expand(2), rtol=0, atol=1e-5)
    assert (found.loadings[0] - found.loadings[1]).abs().max() > 0.1, "each turned its own way"


def test_a_mixture_prior_reaches_at_least_the_likelihood_of_fewer_freedoms(model, generator):
    z, _ = model.prior.sample(300, generator)
    x = z @ model.loadings.T + 0.5 * torch.randn(300, 4, generator=generator).double()
    levels = [fit(x, 2, p, 3, 0.5, [0, 1], 150).log_evidence(x).mean(-1).max() for p in PRIORS]
    assert levels[0] < levels[1] < levels[2]
    with pytest.raises(ValueError, match="no prior 'cauchy'; choose from normal"):
        fit(x, 2, "cauchy", 3, 0.5, [0], 1)
