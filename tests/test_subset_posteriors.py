"""Subset posteriors: exact on the oracle for every subset, and where a single division is not."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from multielbo import gaussians
from multielbo.hmc import hmc
from multielbo.oracle import LinearGaussian
from multielbo.subset_posteriors import (
    gaussian_subset_posterior,
    prior_exponent,
    subset_log_density,
)
from multielbo.subsets import powerset

NAMES = ["a", "b", "c", "d"]
SUBSETS = [row.nonzero().flatten().tolist() for row in powerset(4)]


@pytest.fixture
def oracle(generator) -> LinearGaussian:
    noise = {"a": 0.8, "b": 1.2, "c": 2.0, "d": 0.6}
    return LinearGaussian.random(dict.fromkeys(NAMES, 4), 3, noise, generator=generator)


@pytest.fixture
def batch(oracle, generator):
    return oracle.sample(5, generator)


def experts(oracle, batch, members):
    loc, scale = oracle.unimodal_posteriors(batch)
    return [partial(gaussians.log_density, loc=loc[m], scale=scale[m]) for m in members]


def exact(oracle, batch, members):
    loc, covariance = oracle.posterior(batch, [NAMES[m] for m in members])
    return torch.distributions.MultivariateNormal(loc, covariance)


def spread_of_offset(oracle, batch, members, **options) -> torch.Tensor:
    """How far the log-density is from the exact one up to a number for each example, `(B,)`."""
    z = 2 * torch.randn(40, 5, 3, generator=torch.Generator().manual_seed(4)).double()
    ours = subset_log_density(z, experts(oracle, batch, members), **options)
    return (ours - exact(oracle, batch, members).log_prob(z)).std(0)


@pytest.mark.equation("eq-subset-posterior")
@pytest.mark.parametrize("members", SUBSETS, ids=str)
def test_the_product_is_the_oracles_posterior_for_every_subset(oracle, batch, members):
    assert (spread_of_offset(oracle, batch, members) < 1e-12).all()


@pytest.mark.parametrize("members", SUBSETS, ids=str)
def test_one_division_is_right_up_to_two_members_and_wrong_from_three(oracle, batch, members):
    error = spread_of_offset(oracle, batch, members, single_division=True)
    assert (error < 1e-12).all() if len(members) < 3 else (error > 0.1).all()


@pytest.mark.equation("eq-subset-posterior")
@pytest.mark.parametrize("members", SUBSETS, ids=str)
def test_the_gaussian_product_has_the_oracles_mean_and_covariance(oracle, batch, members):
    loc, scale = oracle.unimodal_posteriors(batch)
    found = gaussian_subset_posterior(loc[members], scale[members])
    mean, covariance = oracle.posterior(batch, [NAMES[m] for m in members])
    torch.testing.assert_close(found[0], mean)
    torch.testing.assert_close(found[1], covariance.diagonal().sqrt().expand(5, 3))
    single = gaussian_subset_posterior(loc[members], scale[members], single_division=True)
    narrower = (single[1] < found[1]).all()
    assert narrower == (len(members) > 2)


@pytest.mark.parametrize(
    ("members", "released", "right"), [(2, 7.0, 7.0), (3, 11.0, 10.0), (4, 15.0, 13.0)]
)
def test_the_precisions_are_those_that_were_measured_of_the_released_code(members, released, right):
    loc, scale = torch.zeros(members, 1, 1), torch.full((members, 1, 1), 0.5)
    for single, expected in ((True, released), (False, right)):
        _, found = gaussian_subset_posterior(loc, scale, single_division=single)
        assert found.item() ** -2 == pytest.approx(expected)


def test_multivae_divides_once_whatever_the_subset():
    sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
    try:
        from torchvision_import import torchvision_datasets

        torchvision_datasets()
        from multivae.models import JNF, JNFConfig
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed: pip install 'multielbo[bench]'")
    finally:
        sys.path.pop(0)
    torch.manual_seed(0)
    shapes = dict.fromkeys("abc", (4,))
    theirs = JNF(JNFConfig(n_modalities=3, latent_dim=2, input_dims=shapes)).eval()
    batch = {m: torch.randn(6, 4) for m in "abc"}
    z = torch.randn(6, 2)

    def expert(m, z):
        q, flow = theirs.encoders[m](batch[m]), theirs.flows[m](z)
        base = gaussians.log_density(flow.out, q.embedding, (0.5 * q.log_covariance).exp())
        return base + flow.log_abs_det_jac

    for subset in ("ab", "abc"):
        released = theirs._compute_poe_posterior(list(subset), z, batch, grad=False)
        terms = [partial(expert, m) for m in subset]
        once = subset_log_density(z, terms, single_division=True)
        torch.testing.assert_close(once, released, rtol=1e-4, atol=1e-4)
        right = subset_log_density(z, terms)
        assert torch.allclose(right, released, atol=1e-3) == (subset == "ab")


def test_the_identity_needs_no_gaussian():
    # p(z | x) of x = z^2 + noise has two modes, that of y = z + noise has one.
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    step = z[1, 0] - z[0, 0]

    def likelihood_of_square(z):
        return -0.5 * ((1.5 - z.square().squeeze(-1)) / 0.6).square()

    def likelihood_of_itself(z):
        return -0.5 * ((0.4 - z.squeeze(-1)) / 1.1).square()

    def normalised(log_density):
        return log_density - torch.logsumexp(log_density, 0) - step.log()

    log_prior = gaussians.log_prior(z)
    terms = [likelihood_of_square(z), likelihood_of_itself(z), likelihood_of_itself(z) * 0.5]
    posteriors = [normalised(log_prior + term) for term in terms]
    truth = normalised(log_prior + sum(terms))
    found = subset_log_density(z, [lambda _, q=q: q for q in posteriors])
    torch.testing.assert_close(normalised(found), truth)
    single = subset_log_density(z, [lambda _, q=q: q for q in posteriors], single_division=True)
    assert (normalised(single) - truth).abs().max() > 0.1


def test_the_sampler_needs_no_normalising_constant(oracle, batch):
    members = [0, 1, 2]
    terms = experts(oracle, batch, members)
    settings = {"step_size": 0.25, "leapfrog_steps": 6, "iterations": 20, "vary": True, "keep": 1}
    start = torch.zeros(3000, 5, 3, dtype=torch.float64)

    def draws(shift: float) -> torch.Tensor:
        def target(z):
            return subset_log_density(z, terms) + shift

        return hmc(target, start, **settings, generator=torch.Generator().manual_seed(1)).z[-1]

    z = draws(0.0)
    torch.testing.assert_close(draws(123.0), z)
    loc, covariance = oracle.posterior(batch, [NAMES[m] for m in members])
    scale = covariance.diagonal().sqrt()
    assert ((z.mean(0) - loc) / (scale / len(z) ** 0.5)).abs().max() < 4.5
    assert ((z.std(0) / scale - 1) * (2 * len(z)) ** 0.5).abs().max() < 4.5


def test_a_subset_without_a_member_is_refused():
    calls = [
        lambda: subset_log_density(torch.zeros(1, 2), []),
        lambda: gaussian_subset_posterior(torch.zeros(0, 1, 2), torch.ones(0, 1, 2)),
        lambda: prior_exponent(0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"it has no member.* from the prior") as error:
            call()
        assert "\n" not in str(error.value)


def test_experts_no_sharper_than_the_prior_have_no_product():
    # Precisions 0.6 + 0.6 + 0.6 - 2 < 0: the density grows without end.
    scale = torch.full((3, 1, 1), 0.6**-0.5)
    with pytest.raises(ValueError, match="cannot be normalised"):
        gaussian_subset_posterior(torch.zeros(3, 1, 1), scale)
    released = gaussian_subset_posterior(torch.zeros(3, 1, 1), scale, single_division=True)
    assert released[1].isfinite().all()
