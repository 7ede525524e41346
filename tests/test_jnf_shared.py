"""JNF-Shared: projectors train in a stage of their own, and posteriors see nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import stripes
from multielbo.data import polydigits
from multielbo.data.multimodal import MultimodalData
from multielbo.dcca import canonical_correlations
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run_staged import run_staged
from multielbo.flow_kinds import masked_autoregressive
from multielbo.likelihoods import Laplace, Normal
from multielbo.metrics.classifiers import train_classifiers
from multielbo.metrics.evaluation import evaluate
from multielbo.models import jnf_contrastive, jnf_dcca
from multielbo.models.jnf import held_out_split
from multielbo.models.jnf_shared import jnf_shared, jnf_shared_stages
from multielbo.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder, seeded
from multielbo.projectors import ContrastiveFit, CorrelationFit, Projector, project
from multielbo.setups import polydigits_small
from multielbo.setups.setup import Modality, Setup
from multielbo.stages import train_stage, train_stages
from multielbo.train import OutOfTime
from multielbo.train_config import TrainConfig

KINDS = ["dcca", "contrastive"]
SIDE = stripes.CLASSES
STRIPED = Modality(
    encoder=partial(conv_encoder, (1, SIDE, SIDE), channels=(4,)),
    decoder=partial(conv_decoder, (1, SIDE, SIDE), channels=(4,)),
    likelihood=Laplace(0.75),
)
STRIPES = Setup(lambda root, split: stripes.striped(120), dict.fromkeys("xy", STRIPED))
CONFIG = TrainConfig(epochs=2, batch_size=30, learning_rate=1e-2, seed=3, checkpoint_every=2)
CONFIGS = dict.fromkeys(["projections", "joint", "posteriors"], CONFIG)
narrow = partial(masked_autoregressive, width=8)


def linear(dim: int) -> Modality:
    return Modality(
        encoder=lambda latents: mlp_encoder((dim,), latents),
        decoder=lambda latents: mlp_decoder((dim,), latents),
        likelihood=Normal(1.0),
    )


LINEAR = Setup(lambda root, split: shared(50), {"a": linear(5), "b": linear(4), "c": linear(3)})


def shared(examples: int, seed: int = 0) -> MultimodalData:
    """One number that all modalities show, under private ones and noise."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(examples, 1, generator=generator)
    x = {
        m: 0.3 * torch.randn(examples, d, generator=generator)
        + z * torch.linspace(-1, 1, d)
        + torch.randn(examples, 1, generator=generator) * torch.linspace(0.5, 1, d)
        for m, d in {"a": 5, "b": 4, "c": 3}.items()
    }
    return MultimodalData(f"shared-{seed}", x, torch.zeros(examples, dtype=torch.int64))


def small(projection: str = "dcca", setup: Setup = STRIPES, **options):
    return jnf_shared(
        setup,
        3,
        seed=1,
        projection=projection,
        projection_dim=2,
        hidden=(),
        posterior_hidden=(8,),
        head=(8, 8),
        flow=narrow,
        **options,
    )


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("kind", KINDS)
def test_jnf_shared_goes_from_a_set_up_to_the_metrics_of_every_model(kind, tmp_path):
    train, test = stripes.striped(120), stripes.striped(40, "stripes-test", seed=1)
    judges = train_classifiers(train, test, stripes.encoders(4), epochs=1, seed=0)
    model = small(kind)
    fitted, chosen_by = held_out_split(train, 0.3, 0)
    results = train_stages(
        jnf_shared_stages(model, fitted, CONFIGS, chosen_by), tmp_path, progress=False
    )
    assert list(results) == ["projections", "joint", "posteriors"]
    assert all(len(r.validation) == 2 for r in results.values())
    few = {"prior_samples": 20, "probe_examples": 20, "frechet_examples": None}
    metrics = evaluate(model, train, test, judges, full_set_from=1, **few).metrics()
    assert {"coherence_by_inputs", "joint_coherence", "probe_by_inputs"} <= metrics.keys()
    assert metrics["log_likelihood_full_set"] < 0


