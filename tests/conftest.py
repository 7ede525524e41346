"""Fixtures that several test modules share, and a loud word if the browser tests were skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def dtype() -> torch.dtype:
    """Identities are checked in float64; the default dtype of torch stays as it is."""
    return torch.float64


@pytest.fixture
def generator() -> torch.Generator:
    """The source of randomness, so that no test depends on another or on the global state."""
    return torch.Generator().manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "browser" in getattr(report, "keywords", {})
    ]
    if skipped:
        terminalreporter.write_sep("!", "THE RENDERED BOOK WAS NOT LOOKED AT", red=True, bold=True)
        terminalreporter.write_line(
            f"{len(skipped)} browser tests were skipped, because no Chromium was found: "
            "python tests/chromium.py installs one",
            red=True,
        )
