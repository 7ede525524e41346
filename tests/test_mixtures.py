"""Mixtures: density, draws and divergences, against torch.distributions and quadrature."""

import math

import pytest
import torch
from scipy import integrate
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from multielbo import gaussians
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.mixtures import Posteriors, jensen_shannon, kl_of_mixture, mean_kl
from multielbo.subsets import powerset, singletons

COMPONENTS, EXAMPLES = 4, 5


def posteriors(loc, scale, weights):
    components, examples, _ = loc.shape
    members = torch.ones(components, components, examples, dtype=torch.bool)
    return Posteriors(loc, scale, weights, members)


@pytest.fixture
def q(generator, dtype):
    """Four components with weights of their own for each example, in three dimensions."""
    shape = (COMPONENTS, EXAMPLES, 3)
    loc = torch.randn(shape, generator=generator, dtype=dtype)
    scale = torch.rand(shape, generator=generator, dtype=dtype) + 0.3
    weights = torch.rand(shape[:2], generator=generator, dtype=dtype) + 0.1
    return posteriors(loc, scale, weights / weights.sum(0))


@pytest.fixture
def line(generator, dtype):
    """Four components in one dimension, where quadrature is exact enough to be the reference."""
    loc = 1.5 * torch.randn(COMPONENTS, EXAMPLES, 1, generator=generator, dtype=dtype)
    scale = torch.rand(COMPONENTS, EXAMPLES, 1, generator=generator, dtype=dtype) + 0.4
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=dtype)[:, None].expand(-1, EXAMPLES)
    return posteriors(loc, scale, weights)


def by_quadrature(integrand):
    """Integral over the line of a function of z with one value for each example."""
    values = []
    for b in range(EXAMPLES):

        def one(z, b=b):
            points = torch.full((EXAMPLES, 1), z, dtype=torch.float64)
            return float(integrand(points)[b])

        values.append(integrate.quad(one, -15, 15, epsabs=1e-11, limit=300)[0])
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def exact_kl(line):
    def integrand(z):
        log_q = line.log_density(z)
        return log_q.exp() * (log_q - gaussians.log_prior(z))

    return by_quadrature(integrand)


@pytest.fixture
def exact_jsd(line):
    def integrand(z):
        log_components = gaussians.log_density(z, line.loc, line.scale)
        ratio = log_components - line.log_density(z)
        return (line.weights * log_components.exp() * ratio).sum(0)

    return by_quadrature(integrand)


@pytest.mark.equation("eq-mixture-density")
def test_mixture_density_is_that_of_torch_distributions(q, generator, dtype):
    z = torch.randn(7, EXAMPLES, 3, generator=generator, dtype=dtype)
    components = Independent(Normal(q.loc.transpose(0, 1), q.scale.transpose(0, 1)), 1)
    reference = MixtureSameFamily(Categorical(q.weights.T), components).log_prob(z)
    torch.testing.assert_close(q.log_density(z), reference)
    of_logs = (q.weights * gaussians.log_density(z.unsqueeze(-3), q.loc, q.scale)).sum(-2)
    assert (of_logs < reference - 1e-3).all()  # the average of logs: a geometric mean


@pytest.mark.equation("eq-mixture-density")
def test_mixture_density_integrates_to_one(line):
    total = by_quadrature(lambda z: line.log_density(z).exp())
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.equation("eq-mixture-density")
def test_a_component_of_weight_zero_changes_neither_value_nor_gradient(q, generator, dtype):
    z = torch.randn(EXAMPLES, 3, generator=generator, dtype=dtype)
    nobody = torch.zeros(1, EXAMPLES, dtype=dtype)
    loc = torch.cat([q.loc, q.loc[:1] + 5]).requires_grad_()
    extended = Posteriors(
        loc, torch.cat([q.scale, q.scale[:1]]), torch.cat([q.weights, nobody]), q.members
    )
    torch.testing.assert_close(extended.log_density(z), q.log_density(z))
    extended.log_density(z).sum().backward()
    assert loc.grad.isfinite().all()
    assert (loc.grad[-1] == 0).all()
    assert (loc.grad[:-1] != 0).all()


