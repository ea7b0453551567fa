"""What a file is, told by its content; a name proves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from spineseg.io.dicom_header import start_of_elements

HEAD_BYTES = 520
"""Length of a file's beginning that tells its kind."""


@dataclass(frozen=True)
class Kind:
    """One kind of file. name: short, as an identifier. article: the same in a sentence, "a PNG picture"."""

    name: str
    article: str


DICOM = Kind("dicom", "a DICOM file")
PNG = Kind("png", "a PNG picture")
JPEG = Kind("jpeg", "a JPEG picture")
TIFF = Kind("tiff", "a TIFF picture")
BMP = Kind("bmp", "a BMP picture")
WEBP = Kind("webp", "a WebP picture")
ZIP = Kind("zip", "a ZIP archive")
GZIP = Kind("gzip", "a gzip archive")
NIFTI = Kind("nifti", "a NIfTI picture")
PDF = Kind("pdf", "a PDF document")
MATLAB = Kind("matlab", "a MATLAB file")
HDF5 = Kind("hdf5", "an HDF5 file")
NUMPY = Kind("numpy", "a NumPy array")
EMPTY = Kind("empty", "an empty file")
OTHER = Kind("other", "another kind of file")
PICTURES = (PNG, JPEG, TIFF, BMP, WEBP)
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    *((start, TIFF) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((start, ZIP) for start in (b"PK\3\4", b"PK\5\6")),
    (b"\x1f\x8b", GZIP),
    (b"%PDF", PDF),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"MATLAB", MATLAB),
    (b"\x93NUMPY", NUMPY),
)


def kind_of(head: bytes) -> Kind:
    """The kind of the file that begins with these bytes; `HEAD_BYTES` of them suffice."""
    if not head:
        return EMPTY
    if start_of_elements(head) is not None:
        return DICOM
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return BMP
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return NIFTI
    return next((kind for start, kind in _STARTS if head.startswith(start)), OTHER)
