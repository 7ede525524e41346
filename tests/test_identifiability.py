"""Mean correlation coefficients: values known in closed form, orders that hold, and bad input."""

import math

import pytest
import torch
from scipy import stats
from sklearn.cross_decomposition import CCA

from multielbo.dependence import pearson, randomised_dependence
from multielbo.identifiability import (
    Split,
    canonical_mcc,
    chance,
    halves,
    matching,
    strong_mcc,
    weak_mcc,
)

N = 20_000
SPREAD = 5 / N**0.5  # five standard errors of a correlation near zero


@pytest.fixture
def z(generator):
    return torch.randn(N, 2, generator=generator, dtype=torch.float64)


@pytest.fixture
def split(generator):
    return halves(N, generator)


def same(n):
    everything = torch.ones(n, dtype=torch.bool)
    return Split(everything, everything)


def turn(degrees):
    a = math.radians(degrees)
    rows = [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]
    return torch.tensor(rows, dtype=torch.float64)


def test_the_halves_are_disjoint_and_everything(generator):
    fit, judge = halves(7, generator)
    assert (fit ^ judge).all()
    assert fit.sum() == 3


@pytest.mark.equation("eq-mcc-strong")
def test_order_sign_scale_and_shift_cost_nothing(z, split):
    learned = torch.stack([-3 * z[:, 1] + 2, 0.1 * z[:, 0] - 7], 1)
    assert strong_mcc(learned, z, split) == pytest.approx(1, abs=1e-12)
    assert pearson(learned, z).diagonal().mean() < SPREAD, "without matching"


@pytest.mark.equation("eq-mcc-strong")
@pytest.mark.parametrize("degrees", [10, 45, 80])
def test_a_rotated_pair_scores_its_larger_direction_cosine(degrees, z, split):
    expected = max(abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees))))
    learned = z @ turn(degrees)
    assert strong_mcc(learned, z, split) == pytest.approx(expected, abs=SPREAD)
    assert weak_mcc(learned, z, split) == pytest.approx(1, abs=1e-12)
    assert canonical_mcc(learned, z, split) == pytest.approx(1, abs=1e-12)


@pytest.mark.equation("eq-mcc-weak")
def test_noise_lowers_the_weak_score_to_the_multiple_correlation(z, split, generator):
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    mixing = torch.tensor([[2.0, 1.0], [0.5, -1.0]], dtype=z.dtype)
    learned = z @ mixing + noise
    covariance = mixing.T @ mixing + torch.eye(2)
    explained = (mixing @ torch.linalg.solve(covariance, mixing.T)).diagonal()
    expected = explained.sqrt().mean()
    assert weak_mcc(learned, z, split) == pytest.approx(expected.item(), abs=SPREAD)


@pytest.mark.equation("eq-mcc-weak")
def test_the_weak_score_does_not_see_an_affine_map_of_what_was_learned(z, split, generator):
    noisy = z + torch.randn(z.shape, generator=generator, dtype=z.dtype)
    moved = noisy @ torch.tensor([[1.0, 5.0], [2.0, -1.0]], dtype=z.dtype) + 100
    torch.testing.assert_close(weak_mcc(moved, z, split), weak_mcc(noisy, z, split))
    assert abs(strong_mcc(moved, z, split) - strong_mcc(noisy, z, split)) > 0.01


