"""Data in segments, what is trained on them, and what the records say."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Categorical, Normal

from multielbo import gaussians, segments_records
from multielbo.identifiability import halves
from multielbo.masked import masked_elbo
from multielbo.mixtures import Posteriors
from multielbo.records import load
from multielbo.segment_data import (
    DeepMixing,
    bimodal,
    half_missing,
    multimodal,
    random_mixing,
)
from multielbo.segment_experiment import Settings, train
from multielbo.segment_networks import Decoders, Explained, decoded
from multielbo.segment_objectives import kept_or_all, masked, mixture
from multielbo.segment_report import codes, log_likelihood, reference, scores
from multielbo.segment_truth import truth
from multielbo.segments import random_segments

RESULTS = Path(__file__).parents[1] / "book" / "results"
TINY = Settings(epochs=2, batch=100, width=8, decoder_width=2, learning_rate=5e-3)


@pytest.fixture
def source(generator):
    return random_segments(5, 2, generator)


@pytest.fixture
def data(source, generator):
    return bimodal(source, 300, generator)


@pytest.fixture
def views(generator):
    prior = random_segments(5, 3, generator).prior
    return multimodal(random_mixing(prior, 4, 6, generator, draws=20), 300, 0.5, generator)


def test_the_class_beside_the_points_is_their_segment(source, data):
    assert data.x[1].sum(1).eq(1).all()
    segment = data.x[1].argmax(1)
    for k, (loc, scale) in enumerate(zip(*source.prior[:2], strict=True)):
        z = data.z[segment == k]
        error = scale / len(z) ** 0.5
        assert ((z.mean(0) - loc).abs() < 5 * error).all()
    assert (data.x[0, :, 2:] == 0).all()


@pytest.mark.equation("eq-deep-mixing")
def test_every_modality_mixes_the_latents_by_its_own_maps(generator):
    prior = random_segments(2, 3, generator).prior
    maps = [
        [torch.randn(3, 4, generator=generator).double(), torch.eye(4).double()],
        [torch.randn(3, 4, generator=generator).double(), 2 * torch.eye(4).double()],
    ]
    z, _ = prior.sample(50, generator)
    mixed = DeepMixing(prior, maps).mix(z)
    for m, (first, second) in enumerate(maps):
        hidden = z @ first
        torch.testing.assert_close(mixed[m], torch.where(hidden > 0, hidden, 0.1 * hidden) @ second)


def test_drawn_maps_are_better_conditioned_than_most():
    generator = torch.Generator().manual_seed(2)
    prior = random_segments(2, 4, generator).prior
    mixing = random_mixing(prior, 3, 6, generator)
    entries = 2 * torch.rand(500, 6, 6, generator=generator).double() - 1
    usual = torch.linalg.cond(entries / entries.norm(dim=1, keepdim=True))
    for matrices in mixing.maps:
        for matrix in matrices:
            torch.testing.assert_close(matrix.norm(dim=0), torch.ones(6).double())
        assert torch.linalg.cond(matrices[1]) < usual.median()


@pytest.mark.parametrize("missing", [0.0, 0.25, 0.5, 0.75])
def test_the_asked_fraction_is_missing_and_every_example_keeps_something(missing, generator):
    observed = half_missing(4, 20_000, missing, generator)
    assert observed.any(0).all()
    share = observed.double().mean(0)
    error = share.std() / len(share) ** 0.5
    assert (share.mean() - (1 - missing)).abs() <= 5 * error
    alone = observed.double().mean(1)
    assert ((alone - (1 - missing)).abs() <= 5 * (0.25 / 20_000) ** 0.5).all(), "of each as much"


def test_more_cannot_be_missing_than_leaves_one(generator):
    with pytest.raises(ValueError, match=r"take at most 0\.75"):
        half_missing(4, 10, 0.8, generator)
    assert half_missing(1, 10, 0.0, generator).all()
    with pytest.raises(ValueError, match="take at most 0"):
        half_missing(1, 10, 0.5, generator)


def test_likelihoods_are_those_of_a_gaussian_and_of_a_class(data, generator):
    torch.manual_seed(0)
    parts = [Decoders(data.present, 2, 3, 2) for _ in range(2)]
    weights = {
        f"decoders.{name}": torch.stack([dict(p.named_parameters())[name] for p in parts]).detach()
        for name, _ in parts[0].named_parameters()
    }
    weights["log_noise"] = torch.tensor([[0.3, 9.0], [-0.2, 9.0]])
    x = data.x[:, None, :20].float().expand(-1, 2, -1, -1)
    observed = torch.rand(2, 40, generator=generator) < 0.5
    z = torch.randn(3, 40, 2, generator=generator)
    found = Explained(weights, x, data.present, data.classes, observed)(z)
    outputs = decoded(weights, z.view(3, 2, 20, 2))
    for r in range(2):
        here = slice(20 * r, 20 * (r + 1))
        scale = weights["log_noise"][r, 0].exp()
        normal = Normal(outputs[0, :, r, :, :2], scale).log_prob(x[0, r, :, :2]).sum(-1)
        of_class = Categorical(logits=outputs[1, :, r]).log_prob(x[1, r].argmax(-1))
        for m, expected in enumerate((normal, of_class)):
            kept = observed[m, here]
            torch.testing.assert_close(found[m][:, here], expected * kept)
    one = Explained(weights, x, data.present, data.classes, torch.ones_like(observed))
    torch.testing.assert_close(one(z[0]), one(z)[:, 0])


def gaussians_for(members, generator):
    loc = torch.randn(1, members.shape[1], 2, generator=generator).double()
    scale = 0.3 + torch.rand(1, members.shape[1], 2, generator=generator).double()
    return Posteriors(loc, scale, torch.ones_like(loc[..., 0]), members[None])


def test_under_a_normal_prior_the_objective_is_the_masked_one(generator):
    examples, draws = 3, 1500
    observed = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 1]]).bool()
    kept = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1]]).bool()
    full, part = (gaussians_for(members, generator) for members in (observed, kept))
    w = torch.randn(3, 2, generator=generator).double()

    def explain(z):
        scores = -0.5 * ((z @ w.T).movedim(-1, 0) - 1).square()
        return torch.where(observed.view(3, *[1] * (z.dim() - 2), examples), scores, 0.0)

    def values(objective, *rest):
        found = [objective(full, part, explain, *rest, generator).elbo() for _ in range(draws)]
        found = torch.stack(found)
        return found.mean(0), found.std(0) / draws**0.5

    ours, error = values(masked, gaussians.log_prior)
    theirs, other = values(masked_elbo)
    assert ((ours - theirs).abs() < 5 * (error.square() + other.square()).sqrt()).all()
    wrong, _ = values(mixture, gaussians.log_prior)
    assert ((ours - wrong).abs() > 5 * error).any()


def test_an_empty_mask_keeps_everything_that_is_observed():
    observed = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()
    kept = torch.tensor([[0, 0, 1], [1, 1, 0]]).bool()
    expected = torch.tensor([[1, 0, 0], [0, 1, 1]]).bool()
    assert (kept_or_all(kept, observed) == expected).all()


@pytest.mark.parametrize("aggregator", ["sum-pooling", "poe"])
@pytest.mark.parametrize("objective", ["masked", "mixture"])
def test_training_never_reads_what_is_missing_nor_true_latents(aggregator, objective, views):
    settings = replace(
        TINY, aggregator=aggregator, objective=objective, prior="normal", noise=None, layers=3
    )
    nan = float("nan")
    hidden = torch.where(views.observed[..., None], views.x, nan)
    garbage = replace(views, x=hidden, z=torch.full_like(views.z, nan))
    trained, twin = (train(rows, settings, [0, 1]) for rows in (views, garbage))
    for name, value in trained.weights.items():
        torch.testing.assert_close(value, twin.weights[name], rtol=0, atol=0)
        assert value.isfinite().all()
    torch.testing.assert_close(
        log_likelihood(trained, views), log_likelihood(twin, garbage), rtol=0, atol=0
    )
    shown = replace(views, observed=torch.ones_like(views.observed))
    other = train(shown, settings, [0, 1])
    assert any((value != other.weights[name]).any() for name, value in trained.weights.items())


def test_a_modality_that_is_missing_everywhere_teaches_its_networks_nothing(data):
    alone = segments_records.without(data, (1,))
    before, after = (train(alone, replace(TINY, epochs=n), [0]) for n in (0, 2))
    for name, value in after.weights.items():
        assert value.isfinite().all()
        if name.startswith(("encoders", "decoders")):
            assert (value[:, 1] == before.weights[name][:, 1]).all()
            assert (value[:, 0] != before.weights[name][:, 0]).any()


def test_seeds_differ_and_each_has_the_first_weights_that_it_has_alone(data):
    together = train(data, replace(TINY, epochs=0), [3, 5])
    alone = train(data, replace(TINY, epochs=0), [5])
    for name, value in together.weights.items():
        torch.testing.assert_close(value[1], alone.weights[name][0], rtol=0, atol=0)
    trained = train(data, TINY, [3, 5])
    first, second = codes(trained, data)
    assert (first - second).abs().max() > 0.01


def test_a_normal_prior_is_not_trained_and_a_mixture_is(data):
    start, mixed = (train(data, replace(TINY, epochs=n), [0]) for n in (0, 2))
    normal = train(data, replace(TINY, prior="normal"), [0])
    assert (mixed.weights["prior.loc"] != start.weights["prior.loc"]).all()
    torch.testing.assert_close(normal.weights["prior.loc"], start.weights["prior.loc"])
    z = torch.randn(7, 2)
    torch.testing.assert_close(normal.log_prior(z), gaussians.log_prior(z))


def test_the_importance_estimate_is_the_evidence_where_that_is_known(data):
    """Decoders that ignore z: the evidence is what they say, whatever the encoders do."""
    trained = train(data, replace(TINY, epochs=0, prior="normal"), [0])
    trained.weights["decoders.maps.1.weight"].zero_()
    trained.weights["decoders.maps.1.bias"].zero_()
    expected = Normal(0.0, 0.1).log_prob(data.x[0, :, :2]).sum(1).mean() - math.log(5)
    q = trained.answers(
        data.readable().float()[:, None], torch.ones(1, 2, len(data.z), dtype=torch.bool)
    )[0]
    assert (q.scale < 1.5).all()
    found = log_likelihood(trained, data, samples=2000)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=0.05)


def test_the_truths_likelihood_and_mean_are_those_of_quadrature(source, generator):
    data = bimodal(source, 5, generator)
    points, segment = data.x[0, :, :2], data.x[1].argmax(1)
    repeats = [truth(source, points, segment, 20_000, generator) for _ in range(8)]
    levels, means = (torch.stack(values) for values in zip(*repeats, strict=True))
    a = source.mixing.numpy()
    for row in range(5):
        w, k = points[row].numpy() @ a.T, int(segment[row])
        loc, scale = (v[k].numpy() for v in source.prior[:2])
        sides = [_both_sides(v) for v in w]
        y = np.stack(np.meshgrid(*(at for at, _ in sides), indexing="ij"), -1)
        area = np.outer(*(widths for _, widths in sides))
        z = y @ a.T  # A is orthogonal, so y = z A gives z = y A^T
        mixed = np.where(y > 0, y, 0.1 * y)
        joint = norm.pdf(w, mixed, 0.1).prod(-1) * norm.pdf(z, loc, scale).prod(-1) / 5 * area
        mean = (joint[..., None] * z).sum((0, 1)) / joint.sum()
        for found, expected in ((levels[:, row], np.log(joint.sum())), (means[:, row], mean)):
            error = found.std(0) / len(found) ** 0.5
            assert ((found.mean(0) - torch.as_tensor(expected)).abs() < 6 * error).all()
    other = truth(source, points, (segment + 1) % 5, 20_000, generator)
    assert (other.log_likelihood - levels[0]).abs().max() > 0.1, "the segment counts"


def _both_sides(w):
    """Midpoints and widths of cells that are narrow against the noise of either side."""
    ends = [(min(10 * w, 0) - 8, 0.0, 700), (0.0, max(w, 0) + 1.5, 300)]
    points, widths = [], []
    for low, high, count in ends:
        edges = np.linspace(low, high, count + 1)
        points.append(0.5 * (edges[1:] + edges[:-1]))
        widths.append(np.diff(edges))
    return np.concatenate(points), np.concatenate(widths)


def test_means_of_the_truth_agree_better_than_its_inverse_and_than_the_data(source, generator):
    data = bimodal(source, 1500, generator)
    rows = halves(1500, generator)
    points = data.x[0, :, :2]
    means = truth(source, points, data.x[1].argmax(1), 500, generator).mean
    ladder = [reference(c, data.z, rows).weak for c in (points, source.unmix(points), means)]
    assert ladder[0] < ladder[1] < ladder[2] < 1


def test_wrong_settings_are_refused_in_one_line(data):
    empty = data.observed.clone()
    empty[:, 3] = False
    wrong = [
        (data, replace(TINY, objective="none"), "unknown objective 'none'; choose from masked"),
        (data, replace(TINY, aggregator="moe"), "unknown aggregator 'moe'"),
        (data, replace(TINY, prior="none"), "unknown prior 'none'; choose from mixture, normal"),
        (data, replace(TINY, aggregator="poe"), "holds a normal prior"),
        (data, replace(TINY, batch=301), "300 examples make no batch of 301"),
        (replace(data, observed=empty), TINY, "nothing is observed of example 3; leave it out"),
    ]
    for rows, settings, words in wrong:
        with pytest.raises(ValueError, match=words) as error:
            train(rows, settings, [0])
        assert "\n" not in str(error.value)


def recorded(name):
    record, _ = load(RESULTS / name / "laptop")
    return {key: np.asarray(value) for key, value in record.metrics.items()}


def untrained(data):
    examples, test = segments_records.drawn(data)
    settings = replace(segments_records.Run(data).settings, epochs=0)
    started = train(examples, settings, segments_records.SEEDS[data])
    return scores(codes(started, test), test.z, segments_records.split(test))


def test_encoders_of_both_priors_come_above_what_linear_ones_can_and_above_random_ones():
    _, test = segments_records.drawn("bimodal")
    rows = segments_records.split(test)
    ceiling = reference(test.x[0, :, :2], test.z, rows).weak.item()
    floor = untrained("bimodal").weak.numpy()
    for name in ("segments/mixture-prior", "segments/normal-prior"):
        weak = recorded(name)["weak"]
        assert (weak > ceiling).sum() >= 3
        assert (weak > floor).all()


def test_no_recorded_run_is_likelier_than_the_truth_and_a_mixture_is_likelier_than_a_normal():
    source = segments_records.source("bimodal")
    _, test = segments_records.drawn("bimodal")
    generator = torch.Generator().manual_seed(0)
    exact = truth(source, test.x[0, :, :2], test.x[1].argmax(1), 256, generator)
    level = {
        name: recorded(f"segments/{name}")["log_likelihood"]
        for name in ("mixture-prior", "normal-prior", "wide-decoder")
    }
    assert max(v.max() for v in level.values()) < exact.log_likelihood.mean().item()
    assert (level["mixture-prior"] > level["normal-prior"]).all(), "seed by seed"
    assert level["wide-decoder"].min() > level["mixture-prior"].max()


def test_a_likelier_decoder_that_may_fold_is_not_better_identified():
    square, wide = (recorded(f"segments/{n}") for n in ("mixture-prior", "wide-decoder"))
    assert (wide["log_likelihood"] > square["log_likelihood"].max()).all()
    assert wide["strong"].min() < square["strong"].min()


def test_one_seed_finds_the_axes_of_the_latents_and_another_those_of_the_rectifier():
    source = segments_records.source("bimodal")
    _, test = segments_records.drawn("bimodal")
    shown = slice(None, None, len(test.z) // segments_records.PLOTTED)
    some = halves(segments_records.PLOTTED, torch.Generator().manual_seed(1))
    _, arrays = load(RESULTS / "segments/mixture-prior" / "laptop")
    of = torch.from_numpy(arrays["codes"].astype(np.float64))
    z, y = (scores(of, v[shown], some).strong for v in (test.z, test.z @ source.mixing))
    assert ((z > 0.9) & (y < 0.85)).sum() == 1
    assert ((y > 0.9) & (z < 0.88)).sum() == 1
    assert (
        reference(source.unmix(test.x[0, :, :2]) @ source.mixing, test.z, some_of(test)).strong
        < 0.95
    )


def some_of(test):
    return segments_records.split(test)


def test_with_gaps_a_mixture_prior_finds_better_axes_and_the_product_explains_more():
    of = {
        name: recorded(f"segments-missing/{name}")
        for name in (
            "masked-sum-pooling",
            "masked-sum-pooling-normal-prior",
            "masked-poe",
            "mixture-sum-pooling",
        )
    }
    mixed, normal, product, cross = of.values()
    assert mixed["strong"].min() > normal["strong"].max()
    near = mixed["log_likelihood"].mean() - normal["log_likelihood"].mean()
    assert abs(near) < product["log_likelihood"].mean() - mixed["log_likelihood"].mean()
    assert product["log_likelihood"].min() > mixed["log_likelihood"].max()
    assert product["weak"].min() > max(v["weak"].min() for k, v in of.items() if k != "masked-poe")
    assert (cross["log_likelihood"] < mixed["log_likelihood"]).all()


def test_no_run_with_gaps_reaches_the_regression_and_all_leave_random_weights():
    _, test = segments_records.drawn("missing")
    rows = segments_records.split(test)
    ceiling = reference(test.x.movedim(0, 1).flatten(1), test.z, rows).weak.item()
    floor = untrained("missing").weak.max().item()
    for name in ("masked-sum-pooling", "masked-poe"):
        whole = recorded(f"segments-missing/{name}")["whole_weak"]
        assert (whole < ceiling).all()
        assert (whole > floor).all()


def test_recorded_seeds_train_within_a_minute_of_one_core():
    for name in segments_records.RUNS:
        assert recorded(name)["cpu_seconds"].sum() < 60


def test_an_unknown_run_is_refused_with_the_names_that_there_are(capsys):
    with pytest.raises(SystemExit):
        segments_records.main(["none"])
    assert "there is no run 'none'; choose from segments/mixture-prior" in capsys.readouterr().err
