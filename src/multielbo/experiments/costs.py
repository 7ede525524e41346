"""What a run is estimated to take, for planning alone.

On a GPU the estimates rest on the aim of five minutes for PolyMNIST's 300 epochs on one H200; on a
CPU on single training steps on two cores. Other data sets are scaled from PolyMNIST by the size of
their networks. Where a record or a part of one exists, its own wall time is the better guide.
"""

from __future__ import annotations

__all__ = ["Cost", "cost", "cpu_hours"]

from typing import NamedTuple

from multielbo.experiments.experiment import Experiment
from multielbo.models.registry import STAGED


class Cost(NamedTuple):
    """What one seed takes, in minutes."""

    training: float
    evaluation: float


class _Work(NamedTuple):
    """Training tuples, and the seconds for each of them on a GPU and on two CPU cores."""

    tuples: int
    gpu: float
    cpu: float


_WORK = {
    "polydigits": _Work(4_000, 1e-5, 9e-4),
    "polymnist": _Work(60_000, 1.7e-5, 1.7e-3),
    "polymnist-small": _Work(60_000, 1.7e-5, 8e-4),
    "mnist-svhn-text": _Work(1_121_360, 4e-6, 1.1e-3),
    "mnist-svhn-text-private": _Work(1_121_360, 4e-6, 1.1e-3),
    "written-spoken-drawn": _Work(60_000, 1e-5, 1e-3),
    "celeba": _Work(162_770, 6e-5, 5e-2),
    "mhd": _Work(50_000, 1e-5, 1e-3),
    "translated-polymnist": _Work(60_000, 1.2e-4, 5e-2),
}
_OTHERS = _Work(60_000, 2e-5, 2e-3)
_REDUCED = {
    ("mnist-svhn-text", "laptop"): 88_680,
    ("mnist-svhn-text-private", "laptop"): 88_680,
}
_EVALUATION = {"quick": 0.1, "laptop": 2.0, "full": 1.5}
# A model in stages trains more than once, and a chain answers each of its subsets: guesses, for no
# such run has ended yet.
_STAGES, _CHAINS = 2.0, 5.0
# Recipes of one stage, whose subsets need no chain.
_PLAIN = ("jmvae", "mmvae-plus", "masked-sum-pooling", "masked-self-attention")


def cost(experiment: Experiment) -> Cost:
    """Of one seed, on a GPU for profile full and on two CPU cores otherwise."""
    work = _WORK.get(experiment.setup, _OTHERS)
    each = work.gpu if experiment.profile == "full" else work.cpu
    found = Cost(_tuples(experiment) * each / 60, _EVALUATION[experiment.profile])
    if experiment.model in STAGED and experiment.model not in _PLAIN:
        return Cost(found.training * _STAGES, found.evaluation * _CHAINS)
    return found


def cpu_hours(experiment: Experiment) -> float:
    """Roughly how long all seeds of an experiment would train on two CPU cores, in hours."""
    work = _WORK.get(experiment.setup, _OTHERS)
    return _tuples(experiment) * len(experiment.seeds) * work.cpu / 3600


def _tuples(experiment: Experiment) -> int:
    """How many one seed's training sees over all its epochs."""
    whole = _WORK.get(experiment.setup, _OTHERS).tuples
    there = _REDUCED.get((experiment.dataset, experiment.profile), whole)
    return experiment.epochs * (experiment.train_examples or there)
