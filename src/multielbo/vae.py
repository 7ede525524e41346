"""The multimodal VAE: networks and likelihoods by modality, around one aggregator and one bound."""

from __future__ import annotations

__all__ = ["MultimodalVAE", "convolutional_vae"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn

from multielbo.aggregators import Aggregator
from multielbo.inputs import Batch, Observed, readable, require
from multielbo.likelihoods import Laplace, Likelihood
from multielbo.mixtures import Posteriors
from multielbo.models.model import Model
from multielbo.networks import (
    CHANNELS,
    Decoder,
    Encoder,
    at_least_one,
    conv_decoder,
    conv_encoder,
    seeded,
)
from multielbo.objectives import Bound, LogLikelihood, Objective

LAPLACE = Laplace(0.75)  # of the papers that train on PolyMNIST


class MultimodalVAE(nn.Module):
    """An encoder, a decoder and a likelihood for each modality, and what the paper chose.

    A missing modality is never read: what stands in its place changes no value and no gradient.

    Args:
        encoders: From modality name to its posterior network; their order is the models' order.
        decoders: From modality name to its likelihood's parameters.
        likelihoods: From modality name to its likelihood.
        aggregator: How unimodal posteriors become the posteriors of subsets.
        objective: The bound that is trained.
        latent_dim: D.
        beta: Weight of the divergence in training.
        likelihood_weights: Weights of modalities in training; one where a name is left out, None
            for ones.

    Raises:
        ValueError: Parts disagree on the modalities or on the latent dimension.
    """

    private_dim = 0  # latent dimensions of each modality's own, as `multielbo.private` has them

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        decoders: Mapping[str, Decoder],
        likelihoods: Mapping[str, Likelihood],
        aggregator: Aggregator,
        objective: Objective,
        latent_dim: int,
        beta: float = 1.0,
        likelihood_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.modalities = tuple(encoders)
        _check_parts(encoders, decoders, likelihoods, latent_dim, self.private_dim)
        require("likelihood_weights", likelihood_weights or {}, self.modalities)
        self.encoders = nn.ModuleDict(encoders)
        self.decoders = nn.ModuleDict({name: decoders[name] for name in self.modalities})
        self.likelihoods = {name: likelihoods[name] for name in self.modalities}
        self.aggregator = aggregator
        self.objective = objective
        self.latent_dim = latent_dim
        self.beta = beta
        weights = None
        if likelihood_weights is not None:
            weights = torch.tensor([likelihood_weights.get(m, 1.0) for m in self.modalities])
        self.register_buffer("likelihood_weights", weights, persistent=False)

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The bound that is trained, for each example of `batch`.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.
            generator: Source of subsets and samples.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        xs, mask = self._readable(batch, observed)
        loc, scale = self._stacked(self._unimodal(xs))
        # Under autocast a matrix product would round the precisions to three digits.
        with torch.autocast(loc.device.type, enabled=False):
            q = self.aggregator(loc, scale, mask, generator)
        return self.objective(q, self._log_likelihood(xs, mask), generator)

    forward = bound

    def encode(
        self, batch: Batch, observed: Observed = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Unimodal posteriors and what was observed, as an aggregator takes them.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.

        Returns:
            Mean and standard deviation, `(M, B, D)` each, and `(M, B)` bool, or None when
            everything is observed. Rows of missing modalities have no meaning.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        xs, mask = self._readable(batch, observed)
        return *self._stacked(self._unimodal(xs)), mask

    def posterior(self, batch: Batch, observed: Observed = None) -> Posteriors:
        """The posterior given what is observed, as the model answers at test time.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        loc, scale, mask = self.encode(batch, observed)
        with torch.autocast(loc.device.type, enabled=False):
            return self.aggregator.posterior(loc, scale, mask)

    def decode(self, z: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """E[x_m | z] of every modality, `(..., *shape)`, as `generate` gives each of them."""
        return {m: self.generate(m, z, generator) for m in self.modalities}

    def generate(self, modality: str, z: Tensor, generator: Generator | None = None) -> Tensor:
        """E[x_m | z] of one modality alone.

        Args:
            modality: Its name.
            z: Latents, `(..., D)`.
            generator: Source of whatever a model draws beside z; this one draws nothing.

        Returns:
            `(..., *shape)`.
        """
        return self.likelihoods[modality].mean(self.decoders[modality](z))

    def log_likelihood(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> LogLikelihood:
        """log p(x_m | z) as a function of z, `(..., B, D)` to `(M, ..., B)`, in nats, unweighted.

        Args:
            batch: Observations, `(B, *shape)` by modality.
            observed: Which of them are there, `(B,)` bool by modality, or None for all. The
                others have zero.
            generator: Source of whatever a model draws beside z; this one draws nothing.

        Raises:
            ValueError: Unknown modality, shapes that disagree, or nothing observed.
        """
        return self._log_likelihood(*self._readable(batch, observed))

    def _unimodal(self, xs: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        return {m: self.encoders[m](x) for m, x in xs.items()}

    def _stacked(self, found: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Posteriors of all modalities, `(M, B, D)`; missing ones get the prior."""
        loc, scale = next(iter(found.values()))
        unread = torch.zeros_like(loc), torch.ones_like(scale)
        locs, scales = zip(*(found.get(m, unread) for m in self.modalities), strict=True)
        return torch.stack(locs), torch.stack(scales)

    def _scorer(self, xs: Batch) -> Callable[[str, Tensor], Tensor]:
        """log p(x_m | z) of one modality, `(..., B)`, for latents whose last axis but one is B."""
        return lambda m, z: self.likelihoods[m].log_prob(self.decoders[m](z), xs[m])

    def _log_likelihood(
        self,
        xs: Batch,
        mask: Tensor | None,
        score: Callable[[str, Tensor], Tensor] | None = None,
    ) -> LogLikelihood:
        """The scores of all modalities in one function of z, zero for those that are missing."""
        score = score or self._scorer(xs)

        def log_likelihood(z: Tensor, wanted: Tensor | None = None) -> Tensor:
            nothing = torch.zeros(z.shape[:-1], dtype=z.dtype, device=z.device)
            scores = torch.stack(
                [
                    _of_rows(partial(score, m), z, None if wanted is None else wanted[:, i])
                    if m in xs
                    else nothing
                    for i, m in enumerate(self.modalities)
                ]
            )
            if mask is None:
                return scores
            return torch.where(mask.reshape(len(mask), *[1] * (z.dim() - 2), -1), scores, 0.0)

        return log_likelihood

    def _readable(self, batch: Batch, observed: Observed) -> tuple[Batch, Tensor | None]:
        shapes = {m: encoder.shape for m, encoder in self.encoders.items()}
        return readable(batch, observed, shapes)


def convolutional_vae(
    modalities: Sequence[str],
    shape: Sequence[int],
    model: Model,
    *,
    latent_dim: int,
    seed: int,
    beta: float = 1.0,
    likelihood: Likelihood = LAPLACE,
    channels: Sequence[int] = CHANNELS,
    hidden: Sequence[int] = (),
) -> MultimodalVAE:
    """Convolutional networks for modalities that are all pictures of one shape.

    Args:
        modalities: Names.
        shape: Channels, height and width.
        model: Aggregator and objective, as `multielbo.models.registry.build` gives them.
        latent_dim: D.
        seed: Source of the first weights.
        beta: Weight of the divergence in training.
        likelihood: Of every modality.
        channels: Of the encoders' convolutions; decoders mirror them.
        hidden: Widths of the encoders' linear layers before the posterior.

    Raises:
        ValueError: The latent space has no dimension.
    """
    with seeded(seed):
        encoders = {m: conv_encoder(shape, latent_dim, channels, hidden) for m in modalities}
        decoders = {m: conv_decoder(shape, latent_dim, channels) for m in modalities}
    likelihoods = dict.fromkeys(modalities, likelihood)
    return MultimodalVAE(encoders, decoders, likelihoods, *model, latent_dim, beta)


def _of_rows(score: Callable[[Tensor], Tensor], z: Tensor, rows: Tensor | None) -> Tensor:
    """Scores of latents, zero outside the wanted rows, which alone are decoded on a CPU."""
    if rows is None:
        return score(z)
    if z.device.type != "cpu":  # to know how many rows are wanted a GPU would have to be waited for
        return torch.where(rows[:, None], score(z), 0.0)
    found = score(z[rows])
    return torch.zeros(z.shape[:-1], dtype=found.dtype, device=z.device).index_put((rows,), found)


def _check_parts(
    encoders: Mapping[str, Encoder],
    decoders: Mapping[str, Decoder],
    likelihoods: Mapping[str, Likelihood],
    latent_dim: int,
    private_dim: int,
) -> None:
    at_least_one(latent_dim)
    for part, given in {"decoders": decoders, "likelihoods": likelihoods}.items():
        if set(given) != set(encoders):
            raise ValueError(
                f"{part}: given for {', '.join(given) or 'none'}, but encoders for "
                f"{', '.join(encoders) or 'none'}; give one for each"
            )
    for part, networks in {"encoder": encoders, "decoder": decoders}.items():
        for name, network in networks.items():
            if network.latent_dim != latent_dim + private_dim:
                private = f" and private_dim {private_dim}" if private_dim else ""
                raise ValueError(
                    f"{part} of {name!r} has {network.latent_dim} latent dimensions, but "
                    f"latent_dim is {latent_dim}{private}; build both with the same number"
                )
