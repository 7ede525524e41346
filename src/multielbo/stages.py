"""Training in stages: each resumes exactly, keeps its best weights, and needs the one before.

A stage is one run of `multielbo.training`, with the same steps, checkpoints and alarms as
`multielbo.train.fit`. After every epoch the loss on held-out examples is taken; the weights with
the lowest are kept with the optimiser's state of that moment, and the next stage starts from them.
"""

from __future__ import annotations

__all__ = ["Stage", "StageResult", "train_stage", "train_stages"]

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, nn
from tqdm import tqdm

from multielbo import checkpoints
from multielbo.precision import multiplying
from multielbo.trace import History, check_weights
from multielbo.train_config import TrainConfig, check_inputs
from multielbo.training import Run, own_dropout

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData

_KINDS = ("running", "best", "validation", "finished")
Prepared = tuple[nn.Module, "MultimodalData", "MultimodalData | None"]


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes:
        name: What it is called, in files and messages.
        prepare: Gives the module to train, the training examples, and examples that choose the
            best epoch, or None for the last epoch. It is called once the stages before have their
            best weights.
        config: Settings.
    """

    name: str
    prepare: Callable[[], Prepared]
    config: TrainConfig


@dataclass(frozen=True)
class StageResult:
    """What a finished stage left.

    Attributes:
        history: Of its training.
        validation: Minus the bound on held-out examples after each epoch, in nats; empty where
            there are none.
        best_epoch: The epoch whose weights the module has now, from one.
    """

    history: History
    validation: list[float]
    best_epoch: int


def train_stages(
    stages: Sequence[Stage],
    folder: Path,
    *,
    until: float | None = None,
    progress: bool = True,
) -> dict[str, StageResult]:
    """Train all stages in a row, or go on where a call before this one was stopped.

    Args:
        stages: In their order.
        folder: For what is running, what was best and what is finished.
        until: Reading of `time.monotonic()` after which no step starts.
        progress: Show a bar with the loss and the time left, where there is a terminal.

    Returns:
        The results by name; the modules have the best weights.

    Raises:
        ValueError: Model, data and settings do not fit together, or a file in the folder is
            damaged or from another configuration.
        FloatingPointError: A term of the loss, a gradient or the held-out loss is not finite.
        OSError: The folder cannot be written.
        OutOfTime: It is later than `until`; started again, training goes on.
        OutOfMemory: The batch does not fit into the GPU's memory; names one that does.
    """
    _check_names(stages)
    return {stage.name: _train(stage, Path(folder), until, progress) for stage in stages}


def train_stage(
    stages: Sequence[Stage],
    name: str,
    folder: Path,
    *,
    until: float | None = None,
    progress: bool = True,
) -> StageResult:
    """Train one stage, from the finished ones before it.

    Args:
        stages: All of them, in their order.
        name: The one to train.
        folder: As for `train_stages`.
        until: Reading of `time.monotonic()` after which no step starts.
        progress: Show a bar with the loss and the time left, where there is a terminal.

    Raises:
        ValueError: A stage before is not finished, there is no stage of that name, or as for
            `train_stages`.
        FloatingPointError: As for `train_stages`.
        OSError: The folder cannot be written.
        OutOfTime: It is later than `until`; started again, training goes on.
        OutOfMemory: The batch does not fit into the GPU's memory; names one that does.
    """
    _check_names(stages)
    folder = Path(folder)
    names = [stage.name for stage in stages]
    if name not in names:
        raise ValueError(f"stages: there is no stage {name!r}; choose from {', '.join(names)}")
    *before, asked = stages[: names.index(name) + 1]
    for stage in before:
        if not (folder / f"{stage.name}.finished.pt").exists():
            raise ValueError(
                f"stage {name!r} starts from stage {stage.name!r}, which is not finished in "
                f"{folder}; train that one first"
            )
        _train(stage, folder, until, progress)
    return _train(asked, folder, until, progress)


def _train(stage: Stage, folder: Path, until: float | None, progress: bool) -> StageResult:
    model, data, held_out = stage.prepare()
    device = check_inputs(model, data, stage.config)
    configuration = checkpoints.describe(model, data, stage.config)
    if held_out is not None:
        configuration |= {"held_out": held_out.name, "held_out.sha256": held_out.sha256}
    files = {kind: folder / f"{stage.name}.{kind}.pt" for kind in _KINDS}
    state = checkpoints.load(files["finished"], configuration)
    if state is None:
        run = Run(model.train(), data, stage.config)
        best = _Best(files, configuration)
        done = False
        with own_dropout(device, stage.config.seed), multiplying(stage.config.precision, device):
            run.resume(files["running"])
            check_weights(model)
            with suppress(torch.OutOfMemoryError):  # the step's tensors live as long as its error
                _epochs(run, held_out, best, until, progress)
                done = True
        if not done:
            raise run.out_of_memory()
        history = asdict(run.trace.history(run.seconds()))
        state = best.kept | {"history": history, "validation": best.losses}
        checkpoints.save(files["finished"], state)
        for kind in ("running", "best", "validation"):
            files[kind].unlink(missing_ok=True)
    model.load_state_dict(state["model"])
    model.eval()
    return StageResult(History(**state["history"]), state["validation"], state["epoch"])


def _epochs(
    run: Run,
    held_out: MultimodalData | None,
    best: _Best,
    until: float | None,
    progress: bool,
) -> None:
    """All steps that are left, with a look at the held-out examples after every epoch."""
    with tqdm(total=run.total, initial=run.step, disable=None if progress else True) as bar:
        while True:
            epoch, here = divmod(run.step, run.epoch_steps)
            if here == 0 and epoch > len(best.losses):  # after a resume too: the look may be lost
                if held_out is not None:
                    best.consider(run, epoch, _held_out_loss(run, held_out, epoch))
                elif run.step == run.total:
                    best.keep(run, epoch)
            if run.step == run.total:
                return
            if until is not None and time.monotonic() >= until:
                raise run.out_of_time()
            run.take_step()
            bar.set_postfix_str(f"loss {run.trace.loss:.5g}", refresh=False)
            bar.update()


class _Best:
    """The weights of the best epoch so far, and the held-out losses of all, in their files."""

    def __init__(self, files: Mapping[str, Path], configuration: Mapping[str, str]) -> None:
        self.files, self.configuration = files, dict(configuration)
        self.kept = checkpoints.load(files["best"], configuration) or {}
        seen = checkpoints.load(files["validation"], configuration) or {"losses": []}
        self.losses: list[float] = seen["losses"]

    def consider(self, run: Run, epoch: int, loss: float) -> None:
        """Take note of an epoch's loss, after its weights are safe if it is the lowest."""
        if loss < min(self.losses, default=float("inf")):
            self.keep(run, epoch)
        self.losses.append(loss)
        noted = {"configuration": self.configuration, "losses": self.losses}
        checkpoints.save(self.files["validation"], noted)

    def keep(self, run: Run, epoch: int) -> None:
        """The weights of now, with the optimiser's state that belongs to them."""
        state = {
            "configuration": self.configuration,
            "epoch": epoch,
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_dict(),
        }
        checkpoints.save(self.files["best"], state)
        self.kept = checkpoints.load(self.files["best"], self.configuration)


@torch.no_grad()
def _held_out_loss(run: Run, held_out: MultimodalData, epoch: int) -> float:
    """Mean of minus the bound, with the same noise after every epoch."""
    model, config = run.model.eval(), run.config
    generator = Generator(run.device).manual_seed(config.seed)
    total = 0.0
    for rows in torch.arange(len(held_out), device=run.device).split(config.batch_size):
        with torch.autocast(run.device.type, torch.bfloat16, config.precision == "bfloat16"):
            bound = model.bound(held_out.batch(rows), generator=generator)
            loss = -bound.elbo(model.beta, model.likelihood_weights)
        total += float(loss.double().sum())
    model.train()
    loss = total / len(held_out)
    if not loss < float("inf"):
        raise FloatingPointError(
            f"epoch {epoch}: the loss on the {len(held_out)} held-out examples is {loss}; "
            f"try a learning_rate below {config.learning_rate:g}"
        )
    return loss


def _check_names(stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"stages: {', '.join(names) or 'none given'}; give each a name of its own")
