"""The masked objective and its masks, against closed forms, quadrature and enumeration."""

from math import comb

import pytest
import torch
from scipy import integrate, stats

from multielbo import barycenters, gaussians, masks, subsets
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.masked import conditional_term, kept_posterior, marginal_term, masked_elbo
from multielbo.mixtures import Posteriors
from multielbo.objectives import joint_elbo
from multielbo.oracle import LinearGaussian

NAMES = ("image", "sound", "text")
ALL = masks.all_subsets(3)


@pytest.fixture
def oracle(generator):
    dims = {"image": 4, "sound": 3, "text": 2}
    noise = {"image": 0.7, "sound": 1.1, "text": 0.5}
    return LinearGaussian.random(dims, 2, noise, generator=generator)


def exact_product():
    """The product that divides the prior out: p(z | x_S) on the oracle, for every S."""

    def pool(loc, scale, members):
        sizes = members.sum(1).double()
        exponent = (1 - sizes)[..., None] if members.dim() == 3 else (1 - sizes)[:, None, None]
        return barycenters.product(loc, scale, members, prior_exponent=exponent)

    return Aggregator(pool, family=subsets.full_set)


def posteriors(oracle, batch, kept, aggregator=None):
    aggregator = aggregator or exact_product()
    loc, scale = oracle.unimodal_posteriors(batch)
    return aggregator.posterior(loc, scale), kept_posterior(aggregator, loc, scale, kept)


def names_of(row):
    return [name for name, seen in zip(NAMES, row, strict=True) if seen]


def closed_form(oracle, batch, full, part, row):
    """Both terms of single Gaussians, from the oracle's own closed forms."""
    seen, hidden = names_of(row), names_of(~row)
    q, p = (full.loc[0], full.scale[0]), (part.loc[0], part.scale[0])
    rate = gaussians.kl_to_prior(*p)
    own = torch.diag_embed(p[1] ** 2)
    first = oracle.elbo(batch, p[0], own, seen) if seen else -rate
    if not hidden:
        return first
    explained = oracle.elbo(batch, q[0], torch.diag_embed(q[1] ** 2), hidden)
    return first + explained + gaussians.kl_to_prior(*q) - gaussians.kl(*q, *p)


@pytest.mark.equation("eq-masked")
@pytest.mark.parametrize("row", ALL, ids=lambda row: "".join(map(str, row.int().tolist())))
def test_at_exact_posteriors_every_mask_gives_the_evidence_of_every_example(oracle, generator, row):
    batch = oracle.sample(6, generator)
    full, part = posteriors(oracle, batch, row[:, None].expand(3, 6))
    value = closed_form(oracle, batch, full, part, row)
    torch.testing.assert_close(value, oracle.log_evidence(batch))
    if not row.all():  # the mixture's term reconstructs what is hidden from q(z | x_S)
        twin = oracle.elbo(batch, part.loc[0], torch.diag_embed(part.scale[0] ** 2))
        assert (twin.mean() < value.mean() - 0.05).all()


@pytest.mark.equation("eq-masked")
@pytest.mark.equation("eq-masked-marginal")
@pytest.mark.equation("eq-masked-conditional")
@pytest.mark.parametrize("row", ALL[[0, 2, 5, 7]], ids=["none", "sound", "sound-text", "all"])
def test_the_estimator_averages_to_the_closed_form(oracle, generator, row):
    n = 20_000
    one = oracle.sample(1, generator)
    batch = {name: x.expand(n, -1) for name, x in one.items()}
    pool = Aggregator(product_of_experts(prior_expert=True), family=subsets.full_set)  # not exact
    full, part = posteriors(oracle, batch, row[:, None].expand(3, n), pool)
    bound = masked_elbo(full, part, oracle.log_likelihood(batch), generator)
    for beta in (1.0, 2.5):
        estimates = bound.elbo(beta)
        error = estimates.std() / n**0.5
        rest = (1 - beta) * bound.rate[0]  # the rates are in closed form, the same for all rows
        exact = closed_form(oracle, batch, full, part, row)[0] + rest
        assert abs(estimates.mean() - exact) < 5 * error
    if not row.all():
        step = conditional_term(full, part, oracle.log_likelihood(batch), generator)
        forgotten = bound.reconstruction.sum(0) - (bound.rate - step.rate)
        exact = closed_form(oracle, batch, full, part, row)[0]
        assert abs(forgotten.mean() - exact) > 10 * error, "the step from S to all is not free"


@pytest.mark.equation("eq-masked")
def test_a_mask_that_keeps_everything_leaves_the_joint_elbo(oracle, generator):
    batch = oracle.sample(5, generator)
    full, part = posteriors(oracle, batch, torch.ones(3, 5, dtype=torch.bool))
    score = oracle.log_likelihood(batch)
    masked = masked_elbo(full, part, score, torch.Generator().manual_seed(3))
    plain = joint_elbo(full, score, torch.Generator().manual_seed(3))
    torch.testing.assert_close(masked.reconstruction, plain.reconstruction)
    torch.testing.assert_close(masked.rate, plain.rate)


