"""Objectives: their expectations on the oracle, where every bound has a closed form."""

from itertools import compress

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from multielbo import gaussians, objectives
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.barycenters import product
from multielbo.mixtures import Posteriors, mean_kl
from multielbo.models.mmvae import mmvae, mmvae_averaged
from multielbo.models.registry import MODELS, build
from multielbo.objectives import (
    Bound,
    joint_elbo,
    mixture_elbo,
    powerset_elbo,
    stratified_elbo,
    subsampled_elbo,
)
from multielbo.oracle import LinearGaussian
from multielbo.subsets import full_set, powerset, singletons, subsampled

DIMS = {"image": 4, "sound": 3, "text": 2}
SAMPLES = 40_000
PAIRS = {
    joint_elbo: full_set,
    subsampled_elbo: subsampled(1),
    stratified_elbo: singletons,
    mixture_elbo: powerset,
    powerset_elbo: powerset,
}
each_objective = pytest.mark.parametrize("objective", PAIRS, ids=lambda f: f.__name__)


@pytest.fixture
def oracle(generator):
    return LinearGaussian.random(DIMS, 2, 1.2, generator=generator)


@pytest.fixture
def batch(oracle, generator):
    return oracle.sample(1, generator)


@pytest.fixture
def wrong_experts(oracle, batch):
    """Experts off in mean and scale, so that no two bounds coincide by accident."""
    loc, scale = oracle.unimodal_posteriors(batch)
    factors = torch.tensor([0.5, 1.3, 0.9], dtype=loc.dtype)[:, None, None]
    return loc + factors - 1, scale * factors


def aggregate(objective, experts, observed=None, generator=None, prior_expert=True):
    aggregator = Aggregator(product_of_experts(prior_expert=prior_expert), PAIRS[objective])
    return aggregator(*experts, observed, generator)


def repeat(q, samples=SAMPLES):
    """One example many times, so that the batch axis counts samples."""
    stacks = (stack.expand(-1, samples, -1) for stack in (q.loc, q.scale))
    return Posteriors(
        *stacks, q.weights.expand(-1, samples), q.members.expand(-1, -1, samples).contiguous()
    )


def estimate(objective, q, oracle, batch, generator):
    """Mean over samples of an objective's ELBO, and its standard error."""
    many = {name: x.expand(SAMPLES, -1) for name, x in batch.items()}
    elbo = objective(repeat(q), oracle.log_likelihood(many), generator).elbo()
    return elbo.mean(), elbo.std() / SAMPLES**0.5


def closed_form(q, oracle, batch, scored=None):
    """ELBO of each posterior of q on the evidence of what it has seen, or of `scored`, `(K,)`."""
    rows = [scored or tuple(compress(oracle.modalities, m)) for m in q.members[..., 0]]
    covariance = torch.diag_embed(q.scale.square())
    elbos = [oracle.elbo(batch, q.loc[k], covariance[k], row) for k, row in enumerate(rows)]
    return torch.cat(elbos)


def mixture_by_quadrature(q, oracle, batch):
    """ELBO of a mixture over a two-dimensional latent, on a grid."""
    axis = torch.linspace(-8, 8, 801, dtype=q.loc.dtype)
    z = torch.cartesian_prod(axis, axis)[:, None]  # (grid, 1, D)
    log_q = q.log_density(z)
    log_joint = oracle.log_likelihood(batch)(z).sum(0) + gaussians.log_prior(z)
    assert torch.isclose((log_q.exp().sum() * 0.02**2).log(), log_q.new_zeros(()), atol=1e-9)
    return (log_q.exp() * (log_joint - log_q)).sum() * 0.02**2


@pytest.mark.equation("eq-beta-elbo")
def test_every_weight_of_the_bound_is_an_explicit_argument(generator, dtype):
    reconstruction = torch.randn(3, 5, generator=generator, dtype=dtype)
    rate = torch.rand(5, generator=generator, dtype=dtype)
    bound = Bound(reconstruction, rate)
    weights = torch.tensor([1.0, 0.5, 4.0], dtype=dtype)
    by_hand = sum(w * r for w, r in zip(weights, reconstruction, strict=True)) - 2.5 * rate
    torch.testing.assert_close(bound.elbo(2.5, weights), by_hand)
    torch.testing.assert_close(bound.elbo(), reconstruction.sum(0) - rate)
    assert not torch.allclose(bound.elbo(2.5, weights), bound.elbo(2.5))


