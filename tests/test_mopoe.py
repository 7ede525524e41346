"""Lemmas 1 to 3 of Sutter, Daunhawer and Vogt (2021), against integrals and the exact oracle."""

import math
from itertools import chain, combinations, compress

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from multielbo import barycenters, subsets
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.mixtures import Posteriors
from multielbo.models.mmvae import mmvae_averaged
from multielbo.models.mopoe import mopoe
from multielbo.models.registry import build
from multielbo.objectives import joint_elbo, mixture_elbo, powerset_elbo, stratified_elbo
from multielbo.oracle import LinearGaussian
from multielbo.vae import convolutional_vae

NAMES = ("image", "sound", "text")
SAMPLES = 20_000


class World:
    """A scalar oracle with three modalities, its power set of products, and integrals over z."""

    def __init__(self, generator, dtype):
        noise = {"image": 1.5, "sound": 1.0, "text": 0.8}
        self.oracle = LinearGaussian.random(
            dict.fromkeys(NAMES, 2), latent_dim=1, noise=noise, generator=generator
        )
        self.batch = self.oracle.sample(16, generator)
        self.experts = self.oracle.unimodal_posteriors(self.batch)
        self.evidence = self.oracle.log_evidence(self.batch)
        self.posterior = self.oracle.posterior(self.batch)
        self.grid = torch.linspace(-10, 10, 2001, dtype=dtype)[:, None, None].expand(-1, 16, 1)
        self.log_joint = Normal(0.0, 1.0).log_prob(self.grid)[..., 0]
        self.log_joint = self.log_joint + self.oracle.log_likelihood(self.batch)(self.grid).sum(0)

    def integrate(self, values):
        return torch.trapezoid(values, self.grid[:, 0, 0], dim=0)

    def elbo(self, log_q):
        """E_q[log p(x, z) - log q(z)] of a density on the grid, by integration."""
        return self.integrate(log_q.exp() * (self.log_joint - log_q))

    def log_components(self, q):
        return torch.stack(
            [Normal(m, s).log_prob(self.grid)[..., 0] for m, s in zip(q.loc, q.scale, strict=True)]
        )

    def log_mixture(self, q):
        """The density of q by torch.distributions, `(grid, B)`."""
        components = Independent(Normal(q.loc.movedim(0, 1), q.scale.movedim(0, 1)), 1)
        return MixtureSameFamily(Categorical(q.weights.T), components).log_prob(self.grid)

    def per_subset(self, function, q):
        blur = torch.diag_embed(q.scale.square())
        return torch.stack([function(self.batch, q.loc[k], blur[k]) for k in range(len(q.loc))])

    def jensen_shannon(self, q):
        log_mixture, each = self.log_mixture(q), self.log_components(q)
        divergences = [self.integrate(log_k.exp() * (log_k - log_mixture)) for log_k in each]
        return (q.weights * torch.stack(divergences)).sum(0)


@pytest.fixture
def world(generator, dtype):
    return World(generator, dtype)


@pytest.fixture
def q(world):
    return products(subsets.powerset)(*world.experts)


def products(family):
    return Aggregator(product_of_experts(prior_expert=False), family=family)


@pytest.mark.equation("eq-powerset")
@pytest.mark.parametrize("modalities", [1, 2, 3, 5, 10])
def test_powerset_is_every_nonempty_subset_once(modalities):
    members = range(modalities)
    reference = set(
        chain.from_iterable(combinations(members, size) for size in range(1, modalities + 1))
    )
    rows = [tuple(row.nonzero().flatten().tolist()) for row in subsets.powerset(modalities)]
    assert set(rows) == reference
    assert len(rows) == len(reference) == 2**modalities - 1
    assert [len(row) for row in rows] == sorted(len(row) for row in rows)
    assert () not in rows


