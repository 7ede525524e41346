"""MMVAE+: closed forms of linear models, what it bounds and what not, and its auxiliary priors."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Generator, Tensor

from multielbo.likelihoods import Normal
from multielbo.models.mmvae_plus import MMVAEPlus, mmvae_plus
from multielbo.models.registry import build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle_auxiliary import auxiliary_loading
from multielbo.oracle_imputation import private_loading
from multielbo.setups.setup import Modality, Setup
from multielbo.vae import MultimodalVAE

SHAPES = {"sight": (3,), "sound": (2,)}
SHARED, PRIVATE, NOISE = 2, 1, 0.8
MISSING = {
    "sight": torch.tensor([True, False, True, True]),
    "sound": torch.tensor([True, True, False, True]),
}


def parts(latent_dim: int):
    """Linear encoders and decoders."""
    encoders, decoders = {}, {}
    with seeded(4):
        for name, shape in SHAPES.items():
            encoders[name] = mlp_encoder(shape, latent_dim)
            decoders[name] = mlp_decoder(shape, latent_dim)
    return encoders, decoders, dict.fromkeys(SHAPES, Normal(NOISE))


def vae(private_dim: int = PRIVATE, spread: float = 1.0, **settings) -> MMVAEPlus:
    dims = SHARED, private_dim
    model = MMVAEPlus(*parts(SHARED + private_dim), *dims, **settings).double()
    with torch.no_grad():
        model.auxiliary_log_scale += np.log(spread)
    return model


def source(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def example(size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = source(seed)
    return {
        m: torch.randn(size, *s, generator=generator, dtype=torch.float64)
        for m, s in SHAPES.items()
    }


def repeated(times: int) -> dict[str, Tensor]:
    return {m: x[:1].expand(times, -1) for m, x in example().items()}


def weights_of(model, name) -> tuple[Tensor, Tensor, Tensor]:
    """Loadings of shared and of private latents, and the offset."""
    layer = model.decoders[name].network[-2]
    return layer.weight[:, :SHARED], layer.weight[:, SHARED:], layer.bias


def log_evidence(model, batch) -> float:
    """log p(x) of one example by SciPy, with all private latents from N(0, I)."""
    shared, own, offset = zip(*(weights_of(model, m) for m in SHAPES), strict=True)
    shared, own = torch.cat(shared), torch.block_diag(*own)
    covariance = shared @ shared.T + own @ own.T + NOISE**2 * torch.eye(len(shared))
    normal = multivariate_normal(torch.cat(offset).detach(), covariance.detach())
    return float(normal.logpdf(torch.cat([x[0] for x in batch.values()])))


def explained(model, batch, spread: float) -> Tensor:
    """E log p(x_n | z, u_n), z from each expert, in closed form: `(modality n, expert m)`."""
    rows = []
    for n, x in batch.items():
        shared, own, offset = weights_of(model, n)
        for m in SHAPES:
            loc, scale = (part[0] for part in model.encoders[m](batch[m][:1]))
            if m == n:
                mean, width = loc, scale
            else:
                guess = torch.zeros(PRIVATE).double(), torch.full((PRIVATE,), spread).double()
                mean = torch.cat([loc[:SHARED], guess[0]])
                width = torch.cat([scale[:SHARED], guess[1]])
            loading = torch.cat([shared, own], 1)
            off = x[0] - loading @ mean - offset
            lost = off.square() + loading.square() @ width.square()
            rows.append((-0.5 * np.log(2 * np.pi * NOISE**2) - 0.5 * lost / NOISE**2).sum())
    return torch.stack(rows).reshape(2, 2)


# --- the bound ------------------------------------------------------------------------------------


@pytest.mark.equation("eq-mmvae-plus")
@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_what_is_explained_is_what_the_closed_form_says(spread):
    model, batch = vae(spread=spread), repeated(20_000)
    with torch.no_grad():
        found = model.bound(batch, generator=source()).reconstruction
        expected = explained(model, batch, spread).mean(1)
        twin = explained(model, batch, spread + 3).mean(1)
    error = found.std(1) / found.shape[1] ** 0.5
    assert ((found.mean(1) - expected).abs() < 4 * error).all()
    assert ((found.mean(1) - twin).abs() > 10 * error).all()


@pytest.mark.equation("eq-mmvae-plus")
def test_each_expert_pays_for_its_own_private_latent_alone():
    model, batch = vae(), repeated(20_000)
    with torch.no_grad():
        paid = model.bound(batch, generator=source()).rate
        loc, scale, _ = model.encode({m: x[:1] for m, x in batch.items()})
        q = model.aggregator(loc.expand(-1, 20_000, -1), scale.expand(-1, 20_000, -1))
        z = q.loc + q.scale * torch.randn(q.loc.shape, generator=source(1)).double()
        prior = torch.distributions.Normal(0.0, 1.0)
        shared = (q.log_density(z) - prior.log_prob(z).sum(-1)).mean(0)
        own = []
        for m, x in batch.items():
            u = torch.distributions.Normal(*(part[0, SHARED:] for part in model.encoders[m](x[:1])))
            own.append(torch.distributions.kl_divergence(u, prior).sum())
    error = (paid.var() + shared.var()).sqrt() / 20_000**0.5
    expected = shared.mean() + sum(own) / 2
    assert abs(paid.mean() - expected) < 4 * error
    assert abs(paid.mean() - expected - sum(own) / 2) > 10 * error, "not for all of them"


def test_without_private_latents_it_is_mmvae_number_for_number():
    plain = MultimodalVAE(*parts(SHARED), *build("mmvae"), SHARED).double()
    model, batch = vae(private_dim=0), example()
    ours, theirs = (m.bound(batch, MISSING, source(3)) for m in (model, plain))
    torch.testing.assert_close(ours, type(ours)(*theirs))


def test_where_guesses_come_from_the_prior_it_lies_below_the_evidence():
    model, batch = vae(), repeated(5000)
    with torch.no_grad():
        values = model.bound(batch, generator=source()).elbo()
    assert values.mean() + 4 * values.std() / 5000**0.5 < log_evidence(model, batch)


@pytest.mark.parametrize(("spread", "above"), [(1e-3, True), (1.0, False)])
def test_where_guesses_are_narrow_it_can_exceed_the_evidence(spread, above):
    """Of a picture that looks as the guess says the private latent's price is saved elsewhere."""
    model = vae(spread=spread)
    with torch.no_grad():  # decoders that show 3 u_m alone, and exact encoders of it
        for m in SHAPES:
            layer, q = model.decoders[m].network[-2], model.encoders[m].posterior
            layer.weight[:] = torch.tensor([0.0, 0.0, 3.0])
            layer.bias[:] = 0.0
            q.weight[:], q.bias[:] = 0.0, 0.0
            q.bias[-1] = -np.log1p(9 * len(layer.weight) / NOISE**2)
    batch = {m: torch.zeros(5000, *s).double() for m, s in SHAPES.items()}
    with torch.no_grad():
        values = model.bound(batch, generator=source()).elbo()
    excess = values.mean() - log_evidence(model, batch)
    error = values.std() / 5000**0.5
    assert excess > 10 * error if above else excess < -10 * error


