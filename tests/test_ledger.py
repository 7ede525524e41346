"""Every labelled equation has one page, a function and a test; an orphan at any end is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from multielbo.publishing.ledger import faults, read_ledger, table

PAGE = """# %% [markdown]
# # Products
#
# $$
# \\Lambda = \\sum_m \\Lambda_m
# $$ (eq-precision)
#
# ```{math}
# :label: eq-mean
# \\mu = 0
# ```
#
# By {eq}`eq-precision` and {eq}`eq-mean`.

# %%
text = "$$ x $$ (eq-not-markdown)"
"""
SOURCE = '''def precision():
    """Precisions add.

    Equation eq-precision.
    """


class Product:
    def mean(self):
        """Equation eq-mean: the mean. See Equation eq-precision."""
'''
TEST = """import pytest


@pytest.mark.equation("eq-precision")
@pytest.mark.parametrize("m", [pytest.param(1, marks=pytest.mark.equation("eq-mean"))])
def test_precisions_add(m): ...


class TestMean:
    @pytest.mark.equation("eq-mean")
    def test_mean(self): ...
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small book without orphans."""
    for name, text in {
        "notebooks/part/products.py": PAGE,
        "book/notation.md": "# Notation\n\nSee {eq}`eq-mean`.\n",
        "book/chapters/ledger_table.md": "$$ x $$ (eq-generated)\n",
        "src/multielbo/products.py": SOURCE,
        "tests/test_products.py": TEST,
    }.items():
        write(tmp_path, name, text)
    return tmp_path


def write(tree: Path, name: str, text: str) -> None:
    file = tree / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_no_label_of_this_book_is_an_orphan(root: Path) -> None:
    ledger = read_ledger(root)
    assert faults(ledger) == []
    assert len(ledger) > 10, "so few labels mean that they were not found"


def test_all_three_ends_of_a_label_are_found(tree: Path) -> None:
    ledger = read_ledger(tree)
    assert set(ledger) == {"eq-precision", "eq-mean"}
    precision, mean = ledger["eq-precision"], ledger["eq-mean"]
    assert precision.pages == mean.pages == ["chapters/part/products"]
    assert precision.functions == [
        "multielbo.products.precision",
        "multielbo.products.Product.mean",
    ]
    assert mean.functions == ["multielbo.products.Product.mean"]
    assert precision.tests == ["tests/test_products.py::test_precisions_add"]
    assert mean.tests == [
        "tests/test_products.py::test_precisions_add",
        "tests/test_products.py::TestMean",
    ]
    assert faults(ledger) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "src/multielbo/products.py",
            SOURCE.replace("Equation eq-mean:", ""),
            "eq-mean is named by no docstring under src as 'Equation eq-mean'",
        ),
        (
            "tests/test_products.py",
            TEST.replace('"eq-precision"', '"eq-mean"'),
            "eq-precision is marked by no test: @pytest.mark.equation('eq-precision')",
        ),
        (
            "notebooks/part/products.py",
            PAGE.replace("$$ (eq-precision)", "$$"),
            "eq-precision is on no page, but named by multielbo.products.precision, "
            "multielbo.products.Product.mean, tests/test_products.py::test_precisions_add",
        ),
        (
            "book/notation.md",
            "$$ \\mu = 0 $$ (eq-mean)",
            "eq-mean is on several pages: chapters/part/products, notation",
        ),
        ("book/notation.md", "$$ \\mu $$ (mean)", "mean on notation: a label starts with 'eq-'"),
    ],
)
def test_orphan_at_any_end_is_found(tree: Path, name: str, text: str, fault: str) -> None:
    write(tree, name, text)
    assert faults(read_ledger(tree)) == [fault]


def test_label_used_twice_on_one_page_is_found(tree: Path) -> None:
    write(tree, "notebooks/part/products.py", PAGE.replace("eq-mean\n", "eq-precision\n", 1))
    assert "eq-precision is on several pages: chapters/part/products, chapters/part/products" in (
        faults(read_ledger(tree))
    )


def test_table_has_a_row_for_each_label_under_its_page(tree: Path) -> None:
    titles = {"index": "A book", "chapters/part/products": "Products"}
    lines = table(read_ledger(tree), titles).splitlines()
    assert [line for line in lines if "##" in line] == [
        "## {doc}`Products </chapters/part/products>`"
    ]
    assert lines[-1] == (
        "| {eq}`eq-mean` | `products.Product.mean` "
        "| precisions add (`test_products`) <br> TestMean (`test_products`) |"
    )
    assert len([line for line in lines if "{eq}" in line]) == 2
