"""DICOM file <-> `Film`; the only user of SimpleITK and pydicom.

pydicom reads the header and everything it says is checked; then SimpleITK, with GDCM forced, decodes the pixels.
GDCM never sees the file itself but a copy made of its pixel data and a few checked numbers. For in a file as
it comes, nested sequences, frame counts and lying lengths crash GDCM or make it answer with foreign memory; it turns
MONOCHROME1 over, but fails on some signed depths; it misreads a high bit that is not the last stored one; and its
errors quote the path. So it gets MONOCHROME2 words, and sign, MONOCHROME1 and rescale are applied here, once.

Reading is a function of the path alone, so that a process of its own can do it (`isolate`). The copy is kept in memory;
where a system cannot (macOS, Windows) it is a temporary file that obeys TMPDIR.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import stat
import struct
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Float32, Integer, Shaped
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from spineseg.files import replacing
from spineseg.film import SPACING_MM, BadInput, Film, Spacing
from spineseg.limits import DEFAULT_LIMITS, Limits

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
JPEG_FRAMES = {
    "1.2.840.10008.1.2.4.50": (0xC0, 0xC1),
    "1.2.840.10008.1.2.4.51": (0xC0, 0xC1),
    "1.2.840.10008.1.2.4.57": (0xC3,),
    "1.2.840.10008.1.2.4.70": (0xC3,),
    "1.2.840.10008.1.2.4.80": (0xF7,),
    "1.2.840.10008.1.2.4.81": (0xF7,),
}
"""Transfer syntaxes of JPEG and JPEG-LS, with the frame header markers that each may hold (ITU T.81 B.1, T.87 C.1)."""
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
SYNTAXES = (*NATIVE, RLE, *JPEG_FRAMES, *JPEG_2000)
"""Every transfer syntax that is read. Deflated is not: a small file may inflate to gigabytes."""

_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"MATLAB": "a MATLAB file",
    b"\x93NUMPY": "a NumPy array",
}
_CROSS_SECTIONAL = ("CT", "MR", "PT", "NM")
_TAGS = tuple(
    Tag(keyword)
    for keyword in (
        "Modality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "ModalityLUTSequence",
        "RescaleSlope",
        "RescaleIntercept",
        "PixelSpacing",
        "PixelSpacingCalibrationType",
        "ImagerPixelSpacing",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    )
)
"""All that is ever looked at: no tag of the patient is converted, kept or quoted."""
_PIXEL_DATA = Tag("PixelData")
_CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MARK = 128
"""Bytes before the letters DICM (PS3.10 7.1)."""


class UnreadableFilm(BadInput):
    """The file is not one grey radiograph that can be read safely."""


@dataclass(frozen=True)
class _Header:
    """What a checked header says of the one image; `inverted`: MONOCHROME1, the lowest value is the brightest."""

    syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    slope: float
    intercept: float
    spacing: Spacing | None


@dataclass(frozen=True)
class _Encoded:
    """Pixel data as GDCM gets it: whole words of `bits` bits, native little endian or one compressed frame."""

    syntax: str
    bits: int
    signed: bool
    content: bytes


def read_film(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Read one grey radiograph: stored values after rescale, brighter = denser as the header has it.

    invert: exchange dense and clear, for a film stored dark-boned under a tag that says otherwise.
    Raises UnreadableFilm; its sentence holds neither the path nor a word of the header.
    Source: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (rescale), 10.7 (spacing); PS3.5 8 and annex A.
    """
    try:
        film = _read(path, limits)
        return film.inverted() if invert else film
    except MemoryError:
        raise UnreadableFilm("expected a film that fits into memory, got a larger one; export it smaller") from None


def _read(path: str | os.PathLike[str], limits: Limits) -> Film:
    content = _read_bytes(path, limits)
    header, pixels = _parse(content, limits)
    del content
    encoded = _check_native(header, pixels) if header.syntax in NATIVE else _check_frame(header, pixels)
    return Film(_image(_decode(encoded, header), header, encoded.bits), header.spacing)


# The file


