"""The training loop: data on the device, one permutation per epoch, exact resume.

A run is a function of the model's first weights, the data and a `TrainConfig`: killed at any step
and started again it ends with the same weights, bit for bit on a CPU with as many threads.
"""

from __future__ import annotations

__all__ = ["History", "TrainConfig", "fit"]

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from multielbo import checkpoints
from multielbo.objectives import Bound
from multielbo.trace import History, Trace, check_weights

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
        precision: `"float32"`, or `"bfloat16"` for autocast with weights kept in float32.
        channels_last: Keep images and convolution weights with the channel innermost: faster.
        checkpoint_every: Steps between checkpoints; changes no number.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    precision: str = "float32"
    channels_last: bool = False
    checkpoint_every: int = field(default=500, compare=False)

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "seed": 0, "checkpoint_every": 1}.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"TrainConfig: {name} is {value!r}; give an integer >= {least}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"TrainConfig: learning_rate is {self.learning_rate!r}; give > 0")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(
                f"TrainConfig: precision is {self.precision!r}; give 'float32' or 'bfloat16'"
            )


def fit(
    model: nn.Module,
    data: MultimodalData,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place by Adam on minus its bound, averaged over the batch.

    Args:
        model: A multimodal VAE, on the device of the data.
        data: The training examples, N of them.
        config: Settings.
        checkpoint: File to resume from where it exists, and to keep up to date.
        progress: Show a bar with the loss and the time left, where there is a terminal.

    Raises:
        ValueError: Model, data and settings do not fit together, or the checkpoint is damaged or
            from another configuration.
        FloatingPointError: A term of the loss, or a gradient, is no longer finite.
        OSError: The checkpoint cannot be written.
    """
    device = _check_inputs(model, data, config)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    run = _Run(model.train().to(memory_format=layout), data, config)
    if checkpoint is not None:
        run.resume(Path(checkpoint))
    check_weights(model)
    with tqdm(total=run.total, initial=run.step, disable=None if progress else True) as bar:
        for step in range(run.step, run.total):
            batch = _lay_out(data.batch(run.examples_of(step)), layout)
            with torch.autocast(device.type, torch.bfloat16, config.precision == "bfloat16"):
                bound = model.bound(batch, generator=run.generator)
                loss = -bound.elbo(model.beta, model.likelihood_weights).mean()
            run.optimizer.zero_grad()
            loss.backward()
            run.watch(step, bound, loss)
            run.optimizer.step()
            run.advance(step)
            bar.set_postfix_str(f"loss {run.trace.loss:.5g}", refresh=False)
            bar.update()
    return run.trace.history(run.seconds())


class _Run:
    """All that changes while a model trains, which is all that a checkpoint holds."""

    def __init__(self, model: nn.Module, data: MultimodalData, config: TrainConfig) -> None:
        device = data.labels.device
        self.model, self.config, self.examples = model, config, len(data)
        fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, fused=fused)
        self.generator = Generator(device).manual_seed(config.seed)
        self.order = torch.arange(len(data), device=device)
        self.epoch_steps = len(data) // config.batch_size
        self.trace = Trace(model.modalities, self.epoch_steps, device)
        self.step, self.total = 0, config.epochs * self.epoch_steps
        self.checkpoint: Path | None = None
        self.configuration = checkpoints.describe(model, data, config)
        self.started = time.perf_counter()

    def examples_of(self, step: int) -> Tensor:
        """The next piece of the epoch's permutation, which its first step draws."""
        here, size = step % self.epoch_steps, self.config.batch_size
        if here == 0:
            torch.randperm(self.examples, generator=self.generator, out=self.order)
        return self.order[here * size : (here + 1) * size]

    def watch(self, step: int, bound: Bound, loss: Tensor) -> None:
        """Note the terms of this step; look at them when it is time, and before every save."""
        epoch, here = divmod(step, self.epoch_steps)
        self.trace.record(here, bound, loss, self.model)
        if self.trace.is_due(here) or self._saves_after(step):
            advice = f"try a learning_rate below {self.config.learning_rate:g}"
            self.trace.look(epoch, here, self.model, advice)

    def advance(self, step: int) -> None:
        self.step = step + 1
        if self.step % self.epoch_steps == 0:
            self.trace.close_epoch()
        if self._saves_after(step):
            self.save()

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def save(self) -> None:
        state = {
            "configuration": self.configuration,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order,
            "rows": self.trace.rows,
            "epochs": self.trace.epochs,
            "step": self.step,
            "seconds": self.seconds(),
        }
        checkpoints.save(self.checkpoint, state)

    def resume(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        state = checkpoints.load(checkpoint, self.configuration)
        if state is None:
            self.save()  # a folder that cannot be written shows now, not after an hour
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.order.copy_(state["order"])
        self.trace.rows.copy_(state["rows"])
        self.trace.epochs, self.step = state["epochs"], state["step"]
        self.started -= state["seconds"]

    def _saves_after(self, step: int) -> bool:
        done, every = step + 1, self.config.checkpoint_every
        return self.checkpoint is not None and (done % every == 0 or done == self.total)


def _lay_out(batch: dict[str, Tensor], layout: torch.memory_format) -> dict[str, Tensor]:
    return {m: x.to(memory_format=layout) if x.dim() == 4 else x for m, x in batch.items()}


def _check_inputs(model: nn.Module, data: MultimodalData, config: TrainConfig) -> torch.device:
    """The one device of model and data, if they fit together."""
    data.require(model.modalities)
    if config.batch_size > len(data):
        raise ValueError(
            f"batch_size is {config.batch_size}, but {data.name} has {len(data)} examples; "
            "give at most that many"
        )
    device, weights = data.labels.device, next(model.parameters()).device
    if weights != device:
        raise ValueError(f"the model is on {weights}, the data on {device}; move one with .to()")
    return device
