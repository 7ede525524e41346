"""Experiments put the parts together: settings in, the same numbers out, records that come back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from multielbo.data.polydigits import polydigits
from multielbo.experiments import run as runs
from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.recorded import recorded
from multielbo.likelihoods import Laplace
from multielbo.metrics.classifiers import Classifiers
from multielbo.models.registry import CELLS, MODELS, build
from multielbo.presets import PRESETS, preset
from multielbo.records.provenance import module_digests
from multielbo.setups.registry import setup_of
from multielbo.train import TrainConfig

TINY = {
    "epochs": 1,
    "latent_dim": 3,
    "batch_size": 32,
    "probe_examples": 50,
    "prior_samples": 20,
    "importance_samples": (2,),
    "likelihood_examples": (4,),
}
SETUP = setup_of("polydigits")
ENCODERS = {name: modality.encoder for name, modality in SETUP.modalities.items()}


def run(experiment: Experiment, seed: int, data, classifiers) -> runs.Result:
    model = build(experiment.model)
    return runs.run(experiment, SETUP, model, seed, *data, classifiers, progress=False)


@pytest.fixture(scope="module")
def data():
    return polydigits("train", 64), polydigits("test", 30)


@pytest.fixture(scope="module")
def classifiers(data) -> Classifiers:
    return Classifiers(data[0], ENCODERS)


@pytest.mark.parametrize(("dataset", "profile"), PRESETS)
@pytest.mark.parametrize("model", MODELS | CELLS)
def test_every_model_has_every_preset(dataset, profile, model):
    experiment = preset(dataset, model, profile)
    TrainConfig(experiment.epochs, experiment.batch_size, experiment.learning_rate)
    json.dumps(asdict(experiment), allow_nan=False)
    assert (experiment.dataset, experiment.model) == (dataset, model)


def test_a_laptop_trains_narrow_networks_on_polymnist_and_keeps_the_papers_judges():
    laptop, full = (preset("polymnist", "mopoe", profile) for profile in ("laptop", "full"))
    assert (laptop.dataset, laptop.setup) == ("polymnist", "polymnist-small")
    assert (full.dataset, full.setup) == ("polymnist", "polymnist")
    judged, trained = setup_of(laptop.dataset), setup_of(laptop.setup)
    assert judged.modalities.keys() == trained.modalities.keys()
    for name, part in trained.modalities.items():
        assert part.likelihood == judged.modalities[name].likelihood
        sizes = [
            sum(weights.numel() for weights in modality.encoder(64).parameters())
            for modality in (part, judged.modalities[name])
        ]
        assert 4 * sizes[0] < sizes[1]
    modules = described(laptop).modules
    assert {"multielbo.setups.polymnist", "multielbo.setups.polymnist_small"} < set(modules)
    assert "multielbo.setups.polymnist_small" not in described(full).modules


def test_the_full_polymnist_preset_is_the_papers_setting():
    full = preset("polymnist", "mopoe", "full")
    assert (full.latent_dim, full.batch_size, full.epochs) == (512, 256, 300)
    assert (full.learning_rate, full.importance_samples[0]) == (1e-3, 15)
    assert (full.probe_examples, full.likelihood_examples[0], len(full.seeds)) == (500, None, 5)
    likelihoods = {part.likelihood for part in setup_of("polymnist").modalities.values()}
    assert likelihoods == {Laplace(0.75)}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("polydigits", "mopeo", "quick"), "no model 'mopeo'"),
        (("polydigits", "mopoe", "fast"), "unknown profile 'fast'"),
        (("mnist", "mopoe", "quick"), "no preset for 'mnist'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(setting, message):
    with pytest.raises(ValueError, match=message) as error:
        preset(*setting)
    assert "\n" not in str(error.value)


def test_a_set_up_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no data set 'mnits'; choose one of polydigits"):
        setup_of("mnits")


def test_a_preset_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"no preset for 'polymnist' \(quick\); there are"):
        preset("polymnist", "mopoe", "quick")


def test_prepared_data_need_a_folder():
    with pytest.raises(ValueError, match=r"prepare the data with data_scripts/polymnist.py"):
        runs.load(preset("polymnist", "mopoe", "laptop"), setup_of("polymnist"))


def test_training_examples_are_as_many_as_asked_for():
    experiment = preset("polydigits", "mopoe", "quick", train_examples=100)
    train, test = runs.load(experiment, SETUP)
    assert (len(train), len(test)) == (100, 1400)


@pytest.mark.parametrize("model", MODELS | CELLS)
def test_every_model_runs_from_settings_to_metrics(model, data, classifiers):
    result = run(preset("polydigits", model, "quick", **TINY), 0, data, classifiers)
    metrics = result.evaluation.metrics()
    assert [len(metrics[f"{m}_by_inputs"]) for m in ("coherence", "probe", "log_likelihood")] == [
        4,
        5,
        5,
    ]
    json.dumps(metrics, allow_nan=False)
    assert result.history.steps == 2


def test_a_run_is_a_function_of_its_seed(data, classifiers):
    experiment = preset("polydigits", "mopoe", "quick", **TINY)
    first, again, other = (run(experiment, seed, data, classifiers) for seed in (0, 0, 1))
    assert first.evaluation.metrics() == again.evaluation.metrics()
    assert first.evaluation.metrics() != other.evaluation.metrics()
    weights = [next(r.model.parameters()) for r in (first, again, other)]
    assert torch.equal(*weights[:2])
    assert not torch.equal(*weights[1:])


def test_classifiers_of_other_data_are_refused_before_any_training(data):
    others = Classifiers(polydigits("train", 10, size=8).select(["m0"]), ENCODERS)
    experiment = replace(preset("polydigits", "mopoe", "quick", **TINY), epochs=10**6)
    with pytest.raises(ValueError, match="classifiers: made for polydigits"):
        run(experiment, 0, data, others)


def test_a_recorded_experiment_comes_back_without_classifiers_or_training(
    tmp_path, data, classifiers
):
    experiment = preset("polydigits", "mopoe", "laptop", **TINY | {"seeds": (3, 4)})
    record, arrays = recorded(experiment, tmp_path, *data, lambda: classifiers)
    assert record.seeds == [3, 4]
    assert len(record.metrics["joint_coherence"]) == 2
    assert arrays["samples_m0_seed3"].shape == (5, 4, 3, 16, 16)
    assert "samples_m0_seed4" not in arrays

    def none_needed() -> Classifiers:
        raise RuntimeError("the record was not found")

    again, same = recorded(experiment, tmp_path, *data, none_needed)
    assert again == record
    np.testing.assert_array_equal(arrays["coherence_seed4"], same["coherence_seed4"])
    changed = replace(experiment, beta=0.5)
    with pytest.raises(RuntimeError, match="not found"):
        recorded(changed, tmp_path, *data, none_needed)


def test_samples_are_stored_as_the_data_are_given_one_input_more_in_each_row(data):
    experiment = preset("polydigits", "wb-vae", "quick", **TINY)
    model = runs.untrained(experiment, SETUP, build("wb-vae"), 0)
    made = runs.samples(model, data[1], examples=2)
    assert set(made) == {f"samples_{name}" for name in data[1].modalities}
    for images in made.values():
        assert images.shape == (5, 2, 3, 16, 16)
        assert images.dtype == np.uint8


def test_an_experiment_cannot_be_changed_in_place():
    experiment = preset("polydigits", "mopoe", "quick")
    assert isinstance(experiment, Experiment)
    with pytest.raises(AttributeError):
        experiment.beta = 1.0


def test_a_record_rests_on_its_own_model_and_data_alone():
    reached = module_digests(
        ["multielbo.experiments.run", "multielbo.models.mopoe", "multielbo.setups.polydigits"]
    )
    assert {"multielbo.objectives", "multielbo.train", "multielbo.metrics.evaluation"} <= {*reached}
    others = ("models.mvae", "models.registry", "setups.polymnist", "setups.registry", "presets")
    assert not {f"multielbo.{name}" for name in others} & {*reached}