def test_a_step_of_every_stage_works_on_polydigits(tmp_path):
    sampler = {"iterations": 1, "leapfrog_steps": 2, "step_size": 0.01}
    model = jnf_shared(
        polydigits_small.setup(),
        4,
        seed=0,
        projection_dim=2,
        hidden=(),
        posterior_hidden=(8,),
        flow=narrow,
        sampler=sampler,
    )
    data = polydigits.polydigits("test", tuples=24)
    one = TrainConfig(epochs=1, batch_size=12)
    stages = jnf_shared_stages(model, data, dict.fromkeys(CONFIGS, one))
    train_stages(stages, tmp_path, progress=False)
    batch = data.batch(slice(0, 3))
    names = list(batch)
    for members in (names[:1], names[:2], names):
        z = model.posterior({m: batch[m] for m in members}).loc[0]
        assert z.shape == (3, 4)
        assert z.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("until_stage", ["projections", "joint", "posteriors"])
def test_training_in_three_stages_resumes_exactly_in_and_between_them(
    kind, until_stage, tmp_path, monkeypatch
):
    data, chosen_by = held_out_split(stripes.striped(120), 0.25, 0)
    whole = small(kind)
    expected = train_stages(
        jnf_shared_stages(whole, data, CONFIGS, chosen_by), tmp_path / "whole", progress=False
    )

    class Interrupted(Exception):
        pass

    stopped = small(kind)
    stages = jnf_shared_stages(stopped, data, CONFIGS, chosen_by)
    place = [stage.name for stage in stages].index(until_stage)
    prepare, left = stages[place].prepare, [3]

    def losing():
        module, *others = prepare()
        bound = module.bound

        def limited(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
            return bound(*args, **options)

        monkeypatch.setattr(type(module), "bound", lambda self, *a, **o: limited(*a, **o))
        return module, *others

    stages[place] = replace(stages[place], prepare=losing)
    with pytest.raises(Interrupted):
        train_stages(stages, tmp_path / "parts", progress=False)
    monkeypatch.undo()
    again = small(kind)
    found = train_stages(
        jnf_shared_stages(again, data, CONFIGS, chosen_by), tmp_path / "parts", progress=False
    )
    assert all(map(torch.equal, weights(again), weights(whole)))
    for name, result in expected.items():
        assert found[name].history.loss == result.history.loss
        assert found[name].validation == result.validation


def test_later_stages_leave_every_bit_of_the_earlier_ones(tmp_path):
    model = small()
    stages = jnf_shared_stages(model, stripes.striped(60), CONFIGS)
    train_stage(stages, "projections", tmp_path, progress=False)
    projectors = [weights(g) for g in model.projectors.values()]
    train_stage(stages, "joint", tmp_path, progress=False)
    joint = weights(model.joint)
    untrained = weights(model.of_projections)
    train_stage(stages, "posteriors", tmp_path, progress=False)
    for g, before in zip(model.projectors.values(), projectors, strict=True):
        assert all(map(torch.equal, weights(g), before)), "running averages, too"
    assert all(map(torch.equal, weights(model.joint), joint))
    assert not all(map(torch.equal, weights(model.of_projections), untrained))


def test_a_stage_that_is_started_before_its_turn_says_so(tmp_path):
    stages = jnf_shared_stages(small(), stripes.striped(60), CONFIGS)
    for name, before in (("joint", "projections"), ("posteriors", "projections")):
        with pytest.raises(ValueError, match=f"'{name}' starts from stage '{before}'") as error:
            train_stage(stages, name, tmp_path, progress=False)
        assert "\n" not in str(error.value)
    with pytest.raises(OutOfTime, match="start again"):
        train_stages(stages, tmp_path, until=0.0, progress=False)


def test_posteriors_are_not_resumed_behind_other_projectors(tmp_path):
    data = stripes.striped(60)
    train_stages(jnf_shared_stages(small(), data, CONFIGS), tmp_path, progress=False)
    (tmp_path / "projections.finished.pt").unlink()
    other = CONFIGS | {"projections": replace(CONFIG, seed=9)}
    with pytest.raises(ValueError, match=r"another configuration: model\.stage_before"):
        train_stages(jnf_shared_stages(small(), data, other), tmp_path, progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_posterior_cannot_tell_observations_with_the_same_projection_apart(kind):
    model = small(kind, LINEAR).eval()
    x = shared(6).batch(slice(None))["a"]
    weight = model.projectors["a"].linear.weight.detach()
    unseen = torch.linalg.svd(weight).Vh[-1]  # the network is linear: a direction it drops
    unseen = unseen if kind == "dcca" else unseen * 0
    moved = x + 3.0 * unseen
    q, r = (model.posteriors.base("a", v) for v in (x, moved))
    torch.testing.assert_close(q, r, rtol=1e-4, atol=1e-4)
    if kind == "dcca":
        other = model.posteriors.base("a", x + 3.0 * weight[0])
        assert (other[0] - q[0]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_projectors_learn_what_all_modalities_show(kind, tmp_path):
    data, test = shared(600), shared(600, seed=1)
    model = jnf_shared(
        LINEAR,
        2,
        seed=0,
        projection=kind,
        projection_dim=1 if kind == "dcca" else 2,
        hidden=(),
        posterior_hidden=(8,),
        head=(8, 8),
        flow=narrow,
    )
    x = test.batch(slice(None))

    def correlation():
        with torch.no_grad():
            a, c = (model.projectors[m].eval()(x[m]).double() for m in "ac")
        return canonical_correlations(a, c)[0]

    before = correlation()
    config = replace(CONFIG, epochs=12, batch_size=100, learning_rate=2e-2)
    stages = jnf_shared_stages(model, data, CONFIGS | {"projections": config}, shared(150, seed=2))
    train_stage(stages, "projections", tmp_path, progress=False)
    best = canonical_correlations(x["a"].double(), x["c"].double())[0]
    assert correlation() > 0.9 * best
    if kind == "dcca":
        assert before < 0.7 * best


@pytest.mark.parametrize("objective", ["sum", "squares", "information"])
def test_the_stages_loss_is_minus_the_sum_over_pairs(objective):
    with seeded(0):
        made = {
            m: Projector(mlp_encoder((d,), 1), 2) for m, d in zip("abc", (5, 4, 3), strict=True)
        }
    fit = CorrelationFit(made, objective, ridge=0.0)
    batch = shared(50).batch(slice(None))
    bound = fit.bound(batch)
    assert bound.reconstruction.shape == (3, 50)
    assert not bound.rate.any()
    views = [made[m](batch[m]).double() for m in "abc"]
    of = {
        "sum": lambda r: r.sum(),
        "squares": lambda r: r.square().sum(),
        "information": lambda r: -0.5 * (1 - r**2).log().sum(),
    }[objective]
    pairs = ((0, 1), (0, 2), (1, 2))
    expected = sum(of(canonical_correlations(views[i], views[j])) for i, j in pairs)
    torch.testing.assert_close(bound.elbo(), expected.float().expand(50))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fit.bound(batch).elbo()
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, bound.elbo(), rtol=0.02, atol=0)


def test_a_contrast_counts_each_anchor_half_in_every_pair():
    model = small("contrastive", LINEAR)
    batch = shared(20).batch(slice(None))
    views = {m: model.projectors[m](batch[m]) for m in "abc"}
    torch.testing.assert_close(views["a"].norm(dim=1), torch.ones(20))
    for own in (True, False):
        fit = ContrastiveFit(model.projectors, temperature=0.5, own_negatives=own)
        expected = 0.0
        for i, j in ("ab", "ac", "bc"):
            both = torch.cat([views[i], views[j]])
            scores = both @ both.mT / 0.5
            barred = torch.eye(40).bool()
            if not own:
                barred[:20, :20] = barred[20:, 20:] = True
            target = (torch.arange(40) + 20) % 40
            scores = scores.masked_fill(barred, -torch.inf)
            expected = expected - nn.functional.cross_entropy(scores, target)
        torch.testing.assert_close(fit.bound(batch).elbo().mean(), expected)
    shared_heads = {id(model.projectors[m].head) for m in "abc"}
    assert len(shared_heads) == 1


def test_projections_take_the_place_of_observations_and_their_file_knows_the_projector():
    model, other = small().eval(), jnf_shared(STRIPES, 3, seed=5, projection_dim=2, flow=narrow)
    data = stripes.striped(30)
    found = project(data, model.projectors, batch_size=7)
    expected = model.projectors["x"](data.batch(slice(None))["x"])
    torch.testing.assert_close(found["x"], expected)
    assert found.shapes == {"x": (2,), "y": (2,)}
    assert len({data.sha256, found.sha256, project(data, other.projectors).sha256}) == 3
    alone = project(data, {"x": model.projectors["x"]})
    assert torch.equal(alone["y"], data["y"])


def test_projections_are_judged_on_whole_batches():
    model, data = small(), stripes.striped(60)
    for held_out, left in ((75, 60), (30, 30), (20, 20), (5, 5)):
        stages = jnf_shared_stages(model, data, CONFIGS, stripes.striped(held_out))
        assert len(stages[0].prepare()[2]) == left
        assert len(stages[1].prepare()[2]) == held_out
    assert stages[0].config.graph is False
    too_few = jnf_shared_stages(model, data, CONFIGS, stripes.striped(4))
    with pytest.raises(ValueError, match=r"held out: 4 examples are too few .* takes 5") as error:
        too_few[0].prepare()
    assert "\n" not in str(error.value)


def test_a_batch_smaller_than_the_projections_is_refused_in_one_line(tmp_path):
    configs = CONFIGS | {"projections": replace(CONFIG, batch_size=4)}
    stages = jnf_shared_stages(small(), stripes.striped(60), configs)
    with pytest.raises(ValueError, match=r"4 examples of 2 and 2 .* more than 4") as error:
        train_stages(stages, tmp_path, progress=False)
    assert "\n" not in str(error.value)


def test_a_projector_that_has_collapsed_is_refused_in_one_line(tmp_path):
    model = small()
    nn.init.zeros_(model.projectors["y"].linear.weight)
    stages = jnf_shared_stages(model, stripes.striped(60), CONFIGS)
    with pytest.raises(ValueError, match=r"covariance of 2 dimensions is degenerate, of rank 0"):
        train_stages(stages, tmp_path, progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_is_none_stops_the_stage_with_a_line(kind, tmp_path):
    data = shared(60)
    data["b"][7] = float("nan")
    stages = jnf_shared_stages(small(kind, LINEAR), data, CONFIGS)
    with pytest.raises(FloatingPointError, match=r"not finite|nan") as error:
        train_stages(stages, tmp_path, progress=False)
    assert "\n" not in str(error.value)


def test_unknown_projections_and_objectives_are_named():
    with pytest.raises(ValueError, match="no projection 'cca'; choose from dcca, contrastive"):
        small("cca")
    for kind, too_small in (("dcca", 0), ("contrastive", 1)):
        with pytest.raises(ValueError, match=f"needs at least {too_small + 1}"):
            jnf_shared(STRIPES, 3, seed=1, projection=kind, projection_dim=too_small)
    model = small(objective="trace")
    with pytest.raises(ValueError, match="no objective 'trace'; choose from sum, squares"):
        model.fit(model.projectors)
    with pytest.raises(ValueError, match="two modalities and more"):
        ContrastiveFit({"x": small().projectors["x"]})


@pytest.mark.parametrize("module", [jnf_dcca, jnf_contrastive])
def test_a_recipe_states_the_epochs_of_all_stages_in_their_order(module):
    stated = module.recipe()
    model = stated.make(STRIPES, 3, seed=0, beta=1.0)
    stages = stated.stages(model, stripes.striped(60), CONFIGS, None)
    assert [stage.name for stage in stages] == list(stated.epochs)
    fits = {jnf_dcca: CorrelationFit, jnf_contrastive: ContrastiveFit}
    assert isinstance(stages[0].prepare()[0], fits[module])


def test_an_experiment_runs_the_recipe_from_settings_to_metrics(tmp_path):
    train, test = stripes.striped(300), stripes.striped(40, "stripes-test", seed=1)
    judges = train_classifiers(train, test, stripes.encoders(4), epochs=1, seed=0)
    settings = Experiment(
        dataset="stripes",
        model="jnf-dcca",
        profile="quick",
        seeds=(0,),
        latent_dim=3,
        beta=1.0,
        epochs=4,
        batch_size=30,
        learning_rate=1e-3,
        classifier_epochs=1,
        probe_examples=30,
        prior_samples=20,
        importance_samples=(5,),
        likelihood_examples=(10,),
        frechet_examples=20,
    )
    assert settings.precision == "bfloat16"
    stated = jnf_dcca.recipe()
    found = run_staged(settings, STRIPES, stated, 0, train, test, judges, tmp_path, progress=False)
    assert list(found.stages) == ["projections", "joint", "posteriors"]
    assert found.stages["projections"].history.steps == 2 * (270 // 30)
    assert found.stages["joint"].history.steps == 4 * (270 // 30)
    assert "coherence_by_inputs" in found.evaluation.metrics()
