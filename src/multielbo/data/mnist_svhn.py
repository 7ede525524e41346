"""MNIST-SVHN and MNIST-SVHN-Text: digits paired by their class, and the digit's word.

A tuple of class c shows one of MNIST's digits and one of SVHN's, both of class c, and spells the
class in English at a random place among spaces. In each class as many originals take part as the
smaller of the two sets has, each of them once in every one of the random matchings (Shi et al.
2019; the text is from Sutter et al. 2020).

A set made of a smaller SVHN is another one, and its name says so.
"""

from __future__ import annotations

__all__ = [
    "ALPHABET",
    "LENGTH",
    "MODALITIES",
    "NAME",
    "PAIRS",
    "REDUCED",
    "WORDS",
    "match",
    "mnist_svhn",
    "mnist_svhn_text",
    "pair",
    "read_text",
    "spell",
]

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase, digits

import numpy as np
from numpy.random import PCG64
from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load
from multielbo.data.recipe import bit_generator

NAME = "mnist-svhn-text"
REDUCED = f"{NAME}-reduced"
MODALITIES = ("mnist", "svhn", "text")
SPLITS = ("train", "test")
PAIRS = 20  # matchings in MoPoE's released code; MMVAE's makes 30, MultiVae 5
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LENGTH = 8
# The hyphen comes twice in the alphabet of the released code; only its first place is ever used.
ALPHABET = ascii_lowercase + digits + "-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"


def mnist_svhn_text(root: Path | str, split: str = "train") -> MultimodalData:
    """Load MNIST-SVHN-Text, memory-mapped: the full one if it is there, else the reduced one.

    Args:
        root: The folder that `data_scripts/mnist_svhn.py --out` was given.
        split: "train" or "test".

    Returns:
        The modalities "mnist" (N, 1, 28, 28), "svhn" (N, 3, 32, 32) and "text" (N, 8).

    Raises:
        FileNotFoundError: Neither has been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    remedy = f"python data_scripts/mnist_svhn.py --out {root}"
    for name in (NAME, REDUCED):
        if (Path(root) / name).is_dir():
            return load(Path(root) / name, split, remedy)
    raise FileNotFoundError(f"{root} holds neither {NAME} nor {REDUCED}: run {remedy}")


def mnist_svhn(root: Path | str, split: str = "train") -> MultimodalData:
    """Load MNIST-SVHN, the same tuples without their text.

    Args:
        root: The folder that `data_scripts/mnist_svhn.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    data = mnist_svhn_text(root, split).select(MODALITIES[:2])
    return replace(data, name=data.name.replace(NAME, "mnist-svhn"))


def pair(
    mnist: tuple[NDArray[np.uint8], NDArray[np.int64]],
    svhn: tuple[NDArray[np.uint8], NDArray[np.int64]],
    *,
    split: str,
    pairs: int = PAIRS,
    seed: int = 0,
) -> dict[str, NDArray]:
    """Make the arrays of one split.

    Args:
        mnist: Images (N, 28, 28) and their classes (N,).
        svhn: Images (M, 3, 32, 32) and their classes (M,).
        split: "train" or "test": which random stream to use.
        pairs: Number of matchings.
        seed: Decides which digits meet in a tuple, the order of the tuples and where words start.

    Returns:
        By name as in a prepared folder: classes, the originals that take part, each once, the row
        of each tuple's original, and the texts.

    Raises:
        ValueError: A class is missing in one of the sets, or there is no matching.
    """
    stream = SPLITS.index(split)
    try:
        rows = match(mnist[1], svhn[1], pairs, bit_generator(seed, stream, 0))
    except ValueError as error:
        raise ValueError(f"{split}: {error}") from error
    labels = mnist[1][rows[0]]
    arrays = {"labels": labels}
    for name, images, used in zip(MODALITIES, (mnist[0][:, None], svhn[0]), rows, strict=False):
        kept, places = np.unique(used, return_inverse=True)
        arrays[name] = images[kept]
        arrays[f"{name}.rows"] = places.astype(np.int64)
    arrays["text"] = spell(labels, bit_generator(seed, stream, 1))
    return arrays


def match(
    first: NDArray[np.integer], second: NDArray[np.integer], pairs: int, bits: PCG64
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match the originals of two sets at random within each class.

    Args:
        first: Classes of one set, (N,).
        second: Classes of the other, (M,).
        pairs: Number of independent matchings.
        bits: Where the randomness comes from.

    Returns:
        Rows of the two sets, (T,) each, in random order. In a class the first n rows of each set
        take part, n the smaller of its two counts, and each of them is in `pairs` tuples.

    Raises:
        ValueError: A class is missing in one of the sets, or there is no matching.
    """
    if pairs < 1:
        raise ValueError(f"{pairs} matchings make no tuple: choose at least 1")
    alone = np.setxor1d(first, second)
    if alone.size:
        raise ValueError(f"class {alone[0]} is in one of the two sets only: it cannot be matched")
    matched = []
    for label in np.unique(first):
        rows, others = np.flatnonzero(first == label), np.flatnonzero(second == label)
        n = min(len(rows), len(others))
        for _ in range(pairs):
            matched.append((rows[:n], others[_permutation(n, bits)]))
    one, other = (np.concatenate(rows) for rows in zip(*matched, strict=True))
    order = _permutation(len(one), bits)  # so that the first tuples are a fair sample of all
    return one[order], other[order]


def spell(labels: NDArray[np.integer], bits: PCG64) -> NDArray[np.uint8]:
    """The English word of each class, (N, 8), at a random place among those where it fits."""
    starts = np.array([LENGTH - len(word) + 1 for word in WORDS], np.uint64)
    texts = np.zeros((len(WORDS), int(starts.max()), LENGTH), np.uint8)
    for label, word in enumerate(WORDS):
        for start in range(int(starts[label])):
            text = (" " * start + word).ljust(LENGTH)
            texts[label, start] = [ALPHABET.index(symbol) for symbol in text]
    drawn = (bits.random_raw(len(labels)) % starts[labels]).astype(np.int64)
    return texts[labels, drawn]


def read_text(symbols: Iterable[Iterable[int]]) -> list[str]:
    """Texts from rows of symbols, the inverse of writing them."""
    return ["".join(ALPHABET[symbol] for symbol in row) for row in symbols]


def _permutation(n: int, bits: PCG64) -> NDArray[np.int64]:
    return np.argsort(bits.random_raw(n), kind="stable")
