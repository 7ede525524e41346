"""Build PolyMNIST's 70,000 x 5 images, written and checksummed: time and memory against limits.

    MULTIELBO_RAW=DIR python tests/benchmarks/build_polymnist.py

Without the originals in DIR, noise of the same size takes their place, and the output says so.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))

import polymnist
from multielbo.data.mnist import IMAGES
from multielbo.data.pictures import portrait
from multielbo.data.prepared import prepare

SECONDS = 60.0
GIGABYTES = 3.0


def build(raw: str, out: Path) -> None:
    """Build from the originals, or from noise where there are none."""
    if raw:
        status = polymnist.main(["--raw", raw, "--out", str(out)])
        if status:
            sys.exit(status)
        return
    rng = np.random.default_rng(0)
    digits = {
        split: (
            rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            rng.integers(0, 10, count),
        )
        for split, count in IMAGES.items()
    }
    pictures = dict.fromkeys(polymnist.MODALITIES, portrait())
    prepare(out / "synthetic", {}, polymnist.polymnist_arrays(digits, pictures, seed=0))


def main() -> None:
    raw = os.environ.get("MULTIELBO_RAW", "")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build(raw, Path(folder))
        seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    what = "the originals" if raw else "noise of MNIST's size: MULTIELBO_RAW is not set"
    print(f"# polymnist-build: {seconds:.1f} s, peak memory {gigabytes:.2f} GB, from {what}")
    print(f"polymnist-build-60s ratio={SECONDS / seconds:.2f}")
    print(f"polymnist-build-3GB ratio={GIGABYTES / gigabytes:.2f}")


if __name__ == "__main__":
    main()
