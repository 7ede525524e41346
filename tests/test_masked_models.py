"""Models of the masked objective: exact on an oracle, by hand for a given mask, in any order."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from multielbo import masks
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.checkpoints import describe
from multielbo.data.multimodal import MultimodalData
from multielbo.experiments.catalogue import wanted
from multielbo.experiments.costs import cost
from multielbo.experiments.run import untrained
from multielbo.likelihoods import Normal
from multielbo.metrics.latents import answers
from multielbo.mixtures import Posteriors
from multielbo.models import registry
from multielbo.models.masked import EVERY_SUBSET, choose, full_then, masked_halves, masked_poe
from multielbo.models.masked_sets import MaskedSetVAE, masked_set_vae, pooled_width
from multielbo.models.set_answers import SetAnswers
from multielbo.networks import mlp_decoder, mlp_encoder, seeded
from multielbo.oracle import LinearGaussian
from multielbo.presets import preset
from multielbo.private import PrivateMultimodalVAE
from multielbo.set_encoders import SelfAttention, SumPooling
from multielbo.setups.mnist_svhn_text_private import PRIVATE_DIM
from multielbo.setups.registry import setup_of
from multielbo.setups.setup import Modality, Setup
from multielbo.train_config import TrainConfig
from multielbo.vae import MultimodalVAE

SHAPES = {"sight": (3,), "sound": (2,), "word": (4,)}
NAMES = tuple(SHAPES)
LATENT, NOISE = 2, 0.8
POOLINGS = {"sum": SumPooling, "attention": SelfAttention}
MISSING = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]]).bool()
ALL = masks.all_subsets(3)
each_pooling = pytest.mark.parametrize("pooling", POOLINGS.values(), ids=list(POOLINGS))
each_mask = pytest.mark.parametrize(
    "mask", ALL, ids=lambda mask: "".join(map(str, mask.int().tolist()))
)


def source(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def only(mask: Tensor) -> masks.MaskLaw:
    """The law that always keeps the same."""
    return masks.fixed(lambda modalities, generator: mask[None])


def example(size: int = 4) -> dict[str, Tensor]:
    generator = source()
    return {
        m: torch.randn(size, *s, generator=generator, dtype=torch.float64)
        for m, s in SHAPES.items()
    }


def set_vae(pooling=SumPooling, order=NAMES, private_dim: int = 0, **settings) -> MaskedSetVAE:
    """The same weights by name, whatever the order."""
    with seeded(3):
        encoders = {m: mlp_encoder(s, LATENT + private_dim, (5,)) for m, s in SHAPES.items()}
        decoders = {m: mlp_decoder(s, LATENT + private_dim) for m, s in SHAPES.items()}
        return MaskedSetVAE(
            {m: encoders[m] for m in order},
            decoders,
            dict.fromkeys(order, Normal(NOISE)),
            LATENT,
            pooling,
            private_dim,
            **settings,
        ).double()


def by_name(observed: Tensor, order=NAMES) -> dict[str, Tensor]:
    return dict(zip(order, observed, strict=True))


# --- the product, on an oracle --------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle() -> LinearGaussian:
    """Loadings with orthogonal columns: all posteriors have independent dimensions."""
    loadings = {
        m: torch.linalg.qr(torch.randn(max(s[0], 2), 2, generator=source(i)).double())[0]
        * torch.tensor([0.6, 1.1])
        for i, (m, s) in enumerate(SHAPES.items())
    }
    return LinearGaussian(loadings, {"sight": 0.7, "sound": 1.1, "word": 0.5})


def linear_vae(oracle: LinearGaussian, law, *, of_posteriors: bool = False) -> MultimodalVAE:
    """Encoders that give each modality's likelihood as a density of z, or its posterior."""
    encoders = {m: mlp_encoder(s, LATENT).double() for m, s in SHAPES.items()}
    decoders = {m: mlp_decoder(s, LATENT).double() for m, s in SHAPES.items()}
    with torch.no_grad():
        for m, w in oracle.loadings.items():
            precision = (w.T @ w).diagonal() / oracle.noise[m] ** 2
            width = precision + of_posteriors
            encoders[m].posterior.weight[:] = 0
            encoders[m].posterior.weight[:LATENT] = w.T / oracle.noise[m] ** 2 / width[:, None]
            encoders[m].posterior.bias[:] = torch.cat([0 * width, -width.log()])
            layer = decoders[m].network[-2]
            layer.weight[:], layer.bias[:] = w, 0
    likelihoods = {m: Normal(noise) for m, noise in oracle.noise.items()}
    return MultimodalVAE(encoders, decoders, likelihoods, *masked_poe(law), LATENT)


