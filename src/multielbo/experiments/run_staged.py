"""One run in stages: model, training and metrics; the counterpart of `experiments.run`."""

from __future__ import annotations

__all__ = ["StagedResult", "run_staged"]

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator

from multielbo.experiments.experiment import Experiment
from multielbo.joint_first import JointFirst
from multielbo.metrics.classifiers import Classifiers
from multielbo.metrics.evaluation import Evaluation, evaluate
from multielbo.models.jnf import held_out_split
from multielbo.models.recipe import Recipe
from multielbo.precision import multiplying
from multielbo.setups.setup import Setup
from multielbo.stages import StageResult, train_stages
from multielbo.train_config import TrainConfig

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


@dataclass(frozen=True)
class StagedResult:
    """What one seed gave.

    Attributes:
        model: The trained model.
        stages: Of its training, by name.
        evaluation: All metrics. Log-likelihoods are those of the joint posterior; the probe reads
            one draw of a subset's posterior, whose mean nobody knows.
        seconds: Wall time of training, over all restarts, and of evaluation.
    """

    model: JointFirst
    stages: Mapping[str, StageResult]
    evaluation: Evaluation
    seconds: float


def run_staged(
    experiment: Experiment,
    setup: Setup,
    recipe: Recipe,
    seed: int,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    folder: Path,
    *,
    until: float | None = None,
    progress: bool = True,
) -> StagedResult:
    """Train and evaluate one seed of a model that trains in stages.

    Args:
        experiment: The settings; batches and the step size are those of every stage.
        setup: Networks, likelihoods and weights.
        recipe: Model, stages, and their shares of the epochs.
        seed: Of weights, training, draws and evaluation alike.
        train, test: As `experiments.run.load` gives them.
        classifiers: As `experiments.run.judges` gives them.
        folder: For what is unfinished, of this seed alone.
        until: When to stop training at a checkpoint, in seconds of `time.monotonic`.
        progress: Show a progress bar of the training.

    Raises:
        ValueError: The classifiers were made for another data set, or settings do not fit.
        FloatingPointError: Training diverged.
        OutOfTime: The training was stopped at its checkpoint.
    """
    classifiers.check(test)
    made = recipe.make(setup, experiment.latent_dim, seed=seed, beta=experiment.beta)
    model = made.to(train.labels.device)
    configs = {
        name: TrainConfig(
            epochs=max(1, round(share * experiment.epochs)),
            batch_size=experiment.batch_size,
            learning_rate=experiment.learning_rate,
            seed=seed,
            precision=experiment.precision,
            channels_last=True,
        )
        for name, share in recipe.epochs.items()
    }
    share = recipe.held_out
    fitted, chosen_by = held_out_split(train, share, seed) if share else (train, None)
    stages = recipe.stages(model, fitted, configs, chosen_by)
    results = train_stages(stages, folder, until=until, progress=progress)
    trained = time.perf_counter()
    test = _some(test, experiment.coherence_examples)
    with multiplying("float32", train.labels.device):
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
            full_set_from=1,  # no subset of flows has a density with a known constant
            frechet_examples=experiment.frechet_examples,
        )
    spent = sum(result.history.seconds for result in results.values())
    return StagedResult(model, results, evaluation, spent + time.perf_counter() - trained)


def _some(test: MultimodalData, count: int | None) -> MultimodalData:
    """The tuples that coherence is measured on, for all metrics; they do not depend on the seed.

    A subset of two and more modalities costs a chain for each tuple, whatever is asked of it.
    """
    if count is None or count >= len(test):
        return test
    order = torch.randperm(len(test), generator=Generator().manual_seed(0))
    return test.take(order[:count].to(test.labels.device))
