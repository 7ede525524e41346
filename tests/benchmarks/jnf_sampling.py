"""JNF against MultiVae 1.0.3 at PolyMNIST's size: draws for a pair of modalities, and stage 2.

    python tests/benchmarks/jnf_sampling.py [--iterations 100] [--rounds 3] [--batch 256]

Both sides hold the same flows, two masked autoregressive blocks of three hidden layers with 128
units, and the same networks, with 512 latents. MultiVae samples at its released settings, whose
cost is proportional to the iterations; with fewer than 100 both sides are shortened alike. Ours
draws three times: at the released settings; at them, with flows whose groups let every latent
condition others; and with step sizes that adapt. The energy distance between two sets of draws says
whether they are of one distribution, beside that of two sets of ours.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Generator, Tensor, nn

from multielbo.flow_kinds import AffineBlock, masked_autoregressive
from multielbo.flows import Flow
from multielbo.hmc import ADAPTED, RELEASED
from multielbo.joint_first import SubsetAnswers
from multielbo.networks import conv_encoder, seeded
from multielbo.unimodal import JOINT, PosteriorFit, UnimodalPosteriors

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))


from torchvision_import import torchvision_datasets

try:
    torchvision_datasets()  # else MultiVae's own import of torchvision fails on a CPU build
    from multivae.data.datasets.base import DatasetOutput
    from multivae.models import JNF, JNFConfig
    from multivae.models.base import BaseAEConfig
    from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST_adapted
except ModuleNotFoundError as error:
    sys.exit(f"jnf_sampling: {error.name} is not installed: pip install 'multielbo[bench]'")

NAMES = [f"m{i}" for i in range(5)]
PAIR = NAMES[:2]
SHAPE, LATENT, WIDTH = (3, 28, 28), 512, 128
LEARNING_RATE = 1e-3


def multivae_model() -> JNF:
    part = BaseAEConfig(input_dim=SHAPE, latent_dim=LATENT)
    config = JNFConfig(
        n_modalities=len(NAMES),
        latent_dim=LATENT,
        input_dims=dict.fromkeys(NAMES, SHAPE),
        decoders_dist=dict.fromkeys(NAMES, "laplace"),
        decoder_dist_params={name: {"scale": 0.75} for name in NAMES},
        warmup=0,
    )
    encoders = {name: EncoderConvMMNIST_adapted(part) for name in NAMES}
    return JNF(config, encoders, {name: DecoderConvMMNIST(part) for name in NAMES})


def as_narrow_as_theirs() -> Flow:
    """Blocks of MultiVae's size, past the guard of our constructor."""
    up = torch.arange(LATENT)
    blocks = [
        AffineBlock(LATENT, order=order, hidden_features=[WIDTH] * 3) for order in (up, up.flip(0))
    ]
    return Flow(blocks, LATENT)


def grouped() -> Flow:
    return masked_autoregressive(LATENT, width=WIDTH, groups=WIDTH)


def our_posteriors(make: Callable[[], Flow]) -> UnimodalPosteriors:
    with seeded(0):
        encoders = {name: conv_encoder(SHAPE, LATENT) for name in NAMES}
        return UnimodalPosteriors(encoders, {name: make() for name in NAMES})


@torch.no_grad()
def same_weights(theirs: JNF, ours: UnimodalPosteriors, batch: dict[str, Tensor]) -> None:
    """Give ours the encoders and the flows of theirs, and compare the densities.

    Their blocks give u = (z - mu) exp(-log_var) and flip it; ours u = z exp(a) + b, with a softly
    bounded. With the last weights at zero both are the identity and the Gaussians behind them are
    the target; the cost is that of any weights.
    """
    for name in NAMES:
        source, target = theirs.encoders[name], ours.encoders[name]
        copied = zip(source.shared_encoder.parameters(), target.features.parameters(), strict=False)
        for given, parameter in copied:
            parameter.copy_(given)
        heads = source.class_mu, source.class_logvar
        target.posterior.weight.copy_(torch.cat([head.weight.flatten(1) for head in heads]))
        target.posterior.bias.copy_(torch.cat([head.bias for head in heads]))
        for block in theirs.flows[name].net:
            nn.init.zeros_(block.net[-1].weight)
            nn.init.zeros_(block.net[-1].bias)
    z = torch.randn(len(batch[NAMES[0]]), LATENT)
    expected = theirs._compute_poe_posterior(PAIR, z, batch, divide_prior=True, grad=False)
    loc, scale = encoded(ours, batch)
    found = SubsetAnswers(ours).log_density(z, [0, 1], loc, scale)
    # Ours lacks the prior's constant where theirs has it, too: both divide the whole density.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-1)


