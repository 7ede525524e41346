"""The book holds what its table of contents says, and its command fails in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from multielbo.cli import main
from multielbo.profiles import check_profile
from multielbo.publishing.book import TRAINING, chapters, execute_all, overrun, titles, twin
from multielbo.publishing.execution import NotebookError
from multielbo.publishing.render import configuration, status_table

TOC = """format: jb-book
root: index
parts:
  - caption: Aggregation
    chapters:
      - file: chapters/aggregation/mopoe
      - file: chapters/aggregation/mmvae
        sections:
          - file: notation
  - caption: Reproductions
    chapters:
      - file: chapters/reproductions/polydigits
"""
NOTEBOOK = '# %% tags=["parameters"]\nprofile = "quick"\nseed = 0\n\n# %%\nprofile\n'
NAMES = ("aggregation/mopoe", "aggregation/mmvae", "reproductions/polydigits")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of three notebooks, which is the current folder."""
    write(tmp_path / "book" / "_toc.yml", TOC)
    for page in ("index", "notation"):
        write(tmp_path / "book" / f"{page}.md", "# A page\n")
    for name in NAMES:
        write(tmp_path / "notebooks" / f"{name}.py", NOTEBOOK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_notebooks_come_in_the_order_of_the_table_of_contents(tree: Path) -> None:
    assert chapters(tree) == NAMES


def test_title_of_a_page_is_its_first_heading(tree: Path) -> None:
    text = "# ---\n# jupyter: {}\n# ---\n\n# %% [markdown]\n# # MoPoE: a mixture\n#\n# Text.\n"
    write(tree / "notebooks" / "aggregation" / "mopoe.py", text)
    assert titles(tree)["chapters/aggregation/mopoe"] == "MoPoE: a mixture"
    assert titles(tree)["index"] == "A page"


def test_every_notebook_of_this_book_is_in_its_table_of_contents(root: Path) -> None:
    assert len(chapters(root)) == len(list((root / "notebooks").rglob("*.py")))


def test_notebook_outside_the_table_of_contents_is_an_error(tree: Path) -> None:
    write(tree / "notebooks" / "bounds" / "iwae.py", NOTEBOOK)
    with pytest.raises(ValueError, match=r"^notebooks/bounds/iwae.py is not in book/_toc.yml: add"):
        chapters(tree)


@pytest.mark.parametrize("file", ["notebooks/aggregation/mmvae.py", "book/notation.md"])
def test_page_without_a_file_is_an_error(tree: Path, file: str) -> None:
    (tree / file).unlink()
    with pytest.raises(ValueError, match=rf"^book/_toc.yml lists .*, but there is no {file}$"):
        chapters(tree)


def test_all_notebooks_are_executed_once(tree: Path) -> None:
    lines: list[str] = []
    execute_all(tree, {"profile": "quick"}, jobs=2, report=lines.append)
    assert sorted(line.split()[:2] for line in lines) == [
        ["executed", name] for name in sorted(NAMES)
    ]
    assert all(twin(name, tree).is_file() for name in NAMES)
    lines.clear()
    execute_all(tree, {"profile": "quick"}, jobs=1, report=lines.append)
    assert sorted(lines) == [f"up to date  {name}" for name in sorted(NAMES)]


def test_failing_notebooks_are_all_named_in_the_order_of_the_book(tree: Path) -> None:
    for name in NAMES[:2]:
        write(tree / "notebooks" / f"{name}.py", NOTEBOOK + "\n# %%\n1 / 0\n")
    with pytest.raises(NotebookError) as caught:
        execute_all(tree, {"profile": "quick"}, report=str)
    assert [line.split(" (")[0] for line in str(caught.value).splitlines()] == [
        f"notebooks/{name}.py: cell '1 / 0' failed with ZeroDivisionError: division by zero"
        for name in NAMES[:2]
    ]
    assert not any(twin(name, tree).exists() for name in NAMES[:2])


def test_notebooks_that_train_are_in_the_book(root: Path) -> None:
    assert set(TRAINING) <= set(chapters(root))


@pytest.mark.parametrize(
    ("name", "profile", "seconds", "late"),
    [
        ("aggregation/mopoe", "quick", 59.0, 0.0),
        ("aggregation/mopoe", "quick", 75.0, 15.0),
        ("aggregation/mopoe", "laptop", 500.0, 0.0),
        ("reproductions/polydigits", "quick", 75.0, 0.0),
        ("reproductions/polydigits", "quick", 500.0, 20.0),
    ],
)
def test_quick_notebook_over_its_budget_is_reported(
    name: str, profile: str, seconds: float, late: float
) -> None:
    assert overrun(name, {"profile": profile}, seconds) == late


def test_unknown_profile_names_the_three() -> None:
    assert check_profile("laptop") == "laptop"
    with pytest.raises(
        ValueError, match=r"^unknown profile 'quik': choose one of quick, laptop, full$"
    ):
        check_profile("quik")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["book", "--profile", "quik"], "multielbo: unknown profile 'quik': choose one of"),
        (["run", "aggregation/mopoe", "-p", "profile", "huge"], "multielbo: unknown profile"),
        (["run", "aggregation/mopoe", "-p", "sed", "1"], "multielbo: notebooks/aggregation/mopoe"),
        (["run", "mopoe"], "multielbo: notebooks/mopoe.py: there is no such notebook"),
        (["run", "aggregation/mopoe", "--out", "book/index.md/x.ipynb"], "multielbo: cannot write"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    tree: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_outside_a_repository_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ledger"]) == 2
    assert "run from the repository" in capsys.readouterr().err


def test_failing_notebook_is_exit_code_1(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tree / "notebooks" / "aggregation" / "mopoe.py", NOTEBOOK + "\n# %%\n1 / 0\n")
    assert main(["run", "aggregation/mopoe"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_run_leaves_the_book_alone_and_prints_where_its_page_lies(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "aggregation/mopoe", "-p", "profile", "laptop", "-p", "seed", "3"]) == 0
    page = nbformat.read(capsys.readouterr().out.strip(), as_version=4)
    assert page.metadata["multielbo"]["parameters"] == {"profile": "laptop", "seed": 3}
    assert not (tree / "book" / "chapters").exists()


def test_address_of_the_repository_comes_from_the_environment_alone(root: Path) -> None:
    plain = configuration(root, {})
    assert plain == root / "_config.yml"
    assert "://" not in plain.read_text(encoding="utf-8")


def test_publisher_gets_buttons_that_lead_to_its_own_repository(tree: Path, root: Path) -> None:
    write(tree / "_config.yml", (root / "_config.yml").read_text(encoding="utf-8"))
    written = configuration(tree, {"GITHUB_REPOSITORY": "reader/fork"})
    settings = yaml.safe_load(written.read_text(encoding="utf-8"))
    assert settings["repository"] == {
        "url": "https://github.com/reader/fork",
        "path_to_book": "book",
        "branch": "published",
    }
    assert {"colab_url", "binderhub_url"} < set(settings["launch_buttons"])
    own = str(tree / "book" / "_ext")
    assert settings["sphinx"]["local_extensions"] == {"offline": own, "playground": own}


def test_malformed_repository_is_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"^GITHUB_REPOSITORY is 'fork': it has to be owner/name$"):
        configuration(tree, {"GITHUB_REPOSITORY": "fork"})


def test_status_shows_profile_time_and_every_version_used(tree: Path) -> None:
    runs = [(3.0, "2.13.0"), (75.0, "2.13.0"), (75.0, "2.11.0")]
    for name, (seconds, torch) in zip(NAMES, runs, strict=True):
        page = nbformat.v4.new_notebook()
        page.metadata["multielbo"] = {
            "parameters": {"profile": "quick"},
            "seconds": seconds,
            "finished": "2026-01-02T03:04:05+00:00",
            "device": "CPU",
            "machine": "Linux x86_64, 2 cores",
            "python": "3.11.7",
            "versions": {"torch": torch},
        }
        write(twin(name, tree), nbformat.writes(page))
    text = status_table(tree)
    assert (
        "| {doc}`/chapters/aggregation/mmvae` | quick | 75.0 (15 over budget) | 2026-01-02 03:04:05"
        " | CPU, Linux x86_64, 2 cores, Python 3.11.7 |"
    ) in text
    assert "| torch | 2.13.0, 2.11.0 |" in text


def test_command_prints_the_ledger_and_fails_on_an_orphan(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger"]) == 0
    write(tree / "book" / "notation.md", "$$ x $$ (eq-orphan)\n")
    assert main(["ledger"]) == 1
    assert "eq-orphan is marked by no test" in capsys.readouterr().err


def test_module_is_a_command() -> None:
    command = [sys.executable, "-m", "multielbo.cli", "book", "--profile", "quik"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (2, "")
