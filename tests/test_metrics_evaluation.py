"""All metrics of one model together."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import Generator

from multielbo.data.multimodal import MultimodalData
from multielbo.likelihoods import Categorical, Normal
from multielbo.metrics import coherence, likelihood
from multielbo.metrics.classifiers import Classifiers, train_classifiers
from multielbo.metrics.evaluation import Evaluation, evaluate
from multielbo.metrics.latents import encode
from multielbo.models.registry import build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.subsets import powerset
from multielbo.vae import MultimodalVAE, convolutional_vae
from stripes import CLASSES, encoders, striped


@pytest.fixture(scope="module")
def stripes() -> tuple[MultimodalData, MultimodalData]:
    return striped(640), striped(200, "stripes-test", seed=1)


@pytest.fixture(scope="module")
def classifiers(stripes) -> Classifiers:
    return train_classifiers(*stripes, encoders(8), epochs=2)


def striped_model(model: str = "mopoe", latent_dim: int = 4) -> MultimodalVAE:
    return convolutional_vae(
        "xy",
        (1, CLASSES, CLASSES),
        build(model),
        latent_dim=latent_dim,
        seed=0,
        channels=(8,),
    )


FEW = {"likelihood_examples": 20, "prior_samples": 50, "frechet_examples": 100}


def test_an_evaluation_agrees_with_what_is_known_of_the_model(classifiers, stripes):
    train, test = stripes
    model = striped_model("mopoe", 4)
    found = evaluate(model, train, test, classifiers, **FEW)
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
    model = striped_model("mmvae", 4)
    first, again, other = (
        evaluate(model, train, test, classifiers, seed=seed, **FEW).metrics() for seed in (0, 0, 1)
    )
    assert first == again
    assert first["log_likelihood_by_inputs"] != other["log_likelihood_by_inputs"]


def test_the_log_likelihood_of_a_model_is_that_of_its_parts(stripes):
    """Batching over examples changes nothing but the draws: compared within Monte Carlo error."""
    _, test = stripes
    model = striped_model("mopoe", 2)
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


def test_coherence_is_that_of_the_equation(classifiers, stripes):
    train, test = stripes
    model = striped_model()
    found = evaluate(model, train, test, classifiers, **FEW)
    predicted = coherence.conditional_predictions(
        model, classifiers, *encode(model, test), powerset(2)[:-1], Generator().manual_seed(0)
    )
    expected = coherence.conditional_coherence(predicted, test.labels)
    torch.testing.assert_close(found.coherence, expected, rtol=0, atol=0)


def test_fewer_examples_cost_precision_alone(classifiers, stripes):
    train, test = stripes
    whole, some = (
        evaluate(striped_model(), train, test, classifiers, coherence_examples=n, **FEW).metrics()
        for n in (None, 50)
    )
    name = "coherence_by_inputs_standard_error"
    assert some[name][0] > 1.3 * whole[name][0]
    assert abs(some["coherence_by_inputs"][0] - whole["coherence_by_inputs"][0]) < 4 * some[name][0]


def test_numbers_of_samples_have_results_of_their_own(classifiers, stripes):
    train, test = stripes
    found = evaluate(
        striped_model(),
        train,
        test,
        classifiers,
        prior_samples=50,
        importance_samples=(2, 15, 200),
        likelihood_examples=(40, 30, 20),
        full_set_from=200,
        frechet_examples=None,
    )
    summary, arrays = found.metrics(), found.arrays()
    assert len(summary["log_likelihood_by_inputs"]) == 2
    assert len(summary["log_likelihood_15_by_inputs"]) == 2
    assert "log_likelihood_200_by_inputs" not in summary
    assert summary["log_likelihood_200_full_set"] == arrays["log_likelihood_200"][-1]
    assert np.isnan(arrays["log_likelihood_200"]).tolist() == [True, True, False]
    assert not np.isnan(arrays["monte_carlo_error_15"]).any()
    assert arrays["monte_carlo_error_200"][-1] < arrays["monte_carlo_error_15"][-1]
    assert "frechet_prior" not in summary
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(("samples", "examples"), [((15, 1000), (10,)), ((), ()), ((15, 15), None)])
def test_samples_and_examples_that_do_not_pair_up_are_refused_in_one_line(
    classifiers, stripes, samples, examples
):
    with pytest.raises(ValueError, match="do not pair up") as error:
        evaluate(
            striped_model(),
            *stripes,
            classifiers,
            importance_samples=samples,
            likelihood_examples=examples,
        )
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- attributes


def described(examples: int, name: str, seed: int) -> MultimodalData:
    """Attributes, the text that names them, and measurements of them; the last never holds."""
    generator = Generator().manual_seed(seed)
    truth = torch.rand(examples, 4, generator=generator) < 0.3
    truth[:, 3] = False
    measured = truth.float() + 0.1 * torch.randn(truth.shape, generator=generator)
    parts = {"text": truth.to(torch.uint8), "measured": measured}
    return MultimodalData(name, parts, truth, symbols={"text": 2})


@pytest.fixture(scope="module")
def of_attributes() -> Evaluation:
    train, test = described(600, "things-train", 0), described(400, "things-test", 1)
    shapes = {"text": (4, 2), "measured": (4,)}
    networks = {name: partial(mlp_encoder, shape, hidden=(32,)) for name, shape in shapes.items()}
    judges = train_classifiers(train, test, networks, epochs=5)
    with seeded(0):
        model = MultimodalVAE(
            {name: make(3) for name, make in networks.items()},
            {name: mlp_decoder(shape, 3, (8,)) for name, shape in shapes.items()},
            {"text": Categorical(), "measured": Normal(1.0)},
            *build("mopoe"),
            3,
        )
    return evaluate(model, train, test, judges, likelihood_examples=20)


def test_of_attributes_an_untrained_model_generates_at_the_share_of_positives(of_attributes):
    summary = of_attributes.metrics()
    assert summary["judged_attributes"] == 3
    assert abs(summary["coherence_by_inputs"][0] - 0.3) < 0.06
    assert 0 < summary["coherence_by_inputs_standard_error"][0] < 0.03
    # The networks are random, yet the latents still follow the inputs.
    assert summary["probe_by_inputs"][0] > 0.5


def test_of_attributes_nothing_is_claimed_that_no_paper_defines(of_attributes):
    summary = of_attributes.metrics()
    assert of_attributes.joint_coherence is None
    assert not any(name.startswith(("joint", "frechet")) for name in summary)
    assert len(summary["probe_by_inputs"]) == 2
    json.dumps(summary, allow_nan=False)
    np.testing.assert_array_equal(
        np.isnan(of_attributes.arrays()["coherence"]), np.eye(2, dtype=bool)
    )


def test_the_mean_over_attributes_is_that_of_the_values_kept(of_attributes):
    arrays = of_attributes.arrays()
    assert arrays["coherence_by_attribute"].shape == (2, 2, 4)
    assert arrays["probe_by_attribute"].shape == (3, 4)
    assert np.isnan(arrays["probe_by_attribute"][:, 3]).all(), "the last never holds"
    for name in ("coherence", "probe"):
        kept = arrays[f"{name}_by_attribute"][..., :3].mean(-1)
        np.testing.assert_allclose(kept, arrays[name], rtol=1e-12)
