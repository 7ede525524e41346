"""Products of experts: against quadrature, torch.distributions, autograd, and the oracle."""

from itertools import compress

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import Independent, Normal

from multielbo import subsets
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.barycenters import product
from multielbo.models.mvae import mvae
from multielbo.models.registry import build
from multielbo.oracle import LinearGaussian

MODALITIES, EXAMPLES, LATENT = 4, 6, 3
POOLS = {
    "prior expert": product_of_experts(prior_expert=True),
    "no prior expert": product_of_experts(prior_expert=False),
}


@pytest.fixture
def experts(generator, dtype) -> tuple[Tensor, Tensor]:
    shape = (MODALITIES, EXAMPLES, LATENT)
    loc = torch.randn(shape, generator=generator, dtype=dtype)
    return loc, torch.rand(shape, generator=generator, dtype=dtype) + 0.3


@pytest.fixture
def oracle(generator):
    dims = {"image": 6, "sound": 5, "text": 4, "touch": 3}
    return LinearGaussian.random(dims, LATENT, 1.3, generator=generator)


@pytest.fixture
def batch(oracle, generator):
    return oracle.sample(EXAMPLES, generator)


def names(oracle, membership):
    return [tuple(compress(oracle.modalities, row)) for row in membership]


def gaps(oracle, batch, loc, scale, members):
    """KL from each subset's product to the oracle's posterior of that subset, `(K, B)`."""
    covariance = torch.diag_embed(scale.square())
    rows = enumerate(names(oracle, members))
    return torch.stack([oracle.gap(batch, loc[k], covariance[k], s) for k, s in rows])


@pytest.mark.equation("eq-product")
def test_product_has_the_moments_of_the_pointwise_product(experts, generator, dtype):
    loc, scale = experts
    weights = torch.rand(2, MODALITIES, generator=generator, dtype=dtype)
    pooled_loc, pooled_scale = product(loc, scale, weights, prior_exponent=0.4)
    z = torch.linspace(-12, 12, 4001, dtype=dtype)[:, None, None, None]  # (grid, 1, 1, 1)
    log_experts = Normal(loc, scale).log_prob(z).unsqueeze(1)  # (grid, 1, M, B, D)
    log_product = (weights[..., None, None] * log_experts).sum(2) + 0.4 * Normal(0, 1).log_prob(z)
    unnormalised = (log_product - log_product.amax(0)).exp()
    density = unnormalised / torch.trapezoid(unnormalised, dx=24 / 4000, dim=0)
    mean = torch.trapezoid(z * density, dx=24 / 4000, dim=0)
    variance = torch.trapezoid((z - mean).square() * density, dx=24 / 4000, dim=0)
    torch.testing.assert_close(pooled_loc, mean)
    torch.testing.assert_close(pooled_scale, variance.sqrt())
    for mistake in (torch.ones_like(weights), weights.square()):  # exponents lost, or squared
        wrong_loc, wrong_scale = product(loc, scale, mistake, prior_exponent=0.4)
        assert not torch.allclose(wrong_loc, mean, rtol=1e-2)
        assert not torch.allclose(wrong_scale, variance.sqrt(), rtol=1e-2)


@pytest.mark.equation("eq-product")
@pytest.mark.parametrize("prior_exponent", [0.0, 1.0, -0.1])
def test_product_differs_from_the_pointwise_product_by_a_constant(
    experts, generator, dtype, prior_exponent
):
    loc, scale = experts
    z = torch.randn(50, EXAMPLES, LATENT, generator=generator, dtype=dtype)
    ones = torch.ones(1, MODALITIES, dtype=dtype)

    def spread(pooled_loc, pooled_scale):
        prior = Independent(Normal(torch.zeros_like(loc[0]), torch.ones_like(loc[0])), 1)
        parts = Independent(Normal(loc, scale), 1).log_prob(z.unsqueeze(1)).sum(1)
        whole = Independent(Normal(pooled_loc[0], pooled_scale[0]), 1).log_prob(z)
        return (parts + prior_exponent * prior.log_prob(z) - whole).std(0)

    assert spread(*product(loc, scale, ones, prior_exponent=prior_exponent)).max() < 1e-10
    assert spread(*product(loc, scale, ones, prior_exponent=prior_exponent + 1)).min() > 0.01


