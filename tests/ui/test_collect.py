"""Films that go into a training folder: once each, whole or not at all, and such that `check` accepts them."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from ui_fakes import handlers, runs_of, simulated

from spineseg.data.check import check_folder
from spineseg.film import VERTEBRAE
from spineseg.io import folder as folders
from spineseg.io.dicom_write import write_film
from spineseg.io.files import locked
from spineseg.io.films import read_film
from spineseg.io.folder import labelled_films, read_case
from spineseg.io.pictures import write_png
from spineseg.render import to_uint8
from spineseg.ui.access import from_this_machine, reachable_by_others
from spineseg.ui.collect import Collection
from spineseg.ui.examples import Example
from spineseg.ui.handlers import Handlers
from spineseg.ui.launch import make_collection
from spineseg.ui.session import SessionState

L1, L3, S1 = (VERTEBRAE.index(name) for name in ("L1", "L3", "S1"))
FILM, MODEL = simulated()


@pytest.fixture
def page(tmp_path: Path) -> Handlers:
    """Reads files for what they are; its model knows the film's masks."""
    path = tmp_path / "simulated.dcm"
    write_film(path, FILM)
    return replace(handlers(MODEL, read=read_film), examples=(Example(path),))


@pytest.fixture
def collection(tmp_path: Path, page: Handlers) -> Collection:
    return Collection(tmp_path / "collected", page)


def opened(page: Handlers, path: Path) -> SessionState:
    return page.segment(SessionState(read_film(path), "token"), "bands", False, "")


def sent(uploads: Path, film: Path, masks: np.ndarray | None = None) -> dict[str, Any]:
    """The film's file once more, as the browser uploads it, and masks that a person corrected."""
    path = uploads / "again" / "token"
    path.parent.mkdir()
    shutil.copy(film, path)
    corrected = {} if masks is None else {"masks": runs_of(masks)}
    return {"film": "token", "upload": {"path": str(path), "orig_name": "token"}, **corrected}


@pytest.fixture
def send(collection: Collection, upload: dict, tmp_path: Path) -> Callable[..., str]:
    """Collect a film; what the page says."""
    film = tmp_path / "simulated.dcm"

    def send(masks: np.ndarray | None = None, path: Path = film, state: SessionState | None = None) -> str:
        state = state or opened(collection.handlers, path)
        try:
            return collection.collect(state, sent(tmp_path, path, masks))["collected"]
        finally:
            assert not (tmp_path / "again").exists(), "the upload is gone"

    return send


def files(collection: Collection) -> dict[str, bytes]:
    root = collection.folder
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_film_and_its_label_lie_in_a_folder_that_check_accepts(
    collection: Collection, send: Callable[..., str], tmp_path: Path
) -> None:
    make_collection(collection.folder)
    assert send() == "Added to the training folder; films in it: 1."
    assert check_folder(collection.folder).findings == ()
    (film,) = labelled_films(collection.folder)
    assert film.film.read_bytes() == (tmp_path / "simulated.dcm").read_bytes() and film.film.suffix == ".dcm"
    assert "simulated" not in film.name and len(film.name) == 16
    assert np.array_equal(read_case(film).masks, MODEL.answer)


def test_a_film_is_there_once_with_its_last_label(
    collection: Collection, send: Callable[..., str], tmp_path: Path
) -> None:
    """Also where its pixels come in another file."""
    make_collection(collection.folder)
    send()
    grown = MODEL.answer.copy()
    grown[L3] |= np.roll(MODEL.answer[L3], 1, axis=1)
    grown &= ~(np.cumsum(grown, axis=0) > 1)
    other = tmp_path / "pixels.dcm"
    write_film(other, replace(FILM, spacing=None))
    assert send(grown, path=other).startswith("The label in the training folder was replaced; films in it: 1.")
    (film,) = labelled_films(collection.folder)
    assert np.array_equal(read_case(film).masks, grown)
    assert film.film.read_bytes() == (tmp_path / "simulated.dcm").read_bytes()


