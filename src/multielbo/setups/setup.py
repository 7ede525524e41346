"""A data set as the papers train on it: where it comes from, and each modality's parts."""

from __future__ import annotations

__all__ = ["Modality", "Setup", "dimension_weights"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multielbo.likelihoods import Likelihood
from multielbo.networks import Decoder, Encoder
from multielbo.vae import MultimodalVAE

if TYPE_CHECKING:
    from multielbo.data.multimodal import MultimodalData


@dataclass(frozen=True)
class Modality:
    """What one modality needs, for any latent dimension.

    Attributes:
        encoder: From the latent dimension to a unimodal posterior's network.
        decoder: From the latent dimension to the network of the likelihood's parameters.
        likelihood: What the decoder's output means.
        weight: Of the likelihood in training.
    """

    encoder: Callable[[int], Encoder]
    decoder: Callable[[int], Decoder]
    likelihood: Likelihood
    weight: float = 1.0


@dataclass(frozen=True)
class Setup:
    """A data set and the parts that its models share.

    Attributes:
        load: From the folder of prepared data, and `"train"` or `"test"`, to that split; embedded
            data need no folder.
        modalities: In the models' order.
        prepare: The command that prepares the data, empty for embedded ones.
        private_dim: Latent dimensions that each modality has for itself, beside the shared ones;
            encoders and decoders are built for both together.
        vae: What puts the parts together, with the arguments of `MultimodalVAE`.
    """

    load: Callable[[Path | None, str], MultimodalData]
    modalities: Mapping[str, Modality]
    prepare: str = ""
    private_dim: int = 0
    vae: Callable[..., MultimodalVAE] = MultimodalVAE

    @property
    def likelihood_weights(self) -> dict[str, float]:
        """By modality the weight of its likelihood in training."""
        return {name: modality.weight for name, modality in self.modalities.items()}


def dimension_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The largest modality's number of dimensions over each modality's own.

    Args:
        shapes: By modality the shape whose entries count as dimensions.

    Source:
        Sutter, Daunhawer and Vogt (2021), appendix B.

    >>> dimension_weights({"small": (2,), "large": (3, 2)})
    {'small': 3.0, 'large': 1.0}
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return {name: max(sizes.values()) / size for name, size in sizes.items()}
