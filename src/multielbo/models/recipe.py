"""What a model that trains in stages states beside the settings of an experiment."""

from __future__ import annotations

__all__ = ["Recipe"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from multielbo.joint_first import JointFirst
from multielbo.stages import Stage


@dataclass(frozen=True)
class Recipe:
    """How a model is built and trained in stages.

    Attributes:
        make: From a set-up and the latent dimension, with `seed` and `beta` by name, to the model
            with its first weights.
        stages: From the model, the training examples, settings by stage, and held-out examples or
            None, to the stages in their order.
        epochs: By stage, how many for each epoch of the experiment.
        held_out: Share of the training examples that choose the best epochs; 0 for none.
    """

    make: Callable[..., JointFirst]
    stages: Callable[..., list[Stage]]
    epochs: Mapping[str, float]
    held_out: float = 0.1
