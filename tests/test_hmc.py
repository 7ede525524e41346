"""Hamiltonian Monte Carlo: its dynamics, its draws against exact posteriors, and how it fails."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.testing import assert_close

from multielbo import diagnostics, gaussians
from multielbo.adaptation import DualAveraging
from multielbo.hmc import (
    ADAPTED,
    RELEASED,
    Point,
    acceptance,
    energy,
    evaluate,
    hmc,
    leapfrog,
    transition,
)
from multielbo.oracle import LinearGaussian
from multielbo.publishing.show import source
from multielbo.subsets import powerset

SETTINGS = {"step_size": 0.1, "leapfrog_steps": 10, "vary": True}


def banana(z):
    """A normal first coordinate, and a second one around half its square."""
    return -0.5 * z[..., 0].square() - 2.0 * (z[..., 1] - 0.5 * z[..., 0].square()).square()


def tilted(z):
    """Not quadratic, and its force is bounded, so that no twin escapes to infinity."""
    return -(1 + z.square()).sqrt().sum(-1) + 0.3 * (z[..., 0] - z[..., 1]).sin()


def normal(z):
    return gaussians.log_prior(z)


def without_the_half(log_density, point, momentum, step, steps):
    """Wrong twin: two whole kicks in a step."""
    for _ in range(steps):
        momentum = momentum + step * point.gradient
        point = evaluate(log_density, point.z + step * momentum)
        momentum = momentum + step * point.gradient
    return point, momentum


def wrong_sign(log_density, point, momentum, step, steps):
    """Wrong twin: down the density instead of up."""
    for _ in range(steps):
        momentum = momentum - 0.5 * step * point.gradient
        point = evaluate(log_density, point.z + step * momentum)
        momentum = momentum - 0.5 * step * point.gradient
    return point, momentum


def euler(log_density, point, momentum, step, steps):
    """Wrong twin: both updates at once, neither reversible nor of constant volume."""
    for _ in range(steps):
        z = point.z + step * momentum
        momentum = momentum + step * point.gradient
        point = evaluate(log_density, z)
    return point, momentum


def start(log_density, generator, dtype, shape=(5, 2)):
    z = torch.randn(shape, generator=generator, dtype=dtype)
    return evaluate(log_density, z), torch.randn(shape, generator=generator, dtype=dtype)


# --- the dynamics ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-leapfrog")
def test_leapfrog_runs_backward_when_the_momentum_is_reversed(generator, dtype):
    point, momentum = start(banana, generator, dtype)
    step = torch.tensor(0.1, dtype=dtype)
    there, last = leapfrog(banana, point, momentum, step, 20)
    back, reversed_momentum = leapfrog(banana, there, -last, step, 20)
    assert (there.z - point.z).abs().min() > 0.01, "it has to move to come back"
    assert_close(back.z, point.z, rtol=0, atol=1e-11)
    assert_close(-reversed_momentum, momentum, rtol=0, atol=1e-11)
    there, last = euler(banana, point, momentum, step / 20, 20)
    back, _ = euler(banana, there, -last, step / 20, 20)
    assert (back.z - point.z).abs().max() > 1e-3


@pytest.mark.equation("eq-leapfrog")
@pytest.mark.parametrize(
    ("method", "keeps"), [(leapfrog, True), (without_the_half, True), (euler, False)]
)
def test_leapfrog_preserves_volume(method, keeps, dtype):
    """By autograd through the whole trajectory; a kick of any size is a shear, Euler's is not."""

    def differentiable(z):
        with torch.enable_grad():
            z = z if z.requires_grad else z.requires_grad_()
            value = banana(z)
            (gradient,) = torch.autograd.grad(value.sum(), z, create_graph=True)
        return Point(z, value, gradient)

    def flow(state):
        z, momentum = state[:2], state[2:]
        step, steps, factor = 0.1, 7, {leapfrog: 0.5, without_the_half: 1.0, euler: 1.0}[method]
        point = differentiable(z)
        for _ in range(steps):
            if method is euler:
                z, momentum = point.z + step * momentum, momentum + step * point.gradient
                point = differentiable(z)
                continue
            momentum = momentum + factor * step * point.gradient
            point = differentiable(point.z + step * momentum)
            momentum = momentum + factor * step * point.gradient
        return torch.cat([point.z, momentum])

    state = torch.tensor([0.7, -0.4, 0.3, 1.1], dtype=dtype)
    jacobian = torch.autograd.functional.jacobian(flow, state)
    assert math.isclose(abs(torch.linalg.det(jacobian)), 1.0, rel_tol=1e-10) == keeps
    ours, last = method(
        banana, evaluate(banana, state[:2]), state[2:], torch.tensor(0.1, dtype=dtype), 7
    )
    assert_close(torch.cat([ours.z, last]), flow(state.clone()).detach())


