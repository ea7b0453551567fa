"""Masks -> a DICOM segmentation object that belongs to its film; the only user of highdicom.

One binary segment for each vertebra, on the film's own pixels. A projection film has no position in the patient, so the
object refers to the film's image, and has neither pixel measures in the patient nor an orientation.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from typing import Any

from spineseg import __version__
from spineseg.film import ANATOMY, VERTEBRAE, BadInput, Masks, Vertebra
from spineseg.io.files import replacing
from spineseg.io.kinds import DICOM, HEAD_BYTES, kind_of

PATIENT = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What a segmentation object would repeat of the film's header, and does not unless asked to."""
_KEPT = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "Modality")


class NoSegmentation(BadInput):
    """A segmentation object cannot be written here or for this film."""


def write_segmentation(
    path: str | os.PathLike[str],
    film_path: str | os.PathLike[str],
    masks: Masks,
    *,
    model: str,
    copy_patient: bool = False,
) -> None:
    """`segmentation_bytes` as a file."""
    content = segmentation_bytes(film_path, masks, model=model, copy_patient=copy_patient)
    with replacing(path) as stream:
        stream.write(content)


def segmentation_bytes(
    film_path: str | os.PathLike[str],
    masks: Masks,
    *,
    model: str,
    copy_patient: bool = False,
    by_hand: Collection[str] = (),
) -> bytes:
    """The masks that are not empty as one DICOM SEG file.

    film_path: the film they belong to, one that `read_film` accepts; its study, series and image identifiers are
    repeated, for a viewer finds the film by them. model: name of the checkpoint. copy_patient: repeat name, identity,
    dates and the like (`PATIENT`) from the film as well; without it they are empty. by_hand: vertebrae that a person
    named or drew, whose segments are called semi-automatic.
    Raises NoSegmentation if no mask is filled, or the film is no DICOM file or lacks its identifiers.
    Source: DICOM PS3.3 A.51, C.8.20.
    """
    import highdicom as hd  # takes a second

    if reason := obstacle(film_path):
        raise NoSegmentation(reason)
    filled = [k for k in range(len(VERTEBRAE)) if masks[k].any()]
    if not filled:
        raise NoSegmentation("expected at least one vertebra, found none; there is nothing to write")
    film = _reduced_header(hd, film_path, PATIENT if copy_patient else ())
    if (film.Rows, film.Columns) != masks.shape[1:]:
        raise NoSegmentation("expected masks of the film's own size, got another; segment this film again")
    segmentation = hd.seg.Segmentation(
        source_images=[film],
        pixel_array=masks[filled].transpose(1, 2, 0)[None].astype("uint8"),
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(hd, n, ANATOMY[k], model, by_hand=VERTEBRAE[k] in by_hand) for n, k in enumerate(filled, 1)
        ],
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="spineseg",
        manufacturer_model_name=model[:64],
        software_versions=__version__,
        device_serial_number="none",
        content_label="LUMBAR_VERTEBRAE",
        content_description=f"Vertebral bodies {VERTEBRAE[0]} to {VERTEBRAE[-1]}; not for diagnosis",
        omit_empty_frames=False,
    )
    segmentation.PatientOrientation = None
    stream = io.BytesIO()
    segmentation.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def obstacle(film_path: str | os.PathLike[str]) -> str:
    """Why no segmentation object can refer to this film, in a sentence; "" for a DICOM file."""
    with open(film_path, "rb") as stream:
        kind = kind_of(stream.read(HEAD_BYTES))
    if kind is DICOM:
        return ""
    return f"This is {kind.article}, and a DICOM segmentation refers to a DICOM film; choose that one"


def _description(hd: Any, number: int, vertebra: Vertebra, model: str, *, by_hand: bool) -> Any:
    """Name, code and algorithm of one segment."""
    value, meaning = vertebra.snomed
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=vertebra.name,
        segmented_property_category=hd.sr.CodedConcept("91723000", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept(value, "SCT", meaning),
        algorithm_type="SEMIAUTOMATIC" if by_hand else "AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"spineseg {model}"[:64],
            version=__version__,
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        ),
    )


def _reduced_header(hd: Any, film_path: str | os.PathLike[str], patient: tuple[str, ...]) -> Any:
    """The film's header without any element that is not needed. Raises NoSegmentation."""
    try:
        with open(film_path, "rb") as stream:
            header = hd.imread(stream)
    except Exception:  # pydicom lets a damaged header raise nearly anything, and quotes it
        raise NoSegmentation("expected a film whose header can be read again, got a damaged one; export it") from None
    lacking = [keyword for keyword in _KEPT[:4] if not header.get(keyword)]
    if lacking:
        raise NoSegmentation(f"expected a film that states {lacking[0]}, got none; a segmentation refers to it")
    for element in list(header):
        if element.keyword not in (*_KEPT, *patient):
            del header[element.tag]
    for keyword in PATIENT:
        if keyword not in header:
            setattr(header, keyword, None)
    return header
