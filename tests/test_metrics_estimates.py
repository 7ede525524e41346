"""Averages with errors that are known."""

from __future__ import annotations

import math

import pytest
import torch

from multielbo.metrics import estimates
from multielbo.subsets import powerset


def test_the_standard_error_of_hits_is_the_binomial_one(generator):
    hits = torch.rand(500, generator=generator) < 0.3
    p = float(hits.double().mean())
    expected = math.sqrt(p * (1 - p) / (len(hits) - 1))
    assert float(estimates.mean(hits).standard_error) == pytest.approx(expected, rel=1e-12)


def test_subsets_of_the_same_examples_do_not_count_as_independent(generator):
    hits = (torch.rand(1, 400, generator=generator) < 0.5).double()
    alone = estimates.by_inputs(hits, torch.tensor([[True, False]]))
    twice = estimates.by_inputs(hits.expand(2, -1), torch.eye(2, dtype=torch.bool))
    torch.testing.assert_close(twice.standard_error, alone.standard_error)
    as_if_independent = estimates.mean(hits.expand(2, -1).reshape(-1)).standard_error
    assert float(as_if_independent) < 0.8 * float(twice.standard_error)


def test_the_summary_has_one_entry_for_every_size(generator):
    membership = powerset(3)
    values = membership.sum(1, keepdim=True).double().expand(-1, 20)
    torch.testing.assert_close(
        estimates.by_inputs(values, membership).value, torch.tensor([1.0, 2.0, 3.0]).double()
    )
