"""`Film` to an anonymous DICOM file; and what all DICOM files that are written share."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from spineseg.film import Film, Spacing
from spineseg.io.dicom_header import EXPLICIT, PIXEL_DATA
from spineseg.io.files import replacing

_CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"


def write_film(
    path: str | os.PathLike[str],
    film: Film,
    *,
    bits_stored: int = 12,
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2",
) -> None:
    """Write a film as an uncompressed, anonymous Computed Radiography image of the lumbar spine, lateral.

    Values are rounded and clipped to 0..2^bits_stored - 1 (8 to 16 bits). The same film gives the same bytes:
    identifiers are derived from the content and no date is written. The file appears whole or not at all.
    Source: DICOM PS3.3 A.2 (CR image).
    """
    if not 8 <= bits_stored <= 16:
        raise ValueError(f"expected 8 to 16 bits, got {bits_stored}; 12 is usual for radiographs")
    stored = np.clip(np.rint(film.image), 0, 2**bits_stored - 1).astype("<u2" if bits_stored > 8 else "u1")
    if photometric == "MONOCHROME1":
        stored = (2**bits_stored - 1) - stored
    content = stored.tobytes()
    digest = hashlib.sha256(repr((film.shape, film.spacing, bits_stored, photometric)).encode() + content).digest()
    dataset = _film_header(film, bits_stored, photometric, digest)
    dataset.add_new(PIXEL_DATA, "OW", content + b"\0" * (len(content) % 2))
    with replacing(path) as stream:
        dataset.save_as(stream, enforce_file_format=True)


def _film_header(film: Film, bits: int, photometric: str, digest: bytes) -> Dataset:
    """The modules of a CR image (PS3.3 A.2); required elements that are unknown are empty."""
    dataset = new_dataset(_CR_STORAGE, _uid(digest, b"image"), EXPLICIT)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(digest, b"study"), _uid(digest, b"series")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(dataset, keyword, "")
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "Manufacturer", "Laterality", "PatientOrientation"):
        setattr(dataset, keyword, "")
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "LSPINE", "LL"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.BurnedInAnnotation, dataset.PatientIdentityRemoved = "NO", "YES"
    dataset.DeidentificationMethod = "written without any identity"
    if film.spacing is not None:
        _set_spacing(dataset, film.spacing)
    elif film.aspect != 1:
        aspect = Fraction(film.aspect).limit_denominator(1000)
        dataset.PixelAspectRatio = [aspect.numerator, aspect.denominator]
    set_pixel_module(dataset, film.shape, bits, False, photometric)
    return dataset


def _set_spacing(dataset: Dataset, spacing: Spacing) -> None:
    pair = [DSfloat(mm, auto_format=True) for mm in (spacing.row_mm, spacing.column_mm)]
    if spacing.plane == "detector":
        dataset.ImagerPixelSpacing = pair
        return
    dataset.PixelSpacing = pair
    dataset.PixelSpacingCalibrationType = "GEOMETRY"
    dataset.PixelSpacingCalibrationDescription = "in the plane of the spine"


def new_dataset(sop_class: str, instance: str, syntax: str) -> Dataset:
    """An explicit little endian dataset with its file meta information, which names the syntax of the pixel data."""
    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    # pydicom would write its own version here, and the bytes would change with it
    dataset.file_meta.ImplementationClassUID = UID(_uid(b"spineseg", b"implementation"))
    dataset.file_meta.ImplementationVersionName = "SPINESEG"
    return dataset


def set_pixel_module(dataset: Dataset, shape: tuple[int, int], bits: int, signed: bool, photometric: str) -> None:
    """Size, depth and photometric interpretation of one grey image (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)


def _uid(digest: bytes, role: bytes) -> str:
    """A UID from content, in the root for UUIDs that needs no registration (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(role + digest).digest()[:16], 'big')}"