@pytest.mark.equation("eq-hamiltonian")
@pytest.mark.parametrize(
    ("method", "order"), [(leapfrog, 2), (without_the_half, 0), (wrong_sign, 0)]
)
def test_energy_error_of_a_trajectory_falls_with_the_square_of_the_step(
    method, order, generator, dtype
):
    point, momentum = start(tilted, generator, dtype, (200, 2))
    errors = []
    for steps in (64, 128, 256):
        end = method(tilted, point, momentum, torch.tensor(1 / steps, dtype=dtype), steps)
        errors.append((energy(*end) - energy(point, momentum)).square().mean().sqrt().item())
    found = [math.log2(a / b) for a, b in pairwise(errors)]
    assert max(abs(f - order) for f in found) < 0.1


@pytest.mark.equation("eq-hamiltonian")
def test_leapfrog_follows_scipys_solution_of_hamiltons_equations(dtype):
    def equations(_, state):
        point = evaluate(banana, torch.as_tensor(state[:2], dtype=dtype))
        return np.concatenate([state[2:], point.gradient.numpy()])

    state = np.array([0.7, -0.4, 0.3, 1.1])
    exact = integrate.solve_ivp(equations, (0, 2), state, rtol=1e-10, atol=1e-12).y[:, -1]
    point = evaluate(banana, torch.as_tensor(state[:2], dtype=dtype))
    momentum = torch.as_tensor(state[2:], dtype=dtype)
    end, last = leapfrog(banana, point, momentum, torch.tensor(1e-3, dtype=dtype), 2000)
    assert np.abs(np.concatenate([end.z, last]) - exact).max() < 1e-4
    assert np.abs(exact - state).max() > 0.5


@pytest.mark.equation("eq-leapfrog")
def test_a_mass_matrix_is_a_change_of_scale(generator, dtype):
    widths = torch.tensor([0.2, 3.0], dtype=dtype)

    def narrow(z):
        return normal(z / widths)

    u = torch.randn(4, 2, generator=generator, dtype=dtype)
    momentum = torch.randn(4, 2, generator=generator, dtype=dtype)
    step = torch.tensor(0.3, dtype=dtype)
    in_u, _ = leapfrog(normal, evaluate(normal, u), momentum, step, 10)
    in_z, _ = leapfrog(narrow, evaluate(narrow, u * widths), momentum, step * widths, 10)
    assert_close(in_z.z, in_u.z * widths)


# --- the test of a proposal -----------------------------------------------------------------------


@pytest.mark.equation("eq-acceptance")
def test_acceptance_balances_the_densities_of_both_ends(dtype):
    error = torch.linspace(-5, 5, 101, dtype=dtype)
    # e^{-H} of the start, times the chance to go, is e^{-H'} of the end times the chance to return.
    assert_close(acceptance(error), (-error).exp() * acceptance(-error))
    assert acceptance(error).max() == 1
    barker = torch.sigmoid(-error)  # balances too, and accepts less often
    assert (acceptance(error) >= barker).all()
    nothing = torch.tensor([math.nan, math.inf, -math.inf], dtype=dtype)
    assert acceptance(nothing).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.equation("eq-acceptance")
def test_a_coarse_step_is_corrected_by_the_test_and_not_without_it(generator, dtype):
    """Draws of N(0, 1) with a step of 1.8: exact with rejection, far too wide without."""
    step, widths = torch.tensor(1.8, dtype=dtype), {}
    for corrected in (True, False):
        point = evaluate(normal, torch.randn(4000, 1, generator=generator, dtype=dtype))
        for _ in range(30):
            if corrected:
                point, _ = transition(normal, point, step, 1, generator)
            else:
                momentum = torch.randn(4000, 1, generator=generator, dtype=dtype)
                point, _ = leapfrog(normal, point, momentum, step, 1)
        widths[corrected] = point.z.square().mean().item()
    standard_error = math.sqrt(2 / 4000)
    assert abs(widths[True] - 1) < 4 * standard_error
    assert abs(widths[False] - 1) > 20 * standard_error


