"""Time of the linear experiment's epochs: how long the 4,000 of the released code would take.

    python tests/benchmarks/linear_epochs.py [--width 256] [--batch 500] [--seeds 1] [--check]

One thread trains a few epochs of 5,000 rows of five modalities, under the masked objective with sum
pooling. The CPU seconds of an epoch times 4,000, halved for two cores, is what is judged: a second
core would have to take half of the products, which is the best case. With `--check` the exit
status is 1 if that is more than six minutes. The median of several epochs is taken, so a busy
machine disturbs it little; caches that are shared with others still make it slower than alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median

import torch

from multielbo import linear_experiment, linear_records
from multielbo.linear_objectives import Settings

EPOCHS, MINUTES = 4000, 6.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    truth, x = linear_records.simulated("dense")

    def used(epochs: int) -> float:
        settings = Settings(
            epochs=epochs, width=options.width, batch=options.batch, expected=True, curve_every=10
        )
        start = time.process_time()
        linear_experiment.train(x, truth, settings, range(options.seeds))
        return time.process_time() - start

    used(1)
    each = median(used(2) - used(1) for _ in range(options.rounds))
    minutes = each * EPOCHS / 60
    print(
        f"width {options.width}, batches of {options.batch}, {options.seeds} seeds: {each:.2f} s "
        f"of CPU an epoch, {minutes:.1f} min for {EPOCHS:,}, {minutes / 2:.1f} on two cores"
    )
    return int(options.check and minutes / 2 > MINUTES)


if __name__ == "__main__":
    sys.exit(main())