@pytest.mark.equation("eq-joint-elbo")
def test_joint_elbo_averages_to_its_closed_form(oracle, batch, wrong_experts, generator):
    q = aggregate(joint_elbo, wrong_experts)
    mean, error = estimate(joint_elbo, q, oracle, batch, generator)
    assert abs(mean - closed_form(q, oracle, batch)[0]) < 4 * error
    no_prior = aggregate(joint_elbo, wrong_experts, prior_expert=False)
    assert abs(mean - closed_form(no_prior, oracle, batch)[0]) > 10 * error


@pytest.mark.equation("eq-joint-elbo")
def test_the_rate_is_the_divergence_torch_distributions_gives(oracle, batch, wrong_experts):
    q = aggregate(joint_elbo, wrong_experts)
    bound = joint_elbo(q, oracle.log_likelihood(batch))
    posterior, prior = Normal(q.loc[0], q.scale[0]), Normal(0.0, 1.0)
    torch.testing.assert_close(bound.rate, kl_divergence(posterior, prior).sum(-1))


@pytest.mark.equation("eq-subsampled")
def test_subsampled_sum_averages_to_the_sum_of_exact_subset_elbos(
    oracle, batch, wrong_experts, generator
):
    q = aggregate(subsampled_elbo, wrong_experts, generator=generator)
    assert len(q.loc) == 5  # full set, singletons, and one pair
    mean, error = estimate(subsampled_elbo, q, oracle, batch, generator)
    assert abs(mean - closed_form(q, oracle, batch).sum()) < 4 * error
    scores_everything = closed_form(q, oracle, batch, oracle.modalities).sum()
    assert abs(mean - scores_everything) > 20 * error
    mean_for_sum = closed_form(q, oracle, batch).mean()
    assert abs(mean - mean_for_sum) > 20 * error


@pytest.mark.equation("eq-subsampled")
def test_exact_experts_turn_the_subsampled_sum_into_a_sum_of_evidences(oracle, batch, generator):
    each = torch.eye(3)
    likelihoods = product(*oracle.unimodal_posteriors(batch), each, prior_exponent=-1.0)
    q = aggregate(subsampled_elbo, likelihoods, generator=generator)
    mean, error = estimate(subsampled_elbo, q, oracle, batch, generator)
    rows = [tuple(compress(oracle.modalities, m)) for m in q.members[..., 0]]
    evidences = torch.cat([oracle.log_evidence(batch, row) for row in rows])
    assert abs(mean - evidences.sum()) < 4 * error
    assert abs(mean - oracle.log_evidence(batch)[0]) > 20 * error


@pytest.mark.equation("eq-subsampled")
@pytest.mark.parametrize(("unit", "sign"), [(1.0, -1), (1000.0, 1)])
def test_the_sum_lies_on_either_side_of_the_joint_evidence(oracle, generator, unit, sign):
    batch = {name: x / unit for name, x in oracle.sample(100, generator).items()}
    oracle = LinearGaussian(
        {name: w / unit for name, w in oracle.loadings.items()},
        {name: noise / unit for name, noise in oracle.noise.items()},
    )
    rows = [oracle.modalities, *([name] for name in oracle.modalities)]
    largest = sum(oracle.log_evidence(batch, row) for row in rows)
    assert (sign * (largest - oracle.log_evidence(batch)) > 0).all()


@pytest.mark.equation("eq-subsampled")
def test_only_observed_members_are_scored_and_paid_for(oracle, batch, wrong_experts, generator):
    observed = torch.tensor([[True], [False], [False]])
    family = subsampled(0)
    aggregator = Aggregator(product_of_experts(prior_expert=True), family)
    q = aggregator(*wrong_experts, observed)
    bound = subsampled_elbo(q, oracle.log_likelihood({"image": batch["image"]}), generator)
    alone = product(*wrong_experts, torch.tensor([[1.0, 0.0, 0.0]]), prior_exponent=1.0)
    rate = gaussians.kl_to_prior(alone[0][0], alone[1][0])
    torch.testing.assert_close(bound.rate, 2 * rate)  # as the full set, and as a singleton
    assert (bound.reconstruction[1:] == 0).all()
    assert (bound.reconstruction[0] != 0).all()


