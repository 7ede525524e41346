"""Joint first: the joint ELBO, the fit to the frozen joint posterior, and answers for subsets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from multielbo import gaussians
from multielbo.data.multimodal import MultimodalData
from multielbo.flow_kinds import coupling, masked_autoregressive
from multielbo.gaussians import kl
from multielbo.joint import JointVAE, freeze
from multielbo.joint_first import JointFirst, SubsetAnswers
from multielbo.likelihoods import Normal
from multielbo.metrics.coherence import conditional_predictions
from multielbo.models.jmvae import JMVAE, TelboFit
from multielbo.models.jnf import held_out_split, jnf_stages
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle import LinearGaussian
from multielbo.stages import train_stage, train_stages
from multielbo.subset_posteriors import gaussian_subset_posterior
from multielbo.subsets import powerset
from multielbo.train_config import TrainConfig
from multielbo.unimodal import JOINT, PosteriorFit, UnimodalPosteriors, joined

NAMES = ["a", "b", "c"]
SHAPES = {"a": 4, "b": 3, "c": 5}
D = 2
CONFIGS = {
    "joint": TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2),
    "posteriors": TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2),
}


@pytest.fixture
def oracle(generator) -> LinearGaussian:
    return LinearGaussian.random(SHAPES, D, {"a": 0.7, "b": 1.0, "c": 1.5}, generator=generator)


def joint_vae(seed: int = 0, hidden=(8,), noise: float = 1.0) -> JointVAE:
    with seeded(seed):
        heads = {m: mlp_encoder((SHAPES[m],), D) for m in NAMES}
        decoders = {m: mlp_decoder((SHAPES[m],), D) for m in NAMES}
        return JointVAE(heads, decoders, dict.fromkeys(NAMES, Normal(noise)), D, hidden)


def posteriors(make=None, seed: int = 3) -> UnimodalPosteriors:
    with seeded(seed):
        encoders = {m: mlp_encoder((SHAPES[m],), D, (8,)) for m in NAMES}
        return UnimodalPosteriors(encoders, None if make is None else {m: make() for m in NAMES})


def masked() -> nn.Module:
    return masked_autoregressive(D, width=8)


def data(oracle: LinearGaussian, examples: int = 40) -> MultimodalData:
    batch = oracle.sample(examples, torch.Generator().manual_seed(1))
    x = {m: batch[m].float() for m in NAMES}
    return MultimodalData("oracle", x, torch.arange(examples) % 2)


@pytest.fixture
def exact(oracle) -> JointVAE:
    """The joint VAE whose decoders are the oracle's, and whose joint encoder is its posterior."""
    model = joint_vae(hidden=()).double()
    model.likelihoods = {m: Normal(oracle.noise[m]) for m in NAMES}
    one = {m: torch.zeros(1, SHAPES[m], dtype=torch.float64) for m in NAMES}
    covariance = oracle.posterior(one)[1]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for m in NAMES:
            w, s = oracle.loadings[m], oracle.noise[m]
            model.decoders[m].network[0].weight.copy_(w)
            model.encoders[m].posterior.weight[:D] = w.T / s**2
        model.fusion.posterior.weight[:D] = covariance.repeat(1, len(NAMES))
        model.fusion.posterior.bias[D:] = covariance.diagonal().log()
    return model


def test_the_joint_encoder_can_be_the_oracles_posterior(oracle, exact, generator):
    batch = oracle.sample(6, generator)
    loc, scale = exact.joint_posterior(batch)
    mean, covariance = oracle.posterior(batch)
    torch.testing.assert_close(loc, mean)
    torch.testing.assert_close(scale, covariance.diagonal().sqrt().expand(6, D))


def test_the_joint_elbo_of_the_exact_posterior_is_the_evidence(oracle, exact, generator):
    batch = oracle.sample(1, generator)
    many = {m: x.expand(20_000, -1) for m, x in batch.items()}
    elbo = exact.bound(many, generator=generator).elbo()
    error = elbo - oracle.log_evidence(batch)
    assert abs(error.mean()) < 4 * elbo.std() / len(elbo) ** 0.5
    with torch.no_grad():
        exact.fusion.posterior.bias[D:] += 1.0
    loose = exact.bound(many, generator=generator).elbo() - oracle.log_evidence(batch)
    assert loose.mean() < -4 * loose.std() / len(loose) ** 0.5


