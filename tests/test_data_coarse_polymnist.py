"""The coarse modality: means of blocks, and nothing else of PolyMNIST is touched."""

import numpy as np
import pytest
import torch

from multielbo.data import coarse_polymnist as coarse
from multielbo.data.multimodal import MultimodalData
from multielbo.data.polymnist import MODALITIES
from multielbo.setups.registry import setup_of


@pytest.fixture
def prepared(monkeypatch, generator) -> MultimodalData:
    pictures = {
        name: torch.randint(256, (6, 3, 28, 28), generator=generator).byte() for name in MODALITIES
    }
    data = MultimodalData("polymnist-hopper-test", pictures, torch.arange(6), sha256="a" * 64)
    monkeypatch.setattr(coarse, "polymnist", lambda root, split: data)
    return data


def test_every_block_shows_the_rounded_mean_of_its_pixels(generator):
    pictures = torch.randint(256, (3, 2, 8, 12), generator=generator).byte()
    found = coarse.coarsened(pictures, 4).numpy()
    for y in range(0, 8, 4):
        for x in range(0, 12, 4):
            block = pictures[..., y : y + 4, x : x + 4].numpy().astype(float)
            means = np.floor(block.mean((-2, -1), keepdims=True) + 0.5)
            assert np.array_equal(
                found[..., y : y + 4, x : x + 4], np.broadcast_to(means, block.shape)
            )
    # Twin: blocks of rows alone would keep strokes that run across.
    stripes = pictures.float().mean(-1, keepdim=True).expand_as(pictures)
    assert np.abs(found - stripes.numpy()).max() > 10


def test_blocks_of_one_pixel_change_nothing(generator):
    pictures = torch.randint(256, (2, 3, 6, 6), generator=generator).byte()
    assert torch.equal(coarse.coarsened(pictures, 1), pictures)


def test_blocks_that_do_not_tile_the_picture_are_refused():
    with pytest.raises(ValueError, match=r"^coarsened: blocks of 7 pixels do not tile 28x30$"):
        coarse.coarsened(torch.zeros(1, 3, 28, 30, dtype=torch.uint8), 7)


def test_one_modality_is_coarse_and_the_name_and_digest_say_so(prepared):
    made = coarse.coarse_polymnist("anywhere", "test")
    assert made.name == "polymnist-hopper-coarse-test"
    assert made.sha256 not in ("", prepared.sha256)
    for name in MODALITIES:
        assert torch.equal(made[name], prepared[name]) == (name != coarse.COARSE)
    colours = made[coarse.COARSE].flatten(2)
    assert max(len(x.unique()) for x in colours.flatten(0, 1)) <= 16
    assert torch.equal(made.labels, prepared.labels)


def test_its_set_up_has_the_papers_networks():
    assert setup_of("coarse-polymnist").modalities.keys() == set(MODALITIES)
    assert setup_of("coarse-polymnist").load is coarse.coarse_polymnist
