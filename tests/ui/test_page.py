"""The page as it is put together: layout, texts, scripts and styles; one upload limit, any number of vertebrae."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from ui_fakes import FILM, Bands, read_label

from spineseg.film import CHANNELS
from spineseg.io.discovery import FILM_ENDINGS
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.ui import server, viewer
from spineseg.ui.page import build_page

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "spineseg" / "ui" / "static"


def page_of(*names: str, examples: Path | None = None) -> gr.Blocks:
    return build_page({name: Bands() for name in names}, lambda path: FILM, read_label, examples)


def props(page: gr.Blocks, elem_id: str) -> dict[str, Any]:
    return next(b.props for b in page.blocks.values() if isinstance(b, gr.HTML) and b.elem_id == elem_id)


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    return page_of("a")


def test_only_segment_and_measure_can_be_called_from_outside(page: gr.Blocks) -> None:
    events = page.get_config_file().get("dependencies", [])
    assert [event["api_name"] for event in events if event["api_visibility"] != "private"] == ["segment", "measure"]


def test_no_answer_takes_the_place_of_masks_before_the_viewer_saw_them(page: gr.Blocks) -> None:
    """The browser may hand two answers that come together to the viewer as one: only the last."""
    (viewer,) = (key for key, b in page.blocks.items() if isinstance(b, gr.HTML) and b.elem_id == "viewer")
    events = page.get_config_file().get("dependencies", [])
    forgetting = [event for event in events if str(event["api_name"]).startswith("_forget")]
    assert len(forgetting) > 8
    assert {(*event["inputs"], *event["outputs"]) for event in forgetting} == {(viewer,)}
    assert all(event["js"] == "() => [null]" for event in forgetting)


def test_examples_and_model_choice_appear_only_where_there_are_some(page: gr.Blocks, tmp_path: Path) -> None:
    def labels(page: gr.Blocks) -> set[str]:
        blocks = [block for block in page.blocks.values() if isinstance(block, gr.HTML)]
        value = next(str(block.value) for block in blocks if block.elem_id == "examples")
        return set(re.findall("<span>(.*?)</span>", value))

    def choices(page: gr.Blocks) -> list[gr.Dropdown]:
        found = [block for block in page.blocks.values() if isinstance(block, gr.Dropdown)]
        return sorted(found, key=lambda block: block.elem_id != "model")

    assert labels(page) == set()
    assert not choices(page)[0].visible
    (tmp_path / "lateral_spine-1.dcm").write_bytes(b"film")
    full = page_of("a", "b", examples=tmp_path)
    assert labels(full) == {"Lateral spine 1"}
    assert choices(full)[0].visible
    own = ["/shown", "a", "b", "/reference-1", "/reference-2"]
    assert [[value for _, value in menu.choices] for menu in choices(full)[1:]] == [own, ["", *own]]


def test_legend_is_in_channel_order(page: gr.Blocks) -> None:
    shown = props(page, "viewer")
    assert shown["names"] == list(CHANNELS)
    assert len(set(shown["colours"])) == len(CHANNELS)


def test_every_script_is_used_and_those_of_the_viewer_run_in_the_order_of_their_names() -> None:
    used = {script for scripts in viewer.SCRIPTS.values() for script in scripts}
    assert used == {path.name for path in STATIC.glob("*.js")}
    assert viewer.SCRIPTS["viewer"] == (
        "language.js",
        "files.js",
        *sorted(path.name for path in STATIC.glob("viewer-*.js")),
    )


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_assets_ask_no_other_host_store_nothing_and_survive_gradio(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("http://", "https://"):
        assert word not in text
    assert ("localStorage" in text) == (path.name == "viewer-9-keyboard.js"), "one choice: where keys act"
    assert ("cookie" in text) == (path.name in ("language.js", "header.js")), "one cookie: the language"
    assert path.name == "viewer-6-storage.js" or not re.search("sessionStorage|indexedDB", text), "one file stores"
    if path.suffix != ".js":  # Gradio makes a template string of it; `${value}` would write the whole film into it
        assert not any(sign in text for sign in ("\\", "`", "${value}"))


# ---- one upload limit ----


def test_the_upload_limit_is_stated_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(DEFAULT_LIMITS), "max_bytes", 3 * 2**20)
    page, launched = page_of("a"), {}
    monkeypatch.setattr(page, "launch", lambda **options: (None, "address", launched.update(options)))
    server.serve(page)
    assert launched["max_file_size"] == 3 * 2**20
    assert {props(page, name)["max_bytes"] for name in ("film", "reference-1", "reference-2", "batch")} == {3 * 2**20}


def test_no_other_text_states_a_limit() -> None:
    stated = f"{DEFAULT_LIMITS.max_bytes / 2**20:g} MB"
    for document in ("docs/how-to/use-from-programs.md", "docs/reference/films.md", "SECURITY.md"):
        assert stated in (ROOT / document).read_text(encoding="utf-8")
    for path in [*STATIC.iterdir(), *STATIC.parent.glob("*.py")]:
        text = path.read_text(encoding="utf-8").replace("takes 50 MB", "")  # of memory
        assert not re.search(r"\d MB\b", text), path.name


# ---- any set of vertebrae ----

LONGER = """
import sys, types
from pathlib import Path
import numpy as np
import spineseg

