"""Each metric on a case whose answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from multielbo import gaussians
from multielbo.aggregators import Aggregator, Posteriors, product_of_experts
from multielbo.data.multimodal import MultimodalData
from multielbo.likelihoods import Normal
from multielbo.metrics import coherence, estimates, latents, likelihood, probe
from multielbo.metrics.classifiers import Classifiers, train_classifiers
from multielbo.metrics.evaluation import evaluate
from multielbo.models.registry import build
from multielbo.networks import conv_encoder
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian
from multielbo.subsets import full_set, powerset, singletons
from multielbo.vae import MultimodalVAE, convolutional_vae

CLASSES = 10
NAMES = ("a", "b", "c")


@pytest.fixture
def generator() -> Generator:
    return Generator().manual_seed(0)


# ---------------------------------------------------------------- averages and their errors


def test_the_standard_error_of_hits_is_the_binomial_one(generator):
    hits = torch.rand(500, generator=generator) < 0.3
    p = float(hits.double().mean())
    expected = math.sqrt(p * (1 - p) / (len(hits) - 1))
    assert float(estimates.mean(hits).standard_error) == pytest.approx(expected, rel=1e-12)


def test_subsets_of_the_same_examples_do_not_count_as_independent(generator):
    hits = (torch.rand(1, 400, generator=generator) < 0.5).double()
    alone = estimates.by_inputs(hits, torch.tensor([[True, False]]))
    twice = estimates.by_inputs(hits.expand(2, -1), torch.eye(2, dtype=torch.bool))
    torch.testing.assert_close(twice.standard_error, alone.standard_error)
    as_if_independent = estimates.mean(hits.expand(2, -1).reshape(-1)).standard_error
    assert float(as_if_independent) < 0.8 * float(twice.standard_error)


def test_the_summary_has_one_entry_for_every_size(generator):
    membership = powerset(3)
    values = membership.sum(1, keepdim=True).double().expand(-1, 20)
    torch.testing.assert_close(
        estimates.by_inputs(values, membership).value, torch.tensor([1.0, 2.0, 3.0]).double()
    )


# ---------------------------------------------------------------- importance sampling


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
        for samples in (1, 10, 100)
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


# ---------------------------------------------------------------- latents


def test_draws_come_from_each_component_as_often_as_its_weight_says(generator):
    weights = torch.tensor([[0.2, 0.5], [0.8, 0.5], [0.0, 0.0]], dtype=torch.float64)
    loc = torch.arange(3.0, dtype=torch.float64)[:, None, None].expand(3, 2, 1)
    members = torch.ones(3, 3, 2, dtype=torch.bool)
    q = Posteriors(loc, torch.full_like(loc, 1e-9), weights, members)
    z = latents.draw(q, 4000, generator)[..., 0].round()
    assert not bool((z == 2).any())
    share, error = estimates.mean((z == 1).T)
    assert bool(((share - weights[1]).abs() < 4 * error).all())
    assert bool(((share - 1 / 3).abs() > 4 * error).all())  # uniform over all would show


def test_a_mixture_is_represented_by_one_of_its_means_and_never_by_their_average(generator):
    loc = torch.tensor([-1.0, 1.0])[:, None, None].expand(2, 200, 1)
    q = Posteriors(
        loc, torch.ones_like(loc), torch.full((2, 200), 0.5), torch.ones(2, 2, 200).bool()
    )
    codes = latents.representation(q, generator)[:, 0]
    assert set(codes.tolist()) == {-1.0, 1.0}
    assert float(loc.mean()) == 0


def test_answers_read_only_the_inputs(generator):
    loc = torch.randn(3, 5, 2, generator=generator)
    scale = torch.rand(3, 5, 2, generator=generator) + 0.5
    loc[2] = scale[2] = float("nan")
    aggregator = Aggregator(product_of_experts(prior_expert=False), family=full_set)
    subsets = torch.tensor([[True, True, False], [False, True, True]])
    without, with_it = latents.answers(aggregator, loc, scale, subsets)
    assert bool(without.loc.isfinite().all())
    assert not bool(with_it.loc.isfinite().any())


# ---------------------------------------------------------------- coherence


class OneHot(torch.nn.Module):
    """Encodes a class, `(B, 1)`, as a latent that is certain of it."""

    latent_dim, shape = CLASSES, (1,)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc = 4 * torch.nn.functional.one_hot(x[:, 0].long(), CLASSES).float()
        return loc, torch.full_like(loc, 0.01)


class Faulty(torch.nn.Module):
    """Decodes the class that stands out in z, and one more with the given chance."""

    latent_dim = CLASSES

    def __init__(self, chance: float, seed: int) -> None:
        super().__init__()
        self.chance = torch.nn.Parameter(torch.tensor(chance), requires_grad=False)
        self.generator = Generator().manual_seed(seed)

    def forward(self, z: Tensor) -> Tensor:
        shown = z.argmax(-1, keepdim=True)
        wrong = torch.rand(shown.shape, generator=self.generator) < self.chance
        return ((shown + wrong) % CLASSES).float()


class Reader:
    """Classifies what those decoders show without error."""

    def predict(self, name: str, x: Tensor) -> Tensor:
        return x[..., 0].long()


def faulty_model(errors: dict[str, float], answer=full_set) -> MultimodalVAE:
    return MultimodalVAE(
        {name: OneHot() for name in errors},
        {name: Faulty(chance, seed) for seed, (name, chance) in enumerate(errors.items())},
        dict.fromkeys(errors, Normal(1.0)),
        Aggregator(product_of_experts(prior_expert=False), full_set, answer),
        joint_elbo,
        CLASSES,
    )


@pytest.fixture
def labels(generator) -> Tensor:
    return torch.randint(CLASSES, (2000,), generator=generator)


def certain(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Unimodal posteriors that know the class."""
    loc, scale = OneHot()(labels[:, None])
    return loc.expand(len(NAMES), -1, -1), scale.expand(len(NAMES), -1, -1)