def encoded(ours: UnimodalPosteriors, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Bases of the pair, and nothing that is read for the others."""
    found = [ours.base(name, batch[name]) for name in PAIR]
    unread = [torch.zeros_like(found[0][0])] * (len(NAMES) - len(PAIR))
    return (torch.stack([each[i] for each in found] + unread) for i in range(2))


def our_draws(
    ours: UnimodalPosteriors, batch: dict[str, Tensor], settings: dict, seed: int
) -> Tensor:
    """From pictures to latents: the encoders are asked once, all time counts."""
    with torch.no_grad():
        loc, scale = encoded(ours, batch)
    wide = torch.cat([loc, loc], -1), torch.cat([scale, scale], -1)
    observed = torch.zeros(loc.shape[:2], dtype=torch.bool)
    observed[:2] = True
    return SubsetAnswers(ours, settings, seed).posterior(*wide, observed).loc[0]


def their_step(theirs: JNF, batch: dict[str, Tensor]) -> Callable[[], None]:
    theirs._set_torch_no_grad_on_joint_vae()
    optimizer = torch.optim.Adam(theirs.parameters(), LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        theirs(DatasetOutput(data=batch), epoch=2).loss.backward()
        optimizer.step()

    return step


def our_step(ours: UnimodalPosteriors, batch: dict[str, Tensor]) -> Callable[[], None]:
    """What `multielbo.stages` does in a step with `channels_last`, without its bookkeeping."""
    fit = PosteriorFit(ours, "").to(memory_format=torch.channels_last)
    batch = {name: x.to(memory_format=torch.channels_last) for name, x in batch.items()}
    joint = torch.cat([torch.randn(len(batch[NAMES[0]]), LATENT)] * 2, -1)
    batch[JOINT] = torch.cat([joint[:, :LATENT], joint[:, LATENT:].exp()], -1)
    optimizer = torch.optim.Adam(fit.parameters(), LEARNING_RATE, fused=True)
    generator = Generator().manual_seed(0)

    def step() -> None:
        loss = -fit.bound(batch, generator=generator).elbo().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| over the examples of a batch, centred by neither."""

    def within(x: Tensor) -> Tensor:
        return torch.pdist(x).mean()

    return float(2 * torch.cdist(first, second).mean() - within(first) - within(second))


def alternated(
    runs: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of wall and of CPU time of each, in turn, so that a busy machine slows all alike."""
    wall, cpu = ({name: [] for name in runs} for _ in range(2))
    for _ in range(rounds):
        for name, run in runs.items():
            start, used = time.perf_counter(), cpu_seconds()
            run()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
    return wall, cpu


def ratio(name: str, slow: list[float], fast: list[float]) -> None:
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    print(f"{name} ratio={median(each):.2f} (from {min(each):.2f} to {max(each):.2f})")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=RELEASED["iterations"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.manual_seed(0)
    batch = {name: torch.rand(asked.batch, *SHAPE) for name in NAMES}
    theirs, ours, with_groups = (
        multivae_model(),
        our_posteriors(as_narrow_as_theirs),
        our_posteriors(grouped),
    )
    same_weights(theirs, ours, batch)
    with_groups.encoders.load_state_dict(ours.encoders.state_dict())
    released = {**RELEASED, "iterations": asked.iterations}
    lengths = {"mcmc_steps": asked.iterations, "n_lf": 10, "eps_lf": 0.01}
    pair = DatasetOutput(data=batch)
    runs = {
        "multivae": lambda: theirs.encode(pair, PAIR, **lengths).z,
        "released": lambda: our_draws(ours, batch, released, seed=1),
        "grouped": lambda: our_draws(with_groups, batch, released, seed=1),
        "adapted": lambda: our_draws(with_groups, batch, dict(ADAPTED), seed=1),
    }
    drawn: dict[str, Tensor] = {}

    def keeping(name: str, run: Callable[[], Tensor]) -> None:
        drawn[name] = run()

    taken, used = alternated({n: partial(keeping, n, run) for n, run in runs.items()}, asked.rounds)
    again = our_draws(ours, batch, released, seed=2)
    steps = {"multivae": their_step(theirs, batch), "ours": our_step(ours, batch)}
    for step in steps.values():
        step()
    stage, stage_used = alternated(steps, 2 * asked.rounds)

    threads = torch.get_num_threads()
    print(f"# jnf-sampling: {threads} threads, batch {asked.batch}, {asked.iterations} iterations")
    for name, each in taken.items():
        print(f"# {name}: {median(each):.2f} s, {median(used[name]):.2f} s of CPU")
    for name, each in stage.items():
        print(f"# stage 2, {name}: {asked.batch / median(each):.0f} samples/s")
    for name in ("multivae", "adapted"):
        print(f"# energy distance of {name} to ours: {energy_distance(drawn[name], again):.3f}")
    print(f"# of ours to ours: {energy_distance(drawn['released'], again):.3f}")
    full = RELEASED["iterations"] / asked.iterations
    note = "" if full == 1 else "# extrapolated to 100 iterations: "
    for mark, sampling, step in (("# of CPU time: ", used, stage_used), ("", taken, stage)):
        slow = sampling["multivae"]
        ratio(f"{mark}jnf-sampling-released-vs-multivae", slow, sampling["released"])
        ratio(f"{mark}jnf-sampling-grouped-vs-multivae", slow, sampling["grouped"])
        ratio(
            f"{note}{mark}jnf-sampling-adapted-vs-multivae",
            [full * each for each in slow],
            sampling["adapted"],
        )
        ratio(f"{mark}jnf-stage2-vs-multivae", step["multivae"], step["ours"])


if __name__ == "__main__":
    main()
