"""DICOM segmentation object -> masks: binary, fractional or label map, of any maker, told by codes or labels.

Source: DICOM PS3.3 A.51, C.8.20; PS3.5 8.1.1 (one bit for each pixel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from spineseg.film import ANATOMY, VERTEBRAE, BadInput
from spineseg.io.dicom_header import without_library_messages
from spineseg.io.label_readers import Stored, UnreadableLabel, check_array

_SEGMENTATION, _LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
"""Decoded by pydicom alone. A deflated file could unpack to any size."""
_MOST_FRAMES = 64
_CODES = {vertebra.snomed[0]: k for k, vertebra in enumerate(ANATOMY)}
_NAME = re.compile(rf"(?<![a-z0-9])({'|'.join(VERTEBRAE)})(?![a-z0-9])", re.IGNORECASE)
Numbers = dict[int, int]
"""Segment number -> place in `VERTEBRAE`."""
Frame = UInt8[np.ndarray, "rows columns"] | UInt16[np.ndarray, "rows columns"]


def read_segmentation(stream: BinaryIO, shape: tuple[int, int]) -> Stored:
    """The segments of L1 to S1, rows x columns x vertebrae; segments of something else are left out.

    A segment is told by the SNOMED code of its property type, else by a vertebra's name in its label. Of fractions,
    half and more is inside. Raises UnreadableLabel.
    """
    masks = np.zeros((len(VERTEBRAE), *shape), np.bool_)
    try:
        with without_library_messages():
            dataset = _checked(stream, shape)
            for k, mask in _masks(dataset, _segment_numbers(dataset)):
                masks[k] = mask
    except (BadInput, MemoryError):
        raise
    except Exception:  # pydicom lets a damaged file raise nearly anything, and quotes it
        raise UnreadableLabel("the DICOM file is damaged; save the segmentation again") from None
    return masks.transpose(1, 2, 0)


def _checked(stream: BinaryIO, shape: tuple[int, int]) -> Dataset:
    """The file, if it is a segmentation of a film of this size that can be decoded."""
    if read_file_meta_info(stream.name).get("TransferSyntaxUID") not in _SYNTAXES:
        raise UnreadableLabel("the segmentation is compressed in a way that is not read; save it uncompressed")
    dataset = dcmread(stream)
    if dataset.get("SOPClassUID") not in (_SEGMENTATION, _LABEL_MAP):
        raise UnreadableLabel("this is a DICOM image, not a DICOM segmentation; choose the label")
    check_array((int(dataset.Rows), int(dataset.Columns)), "u", shape)
    if not 1 <= int(dataset.NumberOfFrames) <= _MOST_FRAMES:
        raise UnreadableLabel(f"the segmentation has more than {_MOST_FRAMES} frames; export the one of this film")
    return dataset


def _segment_numbers(dataset: Dataset) -> Numbers:
    """Raises UnreadableLabel if no segment is one of ours, or two are the same."""
    found = {
        int(segment.SegmentNumber): k for segment in dataset.SegmentSequence if (k := _vertebra(segment)) is not None
    }
    if not found:
        labels = [str(segment.get("SegmentLabel", "")) for segment in dataset.SegmentSequence]
        listed = ", ".join(label for label in labels[:8] if label.isprintable())
        remedy = f"name them {', '.join(VERTEBRAE)}"
        raise UnreadableLabel(
            f"none of the segments ({listed}) is a vertebra of ours; {remedy}",
            f"none of the segments is a vertebra of ours; {remedy}",
        )
    if len(set(found.values())) < len(found):
        raise UnreadableLabel("two segments are the same vertebra; leave one of each")
    return found


def _vertebra(segment: Dataset) -> int | None:
    """Place in `VERTEBRAE`, by code or else by label."""
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    if (place := _CODES.get(str(codes[0].get("CodeValue")))) is not None:
        return place
    named = set(map(str.upper, _NAME.findall(str(segment.get("SegmentLabel", "")).replace("_", " "))))
    return VERTEBRAE.index(named.pop()) if len(named) == 1 else None


def _masks(dataset: Dataset, numbers: Numbers) -> Iterator[tuple[int, Bool[np.ndarray, "rows columns"]]]:
    """(vertebra, mask) of each frame and segment."""
    if dataset.SOPClassUID == _LABEL_MAP:
        (values,) = _frames(dataset)
        yield from ((k, values == number) for number, k in numbers.items())
        return
    inside = max(1, dataset.get("MaximumFractionalValue", 1) / 2)
    seen: set[int] = set()
    for number, frame in zip(_frame_segments(dataset), _frames(dataset), strict=True):
        if number in seen:
            raise UnreadableLabel("a segment has several frames, as of a volume; export the one of this film")
        seen.add(number)
        if number in numbers:
            yield numbers[number], frame >= inside


def _frame_segments(dataset: Dataset) -> list[int]:
    """The segment number of each frame (PS3.3 C.8.20.3)."""
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * int(dataset.NumberOfFrames)
    return [
        int(
            (group.get("SegmentIdentificationSequence") or shared[0].SegmentIdentificationSequence)[
                0
            ].ReferencedSegmentNumber
        )
        for group in groups
    ]


def _frames(dataset: Dataset) -> list[Frame]:
    """All frames, decoded."""
    array = pixel_array(dataset)
    return list(array.reshape(int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns)))
