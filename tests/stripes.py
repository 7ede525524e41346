"""A small data set whose class is easy to see, for tests of judges and of all metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator

from multielbo.data.multimodal import MultimodalData
from multielbo.networks import Encoder, conv_encoder

CLASSES = 10


def striped(examples: int, name: str = "stripes-train", seed: int = 0) -> MultimodalData:
    """Two modalities of noise in which the row of a bright stripe is the class."""
    generator = Generator().manual_seed(seed)
    labels = torch.arange(examples) % CLASSES
    pictures = {}
    for modality in ("x", "y"):
        noise = torch.randint(100, (examples, 1, CLASSES, CLASSES), generator=generator)
        noise[torch.arange(examples), :, labels] += 100
        pictures[modality] = noise.to(torch.uint8)
    return MultimodalData(name, pictures, labels)


def encoders(*channels: int) -> dict[str, Callable[[int], Encoder]]:
    """Of both modalities."""
    return dict.fromkeys("xy", partial(conv_encoder, (1, CLASSES, CLASSES), channels=channels))
