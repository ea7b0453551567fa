"""The page's handlers as plain functions, with a model that always answers the same bars; no browser, no server."""

from __future__ import annotations

import base64
import gzip
import io
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest
from spineseg.ui.models import Loading
from ui_fakes import FILM, Bands, FakeCard, bands, simulated

import app
from spineseg.film import VERTEBRAE, BadInput, Film
from spineseg.io.labels import Label, to_array
from spineseg.ui import panels
from spineseg.ui.correction import Correction, pack, unpack
from spineseg.ui.handlers import GENERIC, REFERENCE, Handlers
from spineseg.ui.page import build_page, pressed
from spineseg.ui.page import opened as reads
from spineseg.ui.session import Desk, Shelf
from spineseg.ui.uploads import take, uploaded
from spineseg.ui.viewer import KEEP, SCRIPTS, changes, part

LABEL = Label(bands(), overlap_px=3, background_disagreement_px=0)


def handlers(
    *models: Bands, read: Callable[[Path], Film] = lambda path: FILM, examples: tuple[Path, ...] = ()
) -> Handlers:
    names = ["bands", "other", "third"]
    segmenters = dict(zip(names, models or (Bands(),), strict=False))
    return Handlers(segmenters, read, lambda path, shape: LABEL, lambda name, film: segmenters[name](film), examples)


def opened() -> Desk:
    return Desk(FILM, "token")


def segmented(page: Handlers | None = None, against: str = "") -> Desk:
    return (page or handlers()).segment(opened(), "bands", False, against)


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A file where Gradio puts uploads, as an event receives it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = tmp_path / "0123" / "token"
    path.parent.mkdir()
    path.write_bytes(b"film")
    return {"path": str(path), "orig_name": "token", "meta": {"_type": "gradio.FileData"}}


# ---- opening ----


def test_upload_is_read_then_gone_with_its_folder(upload: dict, tmp_path: Path) -> None:
    desk = handlers().open_upload(None, upload)
    assert (desk.film, desk.token, desk.name, desk.found) == (FILM, "token", None, None)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_whose_folder_went_at_the_same_moment_is_still_read(upload: dict) -> None:
    path = Path(upload["path"])

    def read(path: Path) -> int:
        shutil.rmtree(path.parent)
        return 7

    assert take(path, read) == 7


def test_refused_upload_is_gone_too_and_the_page_says_why(upload: dict) -> None:
    def refuse(path: Path) -> Film:
        raise BadInput("expected one frame, got <img src=x>; export one")

    with pytest.raises(gr.Error) as caught:
        handlers(read=refuse).open_upload(None, upload)
    assert caught.value.message == "expected one frame, got &lt;img src=x&gt;; export one"
    assert not caught.value.print_exception
    assert not Path(upload["path"]).exists()


def test_unforeseen_error_shows_neither_path_nor_value(upload: dict, caplog: pytest.LogCaptureFixture) -> None:
    def fail(path: Path) -> Film:
        raise OSError(f"cannot open {path} of Jane Doe")

    with caplog.at_level(logging.DEBUG), pytest.raises(gr.Error) as caught:
        handlers(read=fail).open_upload(None, upload)
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


def test_example_keeps_its_file_and_name_and_stays_clickable(tmp_path: Path) -> None:
    path = tmp_path / "lateral_1.dcm"
    path.write_bytes(b"film")
    page = handlers(examples=(path,))
    first, second = page.open_example(None, 0), page.open_example(None, 0)
    assert path.exists()
    assert first.name == "lateral_1"
    assert first.token != second.token


# ---- segmenting ----


def test_segment_says_everything() -> None:
    said = panels.findings(segmented())
    for text in ("70 × 40 px", "bands", "GPU", "1.2 s", "Levels sure", "90%"):
        assert text in said
    assert "not found" not in said


def test_absent_vertebrae_and_reasons_are_named() -> None:
    said = panels.findings(segmented(handlers(Bands(absent=(0, 5)))))
    assert "Levels unsure" in said
    assert "Not found: L1, S1; the best &lt;b&gt;path&lt;/b&gt; is close" in said


