"""Set encoders: any order, any subset, nothing missing is read, and exact where they can be."""

from itertools import permutations

import pytest
import torch
from torch import nn

from multielbo import masks
from multielbo.equivariant_encoders import EquivariantSelfAttention, EquivariantSumPooling
from multielbo.masked import masked_elbo
from multielbo.networks import seeded
from multielbo.oracle import LinearGaussian
from multielbo.set_constructions import product_by_sum, votes
from multielbo.set_encoders import SelfAttention, SumPooling
from multielbo.set_networks import TransformerBlock

M, B, E, D, P = 3, 6, 4, 2, 3
ALL = masks.all_subsets(M)
TIGHT = {"rtol": 1e-12, "atol": 1e-12}
BOTH = pytest.mark.parametrize("kind", [SumPooling, SelfAttention])
EQUIVARIANT = pytest.mark.parametrize("kind", [EquivariantSumPooling, EquivariantSelfAttention])


def built(kind, *sizes, **options):
    with seeded(1):
        return kind(*sizes, 8, **options).double()


@pytest.fixture
def features(generator):
    return torch.randn(M, B, E, generator=generator, dtype=torch.float64)


@BOTH
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.equation("eq-sum-pooling", "eq-self-attention", "eq-attention-block")
def test_the_order_of_modalities_does_not_matter(kind, components, features):
    encoder = built(kind, E, D, components=components)
    q = encoder(features, ALL)
    for order in permutations(range(M)):
        order = list(order)
        p = encoder(features[order], ALL[:, order])
        for a, b in zip(q[:3], p[:3], strict=True):
            torch.testing.assert_close(a, b, **TIGHT)
        torch.testing.assert_close(q.members[:, order], p.members)


def test_a_code_for_the_place_in_the_list_makes_the_order_matter(features):
    encoder = built(SelfAttention, E, D)
    place = torch.arange(M).double()[:, None, None]
    there = encoder(features + place, ALL[-1:])
    back = encoder(features.flip(0) + place, ALL[-1:])
    assert (there.loc - back.loc).abs().max() > 1e-3


@BOTH
def test_all_subsets_at_once_are_the_subsets_one_by_one(kind, features):
    encoder = built(kind, E, D)
    q = encoder(features, ALL)
    for k, row in enumerate(ALL):
        alone = encoder(features[row], observed=None) if row.any() else encoder(features, row[None])
        torch.testing.assert_close(q.loc[k], alone.loc[0], **TIGHT)
        torch.testing.assert_close(q.scale[k], alone.scale[0], **TIGHT)