@pytest.mark.equation("eq-product")
def test_weights_may_differ_between_examples(experts, generator, dtype):
    loc, scale = experts
    weights = torch.rand(2, MODALITIES, EXAMPLES, generator=generator, dtype=dtype)
    pooled = product(loc, scale, weights, prior_exponent=1.0)
    for b in range(EXAMPLES):
        alone = product(loc[:, [b]], scale[:, [b]], weights[..., b], prior_exponent=1.0)
        torch.testing.assert_close(pooled[0][:, [b]], alone[0])
        torch.testing.assert_close(pooled[1][:, [b]], alone[1])
    other = product(loc[:, [0]], scale[:, [0]], weights[..., 1], prior_exponent=1.0)
    assert not torch.allclose(pooled[0][:, [0]], other[0], rtol=1e-2)


@pytest.mark.equation("eq-product")
def test_gradients_agree_with_finite_differences(experts):
    loc, scale = (stack[:, :2].clone().requires_grad_() for stack in experts)
    membership = subsets.powerset(MODALITIES)
    assert torch.autograd.gradcheck(
        lambda m, s: product(m, s, membership, prior_exponent=1.0), (loc, scale)
    )


@pytest.mark.parametrize("prior_expert", POOLS)
@pytest.mark.parametrize("log_variances", [(-40, -40, -40), (40, 40, 40), (-40, 40, 0)])
def test_float32_gradients_are_finite_at_extreme_log_variances(prior_expert, log_variances):
    log_variance = torch.tensor(log_variances, dtype=torch.float32)[:, None, None].requires_grad_()
    loc = torch.tensor([-1.0, 0.5, 2.0])[:, None, None].requires_grad_()
    aggregator = Aggregator(POOLS[prior_expert], subsets.powerset)
    q = aggregator(loc, (0.5 * log_variance).exp())
    assert q.loc.isfinite().all()
    assert q.scale.isfinite().all()
    assert (q.scale > 0).all()
    (q.loc.sum() + q.scale.log().sum()).backward()
    assert loc.grad.isfinite().all()
    assert log_variance.grad.isfinite().all()


def test_the_textbook_formula_overflows_where_ours_does_not():
    """The wrong twin of the test above: variances multiplied before they are divided."""
    variance = torch.full((3,), 40.0).exp()
    assert not (variance.prod() / variance.prod()).isfinite()
    scale = variance.sqrt()[:, None, None]
    _, pooled = product(torch.zeros(3, 1, 1), scale, torch.ones(1, 3), prior_exponent=0.0)
    torch.testing.assert_close(pooled.square()[0, 0], variance[:1] / 3)


@pytest.mark.parametrize("prior_expert", POOLS)
def test_a_missing_modality_is_never_read(experts, generator, prior_expert):
    observed = torch.rand(MODALITIES, EXAMPLES, generator=generator) < 0.6
    observed[0] |= ~observed.any(0)
    assert not observed.all()
    aggregator = Aggregator(POOLS[prior_expert], subsets.powerset)

    def values_and_gradients(filling):
        loc, scale = (torch.where(observed[..., None], s, filling) for s in experts)
        loc.requires_grad_()
        scale.requires_grad_()
        q = aggregator(loc, scale, observed)
        (q.loc.sin().sum() + q.scale.log().sum()).backward()
        return *q, loc.grad, scale.grad

    finite, poisoned = values_and_gradients(7.0), values_and_gradients(torch.nan)
    for value, same in zip(finite, poisoned, strict=True):
        assert torch.equal(value, same)
    for gradient in poisoned[-2:]:
        assert (gradient[~observed] == 0).all()
    unmasked = product(
        torch.where(observed[..., None], experts[0], torch.nan),
        experts[1],
        observed[None],
        prior_exponent=1.0,
    )
    assert unmasked[0].isnan().any()  # zero weight alone is no protection: 0 * NaN is NaN


@pytest.mark.parametrize("prior_expert", POOLS)
def test_a_mask_and_a_smaller_subset_are_the_same(experts, prior_expert):
    membership = subsets.powerset(MODALITIES)
    everything = Aggregator(POOLS[prior_expert], subsets.powerset)(*experts)
    for k, row in enumerate(membership):
        observed = row[:, None].expand(-1, EXAMPLES)
        masked = Aggregator(POOLS[prior_expert], subsets.full_set).posterior(*experts, observed)
        torch.testing.assert_close(masked.loc[0], everything.loc[k])
        torch.testing.assert_close(masked.scale[0], everything.scale[k])
        assert torch.equal(masked.members[0], everything.members[k])


@pytest.mark.parametrize("prior_expert", POOLS)
def test_the_order_of_modalities_does_not_matter(experts, generator, prior_expert):
    loc, scale = experts
    order = torch.randperm(MODALITIES, generator=generator)
    membership = subsets.powerset(MODALITIES)
    pool = POOLS[prior_expert]
    plain = pool(loc, scale, membership)
    permuted = pool(loc[order], scale[order], membership[:, order])
    torch.testing.assert_close(permuted, plain)
    half_permuted = pool(loc[order], scale, membership[:, order])
    assert not torch.allclose(half_permuted[0], plain[0], rtol=1e-2)


