"""Bounds on the oracle in expectation: published-note tables, Monte Carlo, autograd and SciPy."""

from itertools import combinations
from math import comb, log

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.optimize import minimize
from torch.distributions import MultivariateNormal, kl_divergence

from multielbo import oracle_bounds as bounds
from multielbo import oracle_encoders as encoders
from multielbo import oracle_mixtures
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder
from multielbo.oracle_imputation import (
    imputed_moment,
    learned_by_mixture,
    priced_loading,
    private_loading,
    shared_loading,
)

NAMES = ("a", "b", "c")
TWICE_ROUNDED = 0.55  # of the last digit: the tables were rounded from one digit more
SUBSETS = [list(s) for k in range(4) for s in combinations(NAMES, k)]


def example():
    """Three modalities of 4, 5 and 6 dimensions, two shared factors and a private one each."""
    random = np.random.default_rng(0)
    loadings = {}
    for m, (name, dim) in enumerate(zip(NAMES, (4, 5, 6), strict=True)):
        w = np.zeros((dim, 5))
        w[:, :2] = random.standard_normal((dim, 2))
        w[:, 2 + m] = random.standard_normal(dim)
        loadings[name] = torch.tensor(w)
    noise = dict(zip(NAMES, np.sqrt([0.5, 0.8, 1.2]).tolist(), strict=True))
    return LinearGaussian(loadings, noise)


@pytest.fixture(scope="module")
def oracle():
    return example()


@pytest.fixture(scope="module")
def evidence(oracle):
    return bounds.expected_log_evidence(oracle)


def families(oracle):
    experts = encoders.unimodal(oracle)
    return {
        "exact": lambda s: encoders.exact(oracle, s),
        "divided": lambda s: encoders.product(oracle, experts, s, prior_exponent=1 - len(s)),
        "posteriors": lambda s: encoders.product(oracle, experts, s, prior_exponent=0),
        "with prior": lambda s: encoders.product(oracle, experts, s, prior_exponent=1),
        "barycenter": lambda s: encoders.wasserstein(oracle, experts, s),
    }


def perturbed(oracle, encoder, subset, size, generator):
    at = bounds.positions(oracle, subset)
    shift = torch.randn(encoder.weight.shape, generator=generator, dtype=torch.float64)
    mask = torch.zeros(encoder.weight.shape[1], dtype=torch.float64).index_fill(0, at, 1.0)
    spread = torch.randn(encoder.covariance.shape, generator=generator, dtype=torch.float64)
    root = torch.eye(len(spread), dtype=torch.float64) + size * spread
    return LinearEncoder(
        encoder.weight + 0.2 * size * shift * mask, root @ encoder.covariance @ root.T
    )


# The tables of the note


@pytest.mark.parametrize(
    ("family", "printed"),
    [
        ("exact", (0.0, 0.0, 10.475)),
        ("divided", (0.0, 0.0, 10.475)),
        ("posteriors", (0.782, 0.712, 10.224)),
        ("with prior", (1.399, 1.281, 9.451)),
        ("barycenter", (7.292, 6.662, 12.770)),
    ],
)
def test_gaussian_aggregators_miss_what_the_example_table_says(oracle, evidence, family, printed):
    assert round(float(evidence), 3) == -24.816
    answer = families(oracle)[family]
    full = answer(list(NAMES))
    joint = evidence - bounds.joint(oracle, full)
    masked = evidence - sum(bounds.masked(oracle, full, answer(s), s) for s in SUBSETS) / 8
    mixture = evidence - sum(bounds.mixture(oracle, answer(s)) for s in SUBSETS) / 8
    assert [round(abs(float(v)), 3) for v in (joint, masked, mixture)] == list(printed)


