"""A run of JNF from settings to metrics: the package's own evaluation, a function of its seed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

import stripes
from multielbo.experiments import run_staged as staged
from multielbo.experiments import seeds
from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run_staged import run_staged
from multielbo.likelihoods import Laplace
from multielbo.metrics.classifiers import train_classifiers
from multielbo.models import registry
from multielbo.models.jnf import recipe
from multielbo.networks import conv_decoder, conv_encoder
from multielbo.setups.setup import Modality, Setup
from multielbo.train import OutOfTime

SHAPE = (1, stripes.CLASSES, stripes.CLASSES)
SETTINGS = Experiment(
    dataset="stripes",
    model="jnf",
    profile="quick",
    seeds=(0,),
    latent_dim=3,
    beta=1.0,
    epochs=1,
    batch_size=20,
    learning_rate=1e-3,
    classifier_epochs=1,
    precision="float32",
    probe_examples=30,
    prior_samples=20,
    importance_samples=(5,),
    likelihood_examples=(10,),
    frechet_examples=20,
)
PART = Modality(
    encoder=partial(conv_encoder, SHAPE, channels=(4,)),
    decoder=partial(conv_decoder, SHAPE, channels=(4,)),
    likelihood=Laplace(0.75),
)


@pytest.fixture(scope="module")
def parts():
    train, test = stripes.striped(100), stripes.striped(40, "stripes-test", seed=1)
    setup = Setup(lambda root, split: train, dict.fromkeys("xy", PART))
    return setup, train, test, train_classifiers(train, test, stripes.encoders(4), epochs=1, seed=0)


def run(parts, folder, seed: int = 0, **options):
    setup, *others = parts
    return run_staged(SETTINGS, setup, recipe(), seed, *others, folder, progress=False, **options)


def test_jnf_runs_from_settings_to_the_metrics_of_every_model(parts, tmp_path):
    metrics = run(parts, tmp_path).evaluation.metrics()
    assert {"coherence_by_inputs", "joint_coherence", "probe_by_inputs"} <= metrics.keys()
    assert metrics["log_likelihood_full_set"] < 0
    assert "log_likelihood_by_inputs" not in metrics, "no subset of flows has a known constant"
    assert len(metrics["probe_by_inputs"]) == 2
    assert metrics["frechet_prior"] > 0


def test_a_run_that_was_stopped_is_the_same_function_of_its_seed(parts, tmp_path):
    whole = run(parts, tmp_path / "whole")
    with pytest.raises(OutOfTime):
        run(parts, tmp_path / "parts", until=0.0)
    again, other = run(parts, tmp_path / "parts"), run(parts, tmp_path / "other", seed=1)
    assert again.evaluation.metrics() == whole.evaluation.metrics()
    assert other.evaluation.metrics() != whole.evaluation.metrics()
    for first, second in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_seed_of_jnf_goes_on_where_its_stages_stopped(parts, tmp_path, monkeypatch):
    setup, train, test, judges = parts
    monkeypatch.setattr(seeds.setups, "setup_of", lambda name: setup)
    monkeypatch.setattr(seeds, "kept_judges", lambda *others: judges)
    asked = described(replace(SETTINGS, dataset="polydigits"))
    folder = seeds.checkpoint_path(tmp_path, asked, 0)
    with pytest.raises(OutOfTime):
        seeds.outcome(SETTINGS, 0, train, test, judges, checkpoint=folder, until=0.0)
    assert folder.is_dir()
    part = seeds.run_seed(SETTINGS, 0, asked, train, test, tmp_path, progress=False)
    assert part.metrics["coherence_by_inputs"]
    assert not folder.exists()
    alone = seeds.outcome(SETTINGS, 0, train, test, judges, progress=False)
    assert alone.metrics["coherence_by_inputs"] == part.metrics["coherence_by_inputs"][0]


def test_a_record_of_jnf_rests_on_its_flows_and_that_of_mopoe_does_not():
    code = {
        model: described(replace(SETTINGS, dataset="polydigits", model=model)).code
        for model in ("jnf", "mopoe")
    }
    own = {"multielbo.experiments.run_staged", "multielbo.flows", "multielbo.hmc"}
    assert own < set(code["jnf"])
    assert not own & set(code["mopoe"])


def test_models_of_one_stage_and_of_several_are_not_mistaken_for_each_other():
    with pytest.raises(ValueError, match=r"^models: jnf trains in stages; call registry.recipe"):
        registry.build("jnf")
    with pytest.raises(ValueError, match=r"^models: mopoe trains in one stage; call "):
        registry.recipe("mopoe")
    for read in (registry.build, registry.recipe, registry.module_of):
        with pytest.raises(ValueError, match=r"^models: no model 'jfn'; choose one of "):
            read("jfn")


def test_all_metrics_are_of_the_tuples_that_coherence_is_of(parts, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(staged, "evaluate", lambda model, train, test, *_, **__: asked.append(test))
    setup, *others = parts
    for place, count in (("few", 10), ("all", None)):
        few = replace(SETTINGS, coherence_examples=count)
        run_staged(few, setup, recipe(), 0, *others, tmp_path / place, progress=False)
    some, everything = asked
    assert (len(some), len(everything)) == (10, len(others[1]))
