"""Set encoders: one network that answers for every subset of modalities.

Modality m is encoded to features e_m by a network of its own; what these modules see is the set of
the features of S. All subsets are answered in one call, features in any order give the same answer,
and what no subset holds is never read. An empty subset gets a learned constant.
"""

from __future__ import annotations

__all__ = ["SelfAttention", "SetEncoder", "SetPosteriors", "SumPooling"]

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from multielbo.mixtures import Posteriors
from multielbo.networks import at_least_one
from multielbo.set_networks import TransformerBlock, gaussians_of, perceptron, readable


class SetPosteriors(NamedTuple):
    """Posteriors of K subsets of B examples, each a mixture of C Gaussians.

    Attributes:
        loc, scale: Means and standard deviations, `(K, C, B, D)`.
        weights: Mixture weights, `(K, C, B)`, summing to one over C.
        members: `(K, M, B)` bool, the subsets.
    """

    loc: Tensor
    scale: Tensor
    weights: Tensor
    members: Tensor

    def subset(self, k: int) -> Posteriors:
        """q(z | x_S) of the k-th subset."""
        members = self.members[k].expand(self.loc.shape[1], -1, -1)
        return Posteriors(self.loc[k], self.scale[k], self.weights[k], members)

    def mixed(self) -> Posteriors:
        """The evenly weighted mixture of all K subsets' posteriors."""
        subsets, components = self.loc.shape[:2]
        return Posteriors(
            self.loc.flatten(0, 1),
            self.scale.flatten(0, 1),
            self.weights.flatten(0, 1) / subsets,
            self.members.repeat_interleave(components, 0),
        )


class SetEncoder(nn.Module):
    """Pool the features of each subset, then one network for all; subclasses say how to pool.

    Args:
        feature_dim: E, features of every modality.
        latent_dim: D.
        width: Width of the hidden layers and of what is pooled.
        components: C, Gaussians in the mixture that answers for a subset.

    Raises:
        ValueError: There is no latent dimension or no component.
    """

    def __init__(
        self, feature_dim: int, latent_dim: int, width: int = 256, components: int = 1
    ) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"set encoder: {components} components; a mixture has at least 1")
        self.feature_dim = feature_dim
        self.components = components
        outputs = components * (1 + 2 * at_least_one(latent_dim))
        self.outer = perceptron((width, width, width, outputs))

    def forward(
        self,
        features: Tensor | Sequence[Tensor],
        members: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> SetPosteriors:
        """Posteriors of all given subsets, features in the order of the rows of `members`.

        Args:
            features: e_m of every modality, `(M, B, E)` or M times `(B, E)`; what no subset holds
                is not read.
            members: Subsets, `(K, M)` or `(K, M, B)` bool, or None for the one of everything.
            observed: `(M, B)` bool, or None when everything is observed; each subset is
                intersected with it.

        Raises:
            ValueError: Shapes disagree.
        """
        features, members = readable(features, members, observed, self.feature_dim)
        outputs = self.outer(self.pooled(features, members))
        logits, rest = outputs.tensor_split([self.components], -1)  # (K, B, C), (K, B, 2 C D)
        loc, scale = gaussians_of(rest.unflatten(-1, (self.components, -1)).movedim(-2, 1))
        return SetPosteriors(loc, scale, logits.movedim(-1, 1).softmax(1), members)


class SumPooling(SetEncoder):
    """A network of a sum over members of a network, Equation eq-sum-pooling.

    Args:
        feature_dim: E, features of every modality.
        latent_dim: D.
        width: Width of the hidden layers and of the sum.
        components: C, Gaussians in the mixture that answers for a subset.

    Source:
        Hirt, Campolo, Leong and Ortega (2024); Zaheer et al. (2017).
    """

    def __init__(
        self, feature_dim: int, latent_dim: int, width: int = 256, components: int = 1
    ) -> None:
        super().__init__(feature_dim, latent_dim, width, components)
        self.inner = perceptron((feature_dim, width, width, width))

    def pooled(self, features: Tensor, members: Tensor) -> Tensor:
        """The sum over each subset, `(K, B, W)`, from `(M, B, E)` and `(K, M, B)`."""
        inner = self.inner(features)  # once, for all subsets
        return (members[..., None] * inner).sum(1)  # faster than a batched product of this shape


class SelfAttention(SetEncoder):
    """Members that attend to one another before they are summed, Equation eq-self-attention.

    Args:
        feature_dim: E, features of every modality.
        latent_dim: D.
        width: Width of the hidden layers and of the sum, a multiple of `heads`.
        components: C, Gaussians in the mixture that answers for a subset.
        layers: Number of transformer blocks.
        heads: Attention heads of each.

    Raises:
        ValueError: The heads do not divide the width.

    Source:
        Hirt, Campolo, Leong and Ortega (2024); Lee et al. (2019).
    """

    def __init__(
        self,
        feature_dim: int,
        latent_dim: int,
        width: int = 256,
        components: int = 1,
        *,
        layers: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__(feature_dim, latent_dim, width, components)
        self.inner = perceptron((feature_dim, width, width))
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def pooled(self, features: Tensor, members: Tensor) -> Tensor:
        """The sum over each subset, `(K, B, W)`, from `(M, B, E)` and `(K, M, B)`."""
        present = members.movedim(1, -1)  # (K, B, M)
        g = self.inner(features).movedim(0, 1).expand(len(members), -1, -1, -1)
        for block in self.blocks:
            g = block(g, present)
        return (present[..., None] * self.norm(g)).sum(-2)
