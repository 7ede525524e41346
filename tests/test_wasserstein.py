"""Wasserstein distances and barycenters, against POT, linear programming and plain transport."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from multielbo import barycenters, full_covariance, gaussians

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # POT warns of optional backends
    import ot


@pytest.fixture
def experts(generator, dtype):
    loc = torch.randn(3, 4, 5, generator=generator, dtype=dtype)
    scale = torch.randn(3, 4, 5, generator=generator, dtype=dtype).exp()
    return loc, scale


@pytest.fixture
def many(generator, dtype):
    """A hundred thousand triples of scalar experts with their own weights."""
    loc = 2 * torch.randn(3, 100_000, 1, generator=generator, dtype=dtype)
    scale = torch.randn(3, 100_000, 1, generator=generator, dtype=dtype).exp()
    weights = torch.rand(1, 3, 100_000, generator=generator, dtype=dtype)
    return loc, scale, weights / weights.sum(1, keepdim=True)


@pytest.fixture
def ellipsoids(generator, dtype):
    """Three problems of four experts in three dimensions: means, covariances, weights."""
    shape = torch.randn(3, 4, 3, 3, generator=generator, dtype=dtype)
    weights = torch.rand(3, 4, generator=generator, dtype=dtype) + 0.1
    covariance = shape @ shape.mT + 0.1 * torch.eye(3, dtype=dtype)
    loc = torch.randn(3, 4, 3, generator=generator, dtype=dtype)
    return loc, covariance, weights / weights.sum(1, keepdim=True)


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()[..., None, :]) @ vectors.mT


def objective(covariance, experts, weights):
    """sum_m w_m W2^2 between centred Gaussians, by POT."""
    zero = np.zeros(len(covariance))
    return sum(
        float(w) * ot.gaussian.bures_wasserstein_distance(zero, zero, covariance.numpy(), e) ** 2
        for w, e in zip(weights, experts.numpy(), strict=True)
    )


@pytest.mark.equation("eq-w2")
def test_w2_is_the_distance_of_equal_quantiles(dtype):
    def squared_distance(u):
        return (stats.norm.ppf(u, 0.3, 0.5) - stats.norm.ppf(u, -1.0, 1.7)) ** 2

    reference, error = integrate.quad(squared_distance, 0, 1)
    ours = gaussians.w2_squared(*(torch.tensor([x], dtype=dtype) for x in (0.3, 0.5, -1.0, 1.7)))
    assert abs(ours - reference) < 10 * error
    assert error < 1e-6
    with_variances = (0.3 + 1.0) ** 2 + (0.5**2 - 1.7**2) ** 2
    assert abs(with_variances - reference) > 1.0


@pytest.mark.equation("eq-w2")
def test_no_coupling_of_samples_is_cheaper_than_the_bound_of_their_moments(generator, dtype):
    """W2^2 >= |mean difference|^2 + |difference of standard deviations|^2 for any distributions."""
    x = torch.rand(60, 2, generator=generator, dtype=dtype).square()
    y = 1 + torch.randn(60, 2, generator=generator, dtype=dtype).exp()
    even = np.full(60, 1 / 60)
    cheapest = ot.emd2(even, even, torch.cdist(x, y).square().numpy())
    moments = (x.mean(0), x.std(0, correction=0), y.mean(0), y.std(0, correction=0))
    assert cheapest > gaussians.w2_squared(*moments) - 1e-10
    stretched = x.mean(0) + 2 * (x - x.mean(0))  # an increasing affine image attains it
    cheapest = ot.emd2(even, even, torch.cdist(x, stretched).square().numpy())
    reached = gaussians.w2_squared(moments[0], moments[1], moments[0], 2 * moments[1])
    assert_close(float(cheapest), reached.item())


@pytest.mark.equation("eq-w2-barycenter")
def test_diagonal_barycenter_is_pots(experts, dtype):
    loc, scale = experts
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    ours_loc, ours_scale = barycenters.wasserstein(loc, scale, w)
    for b in range(4):
        mean, covariance = ot.gaussian.bures_wasserstein_barycenter(
            loc[:, b].numpy(),
            torch.diag_embed(scale[:, b].square()).numpy(),
            w[0].numpy(),
            num_iter=1000,
            eps=1e-14,
        )
        assert_close(ours_loc[0, b].numpy(), mean)
        assert np.abs(torch.diag(ours_scale[0, b].square()).numpy() - covariance).max() < 1e-8
        mean_of_variances = (w @ scale[:, b].square())[0]
        assert np.abs(torch.diag(mean_of_variances).numpy() - covariance).max() > 0.01


@pytest.mark.equation("eq-w2-barycenter")
def test_no_distribution_on_a_grid_beats_the_diagonal_barycenter(dtype):
    loc = torch.tensor([-1.5, 0.5, 1.5], dtype=dtype)[:, None, None]
    scale = torch.tensor([0.3, 1.8, 0.8], dtype=dtype)[:, None, None]
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    places = np.linspace(-7, 7, 71)
    masses = Normal(loc[..., 0], scale[..., 0]).log_prob(torch.as_tensor(places)).exp()
    masses = (masses / masses.sum(1, keepdim=True)).T.numpy()
    found = ot.lp.barycenter(masses, (places[:, None] - places) ** 2, weights=w[0].numpy())

    mean = found @ places
    deviation = np.sqrt(found @ (places - mean) ** 2)
    half_a_step = 0.5 * (places[1] - places[0])
    ours_loc, ours_scale = (x.item() for x in barycenters.wasserstein(loc, scale, w))
    assert abs(mean - ours_loc) < half_a_step
    assert abs(deviation - ours_scale) < half_a_step
    for twin in (barycenters.log_pool, barycenters.moment_match):
        assert abs(deviation - twin(loc, scale, w)[1].item()) > half_a_step


@pytest.mark.equation("eq-w2-barycenter")
def test_barycenter_averages_quantile_functions(experts, dtype):
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    levels = torch.linspace(0.01, 0.99, 33, dtype=dtype)
    loc, scale = (x[..., None] for x in experts)
    averaged = torch.einsum("m,mbdu->bdu", w[0], Normal(loc, scale).icdf(levels))
    pooled_loc, pooled_scale = barycenters.wasserstein(*experts, w)
    assert_close(
        Normal(pooled_loc[0, ..., None], pooled_scale[0, ..., None]).icdf(levels), averaged
    )


@pytest.mark.equation("eq-bures-fixed-point")
def test_full_covariance_barycenter_is_pots_to_eight_digits(ellipsoids):
    loc, covariance, weights = ellipsoids
    ours_loc, ours = barycenters.bures_wasserstein(loc, covariance, weights)
    for b in range(3):
        mean, reference = ot.gaussian.bures_wasserstein_barycenter(
            loc[b].numpy(), covariance[b].numpy(), weights[b].numpy(), num_iter=1000, eps=1e-14
        )
        assert np.abs(ours_loc[b].numpy() - mean).max() < 1e-12
        assert np.abs(ours[b].numpy() - reference).max() < 1e-8
        arithmetic = (weights[b, :, None, None] * covariance[b]).sum(0)
        assert np.abs(arithmetic.numpy() - reference).max() > 0.01


@pytest.mark.equation("eq-bures-fixed-point")
def test_swapping_the_roles_in_the_inner_root_converges_to_something_else(ellipsoids):
    loc, covariance, weights = ellipsoids
    _, ours = barycenters.bures_wasserstein(loc, covariance, weights)
    for b in range(3):
        w, experts = weights[b, :, None, None], covariance[b]
        r = root(ours[b])
        assert_close((w * root(r @ experts @ r)).sum(0), ours[b])  # the fixed-point equation

        swapped = (w * experts).sum(0)
        for _ in range(300):
            swapped = (w * root(root(experts) @ swapped @ root(experts))).sum(0)
        assert_close((w * root(root(experts) @ swapped @ root(experts))).sum(0), swapped)
        assert (swapped - ours[b]).abs().max() > 1e-3
        ours_value = objective(ours[b], experts, weights[b])
        assert objective(swapped, experts, weights[b]) > ours_value + 1e-5


@pytest.mark.equation("eq-bures-fixed-point")
def test_every_iteration_descends_by_at_least_the_distance_it_moves(ellipsoids):
    _, covariance, weights = ellipsoids
    experts, w = covariance[0], weights[0]
    zero = np.zeros(3)
    s = torch.eye(3, dtype=torch.float64)
    for _ in range(6):
        r = root(s)
        back = torch.linalg.inv(r)
        maps = back @ root(r @ experts @ r) @ back
        assert_close(maps @ s @ maps, experts)
        mean_map = (w[:, None, None] * maps).sum(0)
        after = mean_map @ s @ mean_map
        moved = ot.gaussian.bures_wasserstein_distance(zero, zero, s.numpy(), after.numpy()) ** 2
        drop = objective(s, experts, w) - objective(after, experts, w)
        assert drop >= moved - 1e-10
        s = after


@pytest.mark.equation("eq-bures-fixed-point")
def test_commuting_covariances_reduce_to_the_diagonal_formula(experts, dtype):
    loc, scale = experts
    w = torch.tensor([0.5, 0.2, 0.3], dtype=dtype)
    covariance = torch.diag_embed(scale.square()).movedim(0, 1)  # (B, M, D, D)
    full_loc, full = barycenters.bures_wasserstein(loc.movedim(0, 1), covariance, w.expand(4, 3))
    diagonal_loc, diagonal = barycenters.wasserstein(loc, scale, w[None])
    assert_close(full_loc, diagonal_loc[0])
    assert_close(full, torch.diag_embed(diagonal[0].square()), atol=1e-9, rtol=1e-9)


@pytest.mark.equation("eq-bures-fixed-point")
def test_a_search_that_is_cut_short_says_so(ellipsoids):
    with pytest.raises(ArithmeticError, match=r"still moving by .* after 2 iterations"):
        barycenters.bures_wasserstein(*ellipsoids, max_iterations=2)


@pytest.mark.equation("eq-w2-barycenter")
def test_variances_stand_in_order(many):
    """product <= log-pool <= Wasserstein <= average variance <= mixture."""
    loc, scale, w = many
    ones = torch.ones(1, 3, dtype=loc.dtype)
    variances = torch.stack(
        [
            barycenters.product(loc, scale, ones, prior_exponent=0.0)[1].square(),
            barycenters.log_pool(*many)[1].square(),
            barycenters.wasserstein(*many)[1].square(),
            barycenters.combine(w, scale.square()),
            barycenters.moment_match(*many)[1].square(),
        ]
    )
    assert (variances.diff(dim=0) >= -1e-12 * variances[1:]).all()
    geometric = torch.einsum("kmb,mbd->kbd", w, scale.log()).exp().square()
    assert (variances[2] < geometric).sum() == 0
    assert (variances[1] > geometric).sum() == 0
    means = [average(*many)[0] for average in (barycenters.log_pool, barycenters.wasserstein)]
    assert ((means[0] - means[1]).abs() > 0.1).double().mean() > 0.5, "the means do not agree"


def test_entropies_do_not_follow_the_order_of_variances(dtype):
    loc, scale = torch.zeros(2, 1, 1, dtype=dtype), torch.tensor([1.0, 10.0], dtype=dtype)
    half = torch.full((1, 2), 0.5, dtype=dtype)
    scale = scale[:, None, None]
    z = torch.linspace(-100, 100, 40_001, dtype=dtype)
    log_mixture = Normal(0.0, scale[..., 0]).log_prob(z).logsumexp(0) - math.log(2)
    of_mixture = -torch.trapezoid(log_mixture.exp() * log_mixture, z)
    _, pooled = barycenters.wasserstein(loc, scale, half)
    _, matched = barycenters.moment_match(loc, scale, half)
    assert pooled < matched
    assert gaussians.entropy(pooled).item() > of_mixture + 0.1
    assert [round(x, 3) for x in (gaussians.entropy(pooled).item(), of_mixture.item())] == [
        3.124,
        3.004,
    ]


@pytest.fixture
def triples(generator, dtype):
    """Five hundred triples of Gaussians in three dimensions with weights of their own."""
    shape = torch.randn(500, 3, 3, 3, generator=generator, dtype=dtype)
    covariance = shape @ shape.mT + 0.02 * torch.eye(3, dtype=dtype)
    weights = torch.rand(500, 3, generator=generator, dtype=dtype)
    loc = torch.randn(500, 3, 3, generator=generator, dtype=dtype)
    return loc, covariance, weights / weights.sum(1, keepdim=True)


def test_sorted_eigenvalues_keep_the_order_that_matrices_lose(triples):
    """Product <= log-pool as matrices; log-pool <= Wasserstein by eigenvalues; <= the average."""
    _, covariance, w = triples
    _, bures = barycenters.bures_wasserstein(*triples)
    precision = torch.linalg.inv(covariance)
    log_pool = torch.linalg.inv((w[..., None, None] * precision).sum(1))
    product = torch.linalg.inv(precision.sum(1))
    average = (w[..., None, None] * covariance).sum(1)
    small = 1e-9 * torch.linalg.matrix_norm(average)[:, None]
    assert (torch.linalg.eigvalsh(log_pool - product) > -small).all()
    assert (torch.linalg.eigvalsh(average - bures) > -small).all()
    assert (torch.linalg.eigvalsh(bures) - torch.linalg.eigvalsh(log_pool) > -small).all()
    assert (torch.linalg.eigvalsh(bures - log_pool) < -1e-6).any()
    log_dets = (w * torch.logdet(covariance)).sum(1)
    assert (torch.logdet(log_pool) <= log_dets + 1e-9).all()
    assert (log_dets <= torch.logdet(bures) + 1e-9).all()


def test_a_pair_of_small_integers_breaks_the_matrix_order(dtype):
    pair = torch.tensor([[[100.0, 4.0], [4.0, 9.0]], [[2.0, 4.0], [4.0, 9.0]]], dtype=dtype)
    half = torch.full((2,), 0.5, dtype=dtype)
    _, bures = barycenters.bures_wasserstein(torch.zeros(2, 2, dtype=dtype), pair, half)
    log_pool = torch.linalg.inv(torch.linalg.inv(pair).mean(0))
    assert torch.linalg.eigvalsh(bures - log_pool)[0] < -1


def test_the_rate_of_full_covariances_falls_short_by_half_the_distance(triples):
    loc, covariance, w = triples
    centre, bures = barycenters.bures_wasserstein(*triples)
    rates = full_covariance.kl_to_prior(loc, torch.linalg.cholesky(covariance))
    rate = full_covariance.kl_to_prior(centre, torch.linalg.cholesky(bures))
    travel = full_covariance.w2_squared(centre[:, None], bures[:, None], loc, covariance)
    assert (rate <= (w * (rates - 0.5 * travel)).sum(1) + 1e-8).all()
    assert (rate > (w * (rates - travel)).sum(1)).any(), "all of the distance is too much"


@pytest.mark.equation("eq-bures-fixed-point")
def test_iteration_ends_at_one_place_from_any_start(ellipsoids):
    _, covariance, weights = ellipsoids
    experts, w = covariance[0], weights[0, :, None, None]
    _, ours = barycenters.bures_wasserstein(*ellipsoids)
    for start in (100 * torch.eye(3), 1e-3 * torch.eye(3), experts[2]):
        s = start.to(experts)
        for _ in range(80):
            r = root(s)
            back = torch.linalg.inv(r)
            mean_root = (w * root(r @ experts @ r)).sum(0)
            s = back @ mean_root @ mean_root @ back
        assert_close(s, ours[0], rtol=1e-8, atol=1e-8)


@pytest.mark.equation("eq-bures-fixed-point")
def test_two_experts_have_a_closed_form(ellipsoids):
    loc, covariance, _ = ellipsoids
    a, b = covariance[0, :2]
    for t in (0.1, 0.5, 0.8):
        values, vectors = torch.linalg.eig(a @ b)
        mixed = (vectors * values.sqrt() @ torch.linalg.inv(vectors)).real  # (AB)^(1/2)
        expected = (1 - t) ** 2 * a + t**2 * b + t * (1 - t) * (mixed + mixed.T)
        weights = torch.tensor([1 - t, t]).to(a)
        assert_close(
            barycenters.bures_wasserstein(loc[0, :2], covariance[0, :2], weights)[1], expected
        )


@pytest.mark.equation("eq-bures-fixed-point")
def test_rotations_and_common_factors_carry_over_and_shears_do_not(ellipsoids, generator, dtype):
    _, covariance, weights = ellipsoids
    zero = torch.zeros(4, 3, dtype=dtype)

    def average(experts):
        return barycenters.bures_wasserstein(zero, experts, weights[0])[1]

    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=dtype)).Q
    for change in (turn, 5 * turn):
        moved = average(change @ covariance[0] @ change.T)
        assert_close(moved, change @ average(covariance[0]) @ change.T)
    shear = torch.eye(3, dtype=dtype)
    shear[0, 1] = 2.0
    moved = average(shear @ covariance[0] @ shear.T)
    assert (moved - shear @ average(covariance[0]) @ shear.T).abs().max() > 0.01


def test_equal_scales_make_the_barycenter_the_log_pool(many):
    loc, scale, w = many
    same = scale[:1].expand(3, -1, -1)
    for ours, theirs in zip(
        barycenters.wasserstein(loc, same, w), barycenters.log_pool(loc, same, w), strict=True
    ):
        assert_close(ours, theirs)
    assert not torch.allclose(barycenters.wasserstein(*many)[0], barycenters.log_pool(*many)[0])


def test_barycenter_never_sharpens_and_ignores_precision(many, dtype):
    _, scale, _ = many
    _, pooled = barycenters.wasserstein(*many)
    assert (pooled[0] >= scale.amin(0) * (1 - 1e-12)).all()
    assert (pooled[0] <= scale.amax(0) * (1 + 1e-12)).all()

    pair = [torch.tensor(x, dtype=dtype)[:, None, None] for x in ([1.0, 0.0], [0.1, 1.0])]
    half = torch.full((1, 2), 0.5, dtype=dtype)
    ones = torch.ones(1, 2, dtype=dtype)
    table = {
        "wasserstein": [x.item() for x in barycenters.wasserstein(*pair, half)],
        "log-pool": [x.item() for x in barycenters.log_pool(*pair, half)],
        "mixture": [x.item() for x in barycenters.moment_match(*pair, half)],
        "product": [x.item() for x in barycenters.product(*pair, ones, prior_exponent=0.0)],
    }
    by_hand = {
        "wasserstein": [0.5, 0.55],
        "log-pool": [100 / 101, (2 / 101) ** 0.5],
        "mixture": [0.5, (0.5 * 1.01 + 0.25) ** 0.5],
        "product": [100 / 101, 101**-0.5],
    }
    for name, row in table.items():
        assert row == pytest.approx(by_hand[name], rel=1e-12)


@pytest.mark.equation("eq-w2-barycenter")
def test_quantiles_average_whatever_the_experts_are():
    """For any q the objective exceeds the least by exactly the squared distance to the average."""
    levels = (np.arange(200) + 0.5) / 200
    odd = [stats.expon(), stats.uniform(-3, 2), stats.beta(0.4, 0.4, loc=2, scale=3)]
    quantiles = np.stack([expert.ppf(levels) for expert in odd])
    shares = np.array([0.5, 0.2, 0.3])
    even = np.full(200, 1 / 200)

    def transport(x, y):
        return ot.emd2(even, even, (x[:, None] - y) ** 2)

    def value(x):
        return shares @ [transport(x, y) for y in quantiles]

    averaged = shares @ quantiles
    pairs = [np.mean((averaged - y) ** 2) for y in quantiles]
    np.testing.assert_allclose(pairs, [transport(averaged, y) for y in quantiles], rtol=1e-9)
    for other in (stats.t(3).ppf(levels), quantiles[1], averaged + 0.3):
        np.testing.assert_allclose(
            value(other), value(averaged) + transport(other, averaged), rtol=1e-9
        )
    mixture = np.sort(np.repeat(quantiles, (5, 2, 3), axis=0).ravel())[5::10]
    assert value(mixture) > value(averaged) + 0.5


def test_independent_coordinates_are_averaged_one_by_one(generator, dtype):
    """No coupling of product measures is cheaper than the sum over their coordinates."""
    x = torch.cartesian_prod(*torch.randn(2, 7, generator=generator, dtype=dtype).exp())
    y = torch.cartesian_prod(*torch.rand(2, 7, generator=generator, dtype=dtype))
    even = np.full(49, 1 / 49)
    cheapest = ot.emd2(even, even, torch.cdist(x, y).square().numpy())
    sorted_x, sorted_y = x.sort(0).values, y.sort(0).values
    assert math.isclose(cheapest, (sorted_x - sorted_y).square().mean(0).sum(), rel_tol=1e-9)
    tied = torch.stack([sorted_x[:, 0], sorted_x[:, 1]], 1)  # the same marginals, not independent
    dearer = ot.emd2(even, even, torch.cdist(tied, y).square().numpy())
    assert dearer > cheapest + 0.01


def test_the_rate_is_convex_along_the_barycenter_with_room_to_spare(many):
    loc, scale, w = many
    prior = Normal(torch.zeros((), dtype=loc.dtype), torch.ones((), dtype=loc.dtype))
    average = (w[0] * kl_divergence(Normal(loc, scale), prior)[..., 0]).sum(0)

    def rate(gaussian):
        return kl_divergence(Normal(*gaussian), prior)[0, :, 0]

    center = barycenters.wasserstein(*many)
    travel = (w[0] * gaussians.w2_squared(*center, loc, scale)).sum(0)
    assert (rate(center) <= (average - 0.5 * travel) + 1e-12 * average).all()
    assert (rate(barycenters.log_pool(*many)) > average).any()


def test_a_singular_covariance_gets_one_line():
    covariance = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    covariance[1, 1, 1] = 0.0
    with pytest.raises(ValueError, match="positive definite") as error:
        barycenters.bures_wasserstein(
            torch.zeros(2, 2, dtype=torch.float64), covariance, torch.full((2,), 0.5).double()
        )
    assert "\n" not in str(error.value)
