"""Multimodal data sets: several modalities with one label, kept as they were stored."""

from __future__ import annotations

__all__ = ["MultimodalData", "content_digest", "npy_digest"]

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class MultimodalData:
    """N tuples of observations, one observation a modality, with one label a tuple.

    Data sets that pair many tuples from few originals keep the originals once, and for each tuple
    the row of its original.

    Args:
        name: What the data are, as records state it.
        modalities: For each modality its observations, all on one device: pictures as uint8
            (N, C, H, W), symbols as uint8 (N, L), measurements as float32 (N, ...).
        labels: Classes, int64 (N,), in 0 ... classes - 1; or attributes, bool (N, A).
        sha256: Digest of the content; computed if it is left empty.
        classes: Number of classes.
        symbols: Size of the alphabet, for each modality that holds symbols.
        rows: Row of each tuple's observation, int64 (N,), for each modality whose observations
            are shared between tuples.

    Raises:
        ValueError: Parts disagree in length or device, are of another type, or a label, symbol or
            row is out of range.
    """

    name: str
    modalities: dict[str, Tensor]
    labels: Tensor
    sha256: str = ""
    classes: int = 10
    symbols: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)
        if not self.sha256:
            rows = {f"{name}.rows": row for name, row in self.rows.items()}
            arrays = {**self.modalities, **rows, "labels": self.labels}
            digests = {name: npy_digest(array.cpu().numpy()) for name, array in arrays.items()}
            object.__setattr__(self, "sha256", content_digest(digests))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, modality: str) -> Tensor:
        """The observations of one modality, one for each tuple, as stored."""
        self.require([modality])
        return self._stored(modality, slice(None))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By modality the shape of one observation as `batch` gives it."""
        return {
            name: (*x.shape[1:], self.symbols[name]) if name in self.symbols else (*x.shape[1:],)
            for name, x in self.modalities.items()
        }

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
        return replace(
            self,
            modalities={name: self.modalities[name] for name in names},
            symbols={name: self.symbols[name] for name in names if name in self.symbols},
            rows={name: self.rows[name] for name in names if name in self.rows},
            sha256="",
        )

    def take(self, index: Tensor | slice) -> MultimodalData:
        """The tuples at `index`."""
        shared = self.rows.keys()
        return replace(
            self,
            modalities={n: x if n in shared else x[index] for n, x in self.modalities.items()},
            labels=self.labels[index],
            rows={name: row[index] for name, row in self.rows.items()},
            sha256="",
        )

    def to(self, device: torch.device | str) -> MultimodalData:
        """The same data on another device."""
        return replace(
            self,
            modalities={name: x.to(device) for name, x in self.modalities.items()},
            labels=self.labels.to(device),
            rows={name: row.to(device) for name, row in self.rows.items()},
        )

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The tuples at `index` as float32 `(B, *shape)` for each modality.

        Pictures come in [0, 1], symbols one-hot on the last axis, measurements as they are.
        """
        return {name: self._floats(name, self._stored(name, index)) for name in self.modalities}

    def as_stored(self, name: str, x: Tensor) -> Tensor:
        """Observations in the form of `batch`, such as generated ones, in the form of storage.

        Args:
            name: Their modality.
            x: `(..., *shape)`: values beyond a picture's range become its nearest, and scores of
                symbols the likeliest symbol.
        """
        if name in self.symbols:
            return x.argmax(-1).byte()
        if self.modalities[name].dtype == torch.uint8:
            return (255 * x.clamp(0, 1)).round().byte()
        return x

    def _stored(self, name: str, index: Tensor | slice) -> Tensor:
        rows = self.rows.get(name)
        return self.modalities[name][index if rows is None else rows[index]]

    def _floats(self, name: str, x: Tensor) -> Tensor:
        if name in self.symbols:
            return one_hot(x.long(), self.symbols[name]).to(torch.float32)
        return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x


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
    if (labels.ndim, labels.dtype) not in {(1, torch.int64), (2, torch.bool)}:
        raise ValueError(
            f"{data.name}: labels must be int64 of shape (N,) or bool of shape (N, attributes), "
            f"found {labels.dtype} {tuple(labels.shape)}"
        )
    if not data.modalities:
        raise ValueError(f"{data.name}: at least one modality is needed")
    for part in (data.symbols, data.rows):
        data.require(part)
    for name, x in data.modalities.items():
        _check_modality(data, name, x)
    if labels.ndim == 1 and len(labels):
        _check_range(f"{data.name}: labels run", labels, data.classes)


def _check_modality(data: MultimodalData, name: str, x: Tensor) -> None:
    where = f"{data.name}: modality {name!r}"
    form = "symbols" if name in data.symbols else "measurements" if x.is_floating_point() else ""
    wanted = {"symbols": (torch.uint8, 2), "measurements": (torch.float32, max(x.ndim, 2))}
    if (x.dtype, x.ndim) != wanted.get(form, (torch.uint8, 4)):
        raise ValueError(
            f"{where} must be uint8 images of shape (N, C, H, W), uint8 symbols of shape (N, L) or "
            f"float32 of shape (N, ...), found {x.dtype} {tuple(x.shape)}"
        )
    rows = data.rows.get(name)
    index = x if rows is None else rows
    if len(index) != len(data.labels):
        raise ValueError(
            f"{where} has {len(index)} observations for {len(data.labels)} labels; every tuple "
            "needs one of each"
        )
    if {x.device, index.device} != {data.labels.device}:
        raise ValueError(
            f"{where} is on {x.device}, the labels on {data.labels.device}; move the whole data "
            "set with .to(device)"
        )
    if rows is not None and len(rows):
        if rows.ndim != 1 or rows.dtype != torch.int64:
            raise ValueError(f"{where}: rows must be int64 (N,), found {rows.dtype} {rows.shape}")
        _check_range(f"{where}: rows run", rows, len(x))
    if form == "symbols" and x.numel():
        _check_range(f"{where}: symbols run", x, data.symbols[name])


def _check_range(what: str, values: Tensor, end: int) -> None:
    low, high = int(values.min()), int(values.max())
    if not 0 <= low <= high < end:
        raise ValueError(f"{what} from {low} to {high}, outside 0 ... {end - 1}")
