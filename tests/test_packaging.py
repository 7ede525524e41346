"""pyproject.toml, constraints.txt and environment.yml describe one set of packages."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
DESCRIPTIONS = ("pyproject.toml", "constraints.txt", "environment.yml")
CONDA_NAMES = {"pytorch": "torch", "pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
CONDA_ONLY = {"python", "pip", "make"}
EXPECTED_OF_CONDA = {  # what a reader looks for by name
    "jupyter-book",
    "jupytext",
    "matplotlib",
    "papermill",
    "pot",
    "seaborn",
    "torch",
    "torchvision",
}


def test_the_three_descriptions_agree():
    assert disagreements(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("constraints.txt", r"^torch==.*$", "torch==1.13.1", "torch==1.13.1 is outside"),
        ("constraints.txt", r"^zuko==.*\n", "", "zuko has no pin"),
        ("constraints.txt", r"^(numpy==.*)$", r"\1\nNumPy==2.0.0", "numpy has 2 pins"),
        ("constraints.txt", r"^scipy==", "scipy>=", "is not one exact version"),
        ("constraints.txt", r"^scipy==", "-e .\nscipy==", "is not one exact version"),
        ("constraints.txt", r"^torch==(\S+)", r"torch==\1+cpu", "fits one kind of machine"),
        ("pyproject.toml", r'"torch>=[^"]*"', '"torch>=99"', "is outside torch>=99"),
        ("pyproject.toml", r'"tqdm>=[^"]*"', '"tqdm", "einops"', "einops has no pin"),
        ("environment.yml", r"- torch==.*$", "- torch==2.12.0", "torch==2.12.0 is not the pin"),
        ("environment.yml", r"- torch==.*$", "- torch>=2", "torch>=2 is not the pin"),
        ("environment.yml", r"- make$", "- pytorch=2.12", "conda's pytorch=2.12 excludes"),
        ("environment.yml", r"- make$", "- scipy>=1.0,<1.5", "excludes scipy==1"),
        ("environment.yml", r"- make$", "- einops", "einops has no pin"),
        ("environment.yml", r"- python=.*$", "- python=3.10", "python=3.10 is outside"),
        ("environment.yml", r".*-c constraints.txt\n", "", "does not read constraints.txt"),
        (
            "environment.yml",
            r"\[book,data,test,grid\]",
            "[book]",
            "without the extras data, grid, test",
        ),
        ("environment.yml", r".*- papermill==.*\n", "", "does not name papermill"),
    ],
)
def test_a_drifted_description_is_noticed(file, old, new, said, tmp_path):
    for name in DESCRIPTIONS:
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    text = (ROOT / file).read_text(encoding="utf-8")
    drifted, count = re.subn(old, new, text, count=1, flags=re.MULTILINE)
    assert count == 1, f"the twin of {file} did not drift: {old} matches nothing"
    (tmp_path / file).write_text(drifted, encoding="utf-8")
    assert any(said in line for line in disagreements(tmp_path)), disagreements(tmp_path)


def test_every_pin_is_needed_by_some_dependency():
    needed = closure(requirements(ROOT))
    assert sorted(set(pins(ROOT)) - needed) == []
    assert "numpy" in needed
    assert "flask" not in needed


def test_every_imported_package_is_declared(tmp_path):
    folders = ("src", "tests", "notebooks", "data_scripts", "book/_ext")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    declared = {canonicalize_name(item.name) for item in requirements(ROOT)} | {"multielbo"}
    assert "; ".join(undeclared(files, declared)) == ""

    (tmp_path / "twin.py").write_text("def lazily():\n    import einops.layers\n", "utf-8")
    assert undeclared([tmp_path / "twin.py"], declared) == ["twin.py imports einops"]


def test_the_citation_names_the_version_and_the_licences_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == [project["license"], "CC-BY-4.0"]
    assert citation["authors"] == project["authors"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")
    assert "CC-BY-4.0" in (ROOT / "book" / "LICENSE").read_text(encoding="utf-8")


def disagreements(root: Path) -> list[str]:
    """One line for each place where the three descriptions differ."""
    found = []
    pinned = pins(root)
    for name, lines in pinned.items():
        if len(lines) != 1:
            found.append(f"constraints.txt: {name} has {len(lines)} pins")
        for line in lines:
            pin = version(line)
            if pin is None:
                found.append(f"constraints.txt: {line} is not one exact version")
            elif pin.local:
                found.append(f"constraints.txt: {line} fits one kind of machine")
    for wanted in requirements(root):
        found += [f"pyproject.toml: {line}" for line in unmet(wanted, pinned)]
    return found + [f"environment.yml: {line}" for line in environment_faults(root, pinned)]


def environment_faults(root: Path, pinned: dict[str, list[str]]) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    of_conda = [spec for spec in listed if isinstance(spec, str)]
    of_pip = [line for spec in listed if isinstance(spec, dict) for line in spec["pip"]]

    found, named = [], set()
    for spec in of_conda:
        conda_name, specifier = parse_conda(spec)
        name = canonicalize_name(CONDA_NAMES.get(conda_name, conda_name))
        named.add(name)
        if conda_name == "python":
            oldest = str(specifier).removeprefix("==").removesuffix(".*")
            if not SpecifierSet(project["requires-python"]).contains(oldest):
                found.append(f"{spec} is outside {project['requires-python']}")
        elif conda_name not in CONDA_ONLY:
            found += [
                f"conda's {spec} excludes {name}=={pin}" if pin else f"{name} has no pin"
                for pin in map(version, pinned.get(name, [""]))
                if pin is None or not specifier.contains(pin)
            ]

    if "-c constraints.txt" not in of_pip:
        found.append("pip does not read constraints.txt")
    extras = set()
    for line in of_pip:
        if line.startswith("-e "):
            extras |= Requirement("multielbo" + line.removeprefix("-e .")).extras
        elif not line.startswith("-c "):
            wanted = Requirement(line)
            named.add(canonicalize_name(wanted.name))
            if version(line) not in map(version, pinned.get(canonicalize_name(wanted.name), [])):
                found.append(f"{line} is not the pin of constraints.txt")
    missing = {"book", "data", "grid", "test"} - extras
    if missing:
        found.append(f"installs the package without the extras {', '.join(sorted(missing))}")
    return found + [f"does not name {name}" for name in sorted(EXPECTED_OF_CONDA - named)]


def unmet(wanted: Requirement, pinned: dict[str, list[str]]) -> list[str]:
    lines = pinned.get(canonicalize_name(wanted.name), [])
    if not lines:
        return [f"{wanted.name} has no pin in constraints.txt"]
    exact = [(line, version(line)) for line in lines]
    return [
        f"{line} is outside {wanted}"
        for line, pin in exact
        if pin and not wanted.specifier.contains(pin, prereleases=True)
    ]


def requirements(root: Path) -> list[Requirement]:
    """Every dependency and every extra of the package."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def pins(root: Path) -> dict[str, list[str]]:
    """The lines of constraints.txt by canonical package name."""
    found: dict[str, list[str]] = {}
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            name = canonicalize_name(re.split(r"[=<>!~;@\s\[]", line)[0])
            found.setdefault(name, []).append(line)
    return found


