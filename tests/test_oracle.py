"""The oracle, against quadrature, SciPy and Bayes' rule: if it errs, every chapter errs with it."""

from itertools import chain, combinations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import MultivariateNormal, kl_divergence

from multielbo import gaussians
from multielbo.mixtures import Posteriors
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian

DIMS = {"image": 4, "sound": 3, "text": 2}
SUBSETS = list(chain.from_iterable(combinations(DIMS, size) for size in (1, 2, 3)))


@pytest.fixture
def oracle(generator):
    noise = {"image": 0.7, "sound": 1.1, "text": 0.4}
    return LinearGaussian.random(DIMS, 2, noise, orthogonal=False, generator=generator)


@pytest.fixture
def batch(oracle, generator):
    return oracle.sample(5, generator)


@pytest.mark.equation("eq-oracle-evidence")
@pytest.mark.parametrize("subset", SUBSETS)
def test_evidence_is_the_density_scipy_gives(oracle, batch, subset):
    x = torch.cat([batch[m] for m in subset], 1)
    w = torch.cat([oracle.loadings[m] for m in subset])
    noise = np.concatenate([np.full(DIMS[m], oracle.noise[m] ** 2) for m in subset])
    reference = stats.multivariate_normal(np.zeros(len(w)), (w @ w.T).numpy() + np.diag(noise))
    np.testing.assert_allclose(oracle.log_evidence(batch, subset), reference.logpdf(x), rtol=1e-10)


@pytest.mark.equation("eq-oracle")
@pytest.mark.equation("eq-oracle-evidence")
def test_evidence_is_the_integral_of_the_joint_density(generator):
    oracle = LinearGaussian.random({"a": 3, "b": 2}, 1, 0.8, generator=generator)
    batch = oracle.sample(1, generator)

    def joint(z):
        z = torch.tensor([[z]], dtype=torch.float64)
        return float((gaussians.log_prior(z) + oracle.log_likelihood(batch)(z).sum(0)).exp())

    integral, error = integrate.quad(joint, -8, 8, epsabs=0, epsrel=1e-12, limit=200)
    evidence = float(oracle.log_evidence(batch)[0])
    assert error < 1e-6 * integral
    assert abs(np.log(integral) - evidence) < 2 * error / integral + 1e-12 * abs(evidence)


@pytest.mark.equation("eq-oracle-posterior")
@pytest.mark.parametrize("subset", SUBSETS)
def test_bayes_rule_ties_posterior_to_evidence(oracle, batch, generator, subset):
    mean, covariance = oracle.posterior(batch, subset)
    z = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    log_posterior = MultivariateNormal(mean, covariance).log_prob(z)
    seen = {name: batch[name] for name in subset}
    log_joint = gaussians.log_prior(z) + oracle.log_likelihood(seen)(z).sum(0)
    torch.testing.assert_close(log_joint - log_posterior, oracle.log_evidence(batch, subset))
    forgot_the_prior = log_joint - gaussians.log_prior(z) - log_posterior
    assert not torch.allclose(forgot_the_prior, oracle.log_evidence(batch, subset))


@pytest.mark.equation("eq-elbo-gap")
@pytest.mark.parametrize("subset", SUBSETS)
def test_evidence_minus_elbo_is_the_posterior_kl(oracle, batch, subset):
    loc, covariance = torch.ones(5, 2, dtype=torch.float64), torch.tensor([[0.5, 0.2], [0.2, 0.9]])
    covariance = covariance.double()
    lost = oracle.log_evidence(batch, subset) - oracle.elbo(batch, loc, covariance, subset)
    torch.testing.assert_close(lost, oracle.gap(batch, loc, covariance, subset))
    q, p = MultivariateNormal(loc, covariance), MultivariateNormal(*oracle.posterior(batch, subset))
    torch.testing.assert_close(lost, kl_divergence(q, p))
    assert not torch.allclose(lost, kl_divergence(p, q), rtol=1e-2)  # the other direction


@pytest.mark.equation("eq-oracle-elbo")
def test_elbo_is_exact_at_the_posterior_and_lower_beside_it(oracle, batch):
    mean, covariance = oracle.posterior(batch)
    evidence = oracle.log_evidence(batch)
    torch.testing.assert_close(oracle.elbo(batch, mean, covariance), evidence)
    assert (oracle.elbo(batch, mean + 0.3, covariance) < evidence - 1e-3).all()
    assert (oracle.elbo(batch, mean, 1.5 * covariance) < evidence - 1e-3).all()