def test_invert_turns_what_is_shown_and_what_is_segmented() -> None:
    model = Bands()
    page = handlers(model)
    turned = page.turn(segmented(page), True)
    assert turned is not None
    assert turned.inverted
    assert turned.found is None
    first = changes(None, opened())
    second = changes(opened(), turned)
    assert first and second
    assert first["picture"] != second["picture"]
    desk = page.segment(opened(), "bands", True, "")
    assert desk.inverted
    assert np.array_equal(model.seen[-1].image, FILM.inverted().image)
    assert page.turn(None, True) is None


def test_nothing_to_segment_is_said() -> None:
    page = handlers()
    with pytest.raises(gr.Error, match="choose one first"):
        page.segment(None, "bands", False, "")
    with pytest.raises(gr.Error, match="Expected one of the models bands"):
        page.segment(opened(), "unknown", False, "")
    with pytest.raises(gr.Error, match="press Segment first"):
        page.correct(opened(), "lower")
    with pytest.raises(gr.Error, match="open it again"):
        page.take_away(None, "npz")


# ---- comparing ----


def test_two_models_are_compared() -> None:
    first, second = Bands(), Bands(shift=4)
    desk = segmented(handlers(first, second), against="other")
    assert desk.comparison
    assert desk.comparison.dice == pytest.approx((0.75,) * 6)
    said = panels.comparison(desk)
    assert "bands against other" in said
    assert said.count("0.750") == 7
    assert "HD95 mm" in said
    assert "same name in both" in said


def test_a_model_without_masks_is_said_to_have_none() -> None:
    silent = Bands(answer=np.zeros_like(bands()), card=FakeCard(name="silent", decoder="none"))
    said = panels.comparison(segmented(handlers(Bands(), silent), against="other"))
    assert "none of its channels comes above 0.5" in said
    assert "<table" not in said and "name" not in said


def test_another_choice_asks_only_the_model_that_is_new() -> None:
    first, second = Bands(), Bands()
    page = handlers(first, second)
    desk = page.compare(segmented(page), "other")
    assert desk is not None
    assert (len(first.seen), len(second.seen)) == (1, 1)
    assert page.compare(desk, "other") is desk
    nothing = page.compare(desk, "")
    assert nothing is not None
    assert nothing.other is None
    early = page.compare(opened(), "other")
    assert early is not None
    assert early.other is None, "waits for Segment"
    assert page.compare(None, "other") is None


def test_reference_is_read_gone_scored_and_its_remarks_are_said(upload: dict) -> None:
    page = handlers()
    desk = page.open_reference(segmented(page), upload)
    assert not Path(upload["path"]).exists()
    assert desk.comparison
    assert desk.comparison.dice == (1.0,) * 6
    assert "3 pixels in more than one vertebra" in panels.comparison(desk)
    kept = page.compare(desk, REFERENCE)
    assert kept is not None
    assert kept.other is desk.other
    again = page.segment(desk, "bands", False, REFERENCE)
    assert again.other is desk.other


def test_reference_before_the_film_is_refused_and_gone(upload: dict) -> None:
    with pytest.raises(gr.Error, match="choose the film first"):
        handlers().open_reference(None, upload)
    assert not Path(upload["path"]).exists()


def test_reference_of_another_size_gets_a_sentence(upload: dict) -> None:
    page = handlers()
    np.save(stream := io.BytesIO(), np.zeros((71, 40, 7), np.uint8))
    Path(upload["path"]).write_bytes(stream.getvalue())
    from spineseg.io.labels import read_label

    real = Handlers(page.segmenters, page.read, read_label, page.predict)
    with pytest.raises(gr.Error, match="expected rows x columns x 7 = 70 x 40 x 7, got 71 x 40 x 7"):
        real.open_reference(opened(), upload)


# ---- correcting ----


def test_a_correction_goes_everywhere() -> None:
    page = handlers(Bands(), Bands())
    before = segmented(page, against="other")
    after = page.correct(before, "lower")
    assert after.bits is not None
    assert np.array_equal(unpack(after.bits)[1:], bands()[:-1])
    said = panels.findings(after)
    assert "Corrected by hand" in said
    assert "No name is left" not in said, "sentences are joined, only the first begins large"
    assert "no name is left for what the model called S1" in said
    assert "was L1" in said
    assert "off by one level" in panels.comparison(after)
    payload = changes(before, after)
    assert payload
    assert "picture" not in payload
    assert "raw" not in payload["a"], "the viewer has it already"
    assert payload["a"]["corrected"]
    back = page.correct(page.correct(after, "drop", 3), "undo")
    assert back.correction == Correction()
    assert back.bits is not None and before.bits is not None
    assert np.array_equal(back.bits, before.bits)


