"""Classifiers that judge generated examples: for each modality the encoder, with a last layer."""

from __future__ import annotations

__all__ = ["Classifiers", "train_classifiers"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from multielbo.metrics.latents import blocks
from multielbo.networks import CHANNELS, conv_encoder, seeded

if TYPE_CHECKING:
    from multielbo.data import MultimodalData


class Classifiers(nn.Module):
    """One classifier for each modality of a data set.

    Args:
        data: What they are for: its modalities, its shapes, its classes.
        channels: Of the convolutions, as in the encoders.
        hidden: Widths of linear layers before the last, as in the encoders.
        seed: Source of the first weights.

    Attributes:
        dataset: Name of the data set, without the split.
        accuracy: On the test split, by modality; empty before it is measured.
    """

    def __init__(
        self,
        data: MultimodalData,
        channels: Sequence[int] = CHANNELS,
        hidden: Sequence[int] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dataset, self.form = _form(data)
        self.accuracy: dict[str, float] = {}
        with seeded(seed):
            self.networks = nn.ModuleDict(
                {
                    name: _classifier(shape, data.classes, channels, hidden)
                    for name, shape in self.form.items()
                }
            )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, classes)` for the examples `(B, *shape)` of each modality."""
        return {name: self.networks[name](x) for name, x in batch.items()}

    def predict(self, modality: str, x: Tensor) -> Tensor:
        """The class of each example of one modality, `(B,)` for `x` of shape `(B, *shape)`."""
        return self.networks[modality](x).argmax(-1)

    def check(self, data: MultimodalData) -> None:
        """Refuse to judge another data set than the one they were made for.

        Raises:
            ValueError: Name, modalities or shapes differ.
        """
        dataset, form = _form(data)
        if (dataset, form) != (self.dataset, self.form):
            raise ValueError(
                f"classifiers: made for {_text(self.dataset, self.form)}, but asked to judge "
                f"{_text(dataset, form)}; train classifiers on that data set's training split"
            )

    @torch.no_grad()
    def measure(self, test: MultimodalData, batch_size: int = 512) -> None:
        """Write down the accuracy on `test`, by modality."""
        self.check(test)
        hits = dict.fromkeys(self.form, 0)
        for rows in blocks(len(test), batch_size):
            for name, x in test.batch(rows).items():
                hits[name] += int((self.predict(name, x) == test.labels[rows]).sum())
        self.accuracy = {name: count / len(test) for name, count in hits.items()}


def train_classifiers(
    train: MultimodalData,
    test: MultimodalData,
    *,
    epochs: int,
    channels: Sequence[int] = CHANNELS,
    hidden: Sequence[int] = (),
    batch_size: int = 64,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> Classifiers:
    """Classifiers trained on `train`, with their accuracy on `test`.

    Args:
        train, test: Splits of one data set, on one device.
        epochs: Passes over `train`.
        channels: Of the convolutions, as in the encoders.
        hidden: Widths of linear layers before the last, as in the encoders.
        batch_size: Examples per step.
        learning_rate: Largest step size of AdamW, reached after a third of the steps.
        seed: Source of the first weights and of the permutations.

    Raises:
        ValueError: The splits are not of one data set.
    """
    device = train.labels.device
    classifiers = Classifiers(train, channels, hidden, seed).to(device)
    classifiers.check(test)
    generator = Generator(device).manual_seed(seed)
    steps = epochs * -(-len(train) // batch_size)
    optimizer = torch.optim.AdamW(classifiers.parameters(), weight_decay=0.3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(train), generator=generator, device=device)
        for rows in order.split(batch_size):
            labels = train.labels[rows]
            logits = classifiers(train.batch(rows))
            # The networks share no weight, so that the sum trains each as if it were alone;
            # smoothed labels are worth two points where digits repeat, as in PolyDigits.
            loss = sum(cross_entropy(x, labels, label_smoothing=0.2) for x in logits.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifiers.requires_grad_(False).eval().measure(test)
    return classifiers


def _classifier(
    shape: Sequence[int], classes: int, channels: Sequence[int], hidden: Sequence[int]
) -> nn.Sequential:
    encoder = conv_encoder(shape, 1, channels, hidden)
    return nn.Sequential(encoder.features, nn.Linear(encoder.posterior.in_features, classes))


def _form(data: MultimodalData) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Name without the split, and the shape of an example by modality."""
    shapes = {name: tuple(images.shape[1:]) for name, images in data.modalities.items()}
    return data.name.removesuffix("-train").removesuffix("-test"), shapes


def _text(dataset: str, form: dict[str, tuple[int, ...]]) -> str:
    sizes = (f"{name} {'x'.join(map(str, shape))}" for name, shape in form.items())
    return f"{dataset} ({', '.join(sizes)})"