def test_averaged_mixtures_and_their_floors_are_those_of_the_table(oracle, evidence):
    found = []
    for subsets in (SUBSETS[1:4], SUBSETS[1:]):
        for answer in (encoders.exact, encoders.best_for_mixture):
            values = [evidence - bounds.mixture(oracle, answer(oracle, s)) for s in subsets]
            found.append(float(torch.stack(values).mean()))
        found.append(found[-1] - log(len(subsets)))
    assert [round(v, 3) for v in found] == [11.992, 7.363, 6.264, 7.182, 4.442, 2.496]


@pytest.mark.parametrize(
    ("subsets", "joint", "masked", "best"),
    [
        (SUBSETS[1:4], (11.39, 0.12), (10.90, 0.12), (6.60, 0.12)),
        (SUBSETS[1:], (6.33, 0.07), (6.15, 0.07), (3.45, 0.07)),
    ],
    ids=["mixture of experts", "mixture of products"],
)
def test_true_mixtures_agree_with_the_table_within_its_errors(
    oracle, generator, subsets, joint, masked, best
):
    x = torch.cat(list(oracle.sample(300, generator).values()), 1)

    def inside(s):
        return [encoders.exact(oracle, a) for a in subsets if set(a) <= set(s)] or [
            bounds.prior(oracle)
        ]

    narrow = [encoders.best_for_mixture(oracle, a) for a in subsets]
    rows = [
        oracle_mixtures.joint_gap(oracle, inside(NAMES), x, generator),
        sum(
            oracle_mixtures.masked_gap(oracle, inside(NAMES), inside(s), s, x, generator)
            for s in SUBSETS
        )
        / 8,
        oracle_mixtures.joint_gap(oracle, narrow, x, generator),
    ]
    for ours, (printed, error) in zip(rows, (joint, masked, best), strict=True):
        both = (ours.var() / len(ours) + error**2).sqrt()
        assert abs(ours.mean() - printed) < 3 * both
        assert ours.std() / len(ours) ** 0.5 < error, "sampling only the rest is the more precise"


def released_geometry(shared, private, modalities=5, dim=45):
    generator = torch.Generator().manual_seed(0)
    loadings = {}
    for m in range(modalities):
        w = torch.rand(dim, shared + private, generator=generator, dtype=torch.float64)
        q = torch.linalg.qr(2 * w - 1).Q
        stacked = torch.zeros(dim, shared + modalities * private, dtype=torch.float64)
        stacked[:, :shared] = q[:, :shared]
        start = shared + m * private
        stacked[:, start : start + private] = q[:, shared:]
        loadings[f"m{m}"] = stacked
    return LinearGaussian(loadings, dict.fromkeys(loadings, 1.0))


@pytest.mark.equation("eq-hidden-signal")
@pytest.mark.parametrize(
    ("shared", "private", "printed"),
    [
        (5, 0, (-323.74, 2.422, 3.345, 5.0, 0.75, 1.54)),
        (30, 0, (-346.14, 14.531, 20.071, 30.0, 4.20, 8.67)),
        (5, 5, (-332.41, 8.672, 11.513, 15.0, 2.61, 4.51)),
    ],
)
def test_orthonormal_loadings_miss_what_the_second_table_says(shared, private, printed):
    oracle = released_geometry(shared, private)
    evidence = float(bounds.expected_log_evidence(oracle))
    best, honest = np.zeros(6), np.zeros(6)
    for k in range(6):
        a = encoders.hidden_signal(oracle, [f"m{m}" for m in range(k)])
        best[k] = 0.5 * float(a.sum())
        honest[k] = float((a - 0.5 * a.log1p()).sum())
        formula = 0.5 * (5 - k) * (private + shared / (1 + k))
        assert abs(best[k] - formula) < 1e-9
    chances = np.array([comb(5, k) for k in range(6)]) / 32
    average = float(chances @ best)
    found = (evidence, average, float(chances @ honest), best[1])
    relative = [100 * average / abs(evidence), 100 * best[1] / abs(evidence)]
    for value, digits, expected in zip(
        (*found, *relative), (2, 3, 3, 1, 2, 2), printed, strict=True
    ):
        assert abs(value - expected) <= TWICE_ROUNDED * 10**-digits


