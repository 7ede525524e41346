"""Multimodal data sets: images of several modalities with one label, kept as bytes."""

from __future__ import annotations

__all__ = ["MultimodalData", "content_digest", "npy_digest"]

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MultimodalData:
    """N tuples of images, one image a modality, with one class a tuple.

    Args:
        name: What the data are, as records state it.
        modalities: For each modality its images, uint8 (N, C, H, W), all on one device.
        labels: Classes, int64 (N,), in 0 ... classes - 1.
        sha256: Digest of the content; computed if it is left empty.
        classes: Number of classes.

    Raises:
        ValueError: Modalities disagree in length or device, are not uint8 images, or a label is out
            of range.
    """

    name: str
    modalities: dict[str, Tensor]
    labels: Tensor
    sha256: str = ""
    classes: int = 10

    def __post_init__(self) -> None:
        check(self)
        if not self.sha256:
            arrays = {**self.modalities, "labels": self.labels}
            digests = {name: npy_digest(array.cpu().numpy()) for name, array in arrays.items()}
            object.__setattr__(self, "sha256", content_digest(digests))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, modality: str) -> Tensor:
        """The images of one modality, uint8 (N, C, H, W)."""
        self.require([modality])
        return self.modalities[modality]

    def require(self, names: Iterable[str]) -> None:
        """Refuse names that are not modalities of these data.

        Raises:
            ValueError: Names the unknown modality and the known ones.
        """
        for name in names:
            if name not in self.modalities:
                known = ", ".join(self.modalities)
                raise ValueError(f"{self.name} has no modality {name!r}: choose from {known}")

    def select(self, names: Iterable[str]) -> MultimodalData:
        """The same tuples with the named modalities only, in the given order."""
        names = list(names)
        self.require(names)
        kept = {name: self.modalities[name] for name in names}
        return MultimodalData(self.name, kept, self.labels, classes=self.classes)

    def take(self, index: Tensor | slice) -> MultimodalData:
        """The tuples at `index`."""
        kept = {name: images[index] for name, images in self.modalities.items()}
        return MultimodalData(self.name, kept, self.labels[index], classes=self.classes)

    def to(self, device: torch.device | str) -> MultimodalData:
        """The same data on another device."""
        moved = {name: images.to(device) for name, images in self.modalities.items()}
        return MultimodalData(self.name, moved, self.labels.to(device), self.sha256, self.classes)

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The images at `index` as float32 in [0, 1], a (B, C, H, W) tensor for each modality."""
        return {
            name: images[index].to(torch.float32).div_(255)
            for name, images in self.modalities.items()
        }


def content_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 for a whole data set, from the names and digests of its arrays, in order."""
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def npy_digest(array: np.ndarray) -> str:
    """SHA-256 of an array as a .npy file: of its type, its shape and its bytes."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256(header.getvalue())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check(data: MultimodalData) -> None:
    """Refuse data whose parts do not fit together."""
    labels = data.labels
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(
            f"{data.name}: labels must be int64 of shape (N,), "
            f"found {labels.dtype} {tuple(labels.shape)}"
        )
    if not data.modalities:
        raise ValueError(f"{data.name}: at least one modality is needed")
    for name, images in data.modalities.items():
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise ValueError(
                f"{data.name}: modality {name!r} must be uint8 images of shape (N, C, H, W), "
                f"found {images.dtype} {tuple(images.shape)}"
            )
        if len(images) != len(labels):
            raise ValueError(
                f"{data.name}: modality {name!r} has {len(images)} images for {len(labels)} "
                "labels; every tuple needs one of each"
            )
        if images.device != labels.device:
            raise ValueError(
                f"{data.name}: modality {name!r} is on {images.device}, the labels on "
                f"{labels.device}; move the whole data set with .to(device)"
            )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < data.classes:
        raise ValueError(
            f"{data.name}: labels run from {int(labels.min())} to {int(labels.max())}, "
            f"outside 0 ... {data.classes - 1}"
        )
