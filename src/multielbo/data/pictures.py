"""Backgrounds: pictures that installed packages ship, and two textures drawn here."""

from __future__ import annotations

__all__ = ["agate", "bricks", "packaged", "portrait", "read_rgb"]

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multielbo.data.recipe import bit_generator


def packaged(package: str, file: str) -> Path:
    """Find a file that an installed package ships, without importing the package.

    Raises:
        FileNotFoundError: The package is not installed or does not ship the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"{Path(file).name} ships with {package}, which is not installed: pip install {package}"
        )
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing from the installed {package}: reinstall it with "
            f"pip install --force-reinstall {package}"
        )
    return path


def portrait() -> Path:
    """Grace Hopper's portrait (public domain), which matplotlib ships."""
    return packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


def read_rgb(
    path: Path, width: int | None = None, levels: tuple[int, int] = (0, 255)
) -> NDArray[np.uint8]:
    """Read a picture as (3, H, W).

    Args:
        path: The picture's file.
        width: Scale it to so many pixels, in both directions alike.
        levels: What black and white become; in between the change is linear.

    Raises:
        ValueError: The file is not a complete picture.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is not a complete picture ({error}): fetch it again") from error
    if width is not None:
        height = picture.height * width // picture.width
        picture = picture.resize((width, height), Image.Resampling.BOX)
    black, white = levels
    tone = (black + np.arange(256) * (white - black) // 255).astype(np.uint8)
    image = tone[np.asarray(picture)]
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def agate(side: int = 160) -> NDArray[np.uint8]:
    """Coloured bands along the level lines of smooth noise, (3, side, side)."""
    coarse = (bit_generator(0, 0).random_raw(10 * 10) >> np.uint64(56)).astype(np.uint8)
    noise = Image.fromarray(coarse.reshape(10, 10)).resize((side, side), Image.Resampling.BICUBIC)
    band = np.asarray(noise) // 24 % 4
    palette = np.array([[250, 214, 120], [232, 170, 40], [255, 236, 190], [190, 205, 20]], np.uint8)
    return np.ascontiguousarray(palette[band].transpose(2, 0, 1))


def bricks(side: int = 160) -> NDArray[np.uint8]:
    """A wall in running bond, each brick in its own colour, (3, side, side)."""
    row, column = np.indices((side, side))
    course = row // 6
    shifted = column + 5 * (course % 2)
    brick = course * (side // 10 + 2) + shifted // 10
    raw = bit_generator(0, 1).random_raw(int(brick.max()) + 1)
    shade = np.stack([(raw >> np.uint64(8 * k)) % np.uint64(64) for k in (1, 2, 3)]).astype(int)
    colours = (shade + np.array([[150], [20], [10]])).astype(np.uint8)
    mortar = (row % 6 == 0) | (shifted % 10 == 0)
    dark = np.array([70, 25, 20], np.uint8)[:, None, None]
    return np.where(mortar, dark, colours[:, brick])