@pytest.mark.equation("eq-posterior-fit")
@pytest.mark.parametrize("make", [None, masked], ids=["Gaussian", "flow"])
def test_the_fit_is_minus_the_sum_of_divergences(make, generator):
    fit = PosteriorFit(posteriors(make), "").double()
    x = {m: torch.randn(1, SHAPES[m], dtype=torch.float64, generator=generator) for m in NAMES}
    loc, scale = torch.tensor([[0.3, -0.4]]).double(), torch.tensor([[0.5, 0.8]]).double()
    batch = {m: v.expand(20_000, -1) for m, v in x.items()}
    batch[JOINT] = torch.cat([loc, scale], -1).expand(20_000, -1)
    found = fit.bound(batch, generator=generator).elbo()
    # As made, a flow is the identity, so the divergences are those of Gaussians.
    expected = -sum(kl(loc, scale, *fit.posteriors.base(m, x[m])) for m in NAMES)
    assert abs(found.mean() - expected) < 4 * found.std() / len(found) ** 0.5


@pytest.mark.equation("eq-posterior-fit")
def test_the_fits_optimum_is_the_exact_unimodal_posterior_where_the_joint_one_is(oracle, generator):
    batch = oracle.sample(60_000, generator)
    loc, covariance = oracle.posterior(batch)
    scale = covariance.diagonal().sqrt().expand_as(loc)
    encoders = {}
    for i, m in enumerate(NAMES):
        mean, own = oracle.posterior(batch, [m])
        linear = mlp_encoder((SHAPES[m],), D).double()
        with torch.no_grad():
            solved = torch.linalg.lstsq(batch[m], mean).solution.T
            linear.posterior.weight.copy_(torch.cat([solved, torch.zeros_like(solved)]))
            linear.posterior.bias.copy_(torch.cat([torch.zeros(D), own.diagonal().log()]))
            if i == 2:
                linear.posterior.bias[D] += 0.1  # the twin: ten percent too wide
        encoders[m] = linear
    fit = PosteriorFit(UnimodalPosteriors(encoders), "")
    bound = fit.bound({**batch, JOINT: torch.cat([loc, scale], -1)}, generator=generator)
    for i, m in enumerate(NAMES):
        bias = encoders[m].posterior.bias
        per_part = torch.stack(
            [
                torch.autograd.grad(part.mean(), bias, retain_graph=True)[0]
                for part in bound.reconstruction[i].split(2000)
            ]
        )
        t = per_part.mean(0) / (per_part.std(0) / len(per_part) ** 0.5)
        assert (t.abs() < 4.5).all() if i < 2 else t[D].abs() > 4.5


def test_stage_two_leaves_every_bit_of_the_generative_model_and_a_joint_loss_does_not(
    oracle, tmp_path
):
    model = JointFirst(joint_vae(), posteriors(masked))
    stages = jnf_stages(model, data(oracle), CONFIGS)
    train_stage(stages, "joint", tmp_path, progress=False)
    before = {name: value.clone() for name, value in model.joint.state_dict().items()}
    of_posteriors = [p.clone() for p in model.posteriors.parameters()]
    train_stages(stages, tmp_path, progress=False)
    after = model.joint.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    moved = zip(model.posteriors.parameters(), of_posteriors, strict=True)
    assert any(not torch.equal(p, old) for p, old in moved)

    twin = JMVAE(joint_vae(), posteriors(), alpha=1.0)
    twin.joint.load_state_dict(before)
    batch = data(oracle).batch(slice(0, 16))
    (-twin.bound(batch).elbo().mean()).backward()
    missed = sum(
        kl(*twin.joint.joint_posterior(batch), *twin.posteriors.base(m, batch[m])) for m in NAMES
    )
    twin.zero_grad()
    missed.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in twin.joint.fusion.parameters())


def test_batch_normalisation_in_a_frozen_model_does_not_move():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(False)
    digest = freeze(model)
    model(torch.randn(8, 2))
    assert freeze(model) == digest
    before = twin[1].running_mean.clone()
    twin(torch.randn(8, 2))
    assert not torch.equal(twin[1].running_mean, before), "frozen gradients alone are not enough"


def test_the_joint_posterior_is_asked_once_and_for_the_same_numbers(oracle):
    plain, model = data(oracle), joint_vae()
    found = joined(plain, model, batch_size=7)
    loc, scale = model.joint_posterior(plain.batch(slice(None)))
    torch.testing.assert_close(found[JOINT], torch.cat([loc, scale], -1))
    assert found.sha256 != plain.sha256
    assert joined(plain, joint_vae(seed=5)).sha256 != found.sha256


