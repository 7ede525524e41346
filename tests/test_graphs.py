"""Steps as graphs: warm-up steps are steps, a capture does nothing, a replay is the next step.

Where there is no GPU, a graph is played by a recorder of torch's operations, which repeats them on
the same tensors as a CUDA graph does, and torch's own interface by a list of what was asked of it.
"""

from __future__ import annotations

import itertools
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from multielbo import aggregators, graphs, memory, training
from multielbo.graphs import WARM_UP, CudaGraph, EagerStep, GraphedStep
from multielbo.memory import OutOfMemory, largest_batch
from multielbo.models.registry import build
from multielbo.precision import multiplying
from multielbo.subsets import powerset
from multielbo.train import TrainConfig, fit
from multielbo.vae import convolutional_vae
from test_train import CONFIG, TinyVAE, tiny_data, trained, weights

CPU = torch.device("cpu")


class Recorder(TorchDispatchMode):
    """A graph in the sense of CUDA: fixed operations on fixed tensors."""

    def __init__(self, generator, optimizer) -> None:
        super().__init__()
        self.generator, self.optimizer = generator, optimizer
        self.calls, self.operations = [], []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, found))
        return found

    def warm_up(self, work) -> None:
        self.calls.append("warm up")
        work()

    def waits(self, work) -> bool:
        self.calls.append("waits")
        work()
        return False

    def capture(self, work) -> None:
        self.calls.append("capture")
        parameters = self.optimizer.param_groups[0]["params"]
        moments = [x for state in self.optimizer.state.values() for x in state.values()]
        changed = [p.data for p in parameters] + moments
        before, noise = [x.clone() for x in changed], self.generator.get_state()
        with self:
            work()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        self.generator.set_state(noise)

    @torch.no_grad()
    def replay(self) -> None:
        self.calls.append("replay")
        for operation, args, kwargs, recorded in self.operations:
            again = operation(*args, **kwargs)
            pairs = zip(_tensors(recorded), _tensors(again), strict=True)
            for old, new in pairs:
                if old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


def _tensors(found) -> list[torch.Tensor]:
    found = found if isinstance(found, (list, tuple)) else [found]
    return [x for x in found if isinstance(x, torch.Tensor)]


@pytest.fixture
def recorders(monkeypatch) -> list[Recorder]:
    """Train with graphs on this machine; the list gets one recorder a run."""
    made = []

    def step_of(work, examples, generator, optimizer, *, graph):
        made.append(Recorder(generator, optimizer))
        return GraphedStep(work, examples, generator.device, made[-1])

    monkeypatch.setattr(training, "step_of", step_of)
    return made


# --- a graphed run is an eager run ----------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", [{}, {"precision": "bfloat16", "channels_last": True}, {"seed": 6}]
)
def test_a_graphed_run_takes_the_steps_of_an_eager_one(setting, recorders, monkeypatch):
    config = TrainConfig(**{**vars(CONFIG), **setting})
    model = TinyVAE()
    graphed = fit(model, tiny_data(), config, progress=False)
    monkeypatch.undo()
    by_hand = TinyVAE()
    eager = fit(by_hand, tiny_data(), config, progress=False)
    assert torch.equal(weights(model), weights(by_hand))
    assert (graphed.loss, graphed.rate, graphed.gradient) == (
        eager.loss,
        eager.rate,
        eager.gradient,
    )


def test_a_step_is_captured_once_and_every_later_one_is_a_replay(recorders):
    steps = CONFIG.epochs * (45 // CONFIG.batch_size)
    trained()
    expected = ["warm up"] * (WARM_UP - 1) + ["waits", "capture"]
    assert recorders[0].calls == expected + ["replay"] * (steps - WARM_UP)


def test_a_graphed_run_resumes_exactly(recorders, tmp_path, monkeypatch):
    checkpoint, clock = tmp_path / "run.pt", iter(range(100))
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(clock))
    with pytest.raises(training.OutOfTime, match="after step 7 of 15"):
        fit(TinyVAE(), tiny_data(), CONFIG, checkpoint=checkpoint, until=7, progress=False)
    model = TinyVAE()
    fit(model, tiny_data(), CONFIG, checkpoint=checkpoint, progress=False)
    monkeypatch.undo()
    assert len(recorders) == 2
    assert torch.equal(weights(model), trained())


