"""Checkpoints: written whole or not at all, and refused by any other run than their own."""

from __future__ import annotations

__all__ = ["describe", "load", "save"]

import functools
import io
import os
import pickle
import re
import types
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path` in one step, so that a reader sees the old or the new one.

    Args:
        path: Where it goes; its folder is made if need be.
        state: Tensors, numbers, strings, and lists or dicts of them.

    Raises:
        OSError: The folder cannot be written or the disk is full; the old checkpoint is intact.
    """
    # In memory first: on a full disk torch's own writer ends in a RuntimeError of several lines.
    content = io.BytesIO()
    torch.save(dict(state), content)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        _remove(unfinished)
        raise OSError(
            f"cannot save checkpoint {path}: {error.strerror or error}; an earlier checkpoint is "
            "unchanged: free space or choose another folder, and start again"
        ) from error


def load(path: Path, configuration: Mapping[str, str]) -> dict[str, Any] | None:
    """Read the checkpoint at `path`, or None where there is none.

    Args:
        path: Where `save` wrote it.
        configuration: What `describe` says of the run that asks.

    Raises:
        ValueError: The file is damaged, or belongs to another configuration.
    """
    _remove(path.with_name(f".{path.name}.part"))
    if not path.exists():
        return None
    state = _read(path)
    saved = state["configuration"]
    every = {**saved, **configuration}
    differing = [key for key in every if saved.get(key) != configuration.get(key)]
    if differing:
        changes = ", ".join(
            f"{key} ({_short(saved.get(key))} there, {_short(configuration.get(key))} here)"
            for key in differing
        )
        raise ValueError(
            f"checkpoint {path} is from another configuration: {changes}; restore these settings, "
            "or delete the file to train from the start"
        )
    return state


def describe(model: nn.Module, data: Any, config: Any) -> dict[str, str]:
    """All that decides a run's weights, as one text per setting.

    Fields of `config` that are excluded from its comparison (`compare=False`) change no number
    and are left out.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    settings = {f.name: _text(getattr(config, f.name)) for f in fields(config) if f.compare}
    public = {k: v for k, v in vars(model).items() if not k.startswith("_") and k != "training"}
    public |= {"beta": model.beta, "likelihood_weights": model.likelihood_weights}
    settings |= {f"model.{name}": _text(value) for name, value in public.items()}
    settings |= {"model": f"{model!r} with parameters {shapes}"}
    device = data.labels.device.type  # with another generator and other roundings
    return settings | {"data": data.name, "data.sha256": data.sha256, "device": device}


def _text(value: Any) -> str:
    """A text that is equal in two processes exactly when the setting is.

    Functions made by functions differ only in what they enclose: `subsampled(1)`, `subsampled(2)`.
    """
    match value:
        case types.FunctionType():
            enclosed = [_text(cell.cell_contents) for cell in value.__closure__ or ()]
            return f"{value.__module__}.{value.__qualname__}({', '.join(enclosed)})"
        case functools.partial():
            return f"{_text(value.func)}({_text(value.args)}, {_text(value.keywords)})"
        case Tensor():
            return str(value.tolist())
        case Mapping():
            return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "(" + ", ".join(_text(item) for item in value) + ")"
        case _ if is_dataclass(value) and not isinstance(value, type):
            inside = {f.name: getattr(value, f.name) for f in fields(value)}
            return f"{type(value).__qualname__}{_text(inside)}"
        case _:
            return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        state = torch.load(path, map_location="cpu", weights_only=True) if not damaged else None
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"checkpoint {path} is damaged ({reason}); {_START_AGAIN}") from error
    if damaged:
        raise ValueError(f"checkpoint {path} is damaged (checksum of {damaged}); {_START_AGAIN}")
    if not isinstance(state, dict) or "configuration" not in state:
        raise ValueError(f"{path} is not a checkpoint of this trainer; {_START_AGAIN}")
    return state


def _remove(unfinished: Path) -> None:
    """Remove what a killed or failed save left, where there is anything to remove."""
    if unfinished.is_file():
        unfinished.unlink()


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= 40 and "\n" not in text else "a different one"


_UNREADABLE = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError)
_START_AGAIN = "delete the file to train from the start, or name another one"
