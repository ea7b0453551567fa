"""The page's handlers as plain functions, with a model that always answers the same bars; no browser, no server."""

from __future__ import annotations

import base64
import gzip
import io
import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
import pytest
from ui_fakes import FILM, Bands, bands, handlers, opened, runs_of, segmented, simulated

from spineseg.film import VERTEBRAE, BadInput, Film
from spineseg.inference.prediction import INVERTED, Prediction
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.io.labels import read_label, to_array
from spineseg.measure.measurements import measure
from spineseg.ui import panels, texts
from spineseg.ui.correction import bits_to_masks
from spineseg.ui.examples import Example
from spineseg.ui.handlers import Handlers
from spineseg.ui.listeners import correct_on_session, on_new_film, on_session, on_upload
from spineseg.ui.server import LazyModels
from spineseg.ui.session import SessionState, SessionStore
from spineseg.ui.uploads import uploaded
from spineseg.ui.viewer import UNCHANGED, after_correction, update


def failing(error: Exception) -> Callable[..., Any]:
    def read(*_: object) -> Any:
        raise error

    return read


# ---- opening ----


def test_upload_is_read_then_gone_with_its_folder(upload: dict, tmp_path: Path) -> None:
    state = handlers().open_upload(None, upload)
    assert (state.film, state.token, state.name, state.layer) == (FILM, "token", None, None)
    assert list(tmp_path.iterdir()) == []


def test_remarks_on_the_file_stand_on_the_page_and_in_the_json(upload: dict) -> None:
    film = replace(FILM, remarks=("a PNG picture of 8 bits <b>", "no pixel spacing"))
    page = handlers(read=lambda path: film)
    state = page.segment(SessionState(film, "token"), "bands", False, "")
    assert '<p class="remarks">A PNG picture of 8 bits &lt;b&gt;; no pixel spacing.</p>' in panels.findings(state)
    assert "remarks" not in panels.findings(segmented())
    assert page.measure_file(upload)["remarks"] == film.remarks


def test_an_upload_whose_folder_went_at_the_same_moment_is_still_read(upload: dict) -> None:
    read = handlers(read=lambda path: (shutil.rmtree(path.parent), FILM)[1])
    assert read.open_upload(None, upload).film is FILM


def test_refused_upload_is_gone_too_and_the_page_says_why(upload: dict) -> None:
    refused = handlers(read=failing(BadInput("expected one frame, got <img src=x>; export one")))
    with pytest.raises(gr.Error) as caught:
        refused.open_upload(None, upload)
    assert caught.value.message == "expected one frame, got &lt;img src=x&gt;; export one"
    assert not caught.value.print_exception
    assert not Path(upload["path"]).exists()


def test_unforeseen_error_shows_neither_path_nor_value(upload: dict, caplog: pytest.LogCaptureFixture) -> None:
    broken = handlers(read=failing(OSError(f"cannot open {upload['path']} of Jane Doe")))
    copy = Path(upload["path"]).with_name("copy")
    copy.write_bytes(b"film")
    with caplog.at_level(logging.DEBUG), pytest.raises(gr.Error) as caught:
        broken.open_upload(None, upload)
    assert (caught.value.message, caught.value.print_exception) == (texts.UNFORESEEN, False)
    in_batch = broken.batch_film({"file": {**upload, "path": str(copy)}}, "bands", False)
    assert in_batch == {"token": "token", "error": texts.UNFORESEEN}
    assert [record.getMessage().partition(" at ")[0] for record in caplog.records] == [
        "open_upload failed: OSError",
        "batch_film failed: OSError",
    ]
    for record in caplog.records:
        assert record.exc_info is None
        assert not any(secret in record.getMessage() for secret in ("token", "Jane", "/"))


