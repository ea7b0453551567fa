"""Reading DICOM: checked against values written by hand, SimpleITK and pydicom on the original file, and hostile files.

`dicom_files` builds files without the code under test; real ones come with pydicom and from the shared folder.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import logging
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    BIG,
    BIRTH,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_57,
    JPEG_LS,
    NAME,
    RLE,
    by_simpleitk,
    content_of,
    dataset,
    jpeg_2000,
    lossless_jpeg,
    refusal,
    run_length,
    save,
    wheel_file,
)
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from spineseg.film import Film, Spacing
from spineseg.io import dicom_pixels
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.films import read_film
from spineseg.io.limits import Limits

ROWS, COLUMNS = 66, 71
VALUES = np.random.default_rng(0).normal(2000, 600, (ROWS, COLUMNS)).clip(1, 4094).round().astype(np.int64)
VALUES[0, 0], VALUES[-1, -1] = 0, 4095
WORDS = VALUES.astype(np.uint16)
JPEG = lossless_jpeg(VALUES, 12)
COMPRESSED = dataset(WORDS, stream=JPEG, syntax=JPEG_LOSSLESS)
RUN_LENGTH = run_length(dataset(WORDS))

Read = Callable[..., np.ndarray]
Refuse = Callable[..., str]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The image that is read from a file with this content."""
    return lambda made, **options: read_film(save(tmp_path / "no-extension", made), **options).image


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """The sentence that refuses a file with this content."""
    return lambda made, **options: refusal(save(tmp_path / "Doe-Jane.dcm", made), **options)


def film_or_refusal(path: Path) -> Film | None:
    """None where the film is refused in one sentence; any other failure fails the test."""
    with suppress(UnreadableFilm):
        return read_film(path)
    refusal(path)
    return None


def scaled(bits: int, signed: bool) -> np.ndarray:
    """The values over the whole range of a depth."""
    return VALUES * 2**bits // 4096 - (2 ** (bits - 1) if signed else 0)


