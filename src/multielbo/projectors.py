"""Projectors keep what modalities share: their networks, and the stage that trains them.

`CorrelationFit` and `ContrastiveFit` are stages for `multielbo.stages`; frozen, their projectors
stand before the encoders of unimodal posteriors, which then cannot use what was projected away.
"""

from __future__ import annotations

__all__ = [
    "ContrastiveFit",
    "CorrelationFit",
    "ProjectedEncoder",
    "Projector",
    "project",
    "shared_head",
]

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import torch
from torch import Generator, Tensor, nn

from multielbo.contrastive import info_nce, similarities, with_own_negatives
from multielbo.data.multimodal import MultimodalData
from multielbo.dcca import OBJECTIVES, RIDGE, over_pairs
from multielbo.inputs import Batch, Observed
from multielbo.joint import freeze
from multielbo.networks import Encoder
from multielbo.objectives import Bound
from multielbo.precision import multiplying

Projectors = Mapping[str, "Projector"]


class Projector(nn.Module):
    """g(x): an encoder's features, one linear map, and possibly a head and a common length.

    Without a head the projection is centred and scaled, in training by its batch and afterwards by
    running averages: correlations do not see it, and the next network gets numbers of order one.

    Args:
        encoder: Whose features are taken; its posterior is left out.
        dim: Of the linear map's output.
        head: From there to the projection, which is brought to length one; modalities may share
            it.
    """

    def __init__(self, encoder: Encoder, dim: int, head: nn.Module | None = None) -> None:
        super().__init__()
        self.shape = encoder.shape
        self.features = encoder.features
        self.linear = nn.Linear(encoder.posterior.in_features, dim)
        self.head = head
        self.standard = nn.BatchNorm1d(dim, affine=False) if head is None else None

    def forward(self, x: Tensor) -> Tensor:
        """Projections `(B, K)` of observations `(B, *shape)`."""
        projected = self.linear(self.features(x))
        if self.head is not None:
            projected = self.head(projected)
        # Under autocast neither a length nor a deviation would have more than three digits.
        projected = projected.to(torch.promote_types(x.dtype, projected.dtype))
        if self.head is not None:
            return nn.functional.normalize(projected, dim=-1)
        return self.standard(projected)


