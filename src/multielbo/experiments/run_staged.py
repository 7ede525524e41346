"""One run of JNF: stages, metrics, seconds; the counterpart of `experiments.run` for two stages."""

from __future__ import annotations

__all__ = ["StagedResult", "run_staged"]

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multielbo.experiments.experiment import Experiment
from multielbo.hmc import ADAPTED
from multielbo.joint_first import JointFirst
from multielbo.metrics.classifiers import Classifiers
from multielbo.metrics.evaluation import Evaluation, evaluate
from multielbo.models.jnf import HIDDEN, MakeFlow, held_out_split, jnf, jnf_stages
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
    seed: int,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    folder: Path,
    *,
    posterior_epochs: int | None = None,
    held_out: float = 0.1,
    hidden: Sequence[int] = HIDDEN,
    flow: MakeFlow | None = None,
    sampler: Mapping[str, int | float] = ADAPTED,
    until: float | None = None,
    progress: bool = True,
) -> StagedResult:
    """Train and evaluate JNF on one seed.

    Args:
        experiment: The settings; epochs, batches and the step size are those of both stages.
        setup: Networks, likelihoods and weights.
        seed: Of weights, training, draws and evaluation alike.
        train, test: As `experiments.run.load` gives them.
        classifiers: As `experiments.run.judges` gives them.
        folder: For what is unfinished, of this seed alone.
        posterior_epochs: Of stage 2, where they differ.
        held_out: Share of the training examples that choose the best epochs; 0 for none.
        hidden: Widths of the joint encoder's layers between the heads and the posterior.
        flow: From the latent dimension to a flow, or None for JNF's own.
        sampler: Settings of `multielbo.hmc.hmc`.
        until: When to stop training at a checkpoint, in seconds of `time.monotonic`.
        progress: Show a progress bar of the training.

    Raises:
        ValueError: The classifiers were made for another data set, or settings do not fit.
        FloatingPointError: Training diverged.
        OutOfTime: The training was stopped at its checkpoint.
    """
    classifiers.check(test)
    model = jnf(
        setup,
        experiment.latent_dim,
        seed=seed,
        beta=experiment.beta,
        hidden=hidden,
        flow=flow,
        sampler=sampler,
    ).to(train.labels.device)

    def config(epochs: int) -> TrainConfig:
        return TrainConfig(
            epochs=epochs,
            batch_size=experiment.batch_size,
            learning_rate=experiment.learning_rate,
            seed=seed,
            precision=experiment.precision,
            channels_last=True,
        )

    configs = {
        "joint": config(experiment.epochs),
        "posteriors": config(posterior_epochs or experiment.epochs),
    }
    fitted, chosen_by = held_out_split(train, held_out, seed) if held_out else (train, None)
    stages = jnf_stages(model, fitted, configs, chosen_by)
    results = train_stages(stages, folder, until=until, progress=progress)
    trained = time.perf_counter()
    with multiplying("float32", train.labels.device):
        evaluation = evaluate(
            model,
            train,
            test,
            classifiers,
            seed=seed,
            probe_examples=experiment.probe_examples,
            prior_samples=experiment.prior_samples,
            coherence_examples=experiment.coherence_examples,
            importance_samples=experiment.importance_samples,
            likelihood_examples=experiment.likelihood_examples,
            full_set_from=1,  # no subset of flows has a density with a known constant
            frechet_examples=experiment.frechet_examples,
        )
    spent = sum(result.history.seconds for result in results.values())
    return StagedResult(model, results, evaluation, spent + time.perf_counter() - trained)
