"""Likelihoods, against torch.distributions, SciPy, quadrature and autograd."""

import math

import pytest
import scipy.stats
import torch
from torch import distributions

from multielbo.likelihoods import Bernoulli, Categorical, Laplace, Normal

SHAPE = (2, 5, 4)  # B = 2 examples of 5 x 4
LIKELIHOODS = [Normal(0.4), Laplace(0.75), Bernoulli(), Categorical()]


def observed(likelihood, generator):
    noise = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    match likelihood:
        case Bernoulli():
            return (noise > 0).double()
        case Categorical():
            return torch.nn.functional.one_hot(noise.argmax(-1), SHAPE[-1]).double()
    return noise


def draws(generator, *leading):
    return torch.randn(*leading, *SHAPE, generator=generator, dtype=torch.float64)


def reference(likelihood, parameters):
    match likelihood:
        case Normal(scale):
            single = distributions.Normal(parameters, scale)
        case Laplace(scale):
            single = distributions.Laplace(parameters, scale)
        case Bernoulli():
            single = distributions.Bernoulli(logits=parameters)
        case Categorical():
            single = distributions.OneHotCategorical(logits=parameters)
    return distributions.Independent(single, 1 if isinstance(likelihood, Categorical) else 2)


@pytest.mark.parametrize("leading", [(), (3,), (3, 2)])
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_log_prob_is_per_example_that_of_torch_distributions(likelihood, leading, generator):
    parameters, x = draws(generator, *leading), observed(likelihood, generator)
    found = likelihood.log_prob(parameters, x)
    assert found.shape == (*leading, SHAPE[0])
    torch.testing.assert_close(found, reference(likelihood, parameters).log_prob(x))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_mean_is_the_expectation_and_keeps_the_shape(likelihood, generator):
    parameters = draws(generator, 3)
    torch.testing.assert_close(likelihood.mean(parameters), reference(likelihood, parameters).mean)


@pytest.mark.parametrize(
    ("likelihood", "density"),
    [(Normal(0.4), scipy.stats.norm), (Laplace(0.75), scipy.stats.laplace)],
)
def test_scale_is_the_one_that_scipy_calls_scale(likelihood, density, generator):
    parameters, x = draws(generator), observed(likelihood, generator)
    rows = density.logpdf(x.numpy(), parameters.numpy(), likelihood.scale).sum((1, 2))
    torch.testing.assert_close(likelihood.log_prob(parameters, x), torch.from_numpy(rows))


@pytest.mark.parametrize("scale", [0.1, 0.75, 3.0])
@pytest.mark.parametrize("family", [Normal, Laplace])
def test_density_integrates_to_one_and_one_without_its_scale_does_not(family, scale):
    x = torch.linspace(-60, 60, 240_001, dtype=torch.float64)[:, None]  # the kink is a node
    log_density = family(scale).log_prob(torch.zeros_like(x), x)
    area = torch.trapezoid(log_density.exp(), x[:, 0])
    torch.testing.assert_close(area, torch.ones_like(area), rtol=1e-5, atol=0)  # 1/12 (step/b)^2
    unscaled = torch.trapezoid((log_density + math.log(scale)).exp(), x[:, 0])
    assert abs(unscaled - 1) > 0.2


@pytest.mark.parametrize("symbols", [2, 5])
def test_probabilities_of_all_symbols_sum_to_one(symbols, generator):
    logits = torch.randn(1, symbols, generator=generator, dtype=torch.float64)
    every = torch.eye(symbols, dtype=torch.float64)
    total = Categorical().log_prob(logits.expand(symbols, -1), every).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total))
    both = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    total = Bernoulli().log_prob(logits[:, :1].expand(2, 1), both).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_the_average_over_pixels_is_another_number(likelihood, generator):
    parameters, x = draws(generator), observed(likelihood, generator)
    averaged = reference(likelihood, parameters).base_dist.log_prob(x).flatten(1).mean(1)
    assert not torch.allclose(likelihood.log_prob(parameters, x), averaged, rtol=0.5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_gradient_is_that_of_finite_differences(likelihood, generator):
    parameters, x = draws(generator, 2).requires_grad_(), observed(likelihood, generator)
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), parameters)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_gradient_is_finite_at_extreme_parameters(likelihood, generator):
    parameters = (1e4 * draws(generator)).float().requires_grad_()
    found = likelihood.log_prob(parameters, observed(likelihood, generator).float())
    found.sum().backward()
    assert found.isfinite().all()
    assert parameters.grad.isfinite().all()


def test_bfloat16_parameters_are_scored_in_the_precision_of_the_data(generator):
    parameters, x = draws(generator).bfloat16(), observed(Laplace(0.75), generator).float()
    found = Laplace(0.75).log_prob(parameters, x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, Laplace(0.75).log_prob(parameters.float(), x))


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("family", [Normal, Laplace])
def test_a_scale_that_is_not_positive_is_refused_in_one_line(family, scale):
    with pytest.raises(
        ValueError, match=f"^{family.__name__}: scale is .*; give a positive"
    ) as bad:
        family(scale)
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_an_observation_that_would_be_broadcast_is_refused_in_one_line(likelihood):
    with pytest.raises(ValueError, match=r"decoder returns \(2, 3, 4, 4\).*\(2, 1, 4, 4\)") as bad:
        likelihood.log_prob(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
    assert "\n" not in str(bad.value)
