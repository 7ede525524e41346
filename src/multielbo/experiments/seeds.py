"""One seed of an experiment: its judges, its checkpoint, what a record keeps of it."""

from __future__ import annotations

__all__ = ["checkpoint_file", "kept_judges", "seed_outcome"]

from pathlib import Path

from multielbo.data.multimodal import MultimodalData
from multielbo.experiments.description import record_name
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run import judges, pictures, run
from multielbo.metrics.classifiers import Classifiers
from multielbo.models import registry as models
from multielbo.records import Outcome
from multielbo.records.provenance import module_digests
from multielbo.records.record import canonical, sha256
from multielbo.setups import registry as setups


def checkpoint_file(unfinished: Path, experiment: Experiment, seed: int) -> Path:
    """Where the training of a seed keeps its checkpoint."""
    folder = unfinished / ".checkpoints" / record_name(experiment) / experiment.profile
    return folder / f"seed-{seed}.pt"


def kept_judges(
    experiment: Experiment, train: MultimodalData, test: MultimodalData, unfinished: Path
) -> Classifiers:
    """The classifiers that all models of a data set share: those that are kept, or trained now.

    They are kept under a digest of their data, settings and code, so that stale ones are not found.
    """
    setup, module = setups.setup_of(experiment.dataset), setups.module_of(experiment.dataset)
    code = module_digests(["multielbo.metrics.classifiers", module])
    decisive = [train.sha256, test.sha256, experiment.classifier_epochs, code]
    digest = sha256(canonical(decisive, "classifiers"))[:16]
    file = unfinished / ".judges" / f"{experiment.dataset}-{experiment.profile}-{digest}.pt"
    if file.exists():
        return load_judges(file, experiment, train)
    made = judges(experiment, setup, train, test)
    made.save(file)
    return made


def seed_outcome(
    experiment: Experiment,
    seed: int,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    *,
    checkpoint: Path | None = None,
    until: float | None = None,
    progress: bool = True,
) -> Outcome:
    """Train and evaluate one seed, and keep what its record needs.

    Args:
        experiment: The settings.
        seed: One of its seeds; pictures are kept of the first alone, because they are large.
        train, test: As `load` gives them.
        classifiers: As `judges` gives them.
        checkpoint: File to resume the training from and to keep up to date.
        until: When to stop training at a checkpoint, in seconds of `time.monotonic`.
        progress: Show a progress bar of the training.

    Raises:
        OutOfTime: The training was stopped; the checkpoint holds it.
    """
    setup, model = setups.setup_of(experiment.dataset), models.build(experiment.model)
    result = run(
        experiment,
        setup,
        model,
        seed,
        train,
        test,
        classifiers,
        checkpoint=checkpoint,
        until=until,
        progress=progress,
    )
    metrics = result.evaluation.metrics()
    metrics["classifier_accuracy"] = list(classifiers.accuracy.values())
    arrays = result.evaluation.arrays()
    if seed == experiment.seeds[0]:
        arrays |= pictures(result.model, test, seed=seed)
    return Outcome(metrics, arrays, result.seconds)
