"""DICOM pixel data to an image, decoded by GDCM through SimpleITK.

GDCM never reads the file itself, but a copy made of its pixel data and a few checked numbers. In the file itself,
nested sequences, frame counts and wrong lengths crash GDCM or make it return foreign memory. GDCM also fails to invert
MONOCHROME1 of some signed depths, misreads a high bit that is not the last stored one, and quotes the path in errors.
So the copy is MONOCHROME2, and sign, MONOCHROME1 and rescale are applied here.

The copy is kept in memory; where a system cannot (macOS, Windows) it is a temporary file that obeys TMPDIR.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float32, Integer
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets

from spineseg.film import Film, Window
from spineseg.io.dicom_header import (
    EXPLICIT,
    JPEG_2000,
    JPEG_FRAMES,
    NATIVE,
    PIXEL_DATA,
    RLE,
    Header,
    UnreadableFilm,
    read_header_and_pixels,
)
from spineseg.io.dicom_write import new_dataset, set_pixel_module
from spineseg.io.limits import Limits

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_dicom(content: bytes, limits: Limits) -> Film:
    """One grey radiograph from a file's content: stored values after rescale, brighter = denser as the header has it.

    Raises UnreadableFilm; its sentence holds no word of the header.
    Source: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (rescale), 10.7 (spacing); PS3.5 8 and annex A.
    """
    header, pixels = read_header_and_pixels(content, limits)
    del content
    check = check_uncompressed if header.syntax in NATIVE else check_compressed
    encoded = check(header, pixels)
    words = decode(encoded, header)
    image = to_image(words, header, encoded.bits)
    return Film(image, header.spacing, header.aspect, window=own_window(header, words, encoded.bits, image))


@dataclass(frozen=True)
class EncodedPixels:
    """Pixel data for GDCM: whole words of `bits` bits, uncompressed little endian or one compressed frame."""

    syntax: str
    bits: int
    signed: bool
    content: bytes


# Checks before decoding


def check_uncompressed(header: Header, pixels: bytes) -> EncodedPixels:
    """As many bytes as the size needs; padding behind them is ignored (PS3.5 8.1.1), unless it is a second image."""
    expected = header.rows * header.columns * header.bits_allocated // 8
    if not expected <= len(pixels) < 2 * expected:
        raise UnreadableFilm(
            f"expected {expected} bytes of pixels for {header.rows} x {header.columns}, got {len(pixels)}; "
            "copy the film again"
        )
    return EncodedPixels(EXPLICIT, header.bits_allocated, False, pixels[:expected] + b"\0" * (expected % 2))


def check_compressed(header: Header, pixels: bytes) -> EncodedPixels:
    """One compressed frame, whose own header agrees with the file's."""
    try:
        frame = _joined(pixels)
        if header.syntax == RLE:
            _check_rle(header, frame)
            return EncodedPixels(RLE, header.bits_allocated, False, frame)
        rows, columns, channels, bits, signed = (
            _jpeg_2000_size(frame) if header.syntax in JPEG_2000 else _jpeg_size(frame, JPEG_FRAMES[header.syntax])
        )
    except (ValueError, IndexError, struct.error):
        raise UnreadableFilm("expected one whole compressed image, got a damaged one; copy the film again") from None
    if (rows, columns, channels) != (header.rows, header.columns, 1):
        raise UnreadableFilm(
            f"expected a compressed image of {header.rows} x {header.columns} x 1 as the header says, "
            f"got {rows} x {columns} x {channels}; export the film again"
        )
    if bits < 8 and header.syntax not in JPEG_2000:  # GDCM decodes no fewer
        raise UnreadableFilm(
            f"This film is a JPEG image of {bits} bits, of which 8 to 16 are read; export it uncompressed"
        )
    sign_unknown = header.signed and not signed and bits < header.bits_stored
    if bits > header.bits_allocated or sign_unknown:
        raise UnreadableFilm(
            f"expected a compressed image of {header.bits_stored} bits as the header says, got {bits}; "
            "export the film again"
        )
    return EncodedPixels(header.syntax, bits, signed, frame)


def _joined(pixels: bytes) -> bytes:
    """The one frame of all fragments, whatever the offset table says; zeros behind its end mark are padding."""
    buffer = BytesIO(pixels)
    parse_basic_offsets(buffer)
    frame = b"".join(generate_fragments(buffer))
    whole = frame.rstrip(b"\0")
    return whole + b"\0" * (len(whole) % 2) if whole.endswith(b"\xff\xd9") else frame


def _check_rle(header: Header, frame: bytes) -> None:
    """Raises ValueError unless there is one whole segment for each byte of a pixel, in order (PS3.5 G.5).

    GDCM crashes without any, and fills a short one up from the next.
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
    """(rows, columns, channels, bits, signed) of a complete JPEG 2000 stream, alone or in boxes (ITU T.800 A.5.1)."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start < 0 or (start > 0 and frame[4:8] != b"jP  ") or b"\xff\xd9" not in frame[-16:]:
        raise ValueError
    right, bottom, left, top = struct.unpack(">4L", frame[start + 8 : start + 24])
    channels, depth, *steps = struct.unpack(">H3B", frame[start + 40 : start + 45])
    if steps != [1, 1]:  # a subsampled component would decode to another size
        raise ValueError
    return bottom - top, right - left, channels, (depth & 0x7F) + 1, depth > 0x7F


# Decoding