def test_more_samples_give_a_higher_bound_and_no_weights():
    batch, values = repeated(4000), []
    for samples in (1, 4):
        with torch.no_grad():
            bound = vae(samples=samples).bound(batch, generator=source())
        values.append(bound.elbo())
    error = (values[0].var() + values[1].var()).sqrt() / 4000**0.5
    assert values[1].mean() - values[0].mean() > 10 * error
    assert values[1].mean() < log_evidence(vae(), batch)
    with pytest.raises(ValueError, match="train it with beta 1"):
        bound.elbo(2.5)
    with pytest.raises(ValueError, match="0 samples per component"):
        vae(samples=0).bound(batch)


def test_with_several_samples_gradients_reach_every_weight():
    model = vae(samples=3)
    model.bound(example(), MISSING, source()).elbo().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


# --- auxiliary priors -----------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_with_one_sample_and_linear_decoders_a_guess_is_always_too_wide(spread):
    model = vae(spread=spread)
    bound = model.bound(repeated(20_000), generator=source())
    slopes = torch.stack(
        [
            torch.autograd.grad(part.mean(), model.auxiliary_log_scale, retain_graph=True)[0]
            for part in bound.elbo().split(1000)
        ]
    ).squeeze(-1)
    error = slopes.std(0) / len(slopes) ** 0.5
    for row, m in enumerate(SHAPES):
        own = weights_of(model, m)[1]
        expected = -0.5 * spread**2 * own.square().sum() / NOISE**2  # from one of two experts
        assert abs(slopes[:, row].mean() - expected) < 4.5 * error[row]
        assert slopes[:, row].mean() < -10 * error[row]


