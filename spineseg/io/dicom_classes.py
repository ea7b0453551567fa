"""What the beginning of a file tells: whether it is DICOM, and whether it is an object without an image."""

from __future__ import annotations

import re
from functools import lru_cache

_PREAMBLE_BYTES = 128
_CLASS_TAGS = (b"\x02\0\x02\0", b"\x08\0\x16\0")
"""Media Storage SOP Class UID and, in files without file meta information, SOP Class UID."""
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_WITHOUT_IMAGE = (
    ("Media Storage Directory", "a DICOMDIR index"),
    (" SR ", "a DICOM structured report"),
    ("Key Object Selection", "a DICOM structured report"),
    ("Presentation State", "a DICOM presentation state"),
    ("Segmentation", "a DICOM segmentation"),
    ("Encapsulated PDF", "a PDF document in DICOM"),
    ("Waveform", "a DICOM waveform"),
)
"""Part of a class's name in PS3.6 Annex A, and what such a file is."""
OTHER_OBJECT = "a DICOM object that is no radiograph"


def start_of_elements(content: bytes) -> int | None:
    """Where the first element begins; None for what is no DICOM file.

    Behind the preamble and the letters DICM (PS3.10 7.1), or at the beginning of a file that lacks both: such files
    begin with group 0002, or without file meta information with group 0008, and their first elements are short.
    """
    if content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
        return _PREAMBLE_BYTES + 4
    return 0 if content[:2] in (b"\x02\0", b"\x08\0") and _first_length(content) <= 256 else None


def _first_length(content: bytes) -> int:
    """Of the first element's value, with an explicit VR of two letters or without one."""
    value = content[6:8] if has_explicit_vr(content) else content[4:8]
    return int.from_bytes(value, "little") if len(content) >= 8 else 2**32


def has_explicit_vr(element: bytes) -> bool:
    """Whether two capital letters follow the tag (PS3.5 7.1.2)."""
    return element[4:6].isalpha() and element[4:6].isupper()


def object_without_image(head: bytes, start: int) -> str | None:
    """What a DICOM file without an image is, "a DICOM structured report"; None for an image or an unknown class.

    head: the file's beginning. start: of its first element.
    """
    for tag in _CLASS_TAGS:
        if (at := head.find(tag, start)) >= 0 and (uid := _value(head, at)) is not None:
            return _object_of(uid)
    return None


def _value(head: bytes, at: int) -> str | None:
    """The unique identifier of the element at this place, with an explicit VR or without; None for anything else."""
    explicit = head[at + 4 : at + 6] == b"UI"
    length = int.from_bytes(head[at + 6 : at + 8] if explicit else head[at + 4 : at + 8], "little")
    text = head[at + 8 : at + 8 + min(length, 64)].rstrip(b"\0 ").decode("latin-1")
    return text if _UID.fullmatch(text) else None


@lru_cache(maxsize=256)
def _object_of(uid: str) -> str | None:
    """By the name that the standard gives the class. Names of images hold "Image Storage"; private ones have none."""
    from pydicom.uid import UID  # not needed to tell what else a file is, which the page does

    name = UID(uid).name
    if "Storage" not in name or "Image Storage" in name:
        return None
    return next((what for part, what in _WITHOUT_IMAGE if part in name), OTHER_OBJECT)
