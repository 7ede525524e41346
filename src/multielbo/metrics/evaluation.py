"""All metrics of one trained model, from one encoding of the test data."""

from __future__ import annotations

__all__ = ["Evaluation", "evaluate"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo.metrics import coherence, likelihood
from multielbo.metrics.estimates import by_inputs, mean
from multielbo.metrics.frechet import frechet_distances
from multielbo.metrics.judgement import average_precisions, judgement
from multielbo.metrics.latents import encode
from multielbo.metrics.probe import probe_predictions
from multielbo.metrics.results import Evaluation, LogLikelihoods
from multielbo.subsets import powerset

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData
    from multielbo.metrics.classifiers import Classifiers
    from multielbo.vae import MultimodalVAE


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
    coherence_examples: int | None = None,
    importance_samples: int | Sequence[int] = 15,
    likelihood_examples: int | Sequence[int | None] | None = None,
    full_set_from: int = 1000,
    frechet_examples: int | None = 2000,
) -> Evaluation:
    """Measure coherence, linear probe, log-likelihood and Frechet distance of every subset.

    Args:
        model: A trained model, on the device of the data.
        train: Where the probe's examples are drawn from.
        test: What everything is measured on.
        classifiers: Judges of what is generated.
        seed: Source of all draws.
        probe_examples: Training examples that the probe is fitted to, 500 in Sutter et al. (2021).
        prior_samples: Draws for joint coherence.
        coherence_examples: Test examples for conditional coherence, drawn at random; None for all.
        importance_samples: For each example and subset, 15 in Sutter et al. (2021); or several
            such numbers, each with draws of its own.
        likelihood_examples: Test examples for the log-likelihood, drawn at random; None for all.
            Or one such entry for each number of samples; fewer are among the more.
        full_set_from: From this number of samples on the log-likelihood is that of the
            posterior given all modalities alone, because 2^M - 1 of them would cost too much.
        frechet_examples: Test examples for the Frechet distance, drawn at random; None for none.

    Raises:
        ValueError: The classifiers were made for another data set, the numbers of samples and of
            examples do not pair up, or no test example has any attribute.
    """
    classifiers.check(test)
    model.eval()
    samples, examples = _pairs(importance_samples, likelihood_examples)
    subsets, labels = powerset(len(model.modalities)), test.labels.cpu()
    proper = subsets[:-1]
    generator = Generator(test.labels.device).manual_seed(seed)
    loc, scale = encode(model, test)

    rows = _some(test, coherence_examples, generator)
    predicted = coherence.conditional_predictions(
        model, classifiers, loc[:, rows], scale[:, rows], proper, generator
    )
    told = labels[rows.cpu()]
    judge = judgement(told)
    shown = judge.columns(predicted)
    shown_by_inputs = by_inputs(coherence.shared_targets(shown, proper), proper, judge.estimate)
    if labels.ndim == 1:
        shown_by_target = coherence.conditional_coherence(predicted, told)
        joint = coherence.joint_coherence(
            coherence.joint_predictions(model, classifiers, prior_samples, generator)
        )
    else:
        shown_by_target, joint = judge.estimate(shown), None
    attributes = labels.ndim == 2
    shown_by_attribute = average_precisions(predicted, told)[..., 0] if attributes else None

    chosen = train.take(_some(train, probe_examples, generator))
    known = encode(model, chosen)
    answered = probe_predictions(
        model.aggregator, known, chosen.labels, (loc, scale), subsets, generator
    )
    judge = judgement(labels)
    probed = judge.columns(answered)
    probed_by_attribute = average_precisions(answered, labels)[..., 0] if attributes else None

    log_likelihoods = {}
    order = _some(test, max(number or len(test) for number in examples), generator)
    for count, number in zip(samples, examples, strict=True):
        scored = test.take(order[:number])
        asked = subsets[-1:] if count >= full_set_from else subsets
        score, error = likelihood.log_likelihoods(model, scored, asked, count, generator)
        log_likelihoods[count] = LogLikelihoods(
            membership=asked,
            by_subset=mean(score.cpu()),
            by_inputs=by_inputs(score.cpu(), asked),
            monte_carlo_error=error.double().mean(1).cpu(),
        )

    frechet = frechet_prior = None
    if frechet_examples is not None and any(len(shape) == 3 for shape in test.shapes.values()):
        rows = _some(test, frechet_examples, generator)
        frechet, frechet_prior = frechet_distances(
            model, classifiers, test.take(rows), loc[:, rows], scale[:, rows], proper, generator
        )
    return Evaluation(
        subsets=subsets,
        coherence=shown_by_target,
        coherence_by_inputs=shown_by_inputs,
        joint_coherence=joint,
        probe=judge.estimate(probed),
        probe_by_inputs=by_inputs(probed, subsets, judge.estimate),
        coherence_by_attribute=shown_by_attribute,
        probe_by_attribute=probed_by_attribute,
        log_likelihoods=log_likelihoods,
        frechet=frechet,
        frechet_prior=frechet_prior,
        judged_attributes=int(labels.any(0).sum()) if attributes else None,
    )


def _pairs(
    samples: int | Sequence[int], examples: int | Sequence[int | None] | None
) -> tuple[Sequence[int], Sequence[int | None]]:
    """Numbers of importance samples, and the number of test examples for each."""
    samples = [samples] if isinstance(samples, int) else list(samples)
    if isinstance(examples, int) or examples is None:
        examples = [examples] * len(samples)
    if not samples or len(samples) != len(examples) or len(set(samples)) < len(samples):
        raise ValueError(
            f"importance_samples {samples} and likelihood_examples {list(examples)} do not pair "
            "up; give different numbers of samples, and for each a number of examples or None"
        )
    return samples, list(examples)


def _some(data: MultimodalData, count: int | None, generator: Generator) -> Tensor:
    """Rows drawn at random without replacement, all in their order for None."""
    if count is None:
        return torch.arange(len(data), device=generator.device)
    order = torch.randperm(len(data), generator=generator, device=generator.device)
    return order[:count]