def version(line: str) -> Version | None:
    """The one version a line like `name==1.2` allows, else None."""
    match = re.fullmatch(r"[A-Za-z0-9._-]+==([^*,;\s]+)", line)
    return Version(match.group(1)) if match else None


def parse_conda(spec: str) -> tuple[str, SpecifierSet]:
    """Name and versions of a conda spec: `name`, `name=1.2` (any 1.2.x) or `name>=1,<2`."""
    name, versions = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", spec).groups()
    fuzzy = re.fullmatch(r"=\s*([^=*]+?)(\.\*)?", versions)
    return name, SpecifierSet(f"=={fuzzy.group(1)}.*" if fuzzy else versions)


def undeclared(files: list[Path], declared: set[str]) -> list[str]:
    """One line for each import, at any depth of a file, whose distribution nobody asked for."""
    distributions = packages_distributions()
    own = {path.stem for path in files} | {path.parent.name for path in files}
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.append(node.module)
            for package in {module.split(".")[0] for module in modules} - sys.stdlib_module_names:
                names = set(map(canonicalize_name, distributions.get(package, [package])))
                if not names & declared and package not in own:
                    found.add(f"{path.name} imports {package}")
    return sorted(found)


def closure(wanted: list[Requirement]) -> set[str]:
    """Names that the requirements reach through what is installed, on any platform."""
    seen: set[tuple[str, frozenset[str]]] = set()
    stack = [(canonicalize_name(item.name), frozenset(item.extras)) for item in wanted]
    while stack:
        name, extras = item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            declared = map(Requirement, distribution(name).requires or [])
        except PackageNotFoundError:
            continue  # an extra that is not installed here: its own name is still needed
        stack += [
            (canonicalize_name(child.name), frozenset(child.extras))
            for child in declared
            if asked_for(child, extras)
        ]
    return {name for name, _ in seen}


def asked_for(child: Requirement, extras: frozenset[str]) -> bool:
    named = set(re.findall(r"extra\s*==\s*['\"]([^'\"]+)", str(child.marker or "")))
    return not named or bool(named & extras)