def test_pictures_and_examples_are_collected_too(
    collection: Collection, send: Callable[..., str], tmp_path: Path
) -> None:
    make_collection(collection.folder)
    picture = tmp_path / "picture.png"
    write_png(picture, to_uint8(FILM))
    assert send(path=picture) == "Added to the training folder; films in it: 1."
    state = replace(opened(collection.handlers, tmp_path / "simulated.dcm"), name="simulated")
    assert collection.collect(state, {"film": "token"})["collected"].endswith("films in it: 2.")
    assert {film.film.suffix for film in labelled_films(collection.folder)} == {".png", ".dcm"}
    kinds = {finding.kind for finding in check_folder(collection.folder).findings}
    assert kinds == {"similar film"}, "the picture shows the film"


def test_masks_that_check_would_refuse_are_not_collected(collection: Collection, send: Callable[..., str]) -> None:
    make_collection(collection.folder)
    gap, none, swapped = (MODEL.answer.copy() for _ in range(3))
    gap[L3] = False
    none[:] = False
    swapped[[L1, L3]] = swapped[[L3, L1]]
    for masks, words in ((gap, "expected L3 between"), (none, "expected vertebrae, got none"), (swapped, "exchanged")):
        with pytest.raises(gr.Error, match=words):
            send(masks)
    assert files(collection) == {}


def test_a_missing_vertebra_at_the_end_is_collected_and_said(collection: Collection, send: Callable[..., str]) -> None:
    make_collection(collection.folder)
    without = MODEL.answer.copy()
    without[L1] = False
    words = "Look again: expected L1, got an empty mask where the film has room for it; mark it if it shows."
    assert send(without) == f"Added to the training folder; films in it: 1. {words}"
    assert check_folder(collection.folder).errors == 0


def test_what_is_not_the_film_shown_is_not_collected(
    collection: Collection, send: Callable[..., str], tmp_path: Path
) -> None:
    make_collection(collection.folder)
    shown = opened(collection.handlers, tmp_path / "simulated.dcm")
    other = tmp_path / "other.dcm"
    write_film(other, replace(FILM, image=FILM.image * np.float32(0.9)))
    with pytest.raises(gr.Error, match="not of this film"):
        send(path=other, state=shown)
    with pytest.raises(gr.Error, match="Bone is dark in this film’s file"):
        send(state=collection.handlers.segment(shown, "bands", True, ""))
    with pytest.raises(gr.Error, match="no masks yet"):
        send(state=SessionState(FILM, "token"))
    for gone in (None, replace(shown, forgotten=True)):
        with pytest.raises(gr.Error, match="no longer holds this film"):
            collection.collect(gone, {"film": "token", "masks": []} if gone is None else {"film": "token"})
    assert files(collection) == {}


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk of the training folder is full"), (errno.EROFS, "cannot be written")],
)
def test_a_full_or_read_only_disk_is_one_sentence_and_leaves_the_folder_as_it_was(
    collection: Collection, send: Callable[..., str], monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "no", "/secret/path")

    make_collection(collection.folder)
    with monkeypatch.context() as patched:
        patched.setattr(folders, "write_mat", fail)
        with pytest.raises(gr.Error, match=words) as caught:
            send()
        assert "secret" not in caught.value.message and files(collection) == {}
    send()
    before = files(collection)
    with monkeypatch.context() as patched:
        patched.setattr(folders, "write_mat", fail)
        with pytest.raises(gr.Error, match="nothing was added"):
            send(np.roll(MODEL.answer, 1, axis=2))
    assert files(collection) == before


def test_a_file_in_the_place_of_the_folder_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"that can be written as --collect, got: [A-Z].*; name another"):
        make_collection(tmp_path / "file")


@pytest.mark.parametrize(
    ("host", "environment", "others"),
    [
        (None, {}, False),
        ("localhost", {}, False),
        ("[::1]", {}, False),
        ("127.0.0.2", {}, False),
        ("0.0.0.0", {}, True),
        ("::", {}, True),
        ("radiology.example.org", {}, True),
        (None, {"GRADIO_SERVER_NAME": "0.0.0.0"}, True),
        ("127.0.0.1", {"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        (None, {"SPACE_ID": "ann/spine"}, True),
        (None, {"GRADIO_ROOT_PATH": "/spine"}, True),
    ],
)
def test_whether_others_can_reach_the_page(host: str | None, environment: dict[str, str], others: bool) -> None:
    assert reachable_by_others(host, environment) is others


LOCAL, FOREIGN = {"host": "127.0.0.1:7860"}, {"host": "evil.example:7860", "origin": "http://evil.example:7860"}


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        (LOCAL, True),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, True),
        ({"host": "[::1]:7860", "origin": "http://[::1]:7860"}, True),
        (FOREIGN, False),
        ({**LOCAL, "origin": "https://evil.example"}, False),
        ({**LOCAL, "origin": "null"}, False),
        ({**LOCAL, "x-forwarded-for": "8.8.8.8"}, False),
        ({**LOCAL, "forwarded": "for=8.8.8.8"}, False),
        ({"host": "localhost.evil.example"}, False),
        ({"host": "[::1"}, False),
        ({}, False),
    ],
)
def test_whether_a_request_comes_from_this_machine(headers: dict[str, str], own: bool) -> None:
    assert from_this_machine(headers) is own


