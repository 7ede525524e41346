"""The settings of an experiment, every choice resolved."""

from __future__ import annotations

__all__ = ["Experiment"]

from dataclasses import dataclass

from multielbo.profiles import check_profile


@dataclass(frozen=True)
class Experiment:
    """One model on one data set.

    Attributes:
        dataset: A name of `multielbo.setups.registry.SETUPS`; with it come networks, likelihoods
            and their weights.
        model: A name of `multielbo.models.registry.MODELS`.
        profile: `"quick"`, `"laptop"` or `"full"`.
        seeds: One run each.
        latent_dim: D.
        beta: Weight of the divergence.
        epochs, batch_size, learning_rate, precision: Of training.
        classifier_epochs: Of the classifiers' training.
        train_examples: Training tuples, or None for all.
        probe_examples: Tuples that the linear probe is fitted to.
        prior_samples: Draws for joint coherence.
        importance_samples: Draws for each log-likelihood.
        likelihood_examples: Test tuples for the log-likelihood, or None for all.
    """

    dataset: str
    model: str
    profile: str
    seeds: tuple[int, ...]
    latent_dim: int
    beta: float
    epochs: int
    batch_size: int
    learning_rate: float
    classifier_epochs: int
    precision: str = "bfloat16"
    train_examples: int | None = None
    probe_examples: int = 500
    prior_samples: int = 2000
    importance_samples: int = 15
    likelihood_examples: int | None = None

    def __post_init__(self) -> None:
        check_profile(self.profile)
