"""Gives the page with the playground its scripts and its style, and no other page.

They do not lie in `_static` of the sources, because Jupyter Book loads every script there on every
page. The scripts are plain ones, in the order in which they need each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset_file

FOLDER = "_playground"
PLACE = '<div id="playground"'
STYLE = "playground.css"
SCRIPTS = (
    "gaussians.js",
    "averages.js",
    "quadrature.js",
    "comparison.js",
    "contours.js",
    "state.js",
    "dom.js",
    "picture.js",
    "controls.js",
    "start.js",
)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", load_where_placed)
    app.connect("build-finished", copy_assets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def load_where_placed(app: Sphinx, page: str, template: str, context: dict, tree: Any) -> None:
    if PLACE in context.get("body", ""):
        app.add_css_file(f"playground/{STYLE}")
        for script in SCRIPTS:
            app.add_js_file(f"playground/{script}", loading_method="defer")


def copy_assets(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "playground"
    target.mkdir(parents=True, exist_ok=True)
    for name in (STYLE, *SCRIPTS):
        copy_asset_file(Path(app.srcdir) / FOLDER / name, target)
