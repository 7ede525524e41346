"""Stages: exact resume in and between them, the best weights kept, none started before its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from multielbo import checkpoints
from multielbo.data.multimodal import MultimodalData
from multielbo.gaussians import kl_to_prior, sample
from multielbo.joint import freeze
from multielbo.objectives import Bound
from multielbo.stages import Stage, train_stage, train_stages
from multielbo.train import OutOfTime, TrainConfig, fit

CONFIG = TrainConfig(epochs=4, batch_size=8, learning_rate=0.05, seed=5, checkpoint_every=3)
EPOCH_STEPS = 45 // 8


class Interrupted(Exception):
    """Stands for whatever ends a process, where the test must live on."""


class TinyVAE(nn.Module):
    """One modality, one Gaussian, dropout: enough to train and to lose the thread."""

    def __init__(self, stage_before: str = "") -> None:
        super().__init__()
        self.modalities = ("x",)
        self.beta, self.likelihood_weights = 1.0, None
        self.stage_before = stage_before
        self._left = None
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 4))
            self.decoder = nn.Linear(2, 3)

    def interrupt_after(self, calls: int) -> None:
        self._left = calls

    def bound(self, batch, observed=None, generator=None) -> Bound:
        if self._left is not None:
            if self._left == 0:
                raise Interrupted
            self._left -= 1
        loc, scale = self.encoder(batch["x"]).chunk(2, -1)
        z = sample(loc, scale.exp(), generator)
        score = -(self.decoder(z) - batch["x"]).square().sum(-1)
        return Bound(score[None], kl_to_prior(loc, scale.exp()))


def data(examples: int, seed: int) -> MultimodalData:
    x = torch.randn(examples, 3, generator=torch.Generator().manual_seed(seed))
    return MultimodalData(f"tiny-{seed}", {"x": x}, torch.zeros(examples, dtype=torch.int64))


class Plan:
    """Two stages, the second of which starts from a copy of what the first one found."""

    def __init__(self, held_out: bool = True, config: TrainConfig = CONFIG) -> None:
        self.first, self.second = TinyVAE(), None
        self.train, self.held_out = data(45, 0), data(20, 1) if held_out else None
        self.interrupt_second = None
        self.stages = [
            Stage("first", lambda: (self.first, self.train, self.held_out), config),
            Stage("second", self.prepare_second, replace(config, seed=6)),
        ]

    def prepare_second(self):
        self.second = TinyVAE(freeze(self.first))
        self.second.load_state_dict(self.first.state_dict())
        if self.interrupt_second is not None:
            self.second.interrupt_after(self.interrupt_second)
        return self.second, self.train, self.held_out


@pytest.fixture(params=[True, False], ids=["held out", "nothing held out"])
def held_out(request) -> bool:
    return request.param


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_a_stage_is_the_run_that_fit_makes_of_it(tmp_path):
    plan, alone = Plan(held_out=False), TinyVAE()
    found = train_stage(plan.stages, "first", tmp_path, progress=False)
    history = fit(alone, plan.train, CONFIG, progress=False)
    assert all(map(torch.equal, weights(plan.first), weights(alone)))
    assert found.history.loss == history.loss
    assert found.best_epoch == CONFIG.epochs


@pytest.mark.parametrize("calls", [0, 7, 15, 16])
def test_a_stage_that_was_stopped_anywhere_ends_with_the_same_bits(tmp_path, held_out, calls):
    whole = Plan(held_out)
    expected = train_stages(whole.stages, tmp_path / "whole", progress=False)

    stopped = Plan(held_out)
    stopped.first.interrupt_after(calls)
    with_end = calls < CONFIG.epochs * (EPOCH_STEPS + (3 if held_out else 0))
    if with_end:
        with pytest.raises(Interrupted):
            train_stages(stopped.stages, tmp_path / "parts", progress=False)
    again = Plan(held_out)
    found = train_stages(again.stages, tmp_path / "parts", progress=False)
    assert all(map(torch.equal, weights(again.second), weights(whole.second)))
    for name in ("first", "second"):
        assert found[name].validation == expected[name].validation
        assert found[name].best_epoch == expected[name].best_epoch
        assert found[name].history.loss == expected[name].history.loss


def test_a_stop_between_the_stages_and_in_the_second_changes_nothing(tmp_path):
    whole = Plan()
    train_stages(whole.stages, tmp_path / "whole", progress=False)

    train_stage(Plan().stages, "first", tmp_path / "parts", progress=False)
    stopped = Plan()
    stopped.interrupt_second = 11
    with pytest.raises(Interrupted):
        train_stage(stopped.stages, "second", tmp_path / "parts", progress=False)
    again = Plan()
    train_stages(again.stages, tmp_path / "parts", progress=False)
    assert all(map(torch.equal, weights(again.second), weights(whole.second)))


def test_a_stop_between_the_two_files_of_an_epoch_changes_nothing(tmp_path, monkeypatch):
    whole = Plan()
    expected = train_stages(whole.stages, tmp_path / "whole", progress=False)
    real, lost = checkpoints.save, []

    def losing(path, state):
        if path.name == "first.validation.pt" and len(lost) == 0 and len(state["losses"]) == 2:
            lost.append(path)
            raise Interrupted
        real(path, state)

    monkeypatch.setattr(checkpoints, "save", losing)
    with pytest.raises(Interrupted):
        train_stages(Plan().stages, tmp_path / "parts", progress=False)
    again = Plan()
    found = train_stages(again.stages, tmp_path / "parts", progress=False)
    assert all(map(torch.equal, weights(again.second), weights(whole.second)))
    assert found["first"].validation == expected["first"].validation


def test_the_best_weights_are_kept_with_the_optimiser_of_their_moment(tmp_path):
    # So large a step that the losses go up and down.
    config = replace(CONFIG, epochs=8, learning_rate=0.12)
    plan = Plan(config=config)
    found = train_stage(plan.stages, "first", tmp_path, progress=False)
    best = found.best_epoch
    assert found.validation[best - 1] == min(found.validation)
    assert best < config.epochs, "the last epoch would prove nothing"

    until_best = Plan(config=replace(config, epochs=best), held_out=False)
    train_stage(until_best.stages, "first", tmp_path / "until best", progress=False)
    assert all(map(torch.equal, weights(plan.first), weights(until_best.first)))

    kept = torch.load(tmp_path / "first.finished.pt", weights_only=True)["optimizer"]
    reference = torch.load(tmp_path / "until best" / "first.finished.pt", weights_only=True)
    for i, state in kept["state"].items():
        assert state["step"] == best * EPOCH_STEPS
        assert torch.equal(state["exp_avg"], reference["optimizer"]["state"][i]["exp_avg"])


def test_looking_at_held_out_examples_does_not_disturb_the_training(tmp_path):
    plan, without = Plan(), Plan(held_out=False)
    found = train_stage(plan.stages, "first", tmp_path / "with", progress=False)
    expected = train_stage(without.stages, "first", tmp_path / "without", progress=False)
    assert found.history.loss == expected.history.loss
    assert len(found.validation) == CONFIG.epochs


def test_a_finished_stage_is_read_and_not_trained_again(tmp_path):
    train_stages(Plan().stages, tmp_path, progress=False)
    plan = Plan()
    plan.first.interrupt_after(0)
    plan.interrupt_second = 0
    train_stages(plan.stages, tmp_path, progress=False)
    assert not plan.second.training
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.finished.pt", "second.finished.pt"]


def test_a_stage_without_the_one_before_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"'second' starts from stage 'first'.*first") as error:
        train_stage(Plan().stages, "second", tmp_path, progress=False)
    assert "\n" not in str(error.value)
    stopped = Plan()
    stopped.first.interrupt_after(7)
    with pytest.raises(Interrupted):
        train_stages(stopped.stages, tmp_path, progress=False)
    with pytest.raises(ValueError, match="not finished"):
        train_stage(Plan().stages, "second", tmp_path, progress=False)


def test_a_second_stage_is_not_resumed_after_another_first_one(tmp_path):
    stopped = Plan()
    stopped.interrupt_second = 11
    with pytest.raises(Interrupted):
        train_stages(stopped.stages, tmp_path, progress=False)
    other = Plan(config=replace(CONFIG, seed=9))
    (tmp_path / "first.finished.pt").unlink()
    with pytest.raises(ValueError, match=r"another configuration: model.stage_before"):
        train_stages(other.stages, tmp_path, progress=False)


def test_time_is_up_in_a_stage_and_the_next_call_goes_on(tmp_path):
    with pytest.raises(OutOfTime, match="start again"):
        train_stages(Plan().stages, tmp_path / "parts", until=0.0, progress=False)
    again, whole = Plan(), Plan()
    train_stages(again.stages, tmp_path / "parts", progress=False)
    train_stages(whole.stages, tmp_path / "whole", progress=False)
    assert all(map(torch.equal, weights(again.second), weights(whole.second)))


def test_bad_plans_are_refused_in_one_line(tmp_path):
    plan = Plan()
    for stages in ([], [plan.stages[0]] * 2):
        with pytest.raises(ValueError, match="a name of its own"):
            train_stages(stages, tmp_path)
    with pytest.raises(ValueError, match="no stage 'third'; choose from first, second"):
        train_stage(plan.stages, "third", tmp_path)


def test_a_held_out_loss_that_is_no_number_names_the_epoch(tmp_path):
    plan = Plan()
    plan.held_out["x"][3] = float("nan")
    with pytest.raises(FloatingPointError, match="epoch 1: the loss on the 20 held-out examples"):
        train_stages(plan.stages, tmp_path, progress=False)