def toy(modalities):
    one = torch.ones(1, 1, dtype=torch.float64)
    names = [f"m{m}" for m in range(modalities)]
    return LinearGaussian(dict.fromkeys(names, one), dict.fromkeys(names, 1.0))


def symmetric(oracle, parameters):
    """The same expert N(c x, v) for every modality."""
    weights = torch.eye(len(oracle.modalities), dtype=torch.float64)[:, None] * parameters[0]
    variance = (2 * parameters[1]).exp().reshape(1, 1)
    return {
        name: LinearEncoder(w, variance) for name, w in zip(oracle.modalities, weights, strict=True)
    }


def minimum(loss, start):
    def both(values):
        parameters = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        value = loss(parameters)
        return value.item(), torch.autograd.grad(value, parameters)[0].numpy()

    return minimize(both, start, jac=True, method="BFGS", options={"gtol": 1e-7}).fun


@pytest.mark.parametrize(
    ("modalities", "printed"),
    [
        (2, (0.0, 0.0522, 0.0699, 0.0011)),
        (3, (0.0, 0.0897, 0.1472, 0.0031)),
        (4, (0.0, 0.1021, 0.1984, 0.0058)),
        (5, (0.0, 0.0997, 0.2248, 0.0088)),
    ],
)
def test_the_best_of_each_family_under_the_masked_objective(modalities, printed):
    oracle = toy(modalities)
    names, evidence = oracle.modalities, bounds.expected_log_evidence(oracle)
    data = bounds.data_covariance(oracle)
    families = {
        "product with prior": lambda e, s: encoders.product(oracle, e, s, prior_exponent=1),
        "product": lambda e, s: encoders.product(oracle, e, s, prior_exponent=0),
        "barycenter": lambda e, s: encoders.wasserstein(oracle, e, s),
        "barycenter with prior": lambda e, s: encoders.wasserstein(oracle, e, s, prior_expert=True),
    }
    found = []
    for family in families.values():

        def loss(parameters, family=family):
            experts = symmetric(oracle, parameters)
            full = family(experts, names)
            values = [
                comb(modalities, k)
                * bounds.masked(oracle, full, family(experts, names[:k]), names[:k], data)
                for k in range(modalities + 1)  # subsets of one size are alike
            ]
            return evidence - torch.stack(values).sum() / 2**modalities

        found.append(minimum(loss, [0.6, -0.3]))
    np.testing.assert_allclose(found, printed, rtol=0, atol=TWICE_ROUNDED * 1e-4)
    best = sum(
        comb(modalities, k) * 0.5 * float(encoders.hidden_signal(oracle, names[:k]).sum())
        for k in range(modalities + 1)
    )
    assert abs(best / 2**modalities - 0.5 * (1 - 2.0**-modalities)) < 1e-12
    singles = float(encoders.hidden_signal(oracle, names[:1]).sum()) / 2
    assert abs(singles - (modalities - 1) / 4) < 1e-12


@pytest.mark.parametrize("prior_expert", [False, True])
@pytest.mark.parametrize("pool", ["product", "barycenter"])
def test_every_pool_can_be_exact_for_the_full_set_alone(pool, prior_expert):
    oracle = toy(3)
    names, evidence = oracle.modalities, bounds.expected_log_evidence(oracle)
    missed = {}

    def loss(parameters):
        experts = symmetric(oracle, parameters)
        for subset in (names, names[:1]):
            if pool == "product":
                q = encoders.product(oracle, experts, subset, prior_exponent=int(prior_expert))
            else:
                q = encoders.wasserstein(oracle, experts, subset, prior_expert=prior_expert)
            missed[subset] = bounds.expected_log_evidence(oracle, subset) - bounds.marginal(
                oracle, q, subset
            )
        return missed[names]

    assert abs(minimum(loss, [0.6, -0.3])) < 1e-9
    assert abs(evidence - bounds.expected_log_evidence(oracle, names)) < 1e-12
    exact_for_all = pool == "product" and prior_expert
    assert (abs(missed[names[:1]].item()) < 1e-6) == exact_for_all, "the same experts, one of them"


