"""Downloads: the same arrays as the command line's, pictures, a report that names nobody."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from ui_fakes import FILM, bands, opened, segmented

from spineseg.film import CHANNELS, BadInput
from spineseg.inference.verdict import RELIABLE
from spineseg.io.labels import to_array
from spineseg.render import overlay
from spineseg.ui import downloads
from spineseg.ui.correction import Correction, bits_to_masks, masks_to_bits

CORRECTION = Correction(1, frozenset({2}))


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
    file = downloads.file(replace(plain, correction=CORRECTION), kind)
    assert file["ending"].startswith("-corrected")
    assert base64.b64decode(file["content"]) != downloads.KINDS[kind][0](plain)


def test_corrected_array_and_report() -> None:
    corrected = replace(segmented(), correction=CORRECTION)
    array = np.load(io.BytesIO(downloads.npy(corrected)))
    assert np.array_equal(array, to_array(bits_to_masks(CORRECTION.applied(masks_to_bits(bands())))))
    assert np.load(io.BytesIO(downloads.npz(corrected)))["corrected"]
    report = json.loads(downloads.report(corrected))["corrected"]
    assert (report["names moved down the spine by"], report["left out (the model's names)"]) == (1, ["L3"])


def test_a_zip_s_entry_inflates_to_the_file() -> None:
    entry = downloads.zip_entry(segmented(), "npy")
    content = zlib.decompress(base64.b64decode(entry["content"]), -zlib.MAX_WBITS)
    assert content == downloads.npy(segmented())
    assert (entry["size"], entry["crc"], entry["ending"]) == (len(content), zlib.crc32(content), ".npy")


def test_nothing_to_download_is_said() -> None:
    with pytest.raises(BadInput, match="press Segment first"):
        downloads.file(opened(), "npz")
    with pytest.raises(BadInput, match="Expected one of npy"):
        downloads.file(segmented(), "../../secret")


def test_mat_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    downloads.mat(segmented())
    assert list(tmp_path.iterdir()) == []
