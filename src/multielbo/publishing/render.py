"""Renders the book: generated tables, the address of its repository if known, jupyter-book."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multielbo.publishing.book import chapters, overrun, titles, twin
from multielbo.publishing.ledger import read_ledger, table

__all__ = ["RenderError", "configuration", "render", "status_table", "write_tables"]

PUBLISHED = "published"  # the branch that holds the executed notebooks
SHOWN = ("jupyter-book", "myst-nb", "papermill", "Sphinx", "zuko")


class RenderError(RuntimeError):
    """The book has a fault; the message is one line, the details are on standard error."""


def render(root: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Build the HTML of the executed book; return the path of its first page.

    Raises:
        RenderError: jupyter-book found a fault; every warning counts as one.
        ValueError: `GITHUB_REPOSITORY` is no `owner/name`.
        OSError: The folder `build` cannot be written.
    """
    write_tables(root)
    out = root / "build" / "book"
    out.mkdir(parents=True, exist_ok=True)
    config = configuration(root, environment)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "-n", "--keep-going"]
    command += ["--all", "--quiet", "book", "--config", config, "--path-output", out]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise RenderError("jupyter-book found faults in the book: they are listed above")
    return out / "_build" / "html" / "index.html"


def configuration(root: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The configuration to build with: `_config.yml`, or a copy that knows the repository.

    A publishing workflow knows its own address; sources hold none, and a local build has no
    buttons that would lead nowhere.

    Raises:
        ValueError: `GITHUB_REPOSITORY` is no `owner/name`.
    """
    import yaml

    plain = root / "_config.yml"
    repository = environment.get("GITHUB_REPOSITORY", "")
    if not repository:
        return plain
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"GITHUB_REPOSITORY is {repository!r}: it has to be owner/name")
    server = environment.get("GITHUB_SERVER_URL", "https://github.com")
    settings: dict[str, Any] = yaml.safe_load(plain.read_text(encoding="utf-8"))
    settings["repository"] = {
        "url": f"{server}/{repository}",
        "path_to_book": "book",
        "branch": PUBLISHED,
    }
    settings["launch_buttons"] = {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
        "thebe": False,
    }
    settings["html"] |= {"use_repository_button": True, "use_issues_button": True}
    # Extensions are sought beside the configuration file, which now lies elsewhere.
    extensions = settings["sphinx"]["local_extensions"]
    extensions.update({name: str(root / folder) for name, folder in extensions.items()})
    written = root / "build" / "_config.yml"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return written


def write_tables(root: Path) -> None:
    """Write the tables that the pages `ledger` and `status` include."""
    folder = root / "book" / "chapters"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ledger_table.md").write_text(
        table(read_ledger(root), titles(root)), encoding="utf-8"
    )
    (folder / "status_table.md").write_text(status_table(root), encoding="utf-8")


def status_table(root: Path) -> str:
    """Two MyST tables: how each notebook was executed, and with which packages."""
    head = ["notebook", "profile", "seconds", "executed (UTC)", "on"]
    rows, packages = [], {name: version(name) for name in SHOWN}
    for name in chapters(root):
        run = json.loads(twin(name, root).read_text(encoding="utf-8"))["metadata"]["multielbo"]
        late = overrun(name, run["parameters"], run["seconds"])
        rows.append(
            [
                f"{{doc}}`/chapters/{name}`",
                run["parameters"].get("profile", ""),
                f"{run['seconds']:.1f}" + (f" ({late:.0f} over budget)" if late else ""),
                run["finished"].replace("T", " ").removesuffix("+00:00"),
                f"{run['device']}, {run['machine']}, Python {run['python']}",
            ]
        )
        # The oldest twin may have been made with other versions: all of them are shown.
        for package, found in run["versions"].items():
            known = packages.setdefault(package, found)
            if found not in known.split(", "):
                packages[package] = f"{known}, {found}"
    shown = [[name, packages[name]] for name in sorted(packages, key=str.lower)]
    return "\n".join([*_table(head, rows), "", *_table(["package", "version"], shown)]) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' :-- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