def test_draws_of_one_transition_from_the_target_are_draws_of_the_target(generator, dtype):
    """Invariance in one step, so that no wait for convergence can hide an error."""
    point = evaluate(normal, torch.randn(20_000, 1, generator=generator, dtype=dtype))
    point, error = transition(normal, point, torch.tensor(1.6, dtype=dtype), 3, generator)
    assert stats.kstest(point.z[:, 0], "norm").pvalue > 1e-3
    assert acceptance(error).mean() < 0.95
    # E exp(-error) = 1 under the joint density, because the flow keeps volume.
    weights = (-error).exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / len(weights) ** 0.5


def test_energy_that_forgets_the_momentum_samples_something_else(generator, dtype):
    """Wrong twin: accepting by the density alone."""
    step = torch.tensor(1.6, dtype=dtype)
    point = evaluate(normal, torch.randn(20_000, 1, generator=generator, dtype=dtype))
    momentum = torch.randn(20_000, 1, generator=generator, dtype=dtype)
    end, _ = leapfrog(normal, point, momentum, step, 3)
    accept = torch.rand(20_000, generator=generator, dtype=dtype) < acceptance(
        point.value - end.value
    )
    z = torch.where(accept[:, None], end.z, point.z)
    assert stats.kstest(z[:, 0], "norm").pvalue < 1e-6


# --- the draws ------------------------------------------------------------------------------------


def test_moments_of_every_subset_posterior_of_the_oracle(generator):
    """All subsets, examples and chains in one tensor `(chains, K, B, D)`."""
    names = ("a", "b", "c")
    dims = dict.fromkeys(names, 3)
    oracle = LinearGaussian.random(dims, 2, orthogonal=False, generator=generator)
    batch = oracle.sample(2, generator)
    members = powerset(3).to(torch.float64)  # (K, M)
    score = oracle.log_likelihood(batch)

    def log_posterior(z):
        return gaussians.log_prior(z) + torch.einsum("km,mckb->ckb", members, score(z))

    begin = torch.randn(4, len(members), 2, 2, generator=generator, dtype=torch.float64)
    chains = hmc(
        log_posterior,
        begin,
        step_size=torch.full((len(members), 1), 0.1, dtype=torch.float64),
        leapfrog_steps=8,
        vary=True,
        iterations=500,
        warmup=150,
        generator=generator,
    )
    assert diagnostics.r_hat(chains.z).max() < 1.05
    for k, member in enumerate(members):
        subset = [name for name, inside in zip(names, member, strict=True) if inside]
        mean, covariance = oracle.posterior(batch, subset)
        z = chains.z[:, :, k] - mean
        products = z[..., :, None] * z[..., None, :]
        for values, exact in ((z, torch.zeros(2, 2)), (products, covariance)):
            error = (values.mean((0, 1)) - exact) / diagnostics.monte_carlo_error(values)
            assert error.abs().max() < 5
        from_prior = mean / diagnostics.monte_carlo_error(z)
        assert from_prior.abs().max() > 5, "the check must tell the posterior from the prior"


def test_draws_from_a_banana_have_the_moments_of_quadrature(generator, dtype):
    chains = hmc(
        banana,
        torch.randn(24, 2, generator=generator, dtype=dtype),
        step_size=0.1,
        leapfrog_steps=16,
        vary=True,
        iterations=700,
        warmup=200,
        target=0.95,
        generator=generator,
    )
    first, second = np.meshgrid(np.linspace(-6, 6, 801), np.linspace(-4, 22, 1601), indexing="ij")
    log_p = banana(torch.as_tensor(np.stack([first, second], -1))).numpy()
    mass = np.exp(log_p - log_p.max())
    mass /= mass.sum()
    moments = ((0, first), (0, first**2), (1, second), (1, second**2))
    for power, (axis, values) in zip((1, 2, 1, 2), moments, strict=True):
        drawn = chains.z[..., axis] ** power
        error = (drawn.mean() - (mass * values).sum()) / diagnostics.monte_carlo_error(drawn)
        assert abs(error) < 4
        assert diagnostics.r_hat(drawn) < 1.05


def test_wrong_twins_of_the_kick_accept_hardly_anything(generator, dtype):
    point, momentum = start(normal, generator, dtype, (500, 20))
    step = torch.tensor(0.25, dtype=dtype)
    rate = {}
    for method in (leapfrog, without_the_half, wrong_sign):
        end = method(normal, point, momentum, step, 6)
        rate[method] = acceptance(energy(*end) - energy(point, momentum)).mean().item()
    assert rate[leapfrog] > 0.9
    assert rate[without_the_half] < 0.5
    assert rate[wrong_sign] < 0.01


