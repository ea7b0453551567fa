"""Fixtures for all tests. Imports nothing of spineseg: jaxtyping must hook into its import first."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

# No test needs a network; a forgotten download then fails at once instead of waiting.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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
    """The path of an installed Chromium or Chrome, for playwright's `executable_path`."""
    if os.environ.get("SPINESEG_SKIP_BROWSER") == "1":
        pytest.skip("SPINESEG_SKIP_BROWSER is 1")
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.fail(
            "expected Chromium, found none; install it (sudo apt-get install chromium) or SPINESEG_SKIP_BROWSER=1"
        )
    return found[0]


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps the precision of a process; each test that asks for this is a run of its own."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
