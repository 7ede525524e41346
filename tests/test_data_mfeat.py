"""Multiple features, from files in UCI's format; the stand-in's views; and the page's own code."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import jupytext
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from multielbo.data import mfeat as module
from multielbo.data.mfeat import VIEWS, digit_views, mfeat, read_npz, read_view

SIZE = 3  # digits of each class in the small originals
PAGE = "notebooks/reproductions/own_modalities.py"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "CLASS_SIZE", SIZE)


@pytest.fixture
def main(root, monkeypatch):
    """The command, told to expect small originals and that no server answers."""
    monkeypatch.syspath_prepend(root / "data_scripts")
    monkeypatch.delenv("MULTIELBO_RAW", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import mfeat as script

    monkeypatch.setattr(script, "CLASS_SIZE", SIZE)
    nowhere = ("http://127.0.0.1:9/file",)  # the discard port: nobody answers
    monkeypatch.setattr(script, "MFEAT", replace(script.MFEAT, urls=nowhere))
    return script.main


def table(view: str) -> np.ndarray:
    """A view's numbers, all different."""
    rows = 10 * SIZE
    numbers = np.arange(rows * VIEWS[view]).reshape(rows, -1) - 50
    return numbers / 8


def text(view: str) -> bytes:
    """The same as UCI writes it: padded columns, one digit a line."""
    stream = io.StringIO()
    np.savetxt(stream, table(view), fmt="%12.4f")
    return stream.getvalue().encode()


def texts() -> dict[str, bytes]:
    return {f"mfeat-{view}": text(view) for view in VIEWS}


def labels() -> np.ndarray:
    return np.repeat(np.arange(10, dtype=np.uint8), SIZE)


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def lay_out(folder: Path, form: str) -> None:
    """Put the originals into a folder in one of the forms in which they are found."""
    (folder / "mfeat").mkdir(parents=True)
    if form == "texts":
        for name, content in texts().items():
            (folder / "mfeat" / name).write_bytes(content)
    elif form == "archive":
        (folder / "mfeat/multiple+features.zip").write_bytes(zipped(texts()))
    elif form == "archive with a tar file":
        inside = tarred({f"mfeat/{name}": content for name, content in texts().items()})
        (folder / "mfeat/mfeat.zip").write_bytes(zipped({"mfeat.info": b"", "mfeat.tar": inside}))
    else:
        arrays = {view: table(view) for view in VIEWS} | {"y": labels()}
        np.savez_compressed(folder / "mfeat/mfeat.npz", **arrays)


def one_line(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# The command


@pytest.mark.parametrize("form", ["texts", "archive", "archive with a tar file", "npz"])
def test_every_form_of_the_originals_gives_the_same_data(main, tmp_path, form):
    lay_out(tmp_path / "raw", form)
    assert main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 0
    data = mfeat(tmp_path / "data")
    assert data.name == "mfeat-all"
    assert list(data.modalities) == list(VIEWS)
    for view, columns in VIEWS.items():
        assert data.shapes[view] == (columns,)
        np.testing.assert_array_equal(data[view].numpy(), table(view).astype(np.float32))
    assert np.array_equal(data.labels.numpy(), labels())
    assert data.take(slice(None)).sha256 == data.sha256


def test_a_second_run_needs_no_originals(main, tmp_path, capsys):
    lay_out(tmp_path / "raw", "npz")
    main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "data")])
    assert main(["--out", str(tmp_path / "data")]) == 0
    assert "its checksums are right" in capsys.readouterr().out


# Bad input


def test_a_missing_view_that_no_server_has_is_named(main, tmp_path, capsys):
    lay_out(tmp_path / "raw", "texts")
    (tmp_path / "raw/mfeat/mfeat-zer").unlink()
    assert main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 2
    assert "multiple+features.zip could not be downloaded" in one_line(capsys)


def test_a_truncated_archive_is_named(main, tmp_path, capsys):
    lay_out(tmp_path / "raw", "archive")
    path = tmp_path / "raw/mfeat/multiple+features.zip"
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 2
    assert f"{path} is not a complete zip file" in one_line(capsys)