def test_a_step_that_remembers_a_number_of_python_is_not_repeated_by_a_graph(recorders):
    """Wrong twin: a trace row written at an int would be the same row for ever."""
    seen = []

    class Remembering(TinyVAE):
        def bound(self, batch, observed=None, generator=None):
            seen.append(1)
            reconstruction, rate = super().bound(batch, observed, generator)
            return type(super().bound(batch, observed, generator))(reconstruction, rate * len(seen))

    model, again = Remembering(), Remembering()
    fit(model, tiny_data(), CONFIG, progress=False)
    seen.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "step_of", graphs.step_of)
        fit(again, tiny_data(), CONFIG, progress=False)
    assert not torch.equal(weights(model), weights(again))


def test_work_that_waits_for_the_device_is_never_captured_and_that_is_said():
    done, calls = [], []
    graph = SimpleNamespace(
        warm_up=lambda work: (calls.append("warm up"), work()),
        waits=lambda work: (work(), True)[1],
    )
    step = GraphedStep(lambda rows, place: done.append((rows.tolist(), int(place))), 2, CPU, graph)
    take = lambda here: step(torch.tensor([here, here + 1]), here)  # noqa: E731
    take(0), take(1)
    with pytest.warns(RuntimeWarning, match=r"waits for the GPU.*graph=False"):
        take(2)
    take(3), take(4)  # any other warning would fail this test
    assert done == [([here, here + 1], here) for here in range(5)]
    assert calls == ["warm up"] * 4


def test_an_eager_step_hands_over_its_examples_and_its_place():
    done = []
    step = EagerStep(lambda rows, place: done.append((rows.tolist(), place.tolist())), CPU)
    for here in (3, 4):
        step(torch.tensor([here]), here)
    assert done == [([3], [3]), ([4], [4])]


# --- what is asked of torch -----------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch) -> list[str]:
    """Torch's interface to CUDA graphs, which notes what is asked of it and does nothing."""
    asked = []

    class Stream:
        device = CPU

        def __init__(self, *_) -> None:
            pass

        def wait_stream(self, other) -> None:
            asked.append("wait")

    class Graph:
        def register_generator_state(self, generator) -> None:
            warnings.warn("generators register themselves", FutureWarning, stacklevel=1)
            asked.append("register")

        def replay(self) -> None:
            asked.append("replay")

    @contextmanager
    def capturing(graph, stream):
        asked.append("begin")
        yield
        asked.append("end")

    fakes = {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": capturing,
        "stream": lambda stream: nullcontext(),
        "current_stream": lambda device=None: Stream(),
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: asked.append(f"sync {mode}"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return asked


def adam() -> torch.optim.Adam:
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], fused=True)


def test_the_generator_is_registered_and_adam_capturable_only_while_capturing(cuda):
    optimizer, during = adam(), []
    graph = CudaGraph(torch.Generator(), optimizer)
    graph.capture(lambda: during.append(optimizer.param_groups[0]["capturable"]))
    graph.replay()
    assert cuda == ["register", "begin", "end", "replay"]
    assert during == [True]
    assert optimizer.param_groups[0]["capturable"] is False


def test_warm_up_and_its_surroundings_wait_for_each_other(cuda):
    CudaGraph(torch.Generator(), adam()).warm_up(lambda: cuda.append("work"))
    assert cuda == ["wait", "work", "wait"]


