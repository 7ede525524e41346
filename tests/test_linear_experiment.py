"""Linear decoders trained by seeds at once, against exact likelihoods and separate runs."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from multielbo import gaussians, linear_data, masks
from multielbo import linear_objectives as objectives
from multielbo.linear_data import dense, likeliest, log_likelihood, sparse
from multielbo.linear_experiment import train
from multielbo.linear_likelihoods import quadratic
from multielbo.linear_objectives import Settings
from multielbo.linear_report import report, subset_divergence
from multielbo.mixtures import Posteriors

WIDTHS = [6, 3, 5]


@pytest.fixture
def truth(generator):
    return dense(WIDTHS, 2, generator=generator)


@pytest.fixture
def x(truth, generator):
    return truth.sample(300, generator)


def short(**changes):
    small = {"latent_dim": 2, "epochs": 2, "batch": 100, "width": 8, "curve_every": 1}
    return Settings(**(small | changes))


def rows(truth, x):
    """Examples as vectors of all dimensions that there are."""
    return x.movedim(1, 0)[:, truth.present]


def test_exact_log_likelihood_is_that_of_the_marginal_gaussian(truth, x):
    w, b = truth.loadings[truth.present], truth.offsets[truth.present]
    covariance = w @ w.T + torch.eye(len(w)).double()
    expected = MultivariateNormal(b, covariance).log_prob(rows(truth, x)).mean()
    torch.testing.assert_close(log_likelihood(truth, x), expected)


def test_loadings_are_orthonormal_and_private_ones_are_private(truth, generator):
    torch.testing.assert_close(
        truth.loadings.mT @ truth.loadings, torch.eye(2).expand(3, 2, 2).double()
    )
    model = sparse(WIDTHS, 1, 2, generator=generator)
    products = model.loadings.mT @ model.loadings
    for m in range(3):
        used = [0, 1 + 2 * m, 2 + 2 * m]
        expected = torch.zeros(7, 7).double()
        expected[used, used] = 1
        torch.testing.assert_close(products[m], expected)
    assert (model.loadings[~model.present] == 0).all()


@pytest.mark.parametrize("noise", [1.0, None])
def test_no_decoder_near_the_likeliest_is_likelier(noise, truth, x):
    best = likeliest(x, truth.present, 2, noise)
    level = log_likelihood(best, x)
    assert level > log_likelihood(truth, x)
    generator = torch.Generator().manual_seed(1)
    for size in (1e-3, 1e-2):
        for _ in range(20):
            shift = size * torch.randn(best.loadings.shape, generator=generator).double()
            moved = best.loadings + shift * truth.present[..., None]
            near = linear_data.LinearModel(moved, best.offsets, truth.present, best.noise)
            assert log_likelihood(near, x) < level
    if noise is None:
        for other in (0.99 * best.noise, 1.01 * best.noise):
            near = linear_data.LinearModel(best.loadings, best.offsets, truth.present, other)
            assert log_likelihood(near, x) < level


def test_the_gradient_of_the_exact_likelihood_vanishes_at_the_likeliest(truth, x):
    best = likeliest(x, truth.present, 2, 1.0)
    w = best.loadings.clone().requires_grad_()
    level = log_likelihood(linear_data.LinearModel(w, best.offsets, truth.present, 1.0), x)
    gradient = torch.autograd.grad(level, w)[0]
    assert gradient.abs().max() < 1e-10


@pytest.mark.parametrize("aggregator", objectives.AGGREGATORS)
@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
def test_every_aggregator_trains_under_every_objective_that_it_has(aggregator, objective, truth, x):
    settings = short(aggregator=aggregator, objective=objective, epochs=1)
    if objective == "tc" and aggregator in ("moe", "mopoe", "mixture-of-w2"):
        with pytest.raises(ValueError, match="give single Gaussians"):
            train(x, truth, settings, [0])
        return
    trained = train(x, truth, settings, [0, 1])
    epochs, levels = trained.curve
    assert epochs == [0, 1]
    assert levels.shape == (2, 2)
    assert (levels[-1] > levels[0]).all()
    assert (levels <= log_likelihood(likeliest(x, truth.present, 2, 1.0), x)).all()


def test_a_seed_among_others_has_the_weights_that_it_has_alone(truth, x):
    together = train(x, truth, short(epochs=0), [3, 5])
    alone = train(x, truth, short(epochs=0), [5])
    for name, value in together.weights.items():
        torch.testing.assert_close(value[1], alone.weights[name][0], rtol=0, atol=0)
        assert value.shape[0] == 2


@pytest.mark.parametrize("aggregator", ["poe", "sum-pooling", "self-attention"])
def test_batched_seeds_answer_as_each_seed_by_itself(aggregator, truth, x):
    trained = train(x, truth, short(aggregator=aggregator), [0, 1])
    count, examples = x.shape[:2]
    everyone = x.float()[:, None].expand(-1, 2, -1, -1)
    members = masks.all_subsets(count)[..., None].expand(-1, -1, 2 * examples)
    found = objectives.posteriors(
        trained.network, trained.weights, trained.settings, everyone, members
    )
    for r in range(2):
        own = {name: value[r : r + 1] for name, value in trained.weights.items()}
        alone = objectives.posteriors(
            trained.network, own, trained.settings, everyone[:, :1], members[..., :examples]
        )
        here = slice(r * examples, (r + 1) * examples)
        for q, p in zip(found, alone, strict=True):
            torch.testing.assert_close(q.loc[:, here], p.loc, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(q.scale[:, here], p.scale, rtol=1e-4, atol=1e-5)


def test_one_seed_does_not_move_another(truth, x):
    """The loss is a sum over seeds, so the gradient of each is its own."""
    trained = train(x, truth, short(), [0, 1])
    weights = {name: value.requires_grad_() for name, value in trained.weights.items()}
    everyone = x.float()[:, None].expand(-1, 2, -1, -1)
    kept = torch.ones(3, 2 * x.shape[1], dtype=torch.bool)
    found = objectives.bound(trained.network, weights, trained.settings, everyone, kept, 1.0)
    first = found.elbo().view(2, -1)[0].mean()
    for gradient in torch.autograd.grad(first, list(weights.values())):
        assert (gradient[1] == 0).all()
        assert gradient.isfinite().all()


def test_log_likelihood_of_a_latent_is_the_decoders_gaussian(truth, x, generator):
    trained = train(x, truth, short(epochs=1), [0, 1])
    everyone = x.float()[:, None].expand(-1, 2, -1, -1)
    explain = quadratic(trained.weights, everyone, truth.present, 1.0)
    z = torch.randn(4, 2 * x.shape[1], 2, generator=generator)
    scores = explain(z)
    assert scores.shape == (3, 4, 2 * x.shape[1])
    for r, model in enumerate(trained.decoders):
        here = slice(r * x.shape[1], (r + 1) * x.shape[1])
        means = (
            torch.einsum("kbd,mnd->mkbn", z[:, here], model.loadings) + model.offsets[:, None, None]
        )
        for m, present in enumerate(truth.present):
            normal = torch.distributions.Normal(means[m][..., present], 1.0)
            expected = normal.log_prob(x[m][:, present].float()).sum(-1)
            torch.testing.assert_close(scores[m][:, here], expected, rtol=1e-4, atol=1e-3)


def test_padding_is_not_read(truth, x):
    garbage = torch.where(truth.present[:, None], x, float("nan"))
    assert log_likelihood(truth, garbage) == log_likelihood(truth, x)
    trained, other = (train(data, truth, short(epochs=1), [0]) for data in (x, garbage))
    for name, value in trained.weights.items():
        torch.testing.assert_close(value, other.weights[name], rtol=0, atol=0)
    for value in (trained.decoders[0].loadings, trained.decoders[0].offsets):
        assert (value[~truth.present] == 0).all()
    found, twin = (report(trained, data, rounds=1) for data in (x, garbage))
    torch.testing.assert_close(found, twin, rtol=0, atol=0)


@pytest.mark.parametrize("aggregator", ["poe", "moe", "sum-pooling"])
def test_a_report_is_about_the_learned_decoders(aggregator, truth, x):
    settings = short(aggregator=aggregator, objective="mixture", epochs=5)
    found = report(train(x, truth, settings, [0, 1]), x, rounds=4)
    assert found.divergence.shape == (8, 2)
    assert (found.divergence > -0.05).all()
    assert (found.gap > -0.2).all(), "the mixture objective is a bound"
    assert (found.shortfall > 0).all()
    torch.testing.assert_close(found.best, log_likelihood(likeliest(x, truth.present, 2, 1.0), x))


def test_sampled_divergence_agrees_with_the_closed_one(truth, x, generator):
    exact, batch = linear_data.oracle(truth), linear_data.centred(truth, x[:, :50])
    loc = torch.randn(1, 50, 2, generator=generator, dtype=torch.float64)
    scale = torch.full_like(loc, 0.7)
    one = Posteriors(loc, scale, torch.ones(1, 50).double(), torch.ones(1, 3, 50).bool())
    two = Posteriors(*(torch.cat([v, v]) for v in one[:2]), one.weights.expand(2, -1) / 2, one[3])
    for names in (["0", "2"], []):
        closed = subset_divergence(exact, batch, one, names, 1)
        sampled = subset_divergence(exact, batch, two, names, 4000, generator)
        standard_error = 0.05  # of 8,000 draws of a difference of quadratic forms
        torch.testing.assert_close(sampled, closed, rtol=0, atol=5 * standard_error)
    torch.testing.assert_close(closed, gaussians.kl_to_prior(loc[0], scale[0]))


def test_wrong_settings_are_refused_in_one_line(truth, x):
    wrong = [
        (short(aggregator="none"), "unknown aggregator 'none'; choose from poe"),
        (short(objective="none"), "unknown objective 'none'; choose from masked"),
        (short(batch=301), "300 examples make no batch of 301"),
    ]
    for settings, words in wrong:
        with pytest.raises(ValueError, match=words) as error:
            train(x, truth, settings, [0])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="modality 1 has 1 dimensions, too few for 2"):
        dense([4, 1], 2)
    with pytest.raises(ValueError, match="0 modalities"):
        dense([], 2)
    with pytest.raises(ValueError, match="14 latents for 14 dimensions"):
        likeliest(x, truth.present, 14)


def test_one_modality_is_an_ordinary_autoencoder(generator):
    alone = dense([6], 2, generator=generator)
    data = alone.sample(200, generator)
    found = report(train(data, alone, short(epochs=3), [0]), data, rounds=1)
    assert found.divergence.shape == (2, 1)
    assert found.divergence.isfinite().all()
