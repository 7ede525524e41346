"""What an experiment is called, and how its record describes it before it runs."""

from __future__ import annotations

__all__ = ["asked", "described", "on_data", "record_name", "runner"]

from dataclasses import asdict

from multielbo.data.multimodal import MultimodalData, content_digest
from multielbo.experiments.experiment import Experiment
from multielbo.models import registry as models
from multielbo.presets import PRESETS, preset
from multielbo.records import Record, adapted, describe_run
from multielbo.setups import registry as setups


def record_name(experiment: Experiment) -> str:
    """`<dataset>/<model>`, and `<dataset>/<model>/beta-<value>` where beta is not its preset's."""
    name = f"{experiment.dataset}/{experiment.model}"
    if (experiment.dataset, experiment.profile) in PRESETS:
        usual = preset(experiment.dataset, experiment.model, experiment.profile)
        if experiment.beta != usual.beta:
            return f"{name}/beta-{experiment.beta:g}"
    return name


def runner(model: str) -> str:
    """The module that runs a seed of the model."""
    staged = model in models.STAGED
    return "multielbo.experiments.run_staged" if staged else "multielbo.experiments.run"


def described(experiment: Experiment, device: str = "cpu") -> Record:
    """The record of an experiment by the code as it is now, of data that are not yet known."""
    config = asdict(experiment)
    config.pop("seeds")
    return describe_run(
        record_name(experiment),
        profile=experiment.profile,
        config=config,
        seeds=experiment.seeds,
        dataset=("", ""),
        modules=[
            runner(experiment.model),
            models.module_of(experiment.model),
            *dict.fromkeys(map(setups.module_of, (experiment.dataset, experiment.setup))),
        ],
        device=device,
    )


def asked(experiment: Experiment, train: MultimodalData, test: MultimodalData) -> Record:
    """The record of an experiment that is about to start on these data."""
    return on_data(described(experiment, train.labels.device.type), train, test)


def on_data(description: Record, train: MultimodalData, test: MultimodalData) -> Record:
    """The record of these data; its one digest of them is that of both splits."""
    both = content_digest({"train": train.sha256, "test": test.sha256})
    return adapted(description, dataset=(train.name, both))