def test_lemma_1_averaged_bounds_miss_the_evidence_by_averaged_divergences(world, q):
    bounds = (q.weights * world.per_subset(world.oracle.elbo, q)).sum(0)
    divergences = (q.weights * world.per_subset(world.oracle.gap, q)).sum(0)
    by_integration = q.weights * torch.stack([world.elbo(k) for k in world.log_components(q)])
    assert_close(bounds, by_integration.sum(0))
    assert_close(bounds + divergences, world.evidence)

    blur = torch.diag_embed(q.scale.square())
    own_members_only = torch.stack(
        [
            world.oracle.elbo(world.batch, q.loc[k], blur[k], list(compress(NAMES, row)))
            for k, row in enumerate(subsets.powerset(3).tolist())
        ]
    )
    assert ((q.weights * own_members_only).sum(0) > world.evidence).any()


def test_lemma_2_the_mixture_of_products_bounds_the_joint_evidence(world, q):
    log_mixture = world.log_mixture(q)
    assert_close(world.integrate(log_mixture.exp()), torch.ones(16, dtype=torch.float64))
    mean, covariance = world.posterior
    log_posterior = Normal(mean[:, 0], covariance[0].sqrt()).log_prob(world.grid[..., 0])
    gap = world.integrate(log_mixture.exp() * (log_mixture - log_posterior))
    assert_close(world.elbo(log_mixture) + gap, world.evidence)
    assert gap.min() > 1e-3

    log_experts = world.log_components(Posteriors(*world.experts, None, None))
    sums = torch.einsum("km,mgb->kgb", subsets.powerset(3).double(), log_experts)
    unnormalised = torch.logsumexp(sums, 0) - math.log(7)
    without_constants = world.integrate(log_mixture.exp() * (world.log_joint - unnormalised))
    assert (without_constants > world.evidence).any()


def test_lemma_3_the_mixture_bound_is_tighter_by_jensen_shannon_at_most_log_k(world, q):
    averaged = (q.weights * world.per_subset(world.oracle.elbo, q)).sum(0)
    jsd = world.jensen_shannon(q)
    assert_close(world.elbo(world.log_mixture(q)), averaged + jsd)
    assert jsd.min() > 0
    assert jsd.max() < math.log(7)

    far_apart = torch.arange(7.0, dtype=torch.float64)[:, None, None].expand(7, 16, 1) - 3
    distinct = q._replace(loc=far_apart, scale=torch.full_like(far_apart, 0.05))
    assert_close(world.jensen_shannon(distinct), torch.full((16,), math.log(7)).double())
    assert world.jensen_shannon(distinct).min() > math.log(3), "log M is no bound"


def test_a_tighter_bound_may_be_maximal_where_the_convex_combination_is_not(dtype):
    """The wording of Lemma 3 fails for Definition 1: halves of the posterior mix to the whole."""
    z = torch.linspace(-9, 9, 4000, dtype=dtype)  # symmetric, without zero
    step = z[1] - z[0]
    posterior = Normal(0.0, 1.0).log_prob(z).exp()
    halves = torch.stack([2 * posterior * (z < 0), 2 * posterior * (z > 0)])
    mixed = halves.mean(0)
    of_mixture = torch.special.xlogy(mixed, mixed / posterior).sum() * step
    averaged = torch.special.xlogy(halves, halves / posterior).sum(1).mean() * step
    assert abs(of_mixture) < 1e-12
    assert_close(averaged.item(), math.log(2))


def test_the_two_bounds_peak_at_different_experts(world):
    loc, scale = world.experts
    low, high = [], []
    for factor in torch.linspace(0.3, 1.5, 25, dtype=torch.float64):
        q = products(subsets.powerset)(loc, factor * scale)
        averaged = (q.weights * world.per_subset(world.oracle.elbo, q)).sum(0)
        low.append(averaged.mean())
        high.append((averaged + world.jensen_shannon(q)).mean())
    low, high = torch.stack(low), torch.stack(high)
    assert (high > low).all()
    assert high.argmax() < low.argmax()
    assert low.max() - low[high.argmax()] > 1e-3


