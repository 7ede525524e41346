"""JMVAE (Suzuki et al., 2016) and TELBO (Vedantam et al., 2018): joint-first without a flow."""

from __future__ import annotations

__all__ = ["JMVAE", "ProductAnswers", "TelboFit", "jmvae", "jmvae_stages", "recipe"]

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from multielbo import barycenters
from multielbo.gaussians import kl, kl_to_prior, sample
from multielbo.inputs import Batch, Observed
from multielbo.joint import JointVAE
from multielbo.joint_first import JointFirst, SubsetAnswers
from multielbo.models.jnf import HIDDEN, joint_vae
from multielbo.models.recipe import Recipe
from multielbo.networks import seeded
from multielbo.objectives import Bound
from multielbo.setups.setup import Setup
from multielbo.stages import Stage
from multielbo.subset_posteriors import prior_exponent
from multielbo.train_config import TrainConfig
from multielbo.unimodal import UnimodalPosteriors

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


class JMVAE(JointFirst):
    """One stage: the joint ELBO minus what the unimodal posteriors miss of the joint one.

    Args:
        joint: The generative model and the joint encoder.
        posteriors: Gaussians of the same modalities and the same latent dimension.
        alpha: Weight of the unimodal divergences, relative to that of the joint one.

    Raises:
        ValueError: Posteriors with flows, or of other modalities.

    Source:
        Suzuki, Nakayama and Matsuo (2016), their JMVAE-kl.
    """

    def __init__(self, joint: JointVAE, posteriors: UnimodalPosteriors, alpha: float = 0.1) -> None:
        if posteriors.flows is not None:
            raise ValueError("JMVAE: its posteriors are Gaussians; leave the flows out")
        super().__init__(joint, posteriors)
        self.alpha = alpha
        self.aggregator = ProductAnswers(posteriors)

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The joint ELBO minus alpha sum_m KL(q(z | x) || q(z | x_m)), Equation eq-jmvae.

        The gradient of the unimodal divergences reaches the joint encoder too: it is paid for
        posteriors that one modality can follow.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None, or ones: the joint encoder reads everything.
            generator: Source of one sample per example.

        Raises:
            ValueError: A modality is missing or unknown, or shapes disagree.
        """
        loc, scale = self.joint.joint_posterior(batch, observed)
        reconstruction = self.joint.log_likelihood(batch)(sample(loc, scale, generator))
        missed = [kl(loc, scale, *self.posteriors.base(m, batch[m])) for m in self.modalities]
        return Bound(reconstruction, kl_to_prior(loc, scale) + self.alpha * sum(missed))

    forward = bound


class ProductAnswers(SubsetAnswers):
    """The subset posteriors of `SubsetAnswers` for Gaussians, which exist for every subset.

    Nothing in JMVAE's training keeps q(z | x_m) from being wider than the prior in a dimension of
    which x_m knows nothing, and then the product with exponent 1 - |S| can have no integral. So the
    prior is divided out |S| - 1 times, or as often as leaves the precision of one prior. For exact
    posteriors, which are sharper than that, the two are the same.
    """

    def _answer(self, members: list[int], loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        most = -prior_exponent(len(members))  # refuses a subset without members
        dim = self.posteriors.latent_dim
        if len(members) == len(loc):
            return loc[0, :, dim:], scale[0, :, dim:]
        loc, scale = loc[members, :, :dim], scale[members, :, :dim]
        divided = (scale.square().reciprocal().sum(0) - 1).clamp(0, most)
        whole = torch.ones(1, len(members), dtype=loc.dtype, device=loc.device)
        pooled = barycenters.product(loc, scale, whole, prior_exponent=-divided)
        return pooled[0][0], pooled[1][0]


class TelboFit(torch.nn.Module):
    """Stage 2 of TELBO: an ELBO for each modality, with the decoders frozen.

    It takes the place of `multielbo.unimodal.PosteriorFit`, and needs no joint posterior.

    Args:
        posteriors: Gaussians, which are trained.
        joint: The generative model, frozen by `multielbo.joint.freeze`.
        stage_before: The digest that `freeze` gave.

    Source:
        Vedantam, Fischer, Huang and Murphy (2018), with the second stage apart as in MultiVae.
    """

    beta, likelihood_weights = 1.0, None

    def __init__(self, posteriors: UnimodalPosteriors, joint: JointVAE, stage_before: str) -> None:
        super().__init__()
        self.modalities = posteriors.modalities
        self.posteriors = posteriors
        self.stage_before = stage_before
        self._frozen = (joint,)  # in a tuple, out of reach of the optimiser

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """sum_m E log p(x_m | z) - KL(q(z | x_m) || p(z)), each z from its own q(z | x_m).

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None; every modality is there.
            generator: Source of one sample per example and modality.
        """
        (joint,) = self._frozen
        scores, rates = [], []
        for i, m in enumerate(self.modalities):
            loc, scale = self.posteriors.base(m, batch[m])
            z = sample(loc, scale, generator)
            scores.append(joint.log_likelihood({m: batch[m]})(z)[i])
            rates.append(kl_to_prior(loc, scale))
        return Bound(torch.stack(scores), sum(rates))

    forward = bound


def jmvae(
    setup: Setup,
    latent_dim: int,
    *,
    seed: int,
    beta: float = 1.0,
    hidden: Sequence[int] = HIDDEN,
    alpha: float = 0.1,
) -> JMVAE:
    """JMVAE before it is trained, with the networks of `multielbo.models.jnf.jnf` and no flows.

    Args:
        setup: Networks, likelihoods and weights.
        latent_dim: D.
        seed: Source of the first weights.
        beta: Weight of all divergences in training.
        hidden: Widths of the joint encoder's layers between the heads and the posterior.
        alpha: Weight of the unimodal divergences, relative to that of the joint one.
    """
    joint = joint_vae(setup, latent_dim, seed=seed, beta=beta, hidden=hidden)
    with seeded(seed + 1):  # other first weights than those of the heads
        encoders = {name: part.encoder(latent_dim) for name, part in setup.modalities.items()}
        return JMVAE(joint, UnimodalPosteriors(encoders), alpha)


def jmvae_stages(
    model: JMVAE,
    train: MultimodalData,
    configs: Mapping[str, TrainConfig],
    held_out: MultimodalData | None = None,
) -> list[Stage]:
    """The one stage, `"joint"`, in which everything is trained together.

    Args:
        model: What is trained.
        train: Training examples.
        configs: Its settings, by name.
        held_out: Examples that choose the best epoch, or None for the last one.
    """
    return [Stage("joint", lambda: (model, train, held_out), configs["joint"])]


def recipe() -> Recipe:
    """JMVAE as our experiments train it: one stage, as in MultiVae, whose alpha of 0.1 it has.

    The unimodal posteriors are not fitted again afterwards, and no weight is warmed up. The joint
    encoder is as in `multielbo.models.jnf.recipe`. What the paper sets is not known to us.
    """
    return Recipe(partial(jmvae, hidden=()), jmvae_stages, {"joint": 1.0})
