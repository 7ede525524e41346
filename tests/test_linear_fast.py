"""Shortcuts of the linear experiment against the long way, and its odd inputs."""

import math

import pytest
import torch
from torch.func import functional_call, stack_module_state

from multielbo import linear_expectations, masks
from multielbo.aggregators import Aggregator
from multielbo.linear_data import (
    LinearModel,
    average_and_covariance,
    dense,
    likelihood_of,
    log_likelihood,
)
from multielbo.linear_experiment import learning_rate, risen, train
from multielbo.linear_likelihoods import quadratic
from multielbo.linear_networks import LinearVAE
from multielbo.linear_objectives import AGGREGATORS, OBJECTIVES, Settings, posteriors
from multielbo.linear_stacks import experts, sum_pooled
from multielbo.masked import kept_posterior
from multielbo.set_networks import gaussians_of

WIDTHS = [6, 3, 5]
SEEDS = 2


@pytest.fixture
def truth(generator):
    return dense(WIDTHS, 2, noise=0.8, generator=generator)


@pytest.fixture
def x(truth, generator):
    return truth.sample(40, generator)


def settings(**changes):
    small = {"latent_dim": 2, "epochs": 2, "batch": 20, "width": 8, "curve_every": 1}
    return Settings(**(small | changes))


def networks(truth, aggregator):
    found = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        found.append(LinearVAE(truth.present, 2, 8, AGGREGATORS[aggregator]).double())
    return found, stack_module_state(found)[0]


def of_all_seeds(x):
    return x[:, None].expand(-1, SEEDS, -1, -1)


def every_subset(x):
    return masks.all_subsets(len(x))[..., None].expand(-1, -1, SEEDS * x.shape[1])


def test_the_fast_log_likelihood_is_the_exact_one(truth, x, generator):
    moments = average_and_covariance(truth, x)
    wide = torch.randn(truth.loadings.shape, generator=generator, dtype=torch.float64)
    other = LinearModel(
        wide * truth.present[..., None], 2 * truth.offsets, truth.present, truth.noise
    )
    for model in (truth, other):
        torch.testing.assert_close(likelihood_of(model, *moments), log_likelihood(model, x))
    forgotten = likelihood_of(other, torch.zeros_like(moments[0]), moments[1])
    assert (forgotten - log_likelihood(other, x)).abs() > 1, "the offsets count"


def test_encoders_as_one_product_answer_as_each_module_does(truth, x):
    found, weights = networks(truth, "poe")
    answers = gaussians_of(experts(weights, of_all_seeds(x)))
    for r, network in enumerate(found):
        for answer, expected in zip(answers, network(x, None), strict=True):
            torch.testing.assert_close(answer[r], expected)


def test_pooled_as_one_product_all_subsets_are_answered_as_by_each_module(truth, x):
    found, weights = networks(truth, "sum-pooling")
    members = masks.all_subsets(len(x))[..., None].expand(-1, -1, x.shape[1])
    by_seed = members[:, :, None].expand(-1, -1, SEEDS, -1)
    loc, scale = sum_pooled(weights, experts(weights, of_all_seeds(x)), by_seed)
    for r, network in enumerate(found):
        expected = network(x, members)
        torch.testing.assert_close(loc[:, r], expected[0][:, 0])
        torch.testing.assert_close(scale[:, r], expected[1][:, 0])
    # The affine layer that is applied to a sum of n has n times its bias.
    once = {**weights, "aggregator.inner.4.bias": 2 * weights["aggregator.inner.4.bias"]}
    moved = sum_pooled(once, experts(weights, of_all_seeds(x)), by_seed)[0] - loc
    assert moved[1:].abs().amin((1, 2, 3)).min() > 0
    assert (moved[0] == 0).all(), "the empty sum has no bias"


SEVERAL = ("moe", "mopoe", "mixture-of-w2")


@pytest.mark.equation("eq-quadratic-expectation")
@pytest.mark.parametrize(
    ("aggregator", "objective"),
    [(a, o) for a in AGGREGATORS for o in OBJECTIVES if o != "tc" or a not in SEVERAL],
)
def test_closed_expectations_are_what_drawn_latents_average_to(
    aggregator, objective, truth, x, generator
):
    found, weights = networks(truth, aggregator)
    x = x[:, :2]
    kept = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.bool).T.repeat(1, SEEDS)
    rows = torch.stack([torch.ones_like(kept), kept])
    own = settings(aggregator=aggregator, objective=objective)
    with torch.no_grad():
        full, part = posteriors(found[0], weights, own, of_all_seeds(x), rows)
        explain = quadratic(weights, of_all_seeds(x), truth.present, truth.noise)
        draws = 600
        asked = full, part, explain, generator
        closed = [linear_expectations.EXPECTED[objective](*asked) for _ in range(draws)]
        drawn = [OBJECTIVES[objective](*asked) for _ in range(draws)]
    for a, b in zip(zip(*closed, strict=True), zip(*drawn, strict=True), strict=True):
        a, b = torch.stack(a), torch.stack(b)
        error = ((a.var(0) + b.var(0)) / draws).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 5 * error + 1e-9).all()
    if aggregator not in SEVERAL:
        assert torch.stack([v.elbo() for v in closed]).std(0).max() == 0, "nothing is drawn"
        assert torch.stack([v.elbo() for v in drawn]).std(0).min() > 0


def test_tc_of_a_mixture_is_refused_in_closed_form_too(truth, x):
    with pytest.raises(ValueError, match="give single Gaussians") as error:
        train(x, truth, settings(aggregator="moe", objective="tc", expected=True), [0])
    assert "\n" not in str(error.value)