def measured() -> tuple[Handlers, Desk]:
    film, model = simulated()
    page = handlers(model)
    return page, page.segment(Desk(film, "token"), "bands", False, "")


def test_measurements_follow_the_correction() -> None:
    page, before = measured()
    after = page.correct(before, "lower")
    assert before.measurements and after.measurements
    assert before.measurements.figures["L1_depth_mm"].value == pytest.approx(
        after.measurements.figures["L2_depth_mm"].value, rel=0.02
    )
    assert "L1" in after.measurements.left_out
    assert before.measurements is before.measurements, "worked out once"
    payload = changes(before, after)
    assert payload
    assert {line["name"].split()[0] for line in payload["lines"] if "vertebra" in line} >= {"L2", "L5"}


def test_measurements_name_their_source() -> None:
    said = panels.measurements(measured()[1])
    for text in ("lordosis L1-S1", "°", "Genant 1993", "Millimetres at the detector", "±"):
        assert text in said


# ---- what the viewer is told ----


def masks_in(sent: dict) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(sent["masks"])), np.uint8).reshape(70, 40)


def test_viewer_is_sent_what_was_segmented() -> None:
    desk = segmented()
    payload = changes(None, desk)
    assert payload
    assert np.array_equal(unpack(masks_in(payload["a"])), bands())
    picture = base64.b64decode(payload["picture"].removeprefix("data:image/jpeg;base64,"))
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.shape == (payload["rows"], payload["columns"]) == (70, 40)
    assert shown[5].mean() + 50 < shown[60].mean(), "brighter towards the bottom, as the film"


def test_raw_channels_lie_where_the_film_does() -> None:
    payload = changes(None, segmented())
    assert payload
    assert payload["a"]["undecoded"] is False
    raw = payload["a"]["raw"]
    values = np.frombuffer(gzip.decompress(base64.b64decode(raw["values"])), np.uint8)
    values = values.reshape(6, raw["rows"], raw["columns"])
    rows, columns = np.nonzero(values[2] > 127)
    top = raw["top"] + (rows.min() + 0.5) * raw["height"] / raw["rows"]
    left = raw["left"] + (columns.min() + 0.5) * raw["width"] / raw["columns"]
    assert (top, left) == (pytest.approx(22, abs=1), pytest.approx(5, abs=1)), "the bar of L3 begins there"


def test_viewer_is_told_only_what_changed() -> None:
    before = segmented()
    assert changes(before, before) == {"film": "token"}
    assert changes(before, None) is None
    other = handlers(Bands(), Bands()).compare(before, "other")
    payload = changes(before, other)
    assert payload
    assert set(payload) == {"film", "b"}
    gone = changes(other, handlers().turn(other, True))
    assert gone
    assert {"a", "b"} & set(gone) == set(), "a new picture starts without masks"


# ---- the shelf between two presses ----


def press(shelf: Shelf, handler: Callable[..., Desk | None], *inputs: object, follows: bool = False) -> tuple:
    return pressed(shelf, handler, follows=follows)(gr.Request(session_hash="me"), *inputs)


def test_a_press_finds_what_the_last_one_left() -> None:
    shelf, page = Shelf(600.0), handlers()
    shelf.put("me", None, opened())
    payload, said, scores, measures = press(shelf, page.segment, "bands", False, "")
    assert payload["a"]
    assert "Levels sure" in said
    assert "compare with" in scores
    assert "Not measured" in measures
    assert "Corrected" in press(shelf, page.correct, "lower")[1]


def test_a_press_that_another_one_overtook_says_so() -> None:
    shelf, page = Shelf(600.0), handlers()
    shelf.put("me", None, opened())

    def slow(desk: Desk | None) -> Desk | None:
        shelf.finish("me", shelf.begin("me"), opened())
        return page.segment(desk, "bands", False, "")

    with pytest.raises(gr.Error, match="another press came between"):
        press(shelf, slow)
    place = shelf.get("me")
    assert place is not None
    shelf.put("me", place, opened())
    late = press(shelf, slow, follows=True)
    assert late[0] == KEEP, "what follows on a press is late in silence"
    place = shelf.get("me")
    assert place is not None
    assert place.desk is not None
    assert place.desk.found is None


