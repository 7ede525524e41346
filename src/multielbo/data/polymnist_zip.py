"""The published PolyMNIST archive, read where it lies: a zip file in one of two layouts.

Both are known from the code of its readers, and each lies in `train` and `test` of some folder:

- `m3/12.7.png`: PNG files, image 12 of the digit 7 in modality m3, so that images of one name are
  a tuple (Sutter et al. 2021, MMVAE+);
- `m3.pt` beside `labels.pt`: one tensor a modality, one row a tuple (MVTCAE, MultiVae).

Other members, such as classifiers and Inception weights, are not touched.
"""

from __future__ import annotations

__all__ = ["CLASS_COUNTS", "Pictures", "Tensors", "open_archive"]

import io
import pickle
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from multielbo.data.polymnist_archive import MODALITIES

SHAPE = (3, 28, 28)
# Every digit of MNIST occurs once in every modality of its split.
CLASS_COUNTS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
REMEDY = "take the archive as published"
PICTURE = re.compile(r"(?:.*/)?(train|test)/(m\d)/(\d+)\.(\d+)\.png")
TENSOR = re.compile(r"(?:.*/)?(train|test)/(m\d|labels)\.pt")


@dataclass(frozen=True)
class Pictures:
    """The layout of PNG files; tuples come by number, then by digit.

    Attributes:
        path: The zip file.
        members: By split and modality, then by number and digit, the member's name.
    """

    path: Path
    members: dict[tuple[str, str], dict[tuple[int, int], str]]

    def labels(self, split: str) -> NDArray[np.int64]:
        """Classes (N,) of a split.

        Raises:
            ValueError: Images are missing, modalities disagree, or the classes are not MNIST's.
        """
        first = self._of(split, MODALITIES[0])
        for m in MODALITIES[1:]:
            other, what = self._of(split, m), f"{split}/{m} and {split}/{MODALITIES[0]}"
            if len(other) != len(first):
                counts = f"{len(other):,} and {len(first):,} images"
                raise ValueError(f"{self.path}: {what} hold {counts}, not as many: {REMEDY}")
            if other.keys() != first.keys():
                number, digit = min(first.keys() - other.keys())
                raise ValueError(
                    f"{self.path}: {what} disagree in their labels: only one has "
                    f"{number}.{digit}.png: {REMEDY}"
                )
        labels = np.array([digit for _, digit in sorted(first)], np.int64)
        check_classes(f"{self.path}: {split}/{MODALITIES[0]}", split, labels)
        return labels

    def images(self, split: str, m: str) -> NDArray[np.uint8]:
        """Images (N, 3, 28, 28) of one modality, in the order of the labels.

        Raises:
            ValueError: A member is missing or damaged, or an image has another size.
        """
        members = sorted(self._of(split, m).items())
        images = np.empty((len(members), *SHAPE), np.uint8)
        with zipfile.ZipFile(self.path) as archive:
            for row, (_, name) in enumerate(members):
                images[row] = self._picture(archive, name)
        return images

    def _of(self, split: str, m: str) -> dict[tuple[int, int], str]:
        if (split, m) not in self.members:
            raise ValueError(f"{self.path} has no {split}/{m}/NUMBER.DIGIT.png: {REMEDY}")
        return self.members[split, m]

    def _picture(self, archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
        try:
            with Image.open(io.BytesIO(read(archive, name))) as picture:
                pixels = np.asarray(picture)
        except OSError as error:
            raise ValueError(
                f"{self.path}: {name} is not a complete picture ({error}): fetch it again"
            ) from error
        if pixels.shape != (*SHAPE[1:], SHAPE[0]):
            raise ValueError(
                f"{self.path}: {name} is of shape {pixels.shape}, expected 28x28 pixels in 3 "
                f"colours: {REMEDY}"
            )
        return pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class Tensors:
    """The layout of tensors; tuples come as the first of each class, then the second of each.

    Attributes:
        path: The zip file.
        members: By split and part ("m0" ... "m4", "labels") the member's name.
    """

    path: Path
    members: dict[tuple[str, str], str]

    def labels(self, split: str) -> NDArray[np.int64]:
        """Classes (N,) of a split.

        Raises:
            ValueError: The tensor is missing or damaged, or its classes are not MNIST's.
        """
        labels = self._stored_labels(split)
        return labels[class_by_class(labels)]

    def images(self, split: str, m: str) -> NDArray[np.uint8]:
        """Images (N, 3, 28, 28) of one modality, in the order of the labels.

        Raises:
            ValueError: The tensor is missing, damaged, or not what its name says.
        """
        labels = self._stored_labels(split)
        images, where = self._tensor(split, m), f"{self.path}: {split}/{m}.pt"
        if tuple(images.shape[1:]) != SHAPE:
            raise ValueError(
                f"{where} holds images of shape {tuple(images.shape[1:])}, expected {SHAPE}: "
                f"{REMEDY}"
            )
        if len(images) != len(labels):
            raise ValueError(
                f"{where} holds {len(images):,} images for {len(labels):,} labels: {REMEDY}"
            )
        if images.is_floating_point() and 0 <= images.min() <= images.max() <= 1:
            images = images.mul_(255).round_().to(torch.uint8)
        if images.dtype != torch.uint8:
            raise ValueError(f"{where} holds neither bytes nor values in 0 ... 1: {REMEDY}")
        return images.numpy()[class_by_class(labels)]

    def _stored_labels(self, split: str) -> NDArray[np.int64]:
        labels, where = self._tensor(split, "labels"), f"{self.path}: {split}/labels.pt"
        if labels.ndim != 1 or labels.is_floating_point():
            kind = f"{labels.dtype} {tuple(labels.shape)}"
            raise ValueError(f"{where} holds {kind}, expected whole numbers (N,): {REMEDY}")
        classes = labels.to(torch.int64).numpy()
        check_classes(where, split, classes)
        return classes

    def _tensor(self, split: str, part: str) -> Tensor:
        if (split, part) not in self.members:
            raise ValueError(f"{self.path} has no {split}/{part}.pt: {REMEDY}")
        name = self.members[split, part]
        with zipfile.ZipFile(self.path) as archive:
            content = io.BytesIO(read(archive, name))
        try:
            # A pickle can run code, tensors alone cannot.
            found = torch.load(content, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{self.path}: {name} is no file of a tensor: {REMEDY}") from error
        if not isinstance(found, Tensor):
            kind = type(found).__name__
            raise ValueError(f"{self.path}: {name} holds a {kind}, not a tensor: {REMEDY}")
        return found


def open_archive(path: Path) -> Pictures | Tensors:
    """Find out which layout the archive has; images are read when they are asked for.

    Raises:
        ValueError: The file is truncated, or no zip file, or has neither layout.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a complete zip file ({error}): fetch it again") from error
    tensors = {found.groups(): name for name in names if (found := TENSOR.fullmatch(name))}
    if tensors:
        return Tensors(path, tensors)
    pictures: dict[tuple[str, str], dict[tuple[int, int], str]] = {}
    for name in names:
        if found := PICTURE.fullmatch(name):
            split, m, number, digit = found.groups()
            pictures.setdefault((split, m), {})[int(number), int(digit)] = name
    if pictures:
        return Pictures(path, pictures)
    raise ValueError(
        f"{path} has neither m0/NUMBER.DIGIT.png nor m0.pt in train and test: {REMEDY}"
    )


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member, after a check of its checksum."""
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{archive.filename}: {name} is damaged ({error}): fetch it again"
        ) from error


def check_classes(where: str, split: str, labels: NDArray[np.int64]) -> None:
    """Refuse labels that are no digits, and classes that MNIST's split has not so often."""
    outside = labels[(labels < 0) | (labels > 9)]
    if len(outside):
        raise ValueError(f"{where} has label {outside[0]}, outside 0 ... 9: {REMEDY}")
    found, expected = np.bincount(labels, minlength=10), CLASS_COUNTS[split]
    (other,) = CLASS_COUNTS.keys() - {split}
    if tuple(found) == CLASS_COUNTS[other]:
        raise ValueError(f"{where} holds MNIST's {other} digits, train and test swapped: {REMEDY}")
    for digit, (count, wanted) in enumerate(zip(found, expected, strict=True)):
        if count != wanted:
            raise ValueError(
                f"{where} has the digit {digit} {count:,} times, MNIST has it {wanted:,} times: "
                f"{REMEDY}"
            )


def class_by_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of the tuples: the first of each class, then the second of each, and so on."""
    by_class = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - first
    return np.lexsort((labels, rank))