@pytest.mark.parametrize(
    ("modalities", "printed"), [(2, 0.103), (3, 0.224), (4, 0.374), (5, 0.541)]
)
def test_the_best_mixture_of_experts_of_the_toy(modalities, printed):
    oracle = toy(modalities)
    x = torch.cat(list(oracle.sample(3000, torch.Generator().manual_seed(1)).values()), 1)
    last = []

    def loss(parameters):
        components = list(symmetric(oracle, parameters).values())
        rows = oracle_mixtures.joint_gap(oracle, components, x, torch.Generator().manual_seed(2))
        last[:] = [rows.detach()]
        return rows.mean()

    found = minimum(loss, [0.5, -0.5])
    error = 3 * float(last[0].std()) / 1500**0.5  # of the table, which drew so many rows
    assert abs(found - printed) < max(error, 0.01)


@pytest.mark.equation("eq-mixture-learns")
@pytest.mark.equation("eq-imputed-moment")
@pytest.mark.equation("eq-private-loading")
@pytest.mark.equation("eq-shared-loading")
@pytest.mark.parametrize(
    ("noise", "printed"),
    [
        (0.1, (0.450, 0.952, 0.633, 5.261, 3.564, 0.307, 0.095)),
        (0.5, (0.250, 0.792, 0.500, 1.132, 0.813, 0.316, 0.098)),
        (1.0, (0.0, 0.625, 0.333, 0.538, 0.420, 0.330, 0.103)),
    ],
)
def test_the_mixture_objective_learns_what_the_fourth_table_says(noise, printed):
    oracle = shared_and_private(noise)
    data, evidence = bounds.data_covariance(oracle), bounds.expected_log_evidence(oracle)
    private, shared, missed, lost = [], [], [], []
    for subsets in ([["a"], ["b"]], [["a"], ["b"], ["a", "b"]]):
        chances = torch.full((len(subsets),), 1 / len(subsets), dtype=torch.float64)
        learned = learned_by_mixture(oracle, subsets, chances, data)
        values = [
            bounds.mixture(learned, encoders.best_for_mixture(learned, s, data), data)
            for s in subsets
        ]
        cross = torch.linalg.svdvals(learned.loadings["a"] @ learned.loadings["b"].T)[0]
        shared.append(float(cross))
        private.append(float(learned.loadings["a"].square().sum() - cross))
        missed.append(float(evidence - sum(values) / len(values)))
        lost.append(float(evidence - bounds.expected_log_evidence(learned, data=data)))
    found = (private[0], shared[0], private[1], *missed, *lost)
    assert [round(abs(v), 3) for v in found] == list(printed)
    assert abs(private[0] - private_loading(1.0, noise, 1 / 2)) < 1e-9
    assert abs(private[1] - private_loading(1.0, noise, 2 / 3)) < 1e-9
    assert abs(shared[0] - shared_loading(1.0, noise, {0: 0, 1: 1, 2: 0})) < 1e-9
    assert abs(shared[1] - shared_loading(1.0, noise, {0: 0, 1: 2 / 3, 2: 1 / 3})) < 1e-9


def shared_and_private(noise):
    generator = torch.Generator().manual_seed(3)
    loadings = {}
    for m, name in enumerate("ab"):
        q = torch.linalg.qr(torch.randn(3, 2, generator=generator, dtype=torch.float64)).Q
        w = torch.zeros(3, 3, dtype=torch.float64)
        w[:, 0], w[:, 1 + m] = q[:, 0], q[:, 1]
        loadings[name] = w
    return LinearGaussian(loadings, dict.fromkeys("ab", noise**0.5))


# Expectations in closed form


