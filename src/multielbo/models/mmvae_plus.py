"""MMVAE+ (Palumbo et al., 2023): private latents that a reconstruction from elsewhere cannot read.

Beside the shared z each modality has a u_m, as in `multielbo.private`. What explains a modality
from another one's z takes u_m from an auxiliary prior with a scale that is learned, so that nothing
private has to enter z.
"""

from __future__ import annotations

__all__ = ["MMVAEPlus", "mmvae_plus", "mmvae_plus_stages", "recipe"]

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from multielbo.gaussians import log_density, log_prior, sample
from multielbo.importance import draw, iwae_outside
from multielbo.inputs import Batch, Observed
from multielbo.likelihoods import Likelihood
from multielbo.models.mmvae import mmvae
from multielbo.models.mmvae_iwae import ImportanceBound
from multielbo.models.recipe import Recipe
from multielbo.networks import Decoder, Encoder, seeded
from multielbo.objectives import Bound
from multielbo.private import PrivateMultimodalVAE
from multielbo.setups.setup import Setup
from multielbo.stages import Stage
from multielbo.train_config import TrainConfig

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


class MMVAEPlus(PrivateMultimodalVAE):
    """A mixture of experts over the shared latent, with auxiliary priors of the private ones.

    The auxiliary priors are a device of training: at test time a u_m that nobody inferred follows
    its prior N(0, I).

    Args:
        encoders: From modality name to its posterior network, of latent_dim + private_dim.
        decoders: From modality name to its likelihood's parameters, of as many dimensions.
        likelihoods: From modality name to its likelihood.
        latent_dim: D, of the shared z.
        private_dim: P, of each u_m; with 0 this is MMVAE, number for number.
        beta: Weight of the divergences in training.
        likelihood_weights: Weights of modalities in training; one where a name is left out, None
            for ones.
        samples: Draws from each expert; with more than one there are no weights.

    Raises:
        ValueError: Parts disagree on the modalities or on the latent dimensions.

    Source:
        Palumbo, Daunhawer and Vogt (2023), with Gaussians for their released code's Laplace
        densities.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        decoders: Mapping[str, Decoder],
        likelihoods: Mapping[str, Likelihood],
        latent_dim: int,
        private_dim: int,
        beta: float = 1.0,
        likelihood_weights: Mapping[str, float] | None = None,
        samples: int = 1,
    ) -> None:
        dims = (latent_dim, private_dim, beta, likelihood_weights)
        super().__init__(encoders, decoders, likelihoods, *mmvae(), *dims)
        self.samples = samples
        self.auxiliary_log_scale = nn.Parameter(torch.zeros(len(self.modalities), private_dim))

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The mixture's bound, with others' private latents at a guess, Equation eq-mmvae-plus.

        With several samples the average over them stands in the logarithm, that over experts
        outside, as in Equation eq-iwae-outside.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.
            generator: Source of all latents.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        xs, mask = self._readable(batch, observed)
        shared, private = self._split(xs)
        loc, scale = self._stacked(shared)
        with torch.autocast(loc.device.type, enabled=False):
            q = self.aggregator(loc, scale, mask, generator)
            z = draw(q, self.samples, generator)  # (L, M, B, D)
            own = tuple(part.expand(len(z), -1, -1, -1) for part in self._stacked(private))
            u = sample(*own, generator)  # (L, M, B, P), of each modality what it says of itself
            rate = q.log_density(z) - log_prior(z) + log_density(u, *own) - log_prior(u)
        score = self._log_likelihood(xs, mask, self._guessing(xs, u, generator))(z)
        reconstruction = (q.weights * score.mean(1)).sum(1)  # of (M, L, M, B)
        if self.samples == 1:
            return Bound(reconstruction, (q.weights * rate[0]).sum(0))
        value = iwae_outside(score.sum(0) - rate, q.weights)
        explained = reconstruction.detach()
        return ImportanceBound(explained, explained.sum(0) - value)

    forward = bound

    def _guessing(
        self, xs: Batch, u: Tensor, generator: Generator | None
    ) -> Callable[[str, Tensor], Tensor]:
        """log p(x_m | z, u_m), with the inferred u_m for x_m's own z and a guess for all others."""
        score = self._scorer(xs)

        def guessing_score(m: str, z: Tensor) -> Tensor:
            row = self.modalities.index(m)
            spread = self.auxiliary_log_scale[row].exp().expand_as(u)
            guess = sample(torch.zeros_like(u), spread, generator)
            is_own = torch.arange(len(self.modalities), device=u.device)[:, None, None] == row
            return score(m, torch.cat([z, torch.where(is_own, u, guess)], -1))

        return guessing_score


def mmvae_plus(
    setup: Setup, latent_dim: int, *, seed: int, beta: float = 1.0, samples: int = 1
) -> MMVAEPlus:
    """MMVAE+ before it is trained, with networks as wide as those of the other models.

    Args:
        setup: Networks, likelihoods and weights; where it has private latents, so many are added
            to the shared ones, as for every model.
        latent_dim: Of the networks where the set-up has no private latents: half of them, rounded
            down, are private.
        seed: Source of the first weights.
        beta: Weight of the divergences in training.
        samples: Draws from each expert.
    """
    private = setup.private_dim or latent_dim // 2
    whole = latent_dim + setup.private_dim
    parts = setup.modalities
    with seeded(seed):
        encoders = {name: part.encoder(whole) for name, part in parts.items()}
        decoders = {name: part.decoder(whole) for name, part in parts.items()}
    return MMVAEPlus(
        encoders,
        decoders,
        {name: part.likelihood for name, part in parts.items()},
        whole - private,
        private,
        beta,
        setup.likelihood_weights,
        samples,
    )


def mmvae_plus_stages(
    model: MMVAEPlus,
    train: MultimodalData,
    configs: Mapping[str, TrainConfig],
    held_out: MultimodalData | None = None,
) -> list[Stage]:
    """The one stage, `"whole"`; a recipe, because the auxiliary priors are weights of the model.

    Args:
        model: What is trained.
        train: Training examples.
        configs: Its settings, by name.
        held_out: Examples that choose the best epoch, or None for the last one.
    """
    return [Stage("whole", lambda: (model, train, held_out), configs["whole"])]


def recipe() -> Recipe:
    """MMVAE+ as our experiments train it: one sample from each expert, no held-out examples.

    What the paper sets is not known to us; MultiVae takes ten samples by default, and the released
    script's default is two.
    """
    return Recipe(mmvae_plus, mmvae_plus_stages, {"whole": 1.0}, held_out=0.0)