def as_words(values: np.ndarray, bits: int) -> np.ndarray:
    return (values & (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize(("bits", "representation"), [(12, "OW"), (12, "OB"), (12, "UN"), (8, "OB"), (8, "OW")])
def test_uncompressed_values(read: Read, syntax: str, bits: int, representation: str):
    values = VALUES if bits == 12 else VALUES[:65] >> 4  # an odd number of bytes
    made = dataset(as_words(values, bits), syntax=syntax, bits=bits)
    if (syntax, bits, representation) == (BIG, 8, "OW"):  # words of two pixels, the second first
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    made["PixelData"].VR = representation
    image = read(made)
    assert image.dtype == np.float32 and not image.flags.writeable
    np.testing.assert_array_equal(image, values)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
@pytest.mark.parametrize(
    ("bits", "high_bit"), [(8, 7), (10, 9), (10, 15), (12, 11), (12, 13), (12, 15), (15, 14), (16, 15)]
)
def test_every_place_of_the_stored_bits(read: Read, rng: np.random.Generator, syntax: str, bits: int, high_bit: int):
    shift, mask = high_bit + 1 - bits, 2**bits - 1
    for signed, overlay, inverted in itertools.product([False, True], repeat=3):
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        values = rng.integers(low, high, (ROWS, COLUMNS), endpoint=True)
        words = (values & mask) << shift
        if overlay:  # overlays were once kept in the other bits
            words |= rng.integers(0, 2**16, words.shape) & ~(mask << shift) & 0xFFFF
        made = dataset(words.astype(np.uint16), syntax=syntax, bits=bits, high_bit=high_bit, signed=signed)
        made.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
        np.testing.assert_array_equal(read(made), low + high - values if inverted else values)


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [
        *itertools.product([RLE], [8, 12, 16]),
        *itertools.product([JPEG_LOSSLESS, JPEG_LOSSLESS_57], [8, 10, 12, 14, 16]),
    ],
)
def test_compressed_values(read: Read, syntax: str, bits: int):
    for signed, inverted in itertools.product([False, True], repeat=2):
        values, low = scaled(bits, signed), -(2 ** (bits - 1)) if signed else 0
        words = as_words(values, bits)
        photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
        if syntax == RLE:
            made = run_length(dataset(words, bits=bits, signed=signed, PhotometricInterpretation=photometric))
        else:
            stream = lossless_jpeg(words.astype(np.int64), bits)
            made = dataset(words, bits=bits, signed=signed, stream=stream, syntax=syntax)
            made.PhotometricInterpretation = photometric
        np.testing.assert_array_equal(read(made), 2 * low + 2**bits - 1 - values if inverted else values)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_2000(read: Read, bits: int, signed: bool):
    image = scaled(bits, signed).astype(f"{'i' if signed else 'u'}{bits // 8}")
    words = image.view(f"u{bits // 8}")
    for header_signed in (signed, not signed):  # where they disagree, the header's sign holds for the same bits
        made = dataset(words, bits=bits, signed=header_signed, stream=jpeg_2000(image), syntax=JPEG_2000)
        np.testing.assert_array_equal(read(made), words.view(f"i{bits // 8}") if header_signed else words)


@pytest.mark.parametrize("signed", [False, True])
def test_a_codestream_deeper_than_the_stored_bits(read: Read, refuse: Refuse, signed: bool):
    values = VALUES - 2048 if signed else VALUES
    for words in (values & 0xFFFF, values & 0xFFF):  # the sign goes on above bit 11, or does not
        made = dataset(words.astype(np.uint16), signed=signed, stream=lossless_jpeg(words, 16), syntax=JPEG_LOSSLESS)
        np.testing.assert_array_equal(read(made), values)
    words = values & 0xFFFF
    words[5, 5] ^= 0x2000
    made = dataset(words.astype(np.uint16), signed=signed, stream=lossless_jpeg(words, 16), syntax=JPEG_LOSSLESS)
    if signed:  # is bit 11 or bit 15 the sign?
        assert "12 bits" in refuse(made)
    else:
        np.testing.assert_array_equal(read(made), words)


def test_a_codestream_shallower_than_the_stored_bits(read: Read, refuse: Refuse):
    made = dataset(WORDS, bits=16, stream=JPEG, syntax=JPEG_LOSSLESS)
    np.testing.assert_array_equal(read(made), VALUES)
    made.PixelRepresentation = 1  # is bit 11 or bit 15 the sign?
    assert "16 bits" in refuse(made)


def test_a_frame_in_several_fragments(read: Read):
    made = dataset(WORDS, stream=JPEG, syntax=JPEG_LOSSLESS)
    made.PixelData = encapsulate([JPEG], fragments_per_frame=5)
    np.testing.assert_array_equal(read(made), VALUES)


@pytest.mark.parametrize(("slope", "intercept"), [(0.684, -1024), (-1, 4095), (1e-3, 0), (1, -1024)])
def test_rescale(read: Read, slope: float, intercept: float):
    image = read(dataset(WORDS, RescaleSlope=slope, RescaleIntercept=intercept))
    np.testing.assert_array_equal(image, (VALUES * slope + intercept).astype(np.float32))


def test_monochrome1_is_inverted_once_and_then_rescaled(tmp_path: Path):
    made = dataset(WORDS, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-5)
    image = read_film(path := save(tmp_path / "a.dcm", made)).image
    np.testing.assert_array_equal(image, 2 * (4095 - VALUES) - 5)
    np.testing.assert_array_equal(image, by_simpleitk(path))
    np.testing.assert_array_equal(read_film(path, invert=True).image, 2 * VALUES - 5)


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_one_frame_of_a_multi_frame_object(tmp_path: Path, where: str):
    transformation, measures, group = Dataset(), Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 3, -7
    measures.PixelSpacing = [0.3, 0.4]
    group.PixelValueTransformationSequence = Sequence([transformation])
    group.PixelMeasuresSequence = Sequence([measures])
    made = dataset(WORDS, NumberOfFrames=1, Modality="MR")
    setattr(made, where, Sequence([group]))
    film = read_film(save(tmp_path / "a.dcm", made))
    np.testing.assert_array_equal(film.image, VALUES * 3 - 7)
    assert film.spacing == Spacing(0.3, 0.4, "patient")


DETECTOR, PIXEL = [0.15, 0.16], [0.12, 0.128]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": DETECTOR}, Spacing(0.15, 0.16, "detector")),
        ({"ImagerPixelSpacing": DETECTOR, "PixelSpacing": DETECTOR}, Spacing(0.15, 0.16, "detector")),
        ({"ImagerPixelSpacing": DETECTOR, "PixelSpacing": PIXEL}, Spacing(0.12, 0.128, "patient")),
        ({"PixelSpacing": PIXEL}, Spacing(0.12, 0.128, "detector")),
        ({"PixelSpacing": PIXEL, "PixelSpacingCalibrationType": "FIDUCIAL"}, Spacing(0.12, 0.128, "patient")),
        ({"PixelSpacing": PIXEL, "Modality": "CT"}, Spacing(0.12, 0.128, "patient")),
        ({"PixelSpacing": [0, 0.1]}, None),
        ({"PixelSpacing": [-0.1, 0.1], "ImagerPixelSpacing": DETECTOR}, Spacing(0.15, 0.16, "detector")),
        ({"ImagerPixelSpacing": [0.1, 0.1, 0.1]}, None),
        ({"ImagerPixelSpacing": 0.1}, None),
        ({"ImagerPixelSpacing": ""}, None),
        ({"ImagerPixelSpacing": [1e300, 1e300]}, None),
        ({"ImagerPixelSpacing": [5e-324, 0.1]}, None),
        ({"PixelSpacing": [143, 143], "ImagerPixelSpacing": DETECTOR}, Spacing(0.15, 0.16, "detector")),
    ],
)
def test_whose_millimetres(tmp_path: Path, elements: dict[str, Any], expected: Spacing | None):
    assert read_film(save(tmp_path / "a.dcm", dataset(WORDS, **elements))).spacing == expected