@pytest.mark.equation("eq-expected-evidence")
@pytest.mark.parametrize("subset", SUBSETS[1:], ids="".join)
def test_expected_evidence_is_minus_the_entropy_that_scipy_gives(oracle, subset):
    at = bounds.positions(oracle, subset)
    covariance = bounds.data_covariance(oracle)[at[:, None], at].numpy()
    entropy = stats.multivariate_normal(np.zeros(len(at)), covariance).entropy()
    assert abs(bounds.expected_log_evidence(oracle, subset) + entropy) < 1e-10


@pytest.mark.equation("eq-expected-evidence")
def test_under_other_data_it_is_a_cross_entropy(oracle):
    other = 1.5 * bounds.data_covariance(oracle) + 0.1
    zero = torch.zeros(len(other), dtype=torch.float64)
    model, data = (MultivariateNormal(zero, c) for c in (bounds.data_covariance(oracle), other))
    expected = -data.entropy() - kl_divergence(data, model)
    torch.testing.assert_close(bounds.expected_log_evidence(oracle, data=other), expected)
    assert abs(bounds.expected_log_evidence(oracle) - expected) > 1


@pytest.mark.equation("eq-expected-kl")
@pytest.mark.equation("eq-expected-reconstruction")
def test_expectations_are_the_averages_of_what_the_oracle_gives_row_by_row(oracle, generator):
    n = 20_000
    batch = oracle.sample(n, generator)
    x = torch.cat(list(batch.values()), 1)
    full = perturbed(oracle, encoders.exact(oracle), NAMES, 0.2, generator)
    part = perturbed(oracle, encoders.exact(oracle, ["a", "c"]), ["a", "c"], 0.2, generator)
    data = bounds.data_covariance(oracle)
    rows = kl_divergence(
        MultivariateNormal(x @ full.weight.T, full.covariance),
        MultivariateNormal(x @ part.weight.T, part.covariance),
    )
    error = rows.std() / n**0.5
    assert abs(rows.mean() - bounds.expected_kl(full, part, data)) < 4 * error
    assert abs(rows.mean() - bounds.expected_kl(part, full, data)) > 20 * error
    elbos = oracle.elbo(batch, x @ part.weight.T, part.covariance, ["a", "c"])
    error = elbos.std() / n**0.5
    exact = bounds.marginal(oracle, part, ["a", "c"])
    assert abs(elbos.mean() - exact) < 4 * error
    twin = exact + bounds.expected_kl(part, bounds.prior(oracle), data)
    assert abs(elbos.mean() - twin) > 20 * error, "the rate counts"
    gaps = oracle.gap(batch, x @ part.weight.T, part.covariance)
    missed = bounds.expected_log_evidence(oracle) - bounds.mixture(oracle, part)
    assert abs(gaps.mean() - missed) < 4 * gaps.std() / n**0.5


@pytest.mark.equation("eq-hidden-signal")
@pytest.mark.equation("eq-mixture-encoder")
@pytest.mark.parametrize("subset", SUBSETS, ids=lambda s: "".join(s) or "none")
def test_the_best_encoder_of_a_mixture_misses_half_the_trace(oracle, evidence, subset):
    a = encoders.hidden_signal(oracle, subset)
    best = encoders.best_for_mixture(oracle, subset)
    honest = encoders.exact(oracle, subset)
    missed = [evidence - bounds.mixture(oracle, q) for q in (best, honest)]
    torch.testing.assert_close(missed[0], 0.5 * a.sum(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(missed[1], (a - 0.5 * a.log1p()).sum(), atol=1e-9, rtol=1e-9)
    information = 0.5 * torch.logdet(honest.covariance) - 0.5 * torch.logdet(best.covariance)
    torch.testing.assert_close(information, 0.5 * a.log1p().sum(), atol=1e-9, rtol=1e-9)
    if len(subset) < 3:
        assert missed[0] < missed[1] - 0.1
    torch.testing.assert_close(best.weight, honest.weight, atol=1e-9, rtol=1e-9)


@pytest.mark.equation("eq-mixture-encoder")
def test_no_direction_leads_up_from_the_best_encoder_and_one_does_from_the_posterior(oracle):
    at = bounds.positions(oracle, ["a"])

    def slope(encoder):
        weight = encoder.weight[:, at].clone().requires_grad_()
        root = torch.linalg.cholesky(encoder.covariance).requires_grad_()
        full = torch.zeros_like(encoder.weight).index_copy(1, at, weight)
        value = bounds.mixture(oracle, LinearEncoder(full, root @ root.T))
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, (weight, root))])

    assert slope(encoders.best_for_mixture(oracle, ["a"])).abs().max() < 1e-9
    assert slope(encoders.exact(oracle, ["a"])).abs().max() > 0.1


