"""Products, log-pools and moment matching: each average is the answer to its own problem."""

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch.distributions import Independent, Normal, kl_divergence
from torch.testing import assert_close

from multielbo import barycenters


@pytest.fixture
def experts(generator, dtype):
    """Three experts for two examples in four dimensions, `(M, B, D)` each."""
    loc = torch.randn(3, 2, 4, generator=generator, dtype=dtype)
    scale = (0.5 * torch.randn(3, 2, 4, generator=generator, dtype=dtype)).exp()
    return loc, scale


@pytest.fixture
def weights(generator, dtype):
    """Two sets of weights that sum to one, `(K, M)`."""
    raw = torch.rand(2, 3, generator=generator, dtype=dtype) + 0.1
    return raw / raw.sum(1, keepdim=True)


class Line:
    """Three scalar experts as densities on a fine grid: nothing here knows a Gaussian formula."""

    def __init__(self, dtype):
        self.loc = torch.tensor([-1.6, 0.4, 1.5], dtype=dtype)[:, None, None]
        self.scale = torch.tensor([0.5, 1.0, 0.8], dtype=dtype)[:, None, None]
        self.weights = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
        self.grid = torch.linspace(-7, 7, 113, dtype=dtype)
        self.step = self.grid[1] - self.grid[0]
        self.log_experts = Normal(self.loc[:, 0], self.scale[:, 0]).log_prob(self.grid)

    def log_density(self, gaussian):
        loc, scale = gaussian
        return Normal(loc.flatten(), scale.flatten()).log_prob(self.grid)

    def kl(self, log_q, log_p):
        return (log_q.exp() * (log_q - log_p)).sum(-1) * self.step

    def random_density(self, generator):
        logits = 3 * torch.randn(113, generator=generator, dtype=self.grid.dtype)
        return logits.log_softmax(0) - self.step.log()

    def minimise(self, objective):
        """The best of all densities on the grid, by L-BFGS from the uniform one."""

        def value_and_gradient(logits):
            logits = torch.tensor(logits, requires_grad=True)
            loss = objective(logits.log_softmax(0) - self.step.log())
            (gradient,) = torch.autograd.grad(loss, logits)
            return loss.item(), gradient.numpy()

        options = {"maxiter": 1500, "maxfun": 2000, "ftol": 0.0, "gtol": 1e-10}
        found = optimize.minimize(
            value_and_gradient, np.zeros(113), jac=True, method="L-BFGS-B", options=options
        )
        return torch.as_tensor(found.x).log_softmax(0) - self.step.log()

    def total_variation(self, log_q, log_p):
        return 0.5 * (log_q.exp() - log_p.exp()).abs().sum() * self.step


@pytest.fixture
def line(dtype):
    return Line(dtype)


@pytest.mark.equation("eq-log-pool")
def test_log_pool_is_the_normalised_geometric_mean(line):
    pooled = line.log_density(barycenters.log_pool(line.loc, line.scale, line.weights))
    w, loc, scale = (x.numpy().ravel() for x in (line.weights, line.loc, line.scale))

    def geometric_mean(z):
        return np.exp(w @ stats.norm.logpdf(z, loc, scale))

    constant, _ = integrate.quad(geometric_mean, -12, 12, epsabs=1e-11, epsrel=1e-10)
    reference = [geometric_mean(float(z)) / constant for z in line.grid]
    assert_close(pooled.exp(), torch.tensor(reference, dtype=torch.float64), atol=1e-9, rtol=0)

    plain = line.log_density(
        barycenters.product(line.loc, line.scale, line.weights.new_ones(1, 3), prior_exponent=0.0)
    )
    assert line.total_variation(plain, pooled) > 0.1


