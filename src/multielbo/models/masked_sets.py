"""Set encoders under the masked objective (Hirt et al., 2024): one network answers every subset.

Each modality's encoder is the one that all other models have. Its mean and log-scale are features
here, which a `multielbo.set_encoders.SetEncoder` pools. Nothing was released for pictures: the
sizes are those of the released scripts for vectors, `pooled_width` says how.
"""

from __future__ import annotations

__all__ = ["MaskedSetVAE", "Pooling", "masked_set_stages", "masked_set_vae", "pooled_width"]

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from multielbo.inputs import Batch
from multielbo.likelihoods import Likelihood
from multielbo.masks import MaskLaw
from multielbo.models.masked import EVERY_SUBSET, masked_halves
from multielbo.models.set_answers import SetAnswers
from multielbo.networks import Decoder, Encoder, seeded
from multielbo.private import Gaussians, PrivateMultimodalVAE
from multielbo.set_encoders import SetEncoder, SumPooling
from multielbo.setups.setup import Setup
from multielbo.stages import Stage
from multielbo.train_config import TrainConfig

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData

Pooling = Callable[[int, int, int], SetEncoder]
"""From the numbers of features, of latents and of hidden units to a set encoder."""


class MaskedSetVAE(PrivateMultimodalVAE):
    """A set encoder between the modalities' encoders and the shared latent.

    `encode` gives features, the mean and the log-scale of each modality's encoder side by side, in
    the place of means, and ones in the place of standard deviations. Where there are private
    latents each is inferred from its own modality alone, as in `multielbo.private`, and not by an
    equivariant encoder.

    Args:
        encoders: From modality name to its network, of latent_dim + private_dim.
        decoders: From modality name to its likelihood's parameters, of as many dimensions.
        likelihoods: From modality name to its likelihood.
        latent_dim: D, of the shared z.
        pooling: Gives the set encoder.
        private_dim: P, of each u_m.
        beta: Weight of all divergences in training.
        likelihood_weights: Weights of modalities in training; one where a name is left out, None
            for ones.
        law: Of the masks.

    Raises:
        ValueError: Parts disagree on the modalities or on the latent dimensions.

    Source:
        Hirt, Campolo, Leong and Ortega (2024), their released code.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        decoders: Mapping[str, Decoder],
        likelihoods: Mapping[str, Likelihood],
        latent_dim: int,
        pooling: Pooling = SumPooling,
        private_dim: int = 0,
        beta: float = 1.0,
        likelihood_weights: Mapping[str, float] | None = None,
        law: MaskLaw = EVERY_SUBSET,
    ) -> None:
        set_encoder = pooling(2 * latent_dim, latent_dim, pooled_width(latent_dim))
        chosen = SetAnswers(set_encoder, law), masked_halves
        dims = latent_dim, private_dim, beta, likelihood_weights
        super().__init__(encoders, decoders, likelihoods, *chosen, *dims)
        self.set_encoder = set_encoder  # its weights are the model's

    def _split(self, xs: Batch) -> tuple[Gaussians, Gaussians]:
        """Features and ones, and the posteriors of private latents, of what is there."""
        shared, private = super()._split(xs)
        features = {m: torch.cat([loc, scale.log()], -1) for m, (loc, scale) in shared.items()}
        return {m: (e, torch.ones_like(e)) for m, e in features.items()}, private


def pooled_width(latent_dim: int) -> int:
    """Width of what is pooled and of all hidden layers around it.

    The released scripts take 256 for 10 and for 30 latents. So do we, up to 128 latents; with more
    it is the number of outputs, rounded up to what four attention heads divide.
    """
    return max(256, -(-2 * latent_dim // 4) * 4)


def masked_set_vae(
    setup: Setup,
    latent_dim: int,
    *,
    seed: int,
    beta: float = 1.0,
    pooling: Pooling = SumPooling,
    law: MaskLaw = EVERY_SUBSET,
) -> MaskedSetVAE:
    """A masked set encoder before it is trained.

    Private latents of the set-up have the weight of the shared ones, whatever it says of theirs.

    Args:
        setup: Networks, likelihoods, weights, and the number of private latents.
        latent_dim: D, of the shared z.
        seed: Source of the first weights.
        beta: Weight of all divergences in training.
        pooling: Gives the set encoder.
        law: Of the masks.
    """
    whole, parts = latent_dim + setup.private_dim, setup.modalities
    with seeded(seed):
        return MaskedSetVAE(
            {name: part.encoder(whole) for name, part in parts.items()},
            {name: part.decoder(whole) for name, part in parts.items()},
            {name: part.likelihood for name, part in parts.items()},
            latent_dim,
            pooling,
            setup.private_dim,
            beta,
            setup.likelihood_weights,
            law,
        )


def masked_set_stages(
    model: MaskedSetVAE,
    train: MultimodalData,
    configs: Mapping[str, TrainConfig],
    held_out: MultimodalData | None = None,
) -> list[Stage]:
    """The one stage, `"whole"`; a recipe, because the set encoder is weights of the model.

    Args:
        model: What is trained.
        train: Training examples.
        configs: Its settings, by name.
        held_out: Examples that choose the best epoch, or None for the last one.
    """
    return [Stage("whole", lambda: (model, train, held_out), configs["whole"])]