@pytest.mark.equation("eq-stratified")
def test_stratified_elbo_is_the_elbo_of_the_mixture(oracle, batch, wrong_experts, generator):
    q = aggregate(stratified_elbo, wrong_experts, prior_expert=False)
    q = q._replace(weights=torch.tensor([[0.5], [0.2], [0.3]], dtype=q.weights.dtype))
    exact = mixture_by_quadrature(q, oracle, batch)
    mean, error = estimate(stratified_elbo, q, oracle, batch, generator)
    assert abs(mean - exact) < 4 * error
    averaged, error = estimate(powerset_elbo, q, oracle, batch, generator)
    assert exact - averaged > 20 * error


@pytest.mark.equation("eq-stratified")
def test_stratified_and_ancestral_sampling_agree(oracle, batch, wrong_experts, generator):
    q = repeat(aggregate(stratified_elbo, wrong_experts, prior_expert=False))
    many = oracle.log_likelihood({name: x.expand(SAMPLES, -1) for name, x in batch.items()})
    die = torch.randint(3, (SAMPLES,), generator=generator)
    rows = torch.arange(SAMPLES)
    z = gaussians.sample(q.loc[die, rows], q.scale[die, rows], generator)
    ancestral = many(z).sum(0) + gaussians.log_prior(z) - q.log_density(z)
    stratified = stratified_elbo(q, many, generator).elbo()
    error = ((ancestral.var() + stratified.var()) / SAMPLES).sqrt()
    assert abs(ancestral.mean() - stratified.mean()) < 4 * error
    own = many(z).sum(0) + gaussians.log_prior(z)
    own = own - gaussians.log_density(z, q.loc[die, rows], q.scale[die, rows])
    assert abs(own.mean() - stratified.mean()) > 10 * error
    assert stratified.var() < ancestral.var() / 3  # at equal numbers of decoded samples


@pytest.mark.equation("eq-stratified")
def test_experts_that_all_know_the_posterior_give_the_evidence_without_variance(oracle, generator):
    batch = oracle.sample(20, generator)
    loc, covariance = oracle.posterior(batch)
    scale = covariance.diagonal().sqrt().expand_as(loc)
    same = (stack.expand(3, -1, -1) for stack in (loc, scale))
    q = Aggregator(product_of_experts(prior_expert=False), singletons)(*same)
    score = oracle.log_likelihood(batch)
    evidence = oracle.log_evidence(batch)
    torch.testing.assert_close(stratified_elbo(q, score, generator).elbo(), evidence)
    assert not torch.allclose(powerset_elbo(q, score, generator).elbo(), evidence, rtol=1e-3)


@pytest.mark.equation("eq-mopoe")
@pytest.mark.equation("eq-powerset-elbo")
def test_mixture_and_powerset_average_to_the_mean_of_all_components_elbos(
    oracle, batch, wrong_experts, generator
):
    q = aggregate(powerset_elbo, wrong_experts)
    exact = closed_form(q, oracle, batch, oracle.modalities).mean()
    for objective in (mixture_elbo, powerset_elbo):
        mean, error = estimate(objective, q, oracle, batch, generator)
        assert abs(mean - exact) < 4 * error
    own_members_only = closed_form(q, oracle, batch).mean()
    assert abs(mean - own_members_only) > 20 * error


@pytest.mark.equation("eq-mopoe")
@pytest.mark.equation("eq-powerset-elbo")
def test_component_averaged_bounds_lie_below_that_of_the_mixture_by_jensen_shannon(
    oracle, batch, wrong_experts, generator
):
    q = aggregate(powerset_elbo, wrong_experts)
    averaged = closed_form(q, oracle, batch, oracle.modalities).mean()
    surplus = mixture_by_quadrature(q, oracle, batch) - averaged
    many = repeat(q)
    z = gaussians.sample(many.loc, many.scale, generator)
    ratio = gaussians.log_density(z, many.loc, many.scale) - many.log_density(z)
    divergence = (many.weights * ratio).sum(0)
    error = divergence.std() / SAMPLES**0.5
    assert abs(surplus - divergence.mean()) < 4 * error
    assert surplus > 20 * error  # the mixture's true rate is another number


@pytest.mark.equation("eq-powerset-elbo")
def test_sampling_every_subset_has_less_variance_than_sampling_one(
    oracle, batch, wrong_experts, generator
):
    q = aggregate(powerset_elbo, wrong_experts)
    errors = {f: estimate(f, q, oracle, batch, generator)[1] for f in (mixture_elbo, powerset_elbo)}
    assert errors[powerset_elbo] < 0.6 * errors[mixture_elbo]