@pytest.mark.equation("eq-mixture-encoder")
def test_with_other_data_the_best_encoder_still_has_no_slope(oracle):
    other = 1.4 * bounds.data_covariance(oracle) + 0.2
    at = bounds.positions(oracle, ["b"])
    best = encoders.best_for_mixture(oracle, ["b"], other)
    weight = best.weight[:, at].clone().requires_grad_()
    full = torch.zeros_like(best.weight).index_copy(1, at, weight)
    value = bounds.mixture(oracle, LinearEncoder(full, best.covariance), other)
    assert torch.autograd.grad(value, weight)[0].abs().max() < 1e-9
    twin = encoders.best_for_mixture(oracle, ["b"])
    assert bounds.mixture(oracle, twin, other) < value - 1e-3


@pytest.mark.equation("eq-mixture-encoder")
def test_with_curved_decoders_too_the_best_encoder_believes_the_mean():
    seen, values, chances = 0.4, np.array([-1.0, 0.2, 1.7]), np.array([0.5, 0.2, 0.3])
    mean = chances @ values
    spread = chances @ (values - mean) ** 2

    def log_joint(z, x_2, noise=stats.norm):
        first = noise.logpdf(seen, np.tanh(2 * z), 0.3)
        return stats.norm.logpdf(z) + first + noise.logpdf(x_2, z**2 - 1, 0.5)

    def log_integral(function):
        value, _ = integrate.quad(lambda z: np.exp(function(z)), -8, 8, points=[-1, 0, 1])
        return np.log(value)

    best = log_integral(lambda z: chances @ log_joint(z, values))
    imputed = log_integral(lambda z: log_joint(z, mean)) - spread / (2 * 0.5**2)
    assert abs(best - imputed) < 1e-6
    at = np.linspace(-2, 2, 9)
    averaged = np.array([chances @ log_joint(z, values) for z in at])
    assert np.ptp(averaged - log_joint(at, mean)) < 1e-10, "one shape, up to a number"
    heavy = [chances @ log_joint(z, values, stats.laplace) for z in at]
    assert np.ptp(heavy - log_joint(at, mean, stats.laplace)) > 0.1, "not with Laplace noise"