ERRORS = {"a": 0.05, "b": 0.2, "c": 0.5}


@pytest.mark.equation("eq-conditional-coherence")
@pytest.mark.parametrize("answer", [full_set, singletons])
def test_conditional_coherence_is_one_minus_the_decoders_error_rate(labels, generator, answer):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS, answer), Reader(), *certain(labels), membership, generator
    )
    assert bool((predicted == -1).all(-1).eq(membership).all())
    value, error = coherence.conditional_coherence(predicted, labels)
    expected = 1 - torch.tensor(list(ERRORS.values())).double().expand_as(value)
    outside = ~membership
    assert bool(((value - expected).abs() < 4 * error)[outside].all())
    shifted = coherence.conditional_coherence(predicted, labels.roll(1)).value  # rows mixed up
    assert bool((shifted[outside] < 0.2).all())


@pytest.mark.equation("eq-conditional-coherence")
def test_the_summary_by_inputs_averages_over_subsets_and_targets_outside(labels, generator):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS), Reader(), *certain(labels), membership, generator
    )
    hits = predicted == labels
    value, error = estimates.by_inputs(coherence.shared_targets(hits, membership), membership)
    each = coherence.conditional_coherence(predicted, labels).value
    for row, size in enumerate((1, 2)):
        pairs = (membership.sum(1) == size)[:, None] & ~membership
        assert float(value[row]) == pytest.approx(float(each[pairs].mean()), rel=1e-12)
    assert bool(((value - 0.75).abs() < 4 * error).all())
    with_inputs = hits.double().mean((1, 2))  # counting inputs as targets that failed
    assert bool((with_inputs < 0.6).all())


@pytest.mark.equation("eq-conditional-coherence")
def test_posteriors_that_know_nothing_generate_at_chance(labels, generator):
    loc = torch.zeros(3, len(labels), CLASSES)
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS), Reader(), loc, torch.ones_like(loc), membership, generator
    )
    value, error = coherence.conditional_coherence(predicted, labels)
    assert bool(((value - 0.1).abs() < 4 * error)[~membership].all())