def test_file_outside_the_upload_folder_is_neither_read_nor_removed(upload: dict, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.write_bytes(b"someone's")
    paths = (str(other), f"{tmp_path}/0123/../../{other.name}", str(tmp_path), str(tmp_path / "gone"))
    for claim in (*({"path": path} for path in (*paths, None)), None, {}, {"url": "http://example.org/film"}):
        with pytest.raises(BadInput):
            uploaded(claim)
    assert other.read_bytes() == b"someone's"


def test_example_keeps_its_file_and_name_and_stays_clickable(tmp_path: Path) -> None:
    path = tmp_path / "lateral_1.dcm"
    path.write_bytes(b"film")
    page = handlers(examples=(Example(path),))
    first, second = (page.open_example(None, {"index": 0}, "bands") for _ in range(2))
    assert path.exists()
    assert first.name == "lateral_1"
    assert first.token != second.token


# ---- segmenting ----


def test_segment_says_everything() -> None:
    html = panels.findings(segmented())
    for text in ("70 × 40 px", "bands", "GPU", "1.2\N{NO-BREAK SPACE}s", "Numbering reliable", "90%"):
        assert text in html
    assert "not found" not in html
    html = panels.findings(segmented(handlers(Bands(absent=(0, 5)))))
    assert "Check the numbering" in html
    assert "Not found: L1, S1; the best &lt;b&gt;path&lt;/b&gt; is close" in html


def test_invert_changes_what_is_shown_and_what_is_segmented() -> None:
    model = Bands()
    page = handlers(model)
    inverted = page.invert(segmented(page), True)
    assert inverted and inverted.inverted and inverted.layer is None
    first, second = update(None, opened()), update(opened(), inverted)
    assert first and second
    assert first["picture"] != second["picture"]
    assert page.segment(opened(), "bands", True, "").inverted
    assert np.array_equal(model.seen[-1].image, FILM.inverted().image)
    assert page.invert(None, True) is None


class Turned(Bands):
    """Sees the inverse of a film whose polarity nobody knows, as `Segmenter` does where the picture shows bone dark."""

    def __call__(self, film: Film, /) -> Prediction:
        return replace(super().__call__(film), inverted=not film.polarity_known)


def test_a_film_that_was_inverted_is_shown_so_for_every_model_and_can_be_turned_back() -> None:
    page = handlers(Turned(), Turned())
    state = page.segment(opened(), "bands", False, "")
    assert np.array_equal(state.shown_film.image, FILM.inverted().image) and INVERTED[1:] in panels.findings(state)
    sent = update(opened(), state)
    assert sent and sent["picture"]
    other = page.segment(state, "other", False, "")
    assert np.array_equal(other.shown_film.image, state.shown_film.image) and INVERTED[1:] in panels.findings(other)
    back = page.segment(state, "bands", True, "")
    assert np.array_equal(back.shown_film.image, FILM.image) and INVERTED[1:] not in panels.findings(back)


class Turning(Bands):
    """Takes no picture for a lateral lumbar radiograph."""

    def __call__(self, film: Film, /) -> Prediction:
        made = super().__call__(film)
        return replace(made, levels=replace(made.levels, verdict=NOT_LUMBAR))


def test_another_picture_is_shown_bare_until_its_masks_are_asked_for() -> None:
    film, model = simulated()
    page = handlers(Turning(answer=model.answer))
    state = page.segment(SessionState(film, "token"), "bands", False, "")
    sent, html = update(SessionState(film, "token"), state), panels.findings(state)
    assert sent is not None and not sent.get("a") and not sent.get("lines")
    assert "does not look like a lateral lumbar radiograph" in html and "Show anyway" in html and "L1" not in html
    assert state.measurements is None and "until Show anyway is pressed" in panels.measurements(state)
    shown = page.show_anyway(state)
    assert shown
    sent, html = update(state, shown), panels.findings(shown)
    assert sent and sent["a"] and sent["a"]["masks"] and sent["a"]["maps"] and sent["lines"]
    assert "Show anyway" not in html and "L1" in html and "does not look like" in html
    assert shown.measurements and shown.measurements.figures
    assert page.segment(shown, "bands", True, "").held_back, "another picture is shown bare again"


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda page: page.segment(None, "bands", False, ""), "choose one first"),
        (lambda page: page.segment(opened(), "unknown", False, ""), "Expected one of the models bands"),
        (lambda page: page.open_example(None, {"index": 0}, "bands"), "no such example"),
        (lambda page: page.download(None, {"kind": "npz"}), "choose it again"),
        (lambda page: page.download(opened(), {"kind": "npz"}), "press Run again"),
    ],
)
def test_nothing_to_work_on_is_said(act: Callable[[Handlers], object], sentence: str) -> None:
    with pytest.raises(gr.Error, match=sentence):
        act(handlers())


