"""Linear data with missing modalities: exact likelihoods, their maximum, training, records."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import MultivariateNormal

from multielbo import linear_experiment, linear_missing_records, masks, oracle_bounds
from multielbo.linear_data import LinearModel, dense, oracle, sparse
from multielbo.linear_data import likeliest as likeliest_of_complete
from multielbo.linear_data import log_likelihood as log_likelihood_of_complete
from multielbo.linear_missing import Pattern, imputed, likeliest, log_likelihood, patterns
from multielbo.linear_missing_experiment import report, train
from multielbo.linear_objectives import Settings
from multielbo.linear_theory import mixture_optimum
from multielbo.oracle import LinearGaussian
from multielbo.records import load
from multielbo.segment_data import half_missing

RESULTS = Path(__file__).parents[1] / "book" / "results"
SMALL = Settings(
    latent_dim=2, epochs=2, batch=100, width=8, expected=True, centred=True, first_scale=0.2
)


@pytest.fixture
def truth(generator):
    return dense([6, 3, 5], 2, noise=0.8, generator=generator)


@pytest.fixture
def x(truth, generator):
    return truth.sample(400, generator)


@pytest.fixture
def observed(generator):
    return half_missing(3, 400, 0.5, generator)


@pytest.mark.equation("eq-observed-likelihood")
def test_the_likelihood_is_that_of_the_marginal_gaussian_of_each_row(truth, x, observed):
    total = 0.0
    for row in range(x.shape[1]):
        here = truth.present & observed[:, row, None]
        w, b = truth.loadings[here], truth.offsets[here]
        covariance = w @ w.T + truth.noise**2 * torch.eye(len(w)).double()
        total += MultivariateNormal(b, covariance).log_prob(x[:, row][here])
    found = log_likelihood(truth, patterns(x, observed, truth))
    torch.testing.assert_close(found, total / x.shape[1])
    filled = log_likelihood_of_complete(truth, x * observed[..., None])
    assert (found - filled).abs() > 1, "zeros in the gaps are other data"


def test_what_is_missing_is_not_read_by_the_likelihood(truth, x, observed):
    garbage = torch.where(observed[..., None], x, float("nan"))
    found, twin = (log_likelihood(truth, patterns(data, observed, truth)) for data in (x, garbage))
    assert found == twin


def test_with_nothing_missing_the_maximum_is_that_of_principal_components(truth, x):
    everything = torch.ones(x.shape[:2], dtype=torch.bool)
    found = likeliest(truth, patterns(x, everything, truth), rounds=500)
    best = likeliest_of_complete(x, truth.present, 2, truth.noise)
    torch.testing.assert_close(
        log_likelihood_of_complete(found, x), log_likelihood_of_complete(best, x)
    )
    assert log_likelihood_of_complete(truth, x) < log_likelihood_of_complete(best, x)


def test_the_gradient_of_the_observed_likelihood_vanishes_at_its_maximum(truth, x, observed):
    seen = patterns(x, observed, truth)
    best = likeliest(truth, seen, rounds=600)
    w, b = best.loadings.clone().requires_grad_(), best.offsets.clone().requires_grad_()
    level = log_likelihood(replace(best, loadings=w, offsets=b), seen)
    for gradient in torch.autograd.grad(level, (w, b)):
        assert gradient.abs().max() < 1e-6
    assert level > log_likelihood(truth, seen)
    complete = likeliest_of_complete(x, truth.present, 2, truth.noise)
    assert log_likelihood(complete, seen) < level, "that knows more, and fits other rows"


def test_every_round_of_expectation_maximisation_is_an_improvement(truth, x, observed):
    seen = patterns(x, observed, truth)
    start = LinearModel(0.1 * truth.loadings.flip(0), truth.offsets, truth.present, truth.noise)
    start = replace(start, loadings=start.loadings * truth.present[..., None])
    levels = torch.stack(
        [log_likelihood(likeliest(start, seen, rounds), seen) for rounds in range(8)]
    )
    assert (levels.diff() > 0).all()


def test_with_nothing_missing_imputed_data_have_the_mixtures_optimum(generator):
    truth = sparse([4, 5], 1, 1, noise=0.6, generator=generator)
    x = truth.sample(3000, generator)
    law = masks.independent()
    everything = torch.ones(x.shape[:2], dtype=torch.bool)
    seen = patterns(x, everything, truth)
    best = likeliest(truth, seen)
    found = likeliest(best, imputed(seen, best, law), rounds=800)
    optimum = mixture_optimum(x, truth, law)
    # Hidden modalities are predicted by the likeliest model here, by a regression there.
    sampling = 5 / len(x[0]) ** 0.5
    near = (log_likelihood(found, seen) - optimum.log_likelihood).abs()
    assert near < sampling * (log_likelihood(best, seen) - optimum.log_likelihood)
    assert log_likelihood(found, seen) < log_likelihood(best, seen)


@pytest.mark.equation("eq-imputed-gaps")
def test_no_search_over_decoders_and_encoders_finds_more_for_the_mixture_with_gaps(generator):
    """Of encoders that see x_S and do not know what else the row observes."""
    truth = sparse([3, 2], 1, 1, noise=0.6, generator=generator)
    truth = replace(truth, loadings=truth.loadings[..., :2], offsets=0 * truth.offsets)
    data = oracle_bounds.data_covariance(oracle(truth))
    chances = {(True, False): 0.3, (False, True): 0.2, (True, True): 0.5}
    at = {row: oracle_bounds.positions(oracle(truth), names(row)) for row in chances}
    seen = [
        Pattern(
            share, torch.tensor(row).double(), data.new_zeros(len(at[row])), block(data, at[row])
        )
        for row, share in chances.items()
    ]
    best = likeliest(truth, imputed(seen, truth, masks.independent()), rounds=800)
    subsets = list(itertools.product([False, True], repeat=2))
    sizes = [3 if s == (True, False) else 2 if s == (False, True) else 5 * all(s) for s in subsets]

    def value(v):
        model = LinearGaussian(
            {"0": v[:6].view(3, 2), "1": v[6:10].view(2, 2)}, oracle(truth).noise
        )
        v, total = v[10:], 0.0
        for s, size in zip(subsets, sizes, strict=True):
            weight = torch.zeros(2, 5).double()
            if size:
                columns = oracle_bounds.positions(model, names(s))
                weight = weight.index_copy(1, columns, v[: 2 * size].view(2, size))
            v = v[2 * size :]
            root = torch.stack(
                [torch.stack([v[0].exp(), 0 * v[0]]), torch.stack([v[1], v[2].exp()])]
            )
            v = v[3:]
            q = oracle_bounds.LinearEncoder(weight, root @ root.T)
            for row, share in chances.items():
                left = sum(
                    0.25
                    for k in subsets
                    if tuple(a and b for a, b in zip(k, row, strict=True)) == s
                )
                if left:
                    told = oracle_bounds.marginal(model, q, names(row), data)
                    total = total + share * left * told
        return total, model

    def missed(numbers):
        v = torch.tensor(numbers, requires_grad=True)
        loss = -value(v)[0]
        return loss.item(), torch.autograd.grad(loss, v)[0].numpy()

    start = 0.4 * np.random.default_rng(0).standard_normal(10 + 2 * sum(sizes) + 3 * 4)
    search = minimize(
        missed, start, jac=True, method="L-BFGS-B", options={"maxiter": 600, "ftol": 1e-13}
    )
    model = value(torch.tensor(search.x))[1]
    searched, expected = (oracle_bounds.data_covariance(m) for m in (model, oracle(best)))
    torch.testing.assert_close(searched, expected, rtol=0, atol=2e-3)
    assert (expected - data).abs().max() > 0.05, "which is not the data's"
    told_apart = likeliest(truth, imputed_row_by_row(seen, truth), rounds=800)
    assert (oracle_bounds.data_covariance(oracle(told_apart)) - expected).abs().max() > 0.01


def names(row):
    return [str(m) for m, there in enumerate(row) if there]


def block(matrix, at):
    return matrix[at[:, None], at]


def imputed_row_by_row(seen, model):
    """A twin, as if encoders knew what else a row observes."""
    return [q for p in seen for q in _shared(imputed([p], model, masks.independent()), p.share)]


def _shared(found, share):
    return [q._replace(share=q.share / sum(p.share for p in found) * share) for q in found]


@pytest.mark.parametrize("aggregator", ["sum-pooling", "poe"])
@pytest.mark.parametrize("objective", ["masked", "mixture"])
def test_training_never_reads_what_is_missing(aggregator, objective, truth, x, observed):
    settings = replace(SMALL, aggregator=aggregator, objective=objective)
    garbage = torch.where(observed[..., None], x, float("nan"))
    trained, twin = (train(data, observed, truth, settings, [0, 1]) for data in (x, garbage))
    for name, value in trained.weights.items():
        torch.testing.assert_close(value, twin.weights[name], rtol=0, atol=0)
        assert value.isfinite().all()
    found, other = (report(trained, data, observed, x[:, :50], 1) for data in (x, garbage))
    torch.testing.assert_close(found, other, rtol=0, atol=0)
    shown = observed.clone()
    shown[:, 0] = True
    other = train(x, shown, truth, settings, [0, 1])
    assert any((value != other.weights[name]).any() for name, value in trained.weights.items())


def test_with_nothing_missing_training_is_the_one_without_gaps(truth, x):
    everything = torch.ones(x.shape[:2], dtype=torch.bool)
    found = train(x, everything, truth, SMALL, [0, 1])
    plain = linear_experiment.train(x, truth, SMALL, [0, 1])
    for name, value in found.weights.items():
        torch.testing.assert_close(value, plain.weights[name], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_learned_from_is_refused_in_one_line(truth, x, observed):
    empty, never = observed.clone(), observed.clone()
    empty[:, 7] = False
    with pytest.raises(ValueError, match="nothing is observed of example 7") as error:
        train(x, empty, truth, SMALL, [0])
    assert "\n" not in str(error.value)
    never[:2] = True
    never[2] = False
    with pytest.raises(ValueError, match="modality 2 is missing everywhere"):
        likeliest(truth, patterns(x, never, truth))


def recorded(name):
    record, _ = load(RESULTS / f"linear-missing/{name}" / "laptop")
    return {key: np.asarray(value) for key, value in record.metrics.items()}


def test_half_of_the_modalities_are_missing_from_the_recorded_data():
    data = linear_missing_records.simulated()
    assert data.observed.any(0).all()
    error = (data.observed.double().mean(0).std() / data.observed.shape[1] ** 0.5).item()
    assert abs(data.observed.double().mean().item() - 0.5) < 5 * error


def shortfall(name):
    metrics = recorded(name)
    return (metrics["best"] - metrics["log_likelihood"]) / np.abs(metrics["best"])


def test_the_recorded_maximum_is_one_and_that_of_the_mixture_is_below_it():
    data = linear_missing_records.simulated()
    seen, best, of_mixture = linear_missing_records.optima(data)
    top, lower = (float(log_likelihood(model, seen)) for model in (best, of_mixture))
    more = float(log_likelihood(likeliest(best, seen, rounds=50), seen))
    assert 0 <= more - top < 1e-6, "more rounds find no more"
    for name in ("masked-sum-pooling", "masked-poe", "mixture-sum-pooling", "mixture-poe"):
        metrics = recorded(name)
        assert len(metrics["log_likelihood"]) >= 3
        np.testing.assert_allclose(metrics["best"], top, atol=1e-4)
        np.testing.assert_allclose(metrics["mixture_best"], lower, atol=1e-4)
        assert (metrics["log_likelihood"] < top).all()
        assert metrics["cpu_seconds"].sum() < 30


def test_with_half_missing_most_seeds_of_the_masked_objective_come_within_a_thousandth():
    for name in ("masked-sum-pooling", "masked-poe"):
        values = shortfall(name)
        assert (values < 1e-3).sum() >= len(values) - 1
        assert (shortfall(name.replace("masked", "mixture")).min() > values).sum() >= 4


def test_with_half_missing_no_seed_of_the_mixture_is_nearer_than_its_theory():
    metrics = recorded("mixture-sum-pooling")
    theory = (metrics["best"] - metrics["mixture_best"]) / np.abs(metrics["best"])
    assert (shortfall("mixture-sum-pooling") > theory).all()
    assert shortfall("mixture-sum-pooling").min() < 1.2 * theory[0]


def test_with_half_missing_the_mixtures_answers_are_further_from_the_posteriors():
    sizes = masks.all_subsets(4).sum(1).numpy()
    for aggregator in ("sum-pooling", "poe"):
        right, wrong = (recorded(f"{o}-{aggregator}")["divergence"] for o in ("masked", "mixture"))
        for k in range(1, 5):
            here = sizes == k
            assert np.median(right[:, here].mean(1)) < np.median(wrong[:, here].mean(1))