def far_apart(weights):
    """Components that a draw cannot mistake: number k sits at k, with hardly any width."""
    components, examples = weights.shape
    loc = torch.arange(components, dtype=weights.dtype)[:, None, None].expand(-1, examples, 1)
    return posteriors(loc, torch.full_like(loc, 1e-3), weights)


def chosen(q, draws, generator):
    """Which component each draw came from, `(draws, B)`."""
    return torch.stack([q.sample(generator)[:, 0].round().long() for _ in range(draws)])


@pytest.mark.parametrize("zeros", [(), (0,), (2,), (3,), (0, 1, 2), (1, 3)])
def test_every_example_chooses_with_its_own_weights(q, generator, zeros):
    weights = q.weights.clone()
    weights[list(zeros), 0] = 0.0
    weights = weights / weights.sum(0)
    draws = 4000
    choice = chosen(far_apart(weights), draws, generator)
    frequency = torch.stack([(choice == k).double().mean(0) for k in range(COMPONENTS)])
    error = (weights * (1 - weights) / draws).sqrt()
    assert ((frequency - weights).abs() <= 5 * error).all()
    assert (frequency[list(zeros), 0] == 0).all()
    others_weights = weights[:, [1, 0, 3, 4, 2]]
    assert ((frequency - others_weights).abs() > 5 * error).any()


def test_no_shift_of_the_grid_chooses_a_component_of_weight_zero(monkeypatch):
    """In float32 weights add up to one only nearly: the first and the last shift are the risk."""
    weights = torch.full((12,), 0.1)
    weights[0] = weights[-1] = 0.0
    weights = weights / weights.sum()
    q = far_apart(weights[:, None])
    short = weights.cumsum(0)[-1]
    for shift in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand", lambda *size, shift=shift, **_: torch.tensor(shift))
        assert 1 <= int(q.sample()[0, 0].round()) <= 10
    assert short <= shift, "the weights of this test must fall short of one"


@pytest.mark.parametrize("batch", [2, 31, 256])
def test_a_batch_holds_each_component_as_often_as_its_weight_says_up_to_one(
    generator, dtype, batch
):
    weights = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=dtype)[:, None].expand(-1, batch)
    choice = chosen(far_apart(weights), 200, generator)
    counts = torch.stack([(choice == k).sum(1) for k in range(4)], 1)
    assert ((counts - batch * weights[:, 0]).abs() < 1).all()
    independent = torch.multinomial(weights[:, 0], 200 * batch, True, generator=generator)
    counts = torch.stack([(independent.view(200, batch) == k).sum(1) for k in range(4)], 1)
    assert ((counts - batch * weights[:, 0]).abs() >= 1).any()


def test_draws_have_the_mean_and_variance_of_the_mixture(line, generator):
    z = torch.stack([line.sample(generator) for _ in range(8000)])[..., 0]
    mean = (line.weights * line.loc[..., 0]).sum(0)
    second = (line.weights * (line.loc.square() + line.scale.square())[..., 0]).sum(0)
    for draws, expected in ((z, mean), (z.square(), second)):
        assert ((draws.mean(0) - expected).abs() < 5 * draws.std(0) / 8000**0.5).all()
    assert (second - mean.square() >= (line.weights * line.scale[..., 0].square()).sum(0)).all()


@pytest.mark.equation("eq-mean-kl")
def test_mean_kl_is_the_weighted_mean_of_torch_distributions(q):
    prior = Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))
    each = kl_divergence(Normal(q.loc, q.scale), prior).sum(-1)
    torch.testing.assert_close(mean_kl(q), (q.weights * each).sum(0))
    assert not torch.allclose(mean_kl(q), each.mean(0), rtol=1e-2)


@pytest.mark.equation("eq-kl-mixture")
def test_kl_of_mixture_meets_quadrature(line, exact_kl, generator):
    estimate, error = kl_of_mixture(line, 20_000, generator)
    assert ((estimate - exact_kl).abs() < 5 * error).all()
    assert (mean_kl(line) - exact_kl > 5 * error).all()  # the average of the components' is not it


