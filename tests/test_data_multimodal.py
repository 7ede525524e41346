"""The container of every data set: what it refuses, what its digest sees, what a batch is."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from multielbo.data.multimodal import MultimodalData, npy_digest


@pytest.fixture
def data() -> MultimodalData:
    grey = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    return MultimodalData("toy", {"a": grey, "b": 255 - grey}, torch.tensor([0, 1, 2, 3]))


def test_a_batch_is_the_bytes_divided_by_255_in_float32(data):
    batch = data.batch(torch.tensor([3, 0]))
    exact = np.arange(256, dtype=np.float32) / np.float32(255)
    assert batch["a"].dtype == torch.float32
    assert np.array_equal(batch["a"].numpy().ravel(), np.r_[exact[192:], exact[:64]])
    assert min(x.min() for x in batch.values()) == 0
    assert max(x.max() for x in batch.values()) == 1


def test_multiplying_by_the_rounded_inverse_of_255_is_another_number():
    levels = np.arange(256, dtype=np.float32)
    assert np.any(levels * np.float32(1 / 255) != levels / np.float32(255))


def test_a_batch_leaves_the_data_as_they_are(data):
    data.batch(slice(None))["a"].zero_()
    assert data["a"].max() == 255


def test_the_digest_of_an_array_is_the_checksum_of_its_npy_file(data):
    import hashlib

    stream = io.BytesIO()
    np.save(stream, data["a"].numpy())
    assert npy_digest(data["a"].numpy()) == hashlib.sha256(stream.getvalue()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        lambda a, b, y: ({"a": a, "c": b}, y),
        lambda a, b, y: ({"b": b, "a": a}, y),
        lambda a, b, y: ({"a": b, "b": a}, y),
        lambda a, b, y: ({"a": a, "b": b.reshape(4, 1, 4, 16)}, y),
        lambda a, b, y: ({"a": a, "b": b}, y.flip(0)),
    ],
    ids=["names", "order", "swapped", "shape", "labels"],
)
def test_the_digest_sees_names_order_shapes_bytes_and_labels(data, other):
    images, labels = other(data["a"], data["b"], data.labels)
    assert MultimodalData("toy", images, labels).sha256 != data.sha256


def test_equal_content_has_equal_digest_wherever_it_came_from(data):
    assert data.take(torch.arange(4)).sha256 == data.sha256
    assert data.take(slice(0, 2)).sha256 != data.sha256
    assert data.to("cpu").sha256 == data.sha256
    assert data.select(["a", "b"]).sha256 == data.sha256


def test_taking_keeps_images_and_labels_together(data):
    taken = data.take(torch.tensor([2, 0]))
    assert len(taken) == 2
    assert taken.labels.tolist() == [2, 0]
    assert torch.equal(taken["b"][0], data["b"][2])


@pytest.mark.parametrize("use", [lambda d: d["m9"], lambda d: d.select(["a", "m9"])])
def test_an_unknown_modality_is_named_beside_the_known_ones(data, use):
    with pytest.raises(ValueError, match=r"^toy has no modality 'm9': choose from a, b$"):
        use(data)


IMAGES, LABELS = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4).long()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:3], LABELS, "3 observations for 4 labels"),
        (IMAGES.double(), LABELS, "must be uint8 images"),
        (IMAGES[:, 0], LABELS, r"\(N, C, H, W\)"),
        (IMAGES, LABELS + 10, "outside 0 ... 9"),
        (IMAGES, LABELS - 1, "outside 0 ... 9"),
        (IMAGES, LABELS.float(), "labels must be int64"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(images, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        MultimodalData("toy", {"a": images}, labels)
    assert "\n" not in str(error.value)


def test_no_modality_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one modality"):
        MultimodalData("toy", {}, torch.zeros(4).long())


def shared(**changes) -> MultimodalData:
    """Four tuples from two pictures, three words and four measurements."""
    parts = {
        "modalities": {
            "picture": torch.arange(2, dtype=torch.uint8).reshape(2, 1, 1, 1) * 255,
            "word": torch.tensor([[0, 1], [1, 2], [2, 0]], dtype=torch.uint8),
            "pressure": torch.tensor([[0.5], [1.5], [-2.0], [3.0]]),
        },
        "labels": LABELS,
        "symbols": {"word": 3},
        "rows": {"picture": torch.tensor([1, 0, 1, 1]), "word": torch.tensor([2, 2, 0, 1])},
    }
    return MultimodalData("mixed", **parts | changes)


def test_each_kind_of_modality_is_read_as_what_it_is():
    batch = shared().batch(slice(0, 2))
    assert batch["picture"].flatten().tolist() == [1.0, 0.0]
    assert batch["word"].tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]]]
    assert batch["pressure"].flatten().tolist() == [0.5, 1.5]
    assert shared().shapes == {"picture": (1, 1, 1), "word": (2, 3), "pressure": (1,)}
    assert {x.dtype for x in batch.values()} == {torch.float32}


def test_what_a_batch_gives_is_stored_as_the_bytes_symbols_and_numbers_that_it_came_from():
    data = shared()
    batch = data.batch(slice(None))
    for name in data.modalities:
        assert torch.equal(data.as_stored(name, batch[name]), data[name])
        assert data.as_stored(name, batch[name]).dtype == data[name].dtype


def test_generated_pixels_beyond_the_range_become_its_ends(data):
    assert data.as_stored("a", torch.tensor([-0.3, 0.5, 1.7])).tolist() == [0, 128, 255]


def test_shared_observations_stay_with_their_tuples():
    data, index = shared(), torch.tensor([3, 0])
    taken = data.take(index)
    for name, x in taken.batch(slice(None)).items():
        assert torch.equal(x, data.batch(index)[name])
    assert taken["picture"].flatten().tolist() == [255, 255]
    assert len(taken.modalities["word"]) == 3, "originals are kept once, whatever is taken"
    assert taken.select(["word"]).rows.keys() == {"word"}


def test_the_digest_sees_the_pairing():
    other = shared(rows={"picture": torch.tensor([1, 1, 0, 1]), "word": shared().rows["word"]})
    assert other.sha256 != shared().sha256
    assert shared().take(slice(0, 4)).sha256 == shared().sha256


def test_attributes_are_labels_too():
    attributes = torch.tensor([[True, False]] * 4)
    data = shared(labels=attributes)
    assert len(data) == 4
    assert data.take(slice(0, 2)).labels.shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": {"word": 2}}, "symbols run from 0 to 2, outside 0 ... 1"),
        ({"symbols": {"verb": 3}}, "no modality 'verb'"),
        ({"rows": {"picture": torch.tensor([0, 1, 2, 0])}}, "rows run from 0 to 2"),
        ({"rows": {"picture": torch.tensor([0.0, 1, 0, 0])}}, "rows must be int64"),
        ({"rows": {"picture": torch.tensor([0, 1])}}, "2 observations for 4 labels"),
        ({"labels": torch.ones(4, 2)}, "labels must be int64"),
    ],
)
def test_wrong_symbols_rows_and_attributes_are_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        shared(**{"rows": shared().rows} | changes)
    assert "\n" not in str(error.value)
