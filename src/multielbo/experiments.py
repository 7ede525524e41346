"""Experiments: the run that turns a resolved setting into numbers.

Nothing is derived here: data, model, training and metrics are put together, no more.
"""

from __future__ import annotations

__all__ = [
    "PRESETS",
    "Experiment",
    "Result",
    "judges",
    "load",
    "pictures",
    "preset",
    "recorded",
    "run",
]

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Generator

from multielbo.data import MultimodalData, polydigits
from multielbo.data.polymnist import polymnist
from multielbo.metrics import Classifiers, Evaluation, evaluate, train_classifiers
from multielbo.metrics.latents import conditional_samples
from multielbo.models import build
from multielbo.presets import LIKELIHOODS, PRESETS, Experiment, cpu_hours, preset
from multielbo.records import Outcome, Record, describe_run, load_or_run
from multielbo.train import History, TrainConfig, fit
from multielbo.vae import MultimodalVAE, convolutional_vae


@dataclass(frozen=True)
class Result:
    """What one seed of an experiment gave.

    Attributes:
        experiment, seed: What was run.
        model: The trained model.
        history: Of its training.
        evaluation: All metrics.
        seconds: Wall time of training and evaluation.
    """

    experiment: Experiment
    seed: int
    model: MultimodalVAE
    history: History
    evaluation: Evaluation
    seconds: float


def load(
    experiment: Experiment, root: Path | str | None = None, device: str = "cpu"
) -> tuple[MultimodalData, MultimodalData]:
    """Training and test split of the experiment's data.

    Args:
        experiment: Which data, and how many of them to train on.
        root: Folder of the prepared data; the embedded ones need none.
        device: Where the splits go.

    Raises:
        ValueError: Prepared data are asked for without a folder.
        FileNotFoundError: They are not in that folder.
    """
    if experiment.dataset == "polydigits":
        train, test = polydigits("train"), polydigits("test")
    elif root is None:
        raise ValueError(
            f"{experiment.dataset}: no folder given; prepare the data with "
            f"data_scripts/{experiment.dataset}.py and pass its --out as root"
        )
    else:
        train, test = polymnist(root, "train"), polymnist(root, "test")
    if experiment.train_examples is not None:
        train = train.take(slice(0, experiment.train_examples))
    return train.to(device), test.to(device)


def judges(
    experiment: Experiment, train: MultimodalData, test: MultimodalData, seed: int = 0
) -> Classifiers:
    """The classifiers for all models of one data set: train them once and share them."""
    return train_classifiers(
        train,
        test,
        epochs=experiment.classifier_epochs,
        channels=experiment.channels,
        hidden=experiment.hidden,
        seed=seed,
    )


def untrained(experiment: Experiment, data: MultimodalData, seed: int) -> MultimodalVAE:
    """The model with its first weights, on the device of the data."""
    shapes = {tuple(images.shape[1:]) for images in data.modalities.values()}
    if len(shapes) > 1:
        raise ValueError(f"{data.name}: pictures of one shape are needed, found {sorted(shapes)}")
    return convolutional_vae(
        list(data.modalities),
        shapes.pop(),
        build(experiment.model),
        latent_dim=experiment.latent_dim,
        seed=seed,
        beta=experiment.beta,
        likelihood=LIKELIHOODS[experiment.likelihood](experiment.scale),
        channels=experiment.channels,
        hidden=experiment.hidden,
    ).to(data.labels.device)


def run(
    experiment: Experiment,
    seed: int,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    *,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> Result:
    """Train and evaluate one seed.

    Args:
        experiment: The settings.
        seed: Of weights, training and evaluation alike.
        train, test: As `load` gives them.
        classifiers: As `judges` gives them.
        checkpoint: File to resume the training from and to keep up to date.
        progress: Show a progress bar of the training.

    Raises:
        ValueError: The classifiers were made for another data set, or settings do not fit.
        FloatingPointError: Training diverged.
    """
    classifiers.check(test)
    started = time.perf_counter()
    model = untrained(experiment, train, seed)
    config = TrainConfig(
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        seed=seed,
        precision=experiment.precision,
        channels_last=True,
    )
    history = fit(model, train, config, checkpoint=checkpoint, progress=progress)
    evaluation = evaluate(
        model,
        train,
        test,
        classifiers,
        seed=seed,
        probe_examples=experiment.probe_examples,
        prior_samples=experiment.prior_samples,
        importance_samples=experiment.importance_samples,
        likelihood_examples=experiment.likelihood_examples,
    )
    return Result(
        experiment, seed, model, history, evaluation, seconds=time.perf_counter() - started
    )


def recorded(
    experiment: Experiment,
    results: Path,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Callable[[], Classifiers],
    *,
    checkpoints: Path | None = None,
    allow_cpu: bool = False,
) -> tuple[Record, Mapping[str, NDArray]]:
    """The record of all seeds of an experiment: the one under `results`, or that of a run now.

    Args:
        experiment: The settings.
        results: Folder of all records.
        train, test: As `load` gives them.
        classifiers: Gives the judges; called only if there is something to run.
        checkpoints: Folder for the training's checkpoints, one file a seed.
        allow_cpu: As in `records.load_or_run`.

    Raises:
        ValueError: A record was changed by hand, or the settings do not fit the data.
        RuntimeError: A full run was asked for where there is no GPU.
    """
    asked = describe_run(
        f"{experiment.dataset}/{experiment.model}",
        profile=experiment.profile,
        config=asdict(experiment),
        seeds=experiment.seeds,
        dataset=(train.name, train.sha256),
        modules=["multielbo.experiments"],
        device=train.labels.device.type,
    )

    def outcome(seed: int) -> Outcome:
        judge = classifiers()
        name = f"{experiment.dataset}-{experiment.model}-{experiment.profile}-{seed}.pt"
        checkpoint = checkpoints / name if checkpoints else None
        result = run(experiment, seed, train, test, judge, checkpoint=checkpoint)
        accuracy = {"classifier_accuracy": list(judge.accuracy.values())}
        arrays = result.evaluation.arrays()
        if seed == experiment.seeds[0]:  # pictures are large, and one seed's are enough
            arrays |= pictures(result.model, test, seed=seed)
        return Outcome(result.evaluation.metrics() | accuracy, arrays, result.seconds)

    return load_or_run(
        results, asked, outcome, cpu_hours=cpu_hours(experiment), allow_cpu=allow_cpu
    )


def pictures(
    model: MultimodalVAE, test: MultimodalData, examples: int = 4, seed: int = 0
) -> dict[str, NDArray]:
    """What the model makes of the first test examples, as bytes by `samples_<modality>`.

    Returns:
        `(M, examples, *shape)` each: given the first modality, the first two, and so on to all.
    """
    inputs = torch.ones(len(model.modalities), len(model.modalities)).tril().bool()
    made = conditional_samples(
        model,
        test.batch(slice(0, examples)),
        inputs,
        Generator(test.labels.device).manual_seed(seed),
    )
    return {
        f"samples_{name}": (255 * images.clamp(0, 1)).round().byte().cpu().numpy()
        for name, images in made.items()
    }
