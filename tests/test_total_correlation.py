"""Objectives of the total correlation family, against closed forms and against MultiVae."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from multielbo import gaussians
from multielbo import oracle_bounds as bounds
from multielbo import oracle_encoders as encoders
from multielbo.mixtures import Posteriors
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian
from multielbo.oracle_bounds import LinearEncoder
from multielbo.total_correlation import mvtcae_elbo, tc_elbo

NAMES = ("a", "b", "c")


@pytest.fixture
def oracle(generator):
    return LinearGaussian.random({"a": 3, "b": 2, "c": 2}, 2, 0.8, generator=generator)


def single(loc, scale):
    members = torch.ones(1, 3, len(loc), dtype=torch.bool)
    return Posteriors(loc[None], scale[None], torch.ones(1, len(loc)).to(loc), members)


def posterior(oracle, batch, subset, bend=1.0):
    loc, covariance = oracle.posterior(batch, subset)
    return single(bend * loc, covariance.diagonal().sqrt().expand_as(loc))


def all_of_them(oracle, batch):
    full = posterior(oracle, batch, NAMES, 0.9)
    return full, [posterior(oracle, batch, [m], 1.1) for m in NAMES]


@pytest.mark.equation("eq-tc")
@pytest.mark.equation("eq-mvtcae")
def test_the_estimators_average_to_the_expectations_on_the_oracle(oracle, generator):
    n = 40_000
    batch = oracle.sample(n, generator)
    full, parts = all_of_them(oracle, batch)

    def linear(subset, bend):
        q = encoders.exact(oracle, subset)
        return LinearEncoder(bend * q.weight, q.covariance)

    q, q_m = linear(NAMES, 0.9), [linear([m], 1.1) for m in NAMES]
    score = oracle.log_likelihood(batch)
    pairs = [
        (tc_elbo(full, parts[1], score, generator), bounds.tc(oracle, q, q_m[1])),
        (
            mvtcae_elbo(full, parts, score, generator, alpha=0.7),
            bounds.mvtcae(oracle, q, q_m, 0.7),
        ),
    ]
    for bound, expected in pairs:
        values = bound.elbo()
        error = values.std() / n**0.5
        assert abs(values.mean() - expected) < 4 * error
        assert abs(values.mean() + bound.rate.mean() - expected) > 20 * error, "the rate counts"
    assert abs(pairs[0][1] - pairs[1][1]) > 0.1


@pytest.mark.equation("eq-mvtcae")
def test_without_a_share_for_the_bottlenecks_it_is_the_joint_elbo(oracle, generator):
    batch = oracle.sample(5, generator)
    full, parts = all_of_them(oracle, batch)
    score = oracle.log_likelihood(batch)
    ours = mvtcae_elbo(full, parts, score, torch.Generator().manual_seed(2), alpha=0.0)
    plain = joint_elbo(full, score, torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours.elbo(1.7), plain.elbo(1.7))
    other = mvtcae_elbo(full, parts, score, torch.Generator().manual_seed(2), alpha=0.5)
    assert (other.elbo() - plain.elbo()).abs().min() > 1e-3


@pytest.mark.equation("eq-mvtcae")
@pytest.mark.parametrize("alpha", [0.0, 0.4, 5 / 6, 1.0])
def test_the_truth_attains_the_maximum_and_nothing_exceeds_it(oracle, generator, alpha):
    entropies = torch.stack([-bounds.expected_log_evidence(oracle, [m]) for m in NAMES])
    total = entropies.sum() + bounds.expected_log_evidence(oracle)
    maximum = total - (1 - alpha / 3) * entropies.sum()
    truth = encoders.exact(oracle)
    parts = [encoders.exact(oracle, [m]) for m in NAMES]
    torch.testing.assert_close(bounds.mvtcae(oracle, truth, parts, alpha), maximum)
    data = bounds.data_covariance(oracle)
    for factor in (0.6, 1.0, 1.5):
        model = LinearGaussian({m: factor * w for m, w in oracle.loadings.items()}, oracle.noise)
        for size in (0.01, 0.2):
            root = torch.eye(2) + size * torch.randn(2, 2, generator=generator, dtype=torch.float64)
            shift = size * torch.randn(2, 7, generator=generator, dtype=torch.float64)
            q = LinearEncoder(truth.weight + shift, root @ truth.covariance @ root.T)
            assert bounds.mvtcae(model, q, parts, alpha, data) < maximum + 1e-9


@pytest.mark.equation("eq-tc")
def test_at_the_truth_it_exceeds_the_evidence_by_what_the_subset_says(oracle):
    evidence = bounds.expected_log_evidence(oracle)
    for subset in ([], ["b"], ["a", "c"], list(NAMES)):
        part = encoders.exact(oracle, subset)
        said = -0.5 * torch.logdet(part.covariance)
        value = bounds.tc(oracle, encoders.exact(oracle), part)
        torch.testing.assert_close(value, evidence + said)
        assert (value > evidence + 0.1) == bool(subset), "no bound on the evidence"


@pytest.mark.equation("eq-mvtcae")
def test_multivae_has_the_same_loss():
    sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
    try:
        from torchvision_import import torchvision_datasets

        torchvision_datasets()
        from multivae.data.datasets.base import MultimodalBaseDataset
        from multivae.models import MVTCAE, MVTCAEConfig
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed: pip install 'multielbo[bench]'")
    finally:
        sys.path.pop(0)
    torch.manual_seed(0)
    alpha, beta = 0.7, 2.5
    shapes = dict.fromkeys(NAMES, (4,))
    config = MVTCAEConfig(n_modalities=3, latent_dim=2, input_dims=shapes, alpha=alpha, beta=beta)
    theirs = MVTCAE(config).eval()
    batch = {m: torch.randn(6, 4) for m in NAMES}
    experts = {m: theirs.encoders[m](batch[m]) for m in NAMES}
    parts = [single(q.embedding, (0.5 * q.log_covariance).exp()) for q in experts.values()]
    precision = sum(part.scale[0] ** -2 for part in parts)
    loc = sum(part.loc[0] / part.scale[0] ** 2 for part in parts) / precision
    full = single(loc, precision.rsqrt())

    drawn = []

    def score(z, wanted=None):
        drawn.append(z)
        means = {m: theirs.decoders[m](z).reconstruction for m in NAMES}
        return torch.stack([theirs.recon_log_probs[m](means[m], batch[m]).sum(-1) for m in NAMES])

    torch.manual_seed(5)
    loss = theirs(MultimodalBaseDataset(batch)).loss
    torch.manual_seed(5)
    noise = torch.randn(6, 2)  # the one draw of their forward pass
    z = full.loc[0] + full.scale[0] * noise

    def fixed(_, wanted=None):
        return score(z)

    ours = -mvtcae_elbo(full, parts, fixed, alpha=alpha).elbo(beta).mean()
    np.testing.assert_allclose(ours.item(), loss.item(), rtol=1e-4)
    other = -mvtcae_elbo(full, parts, fixed, alpha=0.5).elbo(beta).mean()
    assert abs(other.item() - loss.item()) > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, p, s: mvtcae_elbo(f, p, s, alpha=1.2), "alpha is 1.2"),
        (
            lambda f, p, s: tc_elbo(Posteriors(*(torch.cat([x, x]) for x in f)), p[0], s),
            "has 2 components",
        ),
        (
            lambda f, p, s: tc_elbo(f, Posteriors(*(torch.cat([x, x]) for x in f)), s),
            "has 2 components",
        ),
    ],
)
def test_bad_input_gets_one_line(oracle, generator, call, message):
    batch = oracle.sample(3, generator)
    full, parts = all_of_them(oracle, batch)
    with pytest.raises(ValueError, match=message) as error:
        call(full, parts, oracle.log_likelihood(batch))
    assert "\n" not in str(error.value)


def test_a_closed_form_rate_is_that_of_two_gaussians(oracle, generator):
    batch = oracle.sample(4, generator)
    full, parts = all_of_them(oracle, batch)
    bound = tc_elbo(full, parts[0], oracle.log_likelihood(batch), generator)
    expected = gaussians.kl(full.loc[0], full.scale[0], parts[0].loc[0], parts[0].scale[0])
    torch.testing.assert_close(bound.rate, expected)
    swapped = gaussians.kl(parts[0].loc[0], parts[0].scale[0], full.loc[0], full.scale[0])
    assert (bound.rate - swapped).abs().min() > 1e-3
