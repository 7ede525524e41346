"""Judges that learn what is easy to see, and refuse what is not theirs."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Generator

from multielbo.data.multimodal import MultimodalData
from multielbo.metrics.classifiers import Classifiers, train_classifiers
from multielbo.networks import conv_encoder, mlp_encoder
from stripes import CLASSES, encoders, striped


@pytest.fixture(scope="module")
def stripes() -> tuple[MultimodalData, MultimodalData]:
    return striped(640), striped(200, "stripes-test", seed=1)


@pytest.fixture(scope="module")
def classifiers(stripes) -> Classifiers:
    return train_classifiers(*stripes, encoders(8), epochs=8)


def test_classifiers_learn_and_carry_their_accuracy_on_the_test_split(classifiers, stripes):
    _, test = stripes
    for name, x in test.batch(slice(None)).items():
        hits = classifiers.predict(name, x) == test.labels
        assert classifiers.accuracy[name] == pytest.approx(float(hits.double().mean()))
        assert classifiers.accuracy[name] > 0.95
    unseen = Classifiers(test, encoders(8))
    unseen.measure(test)
    assert max(unseen.accuracy.values()) < 0.5  # before training there is nothing to see


def test_a_classifier_is_the_encoder_but_for_its_last_layer():
    made = partial(conv_encoder, (1, CLASSES, CLASSES), channels=(8, 16), hidden=(20,))
    (network,) = Classifiers(striped(10).select(["x"]), {"x": made}).networks.values()
    encoder = made(3)
    shapes = [p.shape for p in network[0].parameters()]
    assert shapes == [p.shape for p in encoder.features.parameters()]
    assert network[1].in_features == encoder.posterior.in_features


def test_training_classifiers_depends_on_the_seed_and_leaves_the_global_state_alone(stripes):
    before = torch.random.get_rng_state()
    first, again, other = (
        train_classifiers(*stripes, encoders(4), epochs=1, seed=seed).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(before, torch.random.get_rng_state())


def test_classifiers_of_another_data_set_are_refused_in_one_line(classifiers, stripes):
    _, test = stripes
    for other in (striped(20, "spots-test"), test.select(["x"])):
        with pytest.raises(ValueError, match=r"^classifiers: made for stripes \(x 1x10x10, ") as e:
            classifiers.check(other)
        assert "\n" not in str(e.value)
    classifiers.check(test.take(slice(0, 10)))  # fewer examples are the same data set


def test_features_are_what_the_last_layer_sees(classifiers, stripes):
    x = stripes[1].batch(slice(0, 5))["y"]
    features = classifiers.features("y", x)
    assert features.ndim == 2
    torch.testing.assert_close(classifiers.networks["y"][1](features), classifiers({"y": x})["y"])


# ---------------------------------------------------------------- files


def test_a_file_gives_the_same_judges_back(classifiers, stripes, tmp_path):
    train, test = stripes
    classifiers.save(tmp_path / "judges" / "stripes.pt")
    again = Classifiers.load(tmp_path / "judges" / "stripes.pt", train, encoders(8))
    x = test.batch(slice(None))["x"]
    assert torch.equal(again.predict("x", x), classifiers.predict("x", x))
    assert again.accuracy == classifiers.accuracy
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


def test_a_file_of_other_data_or_other_networks_is_refused_in_one_line(
    classifiers, stripes, tmp_path
):
    train, _ = stripes
    file = tmp_path / "stripes.pt"
    classifiers.save(file)
    same_name = striped(640, seed=5)
    for data, channels, differing in (
        (striped(640, "spots-train"), 8, "data"),
        (same_name, 8, "data.sha256"),
        (train, 4, "networks"),
    ):
        with pytest.raises(ValueError, match=f"{file} is from another.*{differing}") as error:
            Classifiers.load(file, data, encoders(channels))
        assert "\n" not in str(error.value)


def test_a_damaged_or_missing_file_is_refused_in_one_line(classifiers, stripes, tmp_path):
    train, _ = stripes
    file = tmp_path / "stripes.pt"
    with pytest.raises(FileNotFoundError, match=r"no file .*stripes\.pt"):
        Classifiers.load(file, train, encoders(8))
    classifiers.save(file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged") as error:
        Classifiers.load(file, train, encoders(8))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- other kinds of data


def spoken(examples: int, name: str, seed: int) -> MultimodalData:
    """Attributes that show as a symbol each, and as the sign of a measurement each."""
    generator = Generator().manual_seed(seed)
    truth = torch.rand(examples, 5, generator=generator) < 0.3
    truth[:, 4] = False
    letters = truth + 2 * torch.randint(2, truth.shape, generator=generator)
    measured = truth.float() + 0.1 * torch.randn(truth.shape, generator=generator)
    parts = {"text": letters.to(torch.uint8), "sound": measured}
    return MultimodalData(name, parts, truth, symbols={"text": 4})


def test_attributes_are_judged_in_symbols_and_in_measurements():
    train, test = spoken(600, "speech-train", 0), spoken(300, "speech-test", 1)
    networks = {
        "text": partial(mlp_encoder, (5, 4), hidden=(32,)),
        "sound": partial(mlp_encoder, (5,), hidden=(32,)),
    }
    judges = train_classifiers(train, test, networks, epochs=10)
    assert min(judges.accuracy.values()) > 0.95
    scores = judges.predict("text", test.batch(slice(0, 7))["text"])
    assert scores.shape == (7, 5)
    unseen = Classifiers(train, networks)
    unseen.measure(test)
    assert max(unseen.accuracy.values()) < 0.7