def test_every_chain_draws_as_if_it_were_alone_given_its_noise(generator, dtype):
    """No chain feels another: changing one start changes one chain."""
    begin = torch.randn(3, 4, 2, generator=generator, dtype=dtype)
    runs = []
    for shift in (0.0, 1.0):
        moved = begin.clone()
        moved[1, 2] += shift
        runs.append(
            hmc(
                banana,
                moved,
                step_size=0.1,
                leapfrog_steps=5,
                iterations=10,
                generator=torch.Generator().manual_seed(1),
            ).z
        )
    same = (runs[0] == runs[1]).all(-1).all(0)
    assert not same[1, 2]
    assert same.sum() == 11


def test_global_randomness_is_neither_read_nor_moved(dtype):
    begin = torch.zeros(2, 2, dtype=dtype)
    state = torch.get_rng_state()
    runs = []
    for _ in range(2):
        source_of_noise = torch.Generator().manual_seed(3)
        runs.append(
            hmc(normal, begin, iterations=5, warmup=3, generator=source_of_noise, **SETTINGS)
        )
    assert torch.equal(runs[0].z, runs[1].z)
    assert torch.equal(state, torch.get_rng_state())


# --- the step size --------------------------------------------------------------------------------


@pytest.mark.equation("eq-dual-averaging")
def test_dual_averaging_is_the_minimum_of_its_regularised_loss(generator, dtype):
    """x_t minimises x * (sum of shortfalls) + gamma (t + t0) / (2 sqrt t) * (x - mu)^2."""
    first = torch.tensor(0.3, dtype=dtype)
    averaging = DualAveraging(first, target=0.7)
    rates = torch.rand(6, generator=generator, dtype=dtype)
    for t, rate in enumerate(rates, start=1):
        found = averaging.update(rate).log()
        x = found.clone().requires_grad_()
        shortfall = (0.7 - rates[:t]).sum()
        loss = x * shortfall + 0.05 * (t + 10) / (2 * t**0.5) * (x - (10 * first).log()) ** 2
        (slope,) = torch.autograd.grad(loss, x)
        assert abs(slope) < 1e-12


@pytest.mark.equation("eq-dual-averaging")
@pytest.mark.parametrize("target", [0.6, 0.8, 0.95])
def test_dual_averaging_finds_the_root_seen_through_noise(target, generator, dtype):
    """Acceptance exp(-step), so the step sought is -log(target); from a tenth and tenfold."""
    step = -math.log(target) * torch.tensor([0.1, 1.0, 10.0], dtype=dtype)
    averaging = DualAveraging(step, target)
    for t in range(2000):
        noise = 0.01 * torch.randn(3, generator=generator, dtype=dtype)
        step = averaging.update((-step).exp() + noise, last=t == 1999)
    assert_close(step, torch.full_like(step, -math.log(target)), rtol=0.1, atol=0)


@pytest.mark.parametrize("target", [0.7, 0.9])
def test_warm_up_reaches_the_acceptance_it_was_asked_for(target, generator, dtype):
    chains = hmc(
        normal,
        torch.randn(50, 20, generator=generator, dtype=dtype),
        step_size=0.01,
        leapfrog_steps=7,
        vary=True,
        iterations=100,
        warmup=200,
        target=target,
        generator=generator,
    )
    assert abs(chains.acceptance.mean() - target) < 0.05


def test_each_example_finds_the_step_size_of_its_own_width(generator, dtype):
    widths = torch.tensor([0.1, 1.0, 10.0], dtype=dtype)
    chains = hmc(
        lambda z: normal(z / widths[:, None]),
        torch.randn(20, 3, 4, generator=generator, dtype=dtype) * widths[:, None],
        step_size=torch.full((3,), 0.5, dtype=dtype),
        leapfrog_steps=8,
        vary=True,
        iterations=100,
        warmup=300,
        generator=generator,
    )
    assert chains.step_size.shape == (3,)
    assert_close(chains.step_size / widths, chains.step_size[1].expand(3), rtol=0.3, atol=0)


def test_step_size_for_a_given_acceptance_falls_with_the_fourth_root_of_the_dimension(generator):
    found = {}
    for dim in (16, 1024):
        begin = torch.randn(40, dim, generator=generator, dtype=torch.float64)
        chains = hmc(
            normal,
            begin,
            step_size=0.5,
            leapfrog_steps=5,
            vary=True,
            iterations=20,
            warmup=150,
            generator=generator,
        )
        found[dim] = chains.step_size.item()
    exponent = math.log(found[1024] / found[16]) / math.log(1024 / 16)
    assert abs(exponent + 0.25) < 0.04


