"""The settings of an experiment, every choice resolved."""

from __future__ import annotations

__all__ = ["Experiment"]

from dataclasses import dataclass

from multielbo.profiles import check_profile


@dataclass(frozen=True)
class Experiment:
    """One model on one data set.

    Attributes:
        dataset: A name of `multielbo.setups.registry.SETUPS`; with it come the judges' networks,
            and the model's networks, likelihoods and their weights unless `networks` is given.
        model: A name that `multielbo.models.registry` knows.
        profile: `"quick"`, `"laptop"` or `"full"`.
        seeds: One run each.
        latent_dim: D.
        beta: Weight of the divergence.
        epochs, batch_size, learning_rate, precision: Of training.
        classifier_epochs: Of the classifiers' training.
        train_examples: Training tuples, or None for all.
        probe_examples: Tuples that the linear probe is fitted to.
        prior_samples: Draws for joint coherence.
        coherence_examples: Test tuples for conditional coherence, or None for all.
        importance_samples: Draws for each log-likelihood; one log-likelihood for each entry.
        likelihood_examples: For each of them the number of test tuples, or None for all.
        frechet_examples: Test tuples for the Frechet distance, or None for none.
        networks: Another set-up of the same data, for the model; empty for the data set's own.
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
    coherence_examples: int | None = None
    importance_samples: tuple[int, ...] = (15,)
    likelihood_examples: tuple[int | None, ...] = (None,)
    frechet_examples: int | None = 2000
    networks: str = ""

    def __post_init__(self) -> None:
        check_profile(self.profile)

    @property
    def setup(self) -> str:
        """Name of the set-up that gives the model's networks."""
        return self.networks or self.dataset