@pytest.mark.equation("eq-mcc-canonical")
def test_canonical_scores_are_those_of_sklearn(z, generator):
    z = z[:300]
    learned = z @ turn(30) + torch.randn(300, 2, generator=generator).double() * torch.tensor(
        [0.3, 2.0]
    )
    reference = CCA(n_components=2, scale=False, max_iter=5000, tol=1e-14).fit(learned, z)
    left, right = reference.transform(learned, z)
    expected = [abs(stats.pearsonr(left[:, i], right[:, i])[0]) for i in range(2)]
    assert canonical_mcc(learned, z, same(300)) == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert canonical_mcc(learned, z, same(300), 1) == pytest.approx(max(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_on_the_same_rows_strong_is_at_most_weak_at_most_the_first_canonical(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(50, 3, generator=generator).double()
    mixing = torch.randn(3, 3, generator=generator).double()
    learned = z @ mixing + torch.randn(50, 3, generator=generator).double()
    strong, weak = strong_mcc(learned, z, same(50)), weak_mcc(learned, z, same(50))
    assert strong <= weak + 1e-12
    assert weak <= canonical_mcc(learned, z, same(50), 1) + 1e-12
    uncorrelated = torch.linalg.qr(z - z.mean(0)).Q
    weak = weak_mcc(learned, uncorrelated, same(50))
    assert canonical_mcc(learned, uncorrelated, same(50)) <= weak + 1e-12


def test_averaged_canonical_correlations_can_be_below_the_strong_score(z, generator):
    both = z.sum(1)
    learned = torch.stack([both, both + 0.1 * torch.randn(N, generator=generator).double()], 1)
    strong = strong_mcc(learned, z, same(N))
    assert canonical_mcc(learned, z, same(N)) < strong - 0.1
    assert strong <= weak_mcc(learned, z, same(N))


@pytest.mark.equation("eq-mcc-chance")
def test_independent_latents_score_the_chance_level_on_rows_that_were_not_fitted():
    scores = {"strong": [], "weak": [], "in sample": []}
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        learned = torch.randn(40, 3, generator=generator).double()
        true = torch.randn(40, 3, generator=generator).double()
        split = halves(40, generator)
        scores["strong"].append(strong_mcc(learned, true, split))
        scores["weak"].append(weak_mcc(learned, true, split))
        scores["in sample"].append(strong_mcc(learned, true, Split(split.fit, split.fit)))
    for name, values in scores.items():
        values = torch.stack(values)
        error = values.std() / len(values) ** 0.5
        beyond = (values.mean() - chance(20)).abs() / error
        assert (beyond > 5) if name == "in sample" else (beyond < 5), name
    uniform = stats.beta(0.5, 9)  # of the squared correlation of 20 rows
    assert chance(20) == pytest.approx(uniform.expect(lambda r: r**0.5), rel=1e-6)


def test_the_best_matching_is_not_the_greedy_one():
    correlations = torch.tensor([[0.9, 0.8], [0.8, 0.1]])
    rows, columns = matching(correlations)
    assert correlations[rows, columns].tolist() == pytest.approx([0.8, 0.8])


def test_a_true_latent_without_a_partner_counts_zero(z, split):
    assert strong_mcc(z[:, :1], z, split) == pytest.approx(0.5)
    assert weak_mcc(z[:, :1], z, split) < 0.5 + SPREAD


def test_more_learned_latents_than_true_ones_are_allowed(z, split, generator):
    useless = torch.randn(N, 2, generator=generator).double()
    assert strong_mcc(torch.cat([useless, z], 1), z, split) == pytest.approx(1)
    assert weak_mcc(torch.cat([useless, z], 1), z, split) == pytest.approx(1)


def test_a_learned_latent_that_never_varies_agrees_with_nothing(z, split):
    collapsed = torch.stack([z[:, 0], torch.full((N,), 0.1)], 1)
    assert strong_mcc(collapsed, z, split) == pytest.approx(0.5)
    assert weak_mcc(collapsed, z, split) < 0.5 + SPREAD
    assert canonical_mcc(collapsed, z, split) == pytest.approx(0.5)
    assert weak_mcc(collapsed[:, 1:], z, split) == 0


def test_a_true_latent_that_is_constant_is_refused(z, split):
    true = torch.stack([z[:, 0], torch.full((N,), 0.1)], 1)
    for score in (strong_mcc, weak_mcc, canonical_mcc):
        with pytest.raises(ValueError, match=r"true latent 1 is constant"):
            score(z, true, split)


def test_a_value_that_is_not_finite_is_named(z, split):
    broken = z.clone()
    broken[3, 1] = math.nan
    with pytest.raises(ValueError, match="mcc: learned latent 1 of example 3 is nan"):
        strong_mcc(broken, z, split)
    broken[3, 1] = math.inf
    with pytest.raises(ValueError, match="mcc: true latent 1 of example 3 is inf"):
        weak_mcc(z, broken, split)


def test_too_few_rows_are_refused(z):
    with pytest.raises(ValueError, match="two rows always correlate"):
        strong_mcc(z[:1], z[:1], same(1))
    with pytest.raises(ValueError, match="two rows always correlate"):
        strong_mcc(z[:2], z[:2], same(2))
    with pytest.raises(ValueError, match="3 rows fit an affine map of 2 latents"):
        weak_mcc(z[:3], z[:3], same(3))
    with pytest.raises(ValueError, match="too few for canonical directions"):
        canonical_mcc(z[:5], z[:5], same(5))


def test_rows_that_do_not_pair_and_wrong_splits_are_refused(z, split):
    with pytest.raises(ValueError, match="of the same examples"):
        strong_mcc(z[:-1], z, split)
    with pytest.raises(ValueError, match="of the same examples"):
        strong_mcc(z[:, 0], z[:, 0], split)
    with pytest.raises(ValueError, match="no learned latents"):
        strong_mcc(z[:, :0], z, split)
    with pytest.raises(ValueError, match=r"split.fit must be 20000 booleans"):
        strong_mcc(z, z, Split(torch.arange(5), split.judge))
    with pytest.raises(ValueError, match="3 canonical pairs of 2"):
        canonical_mcc(z, z, split, 3)


def test_randomised_dependence_sees_a_parabola_that_pearson_does_not(generator):
    x = torch.randn(2000, 1, generator=generator).double()
    depends = randomised_dependence(generator)
    assert pearson(x, x.square()) < 0.15
    assert depends(x, x.square()) > 0.95
    assert depends(x, x.exp()) > 0.999, "ranks do not see a monotone map"


def test_randomised_dependence_of_independent_columns_is_positive(generator):
    a, b = torch.randn(2, 2000, 3, generator=generator).double()
    values = randomised_dependence(generator)(a, b)
    assert values.shape == (3, 3)
    assert values.min() > pearson(a, b).mean()
    assert values.max() < 0.3


def test_any_correlation_can_be_asked_for(z, split, generator):
    depends = randomised_dependence(generator)
    warped = z.sign() * z.square()  # a monotone map of each
    assert strong_mcc(warped, z, split, depends) > 0.999
    assert strong_mcc(warped, z, split) < 0.95
    assert canonical_mcc(z @ turn(30), z, split, 1, depends) > 0.999