def excess(model: MultimodalVAE, batch, evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the bound minus the evidence over examples, and its standard error."""
    with torch.no_grad():
        values = model.bound(batch, None, source()).elbo() - evidence
    return values.mean(), values.std() / len(values) ** 0.5


@each_mask
def test_a_product_of_likelihoods_with_the_prior_is_tight_for_every_mask(oracle, mask):
    batch = oracle.sample(4000, source(5))
    evidence = oracle.log_evidence(batch)
    mean, error = excess(linear_vae(oracle, only(mask)), batch, evidence)
    assert abs(mean) < 4 * error
    twin, error = excess(linear_vae(oracle, only(mask), of_posteriors=True), batch, evidence)
    assert twin < -10 * error, "the prior counted once too often"


@each_mask
def test_with_modalities_missing_it_is_tight_on_what_is_there(oracle, mask):
    batch = {m: x for m, x in oracle.sample(4000, source(5)).items() if m != "word"}
    model = linear_vae(oracle, only(mask))
    mean, error = excess(model, batch, oracle.log_evidence(batch, ["sight", "sound"]))
    assert abs(mean) < 4 * error
    assert not model.bound(batch, None, source()).reconstruction[2].any()


def test_every_subset_is_answered_by_its_own_posterior(oracle):
    batch = oracle.sample(5, source(2))
    model = linear_vae(oracle, EVERY_SUBSET)
    loc, scale, _ = model.encode(batch)
    for mask, q in zip(ALL[1:], answers(model.aggregator, loc, scale, ALL[1:]), strict=True):
        mean, covariance = oracle.posterior(batch, list(compressed(mask)))
        torch.testing.assert_close(q.loc[0], mean)
        torch.testing.assert_close(q.scale[0].square(), covariance.diagonal().expand(5, 2))


def compressed(mask: Tensor) -> list[str]:
    return [m for m, kept in zip(NAMES, mask, strict=True) if kept]


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        EVERY_SUBSET,
        masks.independent(0.2),
        masks.fixed(lambda m, g: ALL, [0, 0.5, 0, 0, 0.5] + 3 * [0]),
    ],
    ids=["all equal", "few kept", "two of them"],
)
def test_masks_are_drawn_as_often_as_their_law_says(law):
    n = 20_000
    rows, chances = law(3)
    counts = choose(chances, n, source(), torch.device("cpu")).bincount(minlength=len(rows))
    possible = chances > 0
    assert (counts[~possible] == 0).all()
    assert len(counts) == len(rows)
    assert stats.chisquare(counts[possible], n * chances[possible]).pvalue > 1e-4
    if law is not EVERY_SUBSET:
        _, equal = EVERY_SUBSET(3)
        assert stats.chisquare(counts, n * equal).pvalue < 1e-4


def test_the_default_keeps_each_modality_with_one_half_and_each_example_has_its_own_mask():
    n = 3000
    features = torch.zeros(3, n, 2 * LATENT, dtype=torch.float64)
    q = set_vae().aggregator(features, torch.ones_like(features), None, source())
    kept = q.members[1]
    assert q.members[0].all()
    assert ((kept.double().mean(1) - 0.5).abs() < 4 * 0.5 / n**0.5).all()
    together = (kept[0] & kept[1]).double().mean()
    assert abs(together - 0.25) < 4 * (0.1875 / n) ** 0.5
    assert len(kept.unique(dim=1).T) == 8


# --- by hand --------------------------------------------------------------------------------------


def by_hand(model, batch, mask: Tensor, observed: Tensor, exchanged: bool = False):
    """The masked bound with divergences from `torch.distributions`, and its own draws."""
    generator = source(7)
    torch.rand(len(observed.T), generator=generator, dtype=torch.float64)  # which masks
    features = []
    for m, x in batch.items():
        loc, scale = model.encoders[m](torch.where(by_name(observed)[m][:, None], x, 0.0))
        features.append(torch.cat([loc, scale.log()], -1))
    seen = mask[:, None] & observed
    full, part = (model.set_encoder(torch.stack(features), s[None]) for s in (observed, seen))
    nothing = ~seen.any(0)[:, None]
    q = TorchNormal(full.loc[0, 0], full.scale[0, 0])
    p = TorchNormal(
        torch.where(nothing, 0.0, part.loc[0, 0]), torch.where(nothing, 1.0, part.scale[0, 0])
    )
    noise = [torch.randn(p.loc.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    of_part, of_full = (r.loc + r.scale * e for r, e in zip((p, q), noise, strict=True))
    if exchanged:
        of_part, of_full = of_full, of_part
    rows = []
    for i, (m, x) in enumerate(batch.items()):
        z = torch.where(seen[i][:, None], of_part, of_full)
        score = TorchNormal(model.decoders[m](z), NOISE).log_prob(x).sum(-1)
        rows.append(torch.where(observed[i], score, 0.0))
    prior = TorchNormal(torch.zeros_like(p.loc), torch.ones_like(p.scale))
    return torch.stack(rows), kl_divergence(p, prior).sum(-1) + kl_divergence(q, p).sum(-1)


@each_pooling
@each_mask
@pytest.mark.parametrize("observed", [torch.ones_like(MISSING), MISSING], ids=["all", "some"])
def test_the_bound_of_a_given_mask_is_the_one_computed_by_hand(pooling, mask, observed):
    model, batch = set_vae(pooling, law=only(mask)), example()
    bound = model.bound(batch, by_name(observed), source(7))
    reconstruction, rate = by_hand(model, batch, mask, observed)
    torch.testing.assert_close(bound.reconstruction, reconstruction)
    torch.testing.assert_close(bound.rate, rate)
    twin, _ = by_hand(model, batch, mask, observed, exchanged=True)
    assert not torch.allclose(twin, reconstruction), "the two latents have different tasks"


@each_mask
def test_the_product_s_bound_of_a_given_mask_is_the_one_of_its_two_posteriors(mask):
    encoders = {m: mlp_encoder(s, LATENT).double() for m, s in SHAPES.items()}
    decoders = {m: mlp_decoder(s, LATENT).double() for m, s in SHAPES.items()}
    parts = encoders, decoders, dict.fromkeys(SHAPES, Normal(NOISE))
    model = MultimodalVAE(*parts, *masked_poe(only(mask)), LATENT)
    batch, generator = example(), source(7)
    bound = model.bound(batch, by_name(MISSING), generator)
    torch.rand(4, generator=generator.manual_seed(7), dtype=torch.float64)
    pool = product_of_experts(prior_expert=True)
    loc, scale, _ = model.encode(batch)
    seen = MISSING & mask[:, None]
    pooled = [pool(loc, scale, kept[None].contiguous()) for kept in (MISSING, seen)]
    members = torch.stack([MISSING, seen])
    q = Posteriors(*map(torch.cat, zip(*pooled, strict=True)), torch.ones(2, 4).double(), members)
    expected = masked_halves(q, model.log_likelihood(batch, by_name(MISSING)), generator)
    torch.testing.assert_close(bound, expected)
    exchanged = Posteriors(*(part.flip(0) for part in q))
    if not torch.equal(seen, MISSING):
        with pytest.raises(ValueError, match="keeps modality"):
            masked_halves(exchanged, model.log_likelihood(batch), generator)


def test_a_mask_that_keeps_nothing_starts_from_the_prior_and_not_from_the_encoder_s_constant():
    model = set_vae(law=only(ALL[0]))
    features, ones, _ = model.encode(example())
    q = model.aggregator(features, ones)
    assert (q.loc[1] == 0).all()
    assert (q.scale[1] == 1).all()
    constant = model.set_encoder(features, ALL[:1])
    assert (constant.loc.abs() > 1e-3).any()


def test_a_set_encoder_may_answer_with_a_mixture():
    model = set_vae(partial(SumPooling, components=3))
    features, ones, _ = model.encode(example())
    q = model.aggregator(features, ones, MISSING, source())
    assert len(q.loc) == 6
    torch.testing.assert_close(q.weights[3:].sum(0), torch.ones(4).double())
    bound = model.bound(example(), by_name(MISSING), source())
    assert bound.elbo().isfinite().all()
    assert len(model.posterior(example()).loc) == 3


# --- order, missing modalities --------------------------------------------------------------------


@each_pooling
def test_in_any_order_of_the_modalities_answers_and_bound_are_the_same(pooling):
    mask, batch = ALL[5], example()
    kept = by_name(mask)
    first = set_vae(pooling, law=only(mask))
    bound = first.bound(batch, by_name(MISSING), source())
    answer = first.posterior(batch, by_name(MISSING))
    for order in permutations(NAMES):
        law = only(torch.stack([kept[m] for m in order]))
        other = set_vae(pooling, order, law=law)
        found = other.bound(batch, by_name(MISSING), source())
        rows = [NAMES.index(m) for m in order]
        torch.testing.assert_close(found.reconstruction, bound.reconstruction[rows])
        torch.testing.assert_close(found.rate, bound.rate)
        torch.testing.assert_close(other.posterior(batch, by_name(MISSING))[:2], answer[:2])
    features, ones, _ = first.encode(batch)
    swapped = first.aggregator.posterior(features[[1, 0, 2]], ones, MISSING)
    assert not torch.allclose(swapped.loc, answer.loc), "contents are not the order"


@each_pooling
@pytest.mark.parametrize("private_dim", [0, 1])
def test_a_missing_modality_is_never_read(pooling, private_dim):
    found = []
    for filler in (0.0, float("nan")):
        model = set_vae(pooling, private_dim=private_dim)
        batch = {
            m: torch.where(by_name(MISSING)[m][:, None], x, filler).requires_grad_()
            for m, x in example().items()
        }
        bound = model.bound(batch, by_name(MISSING), source())
        q = model.posterior(batch, by_name(MISSING))
        (bound.elbo().sum() + q.loc.sum() + q.scale.sum()).backward()
        for m, x in batch.items():
            assert not x.grad[~by_name(MISSING)[m]].any()
            assert x.grad[by_name(MISSING)[m]].any(-1).all(), "what is there counts"
        gradients = [p.grad for p in model.parameters()]
        found.append([*bound, *q[:3], *gradients, *(x.grad for x in batch.values())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


@each_pooling
def test_a_subset_is_answered_by_the_set_encoder_itself(pooling):
    model, batch = set_vae(pooling), example()
    features, ones, mask = model.encode(batch)
    assert mask is None
    several = model.set_encoder(features, ALL)
    for k in range(1, 8):
        given = {m: batch[m] for m in compressed(ALL[k])}
        q = model.posterior(given)
        torch.testing.assert_close(q.loc, several.loc[k])
        torch.testing.assert_close(q.scale, several.scale[k])
    at_once = list(answers(model.aggregator, features, ones, ALL[1:]))
    torch.testing.assert_close(at_once[-1].loc, several.loc[7])
    assert not torch.allclose(at_once[0].loc, several.loc[7])


@each_pooling
def test_gradients_reach_every_weight(pooling):
    model = set_vae(pooling, private_dim=1)
    model.bound(
        {m: x.repeat(8, 1) for m, x in example().items()}, None, source()
    ).elbo().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name


# --- private latents ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["product", *POOLINGS])
@pytest.mark.parametrize("observed", [torch.ones_like(MISSING), MISSING], ids=["all", "some"])
def test_a_private_latent_is_paid_for_once_whoever_explains_its_modality(kind, observed):
    """Under every mask: kept modalities and hidden ones are scored once each."""
    batch = example()
    for mask in ALL:
        law = only(mask)
        model = set_vae(POOLINGS.get(kind, SumPooling), private_dim=1, law=law)
        if kind == "product":
            parts = model.encoders, model.decoders, model.likelihoods
            model = PrivateMultimodalVAE(*parts, *masked_poe(law), LATENT, 1)
        paid = model.bound(batch, by_name(observed), source()).rate
        model.private_beta = dict.fromkeys(NAMES, 0.0)
        free = model.bound(batch, by_name(observed), source()).rate
        expected = torch.zeros(4).double()
        for i, (m, x) in enumerate(batch.items()):
            loc, scale = (part[:, LATENT:] for part in model.encoders[m](x))
            prior = TorchNormal(torch.zeros_like(loc), torch.ones_like(scale))
            nats = kl_divergence(TorchNormal(loc, scale), prior).sum(-1)
            expected += torch.where(observed[i], nats, 0.0)
        torch.testing.assert_close(paid - free, expected)
        assert (paid - free > 0).all()


def test_the_set_up_with_private_latents_has_networks_of_the_same_width():
    plain, private = setup_of("mnist-svhn-text"), setup_of("mnist-svhn-text-private")
    assert private.likelihood_weights == plain.likelihood_weights
    assert private.prepare == plain.prepare
    for profile in ("laptop", "full"):
        without, within = (
            preset(d, "mopoe", profile) for d in ("mnist-svhn-text", "mnist-svhn-text-private")
        )
        assert within.latent_dim + PRIVATE_DIM == without.latent_dim
        sizes = [
            sum(p.numel() for p in untrained(one, setup, registry.build("mopoe"), 0).parameters())
            for one, setup in ((without, plain), (within, private))
        ]
        assert sizes[0] == sizes[1]
        assert cost(within) == cost(without)


@pytest.mark.parametrize("model", ["masked-sum-pooling", "masked-self-attention"])
def test_a_set_encoder_takes_the_private_latents_of_a_set_up(model):
    part = Modality(partial(mlp_encoder, (3,)), partial(mlp_decoder, (3,)), Normal(1.0))
    for private in (0, 2):
        setup = Setup(lambda root, split: None, {"a": part, "b": part}, private_dim=private)
        made = registry.recipe(model).make(setup, 4, seed=0, beta=2.0)
        assert {encoder.latent_dim for encoder in made.encoders.values()} == {4 + private}
        assert (made.latent_dim, made.private_dim, made.beta) == (4, private, 2.0)
        assert made.set_encoder.feature_dim == 8
        drawn = made.generate("a", torch.zeros(6, 4), source())
        assert drawn.shape == (6, 3)
    again = registry.recipe(model).make(setup, 4, seed=0, beta=2.0)
    other = registry.recipe(model).make(setup, 4, seed=1, beta=2.0)
    pairs = zip(made.parameters(), again.parameters(), other.parameters(), strict=True)
    same, differs = zip(*((torch.equal(a, b), torch.equal(a, c)) for a, b, c in pairs), strict=True)
    assert all(same)
    assert not all(differs)


# --- what is wanted, bad input --------------------------------------------------------------------


def test_the_book_wants_records_of_masked_models_and_of_private_latents():
    names = {entry.name for entry in wanted("laptop")}
    plain = {f"mnist-svhn-text/{m}" for m in ("masked-poe", "masked-sum-pooling")}
    private = {f"mnist-svhn-text-private/{m}" for m in ("mopoe", "mvae", "masked-poe")}
    assert plain | private <= names
    last = max(entry.priority for entry in wanted("laptop"))
    assert {e.dataset for e in wanted("laptop") if e.priority == last} == {
        "mnist-svhn-text-private"
    }


@pytest.mark.parametrize(("latent_dim", "width"), [(2, 256), (20, 256), (129, 260), (512, 1024)])
def test_nothing_is_pooled_through_fewer_units_than_the_answer_has(latent_dim, width):
    assert pooled_width(latent_dim) == width
    assert SelfAttention(4, 2, width).blocks[0].heads == 4
    assert 2 * latent_dim <= width


def test_a_checkpoint_tells_laws_and_set_encoders_apart():
    data = MultimodalData(
        "toy-train", {m: x.float() for m, x in example().items()}, torch.arange(4)
    )
    made = [
        set_vae(),
        set_vae(law=masks.independent(0.3)),
        set_vae(law=masks.by_size()),
        set_vae(SelfAttention),
    ]
    described = [describe(model.float(), data, TrainConfig(1)) for model in made]
    assert all(one != other for i, one in enumerate(described) for other in described[:i])
    assert described[0] == describe(set_vae().float(), data, TrainConfig(1))


@each_pooling
def test_an_example_without_any_modality_is_refused_in_one_line(pooling):
    nothing = MISSING.clone()
    nothing[:, 2] = False
    for ask in (set_vae(pooling).bound, set_vae(pooling).posterior):
        with pytest.raises(ValueError, match="example 2 of the batch has no observed") as error:
            ask(example(), by_name(nothing))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("modalities", [1, 2])
def test_fewer_modalities_are_masked_too(modalities):
    family = full_then(EVERY_SUBSET)(modalities)
    assert family.shape == (1 + 2**modalities, modalities)
    assert family[0].all()
    assert not family[1].any()
    part = Modality(partial(mlp_encoder, (3,)), partial(mlp_decoder, (3,)), Normal(1.0))
    setup = Setup(lambda root, split: None, dict.fromkeys("ab"[:modalities], part))
    x = {m: torch.randn(30, 3, generator=source()) for m in setup.modalities}
    assert masked_set_vae(setup, 2, seed=0).bound(x, None, source()).elbo().isfinite().all()


def test_what_answers_is_no_aggregator_but_is_asked_like_one():
    model = set_vae()
    assert isinstance(model.aggregator, SetAnswers)
    assert isinstance(masked_poe().aggregator, Aggregator)
    q = model.aggregator.posterior(torch.zeros(3, 4, 2 * LATENT).double(), torch.zeros(3, 4, 1))
    assert (len(q.loc), q.members.shape) == (1, (1, 3, 4))
