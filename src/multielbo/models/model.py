"""What a paper chooses: how posteriors are aggregated, and which bound is optimised."""

from __future__ import annotations

__all__ = ["Model"]

from typing import NamedTuple

from multielbo.aggregators import Aggregator
from multielbo.objectives import Objective


class Model(NamedTuple):
    """An aggregator and an objective; everything else is shared between models."""

    aggregator: Aggregator
    objective: Objective
