"""One run: data, model, training and metrics put together; nothing is derived here."""

from __future__ import annotations

__all__ = ["Result", "judges", "load", "run", "samples", "untrained"]

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator

from multielbo.experiments.experiment import Experiment
from multielbo.metrics.classifiers import Classifiers, train_classifiers
from multielbo.metrics.evaluation import Evaluation, evaluate
from multielbo.metrics.latents import conditional_samples
from multielbo.models.model import Model
from multielbo.networks import seeded
from multielbo.precision import multiplying
from multielbo.setups.setup import Setup
from multielbo.train import History, TrainConfig, fit
from multielbo.training import own_dropout
from multielbo.vae import MultimodalVAE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from multielbo.data.multimodal import MultimodalData


@dataclass(frozen=True)
class Result:
    """What one seed of an experiment gave.

    Attributes:
        model: The trained model.
        history: Of its training.
        evaluation: All metrics.
        seconds: Wall time of training, over all restarts, and of evaluation.
    """

    model: MultimodalVAE
    history: History
    evaluation: Evaluation
    seconds: float


def load(
    experiment: Experiment, setup: Setup, root: Path | str | None = None, device: str = "cpu"
) -> tuple[MultimodalData, MultimodalData]:
    """Training and test split of the experiment's data.

    Args:
        experiment: How many of them to train on.
        setup: Which data.
        root: Folder of the prepared data; the embedded ones need none.
        device: Where the splits go.

    Raises:
        ValueError: Prepared data are asked for without a folder.
        FileNotFoundError: They are not in that folder.
    """
    if setup.prepare and root is None:
        raise ValueError(
            f"{experiment.dataset}: no folder given; prepare the data with {setup.prepare} and "
            "pass its --out as root"
        )
    folder = None if root is None else Path(root)
    train, test = setup.load(folder, "train"), setup.load(folder, "test")
    if experiment.train_examples is not None:
        train = train.take(slice(0, experiment.train_examples))
    return train.to(device), test.to(device)


def judges(
    experiment: Experiment,
    setup: Setup,
    train: MultimodalData,
    test: MultimodalData,
    seed: int = 0,
) -> Classifiers:
    """The classifiers for all models of one data set: train them once and share them."""
    encoders = {name: modality.encoder for name, modality in setup.modalities.items()}
    device = train.labels.device
    with own_dropout(device, seed), multiplying("float32", device):
        return train_classifiers(
            train, test, encoders, epochs=experiment.classifier_epochs, seed=seed
        )


def untrained(
    experiment: Experiment, setup: Setup, model: Model, seed: int, device: str = "cpu"
) -> MultimodalVAE:
    """The model with its first weights."""
    latent = experiment.latent_dim + setup.private_dim
    with seeded(seed):
        encoders = {name: part.encoder(latent) for name, part in setup.modalities.items()}
        decoders = {name: part.decoder(latent) for name, part in setup.modalities.items()}
    return setup.vae(
        encoders,
        decoders,
        {name: part.likelihood for name, part in setup.modalities.items()},
        *model,
        experiment.latent_dim,
        beta=experiment.beta,
        likelihood_weights=setup.likelihood_weights,
    ).to(device)


def run(
    experiment: Experiment,
    setup: Setup,
    model: Model,
    seed: int,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    *,
    checkpoint: Path | None = None,
    until: float | None = None,
    progress: bool = True,
) -> Result:
    """Train and evaluate one seed.

    Args:
        experiment: The settings.
        setup: Networks, likelihoods and weights.
        model: Aggregator and objective.
        seed: Of weights, training and evaluation alike.
        train, test: As `load` gives them.
        classifiers: As `judges` gives them.
        checkpoint: File to resume the training from and to keep up to date.
        until: When to stop training at a checkpoint, in seconds of `time.monotonic`.
        progress: Show a progress bar of the training.

    Raises:
        ValueError: The classifiers were made for another data set, or settings do not fit.
        FloatingPointError: Training diverged.
        OutOfTime: The training was stopped at its checkpoint.
    """
    classifiers.check(test)
    vae = untrained(experiment, setup, model, seed, train.labels.device.type)
    config = TrainConfig(
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        seed=seed,
        precision=experiment.precision,
        channels_last=True,
    )
    history = fit(vae, train, config, checkpoint=checkpoint, until=until, progress=progress)
    trained = time.perf_counter()
    with multiplying("float32", train.labels.device):
        evaluation = evaluate(
            vae,
            train,
            test,
            classifiers,
            seed=seed,
            probe_examples=experiment.probe_examples,
            prior_samples=experiment.prior_samples,
            coherence_examples=experiment.coherence_examples,
            importance_samples=experiment.importance_samples,
            likelihood_examples=experiment.likelihood_examples,
            frechet_examples=experiment.frechet_examples,
        )
    evaluating = time.perf_counter() - trained
    return Result(vae, history, evaluation, seconds=history.seconds + evaluating)


def samples(
    model: MultimodalVAE, test: MultimodalData, examples: int = 4, seed: int = 0
) -> dict[str, NDArray]:
    """What the model makes of the first test examples, as the data are stored.

    Returns:
        `samples_<modality>`, `(M, examples, ...)` each: given the first modality, the first two,
        and so on to all.
    """
    inputs = torch.ones(len(model.modalities), len(model.modalities)).tril().bool()
    made = conditional_samples(
        model,
        test.batch(slice(0, examples)),
        inputs,
        Generator(test.labels.device).manual_seed(seed),
    )
    return {f"samples_{name}": test.as_stored(name, x).cpu().numpy() for name, x in made.items()}