def test_a_film_is_segmented_once_and_again_for_another_model_or_inverted() -> None:
    first, second = Bands(), Bands()
    page = handlers(first, second)
    state = page.segment_if_open(opened(), "bands", False, "")
    assert state and state.layer
    again = page.segment(page.correct(state, sent(lower())), "bands", False, "")
    assert again.corrected is None, "the browser keeps what a person changed"
    assert again.layer is state.layer
    assert (len(first.seen), len(second.seen)) == (1, 0)
    assert page.segment(state, "other", False, "").layer is not state.layer
    assert page.segment(state, "bands", True, "").inverted
    assert (len(first.seen), len(second.seen)) == (2, 1)
    assert page.segment_if_open(None, "bands", False, "") is None


# ---- comparing (more in test_compare.py) ----


def test_two_models_are_compared() -> None:
    state = segmented(handlers(Bands(), Bands(shift=4)), "other")
    assert state.comparison and state.comparison.dice == pytest.approx((0.75,) * 6)
    html = panels.comparison(state)
    for text in ("A: bands; B: other", "HD95 mm", "same name in both"):
        assert text in html
    assert html.count("0.750") == 7


def test_a_reference_without_a_film_is_refused_and_gone(upload: dict) -> None:
    with pytest.raises(gr.Error, match="choose it before its reference"):
        handlers().open_reference(None, upload)
    assert not Path(upload["path"]).exists()


def test_a_reference_of_a_film_that_was_forgotten_is_gone_at_once(store: SessionStore, upload: dict) -> None:
    listener = on_session(store, handlers().open_reference)
    assert listener(gr.Request(session_hash="b-visitor"), "a film that is forgotten", upload)[0]["lost"]
    assert not Path(upload["path"]).parent.exists()


# ---- correcting and measuring ----


def lower(masks: np.ndarray | None = None) -> np.ndarray:
    """All names one level lower."""
    masks = bands() if masks is None else masks
    return np.concatenate([np.zeros_like(masks[:1]), masks[:-1]])


def sent(masks: np.ndarray, film: str = "token") -> dict[str, Any]:
    """Masks as the viewer sends them."""
    rows, columns = masks.shape[1:]
    film_seen = {"rows": rows, "columns": columns, "spacing": [0.5, 0.5, "detector"], "aspect": 1}
    return {"film": film, **film_seen, "masks": runs_of(masks)}


def test_a_correction_goes_everywhere() -> None:
    page = handlers(Bands(), Bands())
    before = segmented(page, "other")
    after = page.correct(before, sent(lower()))
    assert after.bits is not None
    assert np.array_equal(bits_to_masks(after.bits)[1:], bands()[:-1])
    html = panels.findings(after)
    for text in ("Corrected by hand", "no name is left for what the model called S1", "was L1"):
        assert text in html
    assert "No name is left" not in html, "sentences are joined, only the first begins with a capital"
    assert "named one level higher in B" in panels.comparison(after)
    assert "Numbering reliable" not in html, "that was said of the model's names"
    payload = update(before, after)
    assert payload and payload["a"]["corrected"]
    assert "picture" not in payload and "maps" not in payload["a"], "the viewer has them already"
    assert after_correction(after)["corrected"] and after_correction(after)["renumbered"]
    back = page.correct(after, sent(bands()))
    assert back.corrected is None, "the model's own"


def test_measurements_follow_the_correction_and_name_their_source() -> None:
    film, model = simulated()
    page = handlers(model)
    before = page.segment(SessionState(film, "token"), "bands", False, "")
    after = page.correct(before, sent(lower(model.answer)))
    assert before.measurements and after.measurements
    depth = before.measurements.figures["L1_depth_mm"].value
    assert depth == pytest.approx(after.measurements.figures["L2_depth_mm"].value, rel=0.02)
    assert "L1" in after.measurements.left_out
    assert before.measurements is before.measurements, "computed once"
    payload = update(before, after)
    assert payload
    assert {line["name"].split()[0] for line in payload["lines"] if "vertebra" in line} >= {"L2", "L5"}
    assert [bool(four) for four in payload["corners"]] == [name in after.measurements.corners for name in VERTEBRAE]
    html = panels.measurements(before)
    for text in ("Lumbar lordosis, L1-S1 Cobb", "°</td>", "Genant 1993", "at the detector", "95 % interval"):
        assert text in html


