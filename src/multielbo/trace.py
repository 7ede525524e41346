"""What training sees: every term of every step, kept on the device, and the alarm over it."""

from __future__ import annotations

__all__ = ["History", "Trace", "check_weights"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from multielbo.objectives import Bound

LOOK_EVERY = 50  # steps between looks at a GPU's numbers: each look waits for the GPU


@dataclass(frozen=True)
class History:
    """Means over each epoch of per-example values, in nats; one number per epoch.

    Attributes:
        loss: Minus the weighted bound.
        reconstruction: log p(x_m | z) by modality.
        rate: The divergence term.
        gradient: Norm of the gradient of the mean loss.
        steps: Steps taken, over all restarts.
        seconds: Time spent, over all restarts.
    """

    loss: list[float]
    reconstruction: dict[str, list[float]]
    rate: list[float]
    gradient: list[float]
    steps: int
    seconds: float


class Trace:
    """One row per step of the current epoch, one column per term; a mean for each epoch before.

    Rows are written without waiting for the device. A look may come late, but it always finds the
    first step that went wrong, and in it the first term.
    """

    def __init__(self, modalities: Sequence[str], steps: int, device: torch.device) -> None:
        self.modalities = tuple(modalities)
        # In the order in which one infects the next: the encoders' doing before the decoders'.
        self.terms = ("rate", *(f"log p({m} | z)" for m in modalities), "loss", "gradient")
        self.rows = torch.zeros(steps, len(self.terms), device=device)
        self.epochs: list[list[float]] = []
        self.loss = float("nan")

    def record(self, place: Tensor, bound: Bound, loss: Tensor, model: nn.Module) -> None:
        """Write the terms of the epoch's step `place`, `(1,)`, after its gradients are known."""
        norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        terms = [bound.rate.mean(), *bound.reconstruction.mean(1), loss, norm]
        row = torch.stack(terms).detach().to(self.rows.dtype)
        self.rows.index_copy_(0, place, row[None])

    def is_due(self, here: int) -> bool:
        """Whether to look at step `here`: always on a CPU, where looking costs nothing."""
        last = here + 1 == len(self.rows)
        return self.rows.device.type == "cpu" or here % LOOK_EVERY == 0 or last

    def look(self, epoch: int, here: int, model: nn.Module, advice: str) -> None:
        """Take note of the loss, and raise if any term up to step `here` is not finite.

        Raises:
            FloatingPointError: Naming step, epoch, and the terms of the first bad step.
        """
        rows = self.rows[: here + 1].cpu()
        self.loss = float(rows[-1, -2])
        bad_rows, bad_terms = (~rows.isfinite()).nonzero(as_tuple=True)
        if len(bad_rows) == 0:
            return
        step = int(bad_rows[0])
        values = {self.terms[j]: float(rows[step, j]) for j in bad_terms[bad_rows == step].tolist()}
        if list(values) == ["gradient"] and step == here:
            values = {f"gradient of {name}": norm for name, norm in _bad_gradients(model).items()}
        named = [f"{term} is {value}" for term, value in values.items()]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        where = f"epoch {epoch + 1}, step {step + 1} of {len(self.rows)}"
        raise FloatingPointError(f"{where}: {', '.join(named[:3])}{more}; {advice}")

    def close_epoch(self) -> None:
        """Average the rows of a complete epoch."""
        self.epochs.append(self.rows.cpu().double().mean(0).tolist())

    def history(self, seconds: float) -> History:
        """The means of all complete epochs."""
        rate, *reconstruction, loss, gradient = map(list, zip(*self.epochs, strict=True))
        by_modality = dict(zip(self.modalities, reconstruction, strict=True))
        steps = len(self.epochs) * len(self.rows)
        return History(loss, by_modality, rate, gradient, steps, seconds)


def check_weights(model: nn.Module) -> None:
    """Raise FloatingPointError, naming the first parameter that is not finite, if there is one."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise FloatingPointError(
                f"weights of {name} are not finite before the first step; build the model anew"
            )


def _bad_gradients(model: nn.Module) -> dict[str, float]:
    norms = {n: float(p.grad.norm()) for n, p in model.named_parameters() if p.grad is not None}
    bad = {name: norm for name, norm in norms.items() if not norm < float("inf")}
    return bad or {"all parameters together": float("inf")}
