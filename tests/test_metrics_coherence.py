"""Coherence of a model whose decoders err at a known rate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.likelihoods import Normal
from multielbo.metrics import coherence, estimates
from multielbo.objectives import joint_elbo
from multielbo.subsets import full_set, powerset, singletons
from multielbo.vae import MultimodalVAE

CLASSES = 10
NAMES = ("a", "b", "c")


class OneHot(torch.nn.Module):
    """Encodes a class, `(B, 1)`, as a latent that is certain of it."""

    latent_dim, shape = CLASSES, (1,)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc = 4 * torch.nn.functional.one_hot(x[:, 0].long(), CLASSES).float()
        return loc, torch.full_like(loc, 0.01)


class Faulty(torch.nn.Module):
    """Decodes the class that stands out in z, and one more with the given chance."""

    latent_dim = CLASSES

    def __init__(self, chance: float, seed: int) -> None:
        super().__init__()
        self.chance = torch.nn.Parameter(torch.tensor(chance), requires_grad=False)
        self.generator = Generator().manual_seed(seed)

    def forward(self, z: Tensor) -> Tensor:
        shown = z.argmax(-1, keepdim=True)
        wrong = torch.rand(shown.shape, generator=self.generator) < self.chance
        return ((shown + wrong) % CLASSES).float()


class Reader:
    """Classifies what those decoders show without error."""

    def predict(self, name: str, x: Tensor) -> Tensor:
        return x[..., 0].long()


def faulty_model(errors: dict[str, float], answer=full_set) -> MultimodalVAE:
    return MultimodalVAE(
        {name: OneHot() for name in errors},
        {name: Faulty(chance, seed) for seed, (name, chance) in enumerate(errors.items())},
        dict.fromkeys(errors, Normal(1.0)),
        Aggregator(product_of_experts(prior_expert=False), full_set, answer),
        joint_elbo,
        CLASSES,
    )


@pytest.fixture
def labels(generator) -> Tensor:
    return torch.randint(CLASSES, (2000,), generator=generator)


def certain(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Unimodal posteriors that know the class."""
    loc, scale = OneHot()(labels[:, None])
    return loc.expand(len(NAMES), -1, -1), scale.expand(len(NAMES), -1, -1)


ERRORS = {"a": 0.05, "b": 0.2, "c": 0.5}


@pytest.mark.equation("eq-conditional-coherence")
@pytest.mark.parametrize("answer", [full_set, singletons])
def test_conditional_coherence_is_one_minus_the_decoders_error_rate(labels, generator, answer):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS, answer), Reader(), *certain(labels), membership, generator
    )
    assert bool((predicted == -1).all(-1).eq(membership).all())
    value, error = coherence.conditional_coherence(predicted, labels)
    expected = 1 - torch.tensor(list(ERRORS.values())).double().expand_as(value)
    outside = ~membership
    assert bool(((value - expected).abs() < 4 * error)[outside].all())
    shifted = coherence.conditional_coherence(predicted, labels.roll(1)).value  # rows mixed up
    assert bool((shifted[outside] < 0.2).all())


@pytest.mark.equation("eq-conditional-coherence")
def test_the_summary_by_inputs_averages_over_subsets_and_targets_outside(labels, generator):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS), Reader(), *certain(labels), membership, generator
    )
    hits = predicted == labels
    value, error = estimates.by_inputs(coherence.shared_targets(hits, membership), membership)
    each = coherence.conditional_coherence(predicted, labels).value
    for row, size in enumerate((1, 2)):
        pairs = (membership.sum(1) == size)[:, None] & ~membership
        assert float(value[row]) == pytest.approx(float(each[pairs].mean()), rel=1e-12)
    assert bool(((value - 0.75).abs() < 4 * error).all())
    with_inputs = hits.double().mean((1, 2))  # counting inputs as targets that failed
    assert bool((with_inputs < 0.6).all())


@pytest.mark.equation("eq-conditional-coherence")
def test_posteriors_that_know_nothing_generate_at_chance(labels, generator):
    loc = torch.zeros(3, len(labels), CLASSES)
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS), Reader(), loc, torch.ones_like(loc), membership, generator
    )
    value, error = coherence.conditional_coherence(predicted, labels)
    assert bool(((value - 0.1).abs() < 4 * error)[~membership].all())


@pytest.mark.equation("eq-joint-coherence")
def test_joint_coherence_is_the_chance_that_all_modalities_agree(generator):
    # All right, or all wrong: an error adds one to the class, so two errors agree as well.
    right = math.prod(1 - e for e in ERRORS.values())
    wrong = math.prod(ERRORS.values())
    predicted = coherence.joint_predictions(faulty_model(ERRORS), Reader(), 5000, generator)
    assert predicted.shape == (3, 5000)
    value, error = coherence.joint_coherence(predicted)
    assert abs(float(value) - (right + wrong)) < 4 * float(error)
    assert float(error) == pytest.approx(float((value * (1 - value) / 4999).sqrt()), rel=1e-9)
    pairwise = (predicted[:-1] == predicted[1:]).double().mean()  # agreement of neighbours is more
    assert float(pairwise) > float(value) + 4 * float(error)


@pytest.mark.equation("eq-joint-coherence")
def test_joint_coherence_does_not_depend_on_which_class_is_shown():
    predicted = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 2, 3]])
    assert float(coherence.joint_coherence(predicted).value) == 0.75


def test_generation_does_not_depend_on_how_many_latents_are_decoded_at_a_time(labels):
    loc, scale = certain(labels[:100])
    exact = dict.fromkeys(NAMES, 0.0)
    found = [
        coherence.conditional_predictions(
            faulty_model(exact),
            Reader(),
            loc,
            scale,
            powerset(3)[:-1],
            Generator().manual_seed(2),
            chunk,
        )
        for chunk in (7, 10_000)
    ]
    assert torch.equal(*found)


class Broken(Reader):
    """Sees one class in everything."""

    def predict(self, name: str, x: Tensor) -> Tensor:
        return torch.full(x.shape[:-1], 3)


@pytest.mark.equation("eq-conditional-coherence")
def test_a_judge_that_always_sees_one_class_finds_its_share_and_full_joint_coherence(
    labels, generator
):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(ERRORS), Broken(), *certain(labels), membership, generator
    )
    share = float((labels == 3).double().mean())
    value = coherence.conditional_coherence(predicted, labels).value
    assert torch.unique(value[~membership]).tolist() == pytest.approx([share], rel=1e-12)
    joint = coherence.joint_predictions(faulty_model(ERRORS), Broken(), 100, generator)
    assert float(coherence.joint_coherence(joint).value) == 1


@pytest.mark.equation("eq-joint-coherence")
def test_joint_coherence_of_independent_modalities_is_the_product_of_chances(generator):
    predicted = torch.randint(CLASSES, (3, 20_000), generator=generator)
    value, error = coherence.joint_coherence(predicted)
    assert abs(float(value) - CLASSES**-2) < 4 * float(error)


class Scores:
    """Gives each attribute of a latent's own class a score: ten attributes, one of which holds."""

    def predict(self, name: str, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(x[..., 0].long(), CLASSES).float()


def test_scores_of_attributes_keep_their_last_axis(labels, generator):
    membership = powerset(3)[:-1]
    predicted = coherence.conditional_predictions(
        faulty_model(dict.fromkeys(NAMES, 0.0)), Scores(), *certain(labels), membership, generator
    )
    truth = torch.nn.functional.one_hot(labels, CLASSES)
    assert predicted.shape == (6, 3, len(labels), CLASSES)
    assert bool((predicted[~membership] == truth).all())
    assert bool((predicted[membership] == -1).all())