@pytest.mark.equation("eq-jmvae")
def test_jmvae_pays_for_what_its_unimodal_posteriors_miss(oracle):
    batch = data(oracle).batch(slice(0, 9))
    model = JMVAE(joint_vae(), posteriors(), alpha=0.3)
    ours = model.bound(batch, generator=torch.Generator().manual_seed(2))
    joint = model.joint.bound(batch, generator=torch.Generator().manual_seed(2))
    q = model.joint.joint_posterior(batch)
    normal = torch.distributions.Normal
    missed = sum(
        torch.distributions.kl_divergence(
            normal(*q), normal(*model.posteriors.base(m, batch[m]))
        ).sum(-1)
        for m in NAMES
    )
    torch.testing.assert_close(ours.reconstruction, joint.reconstruction)
    torch.testing.assert_close(ours.rate, joint.rate + 0.3 * missed)
    with pytest.raises(ValueError, match="leave the flows out"):
        JMVAE(joint_vae(), posteriors(masked))


def test_telbos_second_stage_bounds_each_modalitys_evidence_and_moves_no_decoder(
    oracle, exact, generator
):
    batch = oracle.sample(4000, generator)
    fit = TelboFit(posteriors().double(), exact, freeze(exact))
    bound = fit.bound(batch, generator=generator)
    evidence = sum(oracle.log_evidence(batch, [m]) for m in NAMES)
    gap = evidence - bound.elbo()
    assert gap.mean() > 4 * gap.std() / len(gap) ** 0.5
    bound.elbo().sum().backward()
    assert all(p.grad is None for p in exact.parameters())
    assert {id(p) for p in fit.parameters()} == {id(p) for p in fit.posteriors.parameters()}
    # The divergence of q_m itself: with the joint's width in it, as MultiVae 1.0.3 has it, a
    # narrower q_m would always pay.
    rates = [gaussians.kl_to_prior(*fit.posteriors.base(m, batch[m])) for m in NAMES]
    torch.testing.assert_close(bound.rate, sum(rates))


@pytest.fixture
def model() -> JointFirst:
    """Random flows with some bend, on posteriors sharper than the prior."""
    made = posteriors(masked).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.flows.parameters():
            nn.init.normal_(parameter, std=0.15, generator=generator)
        for encoder in made.encoders.values():
            encoder.posterior.bias[D:] -= 1.5
    return JointFirst(joint_vae().double(), made)


def test_all_modalities_are_answered_by_the_joint_posterior(model, oracle, generator):
    batch = oracle.sample(5, generator)
    q = model.posterior(batch)
    torch.testing.assert_close((q.loc[0], q.scale[0]), model.joint.joint_posterior(batch))


@pytest.mark.parametrize("row", powerset(3)[:-1], ids=lambda row: str(row.int().tolist()))
def test_a_missing_modality_is_never_read(model, oracle, generator, row):
    batch = oracle.sample(5, generator)
    there = {m: x for m, x in batch.items() if row[NAMES.index(m)]}
    hidden = {m: x if m in there else torch.full_like(x, torch.nan) for m, x in batch.items()}
    observed = {m: torch.full((5,), m in there) for m in NAMES}
    first, second = model.posterior(there), model.posterior(hidden, observed)
    assert first.loc.isfinite().all()
    torch.testing.assert_close(first.loc, second.loc)


def test_examples_may_lack_different_modalities(model, oracle, generator):
    batch = oracle.sample(4, generator)
    observed = {m: torch.ones(4, dtype=torch.bool) for m in NAMES}
    observed["a"][0] = observed["b"][1] = observed["c"][1] = False
    q = model.posterior(batch, observed)
    assert q.scale[0, 2:].min() > 0, "all is there: a Gaussian"
    assert (q.scale[0, :2] == 0).all(), "a draw"
    whole = model.joint.joint_posterior(batch)[0]
    torch.testing.assert_close(q.loc[0, 2:], whole[2:])


def test_one_modality_is_answered_by_a_draw_through_its_flow(model, oracle, generator):
    x = {"b": oracle.sample(1, generator)["b"].expand(6000, -1)}
    z = model.posterior(x).loc[0]
    loc, scale = model.posteriors.base("b", x["b"])
    u, _ = model.posteriors.flows["b"](z)
    t = (u - loc) / scale
    assert (t.mean(0).abs() < 4.5 / 6000**0.5).all()
    assert ((t.std(0) - 1).abs() < 4.5 / 12000**0.5).all()
    raw = (z - loc) / scale  # the base's draw itself, as MultiVae 1.0.3 starts its chains
    assert (raw.mean(0).abs() > 4.5 / 6000**0.5).any()


