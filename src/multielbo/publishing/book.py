"""The book: which notebooks it holds, what they were made with, and how it is rendered."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from multielbo.profiles import PROFILES, check_profile
from multielbo.publishing.execution import Execution, NotebookError, execute

__all__ = [
    "PROFILES",
    "NotebookError",
    "chapters",
    "check_profile",
    "execute",
    "execute_all",
    "overrun",
    "table_of_contents",
    "titles",
    "twin",
]

CHAPTERS = "chapters/"
TRAINING = ("aggregation/atlas", "reproductions/polydigits", "reproductions/jnf")  # longest first
BUDGET = 60.0  # seconds for a quick notebook
TRAINING_BUDGET = 480.0  # seconds: many models, each in a minute at most, and their evaluation


def execute_all(
    root: Path,
    parameters: Mapping[str, object],
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> dict[str, Execution]:
    """Bring the twins of all notebooks in the table of contents up to date.

    Kernels start slowly and the networks are small, so `jobs` notebooks run at once on one thread
    each; those that train start first, or all would wait for them at the end.

    Raises:
        ValueError: Table of contents and notebooks disagree, or a notebook is malformed.
        NotebookError: Cells failed; its message has a line for each failed notebook.
    """
    names = chapters(root)
    one = partial(_execute_chapter, root=root, parameters=parameters)
    outcomes: dict[str, Execution] = {}
    failures: dict[str, str] = {}
    # Processes, not threads: papermill changes the working folder of the process it runs in.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _use_one_thread if jobs > 1 else None) as pool:
        first = [name for name in TRAINING if name in names]
        runs = {pool.submit(one, name): name for name in dict.fromkeys([*first, *names])}
        for run in as_completed(runs):
            name, outcome = runs[run], run.result()
            if isinstance(outcome, NotebookError):
                failures[name] = str(outcome)
                continue
            outcomes[name] = outcome
            report(_line(name, outcome, parameters))
    if failures:
        raise NotebookError("\n".join(failures[name] for name in names if name in failures))
    return {name: outcomes[name] for name in names}


def chapters(root: Path) -> tuple[str, ...]:
    """Names of the notebooks, such as `aggregation/mopoe`, in the order of the book.

    Raises:
        ValueError: A page of the table of contents has no file, or a notebook is not in it.
    """
    names = []
    for page in table_of_contents(root):
        file, _ = _source(page)
        if not (root / file).is_file():
            raise ValueError(f"book/_toc.yml lists {page}, but there is no {file}")
        if page.startswith(CHAPTERS):
            names.append(page.removeprefix(CHAPTERS))
    for file in sorted((root / "notebooks").rglob("*.py")):
        name = file.relative_to(root / "notebooks").with_suffix("").as_posix()
        if name not in names:
            raise ValueError(f"notebooks/{name}.py is not in book/_toc.yml: add chapters/{name}")
    return tuple(names)


def table_of_contents(root: Path) -> tuple[str, ...]:
    """Pages of the book, such as `index` or `chapters/aggregation/mopoe`, in order."""
    import yaml

    text = (root / "book" / "_toc.yml").read_text(encoding="utf-8")
    return tuple(_pages(yaml.safe_load(text)))


def titles(root: Path) -> dict[str, str]:
    """Title of each page, in the order of the book."""
    found = {}
    for page in table_of_contents(root):
        file, mark = _source(page)
        text = (root / file).read_text(encoding="utf-8")
        heading = re.search(rf"^{mark}(.+)$", text, re.MULTILINE)
        found[page] = heading[1] if heading else page
    return found


def twin(name: str, root: Path) -> Path:
    """The executed twin of a notebook."""
    return root / "book" / "chapters" / f"{name}.ipynb"


def overrun(name: str, parameters: Mapping[str, object], seconds: float) -> float:
    """Seconds by which a notebook has overrun its budget, which only the quick profile has."""
    budget = TRAINING_BUDGET if name in TRAINING else BUDGET
    quick = parameters.get("profile", "quick") == "quick"
    return max(seconds - budget, 0.0) if quick else 0.0


def _source(page: str) -> tuple[str, str]:
    """The file a page is written in, and what its title starts with there."""
    if page.startswith(CHAPTERS):
        return f"notebooks/{page.removeprefix(CHAPTERS)}.py", "# # "
    return f"book/{page}.md", "# "


def _execute_chapter(
    name: str, root: Path, parameters: Mapping[str, object]
) -> Execution | NotebookError:
    try:
        return execute(root / "notebooks" / f"{name}.py", twin(name, root), parameters, root)
    except NotebookError as error:
        return error


def _use_one_thread() -> None:
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")


def _line(name: str, outcome: Execution, parameters: Mapping[str, object]) -> str:
    if not outcome.executed:
        return f"up to date  {name}"
    late = overrun(name, parameters, outcome.seconds)
    remark = f", {late:.0f} s over its budget" if late else ""
    return f"executed    {name} in {outcome.seconds:.0f} s{remark}"


def _pages(entry: object) -> Iterator[str]:
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            if key in ("root", "file"):
                yield str(value).removesuffix(".md").removesuffix(".ipynb")
            else:
                yield from _pages(value)
    elif isinstance(entry, list):
        for child in entry:
            yield from _pages(child)
