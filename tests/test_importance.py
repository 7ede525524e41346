"""Importance-weighted bounds and their gradients: quadrature, hand algebra, autograd."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.importance import (
    draw,
    dreg,
    iwae_inside,
    iwae_outside,
    log_weights,
    responsibilities,
    stratified_dreg,
)
from multielbo.likelihoods import Laplace
from multielbo.mixtures import Posteriors
from multielbo.models.mmvae_iwae import mmvae_iwae
from multielbo.objectives import stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.subsets import singletons
from multielbo.vae import convolutional_vae

NAMES = ("image", "sound", "text")
REPEATS = 40_000


class Toy:
    """One example of a scalar oracle, three experts that disagree, and integrals over z."""

    def __init__(self, dtype):
        one = torch.ones(2, 1, dtype=dtype)
        self.oracle = LinearGaussian(
            dict.fromkeys(NAMES, one), {"image": 1.2, "sound": 1.0, "text": 1.5}
        )
        values = {"image": 1.0, "sound": -0.6, "text": 0.4}
        self.batch = {name: torch.full((1, 2), v, dtype=dtype) for name, v in values.items()}
        self.score = self.oracle.log_likelihood(self.batch)
        self.evidence = self.oracle.log_evidence(self.batch)[0]
        self.loc = torch.tensor([0.9, -0.7, 0.2], dtype=dtype)[:, None, None]
        self.scale = torch.tensor([0.6, 0.8, 0.5], dtype=dtype)[:, None, None]
        self.weights = torch.tensor([0.5, 0.3, 0.2], dtype=dtype)[:, None]
        self.grid = torch.linspace(-8, 8, 2001, dtype=dtype)
        mean, covariance = self.oracle.posterior(self.batch)
        self.posterior = Normal(mean[0, 0], covariance[0, 0].sqrt())

    def mixture(self, loc=None, scale=None):
        loc, scale = (self.loc if loc is None else loc), (self.scale if scale is None else scale)
        components, examples, _ = loc.shape
        members = torch.eye(components, dtype=torch.bool)[..., None].expand(-1, -1, examples)
        weights = self.weights[:components] / self.weights[:components].sum()
        return Posteriors(loc, scale, weights.expand(-1, examples), members)

    def repeated(self, repeats=REPEATS, components=3):
        """The same example many times, so that the batch axis counts independent draws."""
        leaves = [
            stack[:components].expand(-1, repeats, -1).clone().requires_grad_()
            for stack in (self.loc, self.scale)
        ]
        many = {name: x.expand(repeats, -1) for name, x in self.batch.items()}
        return leaves, self.mixture(*leaves), self.oracle.log_likelihood(many)

    def outside_of_pairs(self, loc, scale):
        """E iwae_outside with L = 2, one double integral over the noise for each expert."""
        noise = torch.linspace(-7, 7, 141, dtype=loc.dtype)
        mass = Normal(0.0, 1.0).log_prob(noise).exp() * (noise[1] - noise[0])
        q = self.mixture(loc, scale)
        components = Independent(Normal(q.loc.transpose(0, 1), q.scale.transpose(0, 1)), 1)
        density = MixtureSameFamily(Categorical(q.weights.T), components)
        z = loc[:, 0, 0] + scale[:, 0, 0] * noise[:, None]  # (noise, K)
        log_joint = self.score(z[..., None, None]).sum(0)[..., 0] + Normal(0.0, 1.0).log_prob(z)
        log_weight = log_joint - density.log_prob(z[..., None, None])[..., 0]
        pairs = torch.logaddexp(log_weight[:, None], log_weight) - math.log(2)
        return q.weights[:, 0] @ torch.einsum("i,j,ijk->k", mass, mass, pairs)


@pytest.fixture
def toy(dtype):
    return Toy(dtype)


def autograd(q, score, samples, generator):
    """The estimator that differentiates the bound as it stands."""
    return iwae_outside(log_weights(q, score, draw(q, samples, generator)), q.weights)


def gradients(estimator, toy, samples, generator, components=3, repeats=REPEATS):
    """Mean, standard error and deviation of the gradient in (loc, scale), `(2, K)` each."""
    leaves, q, score = toy.repeated(repeats, components)
    value = estimator(q, score, samples, generator)
    each = torch.stack([g[..., 0] for g in torch.autograd.grad(value.sum(), leaves)])
    return each.mean(-1), each.std(-1) / repeats**0.5, each.std(-1)


@pytest.mark.equation("eq-log-weight")
def test_log_weights_are_charged_under_the_mixture_of_torch_distributions(toy, generator):
    q = toy.mixture()
    z = draw(q, 4, generator)
    components = Independent(Normal(q.loc.transpose(0, 1), q.scale.transpose(0, 1)), 1)
    density = MixtureSameFamily(Categorical(q.weights.T), components).log_prob(z)
    joint = toy.score(z).sum(0) + Normal(0.0, 1.0).log_prob(z)[..., 0]
    torch.testing.assert_close(log_weights(q, toy.score, z), joint - density)
    own = joint - Normal(q.loc, q.scale).log_prob(z)[..., 0]
    assert not torch.allclose(log_weights(q, toy.score, z), own, atol=0.1)


@pytest.mark.equation("eq-iwae-outside")
@pytest.mark.equation("eq-iwae-inside")
def test_one_draw_outside_is_the_stratified_elbo_and_inside_is_tighter(toy):
    q = toy.mixture()
    log_weight = log_weights(q, toy.score, draw(q, 1, torch.Generator().manual_seed(3)))
    elbo = stratified_elbo(q, toy.score, torch.Generator().manual_seed(3)).elbo()
    torch.testing.assert_close(iwae_outside(log_weight, q.weights), elbo)
    assert iwae_inside(log_weight, q.weights) > elbo + 1e-3


@pytest.mark.equation("eq-iwae-outside")
def test_two_draws_outside_average_to_a_double_integral(toy, generator):
    _, q, score = toy.repeated()
    log_weight = log_weights(q, score, draw(q, 2, generator)).detach()
    exact = toy.outside_of_pairs(toy.loc, toy.scale)
    estimate = iwae_outside(log_weight, q.weights)
    error = estimate.std() / REPEATS**0.5
    assert abs(estimate.mean() - exact) < 4 * error
    inside = iwae_inside(log_weight, q.weights)
    assert (inside >= estimate - 1e-12).all()
    assert inside.mean() - exact > 10 * error, "the two averages are two bounds"


@pytest.mark.equation("eq-iwae-inside")
def test_both_bounds_rise_with_the_draws_and_stay_below_the_evidence(toy, generator):
    _, q, score = toy.repeated(20_000)
    log_weight = log_weights(q, score, draw(q, 16, generator)).detach()
    for bound in (iwae_inside, iwae_outside):
        previous = None
        for samples in (1, 4, 16):
            values = bound(log_weight[:samples], q.weights)
            assert values.mean() + 4 * values.std() / len(values) ** 0.5 < toy.evidence
            if previous is not None:
                rise = values - previous
                assert rise.mean() > 4 * rise.std() / len(rise) ** 0.5
            previous = values
    unnormalised = torch.logsumexp(log_weight, (0, 1)) - math.log(16)  # weights of one each
    assert unnormalised.mean() > toy.evidence, "weights that add up to three are no average"


@pytest.mark.equation("eq-iwae-inside")
@pytest.mark.equation("eq-iwae-outside")
def test_outside_stops_short_of_the_evidence_by_the_divergence_of_responsibilities(toy, generator):
    z = toy.grid[:, None, None]
    q = toy.mixture()
    mass = toy.posterior.log_prob(toy.grid).exp()[:, None]
    rho = torch.trapezoid(mass * responsibilities(q, z)[..., 0], toy.grid, dim=0)
    torch.testing.assert_close(rho.sum(), torch.ones((), dtype=rho.dtype))
    limit = toy.evidence - (toy.weights[:, 0] * (toy.weights[:, 0] / rho).log()).sum()
    assert toy.evidence - limit > 0.01
    _, many, score = toy.repeated(100)
    log_weight = log_weights(many, score, draw(many, 4000, generator)).detach()
    outside, inside = (f(log_weight, many.weights) for f in (iwae_outside, iwae_inside))
    for values, target in ((outside, limit), (inside, toy.evidence)):
        # The bias that is left, at most var / 2L of relative weights, is smaller than an error.
        assert abs(values.mean() - target) < 4 * values.std() / 100**0.5 + 1e-3
    assert toy.evidence - outside.mean() > 10 * outside.std() / 100**0.5


@pytest.mark.equation("eq-iwae-outside")
def test_one_expert_s_share_of_the_draws_bounds_nothing(toy, generator):
    _, q, score = toy.repeated(100)
    log_weight = log_weights(q, score, draw(q, 2000, generator)).detach()
    by_expert = (torch.logsumexp(log_weight, 0) - math.log(2000)).mean(1)
    assert by_expert.max() > toy.evidence + 0.01
    assert by_expert.min() < toy.evidence - 0.01


@pytest.mark.equation("eq-dreg")
@pytest.mark.equation("eq-stratified-dreg")
@pytest.mark.parametrize("estimator", [autograd, dreg, stratified_dreg])
def test_of_a_single_expert_every_estimator_has_the_gradient_of_the_integral(
    toy, generator, estimator
):
    loc, scale = (stack[:1].clone().requires_grad_() for stack in (toy.loc, toy.scale))
    exact = torch.autograd.grad(toy.outside_of_pairs(loc, scale), (loc, scale))
    exact = torch.stack([g[:, 0, 0] for g in exact])
    mean, error, _ = gradients(estimator, toy, 2, generator, components=1)
    assert ((mean - exact).abs() < 4 * error).all()


@pytest.mark.equation("eq-dreg")
def test_shares_that_are_not_squared_are_biased_from_two_draws_on(toy, generator):
    loc, scale = (stack[:1].clone().requires_grad_() for stack in (toy.loc, toy.scale))
    exact = torch.autograd.grad(toy.outside_of_pairs(loc, scale), (loc, scale))
    exact = torch.stack([g[:, 0, 0] for g in exact])

    def path(*arguments):
        return dreg(*arguments, power=1)

    mean, error, _ = gradients(path, toy, 2, generator, components=1)
    assert ((mean - exact).abs() / error).max() > 10


@pytest.mark.equation("eq-stratified-dreg")
@pytest.mark.parametrize("estimator", [autograd, stratified_dreg])
def test_of_a_mixture_the_stratified_estimator_has_the_gradient_of_the_integral(
    toy, generator, estimator
):
    loc, scale = (stack.clone().requires_grad_() for stack in (toy.loc, toy.scale))
    exact = torch.autograd.grad(toy.outside_of_pairs(loc, scale), (loc, scale))
    exact = torch.stack([g[:, 0, 0] for g in exact])
    mean, error, _ = gradients(estimator, toy, 2, generator, repeats=4 * REPEATS)
    assert ((mean - exact).abs() < 4 * error).all()


@pytest.mark.equation("eq-dreg")
@pytest.mark.equation("eq-stratified-dreg")
@pytest.mark.parametrize("power", [1, 2])
def test_of_a_mixture_powers_of_the_share_miss_the_gradient(toy, generator, power):
    def powers(*arguments):
        return dreg(*arguments, power=power)

    exact, exact_error, _ = gradients(stratified_dreg, toy, 8, generator, repeats=10_000)
    mean, error, _ = gradients(powers, toy, 8, generator, repeats=10_000)
    assert ((mean - exact).abs() / (error**2 + exact_error**2).sqrt()).max() > 10


@pytest.mark.equation("eq-dreg")
@pytest.mark.equation("eq-stratified-dreg")
def test_at_one_draw_all_path_gradients_are_the_same(toy):
    found = [
        gradients(estimator, toy, 1, torch.Generator().manual_seed(5), repeats=50)[0]
        for estimator in (
            dreg,
            stratified_dreg,
            lambda *arguments: dreg(*arguments, power=1),
        )
    ]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


@pytest.mark.equation("eq-dreg")
def test_one_draw_of_one_expert_has_the_slope_that_algebra_gives(toy):
    """d log weight / dz = -(z - m) / s^2 + (z - mu) / sigma^2, times 1 or the noise."""
    (loc, scale), q, score = toy.repeated(7, components=1)
    noise = torch.randn(1, 1, 7, 1, generator=torch.Generator().manual_seed(2), dtype=loc.dtype)
    value = dreg(q, score, 1, torch.Generator().manual_seed(2))
    found = torch.autograd.grad(value.sum(), (loc, scale))
    z = (loc + scale * noise[0]).detach()
    slope = -(z - toy.posterior.mean) / toy.posterior.variance + noise[0] / scale.detach()
    torch.testing.assert_close(found[0], slope)
    torch.testing.assert_close(found[1], slope * noise[0])


@pytest.mark.equation("eq-dreg")
def test_many_draws_have_the_gradient_of_half_the_chi_squared_divergence(toy, generator):
    """Gap = chi^2(posterior, q) / 2L to first order, in closed form for Gaussians."""
    m, s = toy.posterior.mean, toy.posterior.stddev
    mu, sigma = (stack[0, 0, 0].clone().requires_grad_() for stack in (toy.loc, toy.scale))
    room = 2 * sigma**2 - s**2
    one_plus_chi = sigma**2 / (s * room.sqrt()) * ((m - mu) ** 2 / room).exp()
    by_hand = torch.stack(torch.autograd.grad(-one_plus_chi / 2, (mu, sigma)))
    draws = 400
    mean, error, _ = gradients(dreg, toy, draws, generator, components=1, repeats=4000)
    first_order = draws * mean[:, 0]
    # The next order is a fraction of order 1 / L of the first.
    assert ((first_order - by_hand).abs() < 4 * draws * error[:, 0] + 0.05 * by_hand.abs()).all()


@pytest.mark.equation("eq-dreg")
def test_with_more_draws_dreg_gains_signal_and_autograd_loses_it(toy, generator):
    def signal_to_noise(estimator, samples, signal):
        _, _, deviation = gradients(estimator, toy, samples, generator, 1, repeats=4000)
        return (signal.abs() / deviation)[0, 0]

    ratios = {}
    for samples in (16, 128):
        signal, _, _ = gradients(dreg, toy, samples, generator, 1, repeats=4000)
        ratios[samples] = [signal_to_noise(f, samples, signal) for f in (dreg, autograd)]
    gain = ratios[128][0] / ratios[16][0]
    loss = ratios[16][1] / ratios[128][1]
    assert 2 < gain < 4  # sqrt(8)
    assert 2 < loss < 4


@pytest.mark.equation("eq-stratified-dreg")
def test_the_stratified_estimator_has_less_variance_than_autograd(toy, generator):
    for samples in (1, 4, 30):
        _, _, ours = gradients(stratified_dreg, toy, samples, generator, repeats=2000)
        _, _, plain = gradients(autograd, toy, samples, generator, repeats=2000)
        assert (ours < plain).all()


@pytest.mark.equation("eq-stratified-dreg")
@pytest.mark.parametrize("estimator", [autograd, dreg, stratified_dreg])
def test_exact_experts_give_the_evidence_and_only_autograd_noise(toy, generator, estimator):
    exact = toy.posterior.mean.expand(3, 20, 1).clone().requires_grad_()
    scale = toy.posterior.stddev.expand(3, 20, 1).clone().requires_grad_()
    many = {name: x.expand(20, -1) for name, x in toy.batch.items()}
    q = toy.mixture(exact, scale)
    value = estimator(q, toy.oracle.log_likelihood(many), 5, generator)
    torch.testing.assert_close(value, toy.evidence.expand(20))
    found = torch.cat(torch.autograd.grad(value.sum(), (exact, scale)))
    if estimator is autograd:
        assert found.abs().max() > 0.01
    else:
        torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-10, rtol=0)


@pytest.mark.parametrize("estimator", [dreg, stratified_dreg])
def test_values_are_the_bound_and_decoders_get_its_own_gradient(toy, estimator):
    strength = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def score(z, wanted=None):
        return strength * toy.score(z)

    def of(function):
        value = function(toy.mixture(), score, 6, torch.Generator().manual_seed(1))
        return value.detach(), torch.autograd.grad(value.sum(), strength)[0]

    torch.testing.assert_close(of(estimator), of(autograd))


@pytest.mark.parametrize("estimator", [autograd, dreg, stratified_dreg])
def test_a_missing_modality_is_never_read(generator, estimator):
    oracle = LinearGaussian.random(dict.fromkeys(NAMES, 3), 2, generator=generator)
    batch = oracle.sample(5, generator)
    experts = oracle.unimodal_posteriors(batch)
    observed = torch.tensor([True, False, True])[:, None].expand(-1, 5)
    seen = oracle.log_likelihood({name: batch[name] for name in ("image", "text")})
    aggregator = Aggregator(product_of_experts(prior_expert=False), singletons)

    def value_and_gradients(filling):
        leaves = [torch.where(observed[..., None], s, filling).requires_grad_() for s in experts]
        q = aggregator(*leaves, observed)
        value = estimator(q, seen, 4, torch.Generator().manual_seed(2))
        return value, *torch.autograd.grad(value.sum(), leaves)

    finite, poisoned = value_and_gradients(3.0), value_and_gradients(torch.nan)
    for value, same in zip(finite, poisoned, strict=True):
        assert torch.equal(value, same)
        assert value.isfinite().all()
    for gradient in finite[1:]:
        assert (gradient[1] == 0).all()
        assert (gradient[[0, 2]] != 0).all()


@pytest.mark.parametrize("estimator", [autograd, dreg, stratified_dreg])
def test_float32_gradients_are_finite_when_one_draw_outweighs_all_others(estimator, generator):
    loc = (30 * torch.randn(3, 4, 2, generator=generator)).requires_grad_()
    scale = torch.tensor([1e-3, 1.0, 1e3])[:, None, None].repeat(1, 4, 2).requires_grad_()
    q = Posteriors(loc, scale, torch.full((3, 4), 1 / 3), torch.ones(3, 3, 4, dtype=torch.bool))

    def score(z, wanted=None):
        return -50 * (z.tanh() - 0.3).square().sum(-1).expand(3, *z.shape[:-1])

    value = estimator(q, score, 8, generator)
    assert value.isfinite().all()
    for gradient in torch.autograd.grad(value.sum(), (loc, scale)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("estimator", [dreg, stratified_dreg])
def test_estimators_can_be_evaluated_without_gradients(toy, estimator):
    with torch.no_grad():
        value = estimator(toy.mixture(), toy.score, 3, torch.Generator().manual_seed(0))
    assert not value.requires_grad
    expected = autograd(toy.mixture(), toy.score, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("call", [draw, dreg, stratified_dreg])
@pytest.mark.parametrize("samples", [0, -2])
def test_no_draws_are_refused_in_one_line(toy, call, samples):
    arguments = (toy.mixture(), samples) if call is draw else (toy.mixture(), toy.score, samples)
    with pytest.raises(ValueError, match=f"importance: {samples} samples") as error:
        call(*arguments)
    assert "\n" not in str(error.value)


def test_a_hook_on_draws_that_were_joined_after_the_loss_is_never_called(toy):
    """How the official code registers its second factor; on the draws themselves it acts."""
    called = []
    parts = [torch.randn(4, 1, dtype=torch.float64, requires_grad=True) * 2 for _ in range(2)]
    loss = sum(part.square().sum() for part in parts)
    torch.stack(parts).register_hook(lambda gradient: called.append("joined"))
    parts[0].register_hook(lambda gradient: called.append("itself"))
    loss.backward()
    assert called == ["itself"]


@pytest.fixture
def small_vae(generator):
    def build(estimator=stratified_dreg):
        model = mmvae_iwae(4, estimator)
        return convolutional_vae(
            NAMES, (1, 8, 8), model, latent_dim=2, seed=0, likelihood=Laplace(0.3), channels=(4, 4)
        )

    batch = {name: torch.rand(16, 1, 8, 8, generator=generator) for name in NAMES}
    return build, batch


@pytest.mark.equation("eq-iwae-outside")
def test_the_model_s_bound_is_the_estimator_s_value_and_has_its_gradient(toy):
    loc, scale = (stack.clone().requires_grad_() for stack in (toy.loc, toy.scale))

    def of(value):
        return value.detach(), *torch.autograd.grad(value.sum(), (loc, scale))

    seed = torch.Generator().manual_seed
    bound = mmvae_iwae(5).objective(toy.mixture(loc, scale), toy.score, seed(1))
    alone = stratified_dreg(toy.mixture(loc, scale), toy.score, 5, seed(1))
    assert bound.reconstruction.shape == (3, 1)
    torch.testing.assert_close(of(bound.elbo()), of(alone))


def test_training_raises_the_importance_weighted_bound(small_vae):
    build, batch = small_vae
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def evaluate():
        with torch.no_grad():
            bound = model.bound(batch, generator=torch.Generator().manual_seed(9))
        return bound.elbo().mean()

    before, generator = evaluate(), torch.Generator().manual_seed(0)
    for _ in range(30):
        optimizer.zero_grad()
        model.bound(batch, generator=generator).elbo().mean().neg().backward()
        optimizer.step()
    assert evaluate() > before + 1


@pytest.mark.parametrize("estimator", [dreg, stratified_dreg])
def test_the_model_never_reads_a_missing_modality(small_vae, estimator):
    build, batch = small_vae
    model = build(estimator)
    observed = {"sound": torch.arange(16) % 2 == 0}

    def value_and_gradients(filling):
        sound = torch.where(observed["sound"][:, None, None, None], batch["sound"], filling)
        generator = torch.Generator().manual_seed(3)
        bound = model.bound({**batch, "sound": sound}, observed, generator)
        return torch.autograd.grad(bound.elbo().mean(), model.parameters())

    for gradient, same in zip(value_and_gradients(0.5), value_and_gradients(math.nan), strict=True):
        assert gradient.isfinite().all()
        assert torch.equal(gradient, same)


@pytest.mark.parametrize(
    "weights", [{"beta": 2.5}, {"likelihood_weights": torch.ones(3)}, {"beta": 0.0}]
)
def test_weights_outside_the_logarithm_are_refused_in_one_line(toy, weights):
    bound = mmvae_iwae(3).objective(toy.mixture(), toy.score, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="train it with beta 1 and without weights") as error:
        bound.elbo(**weights)
    assert "\n" not in str(error.value)
