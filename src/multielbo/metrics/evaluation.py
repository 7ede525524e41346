"""All metrics of one trained model, from one encoding of the test data."""

from __future__ import annotations

__all__ = ["Evaluation", "evaluate"]

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from multielbo.metrics import coherence, likelihood
from multielbo.metrics.estimates import Estimate, by_inputs, mean
from multielbo.metrics.latents import encode
from multielbo.metrics.probe import probe_hits
from multielbo.subsets import powerset

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData
    from multielbo.metrics.classifiers import Classifiers
    from multielbo.vae import MultimodalVAE


@dataclass(frozen=True)
class Evaluation:
    """What a model can do with every subset of its M modalities.

    Attributes:
        subsets: All K = 2^M - 1 of them, smallest first, `(K, M)` bool.
        coherence: Of every target given every proper subset, `(K - 1, M)`; the entries of targets
            that are themselves inputs have no meaning.
        coherence_by_inputs: Mean over subsets of 1 ... M - 1 inputs, and targets outside them.
        joint_coherence: Of draws from the prior.
        probe: Accuracy of the linear probe on every subset's latents, `(K,)`.
        probe_by_inputs: Mean over subsets of 1 ... M inputs.
        log_likelihood: Of all modalities, with every subset's posterior as proposal, `(K,)`, nats.
        log_likelihood_by_inputs: Mean over subsets of 1 ... M inputs.
        monte_carlo_error: Of the log-likelihood of one example, `(K,)`, on average; near one the
            estimate rests on a single importance sample.
    """

    subsets: Tensor
    coherence: Estimate
    coherence_by_inputs: Estimate
    joint_coherence: Estimate
    probe: Estimate
    probe_by_inputs: Estimate
    log_likelihood: Estimate
    log_likelihood_by_inputs: Estimate
    monte_carlo_error: Tensor

    def metrics(self) -> dict[str, Any]:
        """The summaries by name, as numbers and lists; errors under `<name>_standard_error`."""
        names = (
            "coherence_by_inputs",
            "joint_coherence",
            "probe_by_inputs",
            "log_likelihood_by_inputs",
        )
        found: dict[str, Any] = {}
        for name in names:
            value, error = getattr(self, name)
            found |= {name: value.tolist(), f"{name}_standard_error": error.tolist()}
        return found

    def arrays(self) -> dict[str, NDArray]:
        """What was found for every subset, NaN where a target is an input."""
        absent = ~self.subsets[:-1]
        found: dict[str, NDArray] = {"subsets": self.subsets.numpy()}
        for name in ("coherence", "probe", "log_likelihood"):
            value, error = getattr(self, name)
            if name == "coherence":
                value, error = value.where(absent, np.nan), error.where(absent, np.nan)
            found |= {name: value.numpy(), f"{name}_standard_error": error.numpy()}
        return found | {"monte_carlo_error": self.monte_carlo_error.numpy()}


@torch.no_grad()
def evaluate(
    model: MultimodalVAE,
    train: MultimodalData,
    test: MultimodalData,
    classifiers: Classifiers,
    *,
    seed: int = 0,
    probe_examples: int = 500,
    prior_samples: int = 2000,
    importance_samples: int = 15,
    likelihood_examples: int | None = None,
) -> Evaluation:
    """Measure coherence, linear probe and log-likelihood of every subset of the modalities.

    Args:
        model: A trained model, on the device of the data.
        train: Where the probe's examples are drawn from.
        test: What everything is measured on.
        classifiers: Judges of what is generated.
        seed: Source of all draws.
        probe_examples: Training examples that the probe is fitted to, 500 in Sutter et al. (2021).
        prior_samples: Draws for joint coherence.
        importance_samples: For each example and subset, 15 in Sutter et al. (2021).
        likelihood_examples: Test examples for the log-likelihood, drawn at random; None for all.

    Raises:
        ValueError: The classifiers were made for another data set.
    """
    classifiers.check(test)
    model.eval()
    subsets, labels = powerset(len(model.modalities)), test.labels.cpu()
    proper = subsets[:-1]
    generator = Generator(test.labels.device).manual_seed(seed)
    posteriors = encode(model, test)

    predicted = coherence.conditional_predictions(
        model, classifiers, *posteriors, proper, generator
    )
    joint = coherence.joint_predictions(model, classifiers, prior_samples, generator)

    chosen = train.take(_some(train, probe_examples, generator))
    known = encode(model, chosen)
    hits = probe_hits(
        model.aggregator, known, chosen.labels, posteriors, labels, subsets, generator
    )

    scored = test.take(_some(test, likelihood_examples or len(test), generator))
    score, error = likelihood.log_likelihoods(model, scored, subsets, importance_samples, generator)
    return Evaluation(
        subsets=subsets,
        coherence=coherence.conditional_coherence(predicted, labels),
        coherence_by_inputs=by_inputs(
            coherence.shared_targets(predicted == labels, proper), proper
        ),
        joint_coherence=coherence.joint_coherence(joint),
        probe=mean(hits),
        probe_by_inputs=by_inputs(hits, subsets),
        log_likelihood=mean(score.cpu()),
        log_likelihood_by_inputs=by_inputs(score.cpu(), subsets),
        monte_carlo_error=error.double().mean(1).cpu(),
    )


def _some(data: MultimodalData, count: int, generator: Generator) -> Tensor:
    order = torch.randperm(len(data), generator=generator, device=generator.device)
    return order[:count]
