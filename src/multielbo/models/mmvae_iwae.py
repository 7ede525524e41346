"""MMVAE (Shi et al., 2019) with several importance-weighted samples per expert."""

from __future__ import annotations

__all__ = ["ImportanceBound", "importance_weighted", "mmvae_iwae"]

from collections.abc import Callable

from torch import Generator, Tensor

from multielbo.importance import stratified_dreg
from multielbo.mixtures import Posteriors
from multielbo.models.mmvae import mmvae
from multielbo.models.model import Model
from multielbo.objectives import Bound, LogLikelihood, Objective

Estimator = Callable[[Posteriors, LogLikelihood, int, Generator | None], Tensor]


class ImportanceBound(Bound):
    """A bound whose two sides stand in one logarithm, so that they cannot be weighted apart.

    Attributes:
        reconstruction: Average of log p(x_m | z) over the draws, `(M, B)`, without a gradient.
        rate: What the bound is below their sum, `(B,)`; it carries the gradient.
    """

    def elbo(self, beta: float = 1.0, likelihood_weights: Tensor | None = None) -> Tensor:
        """The bound, `(B,)`, in nats.

        Raises:
            ValueError: A weight other than one is asked for.
        """
        if beta != 1 or likelihood_weights is not None:
            raise ValueError(
                f"importance-weighted bound: beta is {beta} and likelihood weights are "
                f"{'given' if likelihood_weights is not None else 'ones'}; it has neither, "
                "train it with beta 1 and without weights"
            )
        return super().elbo()


def importance_weighted(estimator: Estimator, samples: int) -> Objective:
    """The objective whose value and gradient are those of an estimator of `importance`.

    Args:
        estimator: `dreg`, `stratified_dreg`, or another with the same arguments.
        samples: Draws from each component.
    """

    def objective(
        q: Posteriors, log_likelihood: LogLikelihood, generator: Generator | None = None
    ) -> Bound:
        scores = []

        def remembering(z: Tensor, wanted: Tensor | None = None) -> Tensor:
            scores.append(log_likelihood(z, wanted))
            return scores[-1]

        value = estimator(q, remembering, samples, generator)
        reconstruction = (q.weights * scores[0].detach().mean(1)).sum(1)
        return ImportanceBound(reconstruction, reconstruction.sum(0) - value)

    return objective


def mmvae_iwae(samples: int = 30, estimator: Estimator = stratified_dreg) -> Model:
    """Mixture of the unimodal posteriors under Equation eq-iwae-outside.

    Args:
        samples: Draws from each expert; the released code takes 30 on MNIST-SVHN.
        estimator: Of the gradient; `stratified_dreg` is unbiased.
    """
    return Model(mmvae().aggregator, importance_weighted(estimator, samples))