@pytest.mark.equation("eq-joint-coherence")
def test_joint_coherence_is_the_chance_that_all_modalities_agree(generator):
    # All right, or all wrong: an error adds one to the class, so two errors agree as well.
    right = math.prod(1 - e for e in ERRORS.values())
    wrong = math.prod(ERRORS.values())
    predicted = coherence.joint_predictions(faulty_model(ERRORS), Reader(), 5000, generator)
    assert predicted.shape == (3, 5000)
    value, error = coherence.joint_coherence(predicted)
    assert abs(float(value) - (right + wrong)) < 4 * float(error)
    assert float(error) == pytest.approx(float((value * (1 - value) / 4999).sqrt()), rel=1e-9)
    pairwise = (predicted[:-1] == predicted[1:]).double().mean()  # agreement of neighbours is more
    assert float(pairwise) > float(value) + 4 * float(error)


@pytest.mark.equation("eq-joint-coherence")
def test_joint_coherence_does_not_depend_on_which_class_is_shown():
    predicted = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 2, 3]])
    assert float(coherence.joint_coherence(predicted).value) == 0.75


def test_generation_does_not_depend_on_how_many_latents_are_decoded_at_a_time(labels):
    loc, scale = certain(labels[:100])
    exact = dict.fromkeys(NAMES, 0.0)
    found = [
        coherence.conditional_predictions(
            faulty_model(exact),
            Reader(),
            loc,
            scale,
            powerset(3)[:-1],
            Generator().manual_seed(2),
            chunk,
        )
        for chunk in (7, 10_000)
    ]
    assert torch.equal(*found)


# ---------------------------------------------------------------- the linear probe


def test_the_probe_reads_separable_latents_without_error(labels, generator):
    loc, scale = certain(labels)
    aggregator = Aggregator(product_of_experts(prior_expert=False), full_set)
    fit, test = slice(0, 500), slice(500, None)
    hits = probe.probe_hits(
        aggregator,
        (loc[:, fit], scale[:, fit]),
        labels[fit],
        (loc[:, test], scale[:, test]),
        labels[test],
        powerset(3),
        generator,
    )
    assert hits.shape == (7, 1500)
    assert bool(hits.all())


def test_the_probe_reads_noise_at_chance(labels, generator):
    codes = torch.randn(len(labels), CLASSES, generator=generator, dtype=torch.float64)
    predicted = probe.linear_probe(codes[:500], labels[:500], codes[500:])
    value, error = estimates.mean(predicted == labels[500:])
    assert abs(float(value) - 0.1) < 4 * float(error)
    # Scored on the examples it was fitted to, noise would look informative.
    own = probe.linear_probe(codes[:500], labels[:500], codes[:500])
    value, error = estimates.mean(own == labels[:500])
    assert float(value) > 0.1 + 4 * float(error)


# ---------------------------------------------------------------- classifiers


def striped(examples: int, name: str = "stripes-train", seed: int = 0) -> MultimodalData:
    """Two modalities of noise in which the row of a bright stripe is the class."""
    generator = Generator().manual_seed(seed)
    labels = torch.arange(examples) % CLASSES
    pictures = {}
    for modality in ("x", "y"):
        noise = torch.randint(100, (examples, 1, CLASSES, CLASSES), generator=generator)
        noise[torch.arange(examples), :, labels] += 100
        pictures[modality] = noise.to(torch.uint8)
    return MultimodalData(name, pictures, labels)


@pytest.fixture(scope="module")
def stripes() -> tuple[MultimodalData, MultimodalData]:
    return striped(640), striped(200, "stripes-test", seed=1)


@pytest.fixture(scope="module")
def classifiers(stripes) -> Classifiers:
    return train_classifiers(*stripes, epochs=8, channels=(8,))


def test_classifiers_learn_and_carry_their_accuracy_on_the_test_split(classifiers, stripes):
    _, test = stripes
    for name, x in test.batch(slice(None)).items():
        hits = classifiers.predict(name, x) == test.labels
        assert classifiers.accuracy[name] == pytest.approx(float(hits.double().mean()))
        assert classifiers.accuracy[name] > 0.95
    unseen = Classifiers(test, (8,))
    unseen.measure(test)
    assert max(unseen.accuracy.values()) < 0.5  # before training there is nothing to see


