"""Average precision against scikit-learn and by hand, and its bootstrap error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from multielbo.metrics import estimates
from multielbo.metrics.judgement import (
    average_precision,
    average_precisions,
    judgement,
    mean_average_precision,
    resamples,
)


def once(labels: Tensor) -> Tensor:
    return torch.ones(1, len(labels))


def test_average_precision_of_a_ranking_worked_out_by_hand():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    labels = torch.tensor([True, False, True, False])
    # Precision is 1 at the first positive, and 2/3 at the second.
    assert average_precision(scores, labels, once(labels)).tolist() == pytest.approx([5 / 6])
    assert average_precision(-scores, labels, once(labels)).tolist() == pytest.approx([1 / 2])


def test_a_judge_that_sees_no_difference_scores_the_share_of_positives():
    labels = torch.arange(10) < 3
    alike = torch.zeros(10)
    assert average_precision(alike, labels, once(labels)).tolist() == pytest.approx([0.3])
    assert average_precision(labels.float(), labels, once(labels)).tolist() == [1]


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_that_of_scikit_learn(generator, ties):
    scores = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    scores = (2 * scores).round() if ties else scores
    labels = torch.rand(200, 3, generator=generator) < 0.2
    counts = resamples(200, 4, generator)
    expected = [
        np.mean(
            [
                average_precision_score(y, s, sample_weight=each)
                for y, s in zip(labels.T, scores.T, strict=True)
            ]
        )
        for each in counts
    ]
    found = mean_average_precision(scores, labels, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_each_attribute_has_the_average_precision_of_its_own_column(generator):
    scores = torch.randn(2, 80, 3, generator=generator)
    labels = torch.rand(80, 3, generator=generator) < 0.3
    labels[:, 2] = False
    found = average_precisions(scores, labels)
    assert found.shape == (2, 3, 1)
    for row in range(2):
        for column in range(2):
            alone = average_precision(scores[row, :, column], labels[:, column], once(labels))
            assert found[row, column].tolist() == alone.tolist()
    assert found[:, 2].isnan().all(), "nobody has it"
    mean = mean_average_precision(scores, labels)
    torch.testing.assert_close(found[:, :2].mean(1), mean)


def test_attributes_that_nobody_has_are_left_out_of_the_mean(generator):
    scores = torch.randn(50, 3, generator=generator)
    labels = torch.rand(50, 3, generator=generator) < 0.4
    labels[:, 1] = False
    some = mean_average_precision(scores[:, [0, 2]], labels[:, [0, 2]])
    torch.testing.assert_close(mean_average_precision(scores, labels), some)
    with pytest.raises(ValueError, match="no example has any attribute"):
        judgement(torch.zeros(5, 2, dtype=torch.bool))


def test_leading_axes_are_judged_one_by_one(generator):
    scores = torch.randn(2, 3, 40, 2, generator=generator)
    labels = torch.rand(40, 2, generator=generator) < 0.4
    found = mean_average_precision(scores, labels)
    assert found.shape == (2, 3, 1)
    torch.testing.assert_close(found[1, 2], mean_average_precision(scores[1, 2], labels))


def test_resamples_hold_as_many_examples_as_there_are(generator):
    counts = resamples(30, 200, generator)
    assert counts[0].tolist() == [1] * 30
    assert counts.sum(1).tolist() == [30] * 201
    # Each is drawn once on average, with the variance of a binomial.
    assert float(counts[1:].var()) == pytest.approx(1 - 1 / 30, rel=0.1)


def test_the_bootstrap_error_is_the_spread_over_fresh_examples(generator):
    def draw(examples: int) -> tuple[Tensor, Tensor]:
        labels = torch.rand(examples, 1, generator=generator) < 0.3
        return torch.randn(labels.shape, generator=generator) + labels, labels

    fresh = torch.stack([mean_average_precision(*draw(400)) for _ in range(200)]).std()
    errors = []
    for _ in range(10):
        scores, labels = draw(400)
        judge = judgement(labels)
        errors.append(judge.estimate(judge.columns(scores)).standard_error)
    assert float(torch.stack(errors).mean()) == pytest.approx(float(fresh), rel=0.2)


def test_classes_are_judged_by_hits_with_the_binomial_error(generator):
    labels = torch.randint(3, (100,), generator=generator)
    seen = torch.randint(3, (2, 100), generator=generator)
    judge = judgement(labels)
    expected = estimates.mean(seen == labels)
    for found, wanted in zip(judge.estimate(judge.columns(seen)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_targets_share_their_resamples(generator):
    """Two judges that see the same err together: their mean has the error of one."""
    labels = torch.rand(300, 2, generator=generator) < 0.3
    scores = torch.randn(300, 2, generator=generator) + labels
    judge = judgement(labels)
    one = judge.columns(scores)
    twice = judge.columns(torch.stack([scores, scores]))
    membership = torch.eye(2, dtype=torch.bool)
    found = estimates.by_inputs(twice, membership, judge.estimate)
    torch.testing.assert_close(found.standard_error[0], judge.estimate(one).standard_error)
