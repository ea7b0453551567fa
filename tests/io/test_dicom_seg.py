"""Segmentation objects: what is in them, what is not, and that a validator accepts them."""

from __future__ import annotations

import builtins
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small import rectangles

from spineseg.film import ANATOMY, VERTEBRAE, Film, Spacing
from spineseg.io.dicom_seg import PATIENT, NoSegmentation, require_highdicom, write_segmentation
from spineseg.io.dicom_write import write_film

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom-seg: pip install highdicom")


MASKS = rectangles((96, 64), 2, 10, 8, 20, 20)
IMAGE = Film(np.arange(96 * 64, dtype=np.float32).reshape(96, 64) % 4096, Spacing(0.15, 0.15, "detector"))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """The film with what hospitals write about a patient."""
    write_film(tmp_path / "film.dcm", IMAGE)
    named = highdicom.imread(tmp_path / "film.dcm")
    named.PatientName, named.PatientID, named.PatientBirthDate = "Doe^Jane", "4711", "19600102"
    named.PatientSex, named.AccessionNumber, named.StudyDate = "F", "A99", "20200304"
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


def test_without_highdicom_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def missing(name: str, *rest: object, **more: object):
        if name == "highdicom":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "highdicom")
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(NoSegmentation, match="pip install"):
        require_highdicom()