def test_a_classifier_is_the_encoder_but_for_its_last_layer():
    (network,) = Classifiers(striped(10).select(["x"]), (8, 16), (20,)).networks.values()
    encoder = conv_encoder((1, CLASSES, CLASSES), 3, (8, 16), (20,))
    shapes = [p.shape for p in network[0].parameters()]
    assert shapes == [p.shape for p in encoder.features.parameters()]
    assert network[1].in_features == encoder.posterior.in_features


def test_training_classifiers_depends_on_the_seed_and_leaves_the_global_state_alone(stripes):
    before = torch.random.get_rng_state()
    first, again, other = (
        train_classifiers(*stripes, epochs=1, channels=(4,), seed=seed).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(before, torch.random.get_rng_state())


def test_classifiers_of_another_data_set_are_refused_in_one_line(classifiers, stripes):
    _, test = stripes
    for other in (striped(20, "spots-test"), test.select(["x"])):
        with pytest.raises(ValueError, match=r"^classifiers: made for stripes \(x 1x10x10, ") as e:
            classifiers.check(other)
        assert "\n" not in str(e.value)
    classifiers.check(test.take(slice(0, 10)))  # fewer examples are the same data set


# ---------------------------------------------------------------- all of them


def test_an_evaluation_agrees_with_what_is_known_of_the_model(classifiers, stripes):
    train, test = stripes
    model = convolutional_vae(
        ["x", "y"], (1, CLASSES, CLASSES), build("mopoe"), latent_dim=4, seed=0, channels=(8,)
    )
    found = evaluate(model, train, test, classifiers, likelihood_examples=20, prior_samples=50)
    summary, arrays = found.metrics(), found.arrays()
    assert found.subsets.tolist() == [[True, False], [False, True], [True, True]]
    assert [len(summary[f"{name}_by_inputs"]) for name in ("coherence", "probe")] == [1, 2]
    np.testing.assert_array_equal(np.isnan(arrays["coherence"]), np.eye(2, dtype=bool))
    assert summary["coherence_by_inputs"][0] == pytest.approx(np.nanmean(arrays["coherence"]))
    assert summary["probe_by_inputs"][0] == pytest.approx(arrays["probe"][:2].mean())
    assert summary["probe_by_inputs"][1] == pytest.approx(arrays["probe"][2])
    json.dumps(summary, allow_nan=False)
    # Untrained networks know nothing of the class: coherence at chance.
    spread = summary["coherence_by_inputs_standard_error"][0]
    assert abs(summary["coherence_by_inputs"][0] - 1 / CLASSES) < 4 * spread


def test_an_evaluation_is_a_function_of_its_seed(classifiers, stripes):
    train, test = stripes
    model = convolutional_vae(
        ["x", "y"], (1, CLASSES, CLASSES), build("mmvae"), latent_dim=4, seed=0, channels=(8,)
    )
    first, again, other = (
        evaluate(
            model, train, test, classifiers, seed=seed, likelihood_examples=20, prior_samples=50
        ).metrics()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["log_likelihood_by_inputs"] != other["log_likelihood_by_inputs"]


def test_the_log_likelihood_of_a_model_is_that_of_its_parts(stripes):
    """Batching over examples changes nothing but the draws: compared within Monte Carlo error."""
    _, test = stripes
    model = convolutional_vae(
        ["x", "y"], (1, CLASSES, CLASSES), build("mopoe"), latent_dim=2, seed=0, channels=(8,)
    )
    some, subsets = test.take(slice(0, 30)), powerset(2)
    whole, error = likelihood.log_likelihoods(model, some, subsets, 500, Generator().manual_seed(0))
    parts, errors = likelihood.log_likelihoods(
        model, some, subsets, 500, Generator().manual_seed(1), batch_size=7
    )
    assert whole.shape == (3, 30)
    apart = (whole - parts).abs() / (error.square() + errors.square()).sqrt()
    assert float(apart.median()) < 4
    of_other_examples = (whole - parts.roll(1, dims=1)).abs()  # rows mixed up while batching
    assert float(of_other_examples.median()) > 4 * float(error.median())
