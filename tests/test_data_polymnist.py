"""PolyMNIST and MNIST, prepared from small files in the real formats."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multielbo.data.idx import read_idx
from multielbo.data.mnist import FILES, IMAGES, mnist, read_mnist
from multielbo.data.pictures import bricks, read_rgb
from multielbo.data.polymnist import modality, polymnist
from multielbo.data.prepared import load, prepare
from multielbo.data.recipe import bit_generator, class_permutation, place_digits, random_corners

COUNTS = {"train": 300, "test": 50}


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in MNIST's file format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, all different, and their classes."""
    count = COUNTS[split]
    raw = bit_generator(7, len(split)).random_raw(count * 98)
    return raw.view(np.uint8).reshape(count, 28, 28), np.arange(count) * 7 % 10


def sources(built: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Which digit each image shows, found by its ink; the background was black."""
    ink = {image.tobytes(): n for n, image in enumerate(images > 128)}
    return np.array([ink[image.tobytes()] for image in built[:, 0] == 255])


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder of originals."""
    folder = tmp_path / "originals"
    for split, files in FILES.items():
        for name, array in zip(files, digits(split), strict=True):
            (folder / "mnist").mkdir(parents=True, exist_ok=True)
            (folder / "mnist" / name).write_bytes(gzip.compress(idx(array), mtime=0))
    (folder / "backgrounds").mkdir()
    for k, name in enumerate(("fractal_tree", "The_Scream", "star_field", "shingles")):
        picture = np.roll(bricks(64), 17 * k, axis=2).transpose(1, 2, 0)
        Image.fromarray(picture).save(folder / "backgrounds" / f"{name}.jpg")
    return folder


@pytest.fixture
def scripts(root, raw, monkeypatch):
    """The two commands, told to expect the small originals and to find no mirror."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import fetch
    import mnist as mnist_script
    import polymnist as polymnist_script

    nowhere = ("http://127.0.0.1:9/file",)  # the discard port: nobody answers
    remotes = {}
    for path in sorted((raw / "mnist").iterdir()):
        digest = f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        remotes[path.name] = fetch.Remote(f"mnist/{path.name}", nowhere, digest)
    backgrounds = {}
    for m, remote in polymnist_script.BACKGROUNDS.items():
        digest = remote.digest and f"sha256:{sha256(raw / remote.path)}"
        backgrounds[m] = replace(remote, urls=nowhere, digest=digest)
    for script in (mnist_script, polymnist_script):
        monkeypatch.setattr(script, "mnist_remotes", lambda: remotes)
    monkeypatch.setattr(polymnist_script, "BACKGROUNDS", backgrounds)
    for split, count in COUNTS.items():
        monkeypatch.setitem(IMAGES, split, count)
    return {"mnist": mnist_script.main, "polymnist": polymnist_script.main}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(capsys) -> str:
    """What was told on stderr, bar progress bars: one line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# The recipe


def test_a_class_permutation_moves_digits_within_their_class_only():
    _, labels = digits("train")
    found = class_permutation(labels, bit_generator(0))
    assert sorted(found) == list(range(300))
    assert np.array_equal(labels[found], labels)
    assert np.mean(found == np.arange(300)) < 0.2


def test_every_permutation_of_a_class_is_equally_likely():
    bits, labels = bit_generator(0), np.array([1, 0, 1, 0, 1])
    drawn = [tuple(class_permutation(labels, bits)) for _ in range(6000)]
    counts = np.array([drawn.count(permutation) for permutation in set(drawn)])
    assert len(counts) == 12
    assert ((counts - 500) ** 2 / 500).sum() < 33  # chi-squared, 11 degrees: once in 2,000


def test_crops_reach_every_corner_of_the_background_and_no_further():
    found = random_corners(np.zeros((3, 31, 30), np.uint8), 28, 2000, bit_generator(0))
    assert {tuple(corner) for corner in found} == {(y, x) for y in range(4) for x in range(3)}


def test_a_background_smaller_than_a_crop_is_refused():
    with pytest.raises(ValueError, match="30x20 pixels has no 28x28 crop"):
        random_corners(np.zeros((3, 20, 30), np.uint8), 28, 1, bit_generator(0))


def test_colours_are_inverted_where_the_digit_is_and_nowhere_else():
    background = bricks(40)
    mask = digits("train")[0][:1] > 128
    image = place_digits(mask, background, np.array([[3, 5]]))[0].astype(int)
    crop = background[:, 3:31, 5:33].astype(int)
    assert np.array_equal(image[:, mask[0]], 255 - crop[:, mask[0]])
    assert np.array_equal(image[:, ~mask[0]], crop[:, ~mask[0]])
    assert not np.array_equal(image, crop)


def test_a_grey_value_of_128_is_not_ink_and_129_is():
    images = np.full((1, 28, 28), 128, np.uint8)
    images[0, 0, 0] = 129
    built = modality(
        images, np.zeros(1, int), np.zeros((3, 28, 28), np.uint8), split="train", index=0
    )
    assert built.sum() == 3 * 255


def test_a_modality_shows_every_digit_once_at_a_place_of_its_class():
    images, labels = digits("train")
    black = np.zeros((3, 40, 40), np.uint8)
    shown = [
        sources(modality(images, labels, black, split="train", index=m), images) for m in range(5)
    ]
    for found in shown:
        assert sorted(found) == list(range(300))
        assert np.array_equal(labels[found], labels)
    agree = [np.mean(shown[m] == shown[n]) for m in range(5) for n in range(m)]
    expected, standard_error = 1 / 30, np.sqrt(1 / 30 / 300)
    assert max(np.abs(np.array(agree) - expected)) < 5 * standard_error


def test_showing_one_digit_in_all_modalities_would_be_seen():
    """The twin that forgets the permutation: its modalities agree everywhere."""
    images, _ = digits("train")
    black, corners = np.zeros((3, 28, 28), np.uint8), np.zeros((300, 2), int)
    unpaired = [sources(place_digits(images > 128, black, corners), images) for _ in range(2)]
    assert np.mean(unpaired[0] == unpaired[1]) == 1


def test_the_images_are_the_same_on_every_machine():
    images, labels = digits("test")
    built = modality(images, labels, bricks(64), split="test", index=2, seed=3)
    assert hashlib.sha256(built.tobytes()).hexdigest() == (
        "0e015b179aed39e0afab3635e4b6507cd92cce1be80b0644d8fa98c6d5ca8d61"
    )


@pytest.mark.parametrize("change", [{"seed": 1}, {"index": 1}, {"split": "test"}])
def test_seed_modality_and_split_draw_independently(change):
    images, labels = digits("train")
    first = {"split": "train", "index": 0, "seed": 0}
    reference = modality(images, labels, bricks(64), **first)
    other = modality(images, labels, bricks(64), **(first | change))
    assert np.mean((reference == other).all(axis=(1, 2, 3))) < 0.02


# MNIST's files


@pytest.mark.parametrize("name", ["digits.gz", "digits"])
def test_an_idx_file_is_read_back(tmp_path, name):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = idx(array)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert np.array_equal(read_idx(tmp_path / name), array)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("a.gz", lambda content: gzip.compress(content)[:-9], "not a complete gzip file"),
        ("a.gz", lambda content: content, "not a complete gzip file"),
        ("a.gz", lambda content: gzip.compress(content)[:12] + b"\x00" * 40, "gzip file"),
        ("a", lambda content: content[:-1], "23 bytes after its header, but announces 24"),
        ("a", lambda content: content[:9], "truncated or damaged"),
        ("a", lambda content: b"\x00\x00\x0d" + content[3:], "expected 000008, found 00000d"),
        ("a", lambda content: b"", "does not start as an idx file"),
    ],
)
def test_a_damaged_idx_file_is_named_in_one_line(tmp_path, name, damage, message):
    content = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    (tmp_path / name).write_bytes(damage(content))
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_labels_of_another_split_are_refused(raw):
    with pytest.raises(ValueError, match=r"labels \(50,\) for 300 images"):
        read_mnist(raw / "mnist" / FILES["train"][0], raw / "mnist" / FILES["test"][1])


