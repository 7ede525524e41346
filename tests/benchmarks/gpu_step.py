"""Training MoPoE at PolyMNIST's size on a GPU: against five minutes, and against MultiVae 1.0.3.

    PYTHONPATH=src python tests/benchmarks/gpu_step.py          # steps, in about two minutes
    PYTHONPATH=src python tests/benchmarks/gpu_step.py --whole  # and all 300 epochs, by the clock

The pictures are noise: 60,000 tuples of five, as bytes on the GPU. Ours is `multielbo.train.fit`
with all that it does in a step, from picking the bytes to noting the loss; its steady time is that
of many epochs less that of one, so that building and capturing cancel. MultiVae gets ready batches
on the GPU, forward, backward and Adam, with the same networks (checked below), and torch's default
precision, as its own trainer has it. Where it cannot be imported, that is said and left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from types import ModuleType

import torch
from torch import multiprocessing

from multielbo.data.multimodal import MultimodalData
from multielbo.models.registry import build
from multielbo.train import TrainConfig, fit
from multielbo.vae import MultimodalVAE, convolutional_vae

sys.path.insert(0, str(Path(__file__).parent))

NAMES = [f"m{i}" for i in range(5)]
SHAPE, LATENT, BETA, LEARNING_RATE = (3, 28, 28), 512, 2.5, 1e-3
EPOCHS, MINUTES = 300, 5.0
KINDS = {"bf16": ("bfloat16", None), "tf32": ("tf32", None), "bf16-no-graph": ("bfloat16", False)}


def noise(examples: int, device: torch.device) -> MultimodalData:
    generator = torch.Generator(device).manual_seed(0)
    size = (examples, *SHAPE)
    pictures = {
        m: torch.randint(256, size, generator=generator, dtype=torch.uint8, device=device)
        for m in NAMES
    }
    labels = torch.zeros(examples, dtype=torch.int64, device=device)
    return MultimodalData("noise", pictures, labels, sha256="noise")


def our_model(device: torch.device, seed: int = 0) -> MultimodalVAE:
    mopoe = build("mopoe")
    return convolutional_vae(NAMES, SHAPE, mopoe, latent_dim=LATENT, seed=seed, beta=BETA).to(
        device
    )


def train(data: MultimodalData, kind: str, epochs: int, batch: int, seed: int = 0) -> float:
    """Seconds that training takes, building and capturing included."""
    device = data.labels.device
    precision, graph = KINDS[kind]
    config = TrainConfig(
        epochs, batch, LEARNING_RATE, seed, precision, channels_last=True, graph=graph
    )
    start = time.perf_counter()
    fit(our_model(device, seed), data, config, progress=False)
    return time.perf_counter() - start


def step_seconds(data: MultimodalData, kind: str, epochs: int, batch: int) -> float:
    """Seconds of one step once all is captured."""
    once, more = (train(data, kind, count, batch) for count in (1, 1 + epochs))
    return (more - once) / (epochs * (len(data) // batch))


def multivae() -> ModuleType | str:
    """The benchmark beside this one, which builds MultiVae's model, or why it cannot be had."""
    try:
        import mopoe_step
    except (ImportError, RuntimeError, SystemExit) as error:
        return str(error).partition("\n")[0]
    theirs, ours = mopoe_step.multivae_model(), our_model(torch.device("cpu"))
    mopoe_step.check_equal_networks(theirs, ours, {name: torch.rand(4, *SHAPE) for name in NAMES})
    return mopoe_step


