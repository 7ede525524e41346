"""Unimodal posteriors, and the stage in which they learn to cover a frozen joint posterior."""

from __future__ import annotations

__all__ = ["JOINT", "PosteriorFit", "UnimodalPosteriors", "joined"]

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from multielbo import flows, gaussians
from multielbo.data.multimodal import MultimodalData
from multielbo.flows import Flow
from multielbo.inputs import Batch, Observed
from multielbo.joint import JointVAE, freeze
from multielbo.networks import Encoder
from multielbo.objectives import Bound
from multielbo.precision import multiplying

JOINT = "joint posterior"


class UnimodalPosteriors(nn.Module):
    """q(z | x_m) of every modality: a Gaussian, or a Gaussian behind a flow.

    Args:
        encoders: From modality name to the network that gives the base Gaussian.
        flows: From modality name to its flow, or None for Gaussians. A flow with 2D features of x
            reads the base's mean and log-scale.

    Raises:
        ValueError: Flows and encoders disagree on the modalities or on the latent dimension.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], flows: Mapping[str, Flow] | None = None
    ) -> None:
        super().__init__()
        self.modalities = tuple(encoders)
        self.latent_dim = next(iter(encoders.values())).latent_dim
        self.encoders = nn.ModuleDict(encoders)
        self.flows = None
        if flows is not None:
            _check_flows(self.modalities, self.latent_dim, flows)
            self.flows = nn.ModuleDict({m: flows[m] for m in self.modalities})

    def base(self, modality: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the Gaussian behind the flow, `(B, D)` each."""
        return self.encoders[modality](x)

    def log_density(self, modality: str, z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """log q(z | x_m), `(...)`, from the base that `base` gave."""
        if self.flows is None:
            return gaussians.log_density(z, loc, scale)
        flow = self.flows[modality]
        return flows.log_density(flow, z, loc, scale, _context(flow, loc, scale))

    def sample(
        self, modality: str, loc: Tensor, scale: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """Draws from q(z | x_m), `(..., D)`, from the base that `base` gave."""
        if self.flows is None:
            return gaussians.sample(loc, scale, generator)
        flow = self.flows[modality]
        return flows.sample(flow, loc, scale, generator, _context(flow, loc, scale))

    def fixed(self) -> UnimodalPosteriors:
        """The same posteriors, to be asked many times with the same weights."""
        if self.flows is None:
            return self
        ready = {m: flows.fixed(flow) for m, flow in self.flows.items()}
        return UnimodalPosteriors(self.encoders, ready)


class PosteriorFit(nn.Module):
    """Stage 2: unimodal posteriors learn to cover the frozen joint posterior's samples.

    The joint VAE is no part of this module, so no optimiser of it can touch the generative model.

    Args:
        posteriors: What is trained.
        stage_before: Digest of the joint VAE's weights, as `freeze` gives it: a checkpoint of the
            fit to another one is refused.
    """

    beta, likelihood_weights = 1.0, None

    def __init__(self, posteriors: UnimodalPosteriors, stage_before: str) -> None:
        super().__init__()
        self.modalities = posteriors.modalities
        self.posteriors = posteriors
        self.stage_before = stage_before

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """Minus sum_m KL(q(z | x) || q(z | x_m)) by one sample, Equation eq-posterior-fit.

        Args:
            batch: Observations, and under `JOINT` the joint posterior, as `joined` adds it.
            observed: None; every modality is there.
            generator: Source of one z per example.
        """
        loc, scale = batch[JOINT].chunk(2, -1)
        bases = {m: self.posteriors.base(m, batch[m]) for m in self.modalities}
        # Under autocast a log-determinant would be rounded to three digits.
        with torch.autocast(loc.device.type, enabled=False):
            z = gaussians.sample(loc, scale, generator)
            scores = [self.posteriors.log_density(m, z, *bases[m]) for m in self.modalities]
            joint = gaussians.log_density(z, loc, scale)
        return Bound(torch.stack(scores), len(scores) * joint)

    forward = bound


@torch.no_grad()
def joined(data: MultimodalData, joint: JointVAE, batch_size: int = 512) -> MultimodalData:
    """The data, and under `JOINT` the mean and the standard deviation of q(z | x), `(N, 2D)`.

    Frozen, the joint encoder says the same of an example in every epoch: it is asked once.
    """
    digest, device = freeze(joint), data.labels.device
    rows = torch.arange(len(data), device=device).split(batch_size)
    with multiplying("float32", device):
        found = [torch.cat(joint.joint_posterior(data.batch(part)), -1) for part in rows]
    # Of the weights, not of the numbers, whose last bits a GPU may round differently next time.
    sha256 = hashlib.sha256(f"{data.sha256} {digest}".encode()).hexdigest()
    return replace(data, modalities=data.modalities | {JOINT: torch.cat(found)}, sha256=sha256)


def _context(flow: Flow, loc: Tensor, scale: Tensor) -> Tensor | None:
    return torch.cat([loc, scale.log()], -1) if flow.context_dim else None


def _check_flows(modalities: tuple[str, ...], latent_dim: int, flows: Mapping[str, Flow]) -> None:
    if set(flows) != set(modalities):
        raise ValueError(
            f"flows: given for {', '.join(flows) or 'none'}, but encoders for "
            f"{', '.join(modalities)}; give one for each"
        )
    for name, flow in flows.items():
        if flow.latent_dim != latent_dim or flow.context_dim not in (0, 2 * latent_dim):
            raise ValueError(
                f"flow of {name!r} has {flow.latent_dim} latents and {flow.context_dim} features "
                f"of x, but its encoder {latent_dim} latents; build it with these, and with 0 or "
                f"{2 * latent_dim} features"
            )
