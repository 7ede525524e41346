"""MHD, multimodal handwritten digits (Vasco et al., 2021): a picture, a sound and a pen's way.

The authors distribute one file of torch for each split, a tuple of labels, pictures, trajectories,
sounds, and the extremes of trajectories and of sounds before they were scaled to [0, 1].
"""

from __future__ import annotations

__all__ = ["MODALITIES", "NAME", "SHAPES", "Original", "mhd", "read_original", "unrolled"]

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multielbo.data.multimodal import MultimodalData
from multielbo.data.prepared import load

NAME = "mhd"
# A sound has 32 frames of 128 bands, a trajectory its 100 abscissas and then its 100 ordinates.
SHAPES = {"image": (1, 28, 28), "audio": (1, 32, 128), "trajectory": (200,)}
MODALITIES = tuple(SHAPES)
PIECES = (4, 32, 32)  # a stored sound: four blocks of 32 bands, each of 32 frames
CLASSES = 10


class Original(NamedTuple):
    """One file of the authors.

    Attributes:
        labels: Digits, (N,) int64.
        modalities: Float32 (N, *shape) by name, shaped as in `SHAPES`.
        extremes: Of trajectory and audio, the `"min"` and `"max"` that 0 and 1 stand for.
    """

    labels: NDArray[np.int64]
    modalities: dict[str, NDArray[np.float32]]
    extremes: dict[str, dict[str, float]]


def mhd(root: Path | str, split: str = "train") -> MultimodalData:
    """Load MHD, pictures (N, 1, 28, 28), sounds (N, 1, 32, 128), trajectories (N, 200).

    Args:
        root: The folder that `data_scripts/mhd.py --out` was given.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The data have not been prepared there.
        ValueError: A file is damaged, or the split does not exist.
    """
    return load(Path(root) / NAME, split, f"python data_scripts/mhd.py --out {root}")


def read_original(path: Path) -> Original:
    """Read one of the authors' files; nothing in it is executed.

    Raises:
        ValueError: The file is damaged, or not one of theirs.
    """
    parts = _load(path)
    if not isinstance(parts, list | tuple) or len(parts) != 6:
        raise ValueError(
            f"{path} holds {_form(parts)}, expected six parts (labels, pictures, trajectories, "
            "sounds and two pairs of extremes): is it mhd_train.pt or mhd_test.pt?"
        )
    labels, image, trajectory, audio, *extremes = parts
    stored = {
        "labels": (labels, ()),
        "image": (image, SHAPES["image"]),
        "trajectory": (trajectory, SHAPES["trajectory"]),
        "audio": (audio, PIECES),
    }
    for name, (part, shape) in stored.items():
        _check_part(path, name, part, shape, len(labels) if isinstance(labels, Tensor) else 0)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
        raise ValueError(
            f"{path}: labels run from {int(labels.min())} to {int(labels.max())}, outside 0 ... "
            f"{CLASSES - 1}: fetch it again"
        )
    modalities = {"image": image, "audio": unrolled(audio), "trajectory": trajectory}
    return Original(
        labels.to(torch.int64).numpy(),
        {name: x.to(torch.float32).contiguous().numpy() for name, x in modalities.items()},
        {
            name: _extremes(path, name, pair)
            for name, pair in zip(("trajectory", "audio"), extremes, strict=True)
        },
    )


def unrolled(audio: Tensor) -> Tensor:
    """Sounds (N, 1, frames, bands) from stored ones, whose bands come in blocks.

    Args:
        audio: (N, blocks, bands of a block, frames).
    """
    return audio.flatten(1, 2).transpose(1, 2)[:, None]


def _load(path: Path) -> Any:
    # NumPy's scalars, which are harmless, but which torch otherwise takes for code.
    scalar = (np._core.multiarray.scalar, "numpy.core.multiarray.scalar")
    plain = [scalar, np._core.multiarray.scalar, np.dtype]
    plain += [type(np.dtype(kind)) for kind in (np.float32, np.float64)]
    try:
        with torch.serialization.safe_globals(plain):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise ValueError(f"{path} is no complete file of torch ({reason}): replace it") from error


def _check_part(path: Path, name: str, part: Any, shape: tuple[int, ...], count: int) -> None:
    expected = (count, *shape)
    if not isinstance(part, Tensor) or tuple(part.shape) != expected:
        raise ValueError(
            f"{path}: {name} is {_form(part)}, expected a tensor of shape {expected}: replace it"
        )
    if name != "labels" and not (part.is_floating_point() and bool(part.isfinite().all())):
        raise ValueError(f"{path}: {name} holds {_form(part)}, expected finite floats: replace it")


def _extremes(path: Path, name: str, pair: Any) -> dict[str, float]:
    if not isinstance(pair, Mapping) or not {"min", "max"} <= set(pair):
        raise ValueError(
            f"{path}: the extremes of {name} are {_form(pair)}, expected 'min' and 'max': "
            "replace it"
        )
    return {key: float(pair[key]) for key in ("min", "max")}


def _form(part: Any) -> str:
    if isinstance(part, Tensor):
        return f"{part.dtype} {tuple(part.shape)}"
    size = f" of {len(part)}" if isinstance(part, list | tuple | Mapping) else ""
    return f"a {type(part).__name__}{size}"
