"""The settings of a training run, and whether they fit the model and the data."""

from __future__ import annotations

__all__ = ["TrainConfig", "check_inputs"]

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from multielbo.precision import PRECISIONS

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run.

    Attributes:
        epochs: Passes over the data; each leaves out the examples that do not fill a last batch.
        batch_size: Examples per step.
        learning_rate: Adam's step size.
        seed: Source of the permutations and of the noise.
        precision: `"float32"`, with no product rounded to fewer bits; `"tf32"` on a GPU that may
            round the factors of every product to 11 bits; or `"bfloat16"` for autocast with
            weights kept, and products of experts taken, in float32.
        channels_last: Keep images and convolution weights with the channel innermost: faster.
        checkpoint_every: Steps between checkpoints, on a GPU at least; changes no number.
        graph: Whether to capture a step as a CUDA graph; None does so wherever there is CUDA. The
            same kernels run on the same numbers with or without, so it is no part of a
            configuration; equal bits are promised of neither.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    precision: str = "float32"
    channels_last: bool = False
    checkpoint_every: int = field(default=500, compare=False)
    graph: bool | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "seed": 0, "checkpoint_every": 1}.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"TrainConfig: {name} is {value!r}; give an integer >= {least}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"TrainConfig: learning_rate is {self.learning_rate!r}; give > 0")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"TrainConfig: precision is {self.precision!r}; give one of {', '.join(PRECISIONS)}"
            )
        if self.graph not in (None, True, False):
            raise ValueError(f"TrainConfig: graph is {self.graph!r}; give True, False or None")


def check_inputs(model: nn.Module, data: MultimodalData, config: TrainConfig) -> torch.device:
    """The one device of model and data.

    Raises:
        ValueError: Model, data and settings do not fit together.
    """
    data.require(model.modalities)
    if config.batch_size > len(data):
        raise ValueError(
            f"batch_size is {config.batch_size}, but {data.name} has {len(data)} examples; "
            "give at most that many"
        )
    device, weights = data.labels.device, next(model.parameters()).device
    if weights != device:
        raise ValueError(f"the model is on {weights}, the data on {device}; move one with .to()")
    for name, wanted in {"graph": config.graph, "precision": config.precision == "tf32"}.items():
        if wanted and device.type != "cuda":
            raise ValueError(
                f"TrainConfig: {name} is {getattr(config, name)!r}, which is for GPUs, but the "
                f"model is on {device}; move model and data, or leave it out"
            )
    return device