def test_the_prior_expert_and_the_barycenter_are_the_pools_they_are_named_after(oracle):
    experts = encoders.unimodal(oracle)
    pooled = encoders.product(oracle, experts, ["a", "b"], prior_exponent=-1)
    exact = encoders.exact(oracle, ["a", "b"])
    torch.testing.assert_close(pooled.weight, exact.weight, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(pooled.covariance, exact.covariance, atol=1e-10, rtol=1e-9)
    assert torch.equal(encoders.wasserstein(oracle, experts, []).covariance, torch.eye(5).double())
    alone = encoders.wasserstein(oracle, experts, ["c"])
    torch.testing.assert_close(alone.covariance, experts["c"].covariance)
    with_prior = encoders.wasserstein(oracle, experts, ["c"], prior_expert=True)
    torch.testing.assert_close(with_prior.weight, 0.5 * experts["c"].weight)


# The masked objective in expectation


@pytest.mark.equation("eq-masked")
def test_no_encoders_lift_the_masked_objective_above_minus_the_entropy(oracle, evidence, generator):
    wrong = LinearGaussian({n: 0.7 * w for n, w in oracle.loadings.items()}, oracle.noise)
    data = bounds.data_covariance(oracle)
    for model in (oracle, wrong):
        for trial in range(60):
            subset = SUBSETS[trial % 8]
            size = (0.02, 0.1, 0.5)[trial % 3]
            full = perturbed(model, encoders.exact(model), NAMES, size, generator)
            part = perturbed(model, encoders.exact(model, subset), subset, size, generator)
            assert bounds.masked(model, full, part, subset, data) < evidence + 1e-9


@pytest.mark.equation("eq-aggregated")
def test_a_wrong_model_is_exceeded_between_its_posterior_and_the_aggregate(oracle, evidence):
    wrong = LinearGaussian({n: 0.6 * w for n, w in oracle.loadings.items()}, oracle.noise)
    data, subset = bounds.data_covariance(oracle), ["a"]
    own = bounds.expected_log_evidence(wrong, data=data)
    full, part = encoders.exact(wrong), encoders.exact(wrong, subset)
    seen = encoders.aggregated(full, bounds.positions(wrong, subset), data)
    at_ends = [bounds.masked(wrong, full, q, subset, data) for q in (part, seen)]
    for value in at_ends:
        torch.testing.assert_close(value, own, atol=1e-9, rtol=1e-9)
    between = LinearEncoder(
        0.5 * (part.weight + seen.weight), 0.5 * (part.covariance + seen.covariance)
    )
    value = bounds.masked(wrong, full, between, subset, data)
    assert own + 1e-3 < value < evidence


@pytest.mark.equation("eq-aggregated")
def test_the_aggregate_is_the_average_of_full_posteriors(oracle, generator):
    data, subset = bounds.data_covariance(oracle), ["a", "b"]
    at = bounds.positions(oracle, subset)
    full = perturbed(oracle, encoders.exact(oracle), NAMES, 0.2, generator)
    seen = encoders.aggregated(full, at, data)
    n = 100_000
    x = torch.cat(list(oracle.sample(n, generator).values()), 1)
    noise = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    z = x @ full.weight.T + noise @ torch.linalg.cholesky(full.covariance).T
    rest = z - x @ seen.weight.T
    variances = seen.covariance.diagonal()
    error = ((variances[:, None] * variances + seen.covariance.square()) / n).sqrt()
    assert ((rest.T @ rest / n - seen.covariance).abs() < 5 * error).all()
    assert ((rest.T @ rest / n - full.covariance).abs() > 5 * error).any()
    uncorrelated = (rest.T @ x[:, at] / n).abs()
    spread = (variances[:, None] * data.diagonal()[at] / n).sqrt()
    assert (uncorrelated < 5 * spread).all(), "nothing that x_S could still explain is left"
    exact = encoders.aggregated(encoders.exact(oracle), at, data)
    torch.testing.assert_close(exact.covariance, encoders.exact(oracle, subset).covariance)


# What is learned


@pytest.mark.equation("eq-mixture-learns")
def test_no_loadings_beat_the_principal_components_of_imputed_data(oracle, generator):
    data = bounds.data_covariance(oracle)
    subsets, chances = SUBSETS[1:], torch.full((7,), 1 / 7, dtype=torch.float64)

    def objective(stacked):
        blocks = stacked.split([4, 5, 6])
        model = LinearGaussian(dict(zip(NAMES, blocks, strict=True)), oracle.noise)
        values = [
            bounds.mixture(model, encoders.best_for_mixture(model, s, data), data) for s in subsets
        ]
        return (torch.stack(values) * chances).sum()

    learned = learned_by_mixture(oracle, subsets, chances, data)
    top = torch.cat(list(learned.loadings.values())).requires_grad_()
    value = objective(top)
    assert torch.autograd.grad(value, top)[0].abs().max() < 1e-8
    for size in (0.01, 0.1, 1.0):
        step = torch.randn(15, 5, generator=generator, dtype=torch.float64)
        assert objective(top + size * step) < value
    truth = torch.cat(list(oracle.loadings.values()))
    assert objective(truth) < value - 0.01, "the true loadings are not its maximum"
    moment = imputed_moment(oracle, subsets, chances, data)
    likelihood = bounds.expected_log_evidence(learned, data=moment)
    noise = torch.cat(
        [torch.full((len(w),), oracle.noise[n] ** 2) for n, w in learned.loadings.items()]
    )
    lost = 0.5 * ((data - moment).diagonal() / noise).sum()
    torch.testing.assert_close(likelihood - lost, value)


@pytest.mark.equation("eq-mixture-learns")
def test_with_everything_seen_it_is_maximum_likelihood(oracle):
    data = bounds.data_covariance(oracle)
    one = torch.ones(1, dtype=torch.float64)
    learned = learned_by_mixture(oracle, [NAMES], one, data)
    torch.testing.assert_close(bounds.data_covariance(learned), data)


@pytest.mark.equation("eq-shared-loading")
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_a_factor_of_all_modalities_shrinks_as_the_formula_says(modalities):
    oracle = toy(modalities)
    names, data = oracle.modalities, bounds.data_covariance(oracle)
    subsets = [list(s) for k in range(1, modalities + 1) for s in combinations(names, k)]
    chances = torch.full((len(subsets),), 1 / len(subsets), dtype=torch.float64)
    learned = learned_by_mixture(oracle, subsets, chances, data)
    sizes = {k: comb(modalities, k) / len(subsets) for k in range(1, modalities + 1)}
    expected = shared_loading(1.0, 1.0, {0: 0.0, **sizes})
    for w in learned.loadings.values():
        torch.testing.assert_close(w.square()[0, 0], expected)
    assert 0 < expected < 1
    torch.testing.assert_close(shared_loading(1.0, 1.0, {modalities: 1.0}), torch.ones(()).double())


@pytest.mark.equation("eq-private-loading")
@pytest.mark.equation("eq-shared-loading")
def test_a_private_factor_is_a_factor_of_one_modality():
    for chance in (0.2, 0.5, 0.9):
        one = shared_loading(1.3, 0.4, {0: 1 - chance, 1: chance})
        torch.testing.assert_close(one, private_loading(1.3, 0.4, chance))
    assert private_loading(1.0, 1.0, 0.5) == 0, "where the noise is too strong it vanishes"


@pytest.mark.equation("eq-priced-loading")
@pytest.mark.parametrize("price", [0.5, 1.0, 1.3])
def test_a_price_on_the_rate_moves_a_private_loading(price):
    true, noise = 1.0, 0.6
    data = torch.tensor([[true + noise]], dtype=torch.float64)

    def loss(v):
        model = LinearGaussian({"a": v[:1, None]}, {"a": noise**0.5})
        q = LinearEncoder(v[1:2, None], (2 * v[2:, None]).exp())
        explained = bounds.expected_reconstruction(model, q, ["a"], data)
        return price * bounds.expected_kl(q, bounds.prior(model), data) - explained

    def both(v):
        at = torch.tensor(v, requires_grad=True)
        value = loss(at)
        return value.item(), torch.autograd.grad(value, at)[0].numpy()

    found = minimize(both, [0.8, 0.5, -0.4], jac=True, method="BFGS", options={"gtol": 1e-8}).x
    assert abs(found[0] ** 2 - priced_loading(true, noise, price)) < 1e-5
    if price != 1:
        assert abs(found[0] ** 2 - true) > 0.1
    assert priced_loading(1.0, 1.0, 5.0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: bounds.positions(o, ["smell"]), "no modality 'smell'; it knows a, b, c"),
        (lambda o: encoders.hidden_signal(o, ["smell"]), "no modality 'smell'"),
        (lambda o: encoders.exact(o, ["smell"]), "no modality 'smell'"),
    ],
)
def test_an_unknown_modality_gets_one_line(oracle, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(oracle)
    assert "\n" not in str(error.value)
