"""MVTCAE as a model: its objective of whatever an example has, and its answers."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from multielbo.mixtures import Posteriors
from multielbo.models.mvtcae import full_and_singletons, mvtcae
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian
from multielbo.subsets import powerset
from multielbo.total_correlation import mvtcae_elbo

NAMES = ("a", "b", "c")
ALPHA = 0.7


@pytest.fixture
def oracle(generator) -> LinearGaussian:
    return LinearGaussian.random({"a": 3, "b": 2, "c": 2}, 2, 0.8, generator=generator)


def experts(oracle, batch):
    loc, scale = oracle.unimodal_posteriors(batch)
    return 1.2 * loc, scale


def row(q: Posteriors, k: int) -> Posteriors:
    return Posteriors(*(part[k : k + 1] for part in q))


def masked(score, mask):
    return lambda z, wanted=None: torch.where(mask, score(z), 0.0)


@pytest.mark.equation("eq-mvtcae")
def test_with_all_modalities_it_is_the_objective_of_the_chapter(oracle, generator):
    batch = oracle.sample(6, generator)
    model, score = mvtcae(ALPHA), oracle.log_likelihood(batch)
    q = model.aggregator(*experts(oracle, batch))
    assert q.loc.shape == (4, 6, 2)
    ours = model.objective(q, score, Generator().manual_seed(1))
    parts = [row(q, k) for k in (1, 2, 3)]
    chapter = mvtcae_elbo(row(q, 0), parts, score, Generator().manual_seed(1), alpha=ALPHA)
    torch.testing.assert_close(ours, chapter)
    twin = mvtcae_elbo(parts[0], parts, score, Generator().manual_seed(1), alpha=ALPHA)
    assert (ours.rate - twin.rate).abs().min() > 1e-3


@pytest.mark.equation("eq-mvtcae")
@pytest.mark.parametrize("seen", powerset(3)[:-1], ids=lambda seen: str(seen.int().tolist()))
def test_of_what_is_observed_it_is_the_objective_of_a_model_without_the_rest(
    oracle, generator, seen
):
    batch = oracle.sample(5, generator)
    loc, scale = experts(oracle, batch)
    model, score = mvtcae(ALPHA), oracle.log_likelihood(batch)
    mask = seen[:, None].expand(3, 5)
    hidden = torch.where(mask[..., None], loc, torch.nan)
    q = model.aggregator(hidden, scale, mask)
    ours = model.objective(q, masked(score, mask), Generator().manual_seed(1))
    alone = model.aggregator(loc[seen], scale[seen])
    small = model.objective(alone, lambda z: score(z)[seen], Generator().manual_seed(1))
    torch.testing.assert_close(ours.rate, small.rate)
    torch.testing.assert_close(ours.reconstruction[seen], small.reconstruction)
    kept = 1 - ALPHA / 3  # MultiVae's weight whatever is missing
    assert not torch.allclose(ours.reconstruction.sum(0), kept * small.reconstruction.sum(0))


def test_one_modality_is_its_own_elbo_less_the_share_of_the_bottleneck(oracle, generator):
    batch = oracle.sample(5, generator)
    loc, scale = experts(oracle, batch)
    model, score = mvtcae(ALPHA), oracle.log_likelihood(batch)
    one = model.aggregator(loc[:1], scale[:1])
    assert len(one.loc) == 2
    ours = model.objective(one, lambda z: score(z)[:1], Generator().manual_seed(1)).elbo()
    plain = joint_elbo(row(one, 0), lambda z: score(z)[:1], Generator().manual_seed(1)).elbo()
    torch.testing.assert_close(ours, (1 - ALPHA) * plain)


def test_without_bottlenecks_it_is_the_joint_elbo_of_the_product(oracle, generator):
    batch = oracle.sample(5, generator)
    model, score = mvtcae(0.0), oracle.log_likelihood(batch)
    q = model.aggregator(*experts(oracle, batch))
    ours = model.objective(q, score, Generator().manual_seed(1))
    torch.testing.assert_close(ours, joint_elbo(row(q, 0), score, Generator().manual_seed(1)))


def test_the_product_leaves_the_prior_out_and_answers_every_subset(oracle, generator):
    batch = oracle.sample(4, generator)
    loc, scale = experts(oracle, batch)
    precision = scale.square().reciprocal()
    answer = mvtcae().aggregator.posterior(loc, scale)
    torch.testing.assert_close(answer.scale[0], precision.sum(0).rsqrt())
    pair = torch.tensor([True, False, True])[:, None].expand(3, 4)
    answer = mvtcae().aggregator.posterior(loc, scale, pair)
    torch.testing.assert_close(answer.scale[0], (precision[0] + precision[2]).rsqrt())
    assert (answer.scale[0] - (1 + precision[0] + precision[2]).rsqrt()).abs().min() > 1e-3


def test_the_family_is_the_full_set_and_then_each_modality_in_order():
    assert full_and_singletons(3).int().tolist() == [[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused_in_one_line(alpha):
    with pytest.raises(ValueError, match=rf"^mvtcae: alpha is {alpha}; .* 0 to 1$"):
        mvtcae(alpha)
