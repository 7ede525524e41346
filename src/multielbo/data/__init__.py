"""Data sets: the embedded one, and those that `data_scripts` prepares."""

__all__ = ["MultimodalData", "mnist", "polydigits", "polymnist"]

from multielbo.data.mnist import mnist
from multielbo.data.multimodal import MultimodalData
from multielbo.data.polydigits import polydigits
from multielbo.data.polymnist import polymnist
