"""Finds a Chromium for the browser tests; run as a script, installs one where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["find", "install"]

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> Path | None:
    """The browser that Playwright brings, else one of the system's, else None."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    if own.is_file():
        return own
    return next((Path(path) for name in COMMANDS if (path := shutil.which(name))), None)


def install() -> Path | None:
    """Install Playwright's own Chromium, else Debian's; None if neither can be had."""
    attempts = {"Playwright": [[sys.executable, "-m", "playwright", "install", "chromium"]]}
    if shutil.which("apt-get") and os.geteuid() == 0:
        package = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        attempts["Debian"] = [["apt-get", "update"], package]  # a fresh machine has no lists
    for source, commands in attempts.items():
        print(f"no browser yet: asking {source} for Chromium", flush=True)
        # Without a network Playwright prints a page of its own stack; Debian's word is one line.
        errors = subprocess.DEVNULL if source == "Playwright" else None
        for command in commands:
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=errors, check=False)
        if found := find():
            return found
    return None


def main() -> int:
    """Exit with 1 only in CI: elsewhere the tests run without a browser and say so."""
    if find() or install():
        return 0
    print(
        "NO BROWSER: the rendered book will not be looked at. "
        "Install Chromium, or run: .venv/bin/playwright install chromium",
        file=sys.stderr,
    )
    return int(os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main())
