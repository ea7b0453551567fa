"""The header of a DICOM file with one image: read by pydicom, checked before a pixel is decoded."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from spineseg.film import ASPECT, SPACING_MM, WINDOW_FUNCTIONS, WINDOW_MOST, BadInput, Spacing, Window
from spineseg.io.dicom_classes import has_explicit_vr, start_of_elements
from spineseg.io.limits import Limits

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
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 201, 202, 203))
"""With High-Throughput JPEG 2000, whose codestreams differ in their blocks alone (ITU T.814)."""
SYNTAXES = (*NATIVE, RLE, *JPEG_FRAMES, *JPEG_2000)
"""Every transfer syntax that is read. Deflated is not: a small file may inflate to gigabytes."""
_JPEG_XL = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Which pydicom has no names for. No decoder of it that is free to use comes in a small package."""
_CROSS_SECTIONAL = ("CT", "MR", "PT", "NM")
_TAGS = tuple(
    Tag(keyword)
    for keyword in (
        "Modality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PresentationLUTShape",
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
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "PixelAspectRatio",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "PixelSpacing",
        "PixelSpacingCalibrationType",
        "ImagerPixelSpacing",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    )
)
"""All that is ever looked at: no tag of the patient is converted, kept or quoted."""
PIXEL_DATA = Tag("PixelData")


class UnreadableFilm(BadInput):
    """The file is not one grey radiograph that can be read safely."""


@dataclass(frozen=True, eq=False)
class ModalityLUT:
    """A table in place of slope and intercept: `entries[0]` stands for stored values up to `first` (PS3.3 C.11.1.1)."""

    first: int
    entries: Float32[np.ndarray, "entry"]

    def values_at(self, stored: Integer[np.ndarray, "rows columns"]) -> Float32[np.ndarray, "rows columns"]:
        """Values below the table are its first, values above it its last."""
        return self.entries[np.clip(stored - self.first, 0, len(self.entries) - 1)]


@dataclass(frozen=True)
class Header:
    """The checked header of one image.

    inverted: the lowest value is the brightest (`_inverted`). padding: lowest and highest stored value of pixels that
    are no part of the picture. window: of values after rescale, before `inverted`.
    """

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
    aspect: float = 1.0
    lut: ModalityLUT | None = None
    padding: tuple[int, int] | None = None
    window: Window | None = None


_LOGGERS = ("pydicom", "PIL.TiffImagePlugin", "PIL.PngImagePlugin")
_WARNINGS_LOCK = threading.Lock()


