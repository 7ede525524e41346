"""The quantities that are published and recorded: a metric and what it is asked of."""

from __future__ import annotations

__all__ = ["METRICS", "Column", "column"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

METRICS = {  # what records hold, and what chooses a value of it
    "probe": {"inputs"},
    "log_likelihood": {"inputs"},
    "coherence": {"inputs", "target"},
    "coherence_by_inputs": {"number"},
    "probe_by_inputs": {"number"},
    "log_likelihood_by_inputs": {"number"},
    "joint_coherence": set(),
    None: {"inputs", "target", "number"},  # a quantity that records do not hold
}


@dataclass(frozen=True)
class Column:
    """One quantity of a table.

    Attributes:
        label: Its head.
        metric: What records call it, or None if they do not hold it.
        inputs: Modalities that are given.
        target: The modality that is generated.
        number: Of inputs, where the mean over subsets is meant.
    """

    label: str
    metric: str | None = None
    inputs: tuple[str, ...] = ()
    target: str | None = None
    number: int | None = None

    @property
    def quantity(self) -> tuple[Any, ...]:
        """What it measures, whatever its label."""
        return self.metric, self.inputs, self.target, self.number


def column(
    entry: Mapping[str, Any], metric: str | None, modalities: tuple[str, ...], where: str
) -> Column:
    """A column as a file describes it.

    Args:
        entry: Its label, what chooses the quantity, and its metric if not the table's.
        metric: Of the table.
        modalities: Of the data set.
        where: For the messages.

    Raises:
        ValueError: There is no such quantity.
    """
    metric = entry.get("metric", metric)
    if metric not in METRICS:
        known = ", ".join(filter(None, METRICS))
        raise ValueError(f"{where}: no metric {metric!r}; choose one of {known}")
    chosen = set(entry) - {"label", "metric"}
    if metric and chosen != METRICS[metric]:
        raise ValueError(
            f"{where}: column {entry.get('label')!r} of metric {metric} needs "
            f"{sorted(METRICS[metric])}, not {sorted(chosen)}"
        )
    named = [*entry.get("inputs", ()), *([entry["target"]] if "target" in entry else [])]
    if unknown := [name for name in named if name not in modalities]:
        raise ValueError(f"{where}: no modality {unknown[0]!r}; there are {', '.join(modalities)}")
    inputs = tuple(entry.get("inputs", ()))
    return Column(entry["label"], metric, inputs, entry.get("target"), entry.get("number"))