def test_the_error_of_a_vertebra_drawn_by_hand_rests_on_its_outline() -> None:
    film, model = simulated()
    page = handlers(model)
    before = page.segment(SessionState(film, "token"), "bands", False, "")
    masks = model.answer.copy()
    masks[1, np.flatnonzero(masks[1].any(1))[-1]] = False  # one row less of L2
    after = page.correct(before, sent(masks))
    assert before.measurements and after.measurements
    outline = measure(masks, film.spacing).figures
    assert after.measurements["L2_depth_mm"].error == pytest.approx(outline["L2_depth_mm"].error, rel=0.01)
    assert after.measurements["L4_depth_mm"].error == before.measurements["L4_depth_mm"].error


def test_masks_of_a_film_that_is_not_here_are_measured_and_saved_but_not_kept(store: SessionStore) -> None:
    _, model = simulated()
    request = sent(model.answer, "another")
    payload, findings, _, measured = correct_on_session(store, handlers(), "a-visitor", request)
    assert (payload["film"], payload["forgotten"]) == ("another", True)
    assert payload["lines"]
    assert "Corrected by hand" in findings and "lordosis" in measured
    assert stored(store).corrected is None, "nothing of it is kept"
    file = handlers().download(stored(store), {**request, "kind": "npy"})
    array = np.load(io.BytesIO(base64.b64decode(file["file"]["content"])))
    assert np.array_equal(array, to_array(model.answer))


def test_masks_are_taken_over_whatever_else_changed_meanwhile(store: SessionStore) -> None:
    page, slow = handlers(), []

    class Slow(Handlers):
        def correct(self, state: SessionState | None, sent: Mapping[str, Any]) -> SessionState:
            if not slow:
                slow.append(ask(store, page.segment, "bands", False, ""))
            return super().correct(state, sent)

    correct_on_session(
        store, Slow(page.segmenters, page.read, page.read_label, page.predict), "a-visitor", sent(lower())
    )
    assert stored(store).layer and stored(store).corrected is not None


# ---- what the viewer is sent ----


def unpacked(sent: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(sent)), np.uint8)


def test_viewer_is_sent_what_was_segmented() -> None:
    payload = update(None, segmented())
    assert payload
    assert np.array_equal(bits_to_masks(unpacked(payload["a"]["masks"]).reshape(70, 40)), bands())
    picture = base64.b64decode(payload["picture"].removeprefix("data:image/jpeg;base64,"))
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.shape == (payload["rows"], payload["columns"]) == (70, 40)
    assert shown[5].mean() + 50 < shown[60].mean(), "brighter towards the bottom, as the film"


def test_probability_maps_lie_where_the_film_does() -> None:
    payload = update(None, segmented())
    assert payload and payload["a"]["undecoded"] is False
    maps = payload["a"]["maps"]
    rows, columns = np.nonzero(unpacked(maps["values"]).reshape(6, maps["rows"], maps["columns"])[2] > 127)
    top = maps["top"] + (rows.min() + 0.5) * maps["height"] / maps["rows"]
    left = maps["left"] + (columns.min() + 0.5) * maps["width"] / maps["columns"]
    assert (top, left) == (pytest.approx(22, abs=1), pytest.approx(5, abs=1)), "the bar of L3 begins there"


def test_probability_maps_move_with_the_field_that_they_show() -> None:
    before = segmented()
    assert before.layer and before.layer.bone_map
    bone_map = before.layer.bone_map
    rows, columns = bone_map.fit.field
    field = slice(rows.start + 7, rows.stop + 7), slice(columns.start + 3, columns.stop + 3)
    moved = replace(before.layer, bone_map=replace(bone_map, fit=replace(bone_map.fit, field=field)))
    maps, later = ((update(None, state) or {})["a"]["maps"] for state in (before, replace(before, layer=moved)))
    assert later == maps | {"top": maps["top"] + 7, "left": maps["left"] + 3}


def test_viewer_is_sent_only_what_changed() -> None:
    before = segmented()
    assert update(before, before) == UNCHANGED
    assert update(before, None) is None
    other = handlers(Bands(), Bands()).compare(before, "other")
    assert set(update(before, other) or {}) == {"film", "sides"}
    gone = update(other, handlers().invert(other, True))
    assert gone
    assert {"a", "sides"} & set(gone) == set(), "a new picture starts without masks"


# ---- the session between two requests ----


