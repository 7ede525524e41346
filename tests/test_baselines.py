"""Models of one stage that are recipes, and JMVAE, from its answers to the metrics of a run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch

import stripes
from multielbo.experiments import seeds
from multielbo.experiments.costs import cost
from multielbo.experiments.description import described
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run_staged import run_staged
from multielbo.joint_first import SubsetAnswers
from multielbo.likelihoods import Laplace
from multielbo.metrics.classifiers import train_classifiers
from multielbo.models import registry
from multielbo.models.jmvae import JMVAE, ProductAnswers, jmvae
from multielbo.models.masked_sets import MaskedSetVAE
from multielbo.models.mmvae_plus import MMVAEPlus
from multielbo.networks import conv_decoder, conv_encoder, mlp_encoder
from multielbo.oracle import LinearGaussian
from multielbo.presets import preset
from multielbo.setups.setup import Modality, Setup
from multielbo.subset_posteriors import gaussian_subset_posterior
from multielbo.train import OutOfTime
from multielbo.unimodal import UnimodalPosteriors

SHAPE = (1, stripes.CLASSES, stripes.CLASSES)
SETTINGS = Experiment(
    dataset="stripes",
    model="jmvae",
    profile="quick",
    seeds=(0,),
    latent_dim=4,
    beta=1.0,
    epochs=3,
    batch_size=20,
    learning_rate=5e-3,
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
MODELS = {
    "jmvae": JMVAE,
    "mmvae-plus": MMVAEPlus,
    "masked-sum-pooling": MaskedSetVAE,
    "masked-self-attention": MaskedSetVAE,
}


@pytest.fixture(scope="module")
def parts():
    train, test = stripes.striped(100), stripes.striped(40, "stripes-test", seed=1)
    setup = Setup(lambda root, split: train, dict.fromkeys("xy", PART))
    return setup, train, test, train_classifiers(train, test, stripes.encoders(4), epochs=1, seed=0)


def run(parts, folder, model: str, seed: int = 0, **options):
    setup, *others = parts
    recipe = registry.recipe(model)
    return run_staged(SETTINGS, setup, recipe, seed, *others, folder, progress=False, **options)


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_it_runs_from_settings_to_the_metrics_of_every_model(parts, tmp_path, model):
    result = run(parts, tmp_path, model)
    metrics = result.evaluation.metrics()
    assert {"coherence_by_inputs", "joint_coherence", "probe_by_inputs"} <= metrics.keys()
    assert metrics["log_likelihood_full_set"] < 0
    assert len(metrics["probe_by_inputs"]) == 2
    assert metrics["frechet_prior"] > 0
    assert isinstance(result.model, MODELS[model])
    (stage,) = result.stages.values()
    losses = stage.history.loss
    assert len(losses) > 1
    assert losses[-1] < losses[0], "it learns"


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_was_stopped_is_the_same_function_of_its_seed(parts, tmp_path, model):
    whole = run(parts, tmp_path / "whole", model)
    with pytest.raises(OutOfTime):
        run(parts, tmp_path / "parts", model, until=0.0)
    again, other = run(parts, tmp_path / "parts", model), run(parts, tmp_path / "other", model, 1)
    assert again.evaluation.metrics() == whole.evaluation.metrics()
    assert other.evaluation.metrics() != whole.evaluation.metrics()
    for first, second in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_of_a_record_can_be_made_of_it(parts, model):
    setup, train, test, judges = parts
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(seeds.setups, "setup_of", lambda name: setup)
        settings = replace(SETTINGS, model=model, epochs=1)
        made = seeds.outcome(settings, 0, train, test, judges, progress=False)
    assert len(made.metrics["coherence_by_inputs"]) == 1
    assert {"samples_x", "samples_y"} <= made.arrays.keys()


@pytest.mark.parametrize("model", MODELS)
def test_a_laptop_trains_it_on_polymnist_with_the_settings_of_the_others(model):
    ours, mopoe = (preset("polymnist", name, "laptop") for name in (model, "mopoe"))
    assert replace(ours, model="mopoe") == mopoe
    code = described(ours).code
    assert registry.module_of(model) in code
    assert "multielbo.setups.polymnist_small" in code
    assert not [name for name in code if "registry" in name or "presets" in name]
    assert cost(ours) == cost(mopoe) != cost(preset("polymnist", "jnf", "laptop"))


# --- JMVAE's answers ------------------------------------------------------------------------------


def posteriors(log_variances) -> UnimodalPosteriors:
    """Of three modalities in two dimensions, with constant widths."""
    encoders = {m: mlp_encoder((2,), 2).double() for m in "abc"}
    with torch.no_grad():
        for encoder, value in zip(encoders.values(), log_variances, strict=True):
            encoder.posterior.weight[2:] = 0
            encoder.posterior.bias[2:] = torch.tensor(value)
    return UnimodalPosteriors(encoders)


def encoding(made: UnimodalPosteriors) -> tuple[torch.Tensor, torch.Tensor]:
    """What `JointFirst.encode` gives, with the joint posterior far from everything else."""
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(3)).double()
    loc, scale = (torch.stack(p) for p in zip(*(made.base(m, x) for m in "abc"), strict=True))
    return torch.cat([loc, loc * 0 + 9], -1), torch.cat([scale, scale * 0 + 0.1], -1)


SUBSETS = [(0,), (1,), (0, 1), (0, 2), (1, 2)]


@pytest.mark.equation("eq-subset-posterior")
@pytest.mark.parametrize("subset", SUBSETS)
def test_sharp_posteriors_are_multiplied_with_the_prior_divided_out(subset):
    made = posteriors([[-1.0, -0.2], [-0.5, -3.0], [-0.1, -2.0]])
    loc, scale = encoding(made)
    seen = torch.tensor([m in subset for m in range(3)])[:, None].expand(3, 6)
    found = ProductAnswers(made).posterior(loc, scale, seen)
    usual = SubsetAnswers(made).posterior(loc, scale, seen)
    torch.testing.assert_close((found.loc, found.scale), (usual.loc, usual.scale))
    rows = list(subset)
    product = gaussian_subset_posterior(loc[rows, :, :2], scale[rows, :, :2])
    torch.testing.assert_close((found.loc[0], found.scale[0]), product)
    if len(subset) > 1:
        undivided = scale[rows, :, :2].square().reciprocal().sum(0).rsqrt()
        assert (undivided < 0.99 * found.scale[0]).all(), "as MultiVae has it"


def test_where_the_product_has_no_integral_the_answer_is_no_wider_than_the_prior():
    made = posteriors([[1.0, -1.0], [0.9, -1.0], [0.0, 0.0]])
    loc, scale = encoding(made)
    pair = torch.tensor([True, True, False])[:, None].expand(3, 6)
    with pytest.raises(ValueError, match="cannot be normalised"):
        SubsetAnswers(made).posterior(loc, scale, pair)
    found = ProductAnswers(made).posterior(loc, scale, pair)
    precision = scale[:2, :, :2].square().reciprocal()
    # The first dimension: 1/e + 1/e^0.9 is less than one, so that nothing is divided out.
    torch.testing.assert_close(found.scale[0, :, 0], precision.sum(0)[:, 0].rsqrt())
    torch.testing.assert_close(found.scale[0, :, 1], (precision.sum(0)[:, 1] - 1).rsqrt())
    barely = ProductAnswers(posteriors([[0.3, 0.1], [0.2, 0.1], [0.0, 0.0]]))
    loc, scale = encoding(barely.posteriors)
    answer = barely.posterior(loc, scale, pair).scale
    torch.testing.assert_close(answer, torch.ones_like(answer))


def test_everything_is_answered_by_the_joint_posterior_and_nothing_by_nobody():
    made = posteriors([[-1.0, -1.0]] * 3)
    loc, scale = encoding(made)
    found = ProductAnswers(made).posterior(loc, scale)
    assert (found.loc == 9).all()
    with pytest.raises(ValueError, match="it has no member"):
        ProductAnswers(made).posterior(loc, scale, torch.zeros(3, 6, dtype=torch.bool))


def test_on_the_oracle_the_answer_is_the_exact_posterior(generator):
    one = LinearGaussian({m: torch.eye(2).double() for m in "abc"}, dict.fromkeys("abc", 0.7))
    batch = one.sample(5, generator)
    loc, scale = one.unimodal_posteriors(batch)
    answers = ProductAnswers(posteriors([[0.0, 0.0]] * 3))
    seen = torch.tensor([True, False, True])[:, None].expand(3, 5)
    both = [torch.cat([part, part], -1) for part in (loc, scale)]
    found = answers.posterior(*both, seen)
    mean, covariance = one.posterior(batch, ["a", "c"])
    torch.testing.assert_close(found.loc[0], mean)
    torch.testing.assert_close(found.scale[0], covariance.diagonal().sqrt().expand(5, 2))


def test_jmvae_trains_its_unimodal_posteriors_and_its_joint_one_at_once(parts):
    setup, train, *_ = parts
    model = jmvae(setup, 3, seed=0, hidden=())
    batch = train.batch(slice(0, 8))
    (-model.bound(batch, generator=torch.Generator().manual_seed(0)).elbo().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    firsts = [next(part.parameters()) for part in (*model.joint.encoders.values(),)]
    others = [next(part.parameters()) for part in model.posteriors.encoders.values()]
    assert not any(torch.equal(a, b) for a, b in pairwise([*firsts, *others]))
