"""What a file is, told by its content; a name proves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from spineseg.io.dicom_classes import object_without_image, start_of_elements

HEAD_BYTES = 520
"""Length of a file's beginning that tells its kind."""


_EXPORT = "export the film as DICOM, PNG or TIFF"
_LABEL = "it may hold a label; choose the radiograph itself"


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    name: short, as an identifier. article: the same in a sentence, "a PNG picture". remedy: what to do where it is
    given instead of a film.
    """

    name: str
    article: str
    remedy: str = _EXPORT


DICOM = Kind("dicom", "a DICOM file")
PNG = Kind("png", "a PNG picture")
JPEG = Kind("jpeg", "a JPEG picture")
TIFF = Kind("tiff", "a TIFF picture")
BMP = Kind("bmp", "a BMP picture")
WEBP = Kind("webp", "a WebP picture")
GIF = Kind("gif", "a GIF picture")
HEIF = Kind("heif", "a HEIC or AVIF picture")
JPEG_2000 = Kind("jpeg2000", "a JPEG 2000 picture")
JPEG_XL = Kind("jpegxl", "a JPEG XL picture")
ZIP = Kind("zip", "a ZIP archive", "unpack it, and choose the films in it")
GZIP = Kind("gzip", "a gzip archive", "unpack it, and choose the film in it")
NIFTI = Kind("nifti", "a NIfTI picture", _LABEL)
PDF = Kind("pdf", "a PDF document")
MATLAB = Kind("matlab", "a MATLAB file", _LABEL)
HDF5 = Kind("hdf5", "an HDF5 file", _LABEL)
NUMPY = Kind("numpy", "a NumPy array", _LABEL)
EMPTY = Kind("empty", "an empty file", "copy the film again")
OTHER = Kind("other", "another kind of file")
OVERLAY = Kind("overlay", "a picture that spineseg drew", "choose the film that it shows")
OVERLAY_MARK = b"tEXtSoftware\0spineseg"
"""Type and content of the chunk behind the header of a PNG that spineseg drew."""
PNG_HEADER_BYTES = 33
PICTURES = (PNG, JPEG, TIFF, BMP, WEBP)
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    *((start, TIFF) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((start, ZIP) for start in (b"PK\3\4", b"PK\5\6")),
    (b"\x1f\x8b", GZIP),
    (b"%PDF", PDF),
    *((start, GIF) for start in (b"GIF87a", b"GIF89a")),
    *((start, JPEG_2000) for start in (b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")),
    *((start, JPEG_XL) for start in (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"MATLAB", MATLAB),
    (b"\x93NUMPY", NUMPY),
)


def kind_of(head: bytes) -> Kind:
    """The kind of the file that begins with these bytes; `HEAD_BYTES` of them suffice."""
    if not head:
        return EMPTY
    if (start := start_of_elements(head)) is not None:
        what = object_without_image(head, start)
        return Kind(what, what) if what else DICOM
    if head[PNG_HEADER_BYTES + 4 :].startswith(OVERLAY_MARK):
        return OVERLAY
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return BMP
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif"):
        return HEIF
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return NIFTI
    return next((kind for start, kind in _STARTS if head.startswith(start)), OTHER)