def decode(encoded: EncodedPixels, header: Header) -> Integer[np.ndarray, "rows columns"]:
    """The stored words as GDCM decodes them; MONOCHROME2 without rescale leaves them unchanged."""
    if encoded.bits < 8:
        return _decode_shallow(encoded, header)
    try:
        with _saved(_minimal_dataset(encoded, header)) as path:
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


def _decode_shallow(encoded: EncodedPixels, header: Header) -> Integer[np.ndarray, "rows columns"]:
    """JPEG 2000 with fewer than 8 bits, by Pillow, which stretches them to 8 and makes them unsigned."""
    try:
        image = Jpeg2KImageFile(BytesIO(encoded.content))
        if (image.mode, image.height, image.width) != ("L", header.rows, header.columns):
            raise ValueError
        words = np.asarray(image).astype(np.int16) >> (8 - encoded.bits)
    except (OSError, SyntaxError, ValueError, struct.error):
        raise UnreadableFilm("expected pixels that can be decoded, got damaged ones; export the film again") from None
    return words - 2 ** (encoded.bits - 1) if encoded.signed else words


@contextmanager
def _saved(dataset: Dataset) -> Iterator[str]:
    """Path of a file with this content: in memory where the system can (Linux), else in a temporary folder."""
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


def _minimal_dataset(encoded: EncodedPixels, header: Header) -> Dataset:
    """The smallest header that GDCM can decode by: nothing of the original but checked numbers."""
    syntax = JPEG_2000[1] if encoded.syntax in JPEG_2000 else encoded.syntax  # GDCM knows no later name of it
    dataset = new_dataset(_SECONDARY_CAPTURE, "2.25.1", syntax)
    set_pixel_module(dataset, (header.rows, header.columns), encoded.bits, encoded.signed, "MONOCHROME2")
    if encoded.syntax == EXPLICIT:
        dataset.add_new(PIXEL_DATA, "OW", encoded.content)
    else:
        dataset.add_new(PIXEL_DATA, "OB", encapsulate([encoded.content]))
        dataset[PIXEL_DATA].is_undefined_length = True
    return dataset


# Stored words to an image


def to_image(
    words: Integer[np.ndarray, "rows columns"], header: Header, bits: int
) -> Float32[np.ndarray, "rows columns"]:
    """Words of `bits` bits with sign, Modality LUT or rescale, and MONOCHROME1 applied; finite, not constant.

    Padding gets the darkest value of the picture.
    """
    stored = _stored_values(words, header, bits)
    image = header.lut.values_at(stored) if header.lut else _rescaled(stored, header, bits)
    padded = header.padding and (stored >= header.padding[0]) & (stored <= header.padding[1])
    picture = image if padded is None else image[~padded]
    low, high = (float(picture.min()), float(picture.max())) if picture.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise UnreadableFilm("expected a picture, got one single value everywhere; choose another film")
    if header.inverted and header.lut:
        image = np.float32(low + high) - image
    return image if padded is None else np.where(padded, np.float32(low), image)


def own_window(
    header: Header, words: Integer[np.ndarray, "rows columns"], bits: int, image: Float32[np.ndarray, "rows columns"]
) -> Window | None:
    """The header's window on the values of `image`: mirrored with them where the lowest value is the brightest."""
    if header.window is None or not header.inverted:
        return header.window
    row, column = divmod(int(image.argmax()), image.shape[1])  # never padding, which is dark
    one = slice(row, row + 1), slice(column, column + 1)
    stored = _stored_values(words, header, bits)[one]
    value = header.lut.values_at(stored) if header.lut else stored * header.slope + header.intercept
    return header.window.mirrored(float(image[row, column]) + value.item())


def _rescaled(
    stored: Integer[np.ndarray, "rows columns"], header: Header, bits: int
) -> Float32[np.ndarray, "rows columns"]:
    """Slope and intercept of the stored values (PS3.3 C.11.1), those of MONOCHROME1 mirrored in the type's range."""
    if header.inverted:  # lowest + highest value of the type: 2^bits - 1, or -1 for signed
        depth = max(header.bits_stored, bits) if stored.max() >= 2**header.bits_stored else header.bits_stored
        stored = (-1 if header.signed else 2**depth - 1) - stored
    if (header.slope, header.intercept) == (1.0, 0.0):
        return stored.astype(np.float32)
    return (stored * header.slope + header.intercept).astype(np.float32)


def _stored_values(
    words: Integer[np.ndarray, "rows columns"], header: Header, bits: int
) -> Integer[np.ndarray, "rows columns"]:
    """The `bits_stored` bits below and at `high_bit` of each word, signed where the header says so (PS3.5 8.1.1).

    Other bits of a native word are unused or hold an overlay. A codestream has no bits below its values, and where it
    is deeper than `bits_stored` its own depth holds, unless the further bits are 0 or repeat the sign. Raises
    UnreadableFilm for such a depth of signed values, whose sign could be either bit.
    """
    compressed = header.syntax not in (*NATIVE, RLE)
    wide, mask = words.astype(np.int32), 2**header.bits_stored - 1
    values = wide >> (0 if compressed else header.high_bit + 1 - header.bits_stored) & mask
    if header.signed:
        values -= (values >> (header.bits_stored - 1)) << header.bits_stored
    if compressed and bits != header.bits_stored:
        whole = 2**bits - 1
        if np.any((wide & whole != values & whole) & (wide & whole != values & mask)):
            if header.signed:
                raise UnreadableFilm(
                    f"expected pixels of {header.bits_stored} bits as the header says, got larger ones; export it again"
                )
            return wide & whole
    return values
