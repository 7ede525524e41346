"""The hooks of .pre-commit-config.yaml hold for every file of the repository, staged or not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from identify import identify
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / ".pre-commit-config.yaml"
HOOKS = {
    hook["id"]: hook
    for repo in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    for hook in repo["hooks"]
}
SEARCHES = sorted(name for name, hook in HOOKS.items() if hook["language"] == "pygrep")


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Everything git tracks or would track: a new file is checked before its first commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone: which files belong to the repository is unknown")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [ROOT / name for name in sorted(set(filter(None, listed.split("\0"))))]
    found = [path for path in found if path.is_file()]
    assert ROOT / "pyproject.toml" in found, "git lists no pyproject.toml: wrong folder?"
    return found


@pytest.mark.parametrize("name", SEARCHES)
def test_no_file_holds_what_a_search_hook_forbids(name, files):
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in selected(HOOKS[name], files)
        for line in hits(HOOKS[name], path)
    ]
    assert not found, f"{HOOKS[name]['name']}: " + ", ".join(found)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no-hidden-failures", "    except:"),
        ("no-hidden-failures", "except Exception:"),
        ("no-hidden-failures", "except BaseException :"),
        ("no-hidden-failures", "except Assertion" + "Error as error:"),
        ("no-stubs", "assert " + "True"),
        ("no-stubs", "x = 1  # " + "TODO: choose"),
        ("no-stubs", "raise NotImplemented" + "Error"),
        ("no-stubs", "@pytest.mark." + "xfail(strict=True)"),
        ("no-local-paths", 'open("' + "/" + 'home/ada/data/mnist.pt")'),
        ("no-local-paths", "see `" + "/" + "tmp/run/record.json`"),
        ("no-filler", "This is clearly" + " an upper bound."),
    ],
)
def test_each_search_hook_finds_the_line_it_exists_for(name, line, tmp_path):
    path = tmp_path / "twin.py"
    path.write_text(f"first = 1\n{line}\n", encoding="utf-8")
    assert hits(HOOKS[name], path) == [2]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no-hidden-failures", "except Exception as error:"),
        ("no-hidden-failures", "except ValueError:"),
        ("no-stubs", "assert truth == loc"),
        ("no-local-paths", 'root / "home/index.html"'),
        ("no-local-paths", "https://example.org/home/index.html"),
        ("no-filler", "The simplest clear model."),
    ],
)
def test_no_search_hook_finds_an_honest_line(name, line, tmp_path):
    path = tmp_path / "honest.py"
    path.write_text(f"{line}\n", encoding="utf-8")
    assert hits(HOOKS[name], path) == []


def test_no_notebook_with_outputs_is_kept(files):
    assert not selected(HOOKS["no-notebooks"], files)
    assert selected(HOOKS["no-notebooks"], [ROOT / "notebooks/foundations/elbo.ipynb"])


def test_no_file_is_larger_than_the_hook_allows(files, tmp_path):
    assert not too_large(files)
    twin = tmp_path / "arrays.npz"
    twin.write_bytes(bytes(501 * 1024))
    assert too_large([twin]) == [twin]


def test_text_files_end_with_one_newline_and_hold_no_trailing_whitespace(files, tmp_path):
    text = [path for path in files if "text" in identify.tags_from_path(str(path))]
    assert not [str(path.relative_to(ROOT)) for path in text if ragged(path)]
    for content in ("x", "x\n\n", "x \ny\n"):
        (tmp_path / "twin.txt").write_text(content, encoding="utf-8")
        assert ragged(tmp_path / "twin.txt")


@pytest.mark.parametrize(
    ("module", "arguments", "twin"),
    [
        ("ruff", ["check", "--output-format=concise", "--force-exclude"], "import os\n"),
        (
            "ruff",
            ["format", "--check", "--output-format=concise", "--force-exclude"],
            "x = [1,2]\n",
        ),
        ("codespell_lib", ["--toml", str(ROOT / "pyproject.toml")], "# we re" + "cieve it\n"),
    ],
)
def test_the_linters_are_silent(module, arguments, twin, files, tmp_path):
    if module == "ruff":
        files = [path for path in files if path.suffix == ".py"]
        arguments = [*arguments, "--config", str(ROOT / "pyproject.toml")]
    linted = run(module, *arguments, *(str(path.relative_to(ROOT)) for path in files))
    assert linted.returncode == 0, linted.stdout + linted.stderr

    path = tmp_path / "twin.py"
    path.write_text(twin, encoding="utf-8")
    assert run(module, *arguments, str(path)).returncode != 0


def test_the_hooks_are_valid_and_run_the_pinned_versions():
    checked = run("pre_commit", "validate-config", str(CONFIG))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    pins = {
        canonicalize_name(line.split("==")[0]): line.split("==")[1].strip()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    for name, hook in HOOKS.items():
        for dependency in map(Requirement, hook.get("additional_dependencies", [])):
            pinned = pins.get(canonicalize_name(dependency.name))
            assert str(dependency.specifier).startswith("=="), f"{name}: {dependency} is no pin"
            assert pinned in (None, str(dependency.specifier)[2:]), (
                f"hook {name} runs {dependency}, constraints.txt holds {pinned}"
            )


def test_the_style_rules_are_numbered_without_a_gap():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\*\*S(\d+)\.", contributing, re.MULTILINE)]
    assert numbers == list(range(1, 21))


def selected(hook: dict, files: Iterable[Path]) -> list[Path]:
    """The files that pre-commit would hand to this hook."""

    def chosen(path: Path) -> bool:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        if not re.search(hook.get("files", ""), name):
            return False
        if hook.get("exclude") and re.search(hook["exclude"], name):
            return False
        return not hook.get("types") or set(hook["types"]) <= identify.tags_from_path(str(path))

    return [path for path in files if chosen(path)]


def hits(hook: dict, path: Path) -> list[int]:
    """Line numbers that this search hook would report."""
    pattern = re.compile(hook["entry"].encode())
    lines = path.read_bytes().splitlines()
    return [number for number, line in enumerate(lines, 1) if pattern.search(line)]


def too_large(files: Iterable[Path]) -> list[Path]:
    limit = int(re.search(r"--maxkb=(\d+)", HOOKS["large-files"]["entry"]).group(1))
    return [path for path in files if path.stat().st_size > 1024 * limit]


def ragged(path: Path) -> bool:
    content = path.read_bytes()
    if not content:
        return False
    ends_well = content.endswith(b"\n") and not content.endswith(b"\n\n")
    return not ends_well or bool(re.search(rb"[ \t]+\r?$", content, re.MULTILINE))


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