def multivae_step_seconds(
    mopoe_step: ModuleType, data: MultimodalData, steps: int, batch: int
) -> float:
    """Seconds of one of MultiVae's steps on batches that lie ready."""
    device = data.labels.device
    pieces = range(0, min(8 * batch, len(data) - batch + 1), batch)
    ready = [data.batch(slice(i, i + batch)) for i in pieces]
    model = mopoe_step.multivae_model().to(device)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def step(i: int) -> None:
        optimizer.zero_grad()
        model(mopoe_step.DatasetOutput(data=ready[i % len(ready)])).loss.backward()
        optimizer.step()

    for i in range(min(20, steps)):
        step(i)
    wait(device)
    start = time.perf_counter()
    for i in range(steps):
        step(i)
    wait(device)
    return (time.perf_counter() - start) / steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def worker(seed, device, examples, epochs, batch, barrier, results) -> None:
    data = noise(examples, device)
    seconds = []
    for count in (1, 1 + epochs):
        barrier.wait()
        seconds.append(train(data, "bf16", count, batch, seed))
    results.put((seconds[1] - seconds[0]) / (epochs * (examples // batch)))


def at_once(seeds: int, device, examples: int, epochs: int, batch: int) -> float:
    """Mean seconds of a step while `seeds` processes train one model each on the same GPU."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(seeds, timeout=200), context.Queue()
    shared = (device, examples, epochs, batch, barrier, results)
    processes = [
        context.Process(target=worker, args=(seed, *shared), daemon=True) for seed in range(seeds)
    ]
    for process in processes:
        process.start()
    seconds = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return sum(seconds) / seeds


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cpu: only to see that this file runs")
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4, help="timed, after the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="processes at once; 0 leaves this out")
    parser.add_argument("--whole", action="store_true", help=f"train all {EPOCHS} epochs as well")
    return parser.parse_args()


def main() -> None:
    given = options()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("# gpu-step: there is no CUDA device, so nothing was measured")
        return
    kinds = list(KINDS) if device.type == "cuda" else ["bf16-no-graph"]
    data = noise(given.examples, device)
    steps = EPOCHS * (given.examples // given.batch)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"# gpu-step: {name}, torch {torch.__version__}, {steps} steps in {EPOCHS} epochs")

    theirs = multivae()
    if isinstance(theirs, str):
        print(f"# multivae: not compared, {theirs}")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    if not isinstance(theirs, str):
        seconds["multivae"] = []
    for kind in kinds:
        train(data, kind, 1, given.batch)  # what libraries load and choose, they do once
    for _ in range(given.rounds):
        for kind in kinds:
            seconds[kind].append(step_seconds(data, kind, given.epochs, given.batch))
        if "multivae" in seconds:
            steps_taken = min(given.epochs * (given.examples // given.batch), 200)
            taken = multivae_step_seconds(theirs, data, steps_taken, given.batch)
            seconds["multivae"].append(taken)
    for kind, taken in seconds.items():
        step = median(taken)
        spread = (max(taken) - min(taken)) / step
        print(
            f"# {kind}: {1e3 * step:.3f} ms a step (spread {spread:.0%}), "
            f"{given.batch / step:.0f} samples/s, {EPOCHS} epochs in {steps * step / 60:.2f} min"
        )
    if device.type == "cuda":
        print(f"# peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")
    best = kinds[0]
    if given.seeds and device.type == "cuda":
        shared = (given.examples, given.epochs, given.batch)
        together = at_once(given.seeds, given.device, *shared)
        gain = given.seeds * median(seconds[best]) / together
        print(f"# {given.seeds} seeds at once: {1e3 * together:.3f} ms a step of each")
        print(f"gpu-step-{given.seeds}-seeds-at-once-vs-one ratio={gain:.2f}")
    if "multivae" in seconds:
        for kind in kinds:
            ratios = [a / b for a, b in zip(seconds["multivae"], seconds[kind], strict=True)]
            print(f"gpu-step-{kind}-vs-multivae ratio={median(ratios):.2f}")
    minutes = steps * median(seconds[best]) / 60
    if given.whole:
        minutes = train(data, best, EPOCHS, given.batch) / 60
        print(f"# all {EPOCHS} epochs: {minutes:.2f} min by the clock")
    if device.type == "cuda":
        print(f"gpu-step-{EPOCHS}-epochs-5min ratio={MINUTES / minutes:.2f}")


if __name__ == "__main__":
    main()
