"""Modality-private latents: exact evidences of linear models, and what is paid for a latent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Generator, Tensor
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from multielbo import private
from multielbo.checkpoints import describe
from multielbo.data.multimodal import MultimodalData
from multielbo.gaussians import log_prior
from multielbo.likelihoods import Normal
from multielbo.metrics.latents import draw
from multielbo.models.registry import MODELS, build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.private import PrivateMultimodalVAE
from multielbo.train import TrainConfig
from multielbo.vae import MultimodalVAE

SHAPES = {"sight": (3,), "sound": (2,)}
SHARED, PRIVATE = 2, 1
NOISE = 0.8
# Of one posterior, of a mixture, of a mixture with a sample from each component. MVAE trains a sum
# of bounds; MVTCAE and mmJSD bound something else; the masked objective is none for a single x.
BOUNDS = [name for name in MODELS if name not in ("mvae", "mvtcae", "mmjsd", "masked-poe")]
MISSING = {
    "sight": torch.tensor([True, False, True, True]),
    "sound": torch.tensor([True, True, False, True]),
}


def parts(latent_dim: int):
    """Linear encoders, whose posteriors are wide enough for importance sampling, and decoders."""
    encoders, decoders = {}, {}
    with seeded(4):
        for name, shape in SHAPES.items():
            encoders[name] = mlp_encoder(shape, latent_dim)
            decoders[name] = mlp_decoder(shape, latent_dim)
            with torch.no_grad():
                encoders[name].posterior.weight[latent_dim:] = 0
                encoders[name].posterior.bias[latent_dim:] = 0.8
    return encoders, decoders, dict.fromkeys(SHAPES, Normal(NOISE))


def vae(model: str = "mopoe", private_dim: int = PRIVATE, **settings) -> PrivateMultimodalVAE:
    return PrivateMultimodalVAE(
        *parts(SHARED + private_dim), *build(model), SHARED, private_dim, **settings
    ).double()


def example(size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = source(seed)
    return {
        name: torch.randn(size, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def source(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def log_evidence(model: PrivateMultimodalVAE, batch: dict[str, Tensor]) -> np.ndarray:
    """log N(x; c, A A' + blocks of B_m B_m' + noise), by SciPy."""
    layers = [model.decoders[name].network[-2] for name in SHAPES]
    shared = torch.cat([layer.weight[:, :SHARED] for layer in layers])
    own = torch.block_diag(*(layer.weight[:, SHARED:] for layer in layers))
    covariance = shared @ shared.T + own @ own.T + NOISE**2 * torch.eye(len(shared))
    offset = torch.cat([layer.bias for layer in layers])
    normal = multivariate_normal(offset.detach().numpy(), covariance.detach().numpy())
    return normal.logpdf(torch.cat([*batch.values()], -1).numpy())


@torch.no_grad()
def importance_weights(model: PrivateMultimodalVAE, samples: int = 40_000) -> Tensor:
    """p(x, z) / q(z) over the evidence, `(samples, B)`: one on average."""
    batch, generator = example(), source(1)
    q = model.posterior(batch)
    z = draw(q, samples, generator)
    log_weight = model.log_likelihood(batch, generator=generator)(z).sum(0)
    log_weight = log_weight + log_prior(z) - q.log_density(z)
    return (log_weight - torch.from_numpy(log_evidence(model, batch))).exp()


def off_by(weights: Tensor) -> Tensor:
    """How many standard errors the mean weight of each example lies from one."""
    return (weights.mean(0) - 1).abs() / (weights.std(0) / len(weights) ** 0.5)


# --- the evidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mopoe", "mmvae", "wb-vae"])
def test_importance_sampling_finds_the_exact_evidence(name):
    weights = importance_weights(vae(name))
    assert off_by(weights).max() < 4
    assert weights.std(0).max() / len(weights) ** 0.5 < 0.02  # close enough to mean something


def test_without_the_correction_for_private_draws_the_evidence_is_missed(monkeypatch):
    monkeypatch.setattr(private, "log_prior", lambda u: 0.0)
    monkeypatch.setattr(private, "log_density", lambda u, loc, scale: 0.0)
    assert off_by(importance_weights(vae("mopoe"))).max() > 20


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bound_with_private_latents_lies_below_the_evidence(name):
    model = vae(name)
    batch = {m: x[:1].expand(5000, -1) for m, x in example().items()}
    with torch.no_grad():
        values = model.bound(batch, generator=source()).elbo()
    evidence = log_evidence(model, {m: x[:1] for m, x in batch.items()}).item()
    assert values.mean() + 4 * values.std() / len(values) ** 0.5 < evidence


def test_leaving_out_the_private_divergence_can_exceed_the_evidence():
    model = vae("wb-vae", private_beta=0.0)
    with torch.no_grad():  # decoders that show 3 u_m, and encoders that know u_m
        for name, shape in SHAPES.items():
            model.decoders[name].network[-2].weight[:, :SHARED] = 0.0
            model.decoders[name].network[-2].weight[:, SHARED:] = 3.0
            model.decoders[name].network[-2].bias[:] = 0.0
            posterior = model.encoders[name].posterior
            posterior.weight[SHARED : SHARED + PRIVATE] = 1 / (3 * shape[0])
            posterior.bias[SHARED : SHARED + PRIVATE] = 0.0
            posterior.bias[2 * SHARED + PRIVATE :] = -6.0
            posterior.bias[SHARED + PRIVATE : 2 * SHARED + PRIVATE] = 0.0
    batch = {m: torch.full((5000, *s), 4.0, dtype=torch.float64) for m, s in SHAPES.items()}
    with torch.no_grad():
        values = model.bound(batch, generator=source()).elbo()
    assert values.mean() > log_evidence(model, {m: x[:1] for m, x in batch.items()}).item()


# --- what is paid ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("observed", [None, MISSING], ids=["all", "some"])
def test_each_elbo_pays_for_the_private_latents_it_scores(name, observed):
    weights = {"sight": 0.5, "sound": 3.0}
    paid, free = (
        vae(name, private_beta=w).bound(example(), observed, source()) for w in (weights, 0.0)
    )
    model, expected = vae(name), torch.zeros(4, dtype=torch.float64)
    elbos = 2 if name == "mvae" else 1  # that of the full set, and that of the modality alone
    seen = (
        torch.full((4,), 2) if observed is None else sum(part.int() for part in observed.values())
    )
    if name == "mvtcae":
        elbos = 1 - 5 / 6 / seen  # as much as it counts of the reconstruction
    for m, x in example().items():
        loc, scale = (part[:, SHARED:] for part in model.encoders[m](x))
        standard = TorchNormal(torch.zeros_like(loc), torch.ones_like(scale))
        divergence = kl_divergence(TorchNormal(loc, scale), standard).sum(-1)
        there = torch.ones(4, dtype=torch.bool) if observed is None else observed[m]
        expected += weights[m] * elbos * torch.where(there, divergence, 0.0)
    torch.testing.assert_close(paid.rate - free.rate, expected)
    torch.testing.assert_close(paid.reconstruction, free.reconstruction, rtol=0, atol=0)


def test_a_weight_for_all_modalities_is_a_weight_for_each():
    one, each = (
        vae(private_beta=w).bound(example(), generator=source()).rate
        for w in (2.5, dict.fromkeys(SHAPES, 2.5))
    )
    assert torch.equal(one, each)
    assert not torch.equal(one, vae().bound(example(), generator=source()).rate)


def test_a_checkpoint_tells_the_weights_of_private_divergences_apart():
    data = MultimodalData(
        "toy-train", {m: x.float() for m, x in example().items()}, torch.arange(4)
    )
    settings = [describe(vae(private_beta=w), data, TrainConfig(1)) for w in (1.0, 2.0)]
    assert settings[0] != settings[1]


# --- missing modalities ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_what_stands_in_for_a_missing_modality_changes_no_value_and_no_gradient(name):
    batch = example()
    found = []
    for filler in (0.0, float("nan")):
        model = vae(name)
        filled = {m: torch.where(MISSING[m][:, None], x, filler) for m, x in batch.items()}
        bound = model.bound(filled, MISSING, source())
        bound.elbo().sum().backward()
        score = model.log_likelihood(filled, MISSING, source())(torch.zeros(3, 4, SHARED).double())
        found.append([*bound, score.detach(), *(p.grad for p in model.parameters())])
        assert not score[0, :, 1].any()
        assert not score[1, :, 2].any()
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


def test_a_modality_outside_the_batch_costs_nothing_and_scores_nothing():
    model, batch = vae("wb-vae"), example()
    alone = {"sight": batch["sight"]}
    bound = model.bound(alone, generator=source())
    masked = model.bound(batch, {"sound": torch.zeros(4, dtype=torch.bool)}, source())
    for one, other in zip(bound, masked, strict=True):
        torch.testing.assert_close(one, other)
    assert not bound.reconstruction[1].any()


# --- what the evaluation sees ---------------------------------------------------------------------


def test_encode_speaks_of_the_shared_latents_alone():
    model, batch = vae(), example()
    loc, scale, observed = model.encode(batch)
    assert observed is None
    for row, (m, x) in enumerate(batch.items()):
        whole = model.encoders[m](x)
        assert torch.equal(loc[row], whole[0][:, :SHARED])
        assert torch.equal(scale[row], whole[1][:, :SHARED])
    assert model.posterior(batch).loc.shape[-1] == SHARED


def test_private_latents_are_drawn_from_the_prior_when_a_modality_is_generated():
    model = vae()
    z = torch.randn(2, SHARED, generator=source(), dtype=torch.float64)
    with torch.no_grad():
        drawn = model.generate("sight", z.expand(50_000, 2, SHARED), source(1))
    layer = model.decoders["sight"].network[-2]
    mean = z @ layer.weight[:, :SHARED].T + layer.bias
    spread = layer.weight[:, SHARED:].square().sum(-1).sqrt().expand(2, -1)
    error = spread / len(drawn) ** 0.5
    assert ((drawn.mean(0) - mean).abs() < 4.5 * error).all()
    assert ((drawn.std(0) - spread).abs() < 4.5 * error / 2**0.5).all()


def test_generation_asks_the_given_generator_only():
    model, z = vae(), torch.zeros(5, SHARED, dtype=torch.float64)
    before = torch.random.get_rng_state()
    first, again, other = (model.decode(z, source(seed)) for seed in (1, 1, 2))
    assert {m: x.shape for m, x in first.items()} == {m: (5, *s) for m, s in SHAPES.items()}
    for m in SHAPES:
        assert torch.equal(first[m], again[m])
        assert not torch.equal(first[m], other[m])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_draw_of_z_has_its_own_private_draw():
    score = vae().log_likelihood(example(), generator=source())
    rows = score(torch.zeros(2, 4, SHARED, dtype=torch.float64))
    assert not torch.isclose(rows[:, 0], rows[:, 1]).any()


@pytest.mark.parametrize("name", MODELS)
def test_without_private_dimensions_nothing_differs_from_the_plain_model(name):
    plain = MultimodalVAE(*parts(SHARED), *build(name), SHARED).double()
    model, batch = vae(name, private_dim=0), example()
    z = torch.randn(3, 4, SHARED, generator=source(), dtype=torch.float64)
    for one, other in zip(
        *(
            [
                *m.bound(batch, MISSING, source(3)),
                *m.encode(batch)[:2],
                m.log_likelihood(batch, generator=source(3))(z),
                *m.decode(z, source(3)).values(),
            ]
            for m in (plain, model)
        ),
        strict=True,
    ):
        assert torch.equal(one, other)


# --- bad input ------------------------------------------------------------------------------------


def test_parts_without_room_for_the_private_latents_are_refused():
    with pytest.raises(
        ValueError, match="2 latent dimensions, but latent_dim is 2 and private_dim"
    ):
        PrivateMultimodalVAE(*parts(SHARED), *build("mopoe"), SHARED, PRIVATE)


def test_a_negative_number_of_private_dimensions_is_refused():
    with pytest.raises(ValueError, match="private_dim is -1"):
        PrivateMultimodalVAE(*parts(1), *build("mopoe"), SHARED, -1)


def test_a_private_weight_for_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="private_beta: the model has no modality 'smell'"):
        vae(private_beta={"smell": 1.0})
