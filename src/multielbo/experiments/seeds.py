"""One seed of an experiment: its judges, its checkpoint, its part of the record."""

from __future__ import annotations

__all__ = ["checkpoint_path", "kept_judges", "outcome", "run_seed"]

import os
import platform
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from multielbo.data.multimodal import MultimodalData
from multielbo.experiments.experiment import Experiment
from multielbo.experiments.run import judges, run, samples
from multielbo.metrics.classifiers import Classifiers
from multielbo.models import registry as models
from multielbo.records import Outcome, Record, adapted, claim, read_parts, run_part
from multielbo.records.locks import alone
from multielbo.records.provenance import module_digests
from multielbo.records.record import canonical, sha256
from multielbo.setups import registry as setups
from multielbo.train import OutOfTime


def run_seed(
    experiment: Experiment,
    seed: int,
    asked: Record,
    train: MultimodalData,
    test: MultimodalData,
    unfinished: Path,
    *,
    until: float | None = None,
    progress: bool = True,
) -> Record:
    """The part of one seed: the one that is there, or that of a run now.

    Args:
        experiment: The settings.
        seed: One of its seeds.
        asked: The record of all its seeds, before it runs.
        train, test: As `load` gives them.
        unfinished: Folder of parts, checkpoints and judges.
        until: When to stop training at a checkpoint, in seconds of `time.monotonic`.
        progress: Show a progress bar of the training.

    Raises:
        ValueError: The experiment has no such seed.
        Held: Another process is making it.
        OutOfTime: Training was stopped; the next call continues from its checkpoint.
    """
    if seed not in experiment.seeds:
        known = ", ".join(map(str, experiment.seeds))
        raise ValueError(
            f"{asked.name} ({asked.profile}): seed {seed} is not one of its seeds {known}"
        )
    if part := _there(unfinished, asked, seed):
        return part
    if until is not None and time.monotonic() >= until:
        raise OutOfTime(f"{asked.name} ({asked.profile}): no time is left for seed {seed}")
    with claim(unfinished, asked, seed):
        if part := _there(unfinished, asked, seed):
            return part  # another process was faster
        judge = kept_judges(experiment, train, test, unfinished)
        checkpoint = checkpoint_path(unfinished, asked, seed)
        part = run_part(
            unfinished,
            asked,
            seed,
            lambda seed: outcome(
                experiment,
                seed,
                train,
                test,
                judge,
                checkpoint=checkpoint,
                until=until,
                progress=progress,
            ),
        )
        for old in checkpoint.parent.glob(f"seed-{seed}-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    return part


def outcome(
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

    Of the first seed samples are kept too; they are large, and one seed's are enough.
    """
    setup, data = setups.setup_of(experiment.setup), (train, test, classifiers)
    limits = {"until": until, "progress": progress}
    if experiment.model in models.STAGED:
        # Here, because the flows come from a package that no other model needs.
        from multielbo.experiments.run_staged import run_staged

        recipe = models.recipe(experiment.model)
        with _folder(checkpoint) as folder:
            result = run_staged(experiment, setup, recipe, seed, *data, Path(folder), **limits)
    else:
        model = models.build(experiment.model)
        result = run(experiment, setup, model, seed, *data, checkpoint=checkpoint, **limits)
    metrics = result.evaluation.metrics()
    metrics["classifier_accuracy"] = list(classifiers.accuracy.values())
    arrays = result.evaluation.arrays()
    if seed == experiment.seeds[0]:
        arrays |= samples(result.model, test, seed=seed)
    return Outcome(metrics, arrays, result.seconds)


def checkpoint_path(unfinished: Path, asked: Record, seed: int) -> Path:
    """Where the training of a seed keeps its checkpoint: a file, or a folder of several stages.

    The digest in its name is that of the seed's part: other code or settings start anew.
    """
    digest = adapted(asked, seeds=[seed]).digest[:16]
    suffix = "" if asked.config["model"] in models.STAGED else ".pt"
    folder = unfinished / ".checkpoints" / asked.name / asked.profile
    return folder / f"seed-{seed}-{digest}{suffix}"


def kept_judges(
    experiment: Experiment, train: MultimodalData, test: MultimodalData, unfinished: Path
) -> Classifiers:
    """The classifiers that all models of a data set share: those that are kept, or trained now.

    The digest in the file's name is that of their data, settings and code: stale ones are not used.
    Of processes that start together one trains them, and the others wait for it.
    """
    setup, module = setups.setup_of(experiment.dataset), setups.module_of(experiment.dataset)
    code = module_digests(["multielbo.experiments.run", module])
    decisive = [train.sha256, test.sha256, experiment.classifier_epochs, code]
    digest = sha256(canonical(decisive, "classifiers"))[:16]
    file = unfinished / ".judges" / f"{experiment.dataset}-{experiment.profile}-{digest}.pt"
    if not file.exists():
        with alone(file.with_name(f".{file.name}.claim"), f"judges {file}", wait=True):
            if not file.exists():
                # A file of its own, for where there are no locks.
                own = file.with_name(f"{file.stem}-{platform.node()}-{os.getpid()}.pt")
                judges(experiment, setup, train, test).save(own)
                os.replace(own, file)
    encoders = {name: modality.encoder for name, modality in setup.modalities.items()}
    return Classifiers.load(file, train, encoders)


def _folder(checkpoint: Path | None) -> AbstractContextManager[Path | str]:
    """The folder of a run's stages, or one for as long as the run takes."""
    return TemporaryDirectory() if checkpoint is None else nullcontext(checkpoint)


def _there(unfinished: Path, asked: Record, seed: int) -> Record | None:
    found = read_parts(unfinished, adapted(asked, seeds=[seed])).found
    return found[seed][0] if seed in found else None
