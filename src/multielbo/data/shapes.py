"""Circles and squares: the toy on which JNF's paper shows what a Gaussian posterior cannot follow.

A pair shows a square and a circle, both full or both empty, each with a radius of its own. So the
modalities share one bit, and the rest is private. The squares stand on a corner: both shapes are
the points within a radius, of the sum of coordinates here and of their Euclidean length there.

The pictures are bilevel and a function of radius and class, and every draw is integer arithmetic on
raw bits: the same seed gives the same bytes on every machine.
"""

from __future__ import annotations

__all__ = ["CLASSES", "MODALITIES", "RADII", "THICKNESS", "circles_and_squares", "draw", "factors"]

import torch
from torch import Tensor

from multielbo.data.multimodal import MultimodalData
from multielbo.data.recipe import bit_generator

MODALITIES = ("square", "circle")
CLASSES = ("full", "empty")
RADII = (0.3, 0.9)  # the picture reaches from -1 to 1
THICKNESS = 0.25  # of the outline of an empty shape
PAIRS = {"train": 8000, "test": 2000}


def circles_and_squares(
    split: str = "train", pairs: int | None = None, size: int = 32, seed: int = 0
) -> MultimodalData:
    """Make pairs of a square and a circle.

    Args:
        split: "train" or "test", which draw their radii independently.
        pairs: Number of pairs, by default 8,000 for training and 2,000 for test.
        size: Height and width of the pictures in pixels, at least 8.
        seed: Decides the radii.

    Raises:
        ValueError: The split does not exist, or a number is out of range.

    Source:
        Senellart and Allassonnière (2025), figure 2, and the script of their earlier code. Where
        the thickness lies is not known to us: here it is cut from the inside of the full shape.
    """
    if size < 8:
        raise ValueError(f"circles-and-squares: size {size} is below 8 pixels, too few for a hole")
    radii, labels = factors(split, pairs, seed)
    images = {
        name: draw(name, radii[:, m], labels, size).mul(255).to(torch.uint8)
        for m, name in enumerate(MODALITIES)
    }
    return MultimodalData(f"circles-and-squares-{split}", images, labels, classes=len(CLASSES))


def factors(split: str = "train", pairs: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What the pairs are made from.

    Returns:
        Radii, uniform and independent, `(pairs, 2)` in the order of MODALITIES, and the classes,
        `(pairs,)`, half and half.
    """
    if split not in PAIRS:
        raise ValueError(
            f"circles-and-squares has no split {split!r}: choose from {', '.join(PAIRS)}"
        )
    count = PAIRS[split] if pairs is None else pairs
    if count < 1:
        raise ValueError(f"circles-and-squares: {count} pairs asked for, at least 1 is needed")
    raw = bit_generator(seed, list(PAIRS).index(split)).random_raw(2 * count)
    unit = torch.from_numpy((raw >> 11).astype("float64")).mul(2.0**-53).view(count, 2)
    low, high = RADII
    return low + (high - low) * unit, torch.arange(count) % len(CLASSES)


def draw(modality: str, radius: Tensor, label: Tensor, size: int = 32) -> Tensor:
    """Pictures of one modality, 1 where the shape is and 0 elsewhere.

    Args:
        modality: "square" or "circle".
        radius: `(N,)`, in half pictures.
        label: Index into CLASSES, `(N,)`.
        size: Pixels along a side.

    Returns:
        `(N, 1, size, size)`, of the type of `radius`.

    Raises:
        ValueError: There is no such modality.
    """
    axis = torch.linspace(-1, 1, size, dtype=torch.float64).abs()
    norms = {
        "square": axis[:, None] + axis,
        "circle": (axis[:, None].square() + axis.square()).sqrt(),
    }
    if modality not in norms:
        raise ValueError(
            f"circles-and-squares has no modality {modality!r}: choose from {', '.join(norms)}"
        )
    norm, outer = norms[modality], radius.double()[:, None, None]
    empty = (label == CLASSES.index("empty"))[:, None, None]
    shape = (norm <= outer) & ~(empty & (norm < outer - THICKNESS))
    return shape[:, None].to(radius.dtype)
