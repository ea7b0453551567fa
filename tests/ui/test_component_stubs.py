"""Gradio writes no stubs when the page imports it, and its components are what they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spineseg.ui import component_stubs

ROOT = Path(__file__).parents[2]
OWN = """
import gradio
class Own(gradio.HTML):
    EVENTS = ["pressed"]
"""


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("before", ["pass", "import spineseg.ui"])
def test_a_component_keeps_its_events_and_gets_a_stub_from_gradio_alone(before: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    said = run(f"{before}; import own; print(callable(own.Own.pressed), own.Own.EVENTS)", tmp_path)
    assert said == "True ['pressed']\n"
    assert (tmp_path / "own.pyi").exists() == (before == "pass")


def test_all_but_one_module_is_left_to_other_finders() -> None:
    assert component_stubs._Finder.find_spec("gradio") is None
    assert component_stubs._Finder.find_spec("gradio.component_meta", []) is None, "not where it was looked for"
    before = list(sys.meta_path)
    component_stubs.leave_out_stubs()
    assert sys.meta_path == before, "once is enough"