def _read_bytes(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The whole of a regular file that has the mark of DICOM; never waits for a pipe."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UnreadableFilm("expected a DICOM file, got a folder or a device; choose one file")
            content = stream.read(limits.max_bytes + 1) or b""  # None where a system's own file has nothing to say yet
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableFilm):
            raise
        kind = "a folder" if isinstance(error, IsADirectoryError) else "one that is missing or may not be opened"
        raise UnreadableFilm(f"expected a DICOM file, got {kind}; choose one file that can be read") from None
    if len(content) > limits.max_bytes:
        megabytes = limits.max_bytes / 2**20
        raise UnreadableFilm(f"expected a file of at most {megabytes:.0f} MB, got a larger one; export a single film")
    if content[_MARK : _MARK + 4] != b"DICM":
        kinds = (kind for magic, kind in _MAGIC.items() if content.startswith(magic))
        found = next(kinds, "another kind of file") if content else "an empty file"
        raise UnreadableFilm(f"expected a DICOM file (DICM after 128 bytes), got {found}; export the film as DICOM")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


# The header

_PYDICOM_LOCK = threading.Lock()


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings and log lines back: they quote what the header holds.

    One thread at a time, as the list of warning filters belongs to the whole process.
    """
    logger = logging.getLogger("pydicom")
    with _PYDICOM_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def _parse(content: bytes, limits: Limits) -> tuple[_Header, bytes]:
    """The checked header and the value of Pixel Data, which is not touched before the header has passed."""
    stream = BytesIO(content)
    stream.seek(_MARK + 4)
    with _quiet_pydicom():
        try:
            syntax = _read_syntax(stream)
            header = _check_header(_read_elements(stream, syntax, _TAGS, last=0x7FE00000), syntax, limits)
            return header, _read_pixels(stream, syntax, header.bits_allocated)
        except UnreadableFilm:
            raise
        except MemoryError:
            raise
        except RecursionError:
            raise UnreadableFilm("expected a plain header, got sequences nested too deeply; export it again") from None
        except Exception:  # pydicom lets a damaged header raise nearly anything, and quotes it
            raise UnreadableFilm("expected a sound DICOM header, got a damaged one; export the film again") from None


def _read_syntax(stream: BytesIO) -> str:
    """The transfer syntax, one that is read. Leaves the stream behind the file's own (0002) group."""
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax not in SYNTAXES:
        known = UID(syntax).name not in ("", syntax)  # else it could be any text
        name = UID(syntax).name if known else "an unknown one" if syntax else "none"
        raise UnreadableFilm(
            f"expected an uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000 transfer syntax, got {name}; "
            "export the film uncompressed"
        )
    return syntax


def _read_elements(stream: BytesIO, syntax: str, tags: tuple[BaseTag, ...], last: int) -> Dataset:
    """The named top-level elements up to tag `last`; leaves the stream at the next one."""
    return read_dataset(
        stream,
        syntax == IMPLICIT,
        syntax != BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > last,
        specific_tags=list(tags),
    )


