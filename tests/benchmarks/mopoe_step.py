"""One training step of MoPoE at PolyMNIST's size against MultiVae 1.0.3, and against matmul.

    python tests/benchmarks/mopoe_step.py

Both sides take ready batches through forward, backward and Adam, with the same networks (checked
below), 31 subsets, one sample per example, Laplace scale 0.75 and beta 2.5. MultiVae adds a prior
expert to one of its 31 products, as MoPoE's release does; ours has none, one factor less in 81.
Steps of all kinds alternate, and a ratio is the median of the ratios within a round.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Generator, Tensor, nn

from multielbo.models.registry import build
from multielbo.vae import MultimodalVAE, convolutional_vae

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))

from torchvision_import import torchvision_datasets

try:
    torchvision_datasets()  # else MultiVae's own import of torchvision fails on a CPU build
    from multivae.data.datasets.base import DatasetOutput
    from multivae.models import MoPoE, MoPoEConfig
    from multivae.models.base import BaseAEConfig
    from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST_adapted
except ModuleNotFoundError as error:
    sys.exit(f"mopoe_step: {error.name} is not installed: pip install 'multielbo[bench]'")

NAMES = [f"m{i}" for i in range(5)]
SHAPE, LATENT, BATCH, SIDE = (3, 28, 28), 512, 256, 2048
BETA, SCALE, LEARNING_RATE = 2.5, 0.75, 1e-3
WARM_UP, ROUNDS = 2, 10

Step = Callable[[], Tensor]


def multivae_model() -> MoPoE:
    part = BaseAEConfig(input_dim=SHAPE, latent_dim=LATENT)
    config = MoPoEConfig(
        n_modalities=len(NAMES),
        latent_dim=LATENT,
        input_dims=dict.fromkeys(NAMES, SHAPE),
        decoders_dist=dict.fromkeys(NAMES, "laplace"),
        decoder_dist_params={name: {"scale": SCALE} for name in NAMES},
        beta=BETA,
    )
    encoders = {name: EncoderConvMMNIST_adapted(part) for name in NAMES}
    return MoPoE(config, encoders, {name: DecoderConvMMNIST(part) for name in NAMES})


def our_model() -> MultimodalVAE:
    return convolutional_vae(NAMES, SHAPE, build("mopoe"), latent_dim=LATENT, seed=0, beta=BETA)


def multivae_step(batch: dict[str, Tensor]) -> Step:
    model = multivae_model()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = model(DatasetOutput(data=batch)).loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def our_step(batch: dict[str, Tensor], bfloat16: bool) -> Step:
    """What `multielbo.train.fit` does in a step with `channels_last`, without its bookkeeping."""
    model = our_model().to(memory_format=torch.channels_last)
    batch = {name: x.to(memory_format=torch.channels_last) for name, x in batch.items()}
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    generator = Generator().manual_seed(0)

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, bfloat16):
            loss = -model.bound(batch, generator=generator).elbo(model.beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def check_equal_networks(theirs: MoPoE, ours: MultimodalVAE, batch: dict[str, Tensor]) -> None:
    """Give both the same weights and compare what they compute."""
    for name in NAMES:
        source, target = theirs.encoders[name], ours.encoders[name]
        heads = source.class_mu, source.class_logvar
        copy(source.shared_encoder, target.features)
        copy(nn.ParameterList([torch.cat([h.weight.flatten(1) for h in heads])]), target.posterior)
        copy(theirs.decoders[name], ours.decoders[name])
        with torch.no_grad():
            target.posterior.bias.copy_(torch.cat([h.bias for h in heads]))
            posterior = source(batch[name])
            loc, scale = target(batch[name])
            torch.testing.assert_close(loc, posterior.embedding)
            torch.testing.assert_close(scale, (0.5 * posterior.log_covariance).exp())
            decoded = theirs.decoders[name](loc).reconstruction
            torch.testing.assert_close(ours.decoders[name](loc), decoded)


def copy(source: nn.Module, target: nn.Module) -> None:
    with torch.no_grad():
        for given, parameter in zip(source.parameters(), target.parameters(), strict=False):
            parameter.copy_(given)


def step_flops() -> int:
    """Multiplications and additions of one step's convolutions and linear layers."""
    first, *others = 3 * 32 * 14**2, 32 * 64 * 7**2, 64 * 128 * 4**2  # outputs of 3x3 kernels
    convolutions = 9 * (first + sum(others))
    encoder = convolutions + 2048 * 2 * LATENT
    decoder = convolutions + LATENT * 2048
    # Forward, to the weights, and to the inputs, of which the pictures need no gradient.
    return 2 * len(NAMES) * BATCH * (3 * (encoder + decoder) - 9 * first)


def main() -> None:
    batch = {name: torch.rand(BATCH, *SHAPE) for name in NAMES}
    check_equal_networks(multivae_model(), our_model(), batch)
    square = torch.rand(SIDE, SIDE)
    steps = {
        "multivae": multivae_step(batch),
        "fp32": our_step(batch, bfloat16=False),
        "bf16": our_step(batch, bfloat16=True),
        "matmul": lambda: square @ square,
    }
    wall, cpu = ({name: [] for name in steps} for _ in range(2))
    for _ in range(WARM_UP + ROUNDS):
        for name, step in steps.items():
            start, used = time.perf_counter(), cpu_seconds()
            step()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
    wall, cpu = ({n: t[WARM_UP:] for n, t in taken.items()} for taken in (wall, cpu))
    flops, matmul_flops = step_flops(), 2 * SIDE**3
    print(f"# mopoe-step: {torch.get_num_threads()} threads, {flops / 1e9:.1f} GFLOP in a step")
    for name, seconds in wall.items():
        rate = (matmul_flops if name == "matmul" else flops) / median(seconds) / 1e9
        print(
            f"# {name}: {median(seconds):.3f} s, {median(cpu[name]):.3f} s of CPU, "
            f"{rate:.0f} GFLOP/s"
        )
    for name, taken in (("of CPU time", cpu), ("", wall)):
        mark = f"# {name}: " if name else ""
        print(f"{mark}mopoe-step-fp32-vs-multivae ratio={ratio(taken, 'multivae', 'fp32'):.2f}")
        print(f"{mark}mopoe-step-bf16-vs-multivae ratio={ratio(taken, 'multivae', 'bf16'):.2f}")
        reached = ratio(taken, "matmul", "fp32") * flops / matmul_flops
        print(f"{mark}mopoe-step-fp32-vs-matmul ratio={reached:.2f}")


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
