"""Every page of the rendered book in Chromium: light, dark, and as wide as a phone."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import chromium
from multielbo.publishing.book import table_of_contents

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "build" / "book" / "_build" / "html"
SCREENSHOTS = ROOT / "build" / "screenshots"
PAGES = (*table_of_contents(ROOT), "search", "genindex")
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# What only the page itself can tell, once its formulas are set and its fonts are there.
EXAMINE = r"""async () => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  const faults = [];
  const tex = /\\\(|\\\[|\$\$|\\[a-zA-Z]{2,}|\$[^$\s][^$]*[\\_^][^$]*\$/;
  const markup = /\|\s*:?[-—]+:?\s*\||\{(doc|eq|cite:\w|glue:\w+|prf:ref)\}/;
  const code = 'script, style, noscript, pre, code, mjx-container, .math';
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (parentElement.closest(code)) continue;
    if (tex.test(data)) faults.push(`raw TeX: ${data.trim()}`);
    if (markup.test(data)) faults.push(`raw markup: ${data.trim()}`);
  }
  if (tex.test(document.title)) faults.push(`raw TeX in the title: ${document.title}`);
  for (const math of document.querySelectorAll('.math'))
    if (!math.querySelector('mjx-container')) faults.push(`unset formula: ${math.textContent}`);
  for (const error of document.querySelectorAll('mjx-merror'))
    faults.push(`faulty formula: ${error.textContent}`);
  for (const plot of document.querySelectorAll('.plotly-graph-div'))
    if (!plot.querySelector('.main-svg')) faults.push('a plotly figure is not drawn');
  for (const output of document.querySelectorAll('pre'))
    if (/^\s*<[\w.]+ object( at 0x\w+)?>\s*$/.test(output.textContent))
      faults.push(`an object for an output: ${output.textContent.trim()}`);
  const excess = document.documentElement.scrollWidth - window.innerWidth;
  if (excess > 0) faults.push(`wider than the window by ${excess} pixels`);
  return [faults, document.documentElement.dataset.theme];
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback address; yield its URL."""
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Viewer:
    """One window of the browser, which notes what a page does while it is loaded."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.heard: list[str] = []
        context.route("**/*", self._admit)
        self.page: Page = context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.heard.append(f"error: {error}"))
        self.page.on("response", self._judge)

    def faults(self, path: str, theme: str | None = None) -> list[str]:
        """Open a page of the server; return a line for each fault."""
        self.heard.clear()
        self.page.goto(self.base + path, wait_until="networkidle")
        found, shown = self.page.evaluate(EXAMINE)
        if theme is not None and shown != theme:
            found.append(f"the theme is {shown!r} where the reader prefers {theme!r}")
        return [*self.heard, *found]

    def _admit(self, route) -> None:
        url = route.request.url
        if url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.heard.append(f"external request: {url}")
            route.abort()

    def _listen(self, message) -> None:
        if message.type in ("error", "warning"):
            self.heard.append(f"console {message.type}: {message.text}")

    def _judge(self, response) -> None:
        if response.status >= 400:
            self.heard.append(f"HTTP {response.status}: {response.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without one the tests are skipped, which continuous integration does not allow."""
    from playwright.sync_api import sync_playwright

    found = chromium.find()
    if found is None:
        message = "no Chromium found: python tests/chromium.py installs one"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def book_windows(browser: Browser) -> Iterator[dict[str, Viewer]]:
    """A window on the rendered book for each view."""
    if not (HTML / "index.html").is_file():
        pytest.fail("the book is not rendered: run make book")
    with serve(HTML) as base:
        contexts = {view: browser.new_context(**options) for view, options in VIEWS.items()}
        yield {view: Viewer(context, base) for view, context in contexts.items()}
        for context in contexts.values():
            context.close()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_page_is_whole(book_windows: dict[str, Viewer], page: str, view: str) -> None:
    window = book_windows[view]
    faults = window.faults(f"{page}.html", theme=VIEWS[view]["color_scheme"])
    picture = SCREENSHOTS / view / f"{page.replace('/', '-')}.png"
    window.page.screenshot(path=picture, full_page=True)
    assert faults == []


BROKEN = {
    "raw TeX": "<p>Let $x_m$ be \\(x\\).</p>",
    "raw markup": "<p>| model | nats | |---|---| | MoPoE | 1 |</p>",
    "raw TeX in the title": "<title>The posterior \\(q\\)</title>",
    "unset formula": '<p><span class="math">x</span></p>',
    "faulty formula": "<mjx-merror>\\nope</mjx-merror>",
    "external request": '<img src="http://example.org/figure.png">',
    "console error": "<script>console.error('no')</script>",
    "console warning": "<script>console.warn('no')</script>",
    "error: ": "<script>document.nothing.here</script>",
    "HTTP 404": '<img src="missing.png">',
    "a plotly figure": '<div class="plotly-graph-div"></div>',
    "an object for an output": "<pre>&lt;IPython.core.display.Markdown object&gt;</pre>",
    "wider than the window": '<div style="width: 3000px">wide</div>',
    "the theme is": "<p>no theme</p>",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_page_is_found_out(browser: Browser, tmp_path: Path, fault: str) -> None:
    page = f'<!doctype html><link rel="icon" href="data:,"><body>{BROKEN[fault]}</body>'
    (tmp_path / "broken.html").write_text(page, encoding="utf-8")
    with serve(tmp_path) as base, browser.new_context(**VIEWS["phone"]) as context:
        found = Viewer(context, base).faults("broken.html", "dark" if "theme" in fault else None)
    assert any(line.startswith(fault) for line in found), found


def test_sound_page_has_no_faults(browser: Browser, tmp_path: Path) -> None:
    page = '<!doctype html><link rel="icon" href="data:,"><p>It costs $5, or <code>$x_m$</code>.'
    (tmp_path / "sound.html").write_text(page, encoding="utf-8")
    with serve(tmp_path) as base, browser.new_context(**VIEWS["phone"]) as context:
        assert Viewer(context, base).faults("sound.html") == []