# The commands


def test_prepared_mnist_holds_the_images_of_its_files(scripts, raw, tmp_path):
    assert scripts["mnist"](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 0
    for split in ("train", "test"):
        data = mnist(tmp_path / "data", split)
        images, labels = digits(split)
        assert np.array_equal(data["mnist"][:, 0].numpy(), images)
        assert np.array_equal(data.labels.numpy(), labels)


def test_prepared_polymnist_is_the_recipe_and_its_manifest_says_what_is_substituted(
    scripts, raw, tmp_path
):
    assert scripts["polymnist"](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 0
    images, labels = digits("test")
    data = polymnist(tmp_path / "data", "test")
    background = read_rgb(raw / "backgrounds/star_field.jpg")
    built = modality(images, labels, background, split="test", index=3)
    assert data.name == "polymnist-hopper-test"
    assert list(data.modalities) == ["m0", "m1", "m2", "m3", "m4"]
    assert np.array_equal(data["m3"].numpy(), built)
    assert data.take(slice(None)).sha256 == data.sha256
    folder = tmp_path / "data/polymnist-hopper"
    manifest = json.loads((folder / "manifest.json").read_text())
    pictures = manifest["recipe"]["backgrounds"]
    assert [m for m in pictures if "substitute" in pictures[m]] == ["m1", "m2"]
    assert "another copy" in pictures["m1"]["substitute"]
    assert "Hopper" in pictures["m2"]["substitute"]
    assert pictures["m4"]["sha256"] == sha256(raw / "backgrounds/shingles.jpg")
    assert manifest["files"]["train-m0.npy"]["shape"] == [300, 3, 28, 28]
    for file, entry in manifest["files"].items():
        assert sha256(folder / file) == entry["sha256"]


def test_originals_may_be_named_by_the_environment(scripts, raw, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIELBO_RAW", str(raw))
    assert scripts["mnist"](["--out", str(tmp_path / "data")]) == 0


def test_a_second_run_needs_no_originals_and_writes_nothing(scripts, raw, tmp_path, capsys):
    scripts["polymnist"](["--raw", str(raw), "--out", str(tmp_path / "data")])
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "data/polymnist-hopper").iterdir()}
    assert scripts["polymnist"](["--out", str(tmp_path / "data")]) == 0
    assert "its checksums are right" in capsys.readouterr().out
    assert times == {p: p.stat().st_mtime_ns for p in times}


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_prepared_file_is_named_and_alone_made_anew(scripts, raw, tmp_path, damage):
    command = ["--raw", str(raw), "--out", str(tmp_path / "data")]
    scripts["polymnist"](command)
    path = tmp_path / "data/polymnist-hopper/train-m2.npy"
    content, others = path.read_bytes(), [p for p in path.parent.glob("*.npy") if p != path]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1])))
    found = "no file" if damage == "gone" else sha256(path)
    with pytest.raises(ValueError, match=f"found {found}: run python data_scripts") as error:
        polymnist(tmp_path / "data")
    assert f"{path}: expected sha256 {hashlib.sha256(content).hexdigest()}" in str(error.value)
    times = [p.stat().st_mtime_ns for p in others]
    assert scripts["polymnist"](command) == 0
    assert path.read_bytes() == content
    assert times == [p.stat().st_mtime_ns for p in others]


