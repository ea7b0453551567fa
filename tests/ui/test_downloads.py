"""Downloads: the same arrays as the command line's, pictures, a report that names nobody."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import gradio as gr
import highdicom
import numpy as np
import pytest
import scipy.io
from ui_fakes import FILM, bands, handlers, opened, runs_of, segmented

from spineseg.film import CHANNELS, VERTEBRAE, BadInput, Film
from spineseg.inference.verdict import RELIABLE
from spineseg.io.dicom_write import write_film
from spineseg.io.labels import to_array
from spineseg.io.pictures import png_bytes
from spineseg.render import overlay
from spineseg.ui import downloads
from spineseg.ui.correction import bits_to_masks, masks_to_bits, shifted
from spineseg.ui.session import SessionState
from spineseg.ui.viewer import update

# the names one level lower, without what the model called L3
CORRECTED = shifted(masks_to_bits(bands()), 1) & np.uint8(255 - 8)


def image(content: bytes, flags: int) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    assert decoded is not None
    return decoded


def test_every_array_is_the_one_of_the_command_line() -> None:
    state, expected = segmented(), to_array(bands())
    assert np.array_equal(np.load(io.BytesIO(downloads.npy(state))), expected)
    archive = np.load(io.BytesIO(downloads.npz(state)))
    assert np.array_equal(archive["masks"], expected)
    assert (tuple(archive["channels"]), bool(archive["corrected"])) == (CHANNELS, False)
    assert np.array_equal(scipy.io.loadmat(io.BytesIO(downloads.mat(state)))["label_separated"], expected)


def test_pictures_are_the_overlay_and_the_labels() -> None:
    drawn = image(downloads.picture(segmented()), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(drawn, overlay(FILM, bands()))
    labels = image(downloads.labels(segmented()), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels == 3, bands()[2])


def test_report_says_all_and_names_nobody() -> None:
    report = json.loads(downloads.report(segmented()))
    assert (report["film"]["rows"], report["film"]["spacing"]["plane"]) == (70, "detector")
    assert (report["levels"]["verdict"], report["corrected"]) == (RELIABLE, None)
    extent = {"pixels": 128, "centre_row_column": [5.5, 12.5], "box_rows": [2, 10], "box_columns": [5, 21]}
    assert report["vertebrae"]["L1"] == extent
    assert set(report["measurements"]["left_out"]) == {"L1", "L2", "L3", "L4", "L5", "S1"}, "bars are no bodies"
    assert report["model"]["name"] == "bands"
    assert "not for diagnosis" in report["use"]
    assert "token" not in json.dumps(report)


@pytest.mark.parametrize("kind", downloads.KINDS)
def test_corrected_downloads_carry_it_and_say_so(kind: str) -> None:
    plain = segmented()
    assert "corrected" not in downloads.file(plain, kind)["ending"]
    file = downloads.file(replace(plain, corrected=CORRECTED), kind)
    assert file["ending"].startswith("-corrected")
    assert base64.b64decode(file["content"]) != downloads.KINDS[kind][0](plain)


def test_corrected_array_and_report() -> None:
    corrected = replace(segmented(), corrected=CORRECTED)
    array = np.load(io.BytesIO(downloads.npy(corrected)))
    assert np.array_equal(array, to_array(bits_to_masks(CORRECTED)))
    assert np.load(io.BytesIO(downloads.npz(corrected)))["corrected"]
    report = json.loads(downloads.report(corrected))["corrected"]
    assert report["names moved down the spine by"] == 1
    assert report["left out (the model's names)"] == ["L3", "S1"]
    assert report["vertebrae"]["L2"] == {"model's name": "L1", "outline": "model"}


def test_a_film_that_is_not_here_has_all_files_but_the_overlay() -> None:
    corrected = SessionState(FILM, "", corrected=CORRECTED, forgotten=True)
    assert np.array_equal(np.load(io.BytesIO(downloads.npy(corrected))), to_array(bits_to_masks(CORRECTED)))
    report = json.loads(downloads.report(corrected))
    assert (report["levels"], report["model"], report["computed"]) == (None, None, None)
    assert report["corrected"] == {"in words": ["changed by a person; the server no longer held the model's masks"]}
    with pytest.raises(BadInput, match="choose it again, your contours come back"):
        downloads.file(corrected, "overlay")


def test_a_zip_s_entry_inflates_to_the_file() -> None:
    entry = downloads.zip_entry(segmented(), "npy")
    content = zlib.decompress(base64.b64decode(entry["content"]), -zlib.MAX_WBITS)
    assert content == downloads.npy(segmented())
    assert (entry["size"], entry["crc"], entry["ending"]) == (len(content), zlib.crc32(content), ".npy")


def test_why_masks_that_came_with_the_request_are_refused_is_said() -> None:
    overlapping = {"kind": "npz", "film": "token", "masks": runs_of(np.repeat(bands()[:1], len(VERTEBRAE), axis=0))}
    with pytest.raises(gr.Error, match="A pixel of these masks is in two vertebrae"):
        handlers().download(segmented(), overlapping)


def test_nothing_to_download_is_said() -> None:
    with pytest.raises(BadInput, match="press Run again"):
        downloads.file(opened(), "npz")
    with pytest.raises(BadInput, match="Expected one of npy"):
        downloads.file(segmented(), "../../secret")


def test_mat_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    downloads.mat(segmented())
    assert list(tmp_path.iterdir()) == []


# ---- DICOM SEG ----


@pytest.fixture
def dicom(upload: dict) -> dict:
    """An upload of a DICOM film of the bars' size, with a patient's name."""
    write_film(upload["path"], FILM)
    film = highdicom.imread(upload["path"])
    film.PatientName = "Doe^Jane"
    film.save_as(upload["path"])
    return upload


def test_a_segmentation_is_made_of_the_film_s_file_which_is_sent_once_more(dicom: dict) -> None:
    masks = bits_to_masks(CORRECTED)
    sent = {"kind": "seg", "film": "token", "upload": dicom, "masks": runs_of(masks)}
    file = handlers().download(segmented(), sent)["file"]
    content = base64.b64decode(file["content"])
    seg = highdicom.seg.segread(io.BytesIO(content))
    named = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert named == [name for name, mask in zip(VERTEBRAE, masks, strict=True) if mask.any()]
    assert np.array_equal(seg.pixel_array.astype(bool), masks[masks.any((1, 2))])
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"SEMIAUTOMATIC"}, "a person named them"
    assert file["ending"] == "-corrected.seg.dcm" and b"Doe" not in content
    assert not Path(dicom["path"]).exists()


def test_a_segmentation_of_the_model_s_own_masks_is_automatic(dicom: dict) -> None:
    file = handlers().download(segmented(), {"kind": "seg", "film": "token", "upload": dicom})["file"]
    seg = highdicom.seg.segread(io.BytesIO(base64.b64decode(file["content"])))
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    assert file["ending"] == ".seg.dcm" and seg.ManufacturerModelName == "bands"


def test_why_there_is_no_segmentation_is_known_when_the_film_is_opened(upload: dict) -> None:
    Path(upload["path"]).write_bytes(png_bytes(np.zeros((8, 8), np.uint8)))
    state = handlers().open_upload(None, upload)
    said = "This is a PNG picture, and a DICOM segmentation refers to a DICOM film; choose that one"
    assert state.no_segmentation == said
    payload = update(None, state)
    assert payload and payload["noSegmentation"] == said


def test_a_segmentation_without_the_file_or_of_another_film_is_one_sentence(dicom: dict) -> None:
    with pytest.raises(gr.Error, match="choose the film again"):
        handlers().download(segmented(), {"kind": "seg", "film": "token"})
    write_film(dicom["path"], Film(np.arange(80 * 64, dtype=np.float32).reshape(80, 64)))
    with pytest.raises(gr.Error, match="own size"):
        handlers().download(segmented(), {"kind": "seg", "film": "token", "upload": dicom})
    assert not Path(dicom["path"]).exists()
    with pytest.raises(gr.Error, match="no longer here"):
        handlers().download(segmented(), {"kind": "seg", "film": "token", "upload": {"path": "/etc/passwd"}})