@pytest.mark.equation("eq-log-pool")
def test_summed_reverse_divergences_are_that_to_the_log_pool_plus_a_constant(line, generator):
    log_pool = line.log_density(barycenters.log_pool(line.loc, line.scale, line.weights))
    minus_log_z = -((line.weights @ line.log_experts).exp().sum() * line.step).log()
    assert minus_log_z > 0
    for _ in range(5):
        q = line.random_density(generator)
        objective = (line.weights @ line.kl(q, line.log_experts))[0]
        assert_close(objective, line.kl(q, log_pool) + minus_log_z)
        swapped = (line.weights @ line.kl(line.log_experts, q))[0]
        assert abs(swapped - line.kl(q, log_pool) - minus_log_z) > 0.1


@pytest.mark.equation("eq-log-pool")
def test_no_density_on_a_grid_is_closer_to_the_experts_than_the_log_pool(line):
    log_pool = line.log_density(barycenters.log_pool(line.loc, line.scale, line.weights))
    found = line.minimise(lambda q: (line.weights @ line.kl(q, line.log_experts))[0])

    # Pinsker: total variation is at most the root of half the objective's distance to its minimum.
    excess = (line.weights @ line.kl(found, line.log_experts))[0]
    excess = excess + ((line.weights @ line.log_experts).exp().sum() * line.step).log()
    assert -1e-12 < excess < 1e-3
    assert line.total_variation(found, log_pool) <= (0.5 * excess).clamp_min(1e-12).sqrt()
    plain = barycenters.product(
        line.loc, line.scale, torch.ones(1, 3, dtype=torch.float64), prior_exponent=0.0
    )
    assert line.total_variation(found, line.log_density(plain)) > 0.1


@pytest.mark.equation("eq-log-pool")
def test_log_pool_of_identical_experts_is_that_expert(experts, weights):
    loc, scale = (x[:1].expand(3, -1, -1) for x in experts)
    pooled_loc, pooled_scale = barycenters.log_pool(loc, scale, weights)
    assert_close(pooled_loc, loc[:2])
    assert_close(pooled_scale, scale[:2])
    _, sharper = barycenters.product(loc, scale, torch.ones(1, 3).to(loc), prior_exponent=0.0)
    assert_close(sharper[0], scale[0] / 3**0.5)


@pytest.mark.equation("eq-log-pool")
def test_only_the_ratios_of_the_weights_reach_a_reverse_barycenter(line):
    doubled = line.minimise(lambda q: 2 * (line.weights @ line.kl(q, line.log_experts))[0])
    log_pool = line.log_density(barycenters.log_pool(line.loc, line.scale, line.weights))
    exponents_doubled = line.log_density(
        barycenters.product(line.loc, line.scale, 2 * line.weights, prior_exponent=0.0)
    )
    assert line.total_variation(doubled, log_pool) < 1e-3
    assert line.total_variation(doubled, exponents_doubled) > 0.1


def test_the_product_is_paid_for_low_entropy(line, generator):
    """sum_m KL(q || q_m) + (M - 1) H(q) = KL(q || product) - log Z, at any q."""
    plain = line.log_density(
        barycenters.product(
            line.loc, line.scale, torch.ones(1, 3, dtype=torch.float64), prior_exponent=0.0
        )
    )
    log_z = (line.log_experts.sum(0).exp().sum() * line.step).log()
    for _ in range(5):
        q = line.random_density(generator)
        entropy = -(q.exp() * q).sum() * line.step
        divergences = line.kl(q, line.log_experts).sum()
        assert_close(divergences + 2 * entropy, line.kl(q, plain) - log_z)
        assert not torch.isclose(divergences, line.kl(q, plain) - log_z), "entropy counts"


