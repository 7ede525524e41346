"""What their equation 5 costs beside one sample per example: decoder passes and time of a step.

    python tests/benchmarks/powerset_step.py [--modalities 5] [--batch 32] [--threads 1]

Forward and backward pass of the convolutional model on random pictures of 3x28x28 with 512 latents,
as on PolyMNIST. Passes are counted where latents enter the decoders; objectives alternate, and a
ratio is the median of the ratios within a round, once of CPU seconds and once of wall time.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

import torch
from torch import Generator

from multielbo.models.registry import build
from multielbo.vae import MultimodalVAE, convolutional_vae

SHAPE, LATENT, BETA = (3, 28, 28), 512, 2.5
OBJECTIVES = ("mopoe", "mvae", "mmvae", "powerset")
WARM_UP, ROUNDS = 1, 5


def passes(model: MultimodalVAE, batch: dict[str, torch.Tensor], generator: Generator) -> int:
    """Latents that enter the decoders in one evaluation of the bound."""
    counted = []
    hooks = [
        decoder.network.register_forward_pre_hook(lambda _, inputs: counted.append(len(inputs[0])))
        for decoder in model.decoders.values()
    ]
    with torch.no_grad():
        model.bound(batch, generator=generator)
    for hook in hooks:
        hook.remove()
    return sum(counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modalities", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = Generator().manual_seed(0)
    names = [f"m{i}" for i in range(arguments.modalities)]
    batch = {name: torch.rand(arguments.batch, *SHAPE, generator=generator) for name in names}
    models = {
        name: convolutional_vae(names, SHAPE, build(name), latent_dim=LATENT, seed=0, beta=BETA)
        for name in OBJECTIVES
    }
    wall, cpu = ({name: [] for name in models} for _ in range(2))
    for _ in range(WARM_UP + ROUNDS):
        for name, model in models.items():
            start, used = time.perf_counter(), time.process_time()
            model.bound(batch, generator=generator).elbo(BETA).mean().neg().backward()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    print(
        f"# {arguments.modalities} modalities, batch {arguments.batch}, {arguments.threads} "
        f"threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for name, model in models.items():
        each = passes(model, batch, generator) / arguments.batch
        ratios = [
            median(a / b for a, b in zip(t[name][WARM_UP:], t["mopoe"][WARM_UP:], strict=True))
            for t in (cpu, wall)
        ]
        print(
            f"{name}: {each:.0f} passes per example, {median(cpu[name][WARM_UP:]):.2f} s of CPU, "
            f"{ratios[0]:.1f} times mopoe's ({ratios[1]:.1f} of wall time)"
        )


if __name__ == "__main__":
    main()
