"""What a linear experiment has learned, held against what can be known exactly."""

from __future__ import annotations

__all__ = ["Report", "captured", "report", "subset_divergence"]

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from multielbo import gaussians, masks
from multielbo.linear_data import LinearModel, centred, likeliest, log_likelihood, oracle
from multielbo.linear_experiment import Trained
from multielbo.linear_objectives import bound, posteriors
from multielbo.mixtures import Posteriors
from multielbo.oracle import LinearGaussian


class Report(NamedTuple):
    """Averages over data, in nats per example, for each of R seeds.

    Attributes:
        best: log-likelihood of the likeliest decoders with this noise, one number.
        log_likelihood: Exact, of the learned decoders, `(R,)`.
        objective: Its value, one mask and one latent for each example and round, `(R,)`.
        rate: What the objective pays, `(R,)`.
        subsets: All of them, the empty one first, `(2^M, M)` bool.
        divergence: KL(q(z | x_S) || p(z | x_S)) under the learned decoders, `(2^M, R)`.
    """

    best: Tensor
    log_likelihood: Tensor
    objective: Tensor
    rate: Tensor
    subsets: Tensor
    divergence: Tensor

    @property
    def shortfall(self) -> Tensor:
        """Relative to the largest log-likelihood, `(R,)`."""
        return (self.best - self.log_likelihood) / self.best.abs()

    @property
    def distortion(self) -> Tensor:
        """What the objective loses in reconstruction, `(R,)`: the rest of it, beside the rate."""
        return -self.objective - self.rate

    @property
    def gap(self) -> Tensor:
        """Log-likelihood minus objective, `(R,)`; negative where the objective is no bound."""
        return self.log_likelihood - self.objective


def report(
    trained: Trained,
    x: Tensor,
    *,
    rounds: int = 10,
    draws: int = 20,
    examples: int | None = None,
    seed: int = 0,
) -> Report:
    """Evaluate all seeds.

    Args:
        trained: The seeds.
        x: Data, `(M, B, N)`; the padding is not read.
        rounds: Passes over the data for the objective, with fresh masks and latents.
        draws: Latents per component where a divergence of a mixture has to be sampled.
        examples: For divergences, the first ones; None takes all.
        seed: Of masks and latents.
    """
    first = trained.decoders[0]
    seeds = len(trained.decoders)
    generator = torch.Generator().manual_seed(seed)
    everyone = first.padded(x).float()[:, None].expand(-1, seeds, -1, -1)
    values, rates = [], []
    with torch.no_grad():
        for _ in range(rounds):
            kept = masks.draw(trained.settings.law, len(x), seeds * x.shape[1], generator)
            asked = trained.network, trained.weights, trained.settings, everyone, kept
            found = bound(*asked, first.noise, generator)
            values.append(_by_seed(found.elbo(trained.settings.beta), seeds))
            rates.append(_by_seed(found.rate, seeds))
        subsets, few = masks.all_subsets(len(x)), x[:, :examples]
        rows = subsets[..., None].expand(-1, -1, seeds * few.shape[1])
        asked = trained.network, trained.weights, trained.settings, everyone[:, :, :examples], rows
        known = [(oracle(model), centred(model, few)) for model in trained.decoders]
        divergence = torch.stack(
            [
                _divergences(known, q, row, draws, generator)
                for q, row in zip(posteriors(*asked), subsets, strict=True)
            ]
        )
    best = likeliest(x, first.present, trained.settings.latent_dim, first.noise)
    return Report(
        log_likelihood(best, x),
        trained.curve[1][-1],
        torch.stack(values).mean(0),
        torch.stack(rates).mean(0),
        subsets,
        divergence,
    )


def subset_divergence(
    exact: LinearGaussian,
    batch: Mapping[str, Tensor],
    q: Posteriors,
    names: list[str],
    draws: int,
    generator: Generator | None = None,
) -> Tensor:
    """KL(q || p(z | x_S)) of every example, `(B,)`: closed for one Gaussian, sampled for more.

    Args:
        exact: The model.
        batch: Its data.
        q: The answers for S.
        names: The modalities in S, maybe none.
        draws: Latents per component.
        generator: Source of latents.
    """
    if len(q.loc) == 1:
        if not names:
            return gaussians.kl_to_prior(q.loc[0], q.scale[0])
        return exact.gap(batch, q.loc[0], torch.diag_embed(q.scale[0].square()), names)
    shape = (draws, *q.loc.shape)
    z = gaussians.sample(q.loc.expand(shape), q.scale.expand(shape), generator)
    if names:
        truth = MultivariateNormal(*exact.posterior(batch, names)).log_prob(z)
    else:
        truth = gaussians.log_prior(z)
    return (q.weights * (q.log_density(z) - truth)).sum(1).mean(0)


def captured(model: LinearModel, truth: LinearModel) -> Tensor:
    """Squared loading along each true factor, relative to the true one, `(D,)`.

    Args:
        model: What was learned; in what basis of latents does not matter.
        truth: Decoders with orthogonal factors, of which all entries are then one.
    """
    true = truth.loadings[truth.present].double()
    learned = model.loadings[model.present].double()
    return (learned.T @ true).square().sum(0) / true.square().sum(0).square()


def _divergences(
    known: list[tuple[LinearGaussian, dict[str, Tensor]]],
    answers: Posteriors,
    row: Tensor,
    draws: int,
    generator: Generator,
) -> Tensor:
    """Averages over examples, one for each seed."""
    names = [str(m) for m, seen in enumerate(row.tolist()) if seen]
    examples = answers.loc.shape[1] // len(known)
    found = []
    for r, (exact, batch) in enumerate(known):
        here = slice(r * examples, (r + 1) * examples)
        q = Posteriors(
            answers.loc[:, here].double(),
            answers.scale[:, here].double(),
            answers.weights[:, here].double(),
            answers.members[..., here],
        )
        found.append(subset_divergence(exact, batch, q, names, draws, generator).mean())
    return torch.stack(found)


def _by_seed(values: Tensor, seeds: int) -> Tensor:
    return values.view(seeds, -1).mean(1).double()
