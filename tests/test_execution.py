"""A notebook is executed when its outputs may change, and fails in one line."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

from multielbo import digests
from multielbo.publishing import notebooks
from multielbo.publishing.execution import NotebookError, execute
from multielbo.publishing.notebooks import notebook_digest, python_cells

# Each execution leaves a line in runs.txt, so that the tests can count them.
TINY = r'''# %% [markdown]
# # A tiny notebook

# %% tags=["parameters"]
profile = "quick"
seed = 0

# %%
from pathlib import Path

from multielbo.profiles import check_profile

# %% tags=["hide-input"]
def twice(x):
    """Two times x."""
    return 2 * x  # a comment


with Path("runs.txt").open("a") as runs:
    runs.write("run\n")
check_profile(profile), twice(21 + seed)
'''


class Desk:
    """A folder with one notebook, its twin, and the count of its executions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notebook = root / "notebooks" / "part" / "tiny.py"
        self.twin = root / "book" / "chapters" / "part" / "tiny.ipynb"
        self.notebook.parent.mkdir(parents=True)
        self.notebook.write_text(TINY, encoding="utf-8")

    def edit(self, old: str, new: str) -> None:
        text = self.notebook.read_text(encoding="utf-8")
        assert old in text
        self.notebook.write_text(text.replace(old, new), encoding="utf-8")

    def execute(self, **parameters: object) -> bool:
        return execute(self.notebook, self.twin, parameters, self.root).executed

    @property
    def runs(self) -> int:
        file = self.root / "runs.txt"
        return len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0

    @property
    def shown(self) -> str:
        cells = nbformat.read(self.twin, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        return "".join(output.data["text/plain"] for output in outputs)

    def left_behind(self) -> list[str]:
        return [file.name for file in (self.root / "book").rglob("*") if file.is_file()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_only_what_may_change_an_output_executes_a_notebook(desk: Desk) -> None:
    assert desk.execute(profile="quick")
    assert (desk.runs, desk.shown) == (1, "('quick', 42)")

    assert not desk.execute(profile="quick")
    desk.edit("# # A tiny notebook", "# # A renamed notebook")
    desk.edit("# a comment", "# twice, in other words")
    desk.edit("Two times x.", "The double of x.")
    desk.edit('tags=["hide-input"]', 'tags=["hide-cell"]')
    assert not desk.execute(profile="quick")
    text = desk.twin.read_text(encoding="utf-8")
    assert all(word in text for word in ("renamed", "in other words", "double", "hide-cell"))
    assert (desk.runs, desk.shown) == (1, "('quick', 42)")

    desk.edit("21 + seed", "22 + seed")
    assert desk.execute(profile="quick")
    assert (desk.runs, desk.shown) == (2, "('quick', 44)")

    assert desk.execute(profile="laptop", seed=1)
    assert (desk.runs, desk.shown) == (3, "('laptop', 46)")


def test_twin_says_how_it_was_made_and_hides_the_injected_cell(desk: Desk) -> None:
    desk.execute(profile="quick")
    twin = nbformat.read(desk.twin, as_version=4)
    nbformat.validate(twin)
    assert set(twin.metadata["multielbo"]) == {
        *("digest", "parameters", "seconds", "finished"),
        *("device", "machine", "python", "versions"),
    }
    injected = [cell for cell in twin.cells if "injected" in str(cell.metadata)]
    assert [cell.metadata["tags"] for cell in injected] == [["injected-parameters", "remove-cell"]]
    assert str(desk.root) not in desk.twin.read_text(encoding="utf-8")


def digest_of(text: str, root: Path = Path("nowhere")) -> str:
    cells = python_cells(jupytext.reads(text, fmt="py:percent"), "tiny.py")
    return notebook_digest(cells, {"profile": "quick"}, root)


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("profiles", '"full")', '"huge")', True),
        ("profiles", "Return the profile", "Give the profile back", False),
        ("digests", 'PACKAGE = "multielbo"', 'PACKAGE = "other"', False),
    ],
)
def test_modules_count_if_the_notebook_reaches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, old: str, new: str, counts: bool
) -> None:
    copy = tmp_path / "multielbo"
    shutil.copytree(digests.SOURCE / "multielbo", copy)
    monkeypatch.setattr(digests, "SOURCE", tmp_path)
    before = digest_of(TINY)
    text = (copy / f"{module}.py").read_text(encoding="utf-8")
    assert old in text
    (copy / f"{module}.py").write_text(text.replace(old, new), encoding="utf-8")
    assert (digest_of(TINY) != before) is counts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("check_profile(profile), twice(21 + seed)", "check_profile(profile), twice(21 + seed);"),
        ("# %%\nfrom pathlib", "# %%\n# %matplotlib inline\nfrom pathlib"),
        ('tags=["hide-input"]', 'tags=["raises-exception"]'),
    ],
)
def test_what_no_syntax_tree_shows_counts_too(old: str, new: str) -> None:
    assert old in TINY
    assert digest_of(TINY.replace(old, new)) != digest_of(TINY)


