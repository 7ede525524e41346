"""What views share: canonical correlations, InfoNCE, and what projections of the oracle cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.cross_decomposition import CCA
from torch.testing import assert_close

from multielbo import dcca
from multielbo.contrastive import (
    gaussian_log_ratio,
    info_nce,
    similarities,
    with_own_negatives,
)
from multielbo.full_covariance import kl_to_prior
from multielbo.oracle import LinearGaussian
from multielbo.oracle_projections import (
    canonical_projections,
    information,
    lost_information,
    posterior_covariance,
    posterior_given,
)

SHARED, OF_A, OF_B = [0, 1], [2], [3]


@pytest.fixture
def oracle(generator) -> LinearGaussian:
    """Two latents that both modalities show, and one that each has for itself."""
    mixed = LinearGaussian.random({"a": 5, "b": 4}, 4, 0.6, orthogonal=False, generator=generator)
    for name, absent in {"a": OF_B, "b": OF_A}.items():
        mixed.loadings[name][:, absent] = 0.0
    return mixed


@pytest.fixture
def batch(generator) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 60, 4, generator=generator, dtype=torch.float64)
    mix = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
    u, v = z @ mix + noise
    return u, v[:, :3]


@pytest.mark.equation("eq-canonical")
def test_canonical_correlations_are_those_of_scikit_learn(batch):
    u, v = batch
    fitted = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(u.numpy(), v.numpy())
    pairs = zip(*(x.T for x in fitted.transform(u.numpy(), v.numpy())), strict=True)
    expected = torch.tensor([np.corrcoef(x, y)[0, 1] for x, y in pairs])
    assert_close(dcca.canonical_correlations(u, v), expected, atol=1e-6, rtol=0)


@pytest.mark.equation("eq-whitened-cross")
def test_the_singular_values_are_the_roots_of_the_generalised_eigenvalue_problem(batch):
    first, cross, second = dcca.covariances(*batch)
    whitened = dcca.whitened_cross(first, cross, second)
    left = (cross @ torch.linalg.solve(second, cross.mT)).numpy()
    values = linalg.eigh(left, first.numpy(), eigvals_only=True)[::-1]
    assert_close(torch.linalg.svdvals(whitened), torch.tensor(values[:3].copy()).sqrt())
    without_second = torch.linalg.solve_triangular(torch.linalg.cholesky(first), cross, upper=False)
    twin = torch.linalg.svdvals(without_second)
    assert (twin - torch.linalg.svdvals(whitened)).abs().max() > 0.05, "both views are whitened"


def test_canonical_correlations_do_not_see_invertible_affine_maps(batch, generator):
    u, v = batch
    change = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    assert_close(
        dcca.canonical_correlations(u @ change + 3.0, v), dcca.canonical_correlations(u, v)
    )
    scaled = dcca.canonical_correlations(10 * u, v, ridge=1e-2)
    assert_close(scaled, dcca.canonical_correlations(u, v, ridge=1e-2))


def test_canonical_directions_give_uncorrelated_pairs_of_variance_one(batch):
    first, cross, second = dcca.covariances(*batch)
    of_first, of_second, correlations = dcca.canonical_directions(first, cross, second)
    one = torch.eye(3, dtype=torch.float64)
    assert_close(of_first @ first @ of_first.mT, one)
    assert_close(of_second @ second @ of_second.mT, one)
    assert_close(of_first @ cross @ of_second.mT, torch.diag(correlations))


@pytest.mark.equation("eq-cca-information")
def test_the_information_of_gaussians_is_a_sum_over_canonical_correlations(batch):
    first, cross, second = dcca.covariances(*batch)
    whole = torch.cat([torch.cat([first, cross], 1), torch.cat([cross.mT, second], 1)])
    by_determinants = 0.5 * (first.logdet() + second.logdet() - whole.logdet())
    whitened = dcca.whitened_cross(first, cross, second)
    assert_close(dcca.gaussian_information(whitened), by_determinants)
    rho = torch.linalg.svdvals(whitened)
    assert_close(dcca.gaussian_information(whitened), -0.5 * (1 - rho**2).log().sum())
    assert_close(dcca.gaussian_information(whitened.mT), by_determinants)


@pytest.mark.equation("eq-cca-trace")
def test_the_trace_is_the_sum_of_squared_correlations_without_an_eigen_solve(batch):
    first, cross, second = dcca.covariances(*batch)
    trace = (torch.linalg.solve(first, cross) @ torch.linalg.solve(second, cross.mT)).trace()
    whitened = dcca.whitened_cross(first, cross, second)
    assert_close(dcca.correlation_squares(whitened), trace)
    assert_close(trace, torch.linalg.svdvals(whitened).square().sum())


def test_no_linear_projection_correlates_more_than_the_canonical_one(oracle, generator):
    best, rho = canonical_projections(oracle, "a", "b", 2)
    a, b = oracle.loadings["a"], oracle.loadings["b"]
    whole = [w @ w.mT + 0.36 * torch.eye(len(w), dtype=torch.float64) for w in (a, b)]

    def of(maps):
        p, q = maps
        parts = p @ whole[0] @ p.mT, p @ a @ b.mT @ q.mT, q @ whole[1] @ q.mT
        return torch.linalg.svdvals(dcca.whitened_cross(*parts))

    for _ in range(200):
        maps = [torch.randn(2, d, generator=generator, dtype=torch.float64) for d in (5, 4)]
        assert (of(maps) <= rho[:2] + 1e-12).all()
    assert_close(of(best.values()), rho[:2])
    assert (rho[2:] < 1e-7).all(), "only two latents are shared"


@pytest.mark.equation("eq-dcca")
@pytest.mark.parametrize("name", dcca.OBJECTIVES)
def test_the_gradients_of_the_objectives_are_right(batch, name):
    def objective(u, v):
        return dcca.over_pairs([u, v], dcca.OBJECTIVES[name], ridge=1e-2).sum()

    inputs = [x[:20].clone().requires_grad_() for x in batch]
    assert torch.autograd.gradcheck(objective, inputs)


@pytest.mark.equation("eq-dcca")
def test_several_modalities_are_correlated_in_pairs(batch, generator):
    u, v = batch
    w = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    found = dcca.over_pairs([u, v, w], dcca.correlation_sum, ridge=0.0)
    uv, uw, vw = (dcca.canonical_correlations(x, y).sum() for x, y in ((u, v), (u, w), (v, w)))
    assert_close(found, torch.stack([uv + uw, uv + vw, uw + vw]) / 2)
    assert_close(found.sum(), uv + uw + vw)


def test_the_gradient_is_finite_where_an_eigen_decomposition_has_none():
    # A perfectly white batch: all eigenvalues of its covariance are equal.
    white = torch.linalg.qr(torch.randn(40, 4, dtype=torch.float64) - 0.1).Q
    white = white - white.mean(0)
    white = torch.linalg.qr(white).Q
    u, v = white[:, :2].clone().requires_grad_(), white[:, 1:3]
    value = dcca.canonical_correlations(u, v, ridge=1e-3).sum()
    (ours,) = torch.autograd.grad(value, u)
    assert ours.isfinite().all()

    cov = torch.eye(2, dtype=torch.float64).requires_grad_()
    values, vectors = torch.linalg.eigh(cov)
    root = vectors @ torch.diag(values**-0.5) @ vectors.mT
    cross = torch.tensor([[0.5, 0.2], [0.1, 0.3]], dtype=torch.float64)
    (twin,) = torch.autograd.grad((root @ cross).square().sum(), cov)
    assert not twin.isfinite().all(), "vectors have no derivative at equal eigenvalues"


def test_roots_of_eigenvalues_have_no_gradient_where_a_correlation_is_zero():
    whitened = torch.zeros(3, 3, dtype=torch.float64)
    whitened[0, 0] = 0.5
    whitened.requires_grad_()
    (ours,) = torch.autograd.grad(dcca.correlation_sum(whitened), whitened)
    assert ours.isfinite().all()
    roots = torch.linalg.eigvalsh(whitened.mT @ whitened).clamp_min(0).sqrt().sum()
    (twin,) = torch.autograd.grad(roots, whitened)
    assert not twin.isfinite().all()
    elementwise = (whitened.mT @ whitened - 1e-9).sqrt().diagonal().sum()
    (twin,) = torch.autograd.grad(elementwise, whitened)
    assert not twin.isfinite().all()


def test_unrelated_views_have_the_mean_squared_correlation_that_counting_gives(generator):
    k, j, n, batches = 4, 3, 30, 3000
    u = torch.randn(batches, n, k, generator=generator, dtype=torch.float64)
    v = torch.rand(batches, n, j, generator=generator, dtype=torch.float64) ** 3  # not normal
    squares = torch.stack(
        [dcca.canonical_correlations(*pair).square().sum() for pair in zip(u, v, strict=True)]
    )
    error = squares.std() / batches**0.5
    assert abs(squares.mean() - k * j / (n - 1)) < 4 * error
    assert abs(squares.mean() - k * j / n) > 4 * error, "centring takes one example"


def test_a_batch_smaller_than_the_dimensions_is_refused_because_it_always_correlates(generator):
    for n in (4, 7, 8):
        u, v = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
        with pytest.raises(ValueError, match=f"{n} examples of 4 and 4 .* more than 8") as error:
            dcca.canonical_correlations(u, v)
        assert "\n" not in str(error.value)
    u, v = torch.randn(2, 8, 4, generator=generator, dtype=torch.float64)
    basis = [torch.linalg.qr(x - x.mean(0)).Q for x in (u, v)]
    forced = torch.linalg.svdvals(basis[0].mT @ basis[1])[0]
    assert math.isclose(forced, 1.0, abs_tol=1e-12), "noise, and yet one"
    u, v = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    assert dcca.canonical_correlations(u, v)[0] < 1 - 1e-6


def test_a_degenerate_covariance_is_refused_in_one_line(batch):
    u, v = batch
    for flat in (
        torch.cat([u, u[:, :1] + u[:, 1:2]], 1),
        torch.cat([u, torch.ones(60, 1)], 1),
        torch.zeros(60, 2),
    ):
        for kind in (torch.float32, torch.float64):
            with pytest.raises(ValueError, match=r"degenerate, of rank \d") as error:
                dcca.canonical_correlations(flat.to(kind), v.to(kind))
            assert "\n" not in str(error.value)
    collinear = torch.cat([u, u[:, :1]], 1)
    assert dcca.canonical_correlations(collinear, v, ridge=1e-3).isfinite().all()
    with pytest.raises(ValueError, match="degenerate"):
        dcca.canonical_correlations(torch.ones(60, 2).double(), v, ridge=1e-3)


def test_projections_that_are_no_numbers_are_counted(batch):
    u, v = (x.clone() for x in batch)
    u[3, 0], v[5, 1] = torch.nan, torch.inf
    with pytest.raises(FloatingPointError, match="2 of 60 examples are not finite"):
        dcca.canonical_correlations(u, v)
    with pytest.raises(ValueError, match="of the same B examples"):
        dcca.canonical_correlations(u, v[:50])


@pytest.mark.equation("eq-info-nce")
def test_info_nce_is_a_softmax_and_its_gradient_is_that_of_a_classifier(generator):
    scores = torch.randn(6, 6, generator=generator, dtype=torch.float64).requires_grad_()
    expected = -torch.nn.functional.cross_entropy(scores, torch.arange(6), reduction="none")
    assert_close(info_nce(scores), expected)
    (gradient,) = torch.autograd.grad(-info_nce(scores).mean(), scores)
    by_hand = (scores.softmax(-1) - torch.eye(6, dtype=torch.float64)) / 6
    assert_close(gradient, by_hand)
    assert_close(info_nce(scores + torch.randn(6, 1).double()), info_nce(scores))


@pytest.mark.equation("eq-gaussian-critic")
def test_the_best_critic_of_a_gaussian_pair_is_the_density_ratio(generator):
    rho = -0.7
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]]).double()
    pair = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance)
    one = torch.distributions.Normal(0.0, 1.0)
    x, y = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    expected = pair.log_prob(torch.stack([x, y], -1)) - one.log_prob(x) - one.log_prob(y)
    assert_close(gaussian_log_ratio(x, y, rho), expected)


def test_info_nce_with_the_best_critic_is_below_the_information_and_below_log_k(generator):
    for rho, size in ((0.8, 4), (0.8, 64), (0.999, 4)):
        x, noise = torch.randn(2, 4000, size, generator=generator, dtype=torch.float64)
        y = rho * x + (1 - rho**2) ** 0.5 * noise
        found = info_nce(gaussian_log_ratio(x[..., None], y[:, None], rho))
        bound = math.log(size) + found.mean(-1)
        truth = -0.5 * math.log(1 - rho**2)
        error = bound.std() / len(bound) ** 0.5
        assert bound.mean() < min(truth, math.log(size)) + 4 * error
        if size == 64:
            assert bound.mean() > truth - 0.05, "many strangers: nearly all of it"
            worse = info_nce(gaussian_log_ratio(x[..., None], y[:, None], 0.4))
            assert (math.log(size) + worse.mean(-1)).mean() < bound.mean() - 4 * error


@pytest.mark.equation("eq-own-negatives")
def test_strangers_of_the_own_view_make_the_task_harder(generator):
    u, v = torch.nn.functional.normalize(
        torch.randn(2, 9, 3, generator=generator, dtype=torch.float64), dim=-1
    )
    found = with_own_negatives(u, v, 0.3)
    both = torch.cat([u, v])
    scores = both @ both.mT / 0.3
    loss = torch.stack(
        [
            scores[a, (a + 9) % 18]
            - torch.log(sum(scores[a, b].exp() for b in range(18) if b != a))
            for a in range(18)
        ]
    )
    assert_close(found.flatten(), loss)
    between = similarities(u, v, 0.3)
    assert (found < torch.stack([info_nce(between), info_nce(between.mT)])).all()


def test_with_own_strangers_the_number_of_candidates_is_no_ceiling():
    """Identical coins: with log(2B - 1) one would read off more than there is."""
    b = 5
    strangers = stats.binom(b - 1, 0.5)
    expected = sum(strangers.pmf(k) * math.log(1 + 2 * k) for k in range(b))
    rows = torch.cartesian_prod(*[torch.arange(2)] * b)  # every batch of coins
    u = torch.nn.functional.one_hot(rows, 2).double()
    found = torch.stack([with_own_negatives(one, one, 0.01).mean() for one in u]).mean()
    assert math.isclose(-found, expected, rel_tol=1e-9)
    assert math.log(b) + found < math.log(2) < math.log(2 * b - 1) + found


def test_a_contrast_needs_two_examples_and_a_temperature():
    u = torch.ones(1, 3)
    with pytest.raises(ValueError, match="B of 2 and more"):
        similarities(u, u, 0.1)
    with pytest.raises(ValueError, match="temperature above 0"):
        with_own_negatives(torch.ones(4, 3), torch.ones(4, 3), 0.0)


@pytest.mark.equation("eq-projected-posterior")
def test_the_posterior_given_projections_is_conditioning_of_one_gaussian(oracle, generator):
    maps = {"a": torch.randn(2, 5, generator=generator).double(), "b": torch.randn(1, 4).double()}
    batch = oracle.sample(3, generator)
    mean, covariance = posterior_given(oracle, batch, maps)
    seen = torch.cat([maps[m] @ oracle.loadings[m] for m in "ab"])
    noise = torch.block_diag(*(0.36 * maps[m] @ maps[m].mT for m in "ab"))
    gain = seen.mT @ torch.linalg.inv(seen @ seen.mT + noise)
    g = torch.cat([batch[m] @ maps[m].mT for m in "ab"], 1)
    assert_close(mean, g @ gain.mT)
    assert_close(covariance, torch.eye(4, dtype=torch.float64) - gain @ seen)
    everything = {m: torch.eye(d, dtype=torch.float64) for m, d in (("a", 5), ("b", 4))}
    assert_close(posterior_given(oracle, batch, everything), oracle.posterior(batch))


@pytest.mark.equation("eq-lost-information")
def test_what_is_lost_is_the_mean_divergence_between_the_two_posteriors(oracle, generator):
    best, _ = canonical_projections(oracle, "a", "b", 2)
    seen = {"a": best["a"]}
    batch = {"a": oracle.sample(20_000, generator)["a"]}
    mean, covariance = oracle.posterior(batch)
    rough, wide = posterior_given(oracle, batch, seen)
    factor = torch.linalg.cholesky(wide)
    whitened = torch.linalg.solve_triangular(factor, (mean - rough).mT, upper=False).mT
    inner = torch.linalg.solve_triangular(factor, torch.linalg.cholesky(covariance), upper=False)
    divergence = kl_to_prior(whitened, inner)  # the divergence, in coordinates that whiten p(z | g)
    error = divergence.std() / len(divergence) ** 0.5
    assert abs(divergence.mean() - lost_information(oracle, seen)) < 4 * error
    assert lost_information(oracle, seen) > 0.1
    assert abs(lost_information(oracle, {"a": torch.eye(5).double()})) < 1e-12


def test_the_canonical_projection_keeps_all_that_is_shared_and_only_that_costs(oracle):
    best, rho = canonical_projections(oracle, "a", "b", 2)
    whole = {"a": torch.eye(5).double()}
    seen = {"a": best["a"]}
    assert_close(information(oracle, seen, SHARED), information(oracle, whole, SHARED))
    assert information(oracle, seen, OF_A) < information(oracle, whole, OF_A) - 0.1
    too_few, _ = canonical_projections(oracle, "a", "b", 1)
    one = {"a": too_few["a"]}
    assert information(oracle, one, SHARED) < information(oracle, whole, SHARED) - 0.1
    # What a and b know of each other, by their projections: the same canonical correlations.
    kept = -0.5 * (1 - rho[:2] ** 2).log().sum()
    assert_close(kept, -0.5 * (1 - rho**2).log().sum(), atol=1e-12, rtol=0)


def test_the_canonical_projection_tells_of_private_latents_unless_loadings_are_orthogonal(
    oracle, generator
):
    best, _ = canonical_projections(oracle, "a", "b", 2)
    assert information(oracle, {"a": best["a"]}, OF_A) > 1e-3
    straight = LinearGaussian.random({"a": 5, "b": 4}, 4, 0.6, generator=generator)
    for name, absent in {"a": OF_B, "b": OF_A}.items():
        straight.loadings[name][:, absent] = 0.0
    best, _ = canonical_projections(straight, "a", "b", 2)
    assert abs(information(straight, {"a": best["a"]}, OF_A)) < 1e-12


@pytest.mark.equation("eq-projected-posterior")
def test_the_product_rule_is_exact_for_projections_too(oracle):
    best, _ = canonical_projections(oracle, "a", "b", 2)
    single = [torch.linalg.inv(posterior_covariance(oracle, {m: best[m]})) for m in "ab"]
    both = torch.linalg.inv(posterior_covariance(oracle, best))
    assert_close(sum(single) - torch.eye(4, dtype=torch.float64), both)
    assert (sum(single) - both).abs().max() > 0.5, "the prior is divided out"
