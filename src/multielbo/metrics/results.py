"""What an evaluation found, and the names under which records keep it."""

from __future__ import annotations

__all__ = ["Evaluation", "LogLikelihoods"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from multielbo.metrics.estimates import Estimate


@dataclass(frozen=True)
class LogLikelihoods:
    """log p(x) of all modalities, by subsets whose posteriors are the proposals, in nats.

    Attributes:
        membership: The subsets asked, `(K', M)` bool.
        by_subset: `(K',)`.
        by_inputs: Mean over subsets of each size, smallest first.
        monte_carlo_error: Of one example, `(K',)`, on average; near one the estimate rests on a
            single importance sample.
    """

    membership: Tensor
    by_subset: Estimate
    by_inputs: Estimate
    monte_carlo_error: Tensor


@dataclass(frozen=True)
class Evaluation:
    """What a model can do with every subset of its M modalities.

    Where labels are attributes, coherence and probe are mean average precisions with bootstrap
    errors, and accuracies of classes elsewhere.

    Attributes:
        subsets: All K = 2^M - 1 of them, smallest first, `(K, M)` bool.
        coherence: Of every target given every proper subset, `(K - 1, M)`; the entries of targets
            that are themselves inputs have no meaning.
        coherence_by_inputs: Mean over subsets of 1 ... M - 1 inputs, and targets outside them.
        joint_coherence: Of draws from the prior; None for attributes, of which two pictures
            rarely agree in all.
        probe: Of every subset's latents, `(K,)`.
        probe_by_inputs: Mean over subsets of 1 ... M inputs.
        log_likelihoods: By number of importance samples.
        frechet: Frechet distance in the classifiers' features, of every target given 1 ... M - 1
            inputs, `(M, M - 1)`, not a number for modalities that are no pictures; None where it
            was not asked for, or where there are no pictures.
        frechet_prior: The same for draws from the prior, `(M,)`.
        coherence_by_attribute: Average precision of each of A attributes, `(K - 1, M, A)`, its mean
            over the attributes that occur being `coherence`; None for classes.
        probe_by_attribute: Likewise of the probe, `(K, A)`.
        judged_attributes: How many attributes occur in the test data; None for classes.
    """

    subsets: Tensor
    coherence: Estimate
    coherence_by_inputs: Estimate
    joint_coherence: Estimate | None
    probe: Estimate
    probe_by_inputs: Estimate
    log_likelihoods: Mapping[int, LogLikelihoods]
    frechet: Tensor | None = None
    frechet_prior: Tensor | None = None
    coherence_by_attribute: Tensor | None = None
    probe_by_attribute: Tensor | None = None
    judged_attributes: int | None = None

    def metrics(self) -> dict[str, Any]:
        """The summaries by name, as numbers and lists; errors under `<name>_standard_error`.

        Frechet distances, the mean over pictures, have no error; counts have none either.
        """
        estimates = {
            "coherence_by_inputs": self.coherence_by_inputs,
            "joint_coherence": self.joint_coherence,
            "probe_by_inputs": self.probe_by_inputs,
        }
        for suffix, found in self._log_likelihoods():
            whole = len(found.membership) == len(self.subsets)
            name = f"log_likelihood{suffix}_{'by_inputs' if whole else 'full_set'}"
            value, error = found.by_inputs
            estimates[name] = found.by_inputs if whole else Estimate(value[0], error[0])
        named: dict[str, Any] = {}
        for name, estimate in estimates.items():
            if estimate is not None:
                named[name] = estimate.value.tolist()
                named[f"{name}_standard_error"] = estimate.standard_error.tolist()
        if self.frechet is not None and self.frechet_prior is not None:
            named["frechet_by_inputs"] = self.frechet.nanmean(0).tolist()
            named["frechet_prior"] = self.frechet_prior.nanmean().tolist()
        if self.judged_attributes is not None:
            named["judged_attributes"] = self.judged_attributes
        return named

    def arrays(self) -> dict[str, NDArray]:
        """What was found for every subset, NaN where a target is an input or nothing was asked."""
        absent = ~self.subsets[:-1]
        value, error = self.coherence
        named = {
            "subsets": self.subsets.numpy(),
            "coherence": value.where(absent, np.nan).numpy(),
            "coherence_standard_error": error.where(absent, np.nan).numpy(),
            "probe": self.probe.value.numpy(),
            "probe_standard_error": self.probe.standard_error.numpy(),
        }
        for suffix, found in self._log_likelihoods():
            name = f"log_likelihood{suffix}"
            named[name] = self._by_subset(found, found.by_subset.value)
            named[f"{name}_standard_error"] = self._by_subset(found, found.by_subset.standard_error)
            named[f"monte_carlo_error{suffix}"] = self._by_subset(found, found.monte_carlo_error)
        if self.frechet is not None and self.frechet_prior is not None:
            named["frechet"] = self.frechet.numpy()
            named["frechet_prior"] = self.frechet_prior.numpy()
        if self.coherence_by_attribute is not None and self.probe_by_attribute is not None:
            outside = self.coherence_by_attribute.where(absent[..., None], np.nan)
            named["coherence_by_attribute"] = outside.numpy()
            named["probe_by_attribute"] = self.probe_by_attribute.numpy()
        return named

    def _log_likelihoods(self) -> list[tuple[str, LogLikelihoods]]:
        """Each with the suffix of its name, which the first number of samples does without."""
        return [
            (f"_{samples}" if position else "", found)
            for position, (samples, found) in enumerate(self.log_likelihoods.items())
        ]

    def _by_subset(self, found: LogLikelihoods, values: Tensor) -> NDArray:
        """Values of the subsets asked, which are the last, at their place among all."""
        every = np.full(len(self.subsets), np.nan)
        every[-len(values) :] = values.numpy()
        return every