@pytest.mark.parametrize(
    ("message", "waits"),
    [("called a synchronizing CUDA operation (Triggered ...)", True), ("something else", False)],
)
def test_a_wait_is_known_by_the_warning_that_torch_gives(cuda, message, waits):
    graph = CudaGraph(torch.Generator(), adam())
    assert graph.waits(lambda: warnings.warn(message, UserWarning, stacklevel=1)) is waits
    assert cuda == ["sync warn", "wait", "wait", "sync 0"]


def test_a_failed_capture_says_in_one_line_what_to_do(cuda):
    def work() -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")

    optimizer = adam()
    message = r"captured .*\(operation not permitted when stream is capturing\); set graph=False"
    with pytest.raises(RuntimeError, match=message) as info:
        CudaGraph(torch.Generator(), optimizer).capture(work)
    assert "\n" not in str(info.value)
    assert optimizer.param_groups[0]["capturable"] is False


def test_memory_that_runs_out_while_capturing_is_told_as_such(cuda, monkeypatch):
    @contextmanager
    def capturing(graph, stream):
        try:
            yield
        finally:
            raise RuntimeError("capture was invalidated")  # as torch does on the way out

    monkeypatch.setattr(torch.cuda, "graph", capturing)

    def work() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaGraph(torch.Generator(), adam()).capture(work)


# --- on a GPU, where there is one -----------------------------------------------------------------

GPU = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def losses(name: str, graph: bool, checkpoint=None, until=None, **setting) -> list[float]:
    """Of twelve epochs on the GPU."""
    model = build(name)
    vae = convolutional_vae(("left", "right"), (3, 6, 6), model, latent_dim=4, seed=0).to(GPU)
    config = TrainConfig(**{"epochs": 12, "batch_size": 8, "seed": 5, "graph": graph, **setting})
    data = tiny_data().to(GPU)
    return fit(vae, data, config, checkpoint=checkpoint, until=until, progress=False).loss


@needs_gpu
@pytest.mark.parametrize("name", ["mopoe", "mmvae", "powerset", "mwb-vae", "log-pool"])
@pytest.mark.parametrize(
    ("setting", "rounding"),
    [({}, 1e-4), ({"precision": "bfloat16", "channels_last": True}, 2e-3)],
)
def test_on_a_gpu_a_graph_draws_the_noise_of_eager_steps(name, setting, rounding):
    eager = losses(name, graph=False, **setting)
    assert losses(name, graph=True, **setting) == pytest.approx(eager, rel=rounding)
    if not setting:  # wrong twin: other noise makes more of a difference than rounding
        assert losses(name, graph=True, seed=6) != pytest.approx(eager, rel=rounding)


@needs_gpu
def test_on_a_gpu_a_graphed_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("multielbo.train.time.monotonic", lambda: next(ticks))
    with pytest.raises(training.OutOfTime, match="after step 17 of 60"):
        losses("mopoe", True, tmp_path / "run.pt", until=17)
    again = losses("mopoe", True, tmp_path / "run.pt")
    assert again == pytest.approx(losses("mopoe", True), rel=1e-4)


@needs_gpu
def test_on_a_gpu_mvae_is_not_captured_and_that_is_said():
    with pytest.warns(RuntimeWarning, match="waits for the GPU"):
        losses("mvae", graph=True)


