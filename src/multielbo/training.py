"""One training run: its state, its step, and what a checkpoint keeps of it."""

from __future__ import annotations

__all__ = ["OutOfTime", "Run", "own_dropout"]

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from multielbo import checkpoints
from multielbo.graphs import step_of
from multielbo.memory import OutOfMemory, out_of_memory
from multielbo.objectives import Bound
from multielbo.trace import Trace
from multielbo.train_config import TrainConfig

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData

SAVE_GAP = 60.0  # seconds between a GPU's checkpoints: writing one takes as long as many steps


class OutOfTime(RuntimeError):
    """Time is up; the checkpoint holds what was done."""


class Run:
    """All that changes while a model trains, which is all that a checkpoint holds."""

    def __init__(self, model: nn.Module, data: MultimodalData, config: TrainConfig) -> None:
        self.device = device = data.labels.device
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model, self.data, self.config = model.to(memory_format=self.layout), data, config
        fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, fused=fused)
        self.generator = Generator(device).manual_seed(config.seed)
        self.order = torch.arange(len(data), device=device)
        self.epoch_steps = len(data) // config.batch_size
        self.trace = Trace(model.modalities, self.epoch_steps, device)
        self.step, self.total = 0, config.epochs * self.epoch_steps
        self.checkpoint: Path | None = None
        self.configuration = checkpoints.describe(model, data, config)
        graph = device.type == "cuda" if config.graph is None else config.graph
        size = config.batch_size
        self.compute = step_of(self.work, size, self.generator, self.optimizer, graph=graph)
        self.started = time.perf_counter()
        self.saved = -math.inf

    def work(self, rows: Tensor, place: Tensor) -> None:
        """A step on the examples at `rows`: no line of it may wait for a GPU."""
        bound, loss = self.loss(rows, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        self.trace.record(place, bound, loss, self.model)
        self.optimizer.step()

    def loss(self, rows: Tensor, generator: Generator) -> tuple[Bound, Tensor]:
        batch = _lay_out(self.data.batch(rows), self.layout)
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, half):
            bound = self.model.bound(batch, generator=generator)
            return bound, -bound.elbo(self.model.beta, self.model.likelihood_weights).mean()

    def take_step(self) -> None:
        """One step; look at the numbers when it is time, and before every save."""
        epoch, here = divmod(self.step, self.epoch_steps)
        self.compute(self.examples_of(here), here)
        self.step += 1
        save = self.must_save()
        if self.trace.is_due(here) or save:
            self.look(epoch, here)
        if here + 1 == self.epoch_steps:
            self.trace.close_epoch()
        if save:
            self.save()

    def examples_of(self, here: int) -> Tensor:
        """The next piece of the epoch's permutation, which its first step draws."""
        if here == 0:
            torch.randperm(len(self.order), generator=self.generator, out=self.order)
        size = self.config.batch_size
        return self.order[here * size : (here + 1) * size]

    def look(self, epoch: int, here: int) -> None:
        advice = f"try a learning_rate below {self.config.learning_rate:g}"
        self.trace.look(epoch, here, self.model, advice)

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def must_save(self) -> bool:
        if self.checkpoint is None:
            return False
        gap = 0.0 if self.device.type == "cpu" else SAVE_GAP
        due = self.step % self.config.checkpoint_every == 0
        return self.step == self.total or (due and self.seconds() - self.saved >= gap)

    def out_of_time(self) -> OutOfTime:
        """The checkpoint written, and the error that says how far it came."""
        epoch, here = divmod(self.step, self.epoch_steps)
        if here > 0:  # the last row of a complete epoch was looked at
            self.look(epoch, here - 1)
        self.save()
        return OutOfTime(
            f"time is up after step {self.step} of {self.total}, {100 * self.step // self.total} "
            f"percent of the training; start again to go on from {self.checkpoint}"
        )

    def out_of_memory(self) -> OutOfMemory:
        self.compute = None  # a graph keeps its memory
        self.model.zero_grad(set_to_none=True)
        moments = 0 if self.optimizer.state else 2 * _bytes_of(self.model)
        return out_of_memory(self.config.batch_size, self.try_batch, self.device, moments)

    def try_batch(self, size: int) -> None:
        """Forward and backward pass on `size` examples, whose gradients are dropped."""
        rows = torch.arange(size, device=self.device)
        self.loss(rows, Generator(self.device).manual_seed(0))[1].backward()
        self.model.zero_grad(set_to_none=True)

    def save(self) -> None:
        state = {
            "configuration": self.configuration,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": _global_state(self.device),
            "order": self.order,
            "rows": self.trace.rows,
            "epochs": self.trace.epochs,
            "step": self.step,
            "seconds": self.seconds(),
        }
        checkpoints.save(self.checkpoint, state)
        self.saved = self.seconds()

    def resume(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        state = checkpoints.load(checkpoint, self.configuration)
        if state is None:
            self.save()  # a folder that cannot be written shows now, not after an hour
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        _set_global_state(self.device, state["dropout"])
        self.order.copy_(state["order"])
        self.trace.rows.copy_(state["rows"])
        self.trace.epochs, self.step = state["epochs"], state["step"]
        self.started -= state["seconds"]


@contextmanager
def own_dropout(device: torch.device, seed: int) -> Iterator[None]:
    """Dropout takes no generator of its own: inside, torch's global one is this seed's."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _global_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_global_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _lay_out(batch: dict[str, Tensor], layout: torch.memory_format) -> dict[str, Tensor]:
    return {m: x.to(memory_format=layout) if x.dim() == 4 else x for m, x in batch.items()}


def _bytes_of(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
