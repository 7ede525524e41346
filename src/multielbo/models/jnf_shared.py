"""JNF-Shared (Senellart and Allassonniere, 2025): JNF whose posteriors see what is shared alone."""

from __future__ import annotations

__all__ = ["JNFShared", "jnf_shared", "jnf_shared_stages"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from multielbo.data.multimodal import MultimodalData
from multielbo.flow_kinds import masked_autoregressive
from multielbo.hmc import ADAPTED
from multielbo.joint import JointVAE, freeze
from multielbo.joint_first import JointFirst
from multielbo.models.jnf import HIDDEN, MakeFlow, jnf_stages, joint_vae
from multielbo.networks import mlp_encoder, seeded
from multielbo.projectors import (
    ContrastiveFit,
    CorrelationFit,
    ProjectedEncoder,
    Projector,
    project,
    shared_head,
)
from multielbo.setups.setup import Setup
from multielbo.stages import Prepared, Stage
from multielbo.train_config import TrainConfig
from multielbo.unimodal import PosteriorFit, UnimodalPosteriors, joined

COMMON = 64  # what each modality's network gives to the head that all modalities share
HEAD = (512, 512)  # the head's hidden layers, as released for PolyMNIST
Fit = CorrelationFit | ContrastiveFit


class JNFShared(JointFirst):
    """A joint VAE, and posteriors of its latent given projections of single modalities.

    Args:
        joint: The generative model and the joint encoder.
        posteriors: Of the same modalities and the same latent dimension; their encoders are
            `multielbo.projectors.ProjectedEncoder`.
        fit: From the projectors to what trains them.
        sampler: Settings of `multielbo.hmc.hmc`, for subsets of several modalities.
        seed: Of the draws that answer a subset.

    Raises:
        ValueError: Joint VAE and posteriors disagree on the modalities or on the latent dimension.
    """

    def __init__(
        self,
        joint: JointVAE,
        posteriors: UnimodalPosteriors,
        fit: Callable[[Mapping[str, nn.Module]], Fit],
        sampler: Mapping[str, int | float] = ADAPTED,
        seed: int = 0,
    ) -> None:
        super().__init__(joint, posteriors, sampler, seed)
        self.fit = fit

    @property
    def projectors(self) -> dict[str, Projector]:
        """g_m, by modality."""
        return {m: encoder.projector for m, encoder in self.posteriors.encoders.items()}

    @property
    def of_projections(self) -> UnimodalPosteriors:
        """q(z | g_m), the same networks without the projectors before them."""
        encoders = {m: encoder.encoder for m, encoder in self.posteriors.encoders.items()}
        return UnimodalPosteriors(encoders, self.posteriors.flows)


def jnf_shared(
    setup: Setup,
    latent_dim: int,
    *,
    seed: int,
    projection: str = "dcca",
    projection_dim: int = 10,
    beta: float = 1.0,
    hidden: Sequence[int] = HIDDEN,
    posterior_hidden: Sequence[int] = HIDDEN,
    head: Sequence[int] = (COMMON, *HEAD),
    flow: MakeFlow | None = None,
    sampler: Mapping[str, int | float] = ADAPTED,
    **options: float | bool | str,
) -> JNFShared:
    """JNF-Shared before it is trained.

    Args:
        setup: Networks, likelihoods and weights.
        latent_dim: D.
        seed: Source of the first weights, and of the draws that answer subsets.
        projection: `"dcca"` or `"contrastive"`.
        projection_dim: K; no more than the modalities share, or there is room for the rest. A
            contrastive projection is of length one, and needs two.
        beta: Weight of the divergence in the joint stage.
        hidden: Widths of the joint encoder's layers between the heads and the posterior.
        posterior_hidden: Widths of the layers between a projection and its posterior.
        head: Widths of what modalities share, in contrastive projectors, before the projection.
        flow: From D to a flow; as for `multielbo.models.jnf.jnf` by default.
        sampler: Settings of `multielbo.hmc.hmc`.
        options: Of `multielbo.projectors.CorrelationFit` or `ContrastiveFit`.

    Raises:
        ValueError: There is no such projection, or its dimension is too small.
    """
    kinds = {"dcca": CorrelationFit, "contrastive": ContrastiveFit}
    if projection not in kinds:
        raise ValueError(
            f"JNF-Shared: there is no projection {projection!r}; choose from {', '.join(kinds)}"
        )
    least = 2 if projection == "contrastive" else 1
    if projection_dim < least:
        raise ValueError(
            f"JNF-Shared: projection_dim is {projection_dim}; a {projection} projection needs at "
            f"least {least}"
        )
    make = flow or partial(masked_autoregressive, width=max(128, latent_dim))
    joint = joint_vae(setup, latent_dim, seed=seed, beta=beta, hidden=hidden)
    with seeded(seed + 1):  # other first weights than those of the heads
        networks = {name: part.encoder(latent_dim) for name, part in setup.modalities.items()}
        if projection == "dcca":
            projectors = {m: Projector(network, projection_dim) for m, network in networks.items()}
        else:
            shared = shared_head((*head, projection_dim))
            projectors = {m: Projector(network, head[0], shared) for m, network in networks.items()}
        encoders = {
            name: ProjectedEncoder(g, mlp_encoder((projection_dim,), latent_dim, posterior_hidden))
            for name, g in projectors.items()
        }
        posteriors = UnimodalPosteriors(encoders, {name: make(latent_dim) for name in encoders})
    return JNFShared(joint, posteriors, partial(kinds[projection], **options), sampler, seed)


def jnf_shared_stages(
    model: JNFShared,
    train: MultimodalData,
    configs: Mapping[str, TrainConfig],
    held_out: MultimodalData | None = None,
) -> list[Stage]:
    """The three stages, `"projections"`, `"joint"` and `"posteriors"`.

    Args:
        model: What is trained.
        train: Training examples.
        configs: Settings of all three, by name. The projectors' batch is larger than two
            projections have dimensions together, and the larger, the less their correlations
            flatter.
        held_out: Examples that choose the best epoch, or None for the last one. Projections are
            judged on whole batches of them.

    Raises:
        ValueError: When the first stage is prepared: too few examples are held out to judge
            projections by.
    """
    # A GPU has to wait for the covariances' checks, which a captured step could not.
    config = replace(configs["projections"], graph=False)
    joint, _ = jnf_stages(model, train, configs, held_out)

    def projections() -> Prepared:
        fit = model.fit(model.projectors).requires_grad_(True)
        chosen_by = None if held_out is None else _whole_batches(held_out, config.batch_size)
        if chosen_by is not None and len(chosen_by) < fit.least_examples:
            raise ValueError(
                f"held out: {len(chosen_by)} examples are too few to judge projections by, which "
                f"takes {fit.least_examples}; hold out more, or none"
            )
        return fit, train, chosen_by

    def posteriors() -> Prepared:
        before = freeze(model.joint) + freeze(nn.ModuleDict(model.projectors))
        seen, chosen_by = (
            None if data is None else project(joined(data, model.joint), model.projectors)
            for data in (train, held_out)
        )
        return PosteriorFit(model.of_projections, before), seen, chosen_by

    return [
        Stage("projections", projections, config),
        joint,
        Stage("posteriors", posteriors, configs["posteriors"]),
    ]


def _whole_batches(data: MultimodalData, size: int) -> MultimodalData:
    """A correlation over few examples is another quantity than one over a batch."""
    return data if len(data) < size else data.take(slice(0, len(data) // size * size))
