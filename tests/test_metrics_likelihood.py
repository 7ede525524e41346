"""Importance sampling on a model whose evidence is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multielbo import gaussians
from multielbo.metrics import estimates, likelihood
from multielbo.mixtures import Posteriors
from multielbo.oracle import LinearGaussian

NAMES = ("a", "b", "c")


@pytest.fixture
def oracle(generator) -> LinearGaussian:
    dims = {"a": 3, "b": 4, "c": 5}
    return LinearGaussian.random(dims, latent_dim=2, noise=1.5, generator=generator)


@pytest.fixture
def batch(oracle, generator) -> dict[str, Tensor]:
    return oracle.sample(400, generator)


def posterior(oracle, batch, subset=NAMES, components=1) -> Posteriors:
    """The exact posterior of a subset, as a mixture of equal components."""
    loc, covariance = oracle.posterior(batch, subset)
    scale = covariance.diagonal().sqrt().expand_as(loc)
    members = torch.tensor([name in subset for name in NAMES])
    return Posteriors(
        loc.expand(components, -1, -1),
        scale.expand(components, -1, -1),
        loc.new_full((components, len(loc)), 1 / components),
        members[None, :, None].expand(components, -1, len(loc)),
    )


@pytest.mark.equation("eq-importance")
@pytest.mark.parametrize("samples", [1, 2, 15])
@pytest.mark.parametrize("components", [1, 3])
def test_the_exact_posterior_gives_the_evidence_without_variance(
    oracle, batch, generator, samples, components
):
    q = posterior(oracle, batch, components=components)
    score = oracle.log_likelihood(batch)
    found, error = likelihood.importance_log_likelihood(q, score, samples, generator)
    torch.testing.assert_close(found, oracle.log_evidence(batch), atol=1e-10, rtol=0)
    if samples > 1:
        assert float(error.max()) < 1e-10
    else:
        assert bool(error.isnan().all())


class WithoutWeights(Posteriors):
    """The tempting mixture density that sums its components without weighting them."""

    def log_density(self, z: Tensor) -> Tensor:
        return gaussians.log_density(z.unsqueeze(-3), self.loc, self.scale).logsumexp(-2)


@pytest.mark.equation("eq-importance")
def test_dropping_the_mixture_weights_is_off_by_log_k(oracle, batch, generator):
    q = WithoutWeights(*posterior(oracle, batch, components=3))
    found, _ = likelihood.importance_log_likelihood(q, oracle.log_likelihood(batch), 5, generator)
    off = oracle.log_evidence(batch) - found
    torch.testing.assert_close(off, torch.full_like(off, math.log(3)), atol=1e-10, rtol=0)


@pytest.mark.equation("eq-importance")
def test_dropping_the_prior_does_not_give_the_evidence(oracle, batch, generator, monkeypatch):
    monkeypatch.setattr(likelihood, "log_prior", lambda z: z.new_zeros(z.shape[:-1]))
    q = posterior(oracle, batch)
    found, error = likelihood.importance_log_likelihood(
        q, oracle.log_likelihood(batch), 100, generator
    )
    assert float((found - oracle.log_evidence(batch)).mean()) > 1
    assert float(error.mean()) > 0.01


@pytest.mark.equation("eq-importance")
def test_one_sample_from_a_poor_posterior_gives_its_elbo_on_average(oracle, batch, generator):
    loc, covariance = oracle.posterior(batch, ["a"])
    elbo = oracle.elbo(batch, loc, covariance)
    q = posterior(oracle, batch, ["a"])
    draws = torch.stack(
        [
            likelihood.importance_log_likelihood(q, oracle.log_likelihood(batch), 1, generator)[0]
            for _ in range(50)
        ]
    )
    off, error = estimates.mean((draws - elbo).flatten())
    assert abs(float(off)) < 4 * float(error)
    below, _ = estimates.mean((oracle.log_evidence(batch) - draws).flatten())
    assert float(below) > 20 * float(error)


@pytest.mark.equation("eq-importance")
def test_a_poor_posterior_errs_low_and_less_so_with_more_samples(oracle, generator):
    batch = oracle.sample(5000, generator)
    q, score = posterior(oracle, batch, ["a"]), oracle.log_likelihood(batch)
    gaps = [
        estimates.mean(
            likelihood.importance_log_likelihood(q, score, samples, generator)[0]
            - oracle.log_evidence(batch)
        )
        for samples in (1, 15, 150)
    ]
    values = [float(gap.value) for gap in gaps]
    errors = [float(gap.standard_error) for gap in gaps]
    assert values[0] + 4 * errors[0] < values[1]
    assert values[1] + 4 * errors[1] < values[2]
    assert values[2] < 0


@pytest.mark.equation("eq-importance")
def test_the_error_squared_is_the_variance_of_the_evidence(oracle, batch, generator):
    q, score = posterior(oracle, batch, ["b", "c"]), oracle.log_likelihood(batch)
    evidence = oracle.log_evidence(batch)
    found, error = map(
        torch.stack,
        zip(
            *(likelihood.importance_log_likelihood(q, score, 20, generator) for _ in range(20)),
            strict=True,
        ),
    )
    ratio = (found - evidence).exp()  # has mean one, and the error squared estimates its variance
    claimed, seen = (error * ratio).square(), (ratio - 1).square()
    off, noise = estimates.mean((claimed - seen).flatten())
    assert abs(float(off)) < 4 * float(noise)
    of_one_weight, noise = estimates.mean((20 * claimed - seen).flatten())
    assert float(of_one_weight) > 4 * float(noise)


def test_no_more_latents_are_decoded_at_a_time_than_allowed(oracle, batch, generator):
    seen = []

    def score(z: Tensor) -> Tensor:
        seen.append(z[..., 0].numel())
        return oracle.log_likelihood(batch)(z)

    q = posterior(oracle, batch)
    found, _ = likelihood.importance_log_likelihood(q, score, 7, generator, chunk=800)
    assert seen == [800, 800, 800, 400]
    torch.testing.assert_close(found, oracle.log_evidence(batch), atol=1e-10, rtol=0)


@pytest.mark.equation("eq-importance")
def test_a_thousand_samples_come_within_their_error_of_the_evidence(oracle, batch, generator):
    q, score = posterior(oracle, batch, ["b", "c"]), oracle.log_likelihood(batch)
    gaps = {}
    for samples in (15, 1000):
        found, error = likelihood.importance_log_likelihood(q, score, samples, generator)
        gaps[samples] = found - oracle.log_evidence(batch)
        # The log of an average errs low by half its variance, to first order.
        off, noise = estimates.mean(gaps[samples] + 0.5 * error.square())
        assert abs(float(off)) < 4 * float(noise) + 0.1 * float(error.square().mean())
    assert float(gaps[15].square().mean()) > 20 * float(gaps[1000].square().mean())