def test_the_learning_rate_rises_then_falls_to_zero_along_a_cosine():
    one = Settings(epochs=10, warm_up=2, cosine=True, learning_rate=0.1)
    assert learning_rate(one, 1) == pytest.approx(0.05)
    assert learning_rate(one, 2) == pytest.approx(0.1)
    assert learning_rate(one, 6) == pytest.approx(0.05)
    assert learning_rate(one, 10) == pytest.approx(0)
    assert learning_rate(Settings(), 3) == 1e-3
    assert [risen(t, 4) for t in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert risen(0, 0) == 1


def test_where_training_starts_centred_a_shift_of_the_data_changes_only_offsets(truth, x):
    own = settings(epochs=0, centred=True)
    shift = 3 * truth.offsets[:, None]
    near, far = (train(data, truth, own, [0, 1]) for data in (x, x + shift))
    change = far.weights["offsets"] - near.weights["offsets"]
    torch.testing.assert_close(change, shift[:, 0].float().expand(2, -1, -1), atol=1e-5, rtol=1e-5)
    answers = [
        experts(trained.weights, of_all_seeds(data.float()))
        for trained, data in ((near, x), (far, x + shift))
    ]
    torch.testing.assert_close(*answers, atol=1e-4, rtol=1e-4)
    usual = train(x, truth, settings(epochs=0), [0, 1]).weights["encoders.0.bias"]
    assert (usual - near.weights["encoders.0.bias"]).abs().max() > 0.01


def test_first_weights_grow_by_the_gain_and_first_posteriors_have_the_scale_asked_for(truth, x):
    usual = train(x, truth, settings(epochs=0), [0]).weights
    other = train(x, truth, settings(epochs=0, gain=2.0, first_scale=0.1), [0]).weights
    torch.testing.assert_close(
        other["aggregator.inner.0.weight"], 2 * usual["aggregator.inner.0.weight"]
    )
    answers = "aggregator.outer.4"
    torch.testing.assert_close(other[f"{answers}.weight"], usual[f"{answers}.weight"])
    shift = other[f"{answers}.bias"] - usual[f"{answers}.bias"]
    expected = torch.tensor([[0, 0, 0, 2 * math.log(0.1), 2 * math.log(0.1)]])
    torch.testing.assert_close(shift, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("aggregator", ["sum-pooling", "self-attention", "poe", "moe"])
def test_where_every_mask_is_empty_training_goes_on_and_the_answer_is_one_for_all(
    aggregator, truth, x
):
    nothing = masks.by_size([1, 0, 0, 0])
    own = settings(aggregator=aggregator, law=nothing, expected=True)
    trained = train(x, truth, own, [0, 1])
    assert all(value.isfinite().all() for value in trained.weights.values())
    answer = posteriors(
        trained.network, trained.weights, own, of_all_seeds(x.float()), every_subset(x)
    )[0]
    for value in (answer.loc, answer.scale):
        first = value[:, :: x.shape[1]].repeat_interleave(x.shape[1], 1)
        torch.testing.assert_close(value, first, atol=1e-6, rtol=0)


def test_a_row_without_any_modality_is_refused_by_experts_and_a_constant_to_a_set_encoder(truth, x):
    found, _ = networks(truth, "poe")
    loc, scale = found[0](x, None)
    observed = torch.ones(loc.shape[:2], dtype=torch.bool)
    observed[:, 7] = False
    aggregator = AGGREGATORS["poe"]
    assert isinstance(aggregator, Aggregator)
    with pytest.raises(ValueError, match="example 7 of the batch has no observed") as error:
        kept_posterior(aggregator, loc, scale, torch.ones_like(observed), observed)
    assert "\n" not in str(error.value)
    found, _ = networks(truth, "sum-pooling")
    torn = torch.where(observed[..., None], x, float("nan"))
    features = found[0].encoders(torn)
    answer = found[0].aggregator(features, observed=observed)
    empty = found[0].aggregator(features[:, :1], torch.zeros(1, 3, dtype=torch.bool))
    torch.testing.assert_close(answer.loc[0, 0, 7], empty.loc[0, 0, 0])
    assert answer.loc.isfinite().all()


def test_strided_data_train_as_their_copy(truth, x):
    strided = x.movedim(0, 2).contiguous().movedim(2, 0)
    assert not strided.is_contiguous()
    copies = (train(data, truth, settings(expected=True), [0, 1]) for data in (x, strided))
    for a, b in zip(*(trained.weights.values() for trained in copies), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_single_modality_trains_under_every_objective(generator):
    alone = dense([6], 2, generator=generator)
    data = alone.sample(60, generator)
    for objective in OBJECTIVES:
        trained = train(data, alone, settings(objective=objective, expected=True), [0])
        assert trained.curve[1].isfinite().all()


def test_a_seed_alone_answers_as_the_module_with_its_weights(truth, x):
    trained = train(x, truth, settings(expected=True), [0, 1])
    own = {name: value[1] for name, value in trained.weights.items()}
    members = masks.all_subsets(3)
    expected = functional_call(trained.network, own, (x.float(), members))
    found = posteriors(
        trained.network, trained.weights, settings(), of_all_seeds(x.float()), every_subset(x)
    )
    for k, q in enumerate(found):
        here = q.loc[:, x.shape[1] :]
        torch.testing.assert_close(here, expected[0][k], rtol=1e-4, atol=1e-5)