class Hungry(TinyVAE):
    """Needs a twentieth of a gigabyte for each example, for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.likelihood_weights = None

    def bound(self, batch, observed=None, generator=None):
        torch.empty(len(batch["left"]), 10**9 // 20, dtype=torch.uint8, device=GPU)
        return super().bound(batch, observed, generator)


@needs_gpu
def test_on_a_gpu_a_batch_too_large_is_answered_by_one_that_fits(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10**9)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(10**9 / total)
    try:
        with pytest.raises(OutOfMemory, match=r"batch_size=1[5-8] would"):
            fit(Hungry().to(GPU), tiny_data().to(GPU), TrainConfig(1, 45), progress=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# --- nothing in a step copies from the host -------------------------------------------------------


def test_the_subsets_are_copied_to_a_device_once():
    device = torch.device("meta")
    first, second = (aggregators._moved(powerset(3), device) for _ in range(2))
    assert first is second
    assert first.shape == (7, 3)
    assert first.device.type == "meta"


def test_subsets_copied_for_evaluation_serve_training():
    aggregators._copied.cache_clear()
    with torch.inference_mode():
        copied = aggregators._copied(((True, False),), CPU)
    assert not copied.is_inference()


# --- precision of products ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "value"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")]
)
def test_the_precision_of_products_is_set_for_a_gpu_and_restored(precision, value):
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    during = []

    def fail() -> None:
        with multiplying(precision, torch.device("cuda")):
            during.extend(switch.fp32_precision for switch in switches)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert during == [value] * 2
    assert [switch.fp32_precision for switch in switches] == before
    with multiplying(precision, CPU):
        assert [switch.fp32_precision for switch in switches] == before


# --- out of memory --------------------------------------------------------------------------------


def test_the_largest_batch_solves_an_affine_equation():
    points = [(16, 1000 + 16 * 50), (32, 1000 + 32 * 50)]
    assert largest_batch(points, 1000 + 50 * 123) == 123
    assert largest_batch(points, 1000 + 50 * 123 - 1) == 122
    assert largest_batch(points, 999) == 0
    # Wrong twin: memory in proportion to the batch, without the weights and the data.
    assert largest_batch(points, 7150) != int(7150 / (points[1][1] / 32))


@pytest.mark.parametrize(
    ("points", "named"),
    [([(8, 100)], "two batch sizes"), ([(8, 100), (16, 100)], "does not grow")],
)
def test_measurements_that_say_nothing_are_refused(points, named):
    with pytest.raises(ValueError, match=named):
        largest_batch(points, 1000)


class TooLarge(TinyVAE):
    """Runs out of memory with more than the given number of examples."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def bound(self, batch, observed=None, generator=None):
        if len(batch["left"]) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
        return super().bound(batch, observed, generator)


@pytest.fixture
def small_gpu(monkeypatch) -> None:
    """1000 bytes for what is always there, 100 for each example; 3000 can be used."""

    def peak(trial, size, device) -> int:
        trial(size)
        return 1000 + 100 * size

    monkeypatch.setattr(memory, "peak", peak)
    monkeypatch.setattr(memory, "available", lambda device: 3000 / memory.MARGIN)


def test_out_of_memory_names_a_batch_that_fits(small_gpu, monkeypatch):
    monkeypatch.setattr(training, "_bytes_of", lambda model: 0)
    config = TrainConfig(epochs=1, batch_size=40)
    with pytest.raises(OutOfMemory, match=r"^a batch of 40 .* batch_size=20 would") as info:
        fit(TooLarge(30), tiny_data(), config, progress=False)
    assert "\n" not in str(info.value)
    assert isinstance(info.value, MemoryError)
    assert info.value.__cause__ is None


def test_out_of_memory_leaves_room_for_the_moments_of_the_first_step(small_gpu, monkeypatch):
    monkeypatch.setattr(training, "_bytes_of", lambda model: 500)
    with pytest.raises(OutOfMemory, match="batch_size=10 would"):
        fit(TooLarge(30), tiny_data(), TrainConfig(epochs=1, batch_size=40), progress=False)


def test_where_examples_add_no_memory_the_batch_that_was_tried_is_named(small_gpu, monkeypatch):
    monkeypatch.setattr(memory, "peak", lambda trial, size, device: 1000)
    monkeypatch.setattr(training, "_bytes_of", lambda model: 0)
    with pytest.raises(OutOfMemory, match="batch_size=5 would"):
        fit(TooLarge(30), tiny_data(), TrainConfig(epochs=1, batch_size=40), progress=False)


def test_a_model_that_fits_with_no_batch_is_told_so(small_gpu):
    with pytest.raises(OutOfMemory, match=r"a batch of 40 does not fit .* nor does one of 2"):
        fit(TooLarge(0), tiny_data(), TrainConfig(epochs=1, batch_size=40), progress=False)