@pytest.mark.parametrize("text", [b"nan\\nan", b"inf\\0.1", b"one\\two", b"0,1\\0,1", b"1e999\\1"])
def test_spacing_that_is_no_number_is_none_or_refused(tmp_path: Path, text: bytes):
    content = content_of(dataset(WORDS, ImagerPixelSpacing=["1.23456", "1.23456"]))
    (tmp_path / "a.dcm").write_bytes(changed(content, b"1.23456\\1.23456 ", text))
    film = film_or_refusal(tmp_path / "a.dcm")
    assert film is None or film.spacing is None


def test_what_is_no_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "null").symlink_to(os.devnull)
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []
    words = {"": "folder", "none": "missing", "a\0b": "opened", "pipe": "device", "loop": "missing", "null": "device"}
    for name, word in words.items():
        assert word in refusal(Path(f"{tmp_path}/{name}"))
    assert not before or os.listdir("/proc/self/fd") == before, "one is held open"


def test_a_file_over_the_limit(tmp_path: Path):
    path = save(tmp_path / "a.dcm", dataset(WORDS))
    assert "larger than the 0 MB allowed" in refusal(path, limits=Limits(max_bytes=1000))
    assert read_film(path, limits=Limits(max_bytes=path.stat().st_size)).shape == (ROWS, COLUMNS)


OTHER_FILES = [
    (b"", "empty"),
    (b"\x89PNG\r\n\x1a\n" + bytes(400), "PNG"),
    (b"PK\3\4" + bytes(400), "ZIP"),
    (b"%PDF-1.7" + bytes(400), "PDF"),
    (b"\xff\xd8\xff\xe0" + bytes(400), "JPEG"),
    (b"II*\0" + bytes(400), "TIFF"),
    (b"just text", "another kind"),
    (bytes(128) + b"DICM", "no transfer syntax"),
    (bytes(128) + b"DICM" + b"\xff" * 2000, "no transfer syntax"),
]
HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
    ({"Rows": 0}, "got 0 x"),
    ({"Columns": 0}, "x 0;"),
    ({"Rows": 63}, "63 x 71"),
    ({"Rows": 9000, "Columns": 9000}, "40 million"),
    ({"Rows": 10001}, "10001"),
    ({"Rows": ROWS + 1}, "bytes"),
    ({"NumberOfFrames": 65535}, "65535"),
    ({"NumberOfFrames": 0}, "got 0"),
    ({"NumberOfFrames": -1}, "one frame"),
    ({"SamplesPerPixel": 3}, "3 channels"),
    ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
    ({"PhotometricInterpretation": "SECRET"}, "unknown"),
    ({"BitsAllocated": 32}, "of 32"),
    ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 of 1"),
    ({"BitsStored": 17}, "17 of 16"),
    ({"BitsStored": 0}, "0 of 16"),
    ({"HighBit": 3}, "high bit 3"),
    ({"HighBit": 16}, "high bit 16"),
    ({"PixelRepresentation": 2}, "bits"),
    ({"RescaleSlope": 0}, "rescale"),
    ({"RescaleSlope": 1e300}, "rescale"),
    ({"RescaleSlope": [1, 2]}, "rescale"),
    ({"RescaleIntercept": 1e30}, "rescale"),
    ({"ModalityLUTSequence": Sequence([Dataset()])}, "LUT"),
    ({"PixelData": b""}, "got 0"),
    ({"PixelData": bytes(2 * ROWS * COLUMNS)}, "one single value"),
    ({"PixelData": b"\xff\x0f" * ROWS * COLUMNS}, "one single value"),
]