def test_another_seed_makes_other_images(scripts, raw, tmp_path):
    command = ["--raw", str(raw), "--out", str(tmp_path / "data")]
    scripts["polymnist"](command)
    first = polymnist(tmp_path / "data").sha256
    assert scripts["polymnist"]([*command, "--seed", "1"]) == 0
    assert polymnist(tmp_path / "data").sha256 != first
    assert scripts["polymnist"](command) == 0
    assert polymnist(tmp_path / "data").sha256 == first


@pytest.mark.parametrize("file", ["mnist/train-images-idx3-ubyte.gz", "backgrounds/shingles.jpg"])
def test_a_truncated_original_stops_the_command_with_both_checksums(
    scripts, raw, tmp_path, capsys, file
):
    content = (raw / file).read_bytes()
    (raw / file).write_bytes(content[:-5])
    assert scripts["polymnist"](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 2
    told = one_line(capsys)
    kind = "md5" if file.startswith("mnist") else "sha256"
    for part in (content, content[:-5]):
        assert f"{kind}:{hashlib.new(kind, part).hexdigest()}" in told
    assert str(raw / file) in told
    assert not (tmp_path / "data").exists()


def test_a_truncated_picture_without_known_checksum_is_refused(scripts, raw, tmp_path, capsys):
    path = raw / "backgrounds/The_Scream.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    assert scripts["polymnist"](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 2
    assert f"{path} is not a complete picture" in one_line(capsys)


def test_a_missing_original_that_no_mirror_has_is_named(scripts, raw, tmp_path, capsys):
    (raw / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    assert scripts["mnist"](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 2
    told = one_line(capsys)
    assert "t10k-labels-idx1-ubyte.gz could not be downloaded" in told
    assert "--raw" in told


def test_a_folder_of_originals_that_is_not_there_is_named(scripts, tmp_path, capsys):
    assert scripts["mnist"](["--raw", str(tmp_path / "no"), "--out", str(tmp_path / "data")]) == 2
    assert f"{tmp_path / 'no'} is not a folder" in one_line(capsys)


@pytest.mark.parametrize("name", ["mnist", "polymnist"])
def test_an_unwritable_place_is_named(scripts, raw, tmp_path, capsys, name):
    (tmp_path / "data").write_text("a file where the folder should be")
    assert scripts[name](["--raw", str(raw), "--out", str(tmp_path / "data")]) == 2
    assert f"cannot write {tmp_path / 'data'}" in one_line(capsys)


def test_a_full_disk_leaves_nothing_half_written_and_the_next_run_continues(
    scripts, raw, tmp_path, capsys
):
    """A limit on the size of files that this process writes stands in for a full disk."""
    resource = pytest.importorskip("resource", reason="the limit is POSIX's")
    command = ["--raw", str(raw), "--out", str(tmp_path / "data")]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        status = scripts["polymnist"](command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 2
    folder = tmp_path / "data/polymnist-hopper"
    assert f"cannot write {folder / 'train-m0.npy'}" in one_line(capsys)
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "train-labels.npy"}
    with pytest.raises(FileNotFoundError, match="prepared only in part: run python data_scripts"):
        polymnist(tmp_path / "data")
    assert scripts["polymnist"](command) == 0


def test_a_killed_preparation_continues_with_the_first_missing_array(tmp_path):
    made = []

    def make(name: str, fail: bool = False):
        def array() -> np.ndarray:
            made.append(name)
            if fail:
                raise KeyboardInterrupt
            return np.full((2, 1, 2, 2), len(name), np.uint8)

        return array

    def labels() -> np.ndarray:
        made.append("labels")
        return np.array([0, 1])

    arrays = {"train-labels": labels, "train-a": make("a"), "train-b": make("b", fail=True)}
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, {"seed": 0}, arrays, progress=False)
    prepare(tmp_path, {"seed": 0}, arrays | {"train-b": make("b")}, progress=False)
    assert made == ["labels", "a", "b", "b"]
    assert list(load(tmp_path, "train", "prepare").modalities) == ["a", "b"]


def test_data_that_were_never_prepared_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/polymnist\.py --out"):
        polymnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/mnist\.py --out"):
        mnist(tmp_path)


def test_an_unknown_split_is_named_beside_the_known_ones(scripts, raw, tmp_path):
    scripts["mnist"](["--raw", str(raw), "--out", str(tmp_path / "data")])
    with pytest.raises(ValueError, match="mnist has no split 'valid': choose from train, test"):
        mnist(tmp_path / "data", "valid")


def test_a_damaged_manifest_is_named(scripts, raw, tmp_path):
    scripts["mnist"](["--raw", str(raw), "--out", str(tmp_path / "data")])
    path = tmp_path / "data/mnist/manifest.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        mnist(tmp_path / "data")