def shared_head(widths: Sequence[int]) -> nn.Sequential:
    """A perceptron with Swish between its layers, for the projections of all modalities."""
    layers: list[nn.Module] = []
    for source, target in pairwise(widths):
        layers += [nn.Linear(source, target), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class ProjectedEncoder(nn.Module):
    """The base of q(z | g(x)): an encoder of the projection, called on x.

    Args:
        projector: g.
        encoder: From the projection to mean and standard deviation.
    """

    def __init__(self, projector: Projector, encoder: Encoder) -> None:
        super().__init__()
        self.projector, self.encoder = projector, encoder
        self.shape, self.latent_dim = projector.shape, encoder.latent_dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each `(B, D)`."""
        return self.encoder(self.projector(x))


class CorrelationFit(nn.Module):
    """Projectors learn to be correlated, every modality with every other: DCCA.

    Its "bound" is a sum over pairs, of which each modality is given half of its own. It is one
    number for a batch, and the same for all of its examples.

    Args:
        projectors: By modality, at least two of them.
        objective: A name of `multielbo.dcca.OBJECTIVES`.
        ridge: As for `multielbo.dcca.covariances`.

    Raises:
        ValueError: A single modality, or no such objective.
    """

    beta, likelihood_weights = 1.0, None

    def __init__(
        self, projectors: Projectors, objective: str = "sum", ridge: float = RIDGE
    ) -> None:
        super().__init__()
        self.modalities = _at_least_two(projectors)
        if objective not in OBJECTIVES:
            raise ValueError(
                f"DCCA: there is no objective {objective!r}; choose from {', '.join(OBJECTIVES)}"
            )
        self.projectors = nn.ModuleDict(projectors)
        self.objective, self.ridge = objective, ridge

    @property
    def least_examples(self) -> int:
        """With fewer, some correlation is one whatever the projections are."""
        widest = sorted(g.linear.out_features for g in self.projectors.values())[-2:]
        return sum(widest) + 1

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """The objective's sum over pairs of modalities, as `multielbo.dcca.over_pairs` has it.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None; every modality is there.
            generator: Not used; the objective has no draws.

        Raises:
            ValueError: The batch has no more examples than two projections have dimensions, or a
                projection is degenerate.
            FloatingPointError: A projection is not finite.
        """
        views = [self.projectors[m](batch[m]) for m in self.modalities]
        # Cholesky factors and singular values want more digits than a network does.
        with torch.autocast(views[0].device.type, enabled=False):
            shares = over_pairs([v.double() for v in views], OBJECTIVES[self.objective], self.ridge)
        shares = shares.to(torch.promote_types(views[0].dtype, torch.float32))
        return Bound(shares[:, None].expand(-1, len(views[0])), shares.new_zeros(len(views[0])))

    forward = bound


class ContrastiveFit(nn.Module):
    """Projectors learn to find an example's other modalities among strangers.

    Args:
        projectors: By modality, at least two of them, onto the sphere.
        temperature: What products of projections are divided by.
        own_negatives: Strangers are of the anchor's own modality, too, as in the released code.

    Raises:
        ValueError: A single modality.
    """

    beta, likelihood_weights, least_examples = 1.0, None, 2

    def __init__(
        self, projectors: Projectors, temperature: float = 0.1, own_negatives: bool = True
    ) -> None:
        super().__init__()
        self.modalities = _at_least_two(projectors)
        self.projectors = nn.ModuleDict(projectors)
        self.temperature, self.own_negatives = temperature, own_negatives

    def bound(
        self, batch: Batch, observed: Observed = None, generator: Generator | None = None
    ) -> Bound:
        """Half of each anchor's log-probability of its partner, in every pair of modalities.

        Args:
            batch: Observations of all modalities, `(B, *shape)` by name.
            observed: None; every modality is there.
            generator: Not used; the objective has no draws.

        Raises:
            ValueError: The batch has a single example.
        """
        views = [self.projectors[m](batch[m]) for m in self.modalities]
        with torch.autocast(views[0].device.type, enabled=False):
            views = [v.to(torch.promote_types(v.dtype, torch.float32)) for v in views]
            found = [torch.zeros_like(v[:, 0]) for v in views]
            for i, j in combinations(range(len(views)), 2):
                first, second = self._anchors(views[i], views[j])
                found[i], found[j] = found[i] + 0.5 * first, found[j] + 0.5 * second
        return Bound(torch.stack(found), torch.zeros_like(found[0]))

    forward = bound

    def _anchors(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.own_negatives:
            return tuple(with_own_negatives(u, v, self.temperature))
        scores = similarities(u, v, self.temperature)
        return info_nce(scores), info_nce(scores.mT)


@torch.no_grad()
def project(data: MultimodalData, projectors: Projectors, batch_size: int = 512) -> MultimodalData:
    """The data with projections, `(N, K)`, in place of observations; what else it holds stays.

    Frozen, a projector says the same of an example in every epoch: it is asked once.
    """
    digest = hashlib.sha256(data.sha256.encode())
    rows = torch.arange(len(data), device=data.labels.device).split(batch_size)
    found: dict[str, list[Tensor]] = {name: [] for name in projectors}
    for projector in projectors.values():
        digest.update(freeze(projector).encode())
    with multiplying("float32", data.labels.device):
        for part in rows:
            batch = data.batch(part)
            for name, projector in projectors.items():
                found[name].append(projector(batch[name]))
    kept = {name: x for name, x in data.modalities.items() if name not in projectors}
    return replace(
        data,
        modalities={name: torch.cat(parts) for name, parts in found.items()} | kept,
        symbols={name: size for name, size in data.symbols.items() if name in kept},
        rows={name: row for name, row in data.rows.items() if name in kept},
        sha256=digest.hexdigest(),
    )


def _at_least_two(projectors: Projectors) -> tuple[str, ...]:
    if len(projectors) < 2:
        raise ValueError(
            f"projectors: given for {', '.join(projectors) or 'none'}; two modalities and more can "
            "share something"
        )
    return tuple(projectors)