@BOTH
@pytest.mark.parametrize("components", [1, 2])
def test_nan_in_place_of_missing_modalities_changes_no_value_and_no_gradient(
    kind, components, features
):
    encoder = built(kind, E, D, components=components)
    observed = torch.tensor([[1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0], [0, 1, 1, 0, 1, 1]]).bool()

    def run(fill):
        x = torch.where(observed[..., None], features, fill).requires_grad_()
        q = encoder(x, ALL, observed)
        loss = (q.weights[..., None] * (q.loc.square() + q.scale)).sum()
        return q, torch.autograd.grad(loss, [x, *encoder.parameters()], allow_unused=True)

    (q, gradients), (p, others) = run(0.3), run(float("nan"))
    for a, b in zip([*q[:3], *gradients], [*p[:3], *others], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert a.isfinite().all()
    assert (gradients[0][~observed] == 0).all()
    assert (gradients[0][observed] != 0).any()


@BOTH
def test_modalities_outside_of_a_subset_do_not_move_its_answer(kind, features):
    encoder = built(kind, E, D)
    other = features.clone()
    other[2] += 100
    here = ~ALL[:, 2]
    q, p = encoder(features, ALL), encoder(other, ALL)
    torch.testing.assert_close(q.loc[here], p.loc[here], rtol=0, atol=0)
    assert ((q.loc[~here] - p.loc[~here]).abs().amax((1, 2, 3)) > 1e-6).all()


def test_a_mask_after_the_softmax_lets_hidden_modalities_in(features):
    class Late(TransformerBlock):
        def attended(self, g, members):
            query, key, value = self.project(g).unflatten(-1, (3, self.heads, -1)).unbind(-3)
            weights = torch.einsum("kbihe,kbjhe->kbhij", query, key).softmax(-1)
            weights = weights * members[:, :, None, None, :]
            return torch.einsum("kbhij,kbjhe->kbihe", weights, value).flatten(-2)

    encoder = built(SelfAttention, E, D)
    with seeded(1):
        encoder.blocks = nn.ModuleList([Late(8, 4).double()])
    other = features.clone()
    other[2] = 3 * other[2].flip(0)
    hidden = ~ALL[:, 2] & ALL.any(1)
    moved = (encoder(features, ALL).loc - encoder(other, ALL).loc).abs().amax((1, 2, 3))
    assert (moved[hidden] > 1e-6).all()


@BOTH
def test_an_empty_subset_gets_one_learned_constant(kind, features):
    encoder = built(kind, E, D)
    observed = torch.ones(M, B, dtype=torch.bool)
    observed[:, 2] = False
    q = encoder(torch.where(observed[..., None], features, float("nan")), None, observed)
    constant = encoder(features, ALL[:1])
    assert constant.loc.isfinite().all()
    assert not q.members[:, :, 2].any()
    torch.testing.assert_close(q.loc[0, 0, 2], constant.loc[0, 0, 0], **TIGHT)
    torch.testing.assert_close(constant.loc, constant.loc[:, :, :1].expand_as(constant.loc))
    loss = constant.loc.sum() + constant.scale.log().sum()
    gradients = torch.autograd.grad(loss, encoder.parameters(), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)
    assert any(g is not None and (g != 0).any() for g in gradients)


@BOTH
def test_one_modality_is_a_set(kind, features):
    encoder = built(kind, E, D)
    q = encoder(features[:1])
    assert q.loc.shape == (1, 1, B, D)
    torch.testing.assert_close(q.loc[0], encoder(features, ALL[1:2]).loc[0], **TIGHT)


@BOTH
def test_strides_do_not_matter(kind, features):
    encoder = built(kind, E, D)
    turned = features.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    rows = ALL[..., None].expand(-1, -1, B)
    assert not turned.is_contiguous()
    assert not rows.is_contiguous()
    q, p = encoder(features, ALL), encoder(turned, rows)
    torch.testing.assert_close(q.loc, p.loc, **TIGHT)


@BOTH
def test_mixture_outputs_are_mixtures_that_the_masked_objective_takes(kind, features, generator):
    encoder = built(kind, E, D, components=2)
    q = encoder(features, ALL)
    torch.testing.assert_close(q.weights.sum(1), torch.ones(len(ALL), B).double())
    grid = torch.cartesian_prod(*[torch.linspace(-9, 9, 181).double()] * 2)
    density = q.subset(5).log_density(grid[:, None].expand(-1, B, -1)).exp()
    torch.testing.assert_close(density.sum(0) * 0.1**2, torch.ones(B).double(), rtol=1e-3, atol=0)
    everything = q.mixed()
    torch.testing.assert_close(everything.weights.sum(0), torch.ones(B).double())
    assert everything.members.shape == (2 * len(ALL), M, B)

    def explain(z, wanted=None):
        return -z.square().sum(-1).expand(M, *z.shape[:-1])

    bound = masked_elbo(q.subset(-1), q.subset(3), explain, generator)
    assert bound.elbo().isfinite().all()


@EQUIVARIANT
@pytest.mark.equation("eq-equivariant-sum", "eq-equivariant-attention")
def test_reordered_modalities_have_reordered_private_latents(kind, features, generator):
    encoder = built(kind, E, D, P)
    z = torch.randn(len(ALL), B, D, generator=generator, dtype=torch.float64)
    loc, scale = encoder(features, z, ALL)
    assert loc.shape == (len(ALL), M, B, P)
    for order in map(list, permutations(range(M))):
        there = encoder(features[order], z, ALL[:, order])
        torch.testing.assert_close(loc[:, order], there[0], **TIGHT)
        torch.testing.assert_close(scale[:, order], there[1], **TIGHT)
    assert (loc[:, [1, 0, 2]] - loc).abs().max() > 1e-3, "equivariant, not invariant"


@EQUIVARIANT
def test_the_private_latent_of_a_missing_modality_has_its_prior(kind, features, generator):
    encoder = built(kind, E, D, P)
    z = torch.randn(len(ALL), B, D, generator=generator, dtype=torch.float64)
    loc, scale = encoder(features, z, ALL)
    hidden = ~ALL
    assert (loc[hidden] == 0).all()
    assert (scale[hidden] == 1).all()
    filled = features.clone()
    filled[1] = float("nan")
    without = ALL.clone()
    without[:, 1] = False
    x = filled.requires_grad_()
    there, _ = encoder(x, z, without)
    torch.testing.assert_close(there, encoder(features, z, without)[0], rtol=0, atol=0)
    gradient = torch.autograd.grad(there.square().sum(), x)[0]
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()


@EQUIVARIANT
def test_shared_latents_of_another_number_are_refused(kind, features):
    with pytest.raises(ValueError, match=r"z is \(1, 6, 5\), expected \(1, 6, 2\)"):
        built(kind, E, D, P)(features, torch.zeros(1, B, 5).double())


@pytest.mark.equation("eq-gated-product")
def test_weights_by_hand_make_sum_pooling_the_exact_product_of_every_subset(generator):
    dims = {"a": 4, "b": 3, "c": 5}
    oracle = LinearGaussian.random(dims, D, {"a": 0.7, "b": 1.1, "c": 0.5}, generator=generator)
    batch = oracle.sample(50, generator)
    shares = [(w.T @ w).diagonal() / oracle.noise[m] ** 2 for m, w in oracle.loadings.items()]
    with torch.no_grad():
        q = product_by_sum(torch.stack(shares), reach=1e3)(votes(oracle, batch), ALL)
        short = product_by_sum(torch.stack(shares), reach=1.0)(votes(oracle, batch), ALL)
    for k, row in enumerate(ALL[1:], 1):
        names = [name for name, seen in zip(dims, row, strict=True) if seen]
        loc, covariance = oracle.posterior(batch, names)
        torch.testing.assert_close(q.loc[k, 0], loc, rtol=0, atol=1e-10)
        variance = covariance.diagonal().expand_as(loc)
        torch.testing.assert_close(q.scale[k, 0].square(), variance, rtol=0, atol=1e-12)
    torch.testing.assert_close(q.loc[0], torch.zeros_like(q.loc[0]), rtol=0, atol=1e-12)
    assert (short.loc - q.loc).abs().max() > 0.1, "beyond its reach the gates leak"


def test_wrong_input_is_refused_in_one_line(features):
    encoder = built(SumPooling, E, D)
    wrong = [
        ((features[..., :3],), r"features are \(3, 6, 3\), expected \(modalities, batch, 4\)"),
        ((features[0],), r"features are \(6, 4\)"),
        (([features[0], features[1, :, :3]],), "same number of features"),
        (([],), "features are none"),
        ((features, ALL[:, :2]), r"members is torch.bool \(8, 2\)"),
        ((features, ALL.double()), "members is torch.float64"),
        ((features, ALL, ALL), r"observed is torch.bool \(8, 3\)"),
    ]
    for arguments, words in wrong:
        with pytest.raises(ValueError, match=words) as error:
            encoder(*arguments)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="3 heads do not divide the width 8"):
        SelfAttention(E, D, 8, heads=3)
    with pytest.raises(ValueError, match="0 components"):
        SumPooling(E, D, 8, components=0)
    with pytest.raises(ValueError, match="reach is 0"):
        product_by_sum(torch.ones(2, 1), 0.0)


def test_a_list_of_features_is_their_stack(features):
    encoder = built(SumPooling, E, D)
    torch.testing.assert_close(encoder(list(features)).loc, encoder(features).loc)


def test_a_mean_in_place_of_the_sum_does_not_count(features):
    class Mean(SumPooling):
        def pooled(self, features, members):
            return super().pooled(features, members) / members.sum(1).clamp_min(1)[..., None]

    agreeing = features[:1].expand(2, -1, -1)
    subsets = torch.tensor([[True, True], [True, False]])
    pair, one = built(Mean, E, D)(agreeing, subsets).loc
    torch.testing.assert_close(pair, one, **TIGHT)
    pair, one = built(SumPooling, E, D)(agreeing, subsets).loc
    assert (pair - one).abs().max() > 1e-3
