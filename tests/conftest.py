"""Fixtures for all tests. Imports nothing of spineseg: jaxtyping must hook into its import first."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

# No test needs a network; a forgotten download then fails at once instead of waiting.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "needs Chromium"


@pytest.fixture(autouse=True, scope="module")
def _few_threads() -> None:
    """Keeps torch, once a test has imported it, from crowding a small machine; before any fixture of the module."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real films and DICOM files, which are not part of the repository."""
    if not (name := os.environ.get("SPINESEG_SHARED")):
        pytest.skip("needs real films: SPINESEG_SHARED is not set")
    if not (folder := Path(name)).is_dir():
        pytest.fail(f"SPINESEG_SHARED: expected a folder, got {name!r}; correct or unset it")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium or Chrome, for playwright's `executable_path`; in CI there must be one."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.fail(NO_BROWSER) if os.environ.get("CI") == "true" else pytest.skip(NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says once, at the end, what the skipped tests need."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any(NO_BROWSER in report.longreprtext for report in skipped):
        terminalreporter.line("To run the tests in a browser as well, install Chromium with:")
        terminalreporter.line(f"  sudo apt-get update && sudo apt-get install -y {_chromium_package()}")


def _chromium_package() -> str:
    """Ubuntu's name for it, or Debian's."""
    with suppress(OSError):
        if platform.freedesktop_os_release()["ID"] == "ubuntu":
            return "chromium-browser"
    return "chromium"


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps the precision of a process; each test that asks for this is a run of its own."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