def test_requests_that_come_from_elsewhere_collect_nothing_unless_switched_on(
    collection: Collection, upload: dict
) -> None:
    collection.refuse_others(LOCAL, {"upload": upload})
    replace(collection, from_others=True).refuse_others(FOREIGN, {"upload": upload})
    assert Path(upload["path"]).exists()
    with pytest.raises(gr.Error, match="only for those at the machine that serves this page; start it with"):
        collection.refuse_others(FOREIGN, {"upload": upload})
    assert not Path(upload["path"]).exists()


def test_another_example_opened_meanwhile_is_not_collected(collection: Collection, tmp_path: Path) -> None:
    make_collection(collection.folder)
    state = replace(opened(collection.handlers, tmp_path / "simulated.dcm"), name="simulated")
    with pytest.raises(gr.Error, match="no longer holds this film"):
        collection.collect(state, {"film": "the one before"})
    assert files(collection) == {}


def test_the_same_film_from_two_files_at_once_is_there_once(collection: Collection, tmp_path: Path) -> None:
    """As from two tabs, or two servers on one folder."""
    make_collection(collection.folder)
    picture = tmp_path / "picture.png"
    write_png(picture, to_uint8(FILM))

    def add(path: Path) -> bool:
        return folders.add_film(collection.folder, "0123456789abcdef", path, MODEL.answer)

    with ThreadPoolExecutor(8) as pool:
        known = list(pool.map(add, [picture, tmp_path / "simulated.dcm"] * 8))
    assert known.count(False) == 1 and len(files(collection)) == 2
    with locked(collection.folder, wait=False), pytest.raises(BlockingIOError):
        locked(collection.folder, wait=False).__enter__()


def test_what_only_bears_the_name_of_a_film_is_none(collection: Collection, send: Callable[..., str]) -> None:
    make_collection(collection.folder)
    send()
    (film,) = (collection.folder / "img").iterdir()
    film.unlink()
    film.symlink_to("nothing")
    film.with_suffix(".txt").write_text("a note")
    assert send().startswith("Added to the training folder") and film.is_file() and not film.is_symlink()
    film.unlink()
    film.mkdir()
    (collection.folder / "label" / f"{film.stem}.mat").unlink()
    with pytest.raises(gr.Error, match="cannot be written, and nothing was added"):
        send()
    assert list(files(collection)) == [f"img/{film.stem}.txt"], "no label without a film"


def test_what_a_killed_server_left_is_no_film_and_goes(
    collection: Collection, send: Callable[..., str], tmp_path: Path
) -> None:
    make_collection(collection.folder)
    send()
    for part in ("img", "label"):
        shutil.copy(tmp_path / "simulated.dcm", collection.folder / part / ".0123456789abcdef.part")
    assert check_folder(collection.folder).findings == () and len(labelled_films(collection.folder)) == 1
    make_collection(collection.folder)
    assert len(files(collection)) == 2


def test_masks_that_are_none_are_said_in_a_sentence(collection: Collection, send: Callable[..., str]) -> None:
    with pytest.raises(gr.Error, match="A pixel of these masks is in two vertebrae"):
        send(np.repeat(MODEL.answer[:1], len(VERTEBRAE), axis=0))


def test_the_film_is_refused_before_the_folder_is_touched(collection: Collection, upload: dict) -> None:
    """A file that is no film: here the one that the fixture wrote."""
    state = collection.handlers.segment(SessionState(FILM, "token"), "bands", False, "")
    with pytest.raises(gr.Error, match="film"):
        collection.collect(state, {"film": "token", "upload": upload})
    assert not collection.folder.exists() and not Path(upload["path"]).exists()