@pytest.mark.equation("eq-subset-posterior")
def test_draws_for_a_subset_have_the_moments_of_the_product(oracle, generator):
    made = posteriors(lambda: coupling(D, width=4)).double()  # as made, the identity
    with torch.no_grad():
        for encoder in made.encoders.values():
            encoder.posterior.bias[D:] -= 1.0
    sampler = {"iterations": 25, "leapfrog_steps": 6, "step_size": 0.2, "vary": True}
    model = JointFirst(joint_vae().double(), made, sampler)
    batch = {m: x.expand(4000, -1) for m, x in oracle.sample(1, generator).items() if m != "c"}
    z = model.posterior(batch).loc[0]
    bases = [
        torch.stack(part) for part in zip(*(made.base(m, batch[m]) for m in "ab"), strict=True)
    ]
    loc, scale = (part[0] for part in gaussian_subset_posterior(*bases))
    assert ((z.mean(0) - loc) / scale * 4000**0.5).abs().max() < 4.5
    assert ((z.std(0) / scale - 1) * 8000**0.5).abs().max() < 4.5
    start_only = replace(model.aggregator, sampler=sampler | {"iterations": 1, "step_size": 1e-6})
    start = start_only.posterior(*model.encode(batch)).loc[0]
    assert ((start.std(0) / scale - 1) * 8000**0.5).abs().max() > 4.5, "a start is no draw"


def test_gaussian_posteriors_are_multiplied_in_closed_form(oracle, generator):
    made = posteriors().double()
    with torch.no_grad():
        for encoder in made.encoders.values():
            encoder.posterior.bias[D:] -= 1.5
    model = JointFirst(joint_vae().double(), made)
    batch = {m: x for m, x in oracle.sample(3, generator).items() if m != "b"}
    q = model.posterior(batch)
    bases = [made.base(m, batch[m]) for m in ("a", "c")]
    expected = gaussian_subset_posterior(*(torch.stack(part) for part in zip(*bases, strict=True)))
    torch.testing.assert_close((q.loc[0], q.scale[0]), expected)


def test_metrics_take_it_for_a_multimodal_vae_and_the_same_question_has_the_same_answer(
    model, oracle, generator
):
    class Judge:
        def predict(self, name, x):
            return (x.sum(-1) > 0).long()

    model = model.float()
    plain = data(oracle, 12)
    loc, scale, mask = model.encode(plain.batch(slice(None)))
    assert (loc.shape, mask) == ((3, 12, 2 * D), None)
    seen = [
        conditional_predictions(model, Judge(), loc, scale, powerset(3)[:-1], generator)
        for _ in range(2)
    ]
    assert torch.equal(*seen)


def test_a_share_of_the_examples_is_held_out_once(oracle):
    plain = data(oracle)
    train, held_out = held_out_split(plain, 0.1, seed=0)
    assert (len(train), len(held_out)) == (36, 4)
    every = torch.cat([train["a"], held_out["a"]])
    assert torch.equal(every.sum(1).sort().values, plain["a"].sum(1).sort().values)
    with pytest.raises(ValueError, match="leave some on either side"):
        held_out_split(plain, 0.001, seed=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda o: joint_vae().bound({"a": torch.zeros(2, 4)}), "'b' is missing for some examples"),
        (lambda o: joint_vae().encode({"a": torch.zeros(2, 4)}), "no unimodal posteriors"),
        (lambda o: posteriors(lambda: coupling(3, width=4)), "flow of 'a' has 3 latents"),
        (lambda o: posteriors(lambda: coupling(D, width=4, context_dim=1)), "0 or 4 features"),
        (lambda o: UnimodalPosteriors(posteriors().encoders, {"a": masked()}), "one for each"),
        (
            lambda o: JointFirst(joint_vae(), UnimodalPosteriors({"a": mlp_encoder((4,), D)})),
            "build both for the same",
        ),
        (
            lambda o: JointFirst(joint_vae(), posteriors()).encode({}),
            "no modality is observed",
        ),
        (
            lambda o: SubsetAnswers(posteriors(masked)).posterior(
                torch.zeros(3, 2, 4), torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.bool)
            ),
            "it has no member",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(oracle, call, words):
    with pytest.raises(ValueError, match=words) as error:
        call(oracle)
    assert "\n" not in str(error.value)