def test_a_trajectory_of_half_a_period_only_mirrors_and_varied_lengths_repair_it(generator, dtype):
    begin = torch.randn(8, 1, generator=generator, dtype=dtype)
    settings = {"step_size": math.pi / 20, "leapfrog_steps": 20, "iterations": 100}
    r_hats = {}
    for vary in (False, True):
        chains = hmc(normal, begin, vary=vary, generator=generator, **settings)
        r_hats[vary] = diagnostics.r_hat(chains.z.square()).item()
    assert r_hats[False] > 1.5
    assert r_hats[True] < 1.1


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_step_beyond_the_stability_limit_diverges_and_is_counted(generator, dtype):
    """For a normal density of width one the leapfrog is unstable from a step of two."""
    begin = torch.randn(10, 5, generator=generator, dtype=dtype)
    calm, wild = (
        hmc(normal, begin, step_size=step, leapfrog_steps=20, iterations=30, generator=generator)
        for step in (1.0, 2.2)
    )
    assert calm.divergent.sum() == 0
    assert calm.acceptance.mean() > 0.5
    assert wild.divergent.double().mean() > 20
    assert wild.acceptance.mean() < 0.05
    assert wild.nonfinite.sum() == 0


def test_r_hat_finds_chains_that_stay_in_their_mode(generator, dtype):
    def two_modes(z):
        return torch.logaddexp(normal(z - 6), normal(z + 6))

    begin = torch.tensor([[-6.0], [6.0], [-6.0], [6.0]], dtype=dtype)
    chains = hmc(two_modes, begin, iterations=200, warmup=100, generator=generator, **SETTINGS)
    assert (chains.z.sign() == begin.sign()).all(), "no chain crosses"
    assert diagnostics.r_hat(chains.z).max() > 1.5
    one_side = diagnostics.r_hat(chains.z[:, ::2])
    assert one_side.max() < 1.05, "chains that start alike cannot tell"


@pytest.mark.parametrize("where", ["value", "gradient"])
def test_a_chain_without_numbers_is_marked_and_the_others_go_on(where, generator, dtype):
    def broken(z):
        poison = torch.where(z[..., 0] > 100, math.nan, 1.0)
        if where == "value":
            return normal(z) * poison
        return normal(z.clamp(max=90)) + 0 * (poison * z[..., 1])

    begin = torch.randn(4, 2, generator=generator, dtype=dtype)
    begin[2:, 0] = 200.0
    with pytest.warns(RuntimeWarning, match=r"^hmc: 2 of 4 chains met .* not finite; 600 prop"):
        chains = hmc(broken, begin, iterations=300, warmup=100, generator=generator, **SETTINGS)
    assert chains.nonfinite.tolist() == [0, 0, 300, 300]
    assert chains.acceptance[2:].tolist() == [0, 0]
    assert (chains.z[:, 2:] == begin[2:]).all()
    # With the two counted in, no step size could reach an acceptance above one half.
    assert chains.step_size > 0.5
    moved = chains.z[:, :2]
    assert (moved.mean((0, 1)) / diagnostics.monte_carlo_error(moved)).abs().max() < 5


def test_a_density_is_never_asked_about_points_that_are_not_finite(generator, dtype):
    """Distributions that check their arguments would stop every chain."""
    asked = []

    def steep(z):
        asked.append(z.isfinite().all())
        return -(z**4).sum(-1)

    begin = torch.full((3, 1), 50.0, dtype=dtype)
    with pytest.warns(RuntimeWarning, match="3 of 3 chains"):
        hmc(steep, begin, step_size=10.0, leapfrog_steps=20, iterations=3, generator=generator)
    assert all(asked)


def test_a_chain_never_enters_an_infinite_density(generator, dtype):
    def pole(z):
        return normal(z) - z[..., 0].abs().log()

    def spike(z):
        return torch.where(z[..., 0].abs() < 0.5, math.inf, pole(z))

    begin = torch.full((20, 1), 1.0, dtype=dtype)
    with pytest.warns(RuntimeWarning, match="not finite"):
        chains = hmc(spike, begin, iterations=100, generator=generator, **SETTINGS)
    assert chains.z.abs().min() >= 0.5


