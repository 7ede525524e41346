"""Modality-private latents: beside the shared z, each modality has a u_m of its own.

The generative model is p(z) prod_m p(u_m) p(x_m | z, u_m). Only z is aggregated; u_m is inferred
from x_m alone, and of a missing modality it follows the prior N(0, I).

Convention: an encoder is built for D + P latent dimensions, of which the first D are the shared
posterior q(z | x_m) and the last P the private one q(u_m | x_m). A decoder is built for as many and
takes the concatenation [z, u_m].
"""

from __future__ import annotations

__all__ = ["PrivateMultimodalVAE"]

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from multielbo.aggregators import Aggregator
from multielbo.gaussians import kl_to_prior, log_density, log_prior, sample
from multielbo.inputs import Batch, Observed, require
from multielbo.likelihoods import Likelihood
from multielbo.networks import Decoder, Encoder
from multielbo.objectives import Bound, LogLikelihood, Objective
from multielbo.vae import MultimodalVAE

Gaussians = Mapping[str, tuple[Tensor, Tensor]]


class PrivateMultimodalVAE(MultimodalVAE):
    """A multimodal VAE whose decoders also read a latent of their modality's own.

    `encode` and `posterior` speak of the shared z alone.

    Args:
        encoders: From modality name to its posterior network, of latent_dim + private_dim.
        decoders: From modality name to its likelihood's parameters, of as many dimensions.
        likelihoods: From modality name to its likelihood.
        aggregator: How shared unimodal posteriors become the posteriors of subsets.
        objective: The bound that is trained.
        latent_dim: D, of the shared z.
        private_dim: P, of each u_m; with 0 this is `MultimodalVAE`, number for number.
        beta: Weight of the divergence in training.
        likelihood_weights: Weights of modalities in training; one where a name is left out, None
            for ones.
        private_beta: Weight of KL(q(u_m | x_m) || p(u_m)) relative to the shared divergence, for
            all modalities or by name; one where a name is left out. Only with ones is the rate
            that of a bound on the evidence.

    Raises:
        ValueError: Parts disagree on the modalities or on the latent dimensions.

    Source:
        Sutter, Daunhawer and Vogt (2021), their equation 34; the weights as in their released code.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        decoders: Mapping[str, Decoder],
        likelihoods: Mapping[str, Likelihood],
        aggregator: Aggregator,
        objective: Objective,
        latent_dim: int,
        private_dim: int,
        beta: float = 1.0,
        likelihood_weights: Mapping[str, float] | None = None,
        private_beta: float | Mapping[str, float] = 1.0,
    ) -> None:
        if private_dim < 0:
            raise ValueError(f"private_dim is {private_dim}; give 0 or more dimensions")
        self.private_dim = private_dim  # the check of the parts asks for it
        super().__init__(
            encoders,
            decoders,
            likelihoods,
            aggregator,
            objective,
            latent_dim,
            beta,
            likelihood_weights,
        )
        if not isinstance(private_beta, Mapping):
            private_beta = dict.fromkeys(self.modalities, private_beta)
        require("private_beta", private_beta, self.modalities)
        self.private_beta = {m: float(private_beta.get(m, 1.0)) for m in self.modalities}

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The bound that is trained: the shared one, and the price of the private latents.

        Wherever the objective scores a modality, its u_m has been drawn from q(u_m | x_m), and its
        divergence is paid: once in a bound on the joint evidence, and once for each ELBO that
        scores the modality where the objective is a sum of ELBOs.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.
            generator: Source of subsets and samples.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        if self.private_dim == 0:
            return super().bound(batch, observed, generator)
        xs, mask = self._readable(batch, observed)
        shared, private = self._split(xs)
        loc, scale = self._stacked(shared)
        with torch.autocast(loc.device.type, enabled=False):
            q = self.aggregator(loc, scale, mask, generator)
            divergence = kl_to_prior(*self._stacked(private))  # (M, B)
        score = self._private_scorer(xs, private, generator)
        bound = self.objective(q, self._log_likelihood(xs, mask, score), generator)
        # An objective is linear in the scores: of ones it makes how often it counts a modality.
        ones = self._log_likelihood(xs, mask, lambda m, z: z.new_ones(z.shape[:-1]))
        times = self.objective(q, ones, generator).reconstruction.detach()
        paid = zip(self.private_beta.values(), times * divergence, strict=True)
        return bound._replace(rate=bound.rate + sum(weight * nats for weight, nats in paid))

    forward = bound

    def generate(self, modality: str, z: Tensor, generator: Generator | None = None) -> Tensor:
        """E[x_m | z, u_m] of one modality alone, with u_m drawn from its prior.

        Args:
            modality: Its name.
            z: Shared latents, `(..., D)`.
            generator: Source of u_m.

        Returns:
            `(..., *shape)`.
        """
        shape = (*z.shape[:-1], self.private_dim)
        u = torch.randn(shape, generator=generator, dtype=z.dtype, device=z.device)
        return super().generate(modality, torch.cat([z, u], -1))

    def log_likelihood(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> LogLikelihood:
        """log p(x_m | z, u_m) p(u_m) / q(u_m | x_m) with u_m from q, as a function of z.

        Its exponential is an unbiased estimate of p(x_m | z), drawn anew for each z: whatever
        weighs latents by it, as importance sampling does, estimates the evidence without bias.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all. The
                others have zero.
            generator: Source of u_m.

        Returns:
            A function of z, `(..., B, D)` to `(M, ..., B)`, in nats, unweighted.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        if self.private_dim == 0:
            return super().log_likelihood(batch, observed, generator)
        xs, mask = self._readable(batch, observed)
        _, private = self._split(xs)
        score = self._private_scorer(xs, private, generator, corrected=True)
        return self._log_likelihood(xs, mask, score)

    def _private_scorer(
        self, xs: Batch, private: Gaussians, generator: Generator | None, corrected: bool = False
    ) -> Callable[[str, Tensor], Tensor]:
        """log p(x_m | z, u_m) with a u_m from q for each z, corrected for where it came from."""
        score = self._scorer(xs)

        def private_score(m: str, z: Tensor) -> Tensor:
            loc, scale = (part.expand(*z.shape[:-1], -1) for part in private[m])
            u = sample(loc, scale, generator)
            found = score(m, torch.cat([z, u], -1))
            return found + log_prior(u) - log_density(u, loc, scale) if corrected else found

        return private_score

    def _unimodal(self, xs: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        return self._split(xs)[0]

    def _split(self, xs: Batch) -> tuple[Gaussians, Gaussians]:
        """Shared and private unimodal posteriors of what is there."""
        found = {m: self.encoders[m](x) for m, x in xs.items()}
        sizes = [self.latent_dim, self.private_dim]
        parts = {m: [part.split(sizes, -1) for part in q] for m, q in found.items()}
        shared = {m: (loc[0], scale[0]) for m, (loc, scale) in parts.items()}
        private = {m: (loc[1], scale[1]) for m, (loc, scale) in parts.items()}
        return shared, private