def without(keyword: str) -> Dataset:
    made = dataset(WORDS)
    del made[keyword]
    return made


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with `new`, as long as `old`, in the one place that held it."""
    assert content.count(old) == 1
    return content.replace(old, new.ljust(len(old)))


def with_syntax(syntax: str) -> bytes:
    content, padding = content_of(dataset(WORDS)), b"\0" * (len(syntax) % 2)
    start, end = (content.index(element) for element in (b"\x02\x00\x10\x00UI", b"\x02\x00\x12\x00UI"))
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax + padding.decode())) + syntax.encode() + padding
    return content[:start] + element + content[end:]


def segment_table(*numbers: int) -> bytes:
    """The head of an RLE frame: the number of segments, then where each starts."""
    return struct.pack("<16L", *numbers, *[0] * (16 - len(numbers)))


def subsampled(stream: bytes) -> bytes:
    at = stream.index(b"\xff\x4f\xff\x51") + 43
    assert stream[at : at + 2] == b"\1\1"
    return stream[:at] + b"\2" + stream[at + 1 :]


J2K = jpeg_2000(WORDS)
STREAMS = [
    (JPEG_LOSSLESS, JPEG[:-2]),  # no end
    (JPEG_LOSSLESS, JPEG[:20]),
    (JPEG_LOSSLESS, b"\xff\xd8\xff\xd9"),
    (JPEG_LOSSLESS, b"\xff" * 500),
    (JPEG_LOSSLESS, J2K),
    (JPEG_BASELINE, JPEG),  # another process than the syntax says
    (JPEG_LS, JPEG),
    (JPEG_2000, JPEG),
    (JPEG_2000, J2K[:-2]),
    (JPEG_2000, J2K[:30]),
    (JPEG_2000, bytes(100) + J2K),
    (JPEG_2000, subsampled(J2K)),
    (RLE, b"\x81\x07" * 80),
]
SEGMENTS = [
    *((), (0, 64, 144), (3, 64, 144), (1, 64), (2, 64, 64), (2, 64, 10**9), (2, 0, 90), (2, 90, 70), (2**32 - 1,)),
    (15, *range(64, 79)),
]
"""Wrong ones; GDCM crashes if there is none."""
OTHER_SIZES: list[dict[str, Any]] = [{"Rows": ROWS * 2}, {"Columns": COLUMNS * 2}, {"Rows": COLUMNS, "Columns": ROWS}]
ONE_BYTE: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
REFUSED: list[tuple[bytes | Dataset, str]] = [
    *OTHER_FILES,
    *((dataset(WORDS, **elements), word) for elements, word in HEADERS),
    *((without(keyword), "expected") for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelData")),
    *(
        (changed(content_of(dataset(WORDS, RescaleSlope="1.234567")), b"1.234567", text), "expected")
        for text in (b"nan", b"NaN", b"inf", b"-inf", b"one", b"1,0", b"Doe^Jane")
    ),
    *((with_syntax(syntax), "transfer syntax") for syntax in (DEFLATED, "1.2.840.10008.1.2.4.102", "1.2.3", NAME)),
    (changed(content_of(dataset(WORDS)), EXPLICIT.encode() + b"\0", RLE.encode() + b"\0"), "transfer syntax"),
    (changed(content_of(RUN_LENGTH), RLE.encode() + b"\0", EXPLICIT.encode() + b"\0"), "transfer syntax"),
    *(
        (dataset(WORDS, stream=stream, syntax=syntax, **elements), "compressed image of")
        for stream, syntax in ((JPEG, JPEG_LOSSLESS), (J2K, JPEG_2000))
        for elements in (*OTHER_SIZES, ONE_BYTE)
    ),
    *((dataset(WORDS, stream=stream + b"\0" * (len(stream) % 2), syntax=syntax), "got") for syntax, stream in STREAMS),
    *(
        (dataset(WORDS, stream=segment_table(*numbers) + b"\x81\x07" * 80, syntax=RLE), "damaged")
        for numbers in SEGMENTS
    ),
]


@pytest.mark.parametrize(("made", "word"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_refused(refuse: Refuse, made: bytes | Dataset, word: str):
    assert word in refuse(made)


@pytest.mark.parametrize(("first", "second"), [(32, 32), (33, 32), (31, 32), (30, 34), (32, 31), (64, 1)])
def test_rle_segments_that_are_too_short(read: Read, refuse: Refuse, first: int, second: int):
    segments = (b"\x81\x07" * first, b"\x81\x00" + b"\x81\x07" * (second - 1))  # 128 bytes for each two
    stream = b"".join((segment_table(2, 64, 64 + len(segments[0])), *segments))
    made = dataset(np.zeros((64, 64), dtype=np.uint16), stream=stream, syntax=RLE)
    if min(first, second) >= 32:  # 4096 bytes in each
        assert read(made).max() == 0x707
    else:
        assert "damaged" in refuse(made)


# Whole or refused: foreign memory must never stand in for what is missing


@pytest.mark.parametrize("made", [dataset(WORDS), COMPRESSED, RUN_LENGTH], ids=["uncompressed", "JPEG", "RLE"])
def test_cut_short_anywhere(tmp_path: Path, made: Dataset):
    content, path = content_of(made), tmp_path / "a.dcm"
    late = (len(content) - k for k in range(1, 20))
    for length in sorted({*range(0, 1200, 7), *range(1200, len(content), len(content) // 60), *late}):
        path.write_bytes(content[:length])
        film = film_or_refusal(path)
        if film is not None:
            np.testing.assert_array_equal(film.image, VALUES)
            assert length >= len(content) - 8  # of the end mark of a sequence at most


@pytest.mark.parametrize(
    ("made", "value"), [(dataset(WORDS), WORDS.tobytes()), (COMPRESSED, JPEG)], ids=["all", "part"]
)
def test_wrong_lengths(tmp_path: Path, made: Dataset, value: bytes):
    content, path = content_of(made), tmp_path / "a.dcm"
    at = content.index(value) - 4
    for length in (0, 1, 600, len(value) - 2, len(value) + 2, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        path.write_bytes(content[:at] + struct.pack("<L", length) + content[at + 4 :])
        film = film_or_refusal(path)
        if film is not None:  # all pixels are there, whatever the length
            assert length >= len(value)
            np.testing.assert_array_equal(film.image, VALUES)


def nested(depth: int, undefined: bool) -> bytes:
    """Procedure Code Sequences within each other, explicit little endian."""
    if undefined:
        opening = b"\x08\x00\x32\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        return opening * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    content = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content)) + content
        content = b"\x08\x00\x32\x10SQ\0\0" + struct.pack("<L", len(item)) + item
    return content


def test_sequences_nested_without_end(read: Read, refuse: Refuse):
    content = content_of(dataset(WORDS))
    at = content.index(b"\x10\x00\x10\x00PN")
    assert "nested" in refuse(content[:at] + nested(100_000, undefined=True) + content[at:])
    known = content[:at] + nested(3_000, undefined=False) + content[at:]  # skipped, so it never reaches GDCM
    np.testing.assert_array_equal(read(known), VALUES)


def test_gdcm_sees_nothing_of_the_header(read: Read, monkeypatch: pytest.MonkeyPatch):
    seen = []
    minimal = dicom_pixels._minimal_dataset

    def spy(*arguments: Any) -> Dataset:
        seen.append(minimal(*arguments))
        return seen[-1]

    monkeypatch.setattr(dicom_pixels, "_minimal_dataset", spy)
    read(dataset(WORDS, InstitutionName=NAME, PhotometricInterpretation="MONOCHROME1"))
    assert len(seen) == 1 and NAME not in str(seen[0]) and BIRTH not in str(seen[0])
    assert "PatientName" not in seen[0] and seen[0].PhotometricInterpretation == "MONOCHROME2"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_nothing_is_logged_or_warned_and_no_file_stays(
    tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
):
    caplog.set_level(logging.DEBUG)
    path = save(tmp_path / "a.dcm", dataset(WORDS, ImagerPixelSpacing=["1.23456", "1.23456"]))
    content = path.read_bytes()
    for damaged in (content, content.replace(b"1.23456\\1.23456", NAME.encode()), content[:-2], content[:900]):
        path.write_bytes(damaged)
        film_or_refusal(path)
    refusal(wheel_file("badVR.dcm"))  # pydicom logs a value of this one
    assert not caplog.records and not len(recwarn) and not list(temporary.iterdir())
    assert not logging.getLogger("pydicom").disabled


def test_without_files_in_memory_the_copy_is_a_temporary_file(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    path = save(tmp_path / "a.dcm", dataset(WORDS))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    np.testing.assert_array_equal(read_film(path).image, VALUES)
    assert not list(temporary.iterdir())
    temporary.rmdir()
    assert "room" in refusal(path)


@pytest.mark.parametrize("step", ["dicom_header._check_header", "dicom_pixels.decode"])
def test_a_file_that_needs_too_much_memory(refuse: Refuse, monkeypatch: pytest.MonkeyPatch, step: str):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"spineseg.io.{step}", full)
    assert "memory" in refuse(dataset(WORDS))


GREY = """693_J2KI.dcm CT_small.dcm J2K_pixelrep_mismatch.dcm JPEG-lossy.dcm JPEG2000.dcm JPEGLSNearLossless_08.dcm
JPEGLSNearLossless_16.dcm JPGExtended.dcm MR_small.dcm MR_small_RLE.dcm MR_small_bigendian.dcm MR_small_expb.dcm
MR_small_implicit.dcm MR_small_jp2klossless.dcm MR_small_jpeg_ls_lossless.dcm examples_overlay.dcm 6154 4919"""


@pytest.mark.parametrize("name", GREY.split())
def test_pydicoms_grey_files_read_as_simpleitk_reads_them(name: str):
    path = wheel_file(name)
    image, film = read_film(path, limits=Limits(min_side=2)).image, pydicom.dcmread(path)
    padded = "PixelPaddingValue" in film  # pydicom alone cannot decode some of the others
    picture = film.pixel_array != film.PixelPaddingValue if padded else np.s_[:]
    np.testing.assert_array_equal(image[picture], by_simpleitk(path).astype(np.float32)[picture])


OTHERS = {
    "Deflated": ["image_dfl.dcm"],
    "colour": ["SC_rgb_jpeg.dcm", "SC_rgb_rle_2frame.dcm"],
    "palette": ["examples_palette.dcm"],
    "object that is no radiograph": [
        *("rtdose.dcm", "rtdose_1frame.dcm", "rtstruct.dcm", "rtplan_truncated.dcm", "badVR.dcm"),
    ],
    "a DICOM segmentation": ["liver_1frame.dcm"],
    "a DICOM waveform": ["waveform_ecg.dcm"],
    "a DICOMDIR index": ["DICOMDIR"],
    "8192 bytes": ["MR_truncated.dcm"],
    "1024 x 256 x 1": ["JPEG2000-embedded-sequence-delimiter.dcm"],
    "report": [
        "test-SR.dcm",
        "empty_charset_LEI.dcm",
    ],
    "another kind": ["no_meta.dcm"],
    "no transfer syntax": ["meta_missing_tsyntax.dcm"],
}


@pytest.mark.parametrize(("word", "name"), [(word, name) for word, names in OTHERS.items() for name in names])
def test_pydicoms_other_files_are_refused(word: str, name: str):
    assert word in refusal(wheel_file(name), limits=Limits(min_side=2))


def test_every_shared_file_has_the_outcome_that_it_must_have(shared: Path):
    with open(shared / "dicom" / "index.csv", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 15
    for row in rows:
        path = shared / "dicom" / row["file"]
        if row["expect"] == "refuse":
            refusal(path)
            continue
        image = read_film(path).image
        assert (image.min(), image.max()) == (float(row["sitk_min"]), float(row["sitk_max"])), row["file"]
        digest = hashlib.sha256(image.astype(row["sitk_dtype"]).tobytes()).hexdigest()
        assert digest == row["sitk_sha256"], row["file"]


def test_real_files_read_as_pydicom_reads_them(shared: Path):
    films = sorted(shared.glob("films/img/*.dcm"))
    assert len(films) == 16
    for path in films:
        film = read_film(path)
        assert film.spacing is None
        np.testing.assert_array_equal(film.image, pydicom.dcmread(path).pixel_array)


def test_no_value_of_a_patient_leaves_the_real_header(shared: Path, tmp_path: Path):
    """This file carries patient-like values: none of them may be in a sentence, wherever the file is cut."""
    content = (shared / "dicom" / "s02_dx_lateral_spine_vet.dcm").read_bytes()
    header = pydicom.dcmread(shared / "dicom" / "s02_dx_lateral_spine_vet.dcm", stop_before_pixels=True)
    secrets = {str(each.value) for each in header if each.tag.group == 0x0010 and len(str(each.value)) > 3}
    assert secrets
    for length in range(0, len(content), 397):
        (tmp_path / "a.dcm").write_bytes(content[:length])
        sentence = refusal(tmp_path / "a.dcm")
        assert not [secret for secret in secrets if secret in sentence]