def test_a_mask_that_keeps_nothing_starts_from_the_prior(oracle, generator):
    batch = oracle.sample(5, generator)
    full, part = posteriors(oracle, batch, torch.zeros(3, 5, dtype=torch.bool))
    assert (part.loc == 0).all()
    assert (part.scale == 1).all()
    assert not part.members.any()
    first = marginal_term(part, oracle.log_likelihood(batch), generator)
    assert (first.elbo() == 0).all()
    second = conditional_term(full, part, oracle.log_likelihood(batch), generator)
    torch.testing.assert_close(second.rate, gaussians.kl_to_prior(full.loc[0], full.scale[0]))


@pytest.mark.equation("eq-masked-marginal")
@pytest.mark.equation("eq-masked-conditional")
def test_for_mixtures_the_density_of_the_mixture_is_used(generator):
    oracle = LinearGaussian.random({"a": 2, "b": 2}, 1, 0.8, generator=generator)
    one = oracle.sample(1, generator)
    n = 20_000
    batch = {name: x.expand(n, -1) for name, x in one.items()}
    moe = Aggregator(product_of_experts(prior_expert=False), subsets.singletons, subsets.singletons)
    loc, scale = oracle.unimodal_posteriors(batch)
    full = moe.posterior(loc, scale)
    part = kept_posterior(moe, loc, scale, torch.tensor([[True], [False]]).expand(2, n))
    bound = masked_elbo(full, part, oracle.log_likelihood(batch), generator)
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None, None]
    step = z[1, 0, 0] - z[0, 0, 0]
    first = Posteriors(
        full.loc[:, :1], full.scale[:, :1], full.weights[:, :1], full.members[..., :1]
    )
    log_q = first.log_density(z)[:, 0]
    log_part = gaussians.log_density(z[:, 0], loc[0, :1], scale[0, :1])
    score = oracle.log_likelihood(one)(z)[..., 0]  # (M, points)
    seen = (log_part.exp() * (score[0] - log_part + gaussians.log_prior(z[:, 0]))).sum() * step
    hidden = (log_q.exp() * (score[1] - log_q + log_part)).sum() * step
    estimates = bound.elbo()
    error = estimates.std() / n**0.5
    assert abs(estimates.mean() - seen - hidden) < 5 * error
    average = gaussians.kl(loc[:, 0], scale[:, 0], loc[0, 0], scale[0, 0]).mean()
    beyond = (log_q.exp() * (log_q - log_part)).sum() * step
    assert abs(estimates.mean() - seen - hidden + average - beyond) > 10 * error, "not their mean"


def test_missing_modalities_are_never_read(oracle, generator):
    batch = oracle.sample(4, generator)
    loc, scale = oracle.unimodal_posteriors(batch)
    observed = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]]).bool()
    kept = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]).bool()
    pool = Aggregator(product_of_experts(prior_expert=True), family=subsets.full_set)
    values, gradients = [], []
    for rubbish in (0.0, torch.nan):
        a = torch.where(observed[..., None], loc, rubbish).requires_grad_()
        b = torch.where(observed[..., None], scale, rubbish).requires_grad_()
        full = pool.posterior(a, b, observed)
        part = kept_posterior(pool, a, b, kept, observed)
        assert not (part.members.any(0) & ~observed).any()

        def score(z, wanted=None):
            return oracle.log_likelihood(batch)(z) * observed[:, None]

        value = masked_elbo(full, part, score, torch.Generator().manual_seed(1)).elbo()
        values.append(value)
        gradients.append(torch.autograd.grad(value.sum(), (a, b)))
    torch.testing.assert_close(*values)
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_layout_of_memory_does_not_matter(oracle, generator):
    batch = oracle.sample(4, generator)
    loc, scale = oracle.unimodal_posteriors(batch)
    kept = masks.draw(masks.independent(), 3, 4, generator)
    scattered = [x.transpose(0, 2).contiguous().transpose(0, 2) for x in (loc, scale)]
    assert not scattered[0].is_contiguous()
    one = kept_posterior(exact_product(), loc, scale, kept)
    two = kept_posterior(exact_product(), *scattered, kept.T.contiguous().T)
    torch.testing.assert_close(one.loc, two.loc)