def test_what_changes_nothing_disturbs_no_other_press() -> None:
    shelf, page = Shelf(600.0), handlers()
    shelf.begin("me")
    place = shelf.get("me")
    assert press(shelf, page.show, "bands", False, "")[0] is None, "no film, nothing to segment"
    assert shelf.put("me", place, opened()), "the film that was being read meanwhile finds its place"


def test_a_film_that_is_refused_leaves_the_old_one() -> None:
    shelf, page = Shelf(600.0), handlers()
    shelf.put("me", None, before := opened())

    def refused(desk: Desk | None) -> Desk:
        raise BadInput("expected a film")

    with pytest.raises(BadInput):
        reads(shelf, refused)(gr.Request(session_hash="me"))
    place = shelf.get("me")
    assert place is not None
    assert place.desk is before
    assert press(shelf, page.segment, "bands", False, "")[0]["a"]


def test_a_film_that_another_one_overtook_changes_nothing() -> None:
    shelf, newer = Shelf(600.0), opened()

    def slow(desk: Desk | None) -> Desk:
        shelf.finish("me", shelf.begin("me"), newer)
        return opened()

    shown = reads(shelf, slow)(gr.Request(session_hash="me"))
    assert shown[0] == KEEP
    place = shelf.get("me")
    assert place is not None
    assert place.desk is newer


def test_a_film_is_segmented_once_and_again_for_another_model_or_turn() -> None:
    first, second = Bands(), Bands()
    page = handlers(first, second)
    desk = page.show(opened(), "bands", False, "")
    assert desk is not None and desk.found
    moved = page.correct(desk, "lower")
    again = page.segment(moved, "bands", False, "")
    assert not again.correction
    assert again.found is desk.found
    assert (len(first.seen), len(second.seen)) == (1, 0)
    assert page.segment(desk, "other", False, "").found is not desk.found
    assert page.segment(desk, "bands", True, "").inverted
    assert (len(first.seen), len(second.seen)) == (2, 1)
    assert page.show(None, "bands", False, "") is None


# ---- several films, a program, models ----


def test_one_of_several_answers_with_entries_or_a_sentence(upload: dict) -> None:
    answer = handlers().one_of_several(upload, "bands", False)
    assert answer["token"] == "token"
    assert [entry["ending"] for entry in answer["entries"]] == [".npy", "-overlay.png", "-labels.png", ".json"]
    assert answer["verdict"] == "sure"
    assert not Path(upload["path"]).exists()
    assert "no longer here" in handlers().one_of_several(upload, "bands", False)["error"]


def test_several_goes_on_after_what_nobody_foresaw(upload: dict, caplog: pytest.LogCaptureFixture) -> None:
    def fail(path: Path) -> Film:
        raise RuntimeError(f"{path} of Jane Doe")

    assert handlers(read=fail).one_of_several(upload, "bands", False) == {"token": "token", "error": GENERIC}
    assert "Jane" not in caplog.text


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
    page = Handlers(models, lambda path: FILM, lambda path, shape: LABEL, lambda name, film: models[name](film))
    with pytest.raises(gr.Error) as caught:
        page.segment(opened(), "broken", False, "")
    assert caught.value.message == GENERIC
    assert "ready" in page.status()
    object.__setattr__(page, "segmenters", Loading({"broken": broken}))
    assert "failed" in page.status()
    assert GENERIC in page.status()
    assert "its path" not in caplog.text


def test_about_says_what_the_card_says_and_escapes_it() -> None:
    said = handlers().about("bands")
    for text in ("Six &lt;b&gt;bars&lt;/b&gt;.", "12 films, 10 minutes", "train &lt;x&gt;", "0.81", "64 × 48"):
        assert text in said
    assert "<b>" not in said


def test_the_scores_of_a_card_without_verdicts_have_no_empty_columns() -> None:
    card = {"scores": {"made": {"dice": [0.2, 0.4, 0.6, 0.0, 0.0, 0.0], "films": 64}}}
    said = panels.about("collapsed", card, "cpu")
    assert "<th>films</th><th>mean Dice</th></tr>" in said
    assert "<td>64</td><td>0.20</td>" in said
    assert "–" not in said