source = Path(spineseg.__file__).with_name("film.py").read_text(encoding="utf-8")
longer = sys.modules["spineseg.film"] = types.ModuleType("spineseg.film")
exec(source.replace("ANATOMY = (", "ANATOMY = (Vertebra('T12', '#123456', ('0', 'T12 vertebra')),"), vars(longer))

from spineseg.ui import downloads, panels, texts, viewer
from spineseg.ui.correction import bits_to_masks, changes, masks_to_bits, shifted
from spineseg.ui.session import MaskLayer, SessionState

masks = np.arange(7 * 80 * 70).reshape(7, 80, 70) % 7 == np.arange(7)[:, None, None]
bits = masks_to_bits(masks)
assert np.array_equal(bits_to_masks(bits), masks) and bits.max() == 64
assert np.array_equal(bits_to_masks(shifted(bits, 1))[1:], masks[:-1])
assert "T12" in changes(bits, shifted(bits, 1)).sentences[-1]
sent = viewer.viewer().props
assert len(sent["names"]) == len(sent["colours"]) == 8
assert "T12 to S1" in sent["texts"]["en"]["npyTitle"] and "× 8 배열" in sent["texts"]["ko"]["npyTitle"]
assert "1 to 7" in texts.LOOK_AT_MAPS
film = longer.Film(np.zeros((80, 70), np.float32), None)
others = {"b": MaskLayer("b", bits)}
state = SessionState(film, "token", layer=MaskLayer("a", bits), others=others, sides=("/shown", "b"))
assert panels.comparison(state).count("1.000") == 16
assert len(downloads.npy(state)) == 128 + 80 * 70 * 8
"""


def test_another_set_of_vertebrae_needs_no_change_of_the_page() -> None:
    done = subprocess.run([sys.executable, "-c", LONGER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*STATIC.iterdir(), *STATIC.parent.glob("*.py")], ids=lambda path: path.name)
def test_no_file_of_the_page_counts_the_vertebrae(path: Path) -> None:
    """Examples in docstrings and comments apart, no name and no number of vertebrae or channels stands in the page."""
    text = re.sub(r'"""(.|\n)*?"""|(#|//) .*', "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\b(L[1-4]|S1|[Ss]ix|[Ss]even)\b|\[1-[67]\]|[1¹] to [67]|columns [x×] 7|repeat\(6,", text)


def test_the_browser_strips_the_endings_that_the_command_line_strips() -> None:
    (listed,) = re.findall(r"\\\.\(([a-z0-9|?]+)\)\$/i", (STATIC / "files.js").read_text(encoding="utf-8"))
    assert [ending for ending in FILM_ENDINGS if not re.fullmatch(f"\\.({listed})", ending)] == []
    assert len(listed.split("|")) + listed.count("?") == len(FILM_ENDINGS)


START = """
import sys
from pathlib import Path
from spineseg.io.isolation import read_film_isolated, read_label_isolated
from spineseg.ui.page import build_page
from spineseg.ui.server import LazyModels

page = build_page(LazyModels({"a": None}), read_film_isolated, read_label_isolated, Path("examples"))
values = [block.value for block in page.blocks.values() if isinstance(getattr(block, "value", None), dict)]
assert any(value.get("picture") and value["a"]["masks"] for value in values), "an example with its masks"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
NOT_NEEDED = {"SimpleITK", "pydicom", "highdicom", "h5py", "torch", "onnx", "onnxruntime", "accelerate", "matplotlib"}
"""For the first page: films are read by other processes, models load afterwards."""


def test_first_page_imports_nothing_that_takes_time() -> None:
    done = subprocess.run([sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not NOT_NEEDED & set(done.stdout.split())
