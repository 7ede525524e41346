"""Ships MathJax and plotly.js inside the book: no page asks another server for anything.

MathJax is loaded by pages with formulas only, plotly.js by pages that draw with it only. Neither
lies in `_static` of the sources, because Jupyter Book loads every script there on every page.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset, copy_asset_file

MATHJAX = "vendor/mathjax"
PLOTLY = "vendor/plotly.min.js"
FONTS = "output/chtml/fonts/woff-v2"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", use_own_mathjax)
    app.connect("html-page-context", drop_repeated_scripts, priority=900)
    app.connect("html-page-context", load_plotly_where_drawn, priority=901)
    app.connect("build-finished", copy_assets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def use_own_mathjax(app: Sphinx, config: Any) -> None:
    config.mathjax_path = f"{MATHJAX}/tex-mml-chtml.js"


def drop_repeated_scripts(app: Sphinx, page: str, template: str, context: dict, tree: Any) -> None:
    """Sphinx 7.4 writes an inline script twice if it was added after the builder had started."""
    seen = set()
    kept = []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
        seen.add(body)
    # In place: the list is the builder's own, which add_js_file appends to.
    context["script_files"][:] = kept


def load_plotly_where_drawn(
    app: Sphinx, page: str, template: str, context: dict, tree: Any
) -> None:
    if "Plotly.newPlot(" in context.get("body", ""):
        app.add_js_file(PLOTLY, priority=100)
        app.env.metadata[page]["plotly"] = True


def copy_assets(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    source, target = package("sphinx-mathjax-offline") / "static/mathjax", static / MATHJAX
    (target / FONTS).mkdir(parents=True, exist_ok=True)
    copy_asset_file(source / "tex-mml-chtml.js", target)
    copy_asset(source / FONTS, target / FONTS)
    if any(page.get("plotly") for page in app.env.metadata.values()):
        copy_asset_file(package("plotly") / "package_data/plotly.min.js", static / PLOTLY)


def package(name: str) -> Path:
    # Found, not imported: plotly is slow to import and the other's name is not an identifier.
    return Path(next(iter(find_spec(name).submodule_search_locations)))
