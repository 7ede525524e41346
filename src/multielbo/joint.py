"""The joint VAE: one encoder that reads all modalities at once, and a decoder for each.

It is what joint-first models train before anything else: no subset is aggregated, so nothing that
an aggregate cannot do limits the generative model.
"""

from __future__ import annotations

__all__ = ["JointVAE", "freeze"]

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from multielbo.inputs import Batch, Observed
from multielbo.likelihoods import Likelihood
from multielbo.mixtures import Posteriors
from multielbo.networks import Decoder, Encoder, mlp_encoder
from multielbo.objectives import Bound, joint_elbo
from multielbo.vae import MultimodalVAE


class JointVAE(MultimodalVAE):
    """A head for each modality, their embeddings side by side, and a perceptron that fuses them.

    A head is an encoder of which the mean is read, as in MultiVae. Build it inside
    `multielbo.networks.seeded`: the perceptron's first weights are drawn here.

    Args:
        heads: From modality name to its head; their order is the model's order.
        decoders: From modality name to its likelihood's parameters.
        likelihoods: From modality name to its likelihood.
        latent_dim: D.
        hidden: Widths of the perceptron's hidden layers.
        beta: Weight of the divergence in training.
        likelihood_weights: Weights of modalities in training; one where a name is left out, None
            for ones.

    Raises:
        ValueError: Parts disagree on the modalities or on the latent dimension.
    """

    def __init__(
        self,
        heads: Mapping[str, Encoder],
        decoders: Mapping[str, Decoder],
        likelihoods: Mapping[str, Likelihood],
        latent_dim: int,
        hidden: Sequence[int] = (512, 512),
        beta: float = 1.0,
        likelihood_weights: Mapping[str, float] | None = None,
    ) -> None:
        parts = (heads, decoders, likelihoods, None, joint_elbo, latent_dim)
        super().__init__(*parts, beta, likelihood_weights)
        self.fusion = mlp_encoder((len(heads) * latent_dim,), latent_dim, hidden)

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The joint ELBO of q(z | x), for each example of `batch`, Equation eq-joint-elbo.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None, or ones: the joint encoder reads everything.
            generator: Source of one sample per example.

        Raises:
            ValueError: A modality is missing or unknown, or shapes disagree.
        """
        return self.objective(
            self.posterior(batch, observed), self.log_likelihood(batch), generator
        )

    forward = bound

    def posterior(self, batch: Batch, observed: Observed = None) -> Posteriors:
        """q(z | x) given all modalities, with K = 1.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None, or ones: the joint encoder reads everything.

        Raises:
            ValueError: A modality is missing or unknown, or shapes disagree.
        """
        loc, scale = self.joint_posterior(batch, observed)
        everything = torch.ones(1, len(self.modalities), len(loc), device=loc.device).bool()
        return Posteriors(loc[None], scale[None], loc.new_ones(1, len(loc)), everything)

    def joint_posterior(self, batch: Batch, observed: Observed = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | x) given all modalities, `(B, D)` each.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None, or ones: the joint encoder reads everything.

        Raises:
            ValueError: A modality is missing or unknown, or shapes disagree.
        """
        xs, mask = self._readable(batch, observed)
        if mask is not None and not bool(mask.all()):
            missing = self.modalities[int((~mask).any(1).nonzero()[0])]
            raise ValueError(
                f"joint encoder: {missing!r} is missing for some examples, but it reads all "
                f"modalities at once, {', '.join(self.modalities)}; leave these examples out"
            )
        return self.fusion(torch.cat([self.encoders[m](x)[0] for m, x in xs.items()], -1))

    def encode(
        self, batch: Batch, observed: Observed = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Refuse: there are no unimodal posteriors yet.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "joint VAE: it has no unimodal posteriors; fit some to it, as multielbo.models.jnf does"
        )


def freeze(model: torch.nn.Module) -> str:
    """Take the gradients away and set evaluation mode; the digest of all weights and buffers.

    In training mode a batch normalisation would go on moving its averages without any gradient.
    """
    model.requires_grad_(False).eval()
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