@pytest.mark.equation("eq-auxiliary-loading")
@pytest.mark.parametrize("chance", [0.2, 0.5])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_the_private_loading_that_is_learned_is_the_formulas(chance, spread):
    true, noise = 1.0, 0.4
    c = true + noise

    def loss(v):
        w, b, t = v[0], v[1], np.exp(v[2])
        own = (1 - w * b) ** 2 * c + w**2 * t**2
        rate = 0.5 * (b**2 * c + t**2 - 1) - v[2]
        guessed = c + spread**2 * w**2
        return chance * (own / (2 * noise) + rate) + (1 - chance) * guessed / (2 * noise)

    found = minimize(loss, [0.8, 0.5, -0.4], method="BFGS", options={"gtol": 1e-7}).x[0] ** 2
    assert abs(found - auxiliary_loading(true, noise, chance, spread)) < 1e-5
    if spread == 0:
        assert abs(found - true) < 1e-5, "a guess without spread leaves the loading right"
    if spread < 1:  # more is kept than of a factor that has to live in z
        assert found > private_loading(true, noise, chance) + 0.1


def test_a_modality_that_nobody_inferred_is_generated_from_its_prior():
    z = torch.zeros(20_000, SHARED, dtype=torch.float64)
    for spread in (0.1, 3.0):
        model = vae(spread=spread)
        with torch.no_grad():
            drawn = model.generate("sight", z, source(1))
        width = weights_of(model, "sight")[1].square().sum(-1).sqrt()
        assert ((drawn.std(0) / width - 1).abs() < 4.5 / 40_000**0.5).all()


# --- missing modalities, building -----------------------------------------------------------------


def test_what_stands_in_for_a_missing_modality_changes_no_value_and_no_gradient():
    found = []
    for filler in (0.0, float("nan")):
        model = vae()
        filled = {m: torch.where(MISSING[m][:, None], x, filler) for m, x in example().items()}
        bound = model.bound(filled, MISSING, source())
        bound.elbo().sum().backward()
        assert not bound.reconstruction[0, 1]
        assert not bound.reconstruction[1, 2]
        found.append([*bound, *(p.grad for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


def test_a_modality_outside_the_batch_is_missing_everywhere():
    model, batch = vae(), example()
    alone = model.bound({"sight": batch["sight"]}, generator=source())
    hidden = model.bound(batch, {"sound": torch.zeros(4, dtype=torch.bool)}, source())
    torch.testing.assert_close(alone, hidden)
    assert not alone.reconstruction[1].any()


@pytest.mark.parametrize(("given", "whole", "private"), [(0, 7, 3), (2, 9, 2)])
def test_networks_are_as_wide_as_those_of_the_other_models(given, whole, private):
    part = Modality(partial(mlp_encoder, (3,)), partial(mlp_decoder, (3,)), Normal(1.0))
    setup = Setup(lambda root, split: None, {"a": part, "b": part}, private_dim=given)
    model = mmvae_plus(setup, 7, seed=0)
    assert {encoder.latent_dim for encoder in model.encoders.values()} == {whole}
    assert (model.latent_dim, model.private_dim) == (whole - private, private)