@pytest.mark.equation("eq-jsd")
def test_jensen_shannon_meets_quadrature(line, exact_jsd, generator):
    estimate, error = jensen_shannon(line, 20_000, generator)
    assert ((estimate - exact_jsd).abs() < 5 * error).all()
    uniform = line._replace(weights=torch.full_like(line.weights, 1 / COMPONENTS))
    unweighted, _ = jensen_shannon(uniform, 20_000, generator)
    assert ((unweighted - exact_jsd).abs() > 5 * error).any()


@pytest.mark.equation("eq-mean-kl")
@pytest.mark.equation("eq-kl-mixture")
@pytest.mark.equation("eq-jsd")
def test_compensation_identity(line, exact_kl, exact_jsd):
    torch.testing.assert_close(mean_kl(line), exact_kl + exact_jsd)
    assert (exact_jsd > 0.05).all()  # else the divergence of the mixture would pass for the mean


@pytest.mark.equation("eq-jsd")
def test_jensen_shannon_is_at_most_the_entropy_of_the_weights(line, exact_jsd):
    entropy = -(line.weights * line.weights.log()).sum(0)
    assert (exact_jsd < entropy).all()
    assert (entropy < math.log(COMPONENTS)).all()


@pytest.mark.equation("eq-jsd")
def test_jensen_shannon_attains_the_entropy_when_components_do_not_overlap(line, generator):
    apart = far_apart(line.weights)
    estimate, _ = jensen_shannon(apart, 10, generator)
    torch.testing.assert_close(estimate, -(line.weights * line.weights.log()).sum(0))


@pytest.mark.equation("eq-jsd")
def test_components_that_agree_have_no_divergence_and_no_standard_error(line, generator):
    loc, scale = (stack[:1].expand_as(stack) for stack in (line.loc, line.scale))
    estimate, error = jensen_shannon(line._replace(loc=loc, scale=scale), 10, generator)
    torch.testing.assert_close(estimate, torch.zeros_like(estimate), atol=1e-12, rtol=0)
    torch.testing.assert_close(error, torch.zeros_like(error), atol=1e-12, rtol=0)


@pytest.mark.equation("eq-kl-mixture")
def test_standard_errors_are_neither_too_small_nor_too_large(line, exact_kl, generator):
    repeats = 400
    many = Posteriors(
        *(stack.repeat_interleave(repeats, -2) for stack in line[:2]),
        *(stack.repeat_interleave(repeats, -1) for stack in line[2:]),
    )
    estimate, error = kl_of_mixture(many, 200, generator)
    score = (estimate - exact_kl.repeat_interleave(repeats)) / error
    examples = len(score)
    inflation = 1 + 2 / 200  # the error is itself estimated, from 200 draws: Student's t
    assert abs(score.square().mean() - inflation) < 5 * (2 / examples) ** 0.5
    unstratified = error * COMPONENTS**0.5  # the wrong twin: strata taken for one sample
    wrong = ((estimate - exact_kl.repeat_interleave(repeats)) / unstratified).square().mean()
    assert abs(wrong - 1) > 0.5


@pytest.mark.parametrize("family", [singletons, powerset])
def test_missing_modalities_leave_a_uniform_mixture_of_what_was_observed(generator, family):
    loc = torch.randn(3, 2, 1, generator=generator, dtype=torch.float64)
    observed = torch.tensor([[True, True], [False, True], [True, False]])
    aggregator = Aggregator(product_of_experts(prior_expert=False), family)
    q = aggregator(loc, torch.ones_like(loc), observed)
    torch.testing.assert_close(q.weights.sum(0), torch.ones(2, dtype=loc.dtype))
    for b, seen in enumerate(([0, 2], [0, 1])):
        expected = aggregator(loc[seen][:, [b]], torch.ones(2, 1, 1, dtype=loc.dtype))
        z = torch.linspace(-2, 2, 9, dtype=loc.dtype)[:, None, None]
        alone = Posteriors(*(stack[:, [b]] for stack in q[:3]), q.members[..., [b]])
        torch.testing.assert_close(alone.log_density(z), expected.log_density(z))