@pytest.mark.equation("eq-mopoe")
@pytest.mark.equation("eq-powerset-elbo")
def test_one_sample_and_one_per_subset_estimate_the_convex_combination(world, q, generator):
    example = int(world.jensen_shannon(q).argmax())
    one = {name: x[example].expand(SAMPLES, -1) for name, x in world.batch.items()}
    repeated = Posteriors(
        q.loc[:, example, None].expand(7, SAMPLES, 1),
        q.scale[:, example, None].expand(7, SAMPLES, 1),
        q.weights[:, example, None].expand(7, SAMPLES),
        q.members[..., example, None].expand(7, 3, SAMPLES),
    )
    score = world.oracle.log_likelihood(one)
    exact = (q.weights * world.per_subset(world.oracle.elbo, q)).sum(0)[example]
    mixture = world.elbo(world.log_mixture(q))[example]

    log_likelihood = world.oracle.log_likelihood(world.batch)(world.grid).sum(0)
    each = world.log_components(q).exp()
    means = torch.stack([world.integrate(k * log_likelihood)[example] for k in each])
    squares = torch.stack([world.integrate(k * log_likelihood**2)[example] for k in each])
    within, between = (squares - means**2).mean(), means.var(correction=0)

    # The sample of one latent per example; K of them; K of them under the mixture's density.
    for objective, mean, variance in [
        (mixture_elbo, exact, within + between),
        (powerset_elbo, exact, within / 7),
        (stratified_elbo, mixture, None),
    ]:
        values = objective(repeated, score, generator).elbo()
        assert abs(values.mean() - mean) < 4 * values.std() / SAMPLES**0.5
        if variance is not None:
            deviations = (values - values.mean()).square()
            assert abs(deviations.mean() - variance) < 4 * deviations.std() / SAMPLES**0.5
        if objective is powerset_elbo:
            error = values.std() / SAMPLES**0.5
            assert abs(values.mean() - mixture) > 20 * error, "not the mixture's own bound"


def test_the_family_alone_turns_mopoe_into_its_special_cases(world):
    score = world.oracle.log_likelihood(world.batch)

    def bound(objective, q):
        return objective(q, score, torch.Generator().manual_seed(3)).elbo()

    full, single = products(subsets.full_set), products(subsets.singletons)
    for objective in (mixture_elbo, powerset_elbo):
        ours = bound(objective, full(*world.experts))
        assert torch.equal(ours, bound(joint_elbo, full(*world.experts)))
    for model in (mmvae_averaged(), build("mmvae")):
        ours = bound(model.objective, single(*world.experts))
        assert torch.equal(ours, bound(model.objective, model.aggregator(*world.experts)))
    everything = build("mopoe").aggregator(*world.experts)
    assert everything.loc.shape == (7, 16, 1)
    assert not torch.allclose(
        bound(mixture_elbo, everything), bound(mixture_elbo, single(*world.experts))
    )


def test_singletons_under_the_mixtures_density_are_the_bound_of_shi(world):
    q = products(subsets.singletons)(*world.experts)
    log_mixture = world.log_mixture(q)
    by_expert = [
        world.integrate(k.exp() * (world.log_joint - log_mixture)) for k in world.log_components(q)
    ]
    assert_close(torch.stack(by_expert).mean(0), world.elbo(log_mixture))
    component_averaged = torch.stack([world.elbo(k) for k in world.log_components(q)]).mean(0)
    assert (world.elbo(log_mixture) - component_averaged).min() > 1e-3


