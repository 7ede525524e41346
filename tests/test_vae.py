"""The multimodal VAE: per-example nats, missing modalities, order, extremes, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from multielbo.gaussians import kl_to_prior, log_density, sample
from multielbo.likelihoods import Bernoulli, Categorical, Laplace, Normal
from multielbo.models.registry import MODELS, build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.vae import MultimodalVAE, _of_rows, convolutional_vae

SHAPES = {"picture": (3, 4), "sound": (5,), "text": (2, 3)}
LIKELIHOODS = {"picture": Laplace(0.75), "sound": Normal(0.5), "text": Categorical()}
LATENT = 4
MISSING = torch.tensor(
    [[1, 1, 0, 1, 0, 0], [1, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 1]], dtype=torch.bool
)


def vae(model: str = "mopoe", names=tuple(SHAPES), latent_dim=LATENT, **settings) -> MultimodalVAE:
    """Small perceptrons, whose weights do not depend on the order of the modalities."""
    encoders, decoders = {}, {}
    for name in names:
        with seeded(len(name)):
            encoders[name] = mlp_encoder(SHAPES[name], latent_dim, (7,))
            decoders[name] = mlp_decoder(SHAPES[name], latent_dim, (7,))
    likelihoods = {name: LIKELIHOODS[name] for name in names}
    return MultimodalVAE(
        encoders, decoders, likelihoods, *build(model), latent_dim, **settings
    ).double()


def example(size: int = 6, seed: int = 0) -> dict[str, Tensor]:
    generator = Generator().manual_seed(seed)
    draw = {m: torch.rand(size, *s, generator=generator).double() for m, s in SHAPES.items()}
    return draw | {"text": torch.nn.functional.one_hot(draw["text"].argmax(-1), 3).double()}


def by_name(mask: Tensor) -> dict[str, Tensor]:
    return dict(zip(SHAPES, mask, strict=True))


# Sharp experts who differ make them wide, so `deterministic` does not; test_divergences permutes.
WIDE = ("mixture-of-hellinger", "hellinger-exact")


def source(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def set_log_variance(model: MultimodalVAE, name: str, value: float, slope: float = 0.0) -> None:
    layer = model.encoders[name].posterior
    with torch.no_grad():
        layer.weight[model.latent_dim :] *= slope
        layer.bias[model.latent_dim :] = value


# --- values ---------------------------------------------------------------------------------------


def test_joint_bound_is_the_sum_of_its_parts_per_example_in_nats():
    model, batch = vae("wb-vae"), example()
    found = model.bound(batch, generator=source())
    posteriors = [model.encoders[m](x) for m, x in batch.items()]
    loc, scale = (sum(part) / 3 for part in zip(*posteriors, strict=True))
    z = sample(loc, scale, source())
    for row, (m, x) in zip(found.reconstruction, batch.items(), strict=True):
        for i in range(6):
            parameters = model.decoders[m](z[i])
            one = LIKELIHOODS[m].log_prob(parameters[None], x[i][None])[0]
            torch.testing.assert_close(row[i], one)
    torch.testing.assert_close(found.rate, kl_to_prior(loc, scale))
    summed = found.reconstruction.sum(0) - 2.5 * found.rate
    torch.testing.assert_close(found.elbo(2.5), summed)
    assert not torch.allclose(found.elbo(2.5), found.elbo(2.5).mean())


@pytest.mark.parametrize("name", MODELS)
def test_the_bound_has_one_number_per_example(name):
    found = vae(name).bound(example(), by_name(MISSING), source())
    assert found.reconstruction.shape == (3, 6)
    assert found.rate.shape == (6,)
    assert torch.equal(found.reconstruction == 0, ~MISSING)


def test_calling_the_model_is_asking_for_its_bound():
    model = vae()
    called, asked = (f(example(), None, source()) for f in (model, model.bound))
    torch.testing.assert_close(called, asked, rtol=0, atol=0)


def test_the_same_generator_gives_the_same_bound_and_the_global_one_is_not_asked():
    model, before = vae("mopoe"), torch.random.get_rng_state()
    first, second, other = (model.bound(example(), generator=source(s)).elbo() for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_log_likelihood_scores_every_draw_of_z(generator):
    model, batch = vae(), example()
    z = torch.randn(2, 3, 6, LATENT, generator=generator, dtype=torch.float64)
    found = model.log_likelihood(batch)(z)
    assert found.shape == (3, 2, 3, 6)
    torch.testing.assert_close(found[:, 1, 2], model.log_likelihood(batch)(z[1, 2]))


def test_decode_shows_means_and_not_parameters(generator):
    model = vae()
    z = torch.randn(2, 6, LATENT, generator=generator, dtype=torch.float64)
    decoded = model.decode(z)
    assert {m: x.shape for m, x in decoded.items()} == {m: (2, 6, *s) for m, s in SHAPES.items()}
    torch.testing.assert_close(decoded["text"], model.decoders["text"](z).softmax(-1))
    assert not torch.allclose(decoded["text"], model.decoders["text"](z))


def test_likelihood_weights_follow_the_order_of_the_modalities():
    weighted = vae(likelihood_weights={"text": 3.0, "picture": 0.5})
    assert weighted.likelihood_weights.tolist() == [0.5, 1.0, 3.0]
    assert "likelihood_weights" not in weighted.state_dict()
    assert vae().likelihood_weights is None


# --- missing modalities ---------------------------------------------------------------------------


def everything(model: MultimodalVAE, batch, observed) -> list[Tensor]:
    """Every value and every gradient that a training step and a query produce."""
    model.zero_grad()
    found = model.bound(batch, observed, source())
    found.elbo(0.7).mean().backward()
    q = model.posterior(batch, observed)
    loc, scale, mask = model.encode(batch, observed)
    scores = model.log_likelihood(batch, observed)(torch.ones(6, LATENT, dtype=torch.float64))
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [*found, *q, loc[mask], scale[mask], scores, *gradients]


@pytest.mark.parametrize("name", MODELS)
def test_what_stands_in_place_of_a_missing_modality_changes_no_value_and_no_gradient(name):
    model, observed = vae(name), by_name(MISSING)
    found = []
    for filling in (math.nan, math.inf, 0.0, 17.0):
        batch = {
            m: torch.where(observed[m].view(-1, *[1] * (x.dim() - 1)), x, filling)
            for m, x in example().items()
        }
        found.append(everything(model, batch, observed))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    assert all(value.isfinite().all() for value in found[0] if value.is_floating_point())
    assert len(found[0]) > 30, "no gradients were compared"


def test_multiplying_by_the_mask_instead_would_let_the_missing_through():
    x, observed = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0])
    assert (x * observed).isnan().any()


@pytest.mark.parametrize("name", MODELS)
def test_a_modality_left_out_of_the_batch_is_missing_everywhere(name):
    model, batch = vae(name), example()
    observed = by_name(torch.tensor([[True], [False], [True]]).expand(3, 6))
    left_out = {m: x for m, x in batch.items() if m != "sound"}
    masked = everything(model, batch, observed)
    absent = everything(model, left_out, None)
    for p in model.encoders["sound"].parameters():
        assert p.grad is None or not p.grad.any()
    moving = [value for value in masked if value.any()]
    assert len(moving) > 10
    for value, other in zip(moving, [v for v in absent if v.any()], strict=True):
        torch.testing.assert_close(value, other)


@pytest.mark.parametrize("name", MODELS)
def test_masks_that_hide_nothing_are_no_masks(name):
    model, batch, full = vae(name), example(), by_name(torch.ones(3, 6, dtype=torch.bool))
    z = torch.ones(6, LATENT, dtype=torch.float64)
    assert model.encode(batch)[2] is None
    for ask in (
        lambda *given: model.posterior(*given),
        lambda *given: model.aggregator(*model.encode(*given)),
        lambda *given: model.log_likelihood(*given)(z),
    ):
        torch.testing.assert_close(ask(batch), ask(batch, full))


def test_a_modality_without_a_mask_is_observed():
    model, batch = vae(), example()
    assert torch.equal(
        model.encode(batch, {"sound": MISSING[1]})[2],
        torch.stack([torch.ones(6, dtype=torch.bool), MISSING[1], torch.ones(6, dtype=torch.bool)]),
    )


@pytest.mark.parametrize("name", MODELS)
def test_an_example_does_not_depend_on_what_its_neighbours_miss(name):
    model, batch = vae(name), example()
    q = model.posterior(batch, by_name(MISSING))
    for i in range(6):
        alone = {m: x[i : i + 1] for m, x in batch.items() if by_name(MISSING)[m][i]}
        one = model.posterior(alone)
        torch.testing.assert_close(one.loc[:, 0], q.loc[:, i])
        torch.testing.assert_close(one.scale[:, 0], q.scale[:, i])
        torch.testing.assert_close(one.weights[:, 0], q.weights[:, i])


# --- order of the modalities ----------------------------------------------------------------------

REPEATED = 42  # identical examples: each of 7 subsets, or of 3 modalities, falls to equally many


def deterministic(name: str, order: tuple[str, ...]) -> MultimodalVAE:
    """Posteriors so narrow that a sample is its mean: what is left is arithmetic."""
    model = vae(name, order)
    for m in order:
        set_log_variance(model, m, -70.0 - len(m))
    return model


# The masks of masked-poe are drawn; test_masked_models permutes with a given one.
@pytest.mark.parametrize("name", [name for name in MODELS if name not in (*WIDE, "masked-poe")])
def test_permuting_the_modalities_permutes_nothing_else(name):
    batch = {m: x[:1].expand(REPEATED, *SHAPES[m]) for m, x in example().items()}
    orders = ("picture", "sound", "text"), ("text", "picture", "sound")
    first, second = (deterministic(name, order).bound(batch, None, source()) for order in orders)
    permutation = [orders[0].index(m) for m in orders[1]]
    torch.testing.assert_close(
        first.reconstruction.mean(1)[permutation], second.reconstruction.mean(1)
    )
    assert not torch.allclose(first.reconstruction.mean(1), second.reconstruction.mean(1))
    if name != "mmvae":  # its rate holds the noise itself, over tiny scales
        torch.testing.assert_close(first.rate, second.rate)


def test_permuting_the_modalities_of_mmvae_leaves_its_rate_within_its_noise():
    batch = {m: x[:1].expand(4000, *SHAPES[m]) for m, x in example().items()}
    rates = [
        vae("mmvae", order).bound(batch, None, source(seed)).rate
        for seed, order in enumerate([("picture", "sound", "text"), ("text", "picture", "sound")])
    ]
    error = sum(rate.var() / len(rate) for rate in rates).sqrt()
    assert abs(rates[0].mean() - rates[1].mean()) < 4 * error
    reference = vae("mmvae", ("text",)).bound({"text": batch["text"]}, None, source())
    assert abs(rates[0].mean() - reference.rate.mean()) > 20 * error, "could not have failed"


# --- extremes -------------------------------------------------------------------------------------


# The rate of mmJSD holds ratios of variances, whose derivatives here are beyond float32's range;
# test_dynamic_prior goes half as far.
@pytest.mark.parametrize("pattern", [(40, 40, 40), (-40, -40, -40), (40, -40, 0), (-40, 40, -40)])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "mmjsd"])
def test_gradients_are_finite_in_float32_at_log_variances_of_forty(name, pattern):
    model = vae(name, latent_dim=64).float()
    for m, value in zip(SHAPES, pattern, strict=True):
        set_log_variance(model, m, value)
    found = model.bound({m: x.float() for m, x in example().items()}, None, source())
    found.elbo(0.7).mean().backward()
    assert found.elbo().isfinite().all()
    for parameter, p in model.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), parameter


def test_a_variance_that_overflows_is_caught_by_the_check_above(monkeypatch):
    monkeypatch.setattr("multielbo.networks.LARGEST_LOG_VARIANCE", float("inf"))
    model = vae("mopoe", latent_dim=64).float()
    set_log_variance(model, "sound", 200.0)
    found = model.bound({m: x.float() for m, x in example().items()}, None, source())
    assert not found.elbo().isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_under_autocast_the_aggregation_keeps_its_precision(name):
    names = ["m0", "m1", "m2"]
    model = convolutional_vae(names, (3, 8, 8), build(name), latent_dim=6, seed=0, channels=(4, 8))
    batch = {m: torch.rand(14, 3, 8, 8, generator=source(i)) for i, m in enumerate(names)}
    exact = model.bound(batch, None, source())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.bound(batch, None, source())
        q, (loc, scale, _) = model.posterior(batch), model.encode(batch)
    assert rounded.elbo().dtype == torch.float32
    torch.testing.assert_close(rounded.elbo(), exact.elbo(), rtol=2e-2, atol=0)
    again = model.aggregator.posterior(loc, scale)
    torch.testing.assert_close(q, again, rtol=0, atol=0)


# --- building -------------------------------------------------------------------------------------


def test_convolutional_vae_gives_each_modality_its_own_weights_from_one_seed():
    def built(seed: int) -> MultimodalVAE:
        return convolutional_vae(
            ["m0", "m1"], (3, 16, 16), build("mvae"), latent_dim=5, seed=seed, channels=(4, 8)
        )

    before = torch.random.get_rng_state()
    first, second, other = built(1), built(1), built(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights, same, different = (
        torch.nn.utils.parameters_to_vector(m.parameters()) for m in (first, second, other)
    )
    assert torch.equal(weights, same)
    assert not torch.equal(weights, different)
    between = [first.encoders[m].posterior.weight for m in first.modalities]
    assert not torch.equal(*between)
    assert first.likelihoods["m0"] == Laplace(0.75)


def test_a_normal_vae_with_one_sample_has_the_log_likelihood_of_its_decoder(generator):
    model, batch = vae(), example()
    z = torch.randn(6, LATENT, generator=generator, dtype=torch.float64)
    loc = model.decoders["sound"](z)
    reference = log_density(batch["sound"], loc, torch.full_like(loc, 0.5))
    torch.testing.assert_close(model.log_likelihood(batch)(z)[1], reference)


# --- bad input ------------------------------------------------------------------------------------


def refused(message: str, call) -> None:
    with pytest.raises(ValueError, match=message) as bad:
        call()
    assert "\n" not in str(bad.value)


ENTRIES = ["bound", "encode", "posterior", "log_likelihood"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_unknown_modality_is_refused_by_name_beside_the_known_ones(entry):
    ask = getattr(vae(), entry)
    stray = example() | {"smell": torch.zeros(6, 2)}
    refused("^batch: .*'smell'.*picture, sound, text$", lambda: ask(stray))
    mask = {"smell": MISSING[0]}
    refused("^observed: .*'smell'.*picture, sound, text$", lambda: ask(example(), mask))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_batch_without_modalities_is_refused(entry):
    refused("^batch: no modality is observed", lambda: getattr(vae(), entry)({}))


@pytest.mark.parametrize("entry", ["bound", "posterior"])
def test_an_example_without_observed_modalities_is_refused_by_its_row(entry):
    mask = MISSING.clone()
    mask[:, 3] = False
    refused("example 3 .* no observed", lambda: getattr(vae(), entry)(example(), by_name(mask)))


@pytest.mark.parametrize("entry", ENTRIES)
def test_shapes_that_disagree_are_refused_with_both_shapes(entry):
    ask = getattr(vae(), entry)
    shorter = example() | {"sound": torch.zeros(5, 5)}
    refused(r"^batch: 'sound' is \(5, 5\), expected \(6, 5\)", lambda: ask(shorter))
    wider = example() | {"picture": torch.zeros(6, 3, 5)}
    refused(r"^batch: 'picture' is \(6, 3, 5\), expected \(6, 3, 4\)", lambda: ask(wider))
    short = by_name(MISSING) | {"text": MISSING[2, :4]}
    refused(r"'text' is torch.bool \(4,\).*torch.bool \(6,\)", lambda: ask(example(), short))
    number = by_name(MISSING.double())
    refused(r"'picture' is torch.float64", lambda: ask(example(), number))


def test_bytes_are_refused():
    batch = example() | {"sound": torch.zeros(6, 5, dtype=torch.uint8)}
    refused("'sound' holds torch.uint8; give floats", lambda: vae().bound(batch))


def test_a_modality_that_is_said_to_be_observed_but_is_not_given_is_refused():
    batch = {m: x for m, x in example().items() if m != "text"}
    refused("^observed: 'text' is said to be there", lambda: vae().bound(batch, by_name(MISSING)))


def test_likelihood_weights_of_an_unknown_modality_are_refused():
    refused("^likelihood_weights: .*'smell'", lambda: vae(likelihood_weights={"smell": 1.0}))


def test_a_latent_space_without_dimensions_is_refused():
    refused("^latent_dim is 0", lambda: vae(latent_dim=0))
    parts = ({}, {}, {}, *build("mvae"))
    refused("^latent_dim is 0", lambda: MultimodalVAE(*parts, 0))


def test_parts_that_disagree_are_refused():
    def assembled(latent_dim=LATENT, **changed):
        ready = vae()
        parts = {"encoders": ready.encoders, "decoders": ready.decoders}
        parts = {kind: dict(networks.items()) for kind, networks in parts.items()}
        parts |= {"likelihoods": ready.likelihoods} | changed
        return MultimodalVAE(
            **parts, aggregator=ready.aggregator, objective=ready.objective, latent_dim=latent_dim
        )

    assert assembled().modalities == tuple(SHAPES)
    refused("^likelihoods: given for sound", lambda: assembled(likelihoods={"sound": Bernoulli()}))
    refused("^decoders: given for none", lambda: assembled(decoders={}))
    refused("'picture' has 4 latent .* latent_dim is 3", lambda: assembled(latent_dim=3))


# --- what is decoded ------------------------------------------------------------------------------


def test_a_latent_is_decoded_only_for_the_modalities_it_has_to_explain(generator):
    model, batch = vae("mvae"), example()
    z = torch.randn(4, 6, LATENT, generator=generator, dtype=torch.float64)
    wanted = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    decoded = {}
    for name, decoder in model.decoders.items():
        decoder.register_forward_hook(lambda _, z, __, name=name: decoded.update({name: len(z[0])}))
    everything = model.log_likelihood(batch)(z)
    assert decoded == {"picture": 4, "sound": 4, "text": 4}
    found = model.log_likelihood(batch)(z, wanted=wanted)
    assert decoded == {"picture": 2, "sound": 2, "text": 1}
    expected = torch.where(wanted.T[..., None], everything, 0.0)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, everything)


def test_decoding_only_what_is_wanted_changes_no_gradient():
    gradients = []
    for lazy in (True, False):
        model, batch = vae("mvae"), example()
        if not lazy:
            score = model._log_likelihood
            model._log_likelihood = lambda xs, mask, score=score: (
                lambda z, wanted=None: score(xs, mask)(z)
            )
        model.bound(batch, generator=source()).elbo().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gpu_that_scores_all_rows_and_drops_some_gets_the_same_scores():
    def score(z: Tensor) -> Tensor:
        return -z.square().sum(-1)

    z, rows = torch.randn(3, 4, 2), torch.tensor([True, False, True])
    gathered = _of_rows(score, z, rows)
    assert torch.equal(gathered, _of_rows(score, Elsewhere(z), rows))
    assert torch.equal(gathered[1], torch.zeros(4))


class Elsewhere:
    """A tensor that says it is on a GPU."""

    def __init__(self, z: Tensor) -> None:
        self.z, self.device = z, torch.device("cuda")

    def square(self) -> Tensor:
        return self.z.square()
