"""The training loop: data on the device, one permutation per epoch, exact resume.

A run is a function of the model's first weights, the data and a `TrainConfig`: killed at any step
and started again it ends with the same weights, bit for bit on a CPU with as many threads. On a GPU
it goes on with the same permutations and the same noise, but kernels that add in any order round
differently each time.
"""

from __future__ import annotations

__all__ = ["History", "OutOfTime", "TrainConfig", "fit"]

import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm import tqdm

from multielbo.precision import multiplying
from multielbo.trace import History, check_weights
from multielbo.train_config import TrainConfig, check_inputs
from multielbo.training import OutOfTime, Run, own_dropout

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


def fit(
    model: nn.Module,
    data: MultimodalData,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    until: float | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place by Adam on minus its bound, averaged over the batch.

    Args:
        model: A multimodal VAE, on the device of the data.
        data: The training examples, N of them.
        config: Settings.
        checkpoint: File to resume from where it exists, and to keep up to date.
        until: Reading of `time.monotonic()` after which no step starts; needs a checkpoint.
        progress: Show a bar with the loss and the time left, where there is a terminal.

    Raises:
        ValueError: Model, data and settings do not fit together, or the checkpoint is damaged or
            from another configuration.
        FloatingPointError: A term of the loss, or a gradient, is no longer finite.
        OSError: The checkpoint cannot be written.
        OutOfTime: It is later than `until`; started again, training goes on from the checkpoint.
        OutOfMemory: The batch does not fit into the GPU's memory; names one that does.
    """
    device = check_inputs(model, data, config)
    if until is not None and checkpoint is None:
        raise ValueError("until: without a checkpoint a stopped run is lost; name a file for it")
    run = Run(model.train(), data, config)
    with own_dropout(device, config.seed), multiplying(config.precision, device):
        if checkpoint is not None:
            run.resume(Path(checkpoint))
        check_weights(model)
        try:
            _train(run, until, progress)
        except torch.OutOfMemoryError:
            pass  # the failed step's tensors live as long as its traceback
        else:
            return run.trace.history(run.seconds())
        raise run.out_of_memory()


def _train(run: Run, until: float | None, progress: bool) -> None:
    with tqdm(total=run.total, initial=run.step, disable=None if progress else True) as bar:
        while run.step < run.total:
            if until is not None and time.monotonic() >= until:
                raise run.out_of_time()
            run.take_step()
            bar.set_postfix_str(f"loss {run.trace.loss:.5g}", refresh=False)
            bar.update()
