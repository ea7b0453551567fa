"""The page's handlers as plain functions, with a segmenter that only looks at grey values; no browser, no server."""

from __future__ import annotations

import base64
import gzip
import io
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest

import app
from spineseg.film import VERTEBRAE, BadInput, Film, Masks
from spineseg.labels import to_array
from spineseg.levels import LevelReport
from spineseg.ui.handlers import GENERIC, Handlers, Loading, Opened, uploaded
from spineseg.ui.page import build_page
from spineseg.ui.viewer import bit_mask, show_film, show_masks

FILM = Film(np.arange(70 * 40, dtype=np.float32).reshape(70, 40))


def bands() -> Masks:
    """Six bars one under the other: 8 rows each, rows 10 k + 2 to 10 k + 9, in columns 5 to 20."""
    masks = np.zeros((6, 70, 40), bool)
    for k, mask in enumerate(masks):
        mask[10 * k + 2 : 10 * k + 10, 5:21] = True
    return masks


@dataclass(frozen=True)
class Answer:
    masks: Masks
    levels: LevelReport
    seconds: float = 1.25
    device: str = "cuda:0"


@dataclass
class Bands:
    """Answers every film with the same bars; remembers what it was shown."""

    absent: tuple[int, ...] = ()
    device: str = "cuda:0"
    seen: list[Film] = field(default_factory=list)

    def __call__(self, film: Film, /) -> Answer:
        self.seen.append(film)
        masks = bands()
        masks[list(self.absent)] = False
        present = tuple(k not in self.absent for k in range(6))
        lost = f"not found: {', '.join(VERTEBRAE[k] for k in self.absent)}"
        reasons = (lost, "the best <b>path</b> is close") if self.absent else ()
        verdict = "unsure" if self.absent else "sure"
        return Answer(masks, LevelReport(present, (0.9,) * 6, 0.5, verdict, reasons))


def handlers(
    segmenter: Bands | None = None, read: Callable[[Path], Film] = lambda path: FILM, examples: tuple[Path, ...] = ()
) -> Handlers:
    segmenters = {"bands": segmenter or Bands()}
    return Handlers(segmenters, read, lambda name, film: segmenters[name](film), examples)


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A file where Gradio puts uploads, as an event receives it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = tmp_path / "0123" / "token"
    path.parent.mkdir()
    path.write_bytes(b"film")
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def test_bit_k_is_vertebra_k() -> None:
    masks = np.zeros((6, 2, 3), bool)
    masks[0, 0, 1] = masks[5, 1, 2] = masks[3, 1, 2] = True
    assert bit_mask(masks).tolist() == [[0, 1, 0], [0, 0, 8 + 32]]


def test_viewer_is_sent_what_was_segmented() -> None:
    masks = bands()
    payload = show_masks(show_film(FILM, "token"), masks, Bands()(FILM).levels)
    bits = np.frombuffer(gzip.decompress(base64.b64decode(payload["masks"] or "")), np.uint8).reshape(70, 40)
    assert np.array_equal([(bits >> k & 1).astype(bool) for k in range(6)], masks)
    picture = base64.b64decode(payload["picture"].removeprefix("data:image/jpeg;base64,"))
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.shape == (payload["rows"], payload["columns"]) == (70, 40)
    assert shown[5].mean() + 50 < shown[60].mean(), "brighter towards the bottom, as the film"


def test_upload_is_read_then_gone(upload: dict) -> None:
    opened, payload, line = handlers().open_upload(upload)
    assert opened.film is FILM
    assert not Path(upload["path"]).exists()
    assert (payload["film"], payload["name"], payload["masks"]) == ("token", None, None)
    assert "70 × 40 px" in line


def test_refused_upload_is_gone_too_and_the_page_says_why(upload: dict) -> None:
    def refuse(path: Path) -> Film:
        raise BadInput("expected one frame, got <img src=x>; export one")

    with pytest.raises(gr.Error) as caught:
        handlers(read=refuse).open_upload(upload)
    assert caught.value.message == "expected one frame, got &lt;img src=x&gt;; export one"
    assert not caught.value.print_exception
    assert not Path(upload["path"]).exists()


def test_unforeseen_error_shows_neither_path_nor_value(upload: dict, caplog: pytest.LogCaptureFixture) -> None:
    def fail(path: Path) -> Film:
        raise OSError(f"cannot open {path} of Jane Doe")

    with caplog.at_level(logging.DEBUG), pytest.raises(gr.Error) as caught:
        handlers(read=fail).open_upload(upload)
    assert caught.value.message == GENERIC
    assert not caught.value.print_exception
    (record,) = caplog.records
    assert "open_upload failed: OSError at" in record.getMessage()
    assert record.exc_info is None
    for secret in ("token", "Jane", "/"):
        assert secret not in record.getMessage()