def test_the_released_split_weighs_the_full_set_twice_and_ours_does_not(generator, dtype):
    def released(examples, family):
        rows = [examples // family] * family
        rows[-1] += examples % family
        return rows

    def ours(examples, family):
        at = torch.arange(family, dtype=dtype)[:, None, None].expand(-1, examples, 1)
        even = torch.full((family, examples), 1 / family, dtype=dtype)
        members = torch.ones(family, 1, examples, dtype=torch.bool)
        shelf = Posteriors(at, torch.full_like(at, 1e-6), even, members)
        return shelf.sample(generator).round().long().flatten().bincount(minlength=family)

    assert released(256, 31) == [8] * 30 + [16]
    assert released(30, 31) == [0] * 30 + [30]
    for _ in range(20):
        assert (ours(256, 31) - 256 / 31).abs().max() < 1


def test_weights_that_differ_between_the_two_terms_are_no_bound(world):
    """max over q_S of sum_S w'_S E log p(x | z) - w_S KL exceeds log p(x), as the split allows."""
    log_prior = Normal(0.0, 1.0).log_prob(world.grid)[..., 0]
    log_likelihood = world.log_joint - log_prior

    def best(split):
        beta = 1 / 7 / split
        return sum(
            s * b * world.integrate((log_prior + log_likelihood / b).exp()).log()
            for s, b in zip(split, beta, strict=True)
        )

    even = torch.full((7,), 1 / 7, dtype=torch.float64)
    remainder = torch.tensor([2.0] * 6 + [8.0], dtype=torch.float64) / 20
    assert_close(best(even), world.evidence)
    assert (best(remainder) > world.evidence + 1e-3).all()


def test_the_prior_expert_of_the_full_set_alone_is_an_exponent_per_row(world):
    family = subsets.powerset(3)
    exponent = family.all(1).double()[:, None, None]
    loc, scale = barycenters.product(*world.experts, family, prior_exponent=exponent)
    without, with_prior = (mopoe(prior_expert=p).aggregator(*world.experts) for p in (False, True))
    assert_close(loc[:-1], without.loc[:-1])
    assert_close(loc[-1], with_prior.loc[-1])
    assert_close(scale[-1].square().reciprocal(), without.scale[-1].square().reciprocal() + 1)
    assert not torch.allclose(loc, without.loc)
    assert not torch.allclose(loc, with_prior.loc)


def test_no_encoder_of_a_subset_gets_under_its_floor(generator, dtype):
    """E KL(q_S || p(z | x)) >= tr(Sigma^-1 Sigma_S) / 2 - D / 2, met by N(E[z | x_S], Sigma)."""
    dims = {"image": 4, "sound": 3, "text": 3}
    oracle = LinearGaussian.random(dims, latent_dim=2, orthogonal=False, generator=generator)
    batch = oracle.sample(SAMPLES, generator)
    _, full = oracle.posterior(batch)
    for subset in (["image"], ["text"], ["image", "sound"]):
        mean, covariance = oracle.posterior(batch, subset)
        floor = 0.5 * torch.trace(torch.linalg.solve(full, covariance)) - 1
        best = oracle.gap(batch, mean, full)
        error = best.std() / SAMPLES**0.5
        assert abs(best.mean() - floor) < 4 * error
        for other in [(mean, covariance), (0.7 * mean, full), (mean, 0.6 * full)]:
            excess = oracle.gap(batch, *other) - best
            assert excess.mean() > 4 * excess.std() / SAMPLES**0.5


def test_what_a_mixture_pays_is_at_each_point_at_most_what_its_components_pay(world, q):
    """Jensen's inequality for u log u, as in the paper's proof of Lemma 3."""
    each, log_mixture = world.log_components(q), world.log_mixture(q)
    components = torch.einsum("kb,kgb->gb", q.weights, each.exp() * each)
    assert (log_mixture.exp() * log_mixture <= components + 1e-14).all()
    assert (components - log_mixture.exp() * log_mixture).max() > 1e-3
    of_logs = torch.einsum("kb,kgb->gb", q.weights, each)
    assert (log_mixture > of_logs - 1e-12).all(), "the logarithm alone is concave"


@pytest.mark.equation("eq-mopoe")
@pytest.mark.equation("eq-powerset-elbo")
@pytest.mark.equation("eq-subsampled")
@pytest.mark.equation("eq-stratified")
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_each_objective_decodes_as_often_as_the_table_of_costs_says(modalities, generator):
    names, examples = [f"m{i}" for i in range(modalities)], 3
    batch = {name: torch.rand(examples, 1, 8, 8, generator=generator) for name in names}
    found = {}
    for name in ("mopoe", "mvae", "mmvae", "powerset"):
        model = convolutional_vae(
            names, (1, 8, 8), build(name), latent_dim=2, seed=0, channels=(2, 2)
        )
        counted = []
        for decoder in model.decoders.values():
            decoder.network.register_forward_pre_hook(
                lambda _, inputs, counted=counted: counted.append(len(inputs[0]))
            )
        model.bound(batch, generator=generator)
        found[name] = sum(counted) / examples
    assert found == {
        "mopoe": modalities,
        "mvae": 2 * modalities,
        "mmvae": modalities**2,
        "powerset": modalities * (2**modalities - 1),
    }
