"""dicom_classes: objects without an image are told from images by their class alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import content_of, dataset, save_object, wheel_file
from pydicom._uid_dict import UID_dictionary

from spineseg.io.dicom_classes import OTHER_OBJECT
from spineseg.io.kinds import DICOM, HEAD_BYTES, kind_of


@pytest.mark.parametrize(
    ("uid", "what"),
    [
        ("1.2.840.10008.1.3.10", "a DICOMDIR index"),
        ("1.2.840.10008.5.1.4.1.1.88.11", "a DICOM structured report"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "a DICOM structured report"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "a DICOM presentation state"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "a DICOM segmentation"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "a PDF document in DICOM"),
        ("1.2.840.10008.5.1.4.1.1.481.5", OTHER_OBJECT),
        ("1.2.840.10008.5.1.4.1.1.1.1", "a DICOM file"),
        ("1.2.826.0.1.3680043.9.7", "a DICOM file"),
    ],
)
def test_by_the_class(tmp_path: Path, uid: str, what: str):
    save_object(path := tmp_path / "object", uid)
    assert kind_of(path.read_bytes()[:HEAD_BYTES]).article == what


def test_every_class_of_images_is_taken_for_images(tmp_path: Path):
    images = [uid for uid, entry in UID_dictionary.items() if "Image Storage" in entry[0] and entry[1] == "SOP Class"]
    for uid in images:
        save_object(path := tmp_path / "object", uid)
        assert kind_of(path.read_bytes()[:HEAD_BYTES]) is DICOM
    assert len(images) > 50


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_without_file_meta_information(syntax: str):
    """Implicit and explicit; the class then stands in group 0008."""
    made = dataset(np.zeros((64, 64), np.uint16), syntax=syntax)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    content = content_of(made)
    bare = content[content.index(b"\x08\0\x16\0") :]
    assert kind_of(bare[:HEAD_BYTES]).article == "a DICOM structured report"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("DICOMDIR", "a DICOMDIR index"),
        ("reportsi.dcm", "a DICOM structured report"),
        ("rtdose.dcm", OTHER_OBJECT),
        ("CT_small.dcm", "a DICOM file"),
        ("JPEG2000.dcm", "a DICOM file"),
    ],
)
def test_real_files(name: str, what: str):
    assert kind_of(wheel_file(name).read_bytes()[:HEAD_BYTES]).article == what
