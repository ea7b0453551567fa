"""Segmentation objects: what is in them, what is not, and that a validator accepts them."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom.valuerep import DA
from small import rectangles

from spineseg.film import ANATOMY, VERTEBRAE, Film, Spacing
from spineseg.io import isolation
from spineseg.io.dicom_seg import PATIENT, NoSegmentation, obstacle, write_segmentation
from spineseg.io.dicom_write import write_film
from spineseg.io.isolation import segmentation_isolated
from spineseg.io.pictures import png_bytes
from spineseg.io.reader_pool import ReadResult, Refused, Unsafe

MASKS = rectangles((96, 64), 2, 10, 8, 20, 20)
IMAGE = Film(np.arange(96 * 64, dtype=np.float32).reshape(96, 64) % 4096, Spacing(0.15, 0.15, "detector"))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """The film with what hospitals write about a patient."""
    write_film(tmp_path / "film.dcm", IMAGE)
    named = highdicom.imread(tmp_path / "film.dcm")
    named.PatientName, named.PatientID, named.PatientBirthDate = "Doe^Jane", "4711", DA("19600102")
    named.PatientSex, named.AccessionNumber, named.StudyDate = "F", "A99", DA("20200304")
    named.InstitutionName, named.OperatorsName = "Somewhere", "Somebody"
    named.save_as(tmp_path / "film.dcm")
    return tmp_path / "film.dcm"


def written(film: Path, masks: np.ndarray, **options: bool):
    write_segmentation(film.with_name("seg.dcm"), film, masks, model="tiny", **options)
    return highdicom.seg.segread(film.with_name("seg.dcm"))


def test_it_holds_the_masks(film: Path):
    seg = written(film, MASKS)
    frames = seg.pixel_array
    assert frames.shape == MASKS.shape and np.array_equal(frames.astype(bool), MASKS)
    described = seg.SegmentSequence
    assert [segment.SegmentLabel for segment in described] == list(VERTEBRAE)
    codes = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in described]
    assert codes == [vertebra.snomed[0] for vertebra in ANATOMY]


def test_it_refers_to_the_film(film: Path):
    seg, source = written(film, MASKS), highdicom.imread(film)
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_nothing_of_the_patient_is_copied_unless_asked_for(film: Path):
    seg = written(film, MASKS)
    assert [keyword for keyword in PATIENT if seg.get(keyword)] == []
    content = film.with_name("seg.dcm").read_bytes()
    for word in (b"Doe", b"4711", b"19600102", b"A99", b"20200304", b"Somewhere", b"Somebody"):
        assert word not in content
    seg = written(film, MASKS, copy_patient=True)
    assert (str(seg.PatientName), seg.PatientID, seg.StudyDate) == ("Doe^Jane", "4711", "20200304")
    assert b"Somewhere" not in film.with_name("seg.dcm").read_bytes()


def test_a_projection_film_has_no_place_in_the_patient(film: Path):
    seg = written(film, MASKS)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert "PixelMeasuresSequence" not in shared and "PlaneOrientationSequence" not in shared
    assert "FrameOfReferenceUID" not in seg


def test_a_vertebra_without_a_mask_has_no_segment(film: Path):
    masks = MASKS.copy()
    masks[[0, 3]] = False
    labels = [segment.SegmentLabel for segment in written(film, masks).SegmentSequence]
    assert labels == [name for k, name in enumerate(VERTEBRAE) if k not in (0, 3)]


@pytest.mark.parametrize("copy_patient", [False, True])
def test_a_validator_finds_no_error(film: Path, copy_patient: bool):
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    written(film, MASKS, copy_patient=copy_patient)
    done = subprocess.run([validator, film.with_name("seg.dcm")], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith("Error")] == []
    assert "Segmentation" in said


def test_what_cannot_be_written_is_one_sentence(film: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(NoSegmentation, match="found none"):
        written(film, np.zeros_like(MASKS))
    with pytest.raises(NoSegmentation, match="own size"):
        written(film, MASKS[:, 1:])
    anonymous = highdicom.imread(film)
    anonymous.StudyInstanceUID = ""
    anonymous.save_as(film)
    with pytest.raises(NoSegmentation, match="StudyInstanceUID"):
        written(film, MASKS)
    film.write_bytes(b"nothing of use")
    with pytest.raises(NoSegmentation, match="refers to a DICOM film"):
        written(film, MASKS)
    assert not film.with_name("seg.dcm").exists()


def test_a_film_that_is_no_dicom_file_is_told_by_its_content(film: Path, tmp_path: Path):
    assert obstacle(film) == ""
    (tmp_path / "picture.dcm").write_bytes(png_bytes(np.zeros((8, 8), np.uint8)))
    said = "This is a PNG picture, and a DICOM segmentation refers to a DICOM film; choose that one"
    assert obstacle(tmp_path / "picture.dcm") == said
    with pytest.raises(Refused, match="This is a PNG picture"):
        segmentation_isolated(tmp_path / "picture.dcm", MASKS, model="tiny")


def test_one_made_in_isolation_holds_the_same_and_nothing_of_the_patient(film: Path):
    content = segmentation_isolated(film, MASKS, model="tiny", by_hand=("L2",))
    seg = highdicom.seg.segread(io.BytesIO(content))
    assert np.array_equal(seg.pixel_array.astype(bool), MASKS)
    kinds = [segment.SegmentAlgorithmType for segment in seg.SegmentSequence]
    assert kinds == ["SEMIAUTOMATIC" if name == "L2" else "AUTOMATIC" for name in VERTEBRAE]
    for word in (b"Doe", b"4711", b"19600102", b"A99", b"20200304", b"Somewhere", b"Somebody"):
        assert word not in content
    with pytest.raises(Refused, match="own size"):
        segmentation_isolated(film, MASKS[:, 1:], model="tiny")


def test_an_answer_that_is_no_segmentation_is_not_passed_on(film: Path, monkeypatch: pytest.MonkeyPatch):
    answer = ReadResult(np.frombuffer(film.read_bytes(), np.uint8), {})
    monkeypatch.setattr(isolation, "isolated", lambda *_, **__: answer)
    with pytest.raises(Unsafe):
        segmentation_isolated(film, MASKS, model="tiny")
