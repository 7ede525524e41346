"""What an experiment is called, and how its record describes it before it runs."""

from __future__ import annotations

__all__ = ["asked", "described", "record_name"]

from dataclasses import asdict

from multielbo.data.multimodal import MultimodalData
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
            "multielbo.experiments.run",
            models.module_of(experiment.model),
            setups.module_of(experiment.dataset),
        ],
        device=device,
    )


def asked(experiment: Experiment, train: MultimodalData) -> Record:
    """The record of an experiment that is about to start on these data."""
    description = described(experiment, train.labels.device.type)
    return adapted(description, dataset=(train.name, train.sha256))
