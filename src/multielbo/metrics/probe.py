"""The linear probe: how much of the class a linear map can read off the latents."""

from __future__ import annotations

__all__ = ["linear_probe", "probe_hits"]

import torch
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator
from multielbo.metrics.latents import answers, representation


def linear_probe(codes: Tensor, labels: Tensor, test_codes: Tensor) -> Tensor:
    """Classes that a logistic regression fitted to `codes` predicts for `test_codes`.

    Args:
        codes: Training latents, `(N, D)`.
        labels: Their classes, `(N,)`; at least two must occur.
        test_codes: `(N', D)`.

    Returns:
        `(N',)`, on the CPU.

    Raises:
        ValueError: All training labels are the same.
    """
    regression = LogisticRegression(max_iter=2000).fit(codes.cpu().numpy(), labels.cpu().numpy())
    return torch.from_numpy(regression.predict(test_codes.cpu().numpy()))


def probe_hits(
    aggregator: Aggregator,
    train: tuple[Tensor, Tensor],
    labels: Tensor,
    test: tuple[Tensor, Tensor],
    test_labels: Tensor,
    membership: Tensor,
    generator: Generator | None = None,
) -> Tensor:
    """Which test examples a probe fitted for each subset classifies right, `(K, N')` bool.

    Args:
        aggregator: How subsets are answered.
        train: Unimodal means and standard deviations to fit to, `(M, N, D)` each.
        labels: Their classes, `(N,)`.
        test: The same of the examples to classify, `(M, N', D)` each.
        test_labels: `(N',)`.
        membership: The K subsets, `(K, M)` bool.
        generator: Chooses the component that stands for a mixture.
    """
    codes = (representation(q, generator) for q in answers(aggregator, *train, membership))
    test_codes = (representation(q, generator) for q in answers(aggregator, *test, membership))
    predicted = [
        linear_probe(code, labels, test_code)
        for code, test_code in zip(codes, test_codes, strict=True)
    ]
    return torch.stack(predicted) == test_labels.cpu()