def test_a_single_modality_is_masked_or_not(generator):
    oracle = LinearGaussian.random({"only": 3}, 2, 0.9, generator=generator)
    batch = oracle.sample(2, generator)
    loc, scale = oracle.unimodal_posteriors(batch)
    pool = Aggregator(product_of_experts(prior_expert=False), family=subsets.full_set)
    part = kept_posterior(pool, loc, scale, torch.tensor([[True, False]]))
    torch.testing.assert_close(part.loc[0, 0], loc[0, 0])
    assert (part.loc[0, 1] == 0).all()


@pytest.mark.equation("eq-mask-independent")
@pytest.mark.equation("eq-mask-size")
@pytest.mark.parametrize("modalities", [1, 3, 5])
def test_nested_uniforms_make_one_half_and_a_shared_one_makes_all_sizes_equal(modalities):
    rows, chances = masks.independent()(modalities)
    assert rows.shape == (2**modalities, modalities)
    torch.testing.assert_close(chances, torch.full_like(chances, 2.0**-modalities))
    _, by_size = masks.by_size()(modalities)
    for row, equal, sized in zip(rows, chances, by_size, strict=True):
        k = int(row.sum())
        one, _ = integrate.quad(lambda u: 1 - u, 0, 1)
        own = one**k * (1 - one) ** (modalities - k)  # a uniform for every modality
        shared, _ = integrate.quad(lambda u, k=k: (1 - u) ** k * u ** (modalities - k), 0, 1)
        assert abs(float(equal) - own) < 1e-12
        assert abs(float(sized) - shared) < 1e-12
        assert abs(shared - 1 / ((modalities + 1) * comb(modalities, k))) < 1e-12
    if modalities > 1:
        assert (by_size - chances).abs().max() > 0.01


@pytest.mark.parametrize(
    "law",
    [
        masks.independent(0.3),
        masks.by_size(),
        masks.by_size([0, 0.2, 0.5, 0.3]),
        masks.fixed(subsets.powerset),
        masks.fixed(subsets.singletons, [0.6, 0.1, 0.3]),
    ],
    ids=["independent", "sizes", "given sizes", "power set", "weighted singletons"],
)
def test_masks_are_drawn_as_often_as_their_law_says(law, generator):
    n = 20_000
    rows, chances = law(3)
    assert abs(float(chances.sum()) - 1) < 1e-12
    drawn = masks.draw(law, 3, n, generator)
    assert drawn.shape == (3, n)
    counts = torch.stack([(row == drawn.T).all(1).sum() for row in rows]).double()
    assert counts.sum() == n, "nothing else may be drawn"
    possible = chances > 0
    assert (counts[~possible] == 0).all()
    if possible.sum() > 1:
        fit = stats.chisquare(counts[possible], n * chances[possible])
        assert fit.pvalue > 1e-4
        twin = torch.roll(chances[possible], 1)
        if not torch.allclose(twin, chances[possible]):
            assert stats.chisquare(counts[possible], n * twin).pvalue < 1e-4


def test_the_same_seed_draws_the_same_masks():
    law = masks.by_size()
    one, two = (masks.draw(law, 4, 9, torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: masks.independent(1.5), "keep is 1.5"),
        (lambda: masks.by_size([0.5, 0.5])(3), "2 probabilities of sizes for 3 modalities"),
        (lambda: masks.by_size([0.5, 0.6, 0])(2), "sum to 1.1"),
        (lambda: masks.by_size([1.5, -0.5, 0])(2), "smallest is -0.5"),
        (lambda: masks.fixed(subsets.singletons, [1.0])(3), "1 probabilities for 3 subsets"),
        (lambda: masks.independent()(0), "at least one"),
    ],
)
def test_an_impossible_law_gets_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, p: (f, p._replace(members=p.members[..., :2])), "must belong to one batch"),
        (lambda f, p: (f._replace(members=f.members & False), p), "which is not observed"),
    ],
)
def test_posteriors_that_do_not_belong_together_get_one_line(oracle, generator, change, message):
    batch = oracle.sample(3, generator)
    full, part = posteriors(oracle, batch, torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=message):
        masked_elbo(*change(full, part), oracle.log_likelihood(batch), generator)


@pytest.mark.parametrize(
    ("kept", "observed", "message"),
    [
        (torch.ones(3, 3), None, "expected torch.bool"),
        (torch.ones(2, 3, dtype=torch.bool), None, r"\(2, 3\)"),
        (
            torch.ones(3, 3, dtype=torch.bool),
            torch.tensor([[1, 0, 1]] * 3).bool(),
            "example 1 of the batch has no observed modality",
        ),
    ],
    ids=["numbers", "shape", "all missing"],
)
def test_masks_that_cannot_be_applied_get_one_line(oracle, generator, kept, observed, message):
    loc, scale = oracle.unimodal_posteriors(oracle.sample(3, generator))
    with pytest.raises(ValueError, match=message) as error:
        kept_posterior(exact_product(), loc, scale, kept, observed)
    assert "\n" not in str(error.value)
