"""PolyMNIST as its authors publish it, prepared from their archive.

Its third background is a photograph that is not free, which is why this book builds a data set of
its own beside it (`multielbo.data.polymnist`).
"""

from __future__ import annotations

__all__ = ["MODALITIES", "NAME", "polymnist_published"]

from pathlib import Path

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load

NAME = "polymnist-published"
MODALITIES = ("m0", "m1", "m2", "m3", "m4")


def polymnist_published(root: Path | str, split: str = "train") -> MultimodalData:
    """Load the published PolyMNIST, five modalities of (N, 3, 28, 28), memory-mapped.

    Args:
        root: The folder that `data_scripts/polymnist_archive.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    remedy = f"python data_scripts/polymnist_archive.py --out {root}"
    return load(Path(root) / NAME, split, remedy)
