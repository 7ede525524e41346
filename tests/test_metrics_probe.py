"""The linear probe on latents that are separable, and on noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.metrics import estimates, probe
from multielbo.subsets import full_set, powerset

CLASSES = 10


@pytest.fixture
def labels(generator) -> Tensor:
    return torch.randint(CLASSES, (2000,), generator=generator)


def certain(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Unimodal posteriors of three modalities that know the class."""
    loc = 4 * torch.nn.functional.one_hot(labels, CLASSES).float().expand(3, -1, -1)
    return loc, torch.full_like(loc, 0.01)


def test_the_probe_reads_separable_latents_without_error(labels, generator):
    loc, scale = certain(labels)
    aggregator = Aggregator(product_of_experts(prior_expert=False), full_set)
    fit, test = slice(0, 500), slice(500, None)
    predicted = probe.probe_predictions(
        aggregator,
        (loc[:, fit], scale[:, fit]),
        labels[fit],
        (loc[:, test], scale[:, test]),
        powerset(3),
        generator,
    )
    assert predicted.shape == (7, 1500)
    assert bool((predicted == labels[test]).all())


def test_the_probe_reads_noise_at_chance(labels, generator):
    codes = torch.randn(len(labels), CLASSES, generator=generator, dtype=torch.float64)
    predicted = probe.linear_probe(codes[:500], labels[:500], codes[500:])
    value, error = estimates.mean(predicted == labels[500:])
    assert abs(float(value) - 0.1) < 4 * float(error)
    # Scored on the examples it was fitted to, noise would look informative.
    own = probe.linear_probe(codes[:500], labels[:500], codes[:500])
    value, error = estimates.mean(own == labels[:500])
    assert float(value) > 0.1 + 4 * float(error)


def test_each_attribute_has_a_regression_of_its_own_that_ranks_separable_latents(generator):
    truth = torch.rand(1500, 4, generator=generator) < 0.3
    codes = truth.double() @ torch.randn(4, 6, generator=generator, dtype=torch.float64)
    scores = probe.linear_probe(codes[:500], truth[:500], codes[500:])
    assert scores.shape == (1000, 4)
    for each, held in zip(scores.T, truth[500:].T, strict=True):
        assert float(each[held].min()) > float(each[~held].max())


def test_an_attribute_that_no_training_example_has_scores_all_alike(generator):
    codes = torch.randn(100, 3, generator=generator)
    truth = codes[:, :2] > 0
    truth[:, 1] = False
    scores = probe.linear_probe(codes, truth, codes)
    assert len(scores[:, 0].unique()) == 100
    assert len(scores[:, 1].unique()) == 1
