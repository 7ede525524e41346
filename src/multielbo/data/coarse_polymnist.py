"""PolyMNIST with one modality that tells little: what if experts are not equally informative?

The second modality keeps the mean colour of each block of 7x7 pixels alone. It is made from the
prepared PolyMNIST when that is loaded, so there is nothing more to prepare.
"""

from __future__ import annotations

__all__ = ["COARSE", "coarse_polymnist", "coarsened"]

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from multielbo.data.multimodal import MultimodalData, content_digest
from multielbo.data.polymnist import NAME, polymnist

COARSE, BLOCK = "m1", 7
CHUNK = 5_000  # pictures at a time, which bounds the memory


def coarse_polymnist(root: Path | str, split: str = "train") -> MultimodalData:
    """Load PolyMNIST with a coarse second modality.

    Args:
        root: The folder that `data_scripts/polymnist.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: PolyMNIST has not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    data = polymnist(root, split)
    coarse = torch.cat([coarsened(part, BLOCK) for part in data.modalities[COARSE].split(CHUNK)])
    return replace(
        data,
        name=data.name.replace(NAME, f"{NAME}-coarse"),
        modalities=data.modalities | {COARSE: coarse},
        sha256=content_digest({NAME: data.sha256, f"{COARSE} in blocks of {BLOCK}": ""}),
    )


def coarsened(pictures: Tensor, block: int) -> Tensor:
    """Every block of pixels in its mean colour, rounded by whole numbers alone.

    Args:
        pictures: uint8 `(N, C, H, W)`.
        block: Side of a block in pixels.

    Raises:
        ValueError: The blocks do not tile the pictures.
    """
    height, width = pictures.shape[-2:]
    if height % block or width % block:
        raise ValueError(f"coarsened: blocks of {block} pixels do not tile {height}x{width}")
    tiles = pictures.unflatten(-1, (-1, block)).unflatten(-3, (-1, block)).int()
    total = tiles.sum((-3, -1), keepdim=True)
    means = (total + block**2 // 2) // block**2
    return means.expand_as(tiles).reshape(pictures.shape).byte()