@pytest.fixture
def store() -> SessionStore:
    store = SessionStore(600.0)
    store.replace("a-visitor", None, opened())
    return store


def ask(
    store: SessionStore, handler: Callable[..., SessionState | None], *inputs: object, silent: bool = False
) -> tuple:
    return on_session(store, handler, silent=silent)(gr.Request(session_hash="a-visitor"), "", *inputs)


def stored(store: SessionStore) -> SessionState:
    entry = store.get("a-visitor")
    assert entry and entry.state
    return entry.state


def test_a_request_finds_what_the_last_one_left(store: SessionStore) -> None:
    page = handlers()
    payload, findings, comparison, measurements = ask(store, page.segment, "bands", False, "")
    assert payload["a"]
    assert "Numbering reliable" in findings
    assert "Choose what to compare" in comparison
    assert "Not measured" in measurements
    assert "Corrected" in correct_on_session(store, page, "a-visitor", sent(lower()))[1]


def test_a_request_that_another_one_overtook_says_so(store: SessionStore) -> None:
    def slow(state: SessionState | None) -> SessionState | None:
        store.finish_opening("a-visitor", store.begin_opening("a-visitor"), opened())
        return handlers().segment(state, "bands", False, "")

    with pytest.raises(gr.Error, match="another press came between"):
        ask(store, slow)
    assert ask(store, slow, silent=True)[0] == UNCHANGED, "what only follows on a request is late in silence"
    assert stored(store).layer is None


def test_the_opening_example_is_taken_up_with_the_first_thing_done_to_it() -> None:
    film, model = simulated()
    page, store = handlers(model, Bands(answer=model.answer)), SessionStore(600.0)
    opening = page.segment(SessionState(film, "example"), "bands", False, "")

    def asked(shown: str) -> tuple:
        return on_session(store, page.compare, opening)(gr.Request(session_hash="a-visitor"), shown, "other")

    assert asked("another film, which the server has forgotten")[0] == {
        "film": "another film, which the server has forgotten",
        "lost": True,
    }
    assert store.get("a-visitor") is None
    payload = asked("example")[0]
    assert payload["film"] == "example" and payload["sides"] and not {"a", "picture"} & payload.keys()
    assert stored(store).others and not opening.others, "others see the example as it was"
    masks = sent(model.answer, "example")
    other = SessionStore(600.0)
    assert not correct_on_session(other, page, "a-visitor", masks, opening)[0]["forgotten"]
    assert correct_on_session(other, page, "b-visitor", masks)[0]["forgotten"], "without an example there is none"


def test_nothing_is_done_to_a_film_that_the_tab_does_not_show_yet(store: SessionStore, upload: dict) -> None:
    page, before = handlers(), stored(store)
    for handler, inputs in ((page.open_reference, [upload]), (page.invert, [True]), (page.compare, ["other"])):
        asked = on_session(store, handler, of_shown=True)
        assert asked(gr.Request(session_hash="a-visitor"), "the film before", *inputs)[0] == UNCHANGED
    assert stored(store) is before
    assert not Path(upload["path"]).exists(), "the reference was of the film before"
    with pytest.raises(gr.Error, match="choose it again"):
        page.download(segmented(page), {"kind": "csv", "film": "the film before"})


def test_an_upload_for_a_film_that_was_forgotten_is_gone_too(upload: dict) -> None:
    listener = on_session(SessionStore(600.0), handlers().open_reference)
    assert listener(gr.Request(session_hash="a-visitor"), "forgotten", upload)[0]["lost"]
    assert not Path(upload["path"]).exists()


def test_a_refused_upload_is_told_to_its_field(store: SessionStore, upload: dict) -> None:
    refusing = replace(handlers(), read=failing(BadInput("a <label>, not a film")))
    payload, *others, field = on_upload(store, refusing)(gr.Request(session_hash="a-visitor"), upload)
    assert payload == UNCHANGED and len(others) == 6
    assert field == {"refused": "a <label>, not a film", "token": "token"}, "which of two films it is about"
    assert stored(store).token == "token"


def test_what_changes_nothing_disturbs_no_other_request() -> None:
    store, page = SessionStore(600.0), handlers()
    store.begin_opening("a-visitor")
    entry = store.get("a-visitor")
    answers = ask(store, page.segment_if_open, "bands", False, "")
    assert all(answer == gr.skip() for answer in answers), "a film that is shown meanwhile stays on the stage"
    assert store.replace("a-visitor", entry, opened()), "the film that was being read meanwhile finds its place"


