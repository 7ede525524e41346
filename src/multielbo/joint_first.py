"""Answers for every subset, from a joint VAE and the unimodal posteriors fitted to it.

`JointFirst` has the interface of a multimodal VAE as metrics use it: an encoding of every modality
that is made once, and something that answers subsets from it. Its encoding holds, side by side on
the last axis, the base Gaussian of each modality's posterior and the joint posterior.
"""

from __future__ import annotations

__all__ = ["JointFirst", "SubsetAnswers"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Generator, Tensor, nn

from multielbo.hmc import ADAPTED, hmc
from multielbo.inputs import Batch, Observed, readable
from multielbo.joint import JointVAE
from multielbo.mixtures import Posteriors
from multielbo.objectives import LogLikelihood
from multielbo.subset_posteriors import (
    gaussian_subset_posterior,
    prior_exponent,
    subset_log_density,
)
from multielbo.unimodal import UnimodalPosteriors


@dataclass(frozen=True)
class SubsetAnswers:
    """From the encoding that `JointFirst` makes to the posterior of what is observed.

    All modalities are answered by the joint posterior. A subset is answered by its product with
    exponent 1 - |S| of the prior: a Gaussian where its members are, and otherwise one draw, as a
    Gaussian of no width. Chains start from a member's posterior, taken at random.

    Attributes:
        posteriors: The unimodal posteriors.
        sampler: Settings of `multielbo.hmc.hmc`.
        seed: Of all draws: the same question has the same answer.
        single_division: Divide the prior out once whatever |S| is.
    """

    posteriors: UnimodalPosteriors
    sampler: Mapping[str, int | float] = field(default_factory=lambda: dict(ADAPTED))
    seed: int = 0
    single_division: bool = False

    @torch.no_grad()
    def posterior(self, loc: Tensor, scale: Tensor, observed: Tensor | None = None) -> Posteriors:
        """The posterior given all that is observed, with K = 1.

        Args:
            loc, scale: As `JointFirst.encode` gives them, `(M, B, 2D)`.
            observed: `(M, B)` bool, or None when everything is observed.

        Raises:
            ValueError: An example has no observed modality.
        """
        if observed is None:
            observed = torch.ones(loc.shape[:2], dtype=torch.bool, device=loc.device)
        answer_loc = loc.new_empty(loc.shape[1], self.posteriors.latent_dim)
        answer_scale = torch.empty_like(answer_loc)
        patterns, which = observed.unique(dim=1, return_inverse=True)
        for i, pattern in enumerate(patterns.T):
            rows = which == i
            found = self._answer(pattern.nonzero().flatten().tolist(), loc[:, rows], scale[:, rows])
            answer_loc[rows], answer_scale[rows] = found
        weights = loc.new_ones(1, loc.shape[1])
        return Posteriors(answer_loc[None], answer_scale[None], weights, observed[None])

    def log_density(self, z: Tensor, members: list[int], loc: Tensor, scale: Tensor) -> Tensor:
        """log of the product for the members, `(..., B)`, from their bases `(M, B, D)`."""
        names = self.posteriors.modalities
        terms = [
            partial(self.posteriors.log_density, names[m], loc=loc[m], scale=scale[m])
            for m in members
        ]
        return subset_log_density(z, terms, single_division=self.single_division)

    def _answer(self, members: list[int], loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        dim = self.posteriors.latent_dim
        prior_exponent(len(members))  # refuses a subset without members before anything is drawn
        if len(members) == len(loc):
            return loc[0, :, dim:], scale[0, :, dim:]
        loc, scale = loc[..., :dim], scale[..., :dim]
        if self.posteriors.flows is None:
            division = {"single_division": self.single_division}
            return gaussian_subset_posterior(loc[members], scale[members], **division)
        generator = Generator(loc.device).manual_seed(self.seed)
        z = self._start(members, loc, scale, generator)
        if len(members) > 1:
            chain = replace(self, posteriors=self.posteriors.fixed())
            target = partial(chain.log_density, members=members, loc=loc, scale=scale)
            z = hmc(target, z, **self.sampler, keep=1, generator=generator).z[-1]
        return z, torch.zeros_like(z)

    def _start(
        self, members: list[int], loc: Tensor, scale: Tensor, generator: Generator
    ) -> Tensor:
        """A draw from the posterior of one member of each example's, through its flow."""
        size = (loc.shape[1],)
        chosen = torch.randint(len(members), size, generator=generator, device=loc.device)
        z = torch.empty_like(loc[0])
        for i, m in enumerate(members):
            rows, name = chosen == i, self.posteriors.modalities[m]
            z[rows] = self.posteriors.sample(name, loc[m, rows], scale[m, rows], generator)
        return z


class JointFirst(nn.Module):
    """A joint VAE and the unimodal posteriors that were fitted to it, as metrics ask them.

    Args:
        joint: The generative model and the joint encoder.
        posteriors: Of the same modalities and the same latent dimension.
        sampler: Settings of `multielbo.hmc.hmc`, for subsets of posteriors with flows.
        seed: Of the draws that answer a subset.
        single_division: Divide the prior out once whatever |S| is.

    Raises:
        ValueError: Joint VAE and posteriors disagree on the modalities or on the latent dimension.
    """

    private_dim = 0

    def __init__(
        self,
        joint: JointVAE,
        posteriors: UnimodalPosteriors,
        sampler: Mapping[str, int | float] = ADAPTED,
        seed: int = 0,
        single_division: bool = False,
    ) -> None:
        super().__init__()
        if (joint.modalities, joint.latent_dim) != (posteriors.modalities, posteriors.latent_dim):
            raise ValueError(
                f"joint VAE of {', '.join(joint.modalities)} with {joint.latent_dim} latents, but "
                f"posteriors of {', '.join(posteriors.modalities)} with {posteriors.latent_dim}; "
                "build both for the same"
            )
        self.joint, self.posteriors = joint, posteriors
        self.modalities, self.latent_dim = joint.modalities, joint.latent_dim
        self.aggregator = SubsetAnswers(posteriors, dict(sampler), seed, single_division)

    @property
    def beta(self) -> float:
        """Weight of the divergence in training."""
        return self.joint.beta

    @property
    def likelihood_weights(self) -> Tensor | None:
        """Weights of modalities in training, `(M,)`, or None for ones."""
        return self.joint.likelihood_weights

    def encode(
        self, batch: Batch, observed: Observed = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Base Gaussians and joint posterior side by side, and what was observed.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.

        Returns:
            Means and standard deviations, `(M, B, 2D)` each, and `(M, B)` bool, or None when
            everything is observed. Rows of missing modalities have no meaning, nor has the joint
            half where any is missing.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        shapes = {m: encoder.shape for m, encoder in self.posteriors.encoders.items()}
        xs, mask = readable(batch, observed, shapes)
        found = {m: self.posteriors.base(m, x) for m, x in xs.items()}
        some, _ = next(iter(found.values()))
        unread = torch.zeros_like(some), torch.ones_like(some)
        whole = self.joint.joint_posterior(xs) if len(xs) == len(shapes) else unread
        loc, scale = (
            torch.stack([torch.cat([found.get(m, unread)[i], whole[i]], -1) for m in shapes])
            for i in range(2)
        )
        return loc, scale, mask

    def posterior(self, batch: Batch, observed: Observed = None) -> Posteriors:
        """The posterior given what is observed, as `SubsetAnswers` gives it.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        return self.aggregator.posterior(*self.encode(batch, observed))

    def decode(self, z: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """E[x_m | z] of every modality, `(..., *shape)`."""
        return self.joint.decode(z, generator)

    def generate(self, modality: str, z: Tensor, generator: Generator | None = None) -> Tensor:
        """E[x_m | z] of one modality alone, `(..., *shape)`."""
        return self.joint.generate(modality, z, generator)

    def log_likelihood(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> LogLikelihood:
        """log p(x_m | z) as a function of z, as `MultimodalVAE.log_likelihood` gives it."""
        return self.joint.log_likelihood(batch, observed, generator)
