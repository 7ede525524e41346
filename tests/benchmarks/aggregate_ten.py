"""All 1,023 subsets of ten modalities: time and memory of aggregation, forward and backward.

    python tests/benchmarks/aggregate_ten.py [--threads 2] [--check]

For every pool, 256 examples with 64 latents are aggregated over the power set in one call, with
everything observed and with a random mask, and differentiated. Each case runs in a process of its
own, so the peak is that of the whole process: Python, torch, inputs, results and gradients. With
`--check` the exit status is 1 if a median time is 1.5 s or more, or a peak 2 GB or more. Where the
machine is shared a case is judged by its CPU seconds, over all threads, if these are fewer: alone
it would not have taken longer.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from statistics import median

import torch

from multielbo.aggregators import (
    Aggregator,
    log_opinion_pool,
    product_of_experts,
    wasserstein_barycenter,
)
from multielbo.models.hellinger import power_pool
from multielbo.subsets import powerset

MODALITIES, BATCH, LATENT = 10, 256, 64
WARM_UP, ROUNDS = 1, 3
SECONDS, GIGABYTES = 1.5, 2.0
POOLS = {
    "product": product_of_experts(prior_expert=False),
    "product with prior expert": product_of_experts(prior_expert=True),
    "log-pool": log_opinion_pool,
    "Wasserstein barycenter": wasserstein_barycenter,
    "Hellinger barycenter": power_pool(2),
}
MASKS = {"all observed": False, "half observed": True}


def measure(pool: str, masked: bool) -> tuple[float, float, float]:
    """Median seconds and CPU seconds of a forward and backward pass, and the peak in GB."""
    generator = torch.Generator().manual_seed(0)
    shape = (MODALITIES, BATCH, LATENT)
    loc = torch.randn(shape, generator=generator).requires_grad_()
    scale = (torch.rand(shape, generator=generator) + 0.3).requires_grad_()
    observed = None
    if masked:
        observed = torch.rand(shape[:2], generator=generator) < 0.5
        observed[0] |= ~observed.any(0)
    aggregator = Aggregator(POOLS[pool], powerset)
    wall, cpu = [], []
    for _ in range(WARM_UP + ROUNDS):
        loc.grad = scale.grad = None
        start, used = time.perf_counter(), time.process_time()
        q = aggregator(loc, scale, observed)
        (q.loc.sum() + q.scale.sum()).backward()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    if q.loc.shape != (2**MODALITIES - 1, BATCH, LATENT):
        sys.exit(f"aggregate_ten: {pool} gives {tuple(q.loc.shape)}, not all subsets")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # kB on Linux
    return median(wall[WARM_UP:]), median(cpu[WARM_UP:]), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch, 2 by default")
    parser.add_argument("--check", action="store_true", help="exit with 1 above the limits")
    parser.add_argument("--case", nargs=2, metavar=("POOL", "MASK"), help="measure this one only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        pool, mask = arguments.case
        print(*measure(pool, MASKS[mask]))
        return
    load = os.getloadavg()[0]
    print(
        f"# {2**MODALITIES - 1} subsets, batch {BATCH}, {LATENT} latents, "
        f"{arguments.threads} threads, load {load:.1f} on {os.cpu_count()} cores"
    )
    above = []
    for pool in POOLS:
        for mask in MASKS:
            command = [sys.executable, __file__, "--threads", str(arguments.threads)]
            done = subprocess.run(
                [*command, "--case", pool, mask], check=True, capture_output=True, text=True
            )
            wall, cpu, peak = map(float, done.stdout.split())
            line = f"{pool}, {mask}: {wall:.3f} s, {cpu:.3f} s of CPU, peak {peak:.2f} GB"
            print(line, flush=True)
            if min(wall, cpu) >= SECONDS or peak >= GIGABYTES:
                above.append(f"{pool}, {mask}")
    if arguments.check and above:
        sys.exit(f"aggregate_ten: above {SECONDS} s or {GIGABYTES} GB: {'; '.join(above)}")


if __name__ == "__main__":
    main()
