"""mmJSD: the geometric Jensen-Shannon divergence in closed form, and what its objective bounds."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Generator
from torch.distributions import Normal, kl_divergence

from multielbo import gaussians
from multielbo.dynamic_prior import dynamic_prior, geometric_jensen_shannon, mmjsd_elbo
from multielbo.mixtures import Posteriors, kl_of_mixture, mean_kl
from multielbo.models.mmjsd import mmjsd
from multielbo.models.registry import build
from multielbo.oracle import LinearGaussian

LOC, SCALE = [0.7, -0.4, 1.5], [0.5, 0.9, 1.3]


def mixture(loc, scale) -> Posteriors:
    """Experts of `(K, B, D)` with equal weights."""
    count, batch, _ = loc.shape
    weights = torch.full((count, batch), 1 / count, dtype=torch.float64)
    members = torch.eye(count, dtype=torch.bool)[..., None].expand(-1, -1, batch)
    return Posteriors(loc.double(), scale.double(), weights, members)


@pytest.fixture
def experts() -> Posteriors:
    """Three experts of one example in one dimension."""
    return mixture(*(torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (LOC, SCALE)))


def densities(z: float) -> list[float]:
    return [
        math.exp(-0.5 * ((z - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
        for m, s in [(0.0, 1.0), *zip(LOC, SCALE, strict=True)]
    ]


def geometric(weights) -> tuple:
    """The mean as a function of z, and its integral before normalising, by quadrature."""

    def raw(z):
        return math.prod(q**w for q, w in zip(densities(z), weights, strict=True))

    mass = quad(raw, -12, 12, epsabs=1e-13)[0]
    return (lambda z: raw(z) / mass), mass


@pytest.mark.equation("eq-dynamic-prior")
@pytest.mark.parametrize("prior_weight", [None, 0.1, 0.6])
def test_the_dynamic_prior_is_the_geometric_mean_of_prior_and_experts(experts, prior_weight):
    share = 0.25 if prior_weight is None else prior_weight
    mean, _ = geometric([share, *[(1 - share) / 3] * 3])
    loc, scale = dynamic_prior(experts, prior_weight)
    found = Normal(loc.squeeze(), scale.squeeze())
    for z in (-1.0, 0.2, 1.7):
        at = found.log_prob(torch.tensor(z, dtype=torch.float64)).exp()
        assert math.isclose(at, mean(z), rel_tol=1e-9)


@pytest.mark.equation("eq-mmjsd-rate")
@pytest.mark.parametrize("prior_weight", [None, 0.1, 0.6])
def test_the_rate_is_what_quadrature_says(experts, prior_weight):
    share = 0.25 if prior_weight is None else prior_weight
    weights = [share, *[(1 - share) / 3] * 3]
    mean, _ = geometric(weights)

    def inside(z):
        each = zip(weights, densities(z), strict=True)
        return sum(w * q * math.log(q / mean(z)) for w, q in each)

    def swapped(z):
        each = zip(weights, densities(z), strict=True)
        return sum(w * mean(z) * math.log(mean(z) / q) for w, q in each)

    found = geometric_jensen_shannon(experts, prior_weight).item()
    assert math.isclose(found, quad(inside, -14, 14, epsabs=1e-12)[0], rel_tol=1e-8)
    assert abs(found - quad(swapped, -14, 14, epsabs=1e-12)[0]) > 0.01


@pytest.mark.equation("eq-mmjsd-rate")
def test_the_rate_is_half_of_all_pairs_divergences_and_the_logarithm_of_the_mass(experts):
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    _, mass = geometric(weights.tolist())
    four = Normal(*(torch.tensor([v, *w]).double() for v, w in ((0.0, LOC), (1.0, SCALE))))
    pairs = kl_divergence(
        Normal(four.loc[:, None], four.scale[:, None]), Normal(four.loc, four.scale)
    )
    expected = (weights[:, None] * weights * pairs).sum() + math.log(mass)
    torch.testing.assert_close(geometric_jensen_shannon(experts).squeeze(), expected)
    assert math.log(mass) < -0.1, "without it the rate would be too large"


@pytest.mark.equation("eq-mmjsd")
def test_with_the_prior_among_its_components_it_bounds_the_evidence_under_the_dynamic_prior():
    """And misses it by the divergence of the experts and that of the mixture, as derived."""
    oracle = LinearGaussian({"a": torch.ones(2, 1).double()}, {"a": 1.3})
    x = {"a": torch.tensor([[1.4, 0.6]]).double()}
    q = mixture(*(torch.tensor(v).double()[:, None, None] for v in (LOC, SCALE)))
    f = Normal(*(part.squeeze() for part in dynamic_prior(q)))
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    score = oracle.log_likelihood(x)(z[:, None, None]).sum(0).squeeze(1)
    four = torch.tensor([densities(float(v)) for v in z], dtype=torch.float64)
    mixed = four.mean(1)
    value = torch.trapezoid(mixed * score, z) - geometric_jensen_shannon(q).squeeze()
    joint = f.log_prob(z) + score
    evidence = torch.trapezoid(joint.exp(), z).log()
    spread = torch.trapezoid(four * (four / mixed[:, None]).log(), z, dim=0).mean()
    missed = torch.trapezoid(mixed * (mixed.log() - joint + evidence), z)
    torch.testing.assert_close(evidence - value, spread + missed)
    assert value < evidence - 0.1


@pytest.mark.equation("eq-mmjsd")
@pytest.mark.parametrize(("noise", "above"), [(1.0, True), (0.1, False)])
def test_at_exact_posteriors_it_exceeds_the_evidence_where_they_are_wide(generator, noise, above):
    """So it is no bound on log p(x); with sharp posteriors it is a loose one on average."""
    oracle = LinearGaussian({"a": torch.ones(1, 1).double()}, {"a": noise})
    batch = oracle.sample(40_000, generator)
    loc, covariance = oracle.posterior(batch)
    scale = covariance.diagonal().sqrt().expand_as(loc)
    q = mixture(loc.expand(3, -1, -1), scale.expand(3, -1, -1))
    value = mmjsd_elbo(q, oracle.log_likelihood(batch), generator).elbo()
    excess = value - oracle.log_evidence(batch)
    error = excess.std() / len(excess) ** 0.5
    assert excess.mean() > 10 * error if above else excess.mean() < -10 * error


@pytest.mark.equation("eq-mmjsd")
def test_it_draws_from_the_experts_and_never_from_the_prior():
    q = mixture(torch.full((2, 1000, 1), 50.0), torch.full((2, 1000, 1), 0.1))
    bound = mmjsd_elbo(q, lambda z: z.squeeze(-1)[None], Generator().manual_seed(0))
    assert bound.reconstruction.min() > 40
    rate, static = geometric_jensen_shannon(q), mean_kl(q)
    torch.testing.assert_close(bound.rate, rate)
    assert (rate - static).abs().min() > 1


def test_equal_experts_that_know_nothing_pay_nothing_and_others_pay_more_than_their_mixture():
    nothing = mixture(torch.zeros(3, 4, 2), torch.ones(3, 4, 2))
    torch.testing.assert_close(geometric_jensen_shannon(nothing), torch.zeros(4).double())
    torch.testing.assert_close(mean_kl(nothing), torch.zeros(4).double())
    sharp = mixture(torch.zeros(3, 1, 2), torch.full((3, 1, 2), 0.02))
    needed, error = kl_of_mixture(sharp, 200, Generator().manual_seed(0))
    assert geometric_jensen_shannon(sharp) > 50 * (needed + 5 * error)


@pytest.mark.parametrize("gone", [[2], [0, 1]])
def test_what_is_missing_leaves_the_mean_and_the_prior_takes_an_equal_share(generator, gone):
    loc, scale = torch.randn(3, 5, 2, generator=generator).double(), torch.rand(3, 5, 2) + 0.5
    observed = torch.ones(3, 5, dtype=torch.bool)
    observed[gone] = False
    kept = observed[:, 0]
    model = build("mmjsd")
    hidden = torch.where(observed[..., None], loc, torch.nan)
    some = model.aggregator(hidden, scale.double(), observed)
    alone = model.aggregator(loc[kept], scale[kept].double())
    torch.testing.assert_close(geometric_jensen_shannon(some), geometric_jensen_shannon(alone))
    torch.testing.assert_close(dynamic_prior(some), dynamic_prior(alone))
    fixed = geometric_jensen_shannon(some, 0.25)  # the share it has beside three experts
    assert (fixed - geometric_jensen_shannon(some)).abs().min() > 1e-3


def test_gradients_are_finite_at_log_variances_of_twenty_apart():
    """Of forty apart the ratio of variances has a derivative that float32 cannot hold."""
    log_variance = torch.tensor([20.0, -20.0, 0.0])[:, None, None].expand(3, 2, 8).clone()
    log_variance.requires_grad_()
    members = torch.eye(3, dtype=torch.bool)[..., None].expand(-1, -1, 2)
    scale = (0.5 * log_variance).exp()
    q = Posteriors(torch.ones(3, 2, 8), scale, torch.full((3, 2), 1 / 3), members)
    geometric_jensen_shannon(q).sum().backward()
    assert log_variance.grad.isfinite().all()


def test_a_single_gaussian_is_charged_like_a_pair_with_the_prior():
    loc, scale = torch.tensor([[[1.3]]]).double(), torch.tensor([[[0.4]]]).double()
    mean_loc, mean_scale = dynamic_prior(mixture(loc, scale))
    expected = 0.5 * gaussians.kl(loc[0], scale[0], mean_loc, mean_scale)
    expected += 0.5 * gaussians.kl(
        torch.zeros(1, 1).double(), torch.ones(1, 1).double(), mean_loc, mean_scale
    )
    torch.testing.assert_close(geometric_jensen_shannon(mixture(loc, scale)), expected)


@pytest.mark.parametrize("prior_weight", [0.0, 1.0, -0.5])
def test_a_weight_that_leaves_one_side_out_is_refused_in_one_line(experts, prior_weight):
    with pytest.raises(ValueError, match=r"between 0 and 1$") as error:
        mmjsd(prior_weight).objective(experts, lambda z: z.squeeze(-1)[None], None)
    assert "\n" not in str(error.value)
