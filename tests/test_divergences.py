"""The alpha family: divergences, the power means that minimise them, and pools that train."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from multielbo import barycenters, gaussians
from multielbo.divergences import alpha_divergence, gaussian_barycenter, log_affinity
from multielbo.mixtures import Posteriors
from multielbo.models.hellinger import PowerMeanAggregator
from multielbo.models.registry import build
from multielbo.objectives import stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.power_means import compositions, moments, power_mean
from multielbo.subsets import powerset

POWERS = (-1.0, -0.3, 0.2, 0.5, 0.9, 2.0)


class Line:
    """Three scalar experts on a grid: nothing here knows a Gaussian formula."""

    def __init__(self, dtype):
        self.loc = torch.tensor([-1.1, 0.1, 1.2], dtype=dtype)[:, None, None]
        self.scale = torch.tensor([0.6, 1.0, 0.7], dtype=dtype)[:, None, None]
        self.weights = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
        self.grid = torch.linspace(-6, 6, 97, dtype=dtype)
        self.step = self.grid[1] - self.grid[0]
        self.logs = Normal(self.loc[:, 0], self.scale[:, 0]).log_prob(self.grid)

    def divergence(self, log_q, log_p, power):
        integral = (power * log_q + (1 - power) * log_p).exp().sum(-1) * self.step
        return (1 - integral) / (power * (1 - power))

    def power_mean(self, power):
        """The normalised power mean and the log of its integral; the geometric one at 0."""
        w = self.weights[0][:, None]
        if power == 0:
            logs = (w * self.logs).sum(0)
        else:
            logs = (w.log() + power * self.logs).logsumexp(0) / power
        log_z = logs.logsumexp(0) + self.step.log()
        return logs - log_z, log_z

    def summed(self, log_q, power):
        return self.weights[0] @ self.divergence(self.logs, log_q, power)

    def total_variation(self, log_q, log_p):
        return 0.5 * (log_q.exp() - log_p.exp()).abs().sum() * self.step

    def minimise(self, objective):
        """The best of all densities on the grid, by L-BFGS from the uniform one."""

        def value_and_gradient(logits):
            logits = torch.tensor(logits, requires_grad=True)
            loss = objective(logits.log_softmax(0) - self.step.log())
            (gradient,) = torch.autograd.grad(loss, logits)
            return loss.item(), gradient.numpy()

        options = {"maxiter": 800, "maxfun": 1000, "ftol": 0.0, "gtol": 1e-10}
        found = optimize.minimize(
            value_and_gradient, np.zeros(97), jac=True, method="L-BFGS-B", options=options
        )
        return torch.as_tensor(found.x).log_softmax(0) - self.step.log()


@pytest.fixture
def line(dtype):
    return Line(dtype)


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


# --- the divergence -------------------------------------------------------------------------------


@pytest.mark.equation("eq-alpha-divergence")
@pytest.mark.parametrize("power", [-0.4, 0.1, 0.5, 0.8, 1.6])
def test_alpha_divergence_is_what_scipy_integrates(power, dtype):
    first, second = stats.norm(0.3, 0.7), stats.norm(-0.5, 0.9)
    of = [torch.tensor([x], dtype=dtype) for x in (0.3, 0.7, -0.5, 0.9)]
    integral, _ = integrate.quad(
        lambda z: np.exp(power * first.logpdf(z) + (1 - power) * second.logpdf(z)), -20, 20
    )
    found = alpha_divergence(*of, power).item()
    assert found == pytest.approx((1 - integral) / (power * (1 - power)), rel=1e-7)
    if power != 0.5:
        exchanged = alpha_divergence(*of[2:], *of[:2], power).item()
        assert exchanged != pytest.approx(found, rel=1e-3)
    assert alpha_divergence(*of[2:], *of[:2], 1 - power).item() == pytest.approx(found)


@pytest.mark.equation("eq-alpha-divergence")
def test_alpha_divergence_ends_in_the_two_divergences_of_kullback_and_leibler(experts):
    (one, other), (narrow, wide) = (x[:2] for x in experts)
    of = one, narrow, other, wide
    forward = kl_divergence(Normal(one, narrow), Normal(other, wide)).sum(-1)
    reverse = kl_divergence(Normal(other, wide), Normal(one, narrow)).sum(-1)
    assert_close(alpha_divergence(*of, 1), forward)
    assert_close(alpha_divergence(*of, 0), reverse)
    assert_close(alpha_divergence(*of, 1 - 1e-7), forward, rtol=1e-5, atol=0)
    assert_close(alpha_divergence(*of, 1e-7), reverse, rtol=1e-5, atol=0)
    assert not torch.allclose(forward, reverse, rtol=0.01)


@pytest.mark.equation("eq-alpha-divergence")
def test_half_of_it_is_hellingers_distance_times_four(line):
    pair = [x[:2, 0] for x in (line.loc, line.scale)]
    roots = (0.5 * line.logs[:2]).exp()
    hellinger = 0.5 * (roots[0] - roots[1]).square().sum() * line.step
    found = alpha_divergence(pair[0][0], pair[1][0], pair[0][1], pair[1][1], 0.5)
    assert_close(found, 4 * hellinger, rtol=1e-8, atol=0)
    assert abs(found - hellinger) > 0.1


@pytest.mark.equation("eq-alpha-divergence")
def test_where_the_integral_is_infinite_so_is_the_divergence(dtype):
    zero, narrow, wide = (torch.tensor([x], dtype=dtype) for x in (0.0, 0.5, 1.0))
    assert alpha_divergence(zero, wide, zero, narrow, 2.0).isinf()
    assert alpha_divergence(zero, narrow, zero, wide, 2.0).isfinite()


@pytest.mark.equation("eq-alpha-divergence")
def test_between_experts_who_nearly_agree_no_digit_is_lost(dtype):
    zero, one, near = (torch.tensor([x], dtype=dtype) for x in (0.0, 1.0, 1e-6))
    # With equal scales and a small shift every member is half the squared shift.
    assert_close(alpha_divergence(zero, one, near, one, 0.3).item(), 0.5e-12, rtol=1e-9, atol=0)
    integral = math.exp(-0.5 * 0.21 * 1e-12)
    assert not math.isclose((1 - integral) / 0.21, 0.5e-12, rel_tol=1e-6)


# --- its barycenter -------------------------------------------------------------------------------


@pytest.mark.parametrize("power", POWERS)
def test_summed_alpha_divergences_are_that_from_the_power_mean_and_a_constant(
    power, line, generator
):
    barycenter, log_z = line.power_mean(power)
    minimum = -torch.expm1(power * log_z) / (power * (1 - power))
    assert minimum > 0
    assert_close(line.summed(barycenter, power), minimum)
    for _ in range(3):
        q = (3 * torch.randn(97, generator=generator, dtype=torch.float64)).log_softmax(0)
        q = q - line.step.log()
        rest = (power * log_z).exp() * line.divergence(barycenter, q, power)
        assert_close(line.summed(q, power), rest + minimum)
        if power != 0.5:
            other, _ = line.power_mean(1 - power)
            assert line.summed(other, power) > minimum + 1e-3


@pytest.mark.parametrize("power", [-1.0, 0.5, 2.0])
def test_no_density_on_a_grid_is_closer_to_the_experts_than_the_power_mean(power, line):
    def increasing(q):
        terms = line.weights[0].log()[:, None] + power * line.logs + (1 - power) * q
        return terms.flatten().logsumexp(0) / (power * (power - 1))

    found = line.minimise(increasing)
    assert line.total_variation(found, line.power_mean(power)[0]) < 1e-3
    for end in (0, 1):
        assert line.total_variation(found, line.power_mean(end)[0]) > 0.02


def test_power_means_end_in_the_log_pool_and_in_the_mixture(line):
    for end, sign in ((0, 1), (1, -1)):
        limit, _ = line.power_mean(end)
        distances = [
            line.total_variation(line.power_mean(end + sign * r)[0], limit).item()
            for r in (0.5, 0.1, 0.01, 0.001)
        ]
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 1e-3 < distances[1]
    pooled = barycenters.log_pool(line.loc, line.scale, line.weights)
    at_grid = Normal(*(x.flatten() for x in pooled)).log_prob(line.grid)
    assert line.total_variation(line.power_mean(0)[0], at_grid) < 1e-7


# --- power means as mixtures ----------------------------------------------------------------------


@pytest.mark.equation("eq-affinity")
def test_affinity_is_the_integral_of_the_geometric_mean(line):
    exponents = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    found = log_affinity(line.loc, line.scale, exponents)[:, 0]
    loc, scale = (x.numpy().ravel() for x in (line.loc, line.scale))
    for k, w in enumerate(exponents.numpy()):
        integral, _ = integrate.quad(
            lambda z, w=w: np.exp(w @ stats.norm.logpdf(z, loc, scale)), -15, 15, epsabs=1e-12
        )
        assert found[k].item() == pytest.approx(math.log(integral), abs=1e-9)
    without_scales = -0.5 * ((line.loc[:2] - 0.0).square()).mean()
    assert abs(found[0] - without_scales) > 0.01


@pytest.mark.equation("eq-affinity")
def test_affinity_of_a_pair_has_bhattacharyyas_closed_form(experts):
    (a, b), (s, t) = (x[:2] for x in experts)
    total = s.square() + t.square()
    distance = (a - b).square() / (4 * total) + 0.5 * (total / (2 * s * t)).log()
    half = torch.full((1, 2), 0.5, dtype=a.dtype)
    found = log_affinity(*(x[:2] for x in experts), half)[0]
    assert_close(found, -distance.sum(-1))
    assert not torch.allclose(found, -distance.mean(-1)), "one number for all dimensions"


@pytest.mark.equation("eq-affinity")
def test_identical_experts_have_affinity_one(experts, dtype):
    loc, scale = (x[:1].expand(3, -1, -1) for x in experts)
    exponents = torch.tensor([[0.2, 0.3, 0.5]], dtype=dtype)
    assert_close(log_affinity(loc, scale, exponents), torch.zeros(1, 2, dtype=dtype))


def test_compositions_are_counted_by_stars_and_bars_and_weigh_like_a_multinomial():
    for experts, order in ((1, 3), (2, 2), (3, 4), (5, 2)):
        counts, ways = compositions(experts, order)
        assert len(counts) == math.comb(experts + order - 1, order)
        assert (counts.sum(1) == order).all()
        assert len({tuple(row) for row in counts.tolist()}) == len(counts)
        assert ways.sum() == experts**order
        reference = [
            special.factorial(order) / special.factorial(row).prod() for row in counts.numpy()
        ]
        np.testing.assert_allclose(ways.numpy(), reference)


@pytest.mark.equation("eq-power-mean-mixture")
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_power_mean_is_its_mixture_of_log_pools(order, line):
    mean = power_mean(line.loc, line.scale, line.weights, order)
    components = Normal(mean.loc[:, 0], mean.scale[:, 0]).log_prob(line.grid)
    found = (mean.mass[0].log() + components).logsumexp(0)
    direct = order * (line.weights[0].log()[:, None] + line.logs / order).logsumexp(0)
    assert_close(found.exp(), direct.exp(), rtol=0, atol=1e-14)
    assert_close(mean.weights.sum(1), torch.ones(1, 1, dtype=torch.float64))
    if order > 1:
        blind = mean._replace(affinity=torch.ones_like(mean.affinity))
        twin = (blind.weights[0].log() + components).logsumexp(0)
        assert line.total_variation(twin, line.power_mean(1 / order)[0]) > 0.05


@pytest.mark.equation("eq-power-mean-mixture")
def test_in_two_dimensions_a_component_has_one_weight(dtype):
    loc = torch.tensor([[-0.8, 0.3], [0.7, -0.4]], dtype=dtype)[:, None]
    scale = torch.tensor([[0.6, 1.0], [0.9, 0.5]], dtype=dtype)[:, None]
    half = torch.full((1, 2), 0.5, dtype=dtype)
    axis = torch.linspace(-6, 6, 181, dtype=dtype)
    step = axis[1] - axis[0]
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    logs = Normal(loc[:, 0], scale[:, 0]).log_prob(points[..., None, :]).sum(-1)
    density = (0.5 * logs).exp().sum(-1).square()
    density = density / (density.sum() * step**2)
    mean = power_mean(loc, scale, half, 2)
    parts = Normal(mean.loc[:, 0], mean.scale[:, 0]).log_prob(points[..., None, :])
    found = (mean.weights[0, :, 0] * parts.sum(-1).exp()).sum(-1)
    assert_close(found, density, rtol=0, atol=1e-8)
    alone = [power_mean(loc[..., d : d + 1], scale[..., d : d + 1], half, 2) for d in (0, 1)]
    rows = [
        (
            m.weights[0, :, 0]
            * Normal(m.loc[:, 0, 0], m.scale[:, 0, 0]).log_prob(axis[:, None]).exp()
        )
        for m in alone
    ]
    product = rows[0].sum(-1)[:, None] * rows[1].sum(-1)
    assert 0.5 * (product - density).abs().sum() * step**2 > 0.05


@pytest.mark.equation("eq-power-mean-mixture")
def test_an_expert_without_weight_leaves_the_power_mean_of_the_rest(experts, dtype):
    w = torch.tensor([[0.4, 0.0, 0.6]], dtype=dtype)
    loc, scale = experts
    whole, rest = power_mean(loc, scale, w, 3), power_mean(loc[::2], scale[::2], w[:, ::2], 3)
    there = whole.weights[0, :, 0] > 0
    assert there.sum() == len(rest.loc)
    assert_close(whole.weights[:, there], rest.weights)
    assert_close(moments(whole), moments(rest))
    assert not torch.allclose(moments(whole)[0], moments(power_mean(loc, scale, w + 0.1, 3))[0])


@pytest.mark.equation("eq-power-mean-mixture")
def test_mixed_components_fade_as_fast_as_the_lemma_says(generator, dtype):
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    for order in (2, 3):
        for dimensions in (1, 4, 16, 64):
            loc = torch.arange(3, dtype=dtype)[:, None, None].expand(-1, 1, dimensions)
            mean = power_mean(loc, torch.ones_like(loc), w, order)
            mixed = (compositions(3, order)[0] > 0).sum(1) > 1
            held = mean.weights[0, mixed].sum()
            rho = math.exp(-1 / 8)  # of neighbours; experts two apart have less
            assert held <= rho ** (2 * dimensions / order) / 0.5**order
        unmixed = mean.weights[0, ~mixed, 0]
        expected = w[0] ** order / (w[0] ** order).sum()
        assert_close(unmixed.sort().values, expected.sort().values, rtol=0, atol=0.01)
        assert not torch.allclose(unmixed.sort().values, w[0].sort().values, rtol=0, atol=0.05)


# --- Gaussians in their place ---------------------------------------------------------------------


@pytest.mark.equation("eq-power-mean-moments")
@pytest.mark.parametrize("order", [1, 2, 3])
def test_moments_are_those_of_torch_distributions_mixture(order, experts, weights):
    mean = power_mean(*experts, weights, order)
    loc, scale = moments(mean)
    for k in range(2):
        choice = Categorical(mean.weights[k].T[:, None].expand(-1, 4, -1))  # (B, D, P)
        mixture = MixtureSameFamily(choice, Normal(*(x.movedim(0, -1) for x in mean[:2])))
        assert_close(loc[k], mixture.mean)
        assert_close(scale[k].square(), mixture.variance)
        within = (mean.weights[k][..., None] * mean.scale.square()).sum(0)
        assert (scale[k].square() - within).min() > 1e-3, "the spread of the means counts"


@pytest.mark.equation("eq-power-mean-moments")
def test_order_one_is_moment_matching_of_the_mixture(experts, weights):
    assert_close(
        moments(power_mean(*experts, weights, 1)), barycenters.moment_match(*experts, weights)
    )


@pytest.mark.equation("eq-power-mean-moments")
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("family", ["power set", "weights", "weights by example"])
def test_the_written_out_gradient_of_the_moments_is_that_of_finite_differences(
    order, family, experts, weights, generator
):
    if family == "power set":  # a lone expert is its own narrowest component
        weights = powerset(3)
    elif family == "weights by example":
        weights = torch.rand(2, 3, 2, generator=generator, dtype=torch.float64)
    leaves = [x[..., :2].clone().requires_grad_() for x in experts]
    assert torch.autograd.gradcheck(lambda a, b: moments(power_mean(a, b, weights, order)), leaves)


@pytest.mark.equation("eq-power-mean-moments")
def test_a_lone_expert_keeps_its_moments_and_its_gradient(experts):
    loc, scale = (x.float().requires_grad_() for x in experts)
    pooled = moments(power_mean(loc, scale, torch.eye(3, dtype=torch.bool), 2))
    assert_close(pooled, (loc, scale))
    (slope,) = torch.autograd.grad(pooled[1].sum(), scale)
    assert_close(slope, torch.ones_like(slope))


@pytest.mark.equation("eq-power-mean-moments")
def test_moments_of_float32_experts_far_from_zero_do_not_cancel(dtype):
    loc = torch.tensor([300.0, 300.01])[:, None, None]
    scale = torch.full((2, 1, 1), 0.01)
    half = torch.full((1, 2), 0.5)
    exact = moments(power_mean(loc.double(), scale.double(), half, 2))[1]
    mean = power_mean(loc, scale, half, 2)
    assert_close(moments(mean)[1].double(), exact, rtol=1e-3, atol=0)
    share = mean.weights[0, ..., None]
    raw = (share * (mean.loc.square() + mean.scale.square())).sum(0)
    raw = (raw - (share * mean.loc).sum(0).square()).clamp_min(1e-8).sqrt()
    assert abs(raw.item() - exact.item()) > 0.5 * exact.item(), "raw moments cancel here"


@pytest.mark.equation("eq-power-mean-moments")
def test_experts_at_the_edge_of_float32_give_finite_moments_and_gradients():
    loc = torch.tensor([-1e4, 0.0, 1e4])[:, None, None].requires_grad_()
    scale = torch.tensor([1e-8, 1.0, 1e8])[:, None, None].requires_grad_()
    pooled = moments(power_mean(loc, scale, powerset(3), 2))
    assert all(part.isfinite().all() for part in pooled)
    assert (pooled[1] > 0).all()
    gradients = torch.autograd.grad(sum(part.sum() for part in pooled), [loc, scale])
    assert all(part.isfinite().all() for part in gradients)


@pytest.mark.equation("eq-tilted-moments")
@pytest.mark.parametrize("power", [0.2, 0.5, 0.8])
def test_a_search_along_gradients_finds_the_gaussian_barycenter(power, line):
    def value_and_gradient(parameters):
        q = torch.tensor(parameters, requires_grad=True)
        loss = line.weights[0] @ alpha_divergence(
            line.loc[:, 0], line.scale[:, 0], q[:1], q[1:].exp(), power
        )
        (gradient,) = torch.autograd.grad(loss, q)
        return loss.item(), gradient.numpy()

    found = optimize.minimize(value_and_gradient, np.zeros(2), jac=True, options={"gtol": 1e-10}).x
    loc, scale = gaussian_barycenter(line.loc, line.scale, line.weights, power, steps=600)
    assert loc.item() == pytest.approx(found[0], abs=1e-6)
    assert scale.item() == pytest.approx(math.exp(found[1]), abs=1e-6)
    matched = barycenters.moment_match(line.loc, line.scale, line.weights)[1].item()
    assert scale.item() < matched - 0.01


@pytest.mark.equation("eq-tilted-moments")
def test_every_step_towards_the_gaussian_barycenter_helps(line):
    def summed(gaussian):
        parts = alpha_divergence(
            line.loc[:, 0], line.scale[:, 0], *(x[0, 0] for x in gaussian), 0.5
        )
        return (line.weights[0] @ parts).item()

    def after(steps):
        return gaussian_barycenter(line.loc, line.scale, line.weights, 0.5, steps=steps)

    values = [summed(after(steps)) for steps in range(10)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 10
    of_mean = summed(moments(power_mean(line.loc, line.scale, line.weights, 2)))
    assert of_mean > summed(after(400)) + 1e-4, "the moments are another Gaussian"


@pytest.mark.equation("eq-tilted-moments")
def test_the_gaussian_barycenter_can_be_trained(experts, dtype):
    leaves = [x[:, :1, :2].clone().requires_grad_() for x in experts]
    w = torch.tensor([[0.2, 0.3, 0.5]], dtype=dtype)
    assert torch.autograd.gradcheck(lambda a, b: gaussian_barycenter(a, b, w, 0.4, steps=4), leaves)


@pytest.mark.equation("eq-tilted-moments")
def test_far_experts_have_two_best_gaussians_and_one_pair_of_moments(dtype):
    def best(start):
        def value_and_gradient(parameters):
            q = torch.tensor(parameters, requires_grad=True)
            one = torch.ones(2, 1, dtype=dtype)
            ends = torch.tensor([[-6.0], [6.0]], dtype=dtype)
            loss = alpha_divergence(ends, one, q[:1], q[1:].exp(), 0.5).mean()
            (gradient,) = torch.autograd.grad(loss, q)
            return loss.item(), gradient.numpy()

        return optimize.minimize(value_and_gradient, [start, 0.0], jac=True)

    left, right, middle = (best(start) for start in (-6.0, 6.0, 0.0))
    assert left.x[0] == pytest.approx(-right.x[0], abs=1e-4)
    assert right.x[0] > 5
    assert left.fun == pytest.approx(right.fun)
    assert middle.fun > right.fun + 0.01


# --- pools and models -----------------------------------------------------------------------------

NAMES = ("hellinger", "mixture-of-hellinger", "hellinger-exact")


@pytest.mark.parametrize("name", NAMES)
def test_missing_modalities_leave_the_barycenter_of_the_rest(name, experts, dtype):
    loc, scale = experts
    observed = torch.tensor([[True, True], [False, True], [True, False]])
    hidden = torch.where(observed[..., None], loc, math.nan)
    answer = build(name).aggregator.posterior(hidden, scale, observed)
    even = torch.full((1, 2), 0.5, dtype=dtype)
    for example, seen in ((0, [0, 2]), (1, [0, 1])):
        rest = power_mean(*(x[seen, example : example + 1] for x in experts), even, 2)
        if name == "hellinger-exact":
            there = answer.weights[:, example] > 1e-30
            assert_close(answer.weights[there, example], rest.weights[0, :, 0])
            assert_close(answer.loc[there, example], rest.loc[:, 0])
            assert_close(answer.scale[there, example], rest.scale[:, 0])
        else:
            assert_close(
                (answer.loc[0, example], answer.scale[0, example]),
                tuple(x[0, 0] for x in moments(rest)),
            )
    whole = power_mean(loc, scale, torch.full((1, 3), 1 / 3, dtype=dtype), 2)
    assert not torch.allclose(answer.loc[0, 0], moments(whole)[0][0, 0])


def test_all_subsets_at_once_are_each_subset_by_itself(generator, dtype):
    loc = torch.randn(4, 3, 2, generator=generator, dtype=dtype)
    scale = torch.randn(4, 3, 2, generator=generator, dtype=dtype).exp()
    q = build("mixture-of-hellinger").aggregator(loc, scale)
    for k, subset in enumerate(powerset(4)):
        even = torch.full((1, int(subset.sum())), 1 / int(subset.sum()), dtype=dtype)
        alone = moments(power_mean(loc[subset], scale[subset], even, 2))
        assert_close((q.loc[k], q.scale[k]), tuple(x[0] for x in alone))


def test_a_subset_left_empty_gets_the_prior(experts):
    loc, scale = experts
    observed = torch.tensor([[True, True], [False, True], [False, True]])
    q = build("mixture-of-hellinger").aggregator(3 + loc, 0.1 * scale, observed)
    empty = ~q.members[:, :, 0].any(1)
    assert empty.sum() == 3
    assert_close(q.loc[empty, 0], torch.zeros_like(q.loc[empty, 0]))
    assert_close(q.scale[empty, 0], torch.ones_like(q.scale[empty, 0]))
    assert (q.weights[empty, 0] == 0).all()
    assert (q.scale[~empty, 0] < 0.9).any()


def test_the_exact_model_answers_with_the_density_of_the_barycenter(line):
    q = PowerMeanAggregator(2)(line.loc, line.scale)
    roots = (0.5 * line.logs).exp().sum(0).square()
    density = q.log_density(line.grid[:, None, None])[:, 0].exp()
    assert_close(density, roots / (roots.sum() * line.step), rtol=0, atol=1e-8)
    assert_close(q.weights.sum(0), torch.ones(1, dtype=torch.float64))
    assert [row.tolist() for row in q.members[:, :, 0].int()][1] == [1, 1, 0]


def test_draws_of_the_exact_model_have_its_distribution(generator, line):
    many = [x.expand(-1, 20_000, -1) for x in (line.loc, line.scale)]
    z = PowerMeanAggregator(2)(*many).sample(generator)[:, 0]
    q = PowerMeanAggregator(2)(line.loc, line.scale)
    for edge in (-1.0, 0.0, 0.8):
        share = (q.weights[:, 0] * Normal(q.loc, q.scale).cdf(torch.tensor(edge))[:, 0, 0]).sum()
        error = (share * (1 - share) / len(z)).sqrt()
        assert abs((z < edge).double().mean() - share) < 4 * error
        of_mixture = Normal(line.loc, line.scale).cdf(torch.tensor(edge)).mean()
        if edge == -1.0:
            assert abs(share - of_mixture) > 4 * error


def test_gradients_reach_the_experts_through_the_weights_of_the_exact_model(experts):
    leaves = [x[..., :2].clone().requires_grad_() for x in experts]
    aggregator = build("hellinger-exact").aggregator
    assert torch.autograd.gradcheck(lambda a, b: aggregator(a, b)[:3], leaves)


def test_one_sample_from_each_component_has_the_gradient_of_the_bound_and_one_draw_has_not(
    generator, dtype
):
    oracle = LinearGaussian.random(dict.fromkeys("abc", 2), 1, noise=1.5, generator=generator)
    one, repeats = oracle.sample(1, generator), 20_000
    repeated = {name: x.expand(repeats, -1) for name, x in one.items()}
    loc, scale = oracle.unimodal_posteriors(one)
    loc = loc + torch.tensor([-1.0, 0.1, 1.2], dtype=dtype)[:, None, None]
    kept = PowerMeanAggregator(2)
    z = torch.linspace(-8, 8, 2001, dtype=dtype)[:, None, None]
    log_joint = oracle.log_likelihood(one)(z).sum(0)[:, 0] + gaussians.log_prior(z)[:, 0]
    leaves = [loc.clone().requires_grad_(), scale.clone().requires_grad_()]
    log_q = kept(*leaves).log_density(z)[:, 0]
    bound = torch.trapezoid(log_q.exp() * (log_joint - log_q), z[:, 0, 0])
    exact = torch.cat(torch.autograd.grad(bound, leaves)).flatten()

    def one_draw(q: Posteriors) -> torch.Tensor:
        z = q.sample(generator)
        return oracle.log_likelihood(repeated)(z).sum(0) + gaussians.log_prior(z) - q.log_density(z)

    def each(q: Posteriors) -> torch.Tensor:
        return stratified_elbo(q, oracle.log_likelihood(repeated), generator).elbo()

    worst = {}
    for estimate in (each, one_draw):
        many = [x.expand(-1, repeats, -1).clone().requires_grad_() for x in (loc, scale)]
        values = estimate(kept(*many))
        assert abs(values.mean() - bound) < 4 * values.std() / repeats**0.5
        gradients = torch.cat(torch.autograd.grad(values.sum(), many))[..., 0]
        errors = gradients.std(1) / repeats**0.5
        worst[estimate] = ((gradients.mean(1) - exact).abs() / errors).max().item()
    assert worst[each] < 4.5  # the largest of six
    assert worst[one_draw] > 8


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_experts_does_not_matter(name, experts, generator):
    z = torch.randn(20, 2, 4, generator=generator, dtype=torch.float64)
    aggregator = build(name).aggregator
    density = aggregator(*experts).log_density(z)
    assert_close(aggregator(*(x[[2, 0, 1]] for x in experts)).log_density(z), density)
    assert not torch.allclose(aggregator(*(x[[2, 0, 0]] for x in experts)).log_density(z), density)


@pytest.mark.parametrize("name", NAMES)
def test_one_modality_is_answered_by_its_own_posterior(name, experts):
    loc, scale = (x[:1] for x in experts)
    q = build(name).aggregator.posterior(loc, scale)
    assert_close((q.loc, q.scale), (loc, scale))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, -1])
def test_an_order_that_gives_no_mixture_is_refused_in_one_line(order, experts, weights):
    with pytest.raises(ValueError, match=rf"order is {order}; only 1, 2, 3") as error:
        power_mean(*experts, weights, order)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("power", [0.0, -0.5, 1.5])
def test_a_power_outside_the_gaussian_search_is_refused_in_one_line(power, experts, weights):
    with pytest.raises(ValueError, match="must be above 0, at most 1") as error:
        gaussian_barycenter(*experts, weights, power)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_without_any_modality_is_refused_in_one_line(name, experts):
    observed = torch.tensor([[True, False], [True, False], [True, False]])
    with pytest.raises(ValueError, match="example 1 of the batch has no observed modality"):
        build(name).aggregator(*experts, observed)


@pytest.mark.parametrize("name", NAMES)
def test_experts_of_different_shapes_are_refused_in_one_line(name, experts):
    loc, scale = experts
    with pytest.raises(ValueError, match="must both be"):
        build(name).aggregator(loc, scale[..., :1])