def _read_pixels(stream: BytesIO, syntax: str, bits: int) -> bytes:
    """The value of Pixel Data with samples of `bits`: words in little endian order, or a frame's fragments."""
    elements = _read_elements(stream, syntax, (_PIXEL_DATA,), last=_PIXEL_DATA)
    if _PIXEL_DATA not in elements:
        raise UnreadableFilm("expected pixel data, got a header alone or a file cut short; copy the film again")
    element: Any = elements.get_item(_PIXEL_DATA)
    undefined = getattr(element, "length", 0) == 0xFFFFFFFF  # an empty element comes without its length
    if undefined == (syntax in NATIVE):
        raise UnreadableFilm("expected pixel data as the transfer syntax has it, got the other kind; export it again")
    pixels = element.value or b""
    if syntax == BIG_ENDIAN and (bits > 8 or element.VR != "OB"):  # OW swaps 8-bit samples too (PS3.5 8.2)
        return np.frombuffer(pixels[: len(pixels) // 2 * 2], dtype=">u2").astype("<u2").tobytes()
    return pixels


def _check_header(elements: Dataset, syntax: str, limits: Limits) -> _Header:
    """Every number that decoding relies on, or the first reason why it is not a film."""
    if any(keyword not in elements for keyword in ("Rows", "Columns", "BitsAllocated")):
        raise UnreadableFilm(
            "expected an image, got a DICOM object without one (a report, a document, or a file cut short); "
            "choose the radiograph itself"
        )
    _check_kind(elements)
    rows, columns = _integer(elements, "Rows"), _integer(elements, "Columns")
    _check_size(rows, columns, limits)
    allocated, stored = _integer(elements, "BitsAllocated"), _integer(elements, "BitsStored")
    high_bit, sign = _integer(elements, "HighBit", stored - 1), _integer(elements, "PixelRepresentation", 0)
    if allocated not in (8, 16) or not 2 <= stored <= high_bit + 1 <= allocated or sign not in (0, 1):
        raise UnreadableFilm(
            f"expected 8 or 16 bits for a pixel, got {stored} of {allocated} with high bit {high_bit}; "
            "export the film with 8 to 16 bits"
        )
    slope, intercept = _rescale(elements)
    return _Header(
        syntax=syntax,
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=sign == 1,
        inverted=_text(elements, "PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        spacing=_spacing(elements),
    )


def _check_kind(elements: Dataset) -> None:
    """One frame of one grey channel, without a lookup table between stored and meant values."""
    photometric, samples = _text(elements, "PhotometricInterpretation"), _integer(elements, "SamplesPerPixel", 1)
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        kind = "a palette" if photometric == "PALETTE COLOR" else f"colour or an unknown kind with {samples} channels"
        raise UnreadableFilm(f"expected one grey channel, got {kind}; export the film as MONOCHROME2")
    frames = _integer(elements, "NumberOfFrames", 1)
    if frames != 1:
        raise UnreadableFilm(f"expected one frame, got {frames}; export a single image")
    if elements.get("ModalityLUTSequence"):
        raise UnreadableFilm("expected a slope and an intercept, got a Modality LUT; export the film without the table")


def _check_size(rows: int, columns: int, limits: Limits) -> None:
    low, high = limits.min_side, limits.max_side
    if not (low <= rows <= high and low <= columns <= high):
        raise UnreadableFilm(f"expected {low} to {high} rows and columns, got {rows} x {columns}; choose another film")
    if rows * columns > limits.max_pixels:
        most = limits.max_pixels / 1e6
        raise UnreadableFilm(f"expected at most {most:g} million pixels, got {rows} x {columns}; export it smaller")


def _integer(elements: Dataset, keyword: str, default: int | None = None) -> int:
    value = elements.get(keyword)
    if value is None or value == "":
        value = default
    try:
        return int(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise UnreadableFilm(f"expected one whole number as {keyword}, got none; export the film again") from None


def _text(elements: Dataset, keyword: str) -> str:
    return str(elements.get(keyword) or "").strip()


def _numbers(elements: Dataset, keyword: str) -> tuple[float, ...]:
    """The finite numbers of a decimal string; empty when it holds anything else."""
    value = elements.get(keyword)
    values = value if isinstance(value, MultiValue) else [] if value in (None, "") else [value]
    try:
        numbers = tuple(float(each) for each in values)
    except (TypeError, ValueError):
        return (math.nan,)
    return numbers


def _macro(elements: Dataset, keyword: str) -> Dataset:
    """Functional group `keyword` of a multi-frame object's only frame (PS3.3 C.7.6.16), else the top level itself."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in elements.get(groups) or ():
            for macro in group.get(keyword) or ():
                return macro
    return elements


def _rescale(elements: Dataset) -> tuple[float, float]:
    """(slope, intercept) from stored to meant values; neighbours must stay apart in float32."""
    macro = _macro(elements, "PixelValueTransformationSequence")
    slopes, intercepts = _numbers(macro, "RescaleSlope") or (1.0,), _numbers(macro, "RescaleIntercept") or (0.0,)
    (slope, *more), (intercept, *others) = slopes, intercepts
    usable = 1e-6 < abs(slope) < 1e6 and abs(intercept) < 2**23 * abs(slope)  # false for NaN
    if more or others or not usable:
        raise UnreadableFilm("expected a finite rescale slope and intercept, got unusable ones; export the film again")
    return slope, intercept


def _spacing(elements: Dataset) -> Spacing | None:
    """Millimetres with the plane they hold in, or None where none are stated or they cannot be meant.

    Imager Pixel Spacing is the detector's. Pixel Spacing is meant to be the patient's, but an uncalibrated projection
    repeats the detector's there; standing alone and without a calibration type it could be either (PS3.3 10.7.1.1),
    and a projection's is then taken for the detector's, which claims less.
    """
    macro = _macro(elements, "PixelMeasuresSequence")
    detector, pixel = _pair(elements, "ImagerPixelSpacing"), _pair(macro, "PixelSpacing")
    if pixel is None:
        return None if detector is None else Spacing(*detector, plane="detector")
    if _text(elements, "Modality") in _CROSS_SECTIONAL:
        return Spacing(*pixel, plane="patient")
    if detector is None:
        return Spacing(*pixel, plane="patient" if _text(elements, "PixelSpacingCalibrationType") else "detector")
    same = all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(detector, pixel, strict=True))
    return Spacing(*detector, plane="detector") if same else Spacing(*pixel, plane="patient")


def _pair(elements: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = _numbers(elements, keyword)
    if len(numbers) != 2 or not all(SPACING_MM[0] <= each <= SPACING_MM[1] for each in numbers):
        return None
    return numbers[0], numbers[1]


# The pixel data


def _check_native(header: _Header, pixels: bytes) -> _Encoded:
    """Exactly the bytes that the size asks for, and the one that makes an odd length even."""
    expected = header.rows * header.columns * header.bits_allocated // 8
    if len(pixels) not in (expected, expected + expected % 2):
        raise UnreadableFilm(
            f"expected {expected} bytes of pixels for {header.rows} x {header.columns}, got {len(pixels)}; "
            "copy the film again"
        )
    return _Encoded(EXPLICIT, header.bits_allocated, False, pixels)


def _check_frame(header: _Header, pixels: bytes) -> _Encoded:
    """One compressed frame whose own header agrees with the file's."""
    try:
        frame = next(generate_frames(pixels, number_of_frames=1))
        if header.syntax == RLE:
            _check_rle(header, frame)
            return _Encoded(RLE, header.bits_allocated, False, frame)
        rows, columns, channels, bits, signed = (
            _jpeg_2000_size(frame) if header.syntax in JPEG_2000 else _jpeg_size(frame, JPEG_FRAMES[header.syntax])
        )
    except (ValueError, IndexError, struct.error, StopIteration):
        raise UnreadableFilm("expected one whole compressed image, got a damaged one; copy the film again") from None
    if (rows, columns, channels) != (header.rows, header.columns, 1):
        raise UnreadableFilm(
            f"expected a compressed image of {header.rows} x {header.columns} x 1 as the header says, "
            f"got {rows} x {columns} x {channels}; export the film again"
        )
    unsure = header.signed and not signed and bits < header.bits_stored  # where is the sign?
    if bits > header.bits_allocated or header.high_bit != header.bits_stored - 1 or unsure:
        raise UnreadableFilm(
            f"expected a compressed image of {header.bits_stored} bits as the header says, got {bits}; "
            "export the film again"
        )
    return _Encoded(header.syntax, bits, signed, frame)


def _check_rle(header: _Header, frame: bytes) -> None:
    """Raises ValueError unless there is one whole segment for each byte of a pixel, in order (PS3.5 G.5).

    GDCM dies of none, and fills a short one up from the next.
    """
    count, *offsets = struct.unpack("<16L", frame[:64])
    starts = offsets[: header.bits_allocated // 8]
    if count != len(starts) or starts[0] != 64 or any(offsets[count:]):
        raise ValueError
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        if not start < end <= len(frame) or not _unpacks_to(frame[start:end], header.rows * header.columns):
            raise ValueError


def _unpacks_to(segment: bytes, length: int) -> bool:
    """Whether a PackBits segment holds at least `length` bytes (PS3.5 G.3.2)."""
    at, end = 0, len(segment)
    while length > 0 and at + 1 < end:
        control = segment[at]
        if control < 128:
            length -= control + 1
            at += control + 2
        else:
            length -= 257 - control if control > 128 else 0
            at += 2 if control > 128 else 1
    return length <= 0 and at <= end


def _jpeg_size(frame: bytes, markers: tuple[int, ...]) -> tuple[int, int, int, int, bool]:
    """(rows, columns, channels, bits, signed) of a complete JPEG or JPEG-LS stream (ITU T.81 B.2.2)."""
    if frame[:2] != b"\xff\xd8" or b"\xff\xd9" not in frame[-16:]:
        raise ValueError
    at = 2
    while frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in markers:
            bits, rows, columns, channels = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            return rows, columns, channels, bits, False
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker in (0xD9, 0xDA):
            break
        else:
            at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    raise ValueError


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int, int, bool]:
    """(rows, columns, channels, bits, signed) of a complete JPEG 2000 stream, bare or in boxes (ITU T.800 A.5.1)."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start < 0 or (start > 0 and frame[4:8] != b"jP  ") or b"\xff\xd9" not in frame[-16:]:
        raise ValueError
    right, bottom, left, top = struct.unpack(">4L", frame[start + 8 : start + 24])
    channels, depth, *steps = struct.unpack(">H3B", frame[start + 40 : start + 45])
    if steps != [1, 1]:  # a thinned-out component would decode to another size
        raise ValueError
    return bottom - top, right - left, channels, (depth & 0x7F) + 1, depth > 0x7F


def _decode(encoded: _Encoded, header: _Header) -> Integer[np.ndarray, "rows columns"]:
    """What GDCM makes of the pixel data: the words themselves, as MONOCHROME2 without rescale leaves them alone."""
    try:
        with _copy(_bare_dataset(encoded, header)) as path:
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(path)
            words = sitk.GetArrayFromImage(reader.Execute())
    except OSError:
        raise UnreadableFilm("expected room for a temporary copy, got none; free some space and try again") from None
    except RuntimeError:
        raise UnreadableFilm("expected pixels that can be decoded, got damaged ones; export the film again") from None
    if words.shape != (1, header.rows, header.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise UnreadableFilm("expected the image that the header states, got another; export the film again")
    return words[0]


@contextmanager
def _copy(dataset: Dataset) -> Iterator[str]:
    """Path of a file with this content: in memory only where that can be (Linux), else in a temporary folder."""
    if not (hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()):
        with tempfile.TemporaryDirectory(prefix="spineseg-") as folder:
            dataset.save_as(copy := Path(folder, "film.dcm"), enforce_file_format=True)
            yield str(copy)
        return
    descriptor = os.memfd_create("film")
    with os.fdopen(descriptor, "wb") as stream:
        dataset.save_as(stream, enforce_file_format=True)
        stream.flush()
        yield f"/proc/self/fd/{descriptor}"


def _bare_dataset(encoded: _Encoded, header: _Header) -> Dataset:
    """The least header that GDCM decodes by; nothing of the original but checked numbers."""
    dataset = _new_dataset(_SECONDARY_CAPTURE, "2.25.1", encoded.syntax)
    _set_pixel_module(dataset, (header.rows, header.columns), encoded.bits, encoded.signed, "MONOCHROME2")
    if encoded.syntax == EXPLICIT:
        dataset.add_new(_PIXEL_DATA, "OW", encoded.content)
    else:
        dataset.add_new(_PIXEL_DATA, "OB", encapsulate([encoded.content]))
        dataset[_PIXEL_DATA].is_undefined_length = True
    return dataset


# From words to an image


def _image(
    words: Integer[np.ndarray, "rows columns"], header: _Header, bits: int
) -> Float32[np.ndarray, "rows columns"]:
    """Words of `bits` bits as the header means them: sign, MONOCHROME1 and rescale applied; finite, not constant."""
    stored = _stored_values(words, header, bits)
    if header.inverted:  # lowest + highest value of the type: 2^bits - 1, or -1 for signed
        stored = (-1 if header.signed else 2**header.bits_stored - 1) - stored
    if (header.slope, header.intercept) == (1.0, 0.0):
        image = stored.astype(np.float32)
    else:
        image = (stored * header.slope + header.intercept).astype(np.float32)
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise UnreadableFilm("expected a picture, got one single value everywhere; choose another film")
    return image


def _stored_values(
    words: Integer[np.ndarray, "rows columns"], header: _Header, bits: int
) -> Integer[np.ndarray, "rows columns"]:
    """The `bits_stored` bits below and at `high_bit` of each word, signed where the header says so (PS3.5 8.1.1).

    Other bits of a native word are unused or hold an overlay. In a codestream deeper than `bits_stored` they may only
    repeat the sign or be 0, else the header's depth is wrong and cutting them off would fold the picture over.
    """
    wide = words.astype(np.int32)
    mask = 2**header.bits_stored - 1
    values = wide >> (header.high_bit + 1 - header.bits_stored) & mask
    if header.signed:
        values -= (values >> (header.bits_stored - 1)) << header.bits_stored
    if header.syntax not in (*NATIVE, RLE) and bits != header.bits_stored:
        whole = 2**bits - 1
        if np.any((wide & whole != values & whole) & (wide & whole != values & mask)):
            raise UnreadableFilm(
                f"expected pixels of {header.bits_stored} bits as the header says, got larger ones; export it again"
            )
    return values


# Writing


def write_film(
    path: str | os.PathLike[str],
    film: Film,
    *,
    bits_stored: int = 12,
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2",
) -> None:
    """Write a film as an uncompressed Computed Radiography image of a lumbar spine from the side, with nobody's name.

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
    dataset.add_new(_PIXEL_DATA, "OW", content + b"\0" * (len(content) % 2))
    with replacing(path) as stream:
        dataset.save_as(stream, enforce_file_format=True)


def _film_header(film: Film, bits: int, photometric: str, digest: bytes) -> Dataset:
    """The modules of a CR image in PS3.3 A.2; what must be there and is unknown is empty."""
    dataset = _new_dataset(_CR_STORAGE, _uid(digest, b"image"), EXPLICIT)
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
    _set_pixel_module(dataset, film.shape, bits, False, photometric)
    return dataset


def _set_spacing(dataset: Dataset, spacing: Spacing) -> None:
    pair = [DSfloat(mm, auto_format=True) for mm in (spacing.row_mm, spacing.column_mm)]
    if spacing.plane == "detector":
        dataset.ImagerPixelSpacing = pair
        return
    dataset.PixelSpacing = pair
    dataset.PixelSpacingCalibrationType = "GEOMETRY"
    dataset.PixelSpacingCalibrationDescription = "in the plane of the spine"


def _new_dataset(sop_class: str, instance: str, syntax: str) -> Dataset:
    """An explicit little endian dataset with its file meta information, which names the syntax of the pixel data."""
    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    # pydicom would write its own version here, and the bytes would change with it
    dataset.file_meta.ImplementationClassUID = UID(_uid(b"spineseg", b"implementation"))
    dataset.file_meta.ImplementationVersionName = "SPINESEG"
    return dataset


def _set_pixel_module(dataset: Dataset, shape: tuple[int, int], bits: int, signed: bool, photometric: str) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)


def _uid(digest: bytes, role: bytes) -> str:
    """A UID from content, in the root for UUIDs that needs no registration (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(role + digest).digest()[:16], 'big')}"


# NIfTI, for `convert`; here because SimpleITK has one user


@dataclass(frozen=True, eq=False)
class Volume:
    """A NIfTI file as it is stored; the array's axes are the file's in reverse.

    direction: column k is where the file's axis k points, in (left, back, head). spacing_mm: along each of those axes.
    """

    values: Shaped[np.ndarray, "third second first"]
    direction: Float[np.ndarray, "3 3"]
    spacing_mm: tuple[float, float, float]


def read_nifti(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """Read .nii or .nii.gz, with scale applied. Raises UnreadableFilm; its sentence does not hold the path."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if reader.GetNumberOfComponents() == 1 and len(size) in (2, 3) and math.prod(size) <= limits.max_pixels:
            image = reader.Execute()
        else:
            raise UnreadableFilm("expected one grey picture, got a volume, colours or a larger one; export one plane")
    except RuntimeError:
        raise UnreadableFilm(
            "expected a sound NIfTI picture with axes at right angles, got another; save it with a third axis of "
            "length 1, or as PNG"
        ) from None
    direction = np.eye(3)
    direction[: len(size), : len(size)] = np.reshape(image.GetDirection(), (len(size), len(size)))
    values = sitk.GetArrayFromImage(image)
    first, second, third = (*image.GetSpacing(), 1.0)[:3]
    return Volume(values.reshape((1,) * (3 - values.ndim) + values.shape), direction, (first, second, third))