def test_a_film_that_is_refused_leaves_the_old_one(store: SessionStore) -> None:
    before = stored(store)

    def refused(state: SessionState | None) -> SessionState:
        raise BadInput("expected a film")

    with pytest.raises(BadInput):
        on_new_film(store, refused)(gr.Request(session_hash="a-visitor"))
    assert stored(store) is before
    assert ask(store, handlers().segment, "bands", False, "")[0]["a"]


def test_a_film_that_another_one_overtook_changes_nothing(store: SessionStore) -> None:
    newer = opened()

    def slow(state: SessionState | None) -> SessionState:
        store.finish_opening("a-visitor", store.begin_opening("a-visitor"), newer)
        return opened()

    assert on_new_film(store, slow)(gr.Request(session_hash="a-visitor"))[0] == UNCHANGED
    assert stored(store) is newer


# ---- a batch, a program, models ----


def test_a_film_of_a_batch_is_answered_with_entries_or_a_sentence(upload: dict) -> None:
    answer = handlers().batch_film({"file": upload}, "bands", False)
    assert (answer["token"], answer["verdict"]) == ("token", "numbering reliable")
    assert [entry["ending"] for entry in answer["entries"]] == [".npy", "-overlay.png", "-labels.png", ".json"]
    assert not Path(upload["path"]).exists()
    assert "no longer here" in handlers().batch_film({"file": upload}, "bands", False)["error"]


def test_program_gets_the_bytes_that_numpy_saves(upload: dict) -> None:
    path = Path(handlers().segment_file(upload))
    np.save(expected := io.BytesIO(), to_array(bands()))
    assert (path.name, path.read_bytes()) == ("masks.npy", expected.getvalue())
    assert not Path(upload["path"]).exists()


def test_models_load_behind_the_page_in_order() -> None:
    begin, order = threading.Event(), []

    def load(name: str) -> Callable[[], Bands]:
        def loaded() -> Bands:
            begin.wait(5)
            order.append(name)
            return Bands(device=name)

        return loaded

    models = LazyModels({"b": load("b"), "a": load("a")}).start()
    assert (list(models), len(models), "a" in models, "c" in models, order) == (["b", "a"], 2, True, False, [])
    begin.set()
    assert models["a"].device == "a"
    assert order == ["b", "a"]


def test_model_that_does_not_load_is_said_without_its_path(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Bands:
        raise OSError("no file at its path")

    models = LazyModels({"bands": Bands, "broken": broken}).start()
    page = Handlers(models, lambda path: FILM, read_label, lambda name, film: models[name](film))
    with pytest.raises(gr.Error) as caught:
        page.segment(opened(), "broken", False, "")
    assert caught.value.message == texts.UNFORESEEN
    assert "ready" in page.status()
    failing = LazyModels({"broken": broken}).start()
    object.__setattr__(page, "segmenters", failing)  # the type checker would ask for a model
    status = page.status()
    assert "failed" in status and texts.UNFORESEEN in status
    assert "its path" not in caplog.text


def test_about_says_what_the_card_says_and_escapes_it() -> None:
    html = handlers().about("bands")
    for text in ("Six &lt;b&gt;bars&lt;/b&gt;.", "12 films, 10 minutes", "train &lt;x&gt;", "0.81", "64 × 48"):
        assert text in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("scores", "table"),
    [
        (
            {"made": {"dice": [0.2, 0.4, 0.6, 0.0, 0.0, 0.0], "films": 64}},
            "<th>films</th><th>mean Dice</th></tr></thead><tbody>"
            '<tr><th scope="row">made</th><td>64</td><td>0.20</td></tr></tbody>',
        ),
        (
            {"held back": {"films": 3, "mean dice": None}, "real": {"films": 11, "mean dice": 0.8}},
            '<tr><th scope="row">held back</th><td>3</td><td>–</td></tr>'
            '<tr><th scope="row">real</th><td>11</td><td>0.80</td></tr></tbody>',
        ),
    ],
)
def test_scores_of_a_card_have_no_empty_column_and_a_dash_for_no_number(scores: dict, table: str) -> None:
    assert table in panels.about("a model", {"scores": scores}, "cpu")