def test_swapped_views_are_told_by_their_columns(main, tmp_path, capsys):
    lay_out(tmp_path / "raw", "texts")
    (tmp_path / "raw/mfeat/mfeat-fou").write_bytes(text("kar"))
    assert main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]) == 2
    assert "mfeat-fou, row 1 has 64 numbers, expected the 76 of fou" in one_line(capsys)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], r"is a table \(29, 6\), expected the \(30, 6\) of mor"),
        (lambda lines: [*lines[:-1], lines[-1][:-13]], "row 30 has 5 numbers, expected the 6"),
        (lambda lines: [lines[0].replace(b"-6.2500", b"    six"), *lines[1:]], "no table of num"),
        (lambda lines: [lines[0].replace(b"-6.2500", b"    inf"), *lines[1:]], "not finite"),
        (lambda lines: [], r"is a table \(0,\)"),
    ],
)
def test_a_text_file_of_another_form_is_refused_in_one_line(damage, message):
    content = b"\n".join(damage(text("mor").splitlines()))
    with pytest.raises(ValueError, match=message) as error:
        read_view(content, "mor", "mfeat-mor")
    assert "\n" not in str(error.value)
    assert "mfeat-mor" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zer": None}, "has no array zer"),
        ({"y": None}, "has no array y"),
        ({"y": labels()[::-1]}, "not in UCI's order"),
        ({"kar": np.zeros((30, 63))}, r"kar is a table \(30, 63\), expected the \(30, 64\)"),
    ],
)
def test_a_numpy_archive_of_another_form_is_refused(tmp_path, change, message):
    arrays = {view: table(view) for view in VIEWS} | {"y": labels()} | change
    path = tmp_path / "mfeat.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message):
        read_npz(path)


def test_a_truncated_numpy_archive_is_named(tmp_path):
    np.savez(tmp_path / "mfeat.npz", y=labels())
    content = (tmp_path / "mfeat.npz").read_bytes()
    (tmp_path / "mfeat.npz").write_bytes(content[:-20])
    with pytest.raises(ValueError, match="is no complete NumPy archive"):
        read_npz(tmp_path / "mfeat.npz")


def test_data_that_were_never_prepared_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python data_scripts/mfeat\.py --out"):
        mfeat(tmp_path)


# The stand-in


def test_the_stand_ins_views_are_what_they_are_called():
    views, digits = digit_views()
    images = load_digits().images / 16
    assert {name: x.shape for name, x in views.items()} == {
        "pix": (1797, 64),
        "fou": (1797, 40),
        "pro": (1797, 16),
        "zon": (1797, 16),
        "kar": (1797, 16),
        "mor": (1797, 6),
    }
    assert np.array_equal(digits, load_digits().target)
    # Fourier: a shifted digit has the same moduli, the twin with phases has not.
    shifted = np.abs(np.fft.fft2(np.roll(images, (3, 5), (1, 2))))[..., :5].reshape(1797, -1)
    np.testing.assert_allclose(views["fou"], shifted, atol=1e-12)
    assert not np.allclose(np.fft.rfft2(images), np.fft.rfft2(np.roll(images, 3, 1)))
    # Karhunen-Loeve: scikit-learn's principal components, up to their signs.
    expected = PCA(16).fit_transform(images.reshape(1797, -1))
    np.testing.assert_allclose(np.abs(views["kar"]), np.abs(expected), atol=1e-8)
    # Profiles and zones keep all ink.
    ink = images.sum((1, 2))
    np.testing.assert_allclose(views["pro"][:, :8].sum(1), ink)
    np.testing.assert_allclose(views["pro"][:, 8:].sum(1), ink)
    np.testing.assert_allclose(4 * views["zon"].sum(1), ink)
    np.testing.assert_allclose(views["zon"][:, 1], images[:, :2, 2:4].mean((1, 2)))


def test_morphological_numbers_are_moments_of_the_ink_as_a_distribution():
    views, _ = digit_views()
    image = load_digits().images[7] / 16
    places = np.argwhere(np.ones_like(image))
    moments = np.cov(places.T, aweights=image.ravel(), bias=True)
    expected = [
        image.sum(),
        *np.average(places, axis=0, weights=image.ravel()),
        moments[0, 0],
        moments[1, 1],
        moments[0, 1],
    ]
    np.testing.assert_allclose(views["mor"][7], expected, rtol=1e-12)


# The page


def user_code(root: Path) -> list[str]:
    """The lines that a reader copies, imports included, without blank lines and comments."""
    cells = jupytext.read(root / PAGE).cells
    chosen = [c.source for c in cells if "user-code" in c.metadata.get("tags", ())]
    assert len(chosen) == 3
    lines = "\n".join(chosen).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_the_code_that_a_reader_copies_is_under_forty_lines(root):
    assert len(user_code(root)) < 40


def test_the_code_that_a_reader_copies_runs_on_its_own_with_six_arrays(root):
    """Nothing but `views`, `labels`, a seed and a number of epochs comes from hidden cells."""
    torch.manual_seed(0)
    wanted = np.arange(320) % 10
    means = np.random.Generator(np.random.PCG64(0)).normal(size=(10, 6, 4))
    noise = np.random.Generator(np.random.PCG64(1)).normal(size=(320, 6, 4))
    tables = means[wanted] + 0.3 * noise
    known = {"views": {f"v{k}": tables[:, k] for k in range(6)}, "labels": wanted}
    namespace = known | {"seed": 0, "epochs": 8}
    exec("\n".join(user_code(root)), namespace)
    assert len(namespace["accuracies"]) == 63
    assert namespace["accuracies"]["v0", "v1", "v2", "v3", "v4", "v5"] > 0.8
    assert max(namespace["shares"].values()) < 1
