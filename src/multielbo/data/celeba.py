"""Bimodal CelebA: a face, and a text that names the attributes the face has.

The text follows the preprocessing that Sutter et al. released with their paper of 2020: names
joined by ", ", lower case, spaces for underscores, at a random position among 256 characters, stars
elsewhere. An attribute that is absent is not mentioned.
"""

from __future__ import annotations

__all__ = [
    "ALPHABET",
    "ATTRIBUTES",
    "LENGTH",
    "NAME",
    "SPLITS",
    "celeba",
    "decode",
    "encode",
    "sentence",
    "texts",
]

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load
from multielbo.data.recipe import bit_generator

NAME = "celeba"
SPLITS = ("train", "validation", "test")  # in the order of the partition's numbers
ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair"),
    *("Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair"),
    *("Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline"),
    *("Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)
LENGTH = 256
# 71 symbols, one of them twice: only the first "-" is ever used.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"
FILLER = "*"


def celeba(root: Path | str, split: str = "train") -> MultimodalData:
    """Load bimodal CelebA, faces (N, 3, 64, 64) and texts of 256 characters, memory-mapped.

    Args:
        root: The folder that `data_scripts/celeba.py --out` was given.
        split: "train", "validation" or "test", as CelebA's own partition has them.

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    return load(Path(root) / NAME, split, f"python data_scripts/celeba.py --out {root}")


def sentence(present: Sequence[bool] | NDArray[np.bool_]) -> str:
    """The text of one face, without its padding.

    Where the names need more than 256 characters, the last ones are left out.

    Args:
        present: Which of the 40 attributes it has.

    >>> sentence([name in ("Arched_Eyebrows", "Young") for name in ATTRIBUTES])
    'arched eyebrows, young'
    """
    names = [name for name, there in zip(ATTRIBUTES, present, strict=True) if there]
    while len(", ".join(names)) > LENGTH:
        names.pop()
    return ", ".join(names).replace("_", " ").lower()


def texts(labels: NDArray[np.bool_], *, split: str, seed: int = 0) -> NDArray[np.uint8]:
    """The text modality of one split: places in the alphabet, (N, 256).

    Args:
        labels: Attributes, (N, 40).
        split: Which random stream to use.
        seed: Decides where in its 256 characters each text begins.
    """
    bits = bit_generator(seed, SPLITS.index(split))
    # A number for every face, used or not, so that no text shifts its neighbour.
    draws = bits.random_raw(len(labels)) if len(labels) else np.empty(0, np.uint64)
    rows = [encode(sentence(row), int(draw)) for row, draw in zip(labels, draws, strict=True)]
    return np.array(rows, np.uint8).reshape(-1, LENGTH)


def encode(text: str, draw: int = 0) -> NDArray[np.uint8]:
    """A text among stars, as places in the alphabet, (256,).

    Args:
        text: At most 256 characters of the alphabet.
        draw: A random whole number, whose remainder is the place where the text begins. As in the
            released code one star is always left behind it, while there is room.

    Raises:
        ValueError: The text is too long, or has a character that the alphabet lacks.
    """
    foreign = sorted(set(text) - set(ALPHABET))
    if foreign or len(text) > LENGTH:
        what = f"the characters {foreign}" if foreign else f"{len(text)} characters"
        raise ValueError(
            f"text {text[:20]!r}... has {what}; give at most {LENGTH} of {ALPHABET[:36]!r} and "
            "punctuation"
        )
    start = draw % max(1, LENGTH - 1 - len(text))
    padded = (FILLER * start + text).ljust(LENGTH, FILLER)
    return _PLACES[np.frombuffer(padded.encode("ascii"), np.uint8)]


def decode(symbols: Iterable[int]) -> str:
    """The text of places in the alphabet, without the stars around it."""
    return "".join(ALPHABET[symbol] for symbol in symbols).strip(FILLER)


_PLACES = np.zeros(128, np.uint8)  # from a character's code to its first place in the alphabet
for _place, _character in reversed(list(enumerate(ALPHABET))):
    _PLACES[ord(_character)] = _place
