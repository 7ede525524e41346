"""Classifiers that judge generated examples: for each modality the encoder, with a last layer."""

from __future__ import annotations

__all__ = ["Classifiers", "train_classifiers"]

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from multielbo import checkpoints
from multielbo.metrics.judgement import mean_average_precision
from multielbo.metrics.latents import blocks
from multielbo.networks import Encoder, seeded

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


class Classifiers(nn.Module):
    """One classifier for each modality of a data set.

    Args:
        data: The training split: its modalities, its shapes, its classes or attributes.
        encoders: For each modality what makes its encoder, from the latent dimension.
        seed: Source of the first weights.

    Attributes:
        dataset: Name of the data set, without the split.
        accuracy: On the test split, by modality; of attributes it is the mean average precision.
            Empty before it is measured.
    """

    def __init__(
        self,
        data: MultimodalData,
        encoders: Mapping[str, Callable[[int], Encoder]],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dataset, self.form = _form(data)
        self.multilabel = data.labels.ndim == 2
        self.sha256 = data.sha256
        self.accuracy: dict[str, float] = {}
        outputs = data.labels.shape[1] if self.multilabel else data.classes
        with seeded(seed):
            self.networks = nn.ModuleDict(
                {name: _classifier(encoders[name](1), outputs) for name in self.form}
            )

    @classmethod
    def load(
        cls,
        path: Path,
        data: MultimodalData,
        encoders: Mapping[str, Callable[[int], Encoder]],
    ) -> Classifiers:
        """The classifiers that `save` wrote, ready to judge, with their accuracy.

        Args:
            path: The file.
            data: The training split they were made for.
            encoders: As they were made with.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or was made for other data or with other encoders.
        """
        classifiers = cls(data, encoders)
        state = checkpoints.load(path, classifiers._configuration())
        if state is None:
            raise FileNotFoundError(f"classifiers: no file {path}; train them and save them there")
        classifiers.load_state_dict(state["networks"])
        classifiers.accuracy = state["accuracy"]
        return classifiers.requires_grad_(False).eval().to(data.labels.device)

    def save(self, path: Path) -> None:
        """Write weights and accuracy to one file, whole or not at all.

        Raises:
            OSError: The folder cannot be written or the disk is full.
        """
        weights = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        state = {"networks": weights, "accuracy": self.accuracy}
        checkpoints.save(path, {"configuration": self._configuration()} | state)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, classes)`, or `(B, attributes)`, for the examples of each modality."""
        return {name: self.networks[name](x) for name, x in batch.items()}

    def predict(self, modality: str, x: Tensor) -> Tensor:
        """The class of each example, `(B,)`, or its attributes' logits, `(B, attributes)`."""
        logits = self.networks[modality](x)
        return logits if self.multilabel else logits.argmax(-1)

    def features(self, modality: str, x: Tensor) -> Tensor:
        """What the last layer of one modality's classifier sees, `(B, width)`."""
        return self.networks[modality][0](x).flatten(1)

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
        seen: dict[str, list[Tensor]] = {name: [] for name in self.form}
        for rows in blocks(len(test), batch_size):
            for name, x in test.batch(rows).items():
                seen[name].append(self.predict(name, x).cpu())
        self.accuracy = {
            name: _accuracy(torch.cat(parts), test.labels.cpu()) for name, parts in seen.items()
        }

    def _configuration(self) -> dict[str, str]:
        shapes = {name: tuple(p.shape) for name, p in self.named_parameters()}
        return {
            "data": _text(self.dataset, self.form),
            "data.sha256": self.sha256,
            "networks": f"{self.networks!r} with parameters {shapes}",
        }


def train_classifiers(
    train: MultimodalData,
    test: MultimodalData,
    encoders: Mapping[str, Callable[[int], Encoder]],
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> Classifiers:
    """Classifiers trained on `train`, with their accuracy on `test`.

    Classes are learnt by cross-entropy, attributes by one binary cross-entropy each.

    Args:
        train, test: Splits of one data set, on one device.
        encoders: For each modality what makes its encoder, from the latent dimension.
        epochs: Passes over `train`.
        batch_size: Examples per step.
        learning_rate: Largest step size of AdamW, reached after a third of the steps.
        seed: Source of the first weights and of the permutations.

    Raises:
        ValueError: The splits are not of one data set.
    """
    device = train.labels.device
    classifiers = Classifiers(train, encoders, seed).to(device)
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
            # The networks share no weight, so that the sum trains each as if it were alone.
            loss = sum(_loss(x, labels) for x in logits.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifiers.requires_grad_(False).eval().measure(test)
    return classifiers


def _classifier(encoder: Encoder, outputs: int) -> nn.Sequential:
    return nn.Sequential(encoder.features, nn.Linear(encoder.posterior.in_features, outputs))


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 2:
        return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    # Smoothed labels are worth two points where digits repeat, as in PolyDigits.
    return cross_entropy(logits, labels, label_smoothing=0.2)


def _accuracy(seen: Tensor, labels: Tensor) -> float:
    if labels.ndim == 2:
        return float(mean_average_precision(seen, labels))
    return int((seen == labels).sum()) / len(labels)


def _form(data: MultimodalData) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Name without the split, and the shape of an example by modality."""
    return data.name.removesuffix("-train").removesuffix("-test"), data.shapes


def _text(dataset: str, form: dict[str, tuple[int, ...]]) -> str:
    sizes = (f"{name} {'x'.join(map(str, shape))}" for name, shape in form.items())
    return f"{dataset} ({', '.join(sizes)})"
