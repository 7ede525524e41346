"""What a set encoder is asked for: the answers of an aggregator, for training and for metrics."""

from __future__ import annotations

__all__ = ["SetAnswers"]

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from multielbo.masked import kept_posterior
from multielbo.masks import MaskLaw
from multielbo.mixtures import Posteriors
from multielbo.models.masked import choose
from multielbo.set_encoders import SetEncoder


@dataclass(frozen=True)
class SetAnswers:
    """From features to the posteriors of subsets: what an aggregator is to other models.

    Attributes:
        encoder: The set encoder, with C components.
        law: Of the masks in training.
    """

    encoder: SetEncoder
    law: MaskLaw

    def __call__(
        self,
        loc: Tensor,
        scale: Tensor,
        observed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Posteriors:
        """q(z | x), then q(z | x_S) of a mask for each example, with K = 2 C.

        q(z | x_S) of a mask that keeps nothing is the prior, as in `kept_posterior`, and not the
        constant that the set encoder has for an empty set: that one is never asked for.

        Args:
            loc: Features, `(M, B, E)`; those of missing modalities are not read.
            scale: Not read.
            observed: `(M, B)` bool, or None when everything is observed.
            generator: Source of the masks.

        Raises:
            ValueError: Shapes disagree, or an example has no observed modality.
        """
        subsets, chances = self.law(len(loc))
        row = choose(chances, loc.shape[1], generator, loc.device)
        kept = subsets.to(loc.device)[row].T
        full = self.posterior(loc, scale, observed)
        part = kept_posterior(self, loc, scale, kept, observed)
        return Posteriors(*(torch.cat(pair) for pair in zip(full, part, strict=True)))

    def posterior(self, loc: Tensor, scale: Tensor, observed: Tensor | None = None) -> Posteriors:
        """The set encoder's own posterior given all that is observed, with K = C.

        Args:
            loc: Features, `(M, B, E)`; those of missing modalities are not read.
            scale: Not read.
            observed: `(M, B)` bool, or None when everything is observed.

        Raises:
            ValueError: Shapes disagree, or an example has no observed modality.
        """
        if observed is not None and not bool(observed.any(0).all()):
            row = int((~observed.any(0)).nonzero()[0])
            raise ValueError(
                f"set encoder: example {row} of the batch has no observed modality; drop it, or "
                "sample from the prior instead"
            )
        return self.encoder(loc, None if observed is None else observed[None]).subset(0)