@pytest.mark.equation("eq-product")
@pytest.mark.parametrize("prior_expert", POOLS)
def test_the_empty_product_is_the_prior(experts, prior_expert):
    nobody = torch.zeros(1, MODALITIES, dtype=torch.bool)
    for members in (nobody, nobody[..., None].expand(-1, -1, EXAMPLES)):
        loc, scale = POOLS[prior_expert](*experts, members)
        assert torch.equal(loc.expand(1, EXAMPLES, LATENT), torch.zeros(1, EXAMPLES, LATENT))
        assert torch.equal(scale.expand(1, EXAMPLES, LATENT), torch.ones(1, EXAMPLES, LATENT))


@pytest.mark.equation("eq-product")
def test_dividing_the_prior_out_gives_the_posterior_of_every_subset(oracle, batch):
    loc, scale = oracle.unimodal_posteriors(batch)
    membership = subsets.powerset(MODALITIES)
    size = membership.sum(1)
    exponent = (1 - size)[:, None, None]
    q = product(loc, scale, membership, prior_exponent=exponent)
    for k, subset in enumerate(names(oracle, membership)):
        exact_loc, exact_covariance = oracle.posterior(batch, subset)
        torch.testing.assert_close(q[0][k], exact_loc)
        torch.testing.assert_close(torch.diag_embed(q[1][k].square())[0], exact_covariance)


@pytest.mark.equation("eq-product")
@pytest.mark.parametrize(("prior_expert", "counted"), [("no prior expert", 0), ("prior expert", 1)])
def test_counting_the_prior_again_is_over_confident(oracle, batch, prior_expert, counted):
    experts = oracle.unimodal_posteriors(batch)
    membership = subsets.powerset(MODALITIES)
    size = membership.sum(1)
    q = POOLS[prior_expert](*experts, membership)
    exact = product(*experts, membership, prior_exponent=(1 - size)[:, None, None])
    excess = size - 1 + counted  # how often the prior is counted too much
    precision = q[1].square().reciprocal() - exact[1].square().reciprocal()
    torch.testing.assert_close(precision, excess[:, None, None].to(precision).expand_as(precision))
    lost = gaps(oracle, batch, *q, membership)
    assert (lost[excess == 0] < 1e-12).all()
    assert (lost[excess > 0] > 1e-3).all()


@pytest.mark.equation("eq-product")
@pytest.mark.parametrize("counted", [None, 0, 1])
def test_surplus_priors_put_the_truth_outside_as_often_as_algebra_says(oracle, generator, counted):
    """E (z - mu')^2 / sigma'^2 = 1 + e / L + (1 - 1 / L) e^2 / (L + e) for e surplus priors."""
    draws = 20_000
    truth = torch.randn(draws, LATENT, generator=generator, dtype=torch.float64)
    batch = {
        name: truth @ w.T
        + oracle.noise[name] * torch.randn(draws, len(w), generator=generator, dtype=truth.dtype)
        for name, w in oracle.loadings.items()
    }
    membership = subsets.powerset(MODALITIES)
    size = membership.sum(1)
    exponent = (1 - size if counted is None else torch.full_like(size, counted))[:, None, None]
    loc, scale = product(*oracle.unimodal_posteriors(batch), membership, prior_exponent=exponent)
    far = ((truth - loc) / scale).square()
    rows = names(oracle, membership)
    exact = torch.stack([oracle.posterior(batch, r)[1].diagonal().reciprocal() for r in rows])
    surplus = (size - 1 + exponent[:, 0, 0])[:, None]
    expected = 1 + surplus / exact + (1 - 1 / exact) * surplus**2 / (exact + surplus)
    error = far.std(1) / draws**0.5
    assert ((far.mean(1) - expected).abs() < 5 * error).all()
    narrow_only = 1 + surplus / exact  # too narrow, but in the right place
    shifted = surplus[:, 0] > 0
    assert (far.mean(1) - narrow_only > 5 * error)[shifted].any(1).all()

    radius = chi2.ppf(0.95, LATENT)
    outside = (far.sum(-1) > radius).double().mean(1)
    tolerance = 5 * (0.05 * 0.95 / draws) ** 0.5
    assert ((outside - 0.05).abs() < tolerance)[~shifted].all()
    assert (outside > 0.05 + tolerance)[shifted].all()


