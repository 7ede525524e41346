"""Every figure of the book says in words what it shows, for readers who cannot see it."""

from __future__ import annotations

import ast
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGES = sorted(NOTEBOOKS.rglob("*.py"))
FIGURE = """\
# %% [markdown]
# # A page

# %% tags=["remove-input"] HEADER
fig, ax = plt.subplots()
plt.show()
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_has_an_alternative_text(page):
    assert silent_figures(page.read_text(encoding="utf-8")) == []


def test_the_notebooks_have_figures_to_look_at():
    shown = [cell for page in PAGES for cell in figures(page.read_text(encoding="utf-8"))]
    assert len(shown) >= len(PAGES)


@pytest.mark.parametrize(
    "header",
    [
        "",
        'mystnb={"image": {"alt": ""}}',
        'mystnb={"image": {"alt": " "}}',
        'mystnb={"image": {"width": "50%"}}',
        'mystnb={"figure": {"alt": "A curve that rises."}}',
        'image={"alt": "A curve that rises."}',
    ],
)
def test_a_figure_without_an_alternative_text_is_found(header):
    assert silent_figures(FIGURE.replace("HEADER", header)) == ["fig, ax = plt.subplots()"]


@pytest.mark.parametrize(
    "text",
    [
        FIGURE.replace("HEADER", 'mystnb={"image": {"alt": "A curve that rises."}}'),
        FIGURE.replace("plt.show()", "# plt.show() comes later"),
    ],
)
def test_a_figure_with_one_and_a_cell_without_a_figure_are_not(text):
    assert silent_figures(text) == []


def silent_figures(text: str) -> list[str]:
    """The first line of each cell of a py:percent text that shows a figure and says nothing."""
    return [
        cell.source.splitlines()[0]
        for cell in figures(text)
        if not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
    ]


def figures(text: str) -> list:
    """The code cells that call `plt.show()`."""
    cells = jupytext.reads(text, fmt="py:percent").cells
    return [cell for cell in cells if cell.cell_type == "code" and shows(cell.source)]


def shows(source: str) -> bool:
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "plt.show"
        for node in ast.walk(ast.parse(source))
    )
