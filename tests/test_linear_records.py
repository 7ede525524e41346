"""What the page on the linear experiment claims, over its records and against theory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from multielbo import linear_collapse, linear_records, masks, oracle_bounds
from multielbo.linear_data import (
    LinearModel,
    average_and_covariance,
    dense,
    likeliest,
    log_likelihood,
    oracle,
    sparse,
)
from multielbo.linear_experiment import train
from multielbo.linear_objectives import Settings, posteriors
from multielbo.linear_report import captured
from multielbo.linear_theory import levels, mixture_optimum
from multielbo.oracle_encoders import best_for_mixture
from multielbo.records import load

RESULTS = Path(__file__).parents[1] / "book" / "results"
ONE_IN_A_THOUSAND = 1e-3
MINUTES_ON_TWO_CORES = 3


def recorded(name):
    return load(RESULTS / name / "laptop")


def shortfall(record):
    best, level = (np.asarray(record.metrics[key]) for key in ("best", "log_likelihood"))
    return (best - level) / np.abs(best)


def theory(data):
    truth, x = linear_records.simulated(data)
    return truth, x, mixture_optimum(x, truth, masks.independent())


def test_every_seed_of_the_masked_objective_comes_within_a_thousandth_of_the_maximum():
    record, _ = recorded("linear-dense/masked-sum-pooling")
    assert len(record.seeds) >= 5
    assert (shortfall(record) > 0).all()
    assert (shortfall(record) < ONE_IN_A_THOUSAND).all()
    used = sum(record.metrics["cpu_seconds"])
    assert used / 2 < 60 * MINUTES_ON_TWO_CORES, "and that for all seeds together"


def test_from_the_usual_start_every_seed_stays_where_at_most_one_latent_is_used():
    record, arrays = recorded("linear-dense/masked-sum-pooling-usual-start")
    truth, x = linear_records.simulated("dense")
    ladder = levels(x, truth, 5).numpy()
    ends = np.asarray(record.metrics["log_likelihood"])
    assert (ends < ladder[1] + 0.2 * (ladder[2] - ladder[1])).all(), "no second one"
    half = len(arrays["epochs"]) // 2
    still = arrays["curve"][-1] - arrays["curve"][half]
    assert (np.abs(still) < 0.1 * (ladder[1] - ladder[0])).all(), "and it looks converged"
    assert (shortfall(record) > 10 * ONE_IN_A_THOUSAND).all()


def test_a_seed_of_the_mixture_objective_that_uses_all_latents_learns_what_theory_says():
    record, _ = recorded("linear-dense/mixture-sum-pooling")
    twin, _ = recorded("linear-dense/masked-sum-pooling")
    _, x, optimum = theory("dense")
    best = record.metrics["best"][0]
    expected = (best - float(optimum.log_likelihood)) / abs(best)
    one_less = float(levels(x, linear_records.simulated("dense")[0], 5)[4])
    whole = np.asarray(record.metrics["log_likelihood"]) > one_less
    assert whole.any()
    # Encoders that are not at their optimum add a loss, which the masked objective has as well.
    unfinished = shortfall(twin).max()
    assert (np.abs(shortfall(record)[whole] - expected) < unfinished).all()
    factors = np.asarray(record.metrics["factors"])[whole]
    truth = linear_records.simulated("dense")[0]
    right = captured(optimum.model, truth).mean()
    wrong = captured(likeliest(x, truth.present, 5, truth.noise), truth).mean()
    assert np.abs(factors.mean() - float(right)) < 0.25 * float(wrong - right)


@pytest.mark.parametrize("data", ["dense", "sparse"])
def test_no_seed_of_the_mixture_objective_is_above_its_optimum(data):
    record, _ = recorded(f"linear-{data}/mixture-sum-pooling")
    _, _, optimum = theory(data)
    assert (np.asarray(record.metrics["objective"]) < float(optimum.objective)).all()


def test_private_factors_collapse_under_the_mixture_objective_and_not_under_the_masked_one():
    mixture, _ = recorded("linear-sparse/mixture-sum-pooling")
    masked, _ = recorded("linear-sparse/masked-sum-pooling")
    lost, kept = (np.asarray(record.metrics["factors"])[:, 5:] for record in (mixture, masked))
    _, _, optimum = theory("sparse")
    left = captured(optimum.model, linear_records.simulated("sparse")[0])[5:].mean()
    assert lost.mean() < left, "no more than theory leaves"
    assert kept.mean(1).min() > 4 * lost.mean(1).max()
    shared = np.asarray(mixture.metrics["factors"])[:, :5]
    assert (shared.mean(1) > 4 * lost.mean(1)).all()


def off_theory(arrays):
    """Of shared and of private factors: kept minus expected, `(noises * learners, seeds)`."""
    off = {"shared": [], "private": []}
    for i, variance in enumerate(arrays["noise"]):
        truth, x = linear_collapse.simulated(variance)
        best = likeliest(x, truth.present, 3, truth.noise)
        for name, (objective, law) in linear_collapse.LEARNERS.items():
            optimum = best if objective == "masked" else mixture_optimum(x, truth, law).model
            expected = captured(optimum, truth)
            for kind, value in (("shared", expected[0]), ("private", expected[1:].mean())):
                off[kind].append(arrays[f"{kind} {name}"][i] - float(value))
    return np.array(off["shared"]), np.array(off["private"])


def test_trained_pairs_of_modalities_keep_of_every_factor_what_theory_says_but_for_one_model():
    _, arrays = recorded(linear_collapse.LONG)
    worst = np.abs(off_theory(arrays)).max(0)  # of every model, in both panels
    assert (worst < 0.03).sum() == worst.size - 1
    for i in range(len(arrays["noise"])):
        kept = [arrays[f"private {name}"][i] for name in linear_collapse.LEARNERS]
        assert (kept[0] > kept[1]).all()
        assert (kept[1] > kept[2]).all(), "more is lost where a modality is seen more rarely"


def test_after_a_quarter_of_the_epochs_most_models_have_lost_of_the_shared_factor():
    shared, private = off_theory(recorded(linear_collapse.SHORT)[1])
    off = np.maximum(np.abs(shared), np.abs(private)) > 0.03
    assert off.mean() > 0.7
    assert (shared[off] < 0).all()


@pytest.mark.equation("eq-latent-worth")
def test_the_levels_are_those_of_the_likeliest_decoders_with_so_many_latents(generator):
    truth = dense([5, 4, 6], 3, noise=0.7, generator=generator)
    x = truth.sample(300, generator)
    ladder = levels(x, truth, 4)
    for used in range(1, 5):
        best = likeliest(x, truth.present, used, truth.noise)
        torch.testing.assert_close(ladder[used], log_likelihood(best, x))
    nothing = LinearModel(0 * truth.loadings, best.offsets, truth.present, truth.noise)
    torch.testing.assert_close(ladder[0], log_likelihood(nothing, x))


def test_no_decoder_near_the_mixtures_optimum_is_worth_more_to_it(generator):
    truth = sparse([4, 5], 1, 1, noise=0.6, generator=generator)
    x = truth.sample(2000, generator)
    law = masks.independent()
    optimum = mixture_optimum(x, truth, law)
    _, covariance = average_and_covariance(truth, x)
    rows, chances = law(2)

    def value(loadings):
        model = oracle(LinearModel(loadings, truth.offsets, truth.present, truth.noise))
        found = 0.0
        for row, chance in zip(rows.tolist(), chances, strict=True):
            subset = [str(m) for m, seen in enumerate(row) if seen]
            encoder = best_for_mixture(model, subset, covariance)
            found += chance * oracle_bounds.mixture(model, encoder, covariance)
        return found

    torch.testing.assert_close(value(optimum.model.loadings), optimum.objective)
    for _ in range(20):
        shift = 0.05 * torch.randn(truth.loadings.shape, generator=generator).double()
        near = optimum.model.loadings + shift * truth.present[..., None]
        assert value(near) < optimum.objective
    assert value(truth.loadings) < optimum.objective, "the truth is worth less"
    assert log_likelihood(truth, x) > optimum.log_likelihood, "and is likelier"


def test_the_truth_captures_each_of_its_factors_once_in_any_basis(generator):
    truth = sparse([8, 5, 6], 2, 1, generator=generator)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    turned = LinearModel(truth.loadings @ turn, truth.offsets, truth.present, truth.noise)
    torch.testing.assert_close(captured(turned, truth), torch.ones(5).double())
    half = LinearModel(0.5**0.5 * truth.loadings, truth.offsets, truth.present, truth.noise)
    torch.testing.assert_close(captured(half, truth), 0.5 * torch.ones(5).double())


def test_a_modality_without_information_moves_a_trained_set_encoder_less_than_its_seed_does(
    generator,
):
    """In what the posterior says of x, because seeds differ in their bases of latents."""
    loud = dense([8, 6, 7], 2, generator=generator)
    silent = torch.zeros(1, 8, 2).double()
    present = torch.cat([loud.present, torch.arange(8)[None] < 5])
    truth = LinearModel(
        torch.cat([loud.loadings, silent]),
        torch.cat([loud.offsets, torch.zeros(1, 8).double()]),
        present,
        1.0,
    )
    x = truth.sample(1500, generator)
    settings = Settings(
        latent_dim=2,
        epochs=40,
        batch=100,
        width=16,
        learning_rate=5e-3,
        cosine=True,
        rate_warm_up=24,
        expected=True,
        gain=3**0.5,
        first_scale=0.2,
        centred=True,
        curve_every=40,
    )
    seeds = range(4)
    trained = train(x, truth, settings, seeds)
    few = x[:, None, :200].float().expand(-1, len(seeds), -1, -1)
    subsets = masks.all_subsets(4)
    rows = subsets[..., None].expand(-1, -1, 200 * len(seeds))
    answers = posteriors(trained.network, trained.weights, settings, few, rows)
    said = {}
    for row, q in zip(subsets.tolist(), answers, strict=True):
        of_seeds = []
        for r, model in enumerate(trained.decoders):
            here, w = slice(200 * r, 200 * (r + 1)), model.loadings[:3].flatten(0, 1)
            spread = (w * q.scale[0, here].mean(0)).square().sum(1).sqrt()
            of_seeds.append(torch.cat([q.loc[0, here] @ w.T, spread[None]]))
        said[tuple(row)] = torch.stack(of_seeds)  # (seeds, examples and one for the spread, N)
    pairs = [(said[(*row, False)], said[(*row, True)]) for row, _ in _with_and_without(subsets)]
    moved = torch.stack([(b - a).square().mean() for a, b in pairs]).mean().sqrt()
    between = torch.stack([a.var(0).mean() for a, _ in pairs]).mean().sqrt()
    assert moved < between
    informed = said[True, True, True, False] - said[False, True, True, False]
    assert informed.square().mean().sqrt() > 2 * moved, "another modality moves it more"


def _with_and_without(subsets):
    return [(tuple(row[:3]), row[3]) for row in subsets.tolist() if not row[3]]
