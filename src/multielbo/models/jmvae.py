"""JMVAE (Suzuki et al., 2016) and TELBO (Vedantam et al., 2018): joint-first without a flow."""

from __future__ import annotations

__all__ = ["JMVAE", "TelboFit"]

import torch
from torch import Generator

from multielbo.gaussians import kl, kl_to_prior, sample
from multielbo.inputs import Batch, Observed
from multielbo.joint import JointVAE
from multielbo.joint_first import JointFirst
from multielbo.objectives import Bound
from multielbo.unimodal import UnimodalPosteriors


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