@pytest.mark.equation("eq-product")
def test_likelihood_experts_with_a_prior_expert_are_right_for_every_subset(oracle, batch):
    each = torch.eye(MODALITIES)
    likelihoods = product(*oracle.unimodal_posteriors(batch), each, prior_exponent=-1.0)
    membership = subsets.powerset(MODALITIES)
    right = POOLS["prior expert"](*likelihoods, membership)
    assert gaps(oracle, batch, *right, membership).max() < 1e-12
    forgotten = POOLS["no prior expert"](*likelihoods, membership)
    assert gaps(oracle, batch, *forgotten, membership).min() > 1e-3


@pytest.mark.equation("eq-product")
def test_the_joint_answer_does_not_tell_how_experts_share_the_work(oracle, batch):
    each = torch.eye(MODALITIES)
    loc, scale = product(*oracle.unimodal_posteriors(batch), each, prior_exponent=-1.0)
    precision = scale.square().reciprocal()
    traded = torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=loc.dtype)[:, None, None]
    vote, precision = precision * loc + 2 * traded, precision + 0.1 * traded
    membership = subsets.powerset(MODALITIES)
    moved = POOLS["prior expert"](vote / precision, precision.rsqrt(), membership)
    lost = gaps(oracle, batch, *moved, membership)
    both_or_neither = membership[:, 0] == membership[:, 1]
    assert lost[both_or_neither].max() < 1e-12
    assert lost[~both_or_neither].min() > 0.1


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_mvae_trains_the_full_set_the_singletons_and_distinct_subsets_between(generator, extra):
    membership = subsets.subsampled(extra)(4, generator)
    assert len(membership) == 5 + extra == len(membership.unique(dim=0))
    sizes = membership.sum(1)
    assert (sizes == 4).sum() == 1
    assert (sizes == 1).sum() == 4
    assert ((sizes > 1) & (sizes < 4)).sum() == extra


def test_every_subset_between_is_drawn_equally_often(generator):
    draws, share = 3000, 2 / 25  # of five modalities: ten pairs, ten triples, five quadruples
    family = subsets.subsampled(2)
    drawn = torch.cat([family(5, generator)[6:] for _ in range(draws)])
    distinct, counts = drawn.unique(dim=0, return_counts=True)
    assert len(distinct) == 25
    assert (counts - draws * share).abs().max() < 5 * (draws * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("modalities", [1, 2])
def test_few_modalities_leave_nothing_between(modalities):
    membership = subsets.subsampled(0)(modalities)
    assert len(membership) == len(membership.unique(dim=0)) == 2 * modalities - 1
    with pytest.raises(ValueError, match=r"extra is 1, but .* have only 0 subsets"):
        subsets.subsampled(1)(modalities)


def test_mvae_answers_with_the_product_of_what_is_observed(experts):
    observed = torch.tensor([True, False, True, False])[:, None].expand(-1, EXAMPLES)
    q = mvae().aggregator.posterior(*experts, observed)
    expected = product(*experts, observed[None, :, 0], prior_exponent=1.0)
    torch.testing.assert_close((q.loc, q.scale), expected)
    assert torch.equal(q.weights, torch.ones(1, EXAMPLES, dtype=q.weights.dtype))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3, 2), torch.ones(3, 2)), "must both be"),
        ((torch.ones(3, 2, 1), torch.ones(3, 2, 2)), r"scale \(3, 2, 2\)"),
        ((torch.ones(3, 2, 1), torch.ones(3, 2, 1), torch.ones(3, 2)), r"expected torch.bool"),
        ((torch.ones(3, 2, 1), torch.ones(3, 2, 1), torch.ones(2, 3).bool()), r"\(3, 2\)"),
        (
            (torch.ones(3, 2, 1), torch.ones(3, 2, 1), torch.tensor([[True, False]] * 3)),
            "example 1 of the batch has no observed modality",
        ),
    ],
)
def test_the_aggregator_refuses_bad_stacks_in_one_line(arguments, message):
    aggregator = Aggregator(POOLS["prior expert"], subsets.powerset)
    for call in (lambda: aggregator(*arguments), lambda: aggregator.posterior(*arguments)):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: subsets.subsampled(-1), "give 0 or more"),
        (lambda: subsets.subsampled(4)(3), "have only 3 subsets"),
        (lambda: subsets.full_set(0), "needs at least one"),
        (lambda: subsets.singletons(0), "needs at least one"),
        (lambda: subsets.powerset(0), "needs at least one"),
        (lambda: build("mvea"), "no model 'mvea'; choose one of mvae"),
    ],
)
def test_families_and_models_refuse_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