@pytest.mark.equation("eq-mopoe")
def test_the_rate_of_component_averaged_bounds_is_the_mean_of_rates(oracle, batch, wrong_experts):
    q = aggregate(mixture_elbo, wrong_experts)
    for objective in (mixture_elbo, powerset_elbo):
        bound = objective(q, oracle.log_likelihood(batch))
        torch.testing.assert_close(bound.rate, mean_kl(q))


@each_objective
def test_bounds_are_per_example(oracle, generator, objective):
    batch = oracle.sample(4, generator)
    loc, scale = (stack.requires_grad_() for stack in oracle.unimodal_posteriors(batch))
    q = aggregate(objective, (loc, scale), generator=generator)
    bound = objective(q, oracle.log_likelihood(batch), generator)
    assert bound.reconstruction.shape == (3, 4)
    assert bound.rate.shape == (4,)
    bound.elbo()[1].backward()
    for gradient in (loc.grad, scale.grad):
        assert (gradient[:, [0, 2, 3]] == 0).all()
        assert (gradient[:, 1] != 0).any()


@each_objective
def test_a_missing_modality_changes_neither_bound_nor_gradient(oracle, objective):
    batch = oracle.sample(6, torch.Generator().manual_seed(1))
    experts = oracle.unimodal_posteriors(batch)
    observed = torch.tensor([True, False, True])[:, None].expand(-1, 6)
    seen = {name: batch[name] for name in ("image", "text")}

    def values_and_gradients(filling):
        generator = torch.Generator().manual_seed(2)
        loc, scale = (torch.where(observed[..., None], s, filling) for s in experts)
        loc.requires_grad_()
        scale.requires_grad_()
        q = aggregate(objective, (loc, scale), observed, generator)
        bound = objective(q, oracle.log_likelihood(seen), generator)
        bound.elbo().sum().backward()
        return *bound, loc.grad, scale.grad

    finite, poisoned = values_and_gradients(3.0), values_and_gradients(torch.nan)
    for value, same in zip(finite, poisoned, strict=True):
        assert torch.equal(value, same)
        assert value.isfinite().all()
    assert (finite[0][1] == 0).all()
    for gradient in finite[2:]:
        assert (gradient[1] == 0).all()
        assert (gradient[[0, 2]] != 0).all()


@each_objective
@pytest.mark.parametrize("log_variances", [(-40, -40, -40), (40, 40, 40), (-40, 40, 0)])
def test_float32_gradients_are_finite_at_extreme_log_variances(objective, log_variances):
    generator = torch.Generator().manual_seed(0)
    log_variance = torch.tensor(log_variances, dtype=torch.float32)[:, None, None]
    log_variance = log_variance.repeat(1, 8, 2).requires_grad_()
    loc = torch.randn(3, 8, 2, generator=generator).requires_grad_()
    x = torch.randn(3, 8, 2, generator=generator)

    def score(z, wanted=None):  # decoders saturate, as networks on images do
        targets = x[:, None] if z.dim() == 3 else x
        return -0.5 * (targets - z.tanh()).square().sum(-1)

    q = aggregate(objective, (loc, (0.5 * log_variance).exp()), None, generator)
    bound = objective(q, score, generator)
    assert all(term.isfinite().all() for term in bound)
    bound.elbo().sum().backward()
    assert loc.grad.isfinite().all()
    assert log_variance.grad.isfinite().all()


@each_objective
def test_the_generator_alone_decides_the_sample(oracle, batch, wrong_experts, objective):
    def value(seed):
        generator = torch.Generator().manual_seed(seed)
        q = aggregate(objective, wrong_experts, generator=torch.Generator().manual_seed(0))
        return objective(q, oracle.log_likelihood(batch), generator).elbo()

    torch.manual_seed(1)
    first = value(3)
    torch.manual_seed(2)
    assert torch.equal(first, value(3))
    assert not torch.equal(first, value(4))


def test_every_objective_belongs_to_a_model():
    used = {build(name).objective for name in MODELS}
    functions = {getattr(objectives, name) for name in objectives.__all__ if name.endswith("_elbo")}
    assert functions == set(PAIRS)
    assert functions <= used


def test_the_two_mmvaes_differ_in_the_objective_alone():
    published, averaged = mmvae(), mmvae_averaged()
    assert published.objective is stratified_elbo
    assert averaged.objective is mixture_elbo
    assert published.aggregator.family is averaged.aggregator.family is singletons
    assert published.aggregator.answer is averaged.aggregator.answer is singletons