@contextmanager
def without_library_messages() -> Iterator[None]:
    """Suppress warnings and log lines of pydicom and Pillow, which quote values of a file.

    One thread at a time, as the list of warning filters belongs to the whole process.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [logger.disabled for logger in loggers]
        try:
            for logger in loggers:
                logger.disabled = True
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled


def read_header_and_pixels(content: bytes, limits: Limits) -> tuple[Header, bytes]:
    """The checked header and the value of Pixel Data, which is read only after the header has passed."""
    stream = BytesIO(content)
    stream.seek(start_of_elements(content) or 0)
    with without_library_messages():
        try:
            syntax = _read_syntax(stream)
            header = _check_header(_read_elements(stream, syntax, _TAGS, last=0x7FE00000), syntax, limits)
            return header, _read_pixels(stream, syntax, header.bits_allocated)
        except (UnreadableFilm, MemoryError):
            raise
        except RecursionError:
            raise UnreadableFilm("expected a plain header, got sequences nested too deeply; export it again") from None
        except Exception:  # pydicom lets a damaged header raise nearly anything, and quotes it
            raise UnreadableFilm("expected a sound DICOM header, got a damaged one; export the film again") from None


def _read_syntax(stream: BytesIO) -> str:
    """The transfer syntax, if it is supported. Leaves the stream behind the file meta information (group 0002).

    Without that the elements' own form tells: explicit or implicit little endian.
    """
    head = stream.getbuffer()[stream.tell() : stream.tell() + 6].tobytes()
    if head[:2] == b"\x08\0":
        return EXPLICIT if has_explicit_vr(head) else IMPLICIT
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax not in SYNTAXES:
        if not syntax:
            raise UnreadableFilm("This DICOM file names no transfer syntax; export the film again")
        name = _JPEG_XL.get(syntax) or UID(syntax).name  # the number itself where it is unknown
        which = "an unknown transfer syntax" if name == syntax else f"the transfer syntax {name}"
        raise UnreadableFilm(
            f"This film has {which}, which is not read; export it uncompressed, or as RLE, JPEG, JPEG-LS or JPEG 2000"
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
    elements = _read_elements(stream, syntax, (PIXEL_DATA,), last=PIXEL_DATA)
    if PIXEL_DATA not in elements:
        raise UnreadableFilm("expected pixel data, got a header alone or a file cut short; copy the film again")
    element: Any = elements.get_item(PIXEL_DATA)
    undefined = getattr(element, "length", 0) == 0xFFFFFFFF  # an empty element comes without its length
    if undefined == (syntax in NATIVE):
        raise UnreadableFilm("expected pixel data as the transfer syntax has it, got the other kind; export it again")
    pixels = element.value or b""
    if syntax == BIG_ENDIAN and (bits > 8 or element.VR != "OB"):  # OW swaps 8-bit samples too (PS3.5 8.2)
        return np.frombuffer(pixels[: len(pixels) // 2 * 2], dtype=">u2").astype("<u2").tobytes()
    return pixels


def _check_header(elements: Dataset, syntax: str, limits: Limits) -> Header:
    """Every number that decoding relies on. Raises UnreadableFilm with the first reason why it is no film."""
    if any(keyword not in elements for keyword in ("Rows", "Columns", "BitsAllocated")):
        raise UnreadableFilm(
            "expected an image, got a DICOM object without one (a report, a document, or a file cut short); "
            "choose the radiograph itself"
        )
    _check_kind(elements)
    rows, columns = _integer(elements, "Rows"), _integer(elements, "Columns")
    check_size(rows, columns, limits)
    allocated, stored = _integer(elements, "BitsAllocated"), _integer(elements, "BitsStored")
    high_bit, sign = _integer(elements, "HighBit", stored - 1), _integer(elements, "PixelRepresentation", 0)
    if allocated not in (8, 16) or not 2 <= stored <= high_bit + 1 <= allocated or sign not in (0, 1):
        raise UnreadableFilm(
            f"expected 8 or 16 bits for a pixel, got {stored} of {allocated} with high bit {high_bit}; "
            "export the film with 8 to 16 bits"
        )
    slope, intercept = _rescale(elements)
    return Header(
        syntax=syntax,
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=sign == 1,
        inverted=_inverted(elements),
        slope=slope,
        intercept=intercept,
        spacing=_spacing(elements),
        aspect=_aspect(elements),
        lut=_modality_lut(elements, sign == 1),
        padding=_padding(elements, stored, sign == 1),
        window=_window(elements),
    )


def _check_kind(elements: Dataset) -> None:
    """One frame of one grey channel."""
    photometric, samples = _text(elements, "PhotometricInterpretation"), _integer(elements, "SamplesPerPixel", 1)
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        kind = "a palette" if photometric == "PALETTE COLOR" else f"colour or an unknown kind with {samples} channels"
        raise UnreadableFilm(f"expected one grey channel, got {kind}; export the film as MONOCHROME2")
    frames = _integer(elements, "NumberOfFrames", 1)
    if frames != 1:
        raise UnreadableFilm(f"expected one frame, got {frames}; export a single image")


def check_size(rows: int, columns: int, limits: Limits) -> None:
    """Raises UnreadableFilm for fewer or more pixels than a film may have."""
    low, high = limits.min_side, limits.max_side
    if not (low <= rows <= high and low <= columns <= high):
        raise UnreadableFilm(f"expected {low} to {high} rows and columns, got {rows} x {columns}; choose another film")
    if rows * columns > limits.max_pixels:
        most = limits.max_pixels / 1e6
        raise UnreadableFilm(f"expected at most {most:g} million pixels, got {rows} x {columns}; export it smaller")


def _inverted(elements: Dataset) -> bool:
    """MONOCHROME1, or a Presentation LUT Shape INVERSE (PS3.3 C.11.6), which goes with it and may stand alone.

    Vendors write the shape rightly and wrongly; the picture has the last word (`spineseg.inference.polarity`).
    """
    shape = _text(elements, "PresentationLUTShape")
    return _text(elements, "PhotometricInterpretation") == "MONOCHROME1" or shape == "INVERSE"


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
    """The numbers of a decimal string; none where it is empty, NaN where it holds anything else."""
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
    """Rescale slope and intercept; neighbouring values must stay different in float32."""
    macro = _macro(elements, "PixelValueTransformationSequence")
    slopes, intercepts = _numbers(macro, "RescaleSlope") or (1.0,), _numbers(macro, "RescaleIntercept") or (0.0,)
    (slope, *more), (intercept, *others) = slopes, intercepts
    usable = 1e-6 < abs(slope) < 1e6 and abs(intercept) < 2**23 * abs(slope)  # false for NaN
    if more or others or not usable:
        raise UnreadableFilm("expected a finite rescale slope and intercept, got unusable ones; export the film again")
    return slope, intercept


def _window(elements: Dataset) -> Window | None:
    """The first window that is stated, if it can be used (PS3.3 C.11.2)."""
    macro = _macro(elements, "FrameVOILUTSequence")
    levels, widths = _numbers(macro, "WindowCenter"), _numbers(macro, "WindowWidth")
    function = _text(macro, "VOILUTFunction") or "LINEAR"
    if not levels or not widths or function not in WINDOW_FUNCTIONS:
        return None
    usable = abs(levels[0]) <= WINDOW_MOST and 0 < widths[0] <= WINDOW_MOST  # false for NaN
    return Window(levels[0], widths[0], function) if usable else None


def _modality_lut(elements: Dataset, signed: bool) -> ModalityLUT | None:
    """The table, if there is one. Raises UnreadableFilm unless its descriptor, data and size agree (C.11.1.1)."""
    if not (sequence := elements.get("ModalityLUTSequence")):
        return None
    item = sequence[0]
    try:
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        data = item.LUTData
        words = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data, np.int64)
        count, first = count or 2**16, (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16
    except (AttributeError, TypeError, ValueError, OverflowError):
        count, first, bits, words = 0, 0, 0, np.zeros(1, np.int64)
    if bits == 8 and len(words) == (count + 1) // 2:  # two entries in each word
        words = words.astype("<u2").view(np.uint8)[:count]
    if not (8 <= bits <= 16 and len(words) == count and words.min() >= 0 and words.max() < 2**16):
        raise UnreadableFilm("expected a Modality LUT as its descriptor says, got another; export the film again")
    return ModalityLUT(first, words.astype(np.float32))


def _spacing(elements: Dataset) -> Spacing | None:
    """Millimetres with the plane they hold in, or None where none are stated or they are implausible.

    Imager Pixel Spacing is the detector's. Pixel Spacing should be the patient's, but an uncalibrated projection
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


def _aspect(elements: Dataset) -> float:
    """Height of a pixel over its width (PS3.3 C.7.6.3.1.7), 1 where it is not stated or implausible."""
    numbers = _numbers(elements, "PixelAspectRatio")
    if len(numbers) != 2 or not numbers[1] > 0 or not ASPECT[0] <= numbers[0] / numbers[1] <= ASPECT[1]:
        return 1.0
    return numbers[0] / numbers[1]


def _padding(elements: Dataset, bits: int, signed: bool) -> tuple[int, int] | None:
    """Lowest and highest stored value of padding (PS3.3 C.7.5.1.1.2); its VR may have the other sign."""
    ends = [number for key in ("PixelPaddingValue", "PixelPaddingRangeLimit") for number in _numbers(elements, key)]
    if not ends or not all(math.isfinite(number) for number in ends):
        return None
    words = [int(number) % 2**bits for number in ends]
    values = [word - 2**bits if signed and word >= 2 ** (bits - 1) else word for word in words]
    return min(values), max(values)


def _pair(elements: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = _numbers(elements, keyword)
    if len(numbers) != 2 or not all(SPACING_MM[0] <= each <= SPACING_MM[1] for each in numbers):
        return None
    return numbers[0], numbers[1]