def test_model_parameters_gather_no_gradient_and_no_grad_around_it_is_harmless(generator):
    decoder = torch.nn.Linear(2, 1)

    def score(z):
        return normal(z) + decoder(z)[..., 0]

    with torch.no_grad():
        chains = hmc(score, torch.zeros(3, 2), iterations=2, generator=generator, **SETTINGS)
    assert decoder.weight.grad is None
    assert not chains.z.requires_grad
    assert chains.z.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_size": 0.0}, r"^hmc: step_size holds a number that is not positive"),
        ({"step_size": torch.tensor([0.1, math.nan])}, "^hmc: step_size holds"),
        ({"scale": -1.0}, "^hmc: scale holds"),
        ({"leapfrog_steps": 0}, "^hmc: leapfrog_steps is 0, it must be at least 1"),
        ({"iterations": 0}, "^hmc: iterations is 0"),
        ({"warmup": -1}, "^hmc: warmup is -1, it must be at least 0"),
        ({"keep": 0}, "^hmc: keep is 0"),
        ({"target": 1.0}, "^hmc: target acceptance is 1.0; choose it between 0 and 1"),
        ({"start": torch.tensor([[math.nan, 0.0]])}, "^hmc: the start must be finite"),
        ({"start": torch.zeros(2, 2, dtype=torch.int64)}, "^hmc: the start must be finite"),
        ({"log_density": lambda z: -z.square()}, r"shape \(2, 2\); it must be \(2,\)"),
        ({"log_density": lambda z: -z.square().sum()}, r"shape \(\); it must be \(2,\)"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes, message):
    settings = {"log_density": normal, "start": torch.zeros(2, 2), "iterations": 2, **SETTINGS}
    with pytest.raises(ValueError, match=message) as caught:
        hmc(**{**settings, **changes})
    assert "\n" not in str(caught.value)


def test_presets_are_settings_and_the_adapted_one_takes_a_tenth_of_the_gradients(generator, dtype):
    assert RELEASED == {"iterations": 100, "leapfrog_steps": 10, "step_size": 0.01}
    calls = {}
    for name, preset in (("released", RELEASED), ("adapted", ADAPTED)):
        counter = [0]

        def counted(z, counter=counter):
            counter[0] += 1
            return normal(z)

        begin = torch.randn(64, 20, generator=generator, dtype=dtype)
        chains = hmc(counted, begin, keep=1, generator=generator, **preset)
        assert chains.z.shape == (1, 64, 20)
        assert chains.acceptance.mean() > 0.6
        calls[name] = counter[0]
    assert calls["released"] == 1 + 100 * 10
    assert calls["adapted"] <= 1 + 20 * 9
    assert (ADAPTED["leapfrog_steps"] + 1) / 2 * (ADAPTED["warmup"] + ADAPTED["iterations"]) == 100


def test_the_sampler_with_its_adaptation_is_under_80_lines():
    parts = (evaluate, energy, leapfrog, acceptance, transition, hmc, DualAveraging)
    lines = [line.strip() for part in parts for line in source(part).splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) < 80


# --- diagnostics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression_is_the_known_one(rho, generator, dtype):
    """x_t = rho x_{t-1} + noise has autocorrelations rho^k: n (1 - rho) / (1 + rho) draws."""
    chains, length = 8, 4000
    noise = torch.randn(length, chains, generator=generator, dtype=dtype)
    x = [noise[0]]
    for t in range(1, length):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * noise[t])
    draws = torch.stack(x)
    exact = chains * length * (1 - rho) / (1 + rho)
    found = diagnostics.effective_sample_size(draws).item()
    assert abs(found / exact - 1) < 0.1
    assert abs(diagnostics.r_hat(draws) - 1) < 0.01
    standard_error = diagnostics.monte_carlo_error(draws).item()
    assert math.isclose(standard_error, draws.std().item() / found**0.5, rel_tol=1e-12)


def test_r_hat_finds_other_places_and_other_widths(generator, dtype):
    draws = torch.randn(500, 4, 3, generator=generator, dtype=dtype)
    draws[:, 0, 1] += 1.0
    draws[:, 0, 2] *= 3.0
    found = diagnostics.r_hat(draws)
    assert found[0] < 1.01
    assert found[1] > 1.05
    assert found[2] > 1.05, "only the folded ranks see widths"


def test_diagnostics_refuse_too_few_chains_or_draws():
    with pytest.raises(ValueError, match="run at least 2"):
        diagnostics.r_hat(torch.zeros(10, 1))
    with pytest.raises(ValueError, match="at least 4 draws"):
        diagnostics.effective_sample_size(torch.zeros(3, 2))
