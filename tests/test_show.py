"""What a page shows as a function's source is its source, without the docstring."""

import ast

from multielbo import barycenters
from multielbo.mixtures import Posteriors
from multielbo.publishing.show import show, source


def test_shown_source_computes_what_the_function_computes():
    text = source(barycenters.wasserstein)
    assert '"""' not in text
    scope = {"combine": barycenters.combine, "Tensor": object}
    exec(compile("from __future__ import annotations\n" + text, "shown", "exec"), scope)
    assert scope["wasserstein"].__code__.co_code == barycenters.wasserstein.__code__.co_code


def test_comments_stay_and_class_docstrings_go():
    text = source(Posteriors)
    assert "# (..., K, B)" in text
    assert "Attributes:" not in text
    ast.parse(text)


def test_several_functions_make_one_block():
    block = show(barycenters.log_pool, barycenters.wasserstein).data
    assert block.count("```") == 2
    assert block.count("def ") == 2