@pytest.mark.equation("eq-oracle-elbo")
def test_elbo_has_the_gradient_that_its_maximum_needs(oracle, batch):
    mean, covariance = oracle.posterior(batch)
    mean.requires_grad_()
    covariance = covariance.clone().requires_grad_()
    gradients = torch.autograd.grad(oracle.elbo(batch, mean, covariance).sum(), (mean, covariance))
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


@pytest.mark.equation("eq-joint-elbo")
@pytest.mark.equation("eq-beta-elbo")
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.5])
def test_one_sample_estimator_averages_to_the_weighted_closed_form(generator, beta):
    oracle = LinearGaussian.random(DIMS, 2, 0.9, generator=generator)
    n = 40_000
    batch = {name: x.expand(n, -1) for name, x in oracle.sample(1, generator).items()}
    loc = torch.tensor([[0.3, -0.8]]).double().expand(1, n, 2)
    scale = torch.tensor([[0.5, 1.2]]).double().expand(1, n, 2)
    q = Posteriors(loc, scale, torch.ones(1, n), torch.ones(1, 3, n, dtype=torch.bool))
    weights = torch.tensor([1.0, 2.0, 0.5]).double()
    bound = joint_elbo(q, oracle.log_likelihood(batch), generator)
    estimates = bound.elbo(beta, weights)
    one = {name: x[:1] for name, x in batch.items()}
    covariance = torch.diag(scale[0, 0] ** 2)
    rate = gaussians.kl_to_prior(loc[0, :1], scale[0, :1])
    parts = [oracle.elbo(one, loc[0, :1], covariance, [name]) + rate for name in DIMS]
    exact = sum(w * part for w, part in zip(weights, parts, strict=True)) - beta * rate
    standard_error = estimates.std() / n**0.5
    assert abs(estimates.mean() - exact) < 5 * standard_error
    unweighted = sum(parts) - beta * rate
    assert abs(estimates.mean() - unweighted) > 20 * standard_error


@pytest.mark.equation("eq-oracle")
def test_samples_have_the_covariance_of_the_model(oracle, generator):
    n = 200_000
    batch = oracle.sample(n, generator)
    x = torch.cat([batch["image"], batch["text"]], 1)
    w = torch.cat([oracle.loadings["image"], oracle.loadings["text"]])
    noise = torch.tensor([0.7] * 4 + [0.4] * 2).double()
    exact = w @ w.T + torch.diag(noise**2)
    standard_error = ((exact.diagonal()[:, None] * exact.diagonal() + exact**2) / n).sqrt()
    assert ((x.T @ x / n - exact).abs() < 5 * standard_error).all()
    assert ((x.T @ x / n - w @ w.T).abs() > 5 * standard_error).any()  # the noise is seen


def test_orthogonal_loadings_give_diagonal_posteriors_and_others_are_refused(oracle, generator):
    diagonal = LinearGaussian.random(DIMS, 2, 0.9, generator=generator)
    batch = diagonal.sample(3, generator)
    loc, scale = diagonal.unimodal_posteriors(batch)
    mean, covariance = diagonal.posterior(batch, ["sound"])
    torch.testing.assert_close(loc[1], mean)
    torch.testing.assert_close(torch.diag(scale[1, 0] ** 2), covariance, atol=1e-12, rtol=1e-10)
    with pytest.raises(ValueError, match="posterior of 'image' is not diagonal"):
        oracle.unimodal_posteriors(oracle.sample(3, generator))


def test_missing_modalities_score_zero(oracle, batch):
    z = torch.zeros(5, 2, dtype=torch.float64)
    scores = oracle.log_likelihood({"sound": batch["sound"]})(z)
    assert scores.shape == (3, 5)
    assert (scores[[0, 2]] == 0).all()
    assert (scores[1] != 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda o, b: o.posterior(b, ["smell"]),
            "no modality 'smell'; it knows image",
        ),
        (lambda o, b: o.posterior(b, []), "an empty subset"),
        (lambda o, b: LinearGaussian.random({"a": 1}, 2), "too few for 2 orthogonal columns"),
        (lambda o, b: LinearGaussian.random({"a": 1}, 0), "latent_dim is 0"),
    ],
)
def test_bad_input_gets_one_line(oracle, batch, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(oracle, batch)
    assert "\n" not in str(error.value)
