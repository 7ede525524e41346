"""A digest of code changes when behaviour may change, and never for a comment."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from multielbo import digests
from multielbo.digests import canonical, code_digest, imported_modules, reachable_modules

MODULES = {
    "__init__": '"""The package."""\n',
    "gaussians": '"""Gaussians."""\nSCALE = 1.0  # a comment\n',
    "barycenters": "from multielbo.gaussians import SCALE\n",
    "models/__init__": "",
    "models/mopoe": (
        "from .. import barycenters\n\n\n"
        "def bound():\n    'The bound.'\n    return barycenters.SCALE\n"
    ),
    "plots": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import multielbo.gaussians\n"
    ),
    "train": "def fit():\n    import multielbo.plots\n    return multielbo.plots\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package whose modules import each other in every way."""
    for name, text in MODULES.items():
        file = tmp_path / "multielbo" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def edit(tree: Path, module: str, old: str, new: str) -> None:
    file = tree / "multielbo" / f"{module}.py"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def mopoe(tree: Path) -> str:
    return code_digest("multielbo.models.mopoe", root=tree)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("gaussians", "# a comment", "# another comment\n# over two lines"),
        ("gaussians", '"""Gaussians."""', '"""Gaussian densities."""'),
        ("gaussians", '"""Gaussians."""\n', ""),
        ("gaussians", "SCALE = 1.0", "SCALE   =   1.0"),
        ("models/mopoe", "'The bound.'", "'''The bound,\n    in nats.'''"),
    ],
)
def test_comments_docstrings_and_layout_leave_the_digest(
    tree: Path, module: str, old: str, new: str
) -> None:
    before = mopoe(tree)
    edit(tree, module, old, new)
    assert mopoe(tree) == before


def test_hashing_bytes_would_execute_again_for_a_comment(tree: Path) -> None:
    """The wrong twin: a digest of the files changes with every comment."""

    def bytes_digest() -> str:
        files = sorted((tree / "multielbo").rglob("*.py"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    before = bytes_digest()
    edit(tree, "gaussians", "# a comment", "# another comment")
    assert bytes_digest() != before


def test_constant_two_imports_away_changes_the_digest(tree: Path) -> None:
    before = mopoe(tree)
    edit(tree, "gaussians", "SCALE = 1.0", "SCALE = 2.0")
    assert mopoe(tree) != before


def test_hashing_one_file_would_miss_a_change_two_imports_away(tree: Path) -> None:
    """The wrong twin: the module's own tree stays the same."""
    own = tree / "multielbo" / "models" / "mopoe.py"
    before = canonical(own.read_text(encoding="utf-8"))
    edit(tree, "gaussians", "SCALE = 1.0", "SCALE = 2.0")
    assert canonical(own.read_text(encoding="utf-8")) == before


@pytest.mark.parametrize("module", ["plots", "train"])
def test_unrelated_module_leaves_the_digest(tree: Path, module: str) -> None:
    before = mopoe(tree)
    (tree / "multielbo" / f"{module}.py").write_text("changed = True\n", encoding="utf-8")
    assert mopoe(tree) == before


def test_package_that_an_import_passes_through_counts(tree: Path) -> None:
    before = mopoe(tree)
    (tree / "multielbo" / "models" / "__init__.py").write_text("loud = True\n", encoding="utf-8")
    assert mopoe(tree) != before


def test_new_file_for_a_name_imported_before_changes_the_digest(tree: Path) -> None:
    source = "from multielbo import oracle\n"
    before = code_digest(source=source, root=tree)
    (tree / "multielbo" / "oracle.py").write_text("", encoding="utf-8")
    assert code_digest(source=source, root=tree) != before


def test_a_text_is_parsed_once_and_read_each_time(tree: Path, monkeypatch) -> None:
    reachable_modules("multielbo.models.mopoe", root=tree)
    monkeypatch.setattr(digests.ast, "parse", lambda _: pytest.fail("it was parsed again"))
    assert "multielbo.gaussians" in reachable_modules("multielbo.models.mopoe", root=tree)
    edit(tree, "barycenters", "from multielbo.gaussians import SCALE", "SCALE = 3.0  # its own")
    monkeypatch.undo()
    assert "multielbo.gaussians" not in reachable_modules("multielbo.models.mopoe", root=tree)


def test_where_relative_imports_start_is_looked_up_each_time(tree: Path) -> None:
    """Wrong twin: what one text means where a module was first would be kept for the package."""
    source = "from . import gaussians\n"
    module = tree / "multielbo" / "inner.py"
    module.write_text(source, encoding="utf-8")
    named = imported_modules(source, module="multielbo.inner", root=tree)
    assert named == ("multielbo", "multielbo.gaussians")
    module.unlink()
    (tree / "multielbo" / "inner").mkdir()
    (tree / "multielbo" / "inner" / "__init__.py").write_text(source, encoding="utf-8")
    (tree / "multielbo" / "inner" / "gaussians.py").write_text("", encoding="utf-8")
    named = imported_modules(source, module="multielbo.inner", root=tree)
    assert named == ("multielbo", "multielbo.inner", "multielbo.inner.gaussians")


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import multielbo.gaussians as g", {"gaussians"}),
        ("from multielbo import gaussians, barycenters", {"gaussians", "barycenters"}),
        ("from multielbo.gaussians import SCALE", {"gaussians"}),
        ("from multielbo.models import mopoe", {"models", "models.mopoe"}),
        ("def f():\n    from multielbo import plots", {"plots"}),
        ("import importlib\nimportlib.import_module('multielbo.plots')", {"plots"}),
        ("import numpy, multielbo_other.gaussians", None),
        ("if TYPE_CHECKING:\n    import multielbo.plots", None),
    ],
)
def test_every_form_of_import_is_seen(tree: Path, source: str, modules: set[str] | None) -> None:
    expected = (
        () if modules is None else ("multielbo", *(f"multielbo.{m}" for m in sorted(modules)))
    )
    assert imported_modules(source, root=tree) == expected


def test_import_in_a_function_is_followed_and_one_for_types_is_not(tree: Path) -> None:
    assert reachable_modules("multielbo.train", root=tree) == (
        "multielbo",
        "multielbo.plots",
        "multielbo.train",
    )


def test_missing_module_is_one_line(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no module 'multielbo\.mopeo' under .*name$"):
        code_digest("multielbo.mopeo", root=tree)


def test_digest_is_that_of_every_machine_and_python() -> None:
    """Written down once: f-strings and generic syntax are what versions of Python write apart."""
    source = "def f(x: int) -> str:\n    return f'a{x=}' f\"{x:>{3}.2f}\" 'b' u'\u2016'\n"
    digest = hashlib.sha256(canonical(source).encode()).hexdigest()
    assert digest.startswith("6019df836e38bfc7")


def test_strings_that_a_cell_shows_are_kept_and_docstrings_are_not() -> None:
    assert canonical("'shown'", interactive=True) != canonical("'other'", interactive=True)
    assert canonical("'shown'") == canonical("'other'") == canonical("")
    with_docstring = "def f():\n    'doc'\n    return 1"
    assert canonical(with_docstring, interactive=True) == canonical("def f():\n    return 1")


@pytest.mark.parametrize(
    ("left", "right"),
    [("x = 1", "x = 1.0"), ("x = 1", "x = True"), ("x = 'a'", "x = b'a'"), ("x = a", "x = 'a'")],
)
def test_different_constants_have_different_trees(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)
