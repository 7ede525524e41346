"""One training step as a CUDA graph: captured once, then replayed by a single launch.

A step of small networks is hundreds of kernels, each done before the next can be launched from
Python. A graph launches them together. It repeats the captured kernels on the captured addresses:
what differs between steps reaches it through two tensors that are rewritten before each replay.
"""

from __future__ import annotations

__all__ = ["WARM_UP", "CudaGraph", "EagerStep", "Graph", "GraphedStep", "Work", "step_of"]

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Generator, Tensor

Work = Callable[[Tensor, Tensor], None]
"""A training step, given the examples `(B,)` and the step's row in the trace `(1,)`, int64."""

WARM_UP = 3  # torch lets autograd and its libraries settle before a capture


class Graph(Protocol):
    """What can hold a step."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Do the work once, where it will be captured."""

    def waits(self, work: Callable[[], None]) -> bool:
        """Do the work once, and say whether it waited for the device, which no graph can."""

    def capture(self, work: Callable[[], None]) -> None:
        """Record the work without doing it."""

    def replay(self) -> None:
        """Do the recorded work once."""


class EagerStep:
    """A step whose kernels are launched one by one."""

    def __init__(self, work: Work, device: torch.device) -> None:
        self._work = work
        self._place = torch.zeros(1, dtype=torch.int64, device=device)

    def __call__(self, rows: Tensor, place: int) -> None:
        """Take a step on the examples at `rows`, the epoch's number `place`."""
        self._work(rows, self._place.fill_(place))


class GraphedStep:
    """A step whose kernels are captured once and launched together ever after.

    The first calls run the work as it is, because a graph can only hold what has run before; they
    are steps like all others. The next call captures, which does nothing, and replays. Work that
    waits for the device cannot be captured: it is left as it is, with a warning.

    Args:
        work: The step. What it allocates at its first call, such as Adam's moments, it must keep.
        examples: B.
        device: Of the model and the data.
        graph: What holds the step.
    """

    def __init__(self, work: Work, examples: int, device: torch.device, graph: Graph) -> None:
        self._rows = torch.zeros(examples, dtype=torch.int64, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._work = lambda: work(self._rows, self._place)
        self._graph = graph
        self._calls = 0
        self._captured = False
        self._eager = False

    def __call__(self, rows: Tensor, place: int) -> None:
        """Take a step on the examples at `rows`, the epoch's number `place`."""
        self._rows.copy_(rows)
        self._place.fill_(place)
        self._calls += 1
        if self._eager or self._calls < WARM_UP:
            self._graph.warm_up(self._work)
        elif self._calls == WARM_UP:
            self._eager = self._graph.waits(self._work)
            if self._eager:
                warnings.warn(
                    "a training step waits for the GPU, so it is not captured as a CUDA graph and "
                    "stays slower; graph=False in TrainConfig says that this is meant",
                    RuntimeWarning,
                    stacklevel=2,
                )
        else:
            if not self._captured:
                self._graph.capture(self._work)
                self._captured = True
            self._graph.replay()


class CudaGraph:
    """Torch's CUDA graph of a step that draws from `generator` and ends with `optimizer`."""

    def __init__(self, generator: Generator, optimizer: torch.optim.Optimizer) -> None:
        self._generator, self._optimizer = generator, optimizer
        # Autograd remembers the stream of each parameter's first gradient: one stream for all.
        self._stream = torch.cuda.Stream(generator.device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Callable[[], None]) -> None:
        """Do the work once, on the stream where it will be captured."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def waits(self, work: Callable[[], None]) -> bool:
        """Do the work once, and say whether it waited for the GPU."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self.warm_up(work)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        return any("synchronizing CUDA operation" in str(warning.message) for warning in caught)

    def capture(self, work: Callable[[], None]) -> None:
        """Record the work without doing it.

        Raises:
            RuntimeError: Something in the work cannot be captured.
        """
        with warnings.catch_warnings():
            # Newer versions of torch register generators by themselves, and say so.
            warnings.simplefilter("ignore")
            if hasattr(self._graph, "register_generator_state"):
                self._graph.register_generator_state(self._generator)
        # Outside a capture this flag would warn; to the fused Adam it makes no difference.
        _set_capturable(self._optimizer, True)
        try:
            # No gradient may outlive the warm-up: the graph's own take their place.
            self._optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(self._graph, stream=self._stream):
                work()
        except RuntimeError as error:
            # Torch ends the capture on the way out, and fails there once more.
            cause = error.__context__ or error
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            reason = str(cause).partition("\n")[0]
            raise RuntimeError(
                f"the training step cannot be captured as a CUDA graph ({reason}); "
                "set graph=False in TrainConfig"
            ) from error
        finally:
            _set_capturable(self._optimizer, False)

    def replay(self) -> None:
        """Do the recorded work once, with the generator's next numbers."""
        self._graph.replay()


def step_of(
    work: Work,
    examples: int,
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    *,
    graph: bool,
) -> EagerStep | GraphedStep:
    """The step that does `work` on the generator's device, as a CUDA graph or without.

    Args:
        work: The step. It has to draw from `generator` and end with `optimizer`.
        examples: B.
        generator: Source of the step's noise.
        optimizer: Fused Adam.
        graph: Whether to capture the step.
    """
    device = generator.device
    if not graph:
        return EagerStep(work, device)
    return GraphedStep(work, examples, device, CudaGraph(generator, optimizer))


def _set_capturable(optimizer: torch.optim.Optimizer, value: bool) -> None:
    for group in optimizer.param_groups:
        group["capturable"] = value
