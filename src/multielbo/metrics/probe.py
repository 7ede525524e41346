"""The linear probe: how much of the labels a linear map can read off the latents."""

from __future__ import annotations

__all__ = ["linear_probe", "probe_predictions"]

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator
from multielbo.metrics.latents import answers, representation


def linear_probe(codes: Tensor, labels: Tensor, test_codes: Tensor) -> Tensor:
    """What a logistic regression fitted to `codes` says of `test_codes`.

    Attributes have a regression each. One that all or none of the training examples have teaches
    nothing, and every test example has the same score.

    Args:
        codes: Training latents, `(N, D)`.
        labels: Their classes, `(N,)`, of which at least two must occur; or their attributes,
            `(N, A)` bool.
        test_codes: `(N', D)`.

    Returns:
        Classes `(N',)`, or scores of attributes `(N', A)`, on the CPU.

    Raises:
        ValueError: All training labels are the same.
    """
    x, y, test = (part.cpu().numpy() for part in (codes, labels, test_codes))
    if y.ndim == 1:
        return torch.from_numpy(_regression().fit(x, y).predict(test))
    scores = [
        _regression().fit(x, each).decision_function(test)
        if each.any() and not each.all()
        else np.zeros(len(test), test.dtype)
        for each in y.T
    ]
    return torch.from_numpy(np.stack(scores, 1))


def probe_predictions(
    aggregator: Aggregator,
    train: tuple[Tensor, Tensor],
    labels: Tensor,
    test: tuple[Tensor, Tensor],
    membership: Tensor,
    generator: Generator | None = None,
) -> Tensor:
    """What a probe fitted for each subset says of the test examples.

    Args:
        aggregator: How subsets are answered.
        train: Unimodal means and standard deviations to fit to, `(M, N, D)` each.
        labels: Their classes, `(N,)`, or attributes, `(N, A)` bool.
        test: The same of the examples to classify, `(M, N', D)` each.
        membership: The K subsets, `(K, M)` bool.
        generator: Chooses the component that stands for a mixture.

    Returns:
        Classes `(K, N')`, or scores of attributes `(K, N', A)`.
    """
    codes = (representation(q, generator) for q in answers(aggregator, *train, membership))
    test_codes = (representation(q, generator) for q in answers(aggregator, *test, membership))
    predicted = [
        linear_probe(code, labels, test_code)
        for code, test_code in zip(codes, test_codes, strict=True)
    ]
    return torch.stack(predicted)


def _regression() -> LogisticRegression:
    return LogisticRegression(max_iter=2000)
