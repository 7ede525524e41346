"""Full-covariance Gaussians and their averages, against POT, torch.distributions and finite
differences; and the models that are built on them, against their diagonal special case."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from multielbo import barycenters, full_covariance, gaussians
from multielbo.full_posteriors import FullAggregator, FullPosteriors, full_mixture_elbo
from multielbo.full_vae import CholeskyEncoder, FullCovarianceVAE
from multielbo.likelihoods import Normal
from multielbo.models.registry import build
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle import LinearGaussian
from multielbo.subsets import full_set, powerset
from multielbo.vae import MultimodalVAE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # POT warns of optional backends
    import ot


@pytest.fixture
def experts(generator, dtype):
    """Three experts for two examples in three dimensions: means and factors."""
    loc = torch.randn(3, 2, 3, generator=generator, dtype=dtype)
    shape = torch.randn(3, 2, 3, 3, generator=generator, dtype=dtype)
    covariance = shape @ shape.mT + 0.3 * torch.eye(3, dtype=dtype)
    return loc, torch.linalg.cholesky(covariance)


@pytest.fixture
def shares(dtype):
    """Equal weights over the members of every subset of three."""
    members = powerset(3).to(dtype)
    return members / members.sum(1, keepdim=True)


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()[..., None, :]) @ vectors.mT


@pytest.mark.equation("eq-full-kl")
def test_rate_is_that_of_torch(experts):
    loc, factor = experts
    normal = MultivariateNormal(loc, scale_tril=factor)
    prior = MultivariateNormal(torch.zeros(3).to(loc), torch.eye(3).to(loc))
    assert_close(full_covariance.kl_to_prior(loc, factor), kl_divergence(normal, prior))
    forgetful = gaussians.kl_to_prior(loc, factor.diagonal(dim1=-2, dim2=-1))
    assert (forgetful < kl_divergence(normal, prior) - 0.01).all(), "what is below counts, too"


def test_density_is_that_of_torch(experts, generator, dtype):
    loc, factor = experts
    z = torch.randn(5, 3, 2, 3, generator=generator, dtype=dtype)
    reference = MultivariateNormal(loc, scale_tril=factor).log_prob(z)
    assert_close(full_covariance.log_density(z, loc, factor), reference)


def test_draws_have_the_mean_and_the_covariance(experts, generator):
    loc, factor = (x[0, 0].expand(200_000, *x.shape[2:]) for x in experts)
    z = full_covariance.sample(loc, factor, generator)
    covariance = factor[0] @ factor[0].T
    error = (covariance.diagonal() / 200_000).sqrt()
    assert ((z.mean(0) - loc[0]).abs() < 5 * error).all()
    squares = torch.einsum("ni,nj->nij", z - loc, z - loc)
    error = squares.std(0) / 200_000**0.5
    assert ((squares.mean(0) - covariance).abs() < 5 * error).all()
    transposed = factor[0].T @ factor[0]
    assert ((squares.mean(0) - transposed).abs() > 20 * error).any(), "not L^T L"


@pytest.mark.equation("eq-bures")
def test_distance_is_pots(experts):
    loc, factor = experts
    covariance = factor @ factor.mT
    ours = full_covariance.w2_squared(loc[0], covariance[0], loc[1], covariance[1])
    for b in range(2):
        places = (loc[0, b].numpy(), loc[1, b].numpy())
        shapes = (covariance[0, b].numpy(), covariance[1, b].numpy())
        reference = ot.gaussian.bures_wasserstein_distance(*places, *shapes) ** 2
        assert math.isclose(ours[b], reference, rel_tol=1e-10)
        frobenius = np.square(shapes[0] - shapes[1]).sum() + np.square(places[0] - places[1]).sum()
        assert abs(frobenius - reference) > 0.1


@pytest.mark.equation("eq-bures")
def test_distance_of_diagonal_covariances_is_that_of_standard_deviations(experts):
    loc, factor = experts
    scale = factor.diagonal(dim1=-2, dim2=-1)
    covariance = torch.diag_embed(scale.square())
    assert_close(
        full_covariance.w2_squared(loc[0], covariance[0], loc[1], covariance[1]),
        gaussians.w2_squared(loc[0], scale[0], loc[1], scale[1]),
    )


@pytest.mark.equation("eq-full-log-pool")
def test_log_pool_minimises_the_average_reverse_divergence(experts, generator, dtype):
    loc, factor = experts
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    pooled_loc, pooled = full_covariance.log_pool(loc, factor @ factor.mT, w)
    each = MultivariateNormal(loc, scale_tril=factor)

    def objective(at, covariance):
        return (w[0, :, None] * kl_divergence(MultivariateNormal(at, covariance), each)).sum(0)

    least = objective(pooled_loc[0], pooled[0])
    for _ in range(50):
        moved = pooled_loc[0] + 0.05 * torch.randn(2, 3, generator=generator, dtype=dtype)
        change = 0.05 * torch.randn(2, 3, 3, generator=generator, dtype=dtype)
        lower = torch.linalg.cholesky(pooled[0]) + change.tril()
        assert (objective(moved, lower @ lower.mT) > least).all()
    _, transported = full_covariance.wasserstein(loc, factor @ factor.mT, w)
    assert (objective(pooled_loc[0], transported[0]) > least + 1e-3).all()


@pytest.mark.equation("eq-full-log-pool")
def test_log_pool_of_diagonal_experts_is_the_diagonal_one(experts, shares):
    loc, factor = experts
    scale = factor.diagonal(dim1=-2, dim2=-1)
    full = full_covariance.log_pool(loc, torch.diag_embed(scale.square()), shares)
    expected = barycenters.log_pool(loc, scale, shares)
    assert_close(full, (expected[0], torch.diag_embed(expected[1].square())))


@pytest.mark.equation("eq-bures-gradient")
def test_every_subset_gets_its_own_barycenter_in_one_call(experts, shares):
    loc, factor = experts
    covariance = factor @ factor.mT
    found_loc, found = full_covariance.wasserstein(loc, covariance, shares)
    for k, row in enumerate(powerset(3)):
        for b in range(2):
            mean, reference = ot.gaussian.bures_wasserstein_barycenter(
                loc[row, b].numpy(), covariance[row, b].numpy(), num_iter=1000, eps=1e-14
            )
            np.testing.assert_allclose(found_loc[k, b], mean, atol=1e-12)
            np.testing.assert_allclose(found[k, b], reference, atol=1e-8)


@pytest.mark.equation("eq-bures-gradient")
def test_gradient_is_that_of_finite_differences(experts, shares):
    """In means, covariances and weights, for all subsets of a batch at once."""
    loc, factor = experts
    inputs = (loc.requires_grad_(), (factor @ factor.mT).requires_grad_(), shares.requires_grad_())
    assert torch.autograd.gradcheck(full_covariance.wasserstein, inputs)


@pytest.mark.equation("eq-bures-gradient")
def test_gradient_is_the_unrolled_iterations_and_not_one_steps(experts, generator, dtype):
    loc, factor = (x[:, :1] for x in experts)
    covariance = (factor @ factor.mT).requires_grad_()
    third = torch.full((1, 3), 1 / 3, dtype=dtype)
    probe = torch.randn(3, 3, generator=generator, dtype=dtype)
    probe = probe + probe.T

    def step(c):
        r = root(c)
        back = torch.linalg.inv(r)
        average = root(r @ covariance[:, 0] @ r).mean(0)
        return back @ average @ average @ back

    def slope(value):
        return torch.autograd.grad((probe * value).sum(), covariance)[0]

    ours = full_covariance.wasserstein(loc, covariance, third)[1][0, 0]
    c = covariance[:, 0].mean(0)
    for _ in range(60):
        c = step(c)
    assert_close(slope(ours), slope(c), rtol=1e-6, atol=1e-8)
    short = slope(step(ours.detach()))
    assert (
        short - slope(full_covariance.wasserstein(loc, covariance, third)[1][0, 0])
    ).abs().max() > 0.05


@pytest.mark.equation("eq-bures-gradient")
def test_gradient_is_finite_where_eigenvectors_have_none(dtype):
    spheres = torch.eye(2, dtype=dtype).repeat(3, 1, 1, 1).requires_grad_()
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    _, found = full_covariance.wasserstein(torch.zeros(3, 1, 2, dtype=dtype), spheres, w)
    probe = torch.tensor([[1.0, 2.0], [2.0, -1.0]], dtype=dtype)
    (slope,) = torch.autograd.grad((probe * found).sum(), spheres)
    assert_close(slope[:, 0], w[0, :, None, None] * probe)  # near I it is the arithmetic mean
    (unsafe,) = torch.autograd.grad((probe * root(spheres)).sum(), spheres)
    assert not torch.isfinite(unsafe).all()


@pytest.mark.equation("eq-bures-gradient")
def test_gradient_of_diagonal_experts_is_that_of_averaged_deviations(experts, dtype):
    loc, factor = experts
    scale = factor.diagonal(dim1=-2, dim2=-1).detach().requires_grad_()
    w = torch.tensor([[0.5, 0.2, 0.3]], dtype=dtype)
    _, full = full_covariance.wasserstein(loc, torch.diag_embed(scale.square()), w)
    _, expected = barycenters.wasserstein(loc, scale, w)
    of_full = full.diagonal(dim1=-2, dim2=-1).log().sum()
    (ours,) = torch.autograd.grad(of_full, scale)
    (theirs,) = torch.autograd.grad(2 * expected.log().sum(), scale)
    assert_close(ours, theirs)


@pytest.mark.equation("eq-bures-gradient")
def test_backward_and_forward_iterations_contract_alike(experts, dtype):
    """The eigenvalues of the preconditioned operator lie in (0, 1] and predict both rates."""
    covariance = (experts[1] @ experts[1].mT)[:, 0]
    third = torch.full((3,), 1 / 3, dtype=dtype)
    _, c = barycenters.bures_wasserstein(torch.zeros(3, 3, dtype=dtype), covariance, third)
    r, inverse = root(c), torch.linalg.inv(c)
    values, q = torch.linalg.eigh(r @ covariance @ r)
    n = values.sqrt()
    parallel = n[:, :, None] * n[:, None, :] / (n[:, :, None] + n[:, None, :])
    columns = []
    for i in range(3):
        for j in range(i, 3):
            y = torch.zeros(3, 3, dtype=dtype)
            y[i, j] = y[j, i] = 1.0
            h = (q @ (parallel * (q.mT @ y @ q)) @ q.mT).mean(0)
            image = inverse @ h + h @ inverse
            columns.append(image[torch.triu_indices(3, 3).unbind()])
    eigenvalues = torch.linalg.eigvals(torch.stack(columns, 1)).real
    assert (eigenvalues > 0).all()
    assert (eigenvalues <= 1 + 1e-12).all()
    rate = 1 - eigenvalues.min()

    iterate, errors = covariance.mean(0), []
    for _ in range(25):
        errors.append(torch.linalg.matrix_norm(iterate - c))
        s = root(iterate)
        back = torch.linalg.inv(s)
        average = root(s @ covariance @ s).mean(0)
        iterate = back @ average @ average @ back
    seen = [b / a for a, b in pairwise(errors) if b > 1e-9]
    assert math.isclose(seen[-1], rate, rel_tol=0.05)


def test_float32_is_averaged_in_float64(experts, shares):
    loc, factor = (x.float() for x in experts)
    found_loc, found = full_covariance.wasserstein(loc, factor @ factor.mT, shares.float())
    assert found_loc.dtype == found.dtype == torch.float32
    _, exact = full_covariance.wasserstein(*(x.double() for x in (loc, factor @ factor.mT)), shares)
    assert_close(found, exact.float())


@pytest.mark.parametrize(
    ("last", "words"),
    [(0.0, "positive definite"), (-1.0, "positive definite"), (math.nan, "finite")],
)
def test_a_degenerate_covariance_gets_one_line(last, words, dtype):
    covariance = torch.eye(2, dtype=dtype).repeat(2, 1, 1, 1)
    covariance[1, 0, 1, 1] = last
    half = torch.full((1, 2), 0.5, dtype=dtype)
    with pytest.raises(ValueError, match=words) as error:
        full_covariance.wasserstein(torch.zeros(2, 1, 2, dtype=dtype), covariance, half)
    assert "\n" not in str(error.value)


def test_a_gradient_that_does_not_settle_says_so(experts, dtype, monkeypatch):
    loc, factor = experts
    third = torch.full((1, 3), 1 / 3, dtype=dtype)
    _, found = full_covariance.wasserstein(loc, (factor @ factor.mT).requires_grad_(), third)
    monkeypatch.setattr(full_covariance, "MAX_ITERATIONS", 2)
    with pytest.raises(ArithmeticError, match="after 2 iterations") as error:
        found.sum().backward()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pool", [full_covariance.wasserstein, full_covariance.log_pool])
def test_what_is_missing_is_never_read(pool, experts, dtype):
    loc, factor = experts
    observed = torch.tensor([[True, True], [False, True], [True, False]])
    hidden_loc = torch.where(observed[..., None], loc, math.nan).requires_grad_()
    hidden_factor = torch.where(observed[..., None, None], factor, math.nan).requires_grad_()
    q = FullAggregator(pool, powerset)(hidden_loc, hidden_factor, observed)
    assert isinstance(q, FullPosteriors)
    assert_close(q.weights.sum(0), torch.ones(2, dtype=dtype))
    alone = FullAggregator(pool, full_set)(loc[::2, :1], factor[::2, :1])
    full = powerset(3).all(1)
    assert_close(q.loc[full][0, 0], alone.loc[0, 0])
    assert_close(q.factor[full][0, 0], alone.factor[0, 0])

    empty = ~q.members.any(1)
    assert empty.any()
    assert_close(q.loc[empty], torch.zeros_like(q.loc[empty]))
    assert_close(q.factor[empty], torch.eye(3, dtype=dtype).expand_as(q.factor[empty]))
    assert (q.weights[empty] == 0).all()

    rate = (q.weights * full_covariance.kl_to_prior(q.loc, q.factor)).sum()
    for slope in torch.autograd.grad(rate, (hidden_loc, hidden_factor)):
        assert torch.isfinite(slope).all()
        assert (slope[~observed] == 0).all()
        assert (slope[observed] != 0).any()


@pytest.mark.parametrize(
    ("shape", "mask", "words"),
    [
        ((3, 2, 3), None, "factor"),
        ((3, 2, 3, 3), torch.ones(2, 3, dtype=torch.bool), "expected torch.bool"),
        ((3, 2, 3, 3), torch.zeros(3, 2, dtype=torch.bool), "no observed modality"),
    ],
)
def test_a_wrong_stack_gets_one_line(shape, mask, words):
    aggregator = FullAggregator(full_covariance.wasserstein, full_set)
    with pytest.raises(ValueError, match=words) as error:
        aggregator(torch.zeros(3, 2, 3), torch.ones(shape), mask)
    assert "\n" not in str(error.value)


def test_cholesky_head_gives_every_lower_triangle_with_a_positive_diagonal(generator):
    with seeded(0):
        linear = mlp_encoder((4,), 3)
        encoder = CholeskyEncoder(linear.features, (4,), 4, 3)
    loc, factor = encoder(torch.randn(50, 4, generator=generator))
    assert loc.shape == (50, 3)
    assert (factor.triu(1) == 0).all()
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert encoder.posterior.out_features == 3 + 6
    below = factor[:, *torch.tril_indices(3, 3, -1)]
    assert (below.std(0) > 0).all(), "each entry depends on x"


SHAPES = {"a": (4,), "b": (3,)}


def small(model=None, *, pool=None, family=powerset):
    """A diagonal model, or one with full covariances, of linear networks."""
    with seeded(0):
        encoders = {m: mlp_encoder(shape, 2) for m, shape in SHAPES.items()}
        decoders = {m: mlp_decoder(shape, 2) for m, shape in SHAPES.items()}
    likelihoods = dict.fromkeys(SHAPES, Normal(0.7))
    if model is not None:
        return MultimodalVAE(encoders, decoders, likelihoods, *build(model), 2)
    full = {}
    for m, encoder in encoders.items():
        head = CholeskyEncoder(encoder.features, encoder.shape, SHAPES[m][0], 2)
        with torch.no_grad():
            head.posterior.weight.zero_()[:4] = encoder.posterior.weight
            head.posterior.bias.zero_()[:4] = encoder.posterior.bias
        full[m] = head
    aggregator = FullAggregator(pool, family)
    return FullCovarianceVAE(full, decoders, likelihoods, aggregator, full_mixture_elbo, 2)


@pytest.mark.parametrize(
    ("name", "pool", "family"),
    [
        ("wb-vae", full_covariance.wasserstein, full_set),
        ("mwb-vae", full_covariance.wasserstein, powerset),
        ("log-pool", full_covariance.log_pool, full_set),
        ("mixture-of-log-pools", full_covariance.log_pool, powerset),
    ],
)
def test_with_diagonal_factors_it_is_the_diagonal_model(name, pool, family, generator):
    batch = {m: torch.randn(6, *shape, generator=generator) for m, shape in SHAPES.items()}
    observed = {"a": torch.tensor([True, True, False, True, True, False])}
    full, diagonal = small(pool=pool, family=family), small(name)
    for mask in (None, observed):
        ours, theirs = (
            model.bound(batch, mask, torch.Generator().manual_seed(1)) for model in (full, diagonal)
        )
        assert_close(ours, theirs)
        q, reference = full.posterior(batch, mask), diagonal.posterior(batch, mask)
        assert_close(q.factor, torch.diag_embed(reference.scale))
        z = torch.randn(5, 6, 2, generator=generator)
        assert_close(q.log_density(z), reference.log_density(z))
    with torch.no_grad():
        full.encoders["a"].posterior.bias[-1] = 1.0
    leaning, upright = (model.bound(batch, None, generator).rate for model in (full, diagonal))
    assert ((leaning - upright).abs() > 1e-3).all()


def test_full_bound_is_the_oracles(generator, dtype):
    """Averaged over draws it is the mean of the subsets' exact bounds, below the evidence."""
    oracle = LinearGaussian.random(
        {"a": 2, "b": 2, "c": 2}, 2, noise=0.7, orthogonal=False, generator=generator
    )
    batch = oracle.sample(3, generator)
    exact = [oracle.posterior(batch, [m]) for m in oracle.modalities]
    loc = torch.stack([at for at, _ in exact])
    covariance = torch.stack([c for _, c in exact])[:, None].expand(-1, 3, -1, -1)
    q = FullAggregator(full_covariance.wasserstein, powerset)(
        loc, torch.linalg.cholesky(covariance)
    )
    pooled = q.factor @ q.factor.mT
    elbos = torch.stack([oracle.elbo(batch, q.loc[k], pooled[k]) for k in range(7)]).mean(0)
    assert (elbos < oracle.log_evidence(batch)).all()

    draws = 20_000
    many = {m: x[:1].expand(draws, -1) for m, x in batch.items()}
    repeated = FullPosteriors(*(x[:, :1].expand(-1, draws, *x.shape[2:]) for x in q[:3]), q.members)
    scores = oracle.log_likelihood(many)
    values = full_mixture_elbo(repeated, scores, generator).elbo()
    assert abs(values.mean() - elbos[0]) < 4 * values.std() / draws**0.5
    assert abs(values.mean() - oracle.log_evidence(batch)[0]) > 8 * values.std() / draws**0.5


def test_full_model_trains(generator):
    model = small(pool=full_covariance.wasserstein)
    batch = {m: torch.randn(32, *shape, generator=generator) for m, shape in SHAPES.items()}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = -model.bound(batch, None, generator).elbo().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
