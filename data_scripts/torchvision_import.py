"""Import torchvision also on a torch that lacks the CUDA libraries its wheel links to."""

from __future__ import annotations

__all__ = ["torchvision_datasets"]

import importlib
import sys
from types import ModuleType

MISSING = "operator torchvision::nms does not exist"
SCHEMAS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
declared = []  # torch forgets operators whose library object is collected


def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`.

    On a CPU build of torch the compiled half of torchvision's wheel does not load, and its Python
    half then stops at two operators that nobody declared. The data sets need neither, so their
    schemas are declared, without any implementation, and the import is tried again.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed: pip install 'multielbo[data]'", name=error.name
        ) from error
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    declared.append(library)
    return importlib.import_module("torchvision.datasets")
