"""What stands for a posterior in latent space."""

from __future__ import annotations

import torch

from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.metrics import estimates, latents
from multielbo.mixtures import Posteriors
from multielbo.subsets import full_set


def test_draws_come_from_each_component_as_often_as_its_weight_says(generator):
    weights = torch.tensor([[0.2, 0.5], [0.8, 0.5], [0.0, 0.0]], dtype=torch.float64)
    loc = torch.arange(3.0, dtype=torch.float64)[:, None, None].expand(3, 2, 1)
    members = torch.ones(3, 3, 2, dtype=torch.bool)
    q = Posteriors(loc, torch.full_like(loc, 1e-9), weights, members)
    z = latents.draw(q, 4000, generator)[..., 0].round()
    assert not bool((z == 2).any())
    share, error = estimates.mean((z == 1).T)
    assert bool(((share - weights[1]).abs() < 4 * error).all())
    assert bool(((share - 1 / 3).abs() > 4 * error).all())  # uniform over all would show


def test_a_mixture_is_represented_by_one_of_its_means_and_never_by_their_average(generator):
    loc = torch.tensor([-1.0, 1.0])[:, None, None].expand(2, 200, 1)
    q = Posteriors(
        loc, torch.ones_like(loc), torch.full((2, 200), 0.5), torch.ones(2, 2, 200).bool()
    )
    codes = latents.representation(q, generator)[:, 0]
    assert set(codes.tolist()) == {-1.0, 1.0}
    assert float(loc.mean()) == 0


def test_answers_read_only_the_inputs(generator):
    loc = torch.randn(3, 5, 2, generator=generator)
    scale = torch.rand(3, 5, 2, generator=generator) + 0.5
    loc[2] = scale[2] = float("nan")
    aggregator = Aggregator(product_of_experts(prior_expert=False), family=full_set)
    subsets = torch.tensor([[True, True, False], [False, True, True]])
    without, with_it = latents.answers(aggregator, loc, scale, subsets)
    assert bool(without.loc.isfinite().all())
    assert not bool(with_it.loc.isfinite().any())
