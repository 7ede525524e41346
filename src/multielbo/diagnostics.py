"""Have the chains mixed, and what are their draws worth? Both answers by ArviZ.

Draws are `(draws, chains, ...)`, as `Chains.z` has them; every quantity after the first two axes is
judged by itself.
"""

from __future__ import annotations

__all__ = ["effective_sample_size", "monte_carlo_error", "r_hat"]

from typing import Literal

import torch
from arviz_stats.base import array_stats
from torch import Tensor


def r_hat(draws: Tensor) -> Tensor:
    """Spread of all chains together over the spread within each; 1 once they agree.

    Args:
        draws: `(draws, chains, ...)`, at least 4 draws of at least 2 chains.

    Returns:
        The rank-normalised, folded split R-hat, `(...)`.

    Source:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021).
    """
    if draws.shape[1] < 2:
        raise ValueError("r_hat compares chains: run at least 2, from different starts")
    return _apply("rhat", draws)


def effective_sample_size(draws: Tensor, kind: Literal["mean", "bulk", "tail"] = "mean") -> Tensor:
    """How many independent draws would estimate as well as these.

    Args:
        draws: `(draws, chains, ...)`, at least 4 draws.
        kind: What is estimated: the mean, the bulk of the distribution, or its tails.

    Returns:
        `(...)`, in draws.
    """
    return _apply("ess", draws, method=kind)


def monte_carlo_error(draws: Tensor) -> Tensor:
    """Standard error of the mean of all draws, `(...)`: deviation over root effective size."""
    return draws.flatten(0, 1).std(0) / effective_sample_size(draws).sqrt()


def _apply(name: str, draws: Tensor, **settings: str) -> Tensor:
    if len(draws) < 4:
        raise ValueError(f"{name} needs at least 4 draws of each chain, there are {len(draws)}")
    array = draws.detach().to("cpu", torch.float64).numpy()
    found = getattr(array_stats, name)(array, draw_axis=0, chain_axis=1, **settings)
    return torch.as_tensor(found, dtype=draws.dtype)