@pytest.mark.parametrize(("line", "counts"), [("from multielbo import records", True), ("", False)])
def test_records_count_if_the_notebook_can_read_them(
    tmp_path: Path, line: str, counts: bool
) -> None:
    text = TINY + line
    before = digest_of(text, tmp_path)
    record = tmp_path / "book" / "results" / "mopoe" / "full" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}", encoding="utf-8")
    assert (digest_of(text, tmp_path) != before) is counts


def test_a_page_that_reads_a_record_rests_on_the_code_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TINY + "from multielbo import records"
    record = tmp_path / "book" / "results" / "mopoe" / "full" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"modules": ["multielbo.gaussians"]}', encoding="utf-8")
    before = digest_of(text, tmp_path)
    digests = {"multielbo.gaussians": "another"}
    known = notebooks.code_digest
    monkeypatch.setattr(
        notebooks,
        "code_digest",
        lambda *modules, **rest: digests.get(*modules) if modules else known(**rest),
    )
    assert digest_of(text, tmp_path) != before


def test_versions_of_the_numerical_packages_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(TINY)
    monkeypatch.setattr("multielbo.publishing.notebooks.version", lambda package: "0.0")
    assert digest_of(TINY) != before


def test_unknown_parameter_is_refused_before_anything_runs(desk: Desk) -> None:
    line = r"notebooks/part/tiny.py: unknown parameter 'profil': its cell tagged 'parameters' "
    with pytest.raises(ValueError, match=f"^{line}assigns profile, seed$"):
        desk.execute(profil="quick")
    assert desk.left_behind() == []


def test_papermill_alone_takes_an_unknown_parameter(desk: Desk) -> None:
    """The wrong twin: papermill writes the name into the notebook and goes on."""
    page = jupytext.read(desk.notebook)
    taken = papermill.execute_notebook(
        page, None, {"profil": "full"}, kernel_name="python3", language="python", prepare_only=True
    )
    assert any('profil = "full"' in cell.source for cell in taken.cells)


def test_failing_cell_is_one_line_and_leaves_no_page(desk: Desk) -> None:
    desk.edit("check_profile(profile), ", "assert twice(1) == 3, 'two is\\nnot three'\n")
    with pytest.raises(NotebookError) as caught:
        desk.execute(profile="quick")
    assert re.fullmatch(
        r"notebooks/part/tiny.py: cell 'def twice\(x\):' failed with AssertionError: two is not "
        r"three \(traceback in build/executed/part-tiny.ipynb\)",
        str(caught.value),
    )
    assert desk.left_behind() == []
    assert (desk.root / "build" / "executed" / "part-tiny.ipynb").is_file()


def test_cell_that_is_not_python_is_one_line(desk: Desk) -> None:
    desk.edit("return 2 * x", "return 2 x")
    with pytest.raises(ValueError, match=r"^notebooks/part/tiny.py: cell 'def twice\(x\):' is not"):
        desk.execute(profile="quick")


def test_page_of_an_earlier_run_survives_a_full_disk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.execute(profile="quick")
    page = desk.twin.read_bytes()
    desk.edit("# # A tiny notebook", "# # A renamed notebook")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"cannot write .*tiny.ipynb \(No space left on device\): "):
        desk.execute(profile="quick")
    assert desk.twin.read_bytes() == page
    assert desk.left_behind() == ["tiny.ipynb"]


def test_folder_that_cannot_be_written_is_named_before_anything_runs(desk: Desk) -> None:
    (desk.root / "book").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(OSError, match=r"cannot write .*tiny.ipynb \(Not a directory\): make room"):
        desk.execute(profile="quick")
    assert desk.runs == 0


def test_twin_that_is_no_notebook_is_made_anew(desk: Desk) -> None:
    desk.twin.parent.mkdir(parents=True)
    desk.twin.write_text("{half a noteb", encoding="utf-8")
    assert desk.execute(profile="quick")
    assert desk.shown == "('quick', 42)"
