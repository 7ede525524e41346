"""The workflows are valid and safe, and call only what the repository has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
NAMES = [path.stem for path in WORKFLOWS]
PIN = re.compile(
    r"uses: (?P<action>[\w./-]+)@(?P<commit>[0-9a-f]{40}) # (?P<version>v\d+\.\d+\.\d+)$"
)


def test_the_four_workflows_are_there():
    assert NAMES == ["book", "check", "publish", "records"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_a_workflow_matches_the_schema_and_limits_its_time(path):
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        checked = validate(schema, path)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("old", "new", "schema"),
    [
        ("runs-on:", "runs_on:", "vendor.github-workflows"),
        ("permissions: {}", "permissions: {contents: all}", "vendor.github-workflows"),
        ("timeout-minutes: 40", "", "custom.github-workflows-require-timeout"),
    ],
)
def test_a_misspelt_workflow_is_refused(old, new, schema, tmp_path):
    assert validate(schema, twin(tmp_path, old, new)).returncode != 0


def test_the_workflows_hold_no_security_finding():
    audited = audit(GITHUB, ROOT / ".pre-commit-config.yaml")
    assert audited.returncode == 0, audited.stdout


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (r"@[0-9a-f]{40} # v7\.0\.1", "@v7", "unpinned-uses"),
        ("run: make lint", 'run: echo "${{ github.head_ref }}"', "template-injection"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        (r"permissions: \{\}", "permissions: write-all", "excessive-permissions"),
        (r"pull_request:", "pull_request_target:", "dangerous-triggers"),
    ],
)
def test_an_unsafe_workflow_is_refused(old, new, finding, tmp_path):
    audited = audit(twin(tmp_path, old, new))
    assert audited.returncode != 0
    assert finding in audited.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_nothing_is_permitted_that_a_job_does_not_ask_for(path):
    workflow = load(path)
    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    writing = {
        (path.stem, name, permission)
        for name, job in workflow["jobs"].items()
        for permission, level in job["permissions"].items()
        if level != "read"
    }
    assert writing <= {
        ("publish", "pages", "pages"),
        ("publish", "pages", "id-token"),
        ("publish", "notebooks", "contents"),
    }


def test_each_action_is_one_commit_with_its_version_beside_it():
    commits: dict[str, set[tuple[str, str]]] = {}
    for path in WORKFLOWS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                pin = PIN.search(line)
                assert pin, f"{path.name}: {line.strip()}"
                commits.setdefault(pin["action"], set()).add((pin["commit"], pin["version"]))
    assert {action: pins for action, pins in commits.items() if len(pins) != 1} == {}
    assert not PIN.search("uses: actions/checkout@v7 # v7.0.1")
    assert not PIN.search(f"uses: actions/checkout@{40 * 'a'}")


def test_the_workflows_call_targets_and_notebooks_that_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    called = set(re.findall(r"\bmake ([\w-]+)", text))
    assert {"book", "lint", "test"} <= called <= targets

    notebook = load(GITHUB / "workflows" / "records.yml")[True]["workflow_dispatch"]["inputs"]
    assert (ROOT / "notebooks" / f"{notebook['notebook']['default']}.py").is_file()


def test_publishing_takes_the_address_from_the_runner_and_names_none():
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"github\.(com|io)/", text), path.name
    assert "GITHUB_REPOSITORY" in (GITHUB / "workflows" / "publish.yml").read_text("utf-8")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.citation-file-format", ROOT / "CITATION.cff"),
        ("vendor.dependabot", GITHUB / "dependabot.yml"),
        ("vendor.github-issue-config", GITHUB / "ISSUE_TEMPLATE" / "config.yml"),
        ("vendor.github-issue-forms", GITHUB / "ISSUE_TEMPLATE" / "bug.yml"),
        ("vendor.github-issue-forms", GITHUB / "ISSUE_TEMPLATE" / "mathematics.yml"),
        ("vendor.github-issue-forms", GITHUB / "ISSUE_TEMPLATE" / "reproduction.yml"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_form_matches_its_schema_and_a_broken_one_does_not(schema, path, tmp_path):
    checked = validate(schema, path)
    assert checked.returncode == 0, checked.stdout
    broken = tmp_path / path.name
    broken.write_text(path.read_text(encoding="utf-8") + "unknown-key: 1\n", encoding="utf-8")
    assert validate(schema, broken).returncode != 0


def twin(folder: Path, old: str, new: str) -> Path:
    """check.yml with one mistake in it."""
    text = (GITHUB / "workflows" / "check.yml").read_text(encoding="utf-8")
    mistaken, count = re.subn(old, new, text, count=1)
    assert count == 1, f"check.yml holds no {old}"
    path = folder / ".github" / "workflows" / "check.yml"
    path.parent.mkdir(parents=True)
    path.write_text(mistaken, encoding="utf-8")
    return path


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def validate(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    return run("check-jsonschema", "--builtin-schema", schema, str(path))


def audit(*paths: Path) -> subprocess.CompletedProcess[str]:
    """zizmor at its strictest, without the network."""
    strict = ("--offline", "--no-config", "--persona=pedantic", "--format=plain")
    return run("zizmor", *strict, *map(str, paths))


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool of the environment that runs the tests, whether or not it is activated."""
    command = [str(Path(sys.executable).parent / tool), *arguments]
    return subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
