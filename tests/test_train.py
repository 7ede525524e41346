"""Training: exact resume after SIGKILL, named failures, checkpoints whole or not at all."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from multielbo import checkpoints
from multielbo.aggregators import Aggregator, product_of_experts
from multielbo.data.multimodal import MultimodalData
from multielbo.gaussians import kl_to_prior, sample
from multielbo.objectives import Bound
from multielbo.subsets import subsampled
from multielbo.trace import Trace
from multielbo.train import OutOfTime, TrainConfig, fit

CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=1e-2, seed=5, checkpoint_every=4)
STEPS = 3 * (45 // 8)


class TinyVAE(nn.Module):
    """Two convolutional modalities, one Gaussian posterior, one sample: enough to train."""

    def __init__(self) -> None:
        super().__init__()
        self.modalities = ("left", "right")
        self.beta, self.likelihood_weights = 0.5, torch.tensor([1.0, 2.0])
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.encoders = nn.ModuleDict({m: self.encoder() for m in self.modalities})
            self.decoders = nn.ModuleDict({m: nn.Linear(4, 108) for m in self.modalities})

    @staticmethod
    def encoder() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8))

    def bound(self, batch, observed=None, generator=None) -> Bound:
        code = sum(self.encoders[m](batch[m]) for m in self.modalities).float()
        loc, scale = code[:, :4], code[:, 4:].exp()
        z = sample(loc, scale, generator)
        decoded = {m: self.decoders[m](z).float() for m in self.modalities}
        scores = [-(decoded[m] - batch[m].flatten(1)).abs().sum(1) for m in self.modalities]
        return Bound(torch.stack(scores), kl_to_prior(loc, scale))


class Interrupted(Exception):
    """Stands for whatever ends a process, where the test must live on."""


class InterruptedVAE(TinyVAE):
    """Stops in the middle of the given step, counted over the life of this object."""

    def __init__(self, step: int, stop) -> None:
        super().__init__()
        self._step, self._stop, self._calls = step, stop, 0

    def bound(self, batch, observed=None, generator=None) -> Bound:
        self._calls += 1
        if self._calls > self._step:
            self._stop()
        return super().bound(batch, observed, generator)

    def _get_name(self) -> str:
        return "TinyVAE"


def tiny_data(examples: int = 45) -> MultimodalData:
    generator = torch.Generator().manual_seed(0)
    shape = (examples, 3, 6, 6)
    images = {m: torch.randint(0, 256, shape, generator=generator) for m in ("left", "right")}
    images = {m: x.to(torch.uint8) for m, x in images.items()}
    return MultimodalData("tiny", images, torch.zeros(examples, dtype=torch.int64))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(config: TrainConfig = CONFIG) -> Tensor:
    model = TinyVAE()
    fit(model, tiny_data(), config, progress=False)
    return weights(model)


def interrupt(step: int, checkpoint: Path, config: TrainConfig = CONFIG) -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        fit(InterruptedVAE(step, stop), tiny_data(), config, checkpoint=checkpoint, progress=False)


def resumed(checkpoint: Path, config: TrainConfig = CONFIG) -> Tensor:
    model = TinyVAE()
    fit(model, tiny_data(), config, checkpoint=checkpoint, progress=False)
    return weights(model)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoint.pt"


# --- killed and started again ---------------------------------------------------------------------


def kill_and_resume(folder: str) -> None:
    """Run in a process of its own, which forks one child per run so that torch loads once."""
    folder = Path(folder)
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731

    def child(work) -> int:
        if (pid := os.fork()) == 0:
            work()
            os._exit(0)
        return pid

    def ended(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def run(checkpoint: Path | None, target: Path, model: nn.Module | None = None) -> None:
        model = model or TinyVAE()
        fit(model, tiny_data(), CONFIG, checkpoint=checkpoint, progress=False)
        torch.save(weights(model), target)

    def die_in(name: str) -> None:
        setattr(os, name, lambda *_: kill())
        run(folder / f"{name}.pt", folder / "never")

    trained()  # what torch loads late is loaded before the forks
    assert ended(child(lambda: run(None, folder / "undisturbed"))) == 0
    report = {}
    draw = random.Random(0)
    for step in [0, STEPS - 1, *draw.sample(range(1, STEPS - 1), 4)]:
        checkpoint, target = folder / f"step{step}.pt", folder / f"step{step}"
        killed = ended(child(lambda c=checkpoint, s=step: run(c, c, InterruptedVAE(s, kill))))
        again = ended(child(lambda c=checkpoint, t=target: run(c, t)))
        report[f"step{step}"] = [killed, again]
    for name in ("fsync", "replace"):  # inside the save itself: before and after the bytes are down
        checkpoint, target = folder / f"{name}.pt", folder / name
        killed = ended(child(lambda n=name: die_in(n)))
        again = ended(child(lambda c=checkpoint, t=target: run(c, t)))
        report[name] = [killed, again]
    killed, again = 0, 1
    while again:  # from outside, at any moment, as often as it takes
        slow = InterruptedVAE(0, lambda: time.sleep(0.01))
        pid = child(lambda m=slow: run(folder / "outside.pt", folder / "outside", m))
        time.sleep(draw.uniform(0.02, 0.06) * (1 + killed))
        os.kill(pid, signal.SIGKILL)
        again = ended(pid)
        killed += again == -signal.SIGKILL
    report["outside"] = [-signal.SIGKILL if killed else 0, again]
    print(json.dumps(report))


def test_a_run_killed_at_any_step_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    command = f"from test_train import kill_and_resume; kill_and_resume({str(tmp_path)!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    undisturbed = torch.load(tmp_path / "undisturbed")
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report) == 9
    for name, (killed, again) in report.items():
        assert (killed, again) == (-signal.SIGKILL, 0), name
        assert torch.equal(torch.load(tmp_path / name), undisturbed), name
    assert not list(tmp_path.glob(".*")), "a killed save left a file behind"


@pytest.mark.parametrize("step", [1, 4, 7, 14])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"checkpoint_every": 5},  # at the end of each epoch
        {"precision": "bfloat16"},
        {"channels_last": True, "precision": "bfloat16"},
    ],
)
def test_resume_is_exact_in_every_precision_and_layout(checkpoint, step, setting):
    config = TrainConfig(**{**vars(CONFIG), **setting})
    interrupt(step, checkpoint, config)
    assert torch.equal(resumed(checkpoint, config), trained(config))


@pytest.mark.parametrize("lost", ["generator", "order", "optimizer"])
def test_a_checkpoint_without_any_part_of_its_state_is_not_exact(checkpoint, lost):
    """Wrong twins: each part that a careless checkpoint forgets changes the weights."""
    interrupt(7, checkpoint)
    state = torch.load(checkpoint)
    assert 0 < state["step"] < 7
    fresh = {
        "generator": torch.Generator().manual_seed(CONFIG.seed).get_state(),
        "order": torch.arange(45),
        "optimizer": {**state["optimizer"], "state": {}},
    }
    checkpoints.save(checkpoint, {**state, lost: fresh[lost]})
    assert not torch.equal(resumed(checkpoint), trained())


class DropoutVAE(TinyVAE):
    """Dropout on both pictures; it has no generator of its own to draw from."""

    def bound(self, batch, observed=None, generator=None) -> Bound:
        kept = {m: torch.nn.functional.dropout(x, 0.5, self.training) for m, x in batch.items()}
        return super().bound(kept, observed, generator)


def with_dropout(checkpoint: Path | None = None, until: float | None = None) -> Tensor:
    model = DropoutVAE()
    data = tiny_data()
    fit(model, data, CONFIG, checkpoint=checkpoint, until=until, progress=False)
    return weights(model)


def test_dropout_is_a_function_of_the_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first = with_dropout()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(with_dropout(), first)
    assert not torch.equal(first, trained())


@pytest.mark.parametrize("forgotten", [False, True])
def test_resume_is_exact_with_dropout_unless_its_state_is_forgotten(
    checkpoint, monkeypatch, forgotten
):
    ticks = itertools.count()
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(ticks))
    with pytest.raises(OutOfTime):
        with_dropout(checkpoint, until=7)
    if forgotten:
        state = torch.load(checkpoint)
        fresh = torch.Generator().manual_seed(CONFIG.seed).get_state()
        checkpoints.save(checkpoint, {**state, "dropout": fresh})
    assert torch.equal(with_dropout(checkpoint), with_dropout()) != forgotten


def test_history_and_time_go_on_across_a_restart(checkpoint):
    whole = fit(TinyVAE(), tiny_data(), CONFIG, progress=False)
    interrupt(7, checkpoint)
    checkpoints.save(checkpoint, {**torch.load(checkpoint), "seconds": 1000.0})
    parts = fit(TinyVAE(), tiny_data(), CONFIG, checkpoint=checkpoint, progress=False)
    assert (parts.loss, parts.rate, parts.reconstruction, parts.gradient) == (
        whole.loss,
        whole.rate,
        whole.reconstruction,
        whole.gradient,
    )
    assert parts.steps == whole.steps == STEPS
    assert 1000 < parts.seconds < 1100


@pytest.mark.parametrize("step", [0, 1, 4, 5, 7, 14])
def test_a_run_stopped_by_the_clock_and_started_again_ends_as_an_undisturbed_one(
    checkpoint, monkeypatch, step
):
    ticks = itertools.count()
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(ticks))
    percent = 100 * step // STEPS
    message = rf"^time is up after step {step} of 15, {percent} percent .*checkpoint\.pt$"
    with pytest.raises(OutOfTime, match=message):
        fit(TinyVAE(), tiny_data(), CONFIG, checkpoint=checkpoint, until=step, progress=False)
    assert torch.load(checkpoint)["step"] == step
    assert torch.equal(resumed(checkpoint), trained())


def test_a_run_that_is_done_in_time_is_not_stopped(checkpoint, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(ticks))
    model = TinyVAE()
    fit(model, tiny_data(), CONFIG, checkpoint=checkpoint, until=STEPS, progress=False)
    assert torch.equal(weights(model), trained())


def test_stopping_at_a_time_needs_a_checkpoint():
    with pytest.raises(ValueError, match=r"^until: without a checkpoint"):
        fit(TinyVAE(), tiny_data(), CONFIG, until=0.0)


def test_a_run_out_of_time_saves_no_number_that_is_not_finite(checkpoint, monkeypatch):
    monkeypatch.setattr(Trace, "is_due", lambda self, here: False)
    ticks = itertools.count()
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(ticks))
    config = TrainConfig(**{**vars(CONFIG), "checkpoint_every": 100})
    with pytest.raises(FloatingPointError, match=r"^epoch 2, step 2 of 5"):
        fit(PoisonedVAE("rate"), tiny_data(), config, checkpoint=checkpoint, until=8)
    assert torch.load(checkpoint)["step"] == 0


def test_a_finished_run_started_again_takes_no_step(checkpoint):
    finished = resumed(checkpoint)
    model = InterruptedVAE(0, lambda: pytest.fail("a finished run took another step"))
    history = fit(model, tiny_data(), CONFIG, checkpoint=checkpoint, progress=False)
    assert torch.equal(weights(model), finished)
    assert history.steps == STEPS


# --- what is computed -----------------------------------------------------------------------------


def test_one_step_is_adam_on_minus_the_mean_bound():
    config = TrainConfig(epochs=1, batch_size=45, learning_rate=1e-2, seed=5)
    data, model, by_hand = tiny_data(), TinyVAE(), TinyVAE()
    history = fit(model, data, config, progress=False)

    generator = torch.Generator().manual_seed(5)
    index = torch.randperm(45, generator=generator)
    bound = by_hand.bound(data.batch(index), generator=generator)
    left, right = bound.reconstruction

    def gradient(loss: Tensor) -> Tensor:
        parts = torch.autograd.grad(loss, list(by_hand.parameters()), retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    loss = -(left + 2.0 * right - 0.5 * bound.rate).mean()
    g = gradient(loss)
    assert history.loss == pytest.approx([loss.item()], rel=1e-6)
    assert history.gradient == pytest.approx([g.norm().item()], rel=1e-5)
    # Adam's first step: both corrected moments are powers of the gradient itself.
    expected = weights(by_hand) - 1e-2 * g / (g.abs() + 1e-8)
    torch.testing.assert_close(weights(model), expected, rtol=1e-5, atol=1e-6)

    for wrong in (-(left + 2.0 * right - bound.rate).mean(), -(left + right - bound.rate).sum()):
        assert history.loss != pytest.approx([wrong.item()], rel=1e-6)
        assert history.gradient != pytest.approx([gradient(wrong).norm().item()], rel=1e-5)


def test_each_epoch_sees_no_example_twice_and_drops_an_incomplete_batch():
    data, seen = tiny_data(), []

    class Watched(TinyVAE):
        def bound(self, batch, observed=None, generator=None) -> Bound:
            seen.append(batch["left"].flatten(1))
            return super().bound(batch, observed, generator)

    fit(Watched(), data, CONFIG, progress=False)
    epochs = torch.cat(seen).reshape(3, 40, -1)
    assert all(len(epoch.unique(dim=0)) == 40 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_history_is_the_mean_over_the_epoch_and_its_terms_add_up_to_the_loss():
    history = fit(TinyVAE(), tiny_data(), CONFIG, progress=False)
    for epoch, loss in enumerate(history.loss):
        left, right = (history.reconstruction[m][epoch] for m in ("left", "right"))
        assert loss == pytest.approx(-(left + 2 * right - 0.5 * history.rate[epoch]), rel=1e-6)
    assert history.loss[-1] < history.loss[0]


def test_bfloat16_trains_close_to_float32_but_is_not_it():
    half = TrainConfig(**{**vars(CONFIG), "precision": "bfloat16"})
    histories = [fit(TinyVAE(), tiny_data(), c, progress=False) for c in (CONFIG, half)]
    single, low = (history.loss[-1] for history in histories)
    assert low == pytest.approx(single, rel=2**-8)
    assert low != single


def test_the_global_random_state_is_neither_read_nor_changed():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(trained(), first)
    assert not torch.equal(trained(TrainConfig(**{**vars(CONFIG), "seed": 6})), first)


def test_without_a_terminal_nothing_is_printed(capfd):
    fit(TinyVAE(), tiny_data(), CONFIG, progress=True)
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_the_bar_shows_the_loss_and_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(TinyVAE(), tiny_data(), CONFIG, progress=True)
    shown = capsys.readouterr().err
    assert "loss " in shown
    assert f"{STEPS}/{STEPS}" in shown
    fit(TinyVAE(), tiny_data(), CONFIG, progress=False)
    assert capsys.readouterr().err == ""


# --- NaN and infinity -----------------------------------------------------------------------------


class PoisonedVAE(TinyVAE):
    """Turns one term, or one gradient, to NaN at the seventh step: epoch 2, step 2."""

    def __init__(self, poison: str) -> None:
        super().__init__()
        self._poison, self._calls = poison, 0

    def bound(self, batch, observed=None, generator=None) -> Bound:
        self._calls += 1
        reconstruction, rate = super().bound(batch, observed, generator)
        if self._calls < 7:
            return Bound(reconstruction, rate)
        if self._poison == "rate":
            return Bound(reconstruction, rate * float("inf"))
        if self._poison == "gradient":  # sqrt at 0: the value is finite, its derivative is not
            zero = (self.decoders["right"].weight * 0).sum()
            return Bound(reconstruction, rate + zero.sqrt())
        mask = torch.tensor([[1.0], [float("nan")]])
        return Bound(reconstruction * mask, rate)


@pytest.mark.parametrize(
    ("poison", "named"),
    [
        ("reconstruction", r"log p\(right \| z\) is nan"),
        ("rate", "rate is inf"),
        ("gradient", r"gradient of decoders\.right\.weight is nan"),
    ],
)
def test_the_first_term_that_is_not_finite_is_named_with_its_step(poison, named):
    with pytest.raises(FloatingPointError, match=rf"^epoch 2, step 2 of 5: {named}.*; try") as info:
        fit(PoisonedVAE(poison), tiny_data(), CONFIG, progress=False)
    assert "\n" not in str(info.value)
    assert "left" not in str(info.value)


@pytest.mark.parametrize("poison", ["reconstruction", "rate", "gradient"])
def test_a_late_look_still_finds_the_step_that_went_wrong(monkeypatch, poison):
    """On a GPU the numbers are looked at now and then: by then every later step is NaN as well."""
    monkeypatch.setattr(Trace, "is_due", lambda self, here: here + 1 == len(self.rows))
    with pytest.raises(FloatingPointError, match=r"^epoch 2, step 2 of 5: ") as info:
        fit(PoisonedVAE(poison), tiny_data(), CONFIG, progress=False)
    assert {"reconstruction": "log p(right", "rate": "rate", "gradient": "gradient"}[poison] in str(
        info.value
    )


def test_no_checkpoint_ever_holds_a_number_that_is_not_finite(monkeypatch, checkpoint):
    monkeypatch.setattr(Trace, "is_due", lambda self, here: False)
    config = TrainConfig(**{**vars(CONFIG), "checkpoint_every": 8})
    with pytest.raises(FloatingPointError, match=r"^epoch 2, step 2 of 5"):
        fit(PoisonedVAE("rate"), tiny_data(), config, checkpoint=checkpoint, progress=False)
    assert torch.load(checkpoint)["step"] == 0


def test_weights_that_are_not_finite_are_named_before_the_first_step():
    model = TinyVAE()
    with torch.no_grad():
        model.encoders["right"][0].weight[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"encoders\.right\.0\.weight"):
        fit(model, tiny_data(), CONFIG, progress=False)


# --- checkpoints that must be refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 9}, r"batch_size \(8 there, 9 here\);"),
        ({"learning_rate": 0.02, "seed": 6}, r"learning_rate \(0.01 .*seed \(5 there, 6 here\);"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused_by_field(checkpoint, change, named):
    interrupt(7, checkpoint)
    with pytest.raises(ValueError, match=named) as info:
        resumed(checkpoint, TrainConfig(**{**vars(CONFIG), **change}))
    message = str(info.value)
    assert str(checkpoint) in message
    assert "delete" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_model_or_other_data_is_refused(checkpoint):
    interrupt(7, checkpoint)
    model = TinyVAE()
    model.beta = 1.0
    with pytest.raises(ValueError, match=r"model\.beta \(0\.5 there, 1\.0 here\);"):
        fit(model, tiny_data(), CONFIG, checkpoint=checkpoint)
    model = TinyVAE()
    model.decoders["left"] = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 108))
    with pytest.raises(ValueError, match=r"configuration: model \(a different one there"):
        fit(model, tiny_data(), CONFIG, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"configuration: data\.sha256 \("):
        fit(TinyVAE(), tiny_data(46), CONFIG, checkpoint=checkpoint)


def test_settings_hidden_inside_functions_are_part_of_the_configuration():
    """Wrong twin: by `repr` without addresses these models would be one and the same."""
    described = []
    for prior_expert, extra in [(True, 1), (False, 1), (True, 2), (True, 1)]:
        model = TinyVAE()
        pool = product_of_experts(prior_expert=prior_expert)
        model.aggregator = Aggregator(pool, subsampled(extra))
        described.append(checkpoints.describe(model, tiny_data(), CONFIG)["model.aggregator"])
    assert len(set(described)) == 3
    assert described[0] == described[3]


def test_how_often_a_checkpoint_is_written_may_change(checkpoint):
    interrupt(7, checkpoint)
    config = TrainConfig(**{**vars(CONFIG), "checkpoint_every": 100})
    assert torch.equal(resumed(checkpoint, config), trained())


def test_a_checkpoint_of_another_device_is_refused(checkpoint):
    interrupt(7, checkpoint)
    state = torch.load(checkpoint)
    configuration = {**state["configuration"], "device": "cuda"}
    checkpoints.save(checkpoint, {**state, "configuration": configuration})
    with pytest.raises(ValueError, match=r"device \(cuda there, cpu here\)"):
        resumed(checkpoint)


def test_whether_steps_are_graphs_is_no_part_of_the_configuration(checkpoint):
    interrupt(7, checkpoint)
    config = TrainConfig(**{**vars(CONFIG), "graph": False})
    assert config == CONFIG
    assert torch.equal(resumed(checkpoint, config), trained())


@pytest.mark.parametrize("damage", ["truncated", "one byte", "empty", "another file"])
def test_a_damaged_checkpoint_is_refused_in_one_line(checkpoint, damage):
    interrupt(7, checkpoint)
    content = bytearray(checkpoint.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "one byte":
        weight = torch.load(checkpoint)["model"]["decoders.left.weight"]
        content[content.index(weight.numpy().tobytes()) + 5] ^= 1
    else:
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint")
    checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged .* delete the file") as info:
        resumed(checkpoint)
    assert str(checkpoint) in str(info.value)
    assert "\n" not in str(info.value)


def test_a_file_of_other_tensors_is_not_taken_for_a_checkpoint(checkpoint):
    checkpoints.save(checkpoint, {"weights": torch.ones(3)})
    with pytest.raises(ValueError, match="not a checkpoint of this trainer"):
        resumed(checkpoint)


# --- checkpoints that cannot be written -----------------------------------------------------------


@pytest.fixture
def small_files():
    """No file may grow beyond 4 kB: what a full disk does to a process, done by the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_save_fails_and_keeps(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    with pytest.raises(OSError, match=r"^cannot save checkpoint .*free space") as info:
        resumed(checkpoint)
    assert str(checkpoint) in str(info.value)
    assert "\n" not in str(info.value)
    assert checkpoint.read_bytes() == before
    assert [file.name for file in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_a_save_that_the_kernel_cuts_short_leaves_the_earlier_checkpoint(checkpoint, small_files):
    interrupt(7, checkpoint)
    assert checkpoint.stat().st_size > 4096
    small_files()
    assert_save_fails_and_keeps(checkpoint)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_checkpoint(checkpoint, monkeypatch, call):
    interrupt(7, checkpoint)

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    assert_save_fails_and_keeps(checkpoint)
    monkeypatch.undo()
    assert torch.equal(resumed(checkpoint), trained())


def test_a_folder_that_cannot_be_written_shows_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = InterruptedVAE(0, lambda: pytest.fail("a step was taken"))
    with pytest.raises(OSError, match=r"^cannot save checkpoint .*file/checkpoint\.pt: .*folder"):
        fit(model, tiny_data(), CONFIG, checkpoint=tmp_path / "file" / "checkpoint.pt")


# --- settings and inputs that do not fit ----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; give an integer >= 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; give an integer >= 1"),
        ({"seed": -1}, "seed is -1; give an integer >= 0"),
        ({"epochs": True}, "epochs is True; give an integer >= 1"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; give an integer >= 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; give > 0"),
        ({"graph": "yes"}, "graph is 'yes'; give True, False or None"),
        ({"precision": "float16"}, "precision is 'float16'; give one of float32, tf32, bfloat16"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=f"^TrainConfig: {message}$"):
        TrainConfig(**{"epochs": 1, **change})


@pytest.mark.parametrize(
    ("change", "named"),
    [({"graph": True}, "graph is True"), ({"precision": "tf32"}, "precision is 'tf32'")],
)
def test_settings_for_gpus_are_refused_on_a_cpu(change, named):
    config = TrainConfig(**{**vars(CONFIG), **change})
    with pytest.raises(ValueError, match=rf"^TrainConfig: {named}, which is for GPUs, .* on cpu;"):
        fit(TinyVAE(), tiny_data(), config)


def test_a_modality_that_the_data_lack_is_named():
    model = TinyVAE()
    model.modalities = ("left", "smell")
    with pytest.raises(ValueError, match=r"'smell'.*left, right"):
        fit(model, tiny_data(), CONFIG)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size is 8, but tiny has 7 examples"):
        fit(TinyVAE(), tiny_data(7), CONFIG)


def test_a_model_on_another_device_is_refused():
    with pytest.raises(ValueError, match=r"the model is on meta, the data on cpu"):
        fit(TinyVAE().to("meta"), tiny_data(), CONFIG)