def test_a_score_that_is_no_number_is_a_dash_on_the_page() -> None:
    card = {"scores": {"held back": {"films": 3, "mean dice": None}, "real": {"films": 11, "mean dice": 0.8}}}
    said = panels.about("diverged", card, "cpu")
    assert "<td>3</td><td>–</td>" in said
    assert "None" not in said.partition("Scores on its card")[2]


# ---- the page as it is put together ----


def page_of(*names: str, examples: Path | None = None) -> gr.Blocks:
    return build_page({name: Bands() for name in names}, lambda path: FILM, lambda path, shape: LABEL, examples)


def test_only_segment_can_be_called_from_outside() -> None:
    events = page_of("a").get_config_file().get("dependencies", [])
    public = [event["api_name"] for event in events if event["api_visibility"] != "private"]
    assert public == ["segment"]


def test_examples_and_model_choice_appear_only_where_there_are_some(tmp_path: Path) -> None:
    def labels(page: gr.Blocks) -> list[str]:
        return [str(block.value) for block in page.blocks.values() if isinstance(block, gr.Button) and block.visible]

    def choice(page: gr.Blocks) -> list[gr.Dropdown]:
        return [block for block in page.blocks.values() if isinstance(block, gr.Dropdown)]

    bare = page_of("a", examples=tmp_path / "missing")
    assert "Segment" in labels(bare)
    assert not choice(bare)[0].visible
    (tmp_path / "lateral_spine-1.dcm").write_bytes(b"film")
    full = page_of("a", "b", examples=tmp_path)
    assert set(labels(full)) - set(labels(bare)) == {"Lateral spine 1"}
    assert choice(full)[0].visible
    assert [value for _, value in choice(full)[1].choices] == ["", "reference", "a", "b"]


def test_legend_is_in_channel_order() -> None:
    page = page_of("a")
    props = next(b.props for b in page.blocks.values() if isinstance(b, gr.HTML) and "differences" in b.props)
    assert props["names"] == [*VERTEBRAE, "background"]
    assert len(set(props["colours"])) == 7


def test_templates_survive_the_template_string_that_gradio_makes_of_them() -> None:
    """A backslash in one is an error in the browser, and `${value}` would write the whole film into the page."""
    for name in ("viewer", "upload", "several"):
        for kind in ("html", "css"):
            text = part(f"{name}.{kind}")
            assert "\\" not in text and "`" not in text and "${value}" not in text, f"{name}.{kind}"


def test_scripts_ask_no_outside_host() -> None:
    scripts = [*SCRIPTS, "upload.js", "several.js", "findings.js", "page.js"]
    texts = [part(name) for name in (*scripts, "page.html", "about.html", "viewer.html", "page.css", "viewer.css")]
    assert [text for text in texts if "http://" in text or "https://" in text] == []
    assert [text for text in texts if "localStorage" in text or "sessionStorage" in text or "cookie" in text] == []


def test_pack_takes_any_six_masks() -> None:
    assert pack(bands()).shape == (70, 40)


# ---- app.py ----


def test_checkpoints_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("wide/best.safetensors", "deep/best.safetensors", "a.safetensors")]
    assert list(app.named(paths)) == ["wide/best", "deep/best", "a"]
    hub = ["hf://ann/spine@v1", "hf://bob/spine@0123456789abcdef"]
    assert list(app.named(hub)) == ["v1/spine", "0123456789ab/spine"]
    assert list(app.named(hub[:1])) == ["spine"]


def test_every_checkpoint_with_a_card_is_offered_the_published_one_first(tmp_path: Path) -> None:
    for name in ("report-6", "spineseg", "cardless"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    for name in ("report-6", "spineseg"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert [path.stem for path in app.shipped_checkpoints(tmp_path)] == ["spineseg", "report-6"]


def test_environment_names_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPINESEG_CHECKPOINT", " a.safetensors, hf://ann/spine@v1 ,")
    assert app.from_environment() == ["a.safetensors", "hf://ann/spine@v1"]
    monkeypatch.delenv("SPINESEG_CHECKPOINT")
    assert app.from_environment() == []


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_missing_checkpoint_ends_the_program_with_a_line(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone.safetensors")
    monkeypatch.setenv("SPINESEG_CHECKPOINT", gone if by == "environment" else "")
    with pytest.raises(SystemExit) as ended:
        app.main(["--checkpoint", gone] if by == "argument" else [])
    assert ended.value.code == 2
    assert "expected a checkpoint, found none at" in capsys.readouterr().err