def test_file_outside_the_upload_folder_is_neither_read_nor_removed(upload: dict, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.write_bytes(b"someone's")
    for path in (str(other), f"{tmp_path}/0123/../../{other.name}", str(tmp_path), str(tmp_path / "gone")):
        with pytest.raises(BadInput):
            uploaded({**upload, "path": path})
    for claim in (None, {}, {"path": None}, {"url": "http://example.org/film"}):
        with pytest.raises(BadInput):
            uploaded(claim)
    assert other.read_bytes() == b"someone's"


def test_segment_draws_and_says_everything() -> None:
    payload, line = handlers().segment(Opened(FILM, "token"), "bands", False)
    assert payload["film"] == "token"
    assert payload.get("present") == [True] * 6
    for part in ("70 × 40 px", "bands", "GPU", "1.2 s", "Levels sure"):
        assert part in line
    assert "not found" not in line


def test_absent_vertebrae_and_reasons_are_named() -> None:
    payload, line = handlers(Bands(absent=(0, 5))).segment(Opened(FILM, "token"), "bands", False)
    assert "Levels unsure" in line
    assert "not found: L1, S1; the best &lt;b&gt;path&lt;/b&gt; is close" in line
    assert payload.get("present") == [False, True, True, True, True, False]


def test_invert_turns_what_is_shown_and_what_is_segmented() -> None:
    segmenter = Bands()
    page, opened = handlers(segmenter), Opened(FILM, "token")
    as_stored, _ = page.show(opened, False)
    turned, _ = page.show(opened, True)
    assert as_stored and turned
    assert as_stored["picture"] != turned["picture"]
    payload, _ = page.segment(opened, "bands", True)
    assert payload["picture"] == turned["picture"]
    assert np.array_equal(segmenter.seen[0].image, FILM.inverted().image)


def test_nothing_to_segment_is_said() -> None:
    with pytest.raises(gr.Error, match="choose one first"):
        handlers().segment(None, "bands", False)
    with pytest.raises(gr.Error, match="Expected one of the models bands"):
        handlers().segment(Opened(FILM, "token"), "other", False)
    assert handlers().show(None, True) == (None, "")


def test_example_keeps_its_file_and_name(tmp_path: Path) -> None:
    path = tmp_path / "lateral_1.dcm"
    path.write_bytes(b"film")
    opened, payload, _ = handlers(examples=(path,)).open_example(0)
    assert path.exists()
    assert payload["name"] == "lateral_1"
    assert opened.token == payload["film"] != handlers(examples=(path,)).open_example(0)[0].token


def test_program_gets_the_bytes_that_numpy_saves(upload: dict) -> None:
    path = Path(handlers().segment_file(upload))
    expected = io.BytesIO()
    np.save(expected, to_array(bands()))
    assert path.read_bytes() == expected.getvalue()
    assert path.name == "masks.npy"
    assert not Path(upload["path"]).exists()


def test_models_load_behind_the_page_in_order() -> None:
    begin, order = threading.Event(), []

    def load(name: str) -> Callable[[], Bands]:
        def loaded() -> Bands:
            begin.wait(5)
            order.append(name)
            return Bands(device=name)

        return loaded

    models = Loading({"b": load("b"), "a": load("a")})
    assert (list(models), len(models), "a" in models, "c" in models, order) == (["b", "a"], 2, True, False, [])
    begin.set()
    assert models["a"].device == "a"
    assert order == ["b", "a"]


def test_model_that_does_not_load_is_said_without_its_path(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Bands:
        raise OSError("no file at its path")

    models = Loading({"bands": Bands, "broken": broken})
    page = Handlers(models, lambda path: FILM, lambda name, film: models[name](film))
    with pytest.raises(gr.Error) as caught:
        page.segment(Opened(FILM, "token"), "broken", False)
    assert caught.value.message == GENERIC
    assert "its path" not in caplog.text


def events(page: gr.Blocks) -> list[dict]:
    return page.get_config_file().get("dependencies", [])


def test_only_segment_can_be_called_from_outside() -> None:
    public = [
        event["api_name"]
        for event in events(build_page({"a": Bands()}, lambda path: FILM))
        if event["api_visibility"] != "private"
    ]
    assert public == ["segment"]


def test_examples_and_model_choice_appear_only_where_there_are_some(tmp_path: Path) -> None:
    def labels(page: gr.Blocks) -> list[str]:
        return [str(block.value) for block in page.blocks.values() if isinstance(block, gr.Button) and block.visible]

    def choice(page: gr.Blocks) -> gr.Dropdown:
        return next(block for block in page.blocks.values() if isinstance(block, gr.Dropdown))

    bare = build_page({"a": Bands()}, lambda path: FILM, tmp_path / "missing")
    assert "Segment" in labels(bare)
    assert not choice(bare).visible
    (tmp_path / "lateral_spine-1.dcm").write_bytes(b"film")
    full = build_page({"a": Bands(), "b": Bands()}, lambda path: FILM, tmp_path)
    assert set(labels(full)) - set(labels(bare)) == {"Lateral spine 1"}
    assert choice(full).visible


def test_legend_is_in_channel_order() -> None:
    page = build_page({"a": Bands()}, lambda path: FILM)
    props = next(block.props for block in page.blocks.values() if isinstance(block, gr.HTML) and "names" in block.props)
    assert props["names"] == [*VERTEBRAE, "background"]
    assert len(set(props["colours"])) == 7


def test_checkpoints_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "wide" / "best.safetensors", tmp_path / "deep" / "best.safetensors", tmp_path / "a.safetensors"]
    assert list(app.named(paths)) == ["wide/best", "deep/best", "a"]


def test_missing_checkpoint_ends_the_program_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(["--checkpoint", str(tmp_path / "gone.safetensors")])
    assert ended.value.code == 2
    assert "expected a checkpoint, found none at" in capsys.readouterr().err