@pytest.mark.parametrize("modalities", [1, 2, 5])
def test_with_equal_weights_product_and_log_pool_share_the_mean_only(modalities, generator, dtype):
    loc = torch.randn(modalities, 6, 3, generator=generator, dtype=dtype)
    scale = torch.randn(modalities, 6, 3, generator=generator, dtype=dtype).exp()
    ones = torch.ones(1, modalities, dtype=dtype)
    product_loc, product_scale = barycenters.product(loc, scale, ones, prior_exponent=0.0)
    pooled_loc, pooled_scale = barycenters.log_pool(loc, scale, ones / modalities)
    assert_close(product_loc, pooled_loc)
    assert_close(product_scale.square() * modalities, pooled_scale.square())
    if modalities > 1:
        assert (product_scale < 0.99 * pooled_scale).all()


@pytest.mark.equation("eq-moment-match")
def test_moment_match_has_the_moments_of_torch_distributions_mixture(experts, weights):
    loc, scale = experts
    matched_loc, matched_scale = barycenters.moment_match(loc, scale, weights)
    for k, w in enumerate(weights):
        components = Independent(Normal(loc.movedim(0, -2), scale.movedim(0, -2)), 1)
        mixture = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(w.expand(2, 3)), components
        )
        assert_close(matched_loc[k], mixture.mean)
        assert_close(matched_scale[k].square(), mixture.variance)
    within_only = barycenters.combine(weights, scale.square()).sqrt()
    assert (matched_scale - within_only).min() > 1e-3


@pytest.mark.equation("eq-moment-match")
def test_forward_divergence_has_no_gradient_at_moment_match(experts, weights):
    loc, scale = experts

    def slopes(gaussian):
        q_loc, q_scale = (x.detach().requires_grad_() for x in gaussian)
        experts_of_k = Normal(loc[:, None], scale[:, None])
        divergence = kl_divergence(experts_of_k, Normal(q_loc, q_scale)).sum(-1)  # (M, K, B)
        loss = torch.einsum("km,mkb->", weights, divergence)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, [q_loc, q_scale])])

    assert slopes(barycenters.moment_match(loc, scale, weights)).abs().max() < 1e-12
    assert slopes(barycenters.log_pool(loc, scale, weights)).abs().max() > 0.1
    assert slopes(barycenters.wasserstein(loc, scale, weights)).abs().max() > 0.1


@pytest.mark.equation("eq-moment-match")
def test_moment_match_survives_means_far_from_zero(dtype):
    loc = torch.tensor([1e8, 1e8 + 1], dtype=dtype)[:, None, None]
    scale = torch.full((2, 1, 1), 1e-3, dtype=dtype)
    half = torch.full((1, 2), 0.5, dtype=dtype)
    _, matched = barycenters.moment_match(loc, scale, half)
    assert_close(matched.square().item(), 0.25 + 1e-6, rtol=1e-9, atol=0)
    raw_moments = barycenters.combine(half, loc.square()) - barycenters.combine(half, loc).square()
    assert abs(raw_moments.item() - 0.25) > 1e-3, "the textbook formula cancels here"


def test_no_density_on_a_grid_is_closer_under_forward_divergence_than_the_mixture(line):
    mixture = torch.logsumexp(line.weights[0].log()[:, None] + line.log_experts, 0)
    found = line.minimise(lambda q: (line.weights @ line.kl(line.log_experts, q))[0])
    assert line.total_variation(found, mixture) < 1e-3
    matched = barycenters.moment_match(line.loc, line.scale, line.weights)
    assert line.total_variation(found, line.log_density(matched)) > 0.1


@pytest.mark.parametrize("average", [barycenters.log_pool, barycenters.moment_match])
def test_weights_may_differ_from_example_to_example(experts, average, generator, dtype):
    loc, scale = experts
    w = torch.rand(2, 3, 2, generator=generator, dtype=dtype)
    w = w / w.sum(1, keepdim=True)
    together = average(loc, scale, w)
    for b in range(2):
        alone = average(loc[:, b : b + 1], scale[:, b : b + 1], w[..., b])
        assert_close(together[0][:, b : b + 1], alone[0])
        assert_close(together[1][:, b : b + 1], alone[1])
    assert not torch.allclose(together[0], average(loc, scale, w[..., 0])[0])
