"""Reading is checked against values written by hand, against SimpleITK on the original file, and against hostile files.

`dicom_files` builds files without the code under test; real ones come with pydicom and from the shared folder.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
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
    dataset,
    jpeg_2000,
    lossless_jpeg,
    save,
    wheel_file,
)
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from spineseg.film import Film, Spacing
from spineseg.io import dicom_pixels
from spineseg.io.dicom import read_film
from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.dicom_write import write_film
from spineseg.io.limits import Limits

ROWS, COLUMNS = 66, 71
ANY_SIZE = Limits(min_side=2)


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    """0 to 4095, smooth with noise, both ends present."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    image = 2000 + 1000 * np.sin(rows / 20) + 800 * np.cos(columns / 15) + rng.normal(0, 20, (ROWS, COLUMNS))
    image = np.clip(image, 1, 4094).round().astype(np.int64)
    image[0, 0], image[-1, -1] = 0, 4095
    return image


def by_simpleitk(path: Path) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    return sitk.GetArrayFromImage(reader.Execute())[0]


def refusal(path: Path, **options: Any) -> str:
    """The one sentence, without path, name or birth date, and without a cause that would show them."""
    with pytest.raises(UnreadableFilm) as caught:
        read_film(path, **options)
    sentence = str(caught.value)
    assert sentence.startswith("expected ") and ", got " in sentence and "; " in sentence and "\n" not in sentence
    for secret in (str(path), path.parent.name, "Doe", "Jane", "Secret", "SECRET", BIRTH):
        assert secret not in sentence
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


def film_or_refusal(path: Path) -> Film | None:
    """None where the film is refused in one sound sentence; any other failure fails the test."""
    try:
        return read_film(path)
    except UnreadableFilm:
        pass
    refusal(path)
    return None


# Reading what can be read


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_native_values(tmp_path: Path, values: np.ndarray, syntax: str):
    film = read_film(save(tmp_path / "no-extension", dataset(values.astype(np.uint16), syntax=syntax)))
    assert film.image.dtype == np.float32 and not film.image.flags.writeable
    assert film.spacing is None
    np.testing.assert_array_equal(film.image, values)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("representation", ["OB", "OW"])
def test_8_bits_of_an_odd_length(tmp_path: Path, values: np.ndarray, syntax: str, representation: str):
    values = (values[:65, :71] >> 4).astype(np.uint8)
    made = dataset(values, syntax=syntax, bits=8)
    if syntax == BIG and representation == "OW":  # words of two pixels, the second first
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    made["PixelData"].VR = representation
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("representation", ["OB", "UN"])
def test_16_bits_called_bytes_or_unknown_are_words(
    tmp_path: Path, values: np.ndarray, syntax: str, representation: str
):
    made = dataset(values.astype(np.uint16), syntax=syntax)
    made["PixelData"].VR = representation
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rubbish", [False, True])
@pytest.mark.parametrize(
    ("bits", "high_bit"), [(8, 7), (10, 9), (10, 15), (12, 11), (12, 13), (12, 15), (15, 14), (16, 15)]
)
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_every_place_of_the_stored_bits(
    tmp_path: Path,
    rng: np.random.Generator,
    syntax: str,
    bits: int,
    high_bit: int,
    rubbish: bool,
    signed: bool,
    photometric: str,
):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = rng.integers(low, high, (ROWS, COLUMNS), endpoint=True)
    shift, mask = high_bit + 1 - bits, 2**bits - 1
    words = (values & mask) << shift
    if rubbish:  # overlays were once kept in the other bits
        words |= rng.integers(0, 2**16, words.shape) & ~(mask << shift) & 0xFFFF
    made = dataset(words.astype(np.uint16), syntax=syntax, bits=bits, high_bit=high_bit, signed=signed)
    made.PhotometricInterpretation = photometric
    expected = values if photometric == "MONOCHROME2" else low + high - values
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, expected)


def test_monochrome1_is_turned_over_once_and_then_rescaled(tmp_path: Path, values: np.ndarray):
    made = dataset(
        values.astype(np.uint16), PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-5
    )
    path = save(tmp_path / "a.dcm", made)
    film = read_film(path)
    assert film.image[0, 0] == 2 * 4095 - 5 and film.image[-1, -1] == -5
    np.testing.assert_array_equal(film.image, 2 * (4095 - values) - 5)
    np.testing.assert_array_equal(film.image, by_simpleitk(path))


@pytest.mark.parametrize(("slope", "intercept"), [(0.684, -1024), (-1, 4095), (1e-3, 0), (1, -1024)])
def test_rescale(tmp_path: Path, values: np.ndarray, slope: float, intercept: float):
    made = dataset(values.astype(np.uint16), RescaleSlope=slope, RescaleIntercept=intercept)
    film = read_film(save(tmp_path / "a.dcm", made))
    np.testing.assert_array_equal(film.image, (values * slope + intercept).astype(np.float32))


def test_invert_exchanges_dense_and_clear(tmp_path: Path, values: np.ndarray):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    np.testing.assert_array_equal(read_film(path, invert=True).image, 4095 - values)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_rle(tmp_path: Path, values: np.ndarray, bits: int, signed: bool, photometric: str):
    low = -(2 ** (bits - 1)) if signed else 0
    values = (values * 2**bits // 4096) + low
    words = (values & (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    made = dataset(words, bits=bits, signed=signed, PhotometricInterpretation=photometric)
    made.compress(RLE, generate_instance_uid=False)
    expected = values if photometric == "MONOCHROME2" else 2 * low + 2**bits - 1 - values
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, expected)


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LOSSLESS_57])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_lossless_jpeg(tmp_path: Path, values: np.ndarray, bits: int, signed: bool, photometric: str, syntax: str):
    low = -(2 ** (bits - 1)) if signed else 0
    values = (values * 2**bits // 4096) + low
    words = values & (2**bits - 1)
    stream = lossless_jpeg(words, bits)
    made = dataset(
        words.astype(np.uint8 if bits == 8 else np.uint16), bits=bits, signed=signed, stream=stream, syntax=syntax
    )
    made.PhotometricInterpretation = photometric
    expected = values if photometric == "MONOCHROME2" else 2 * low + 2**bits - 1 - values
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_2000(tmp_path: Path, values: np.ndarray, bits: int, signed: bool):
    values = (values * 2**bits // 4096) - (2 ** (bits - 1) if signed else 0)
    image = values.astype(f"{'i' if signed else 'u'}{bits // 8}")
    words = image.view(f"u{bits // 8}")
    for header_signed in (signed, not signed):  # where they disagree, the header's sign holds for the same bits
        expected = words if not header_signed else words.view(f"i{bits // 8}")
        made = dataset(words, bits=bits, signed=header_signed, stream=jpeg_2000(tmp_path, image), syntax=JPEG_2000)
        np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, expected)


@pytest.mark.parametrize("signed", [False, True])
def test_a_codestream_deeper_than_the_stored_bits(tmp_path: Path, values: np.ndarray, signed: bool):
    values = values - 2048 if signed else values
    for words in (values & 0xFFFF, values & 0xFFF):  # the sign goes on above bit 11, or does not
        made = dataset(words.astype(np.uint16), signed=signed, stream=lossless_jpeg(words, 16), syntax=JPEG_LOSSLESS)
        np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)
    words = values & 0xFFFF
    words[5, 5] ^= 0x2000
    made = dataset(words.astype(np.uint16), signed=signed, stream=lossless_jpeg(words, 16), syntax=JPEG_LOSSLESS)
    assert "12 bits" in refusal(save(tmp_path / "b.dcm", made))


def test_a_codestream_shallower_than_the_stored_bits(tmp_path: Path, values: np.ndarray):
    stream = lossless_jpeg(values, 12)
    made = dataset(values.astype(np.uint16), bits=16, stream=stream, syntax=JPEG_LOSSLESS)
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)
    made.PixelRepresentation = 1  # is bit 11 or bit 15 the sign?
    assert "16 bits" in refusal(save(tmp_path / "b.dcm", made))


def test_a_frame_in_several_fragments(tmp_path: Path, values: np.ndarray):
    stream = lossless_jpeg(values, 12)
    made = dataset(values.astype(np.uint16), stream=stream, syntax=JPEG_LOSSLESS)
    made.PixelData = encapsulate([stream], fragments_per_frame=5)
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)


def test_one_frame_of_a_multi_frame_object(tmp_path: Path, values: np.ndarray):
    transformation, measures, group = Dataset(), Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 3, -7
    measures.PixelSpacing = [0.3, 0.4]
    group.PixelValueTransformationSequence, group.PixelMeasuresSequence = (
        Sequence([transformation]),
        Sequence([measures]),
    )
    for where in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        made = dataset(values.astype(np.uint16), NumberOfFrames=1, Modality="MR")
        setattr(made, where, Sequence([group]))
        film = read_film(save(tmp_path / "a.dcm", made))
        np.testing.assert_array_equal(film.image, values * 3 - 7)
        assert film.spacing == Spacing(0.3, 0.4, "patient")


# Spacing


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
        ({"ImagerPixelSpacing": [1e300, 1e300]}, None),  # what is computed from it would be no number
        ({"ImagerPixelSpacing": [5e-324, 0.1]}, None),
        ({"PixelSpacing": [143, 143], "ImagerPixelSpacing": DETECTOR}, Spacing(0.15, 0.16, "detector")),
    ],
)
def test_whose_millimetres(tmp_path: Path, values: np.ndarray, elements: dict[str, Any], expected: Spacing | None):
    assert read_film(save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), **elements))).spacing == expected


@pytest.mark.parametrize("text", [b"nan\\nan ", b"inf\\0.1 ", b"one\\two ", b"0,1\\0,1 ", b"1e999\\1 "])
def test_spacing_that_is_no_number_is_none_or_refused(tmp_path: Path, values: np.ndarray, text: bytes):
    made = dataset(values.astype(np.uint16), ImagerPixelSpacing=["1.23456", "1.23456"])
    path = save(tmp_path / "a.dcm", made)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.23456\\1.23456 ", text.ljust(16)))
    assert path.read_bytes() != content
    film = film_or_refusal(path)
    assert film is None or film.spacing is None


# Writing


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("spacing", [None, Spacing(0.143, 0.15, "detector"), Spacing(0.1, 0.12345, "patient")])
def test_written_films_are_read_back(
    tmp_path: Path, rng: np.random.Generator, photometric: Any, bits: int, spacing: Spacing | None
):
    image = rng.integers(0, 2**bits, (ROWS + 1, COLUMNS)).astype(np.float32)  # an odd number of pixels
    write_film(tmp_path / "a.dcm", Film(image, spacing), bits_stored=bits, photometric=photometric)
    film = read_film(tmp_path / "a.dcm")
    np.testing.assert_array_equal(film.image, image)
    assert film.spacing == spacing
    np.testing.assert_array_equal(by_simpleitk(tmp_path / "a.dcm"), image)


def test_written_values_are_rounded_and_clipped(tmp_path: Path):
    image = np.zeros((64, 64), dtype=np.float32)
    image[0, :5] = -3, 0.4, 0.6, 4095.4, 70000
    write_film(tmp_path / "a.dcm", Film(image))
    assert read_film(tmp_path / "a.dcm").image[0, :5].tolist() == [0, 0, 1, 4095, 4095]


def test_same_film_same_bytes_and_another_film_other_identifiers(tmp_path: Path, values: np.ndarray):
    film = Film(values.astype(np.float32), Spacing(0.1, 0.1, "detector"))
    for name, image in (("a", film), ("b", film), ("c", film.inverted())):
        write_film(tmp_path / name, image)
    a, b, c = (tmp_path / name for name in "abc")
    assert a.read_bytes() == b.read_bytes()
    assert hashlib.sha256(a.read_bytes()).digest() != hashlib.sha256(c.read_bytes()).digest()
    one, other = pydicom.dcmread(a), pydicom.dcmread(c)
    assert one.SOPInstanceUID != other.SOPInstanceUID and one.StudyInstanceUID != other.StudyInstanceUID


def test_written_header(tmp_path: Path, values: np.ndarray):
    write_film(tmp_path / "a.dcm", Film(values.astype(np.float32), Spacing(0.1, 0.2, "detector")))
    made = pydicom.dcmread(tmp_path / "a.dcm")
    assert made.file_meta.TransferSyntaxUID == EXPLICIT
    assert (made.Modality, made.BodyPartExamined, made.ViewPosition) == ("CR", "LSPINE", "LL")
    assert (made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation) == (16, 12, 11, 0)
    assert made.ImagerPixelSpacing == [0.1, 0.2] and "PixelSpacing" not in made
    assert all(not made[keyword].value for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"))
    assert str(made.SOPInstanceUID).startswith("2.25.") and UID(made.SOPInstanceUID).is_valid
    assert len(made.PixelData) == ROWS * COLUMNS * 2


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write_film(path, Film(values.astype(np.float32)))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.dcm"]


def test_bits_outside_8_to_16_are_a_callers_mistake(tmp_path: Path, values: np.ndarray):
    with pytest.raises(ValueError, match="8 to 16"):
        write_film(tmp_path / "a.dcm", Film(values.astype(np.float32)), bits_stored=17)


# Refusals: what is no film


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 400, "PNG"),
        (b"PK\3\4" + b"\0" * 400, "ZIP"),
        (b"%PDF-1.7" + b" " * 400, "PDF"),
        (b"\xff\xd8\xff\xe0" + b" " * 400, "JPEG"),
        (b"just text", "another kind"),
        (b"\0" * 128 + b"DICM", "none"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 2000, "expected"),
    ],
)
def test_other_files_with_the_name_of_a_film(tmp_path: Path, content: bytes, word: str):
    path = tmp_path / "film.dcm"
    path.write_bytes(content)
    assert word in refusal(path)


def test_what_is_no_file(tmp_path: Path):
    assert "folder" in refusal(tmp_path)
    assert "missing" in refusal(tmp_path / "missing.dcm")
    refusal(Path(f"{tmp_path}/a\0b"))
    os.mkfifo(tmp_path / "pipe.dcm")
    refusal(tmp_path / "pipe.dcm")
    (tmp_path / "loop.dcm").symlink_to("loop.dcm")
    (tmp_path / "null.dcm").symlink_to(os.devnull)
    assert "missing" in refusal(tmp_path / "loop.dcm") and "device" in refusal(tmp_path / "null.dcm")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")
def test_what_is_no_file_is_not_held_open(tmp_path: Path):
    refusal(tmp_path)
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        refusal(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_has_nothing_to_say_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As /proc/kmsg, a regular file by its kind: it answers None to whoever does not wait."""
    path = tmp_path / "a.dcm"
    path.write_bytes(b"")
    monkeypatch.setattr("spineseg.io.dicom.open", lambda *_, **__: Waiting(os.open(path, os.O_RDONLY)), raising=False)
    assert "empty" in refusal(path)


class Waiting(io.FileIO):
    def read(self, size: int | None = -1, /) -> Any:
        return None


def test_a_file_over_the_limit(tmp_path: Path, values: np.ndarray):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    assert "at most 0 MB" in refusal(path, limits=Limits(max_bytes=1000))
    assert read_film(path, limits=Limits(max_bytes=path.stat().st_size)).shape == (ROWS, COLUMNS)


def test_a_picture_in_another_format_under_a_dicom_name(tmp_path: Path, values: np.ndarray):
    image = sitk.GetImageFromArray(values.astype(np.uint16))
    for ending in ("png", "tif", "mhd"):
        sitk.WriteImage(image, str(tmp_path / f"a.{ending}"))
        refusal((tmp_path / f"a.{ending}").rename(tmp_path / f"{ending}.dcm"))


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
        ({"Rows": 0}, "got 0 x"),
        ({"Columns": 0}, "x 0;"),
        ({"Rows": 1, "Columns": 1}, "1 x 1"),
        ({"Rows": 9000, "Columns": 9000}, "40 million"),
        ({"Rows": 10001}, "10001"),
        ({"Rows": ROWS + 1}, "bytes"),
        ({"Rows": ROWS - 1}, "bytes"),
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
    ],
)
def test_headers_that_cannot_be_films(tmp_path: Path, values: np.ndarray, elements: dict[str, Any], word: str):
    assert word in refusal(save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), **elements)))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "PixelData"])
def test_headers_that_lack_something(tmp_path: Path, values: np.ndarray, keyword: str):
    made = dataset(values.astype(np.uint16))
    del made[keyword]
    refusal(save(tmp_path / "a.dcm", made))


@pytest.mark.parametrize("text", [b"nan", b"NaN", b"inf", b"-inf", b"one", b"1,0"])
def test_rescale_that_is_no_number(tmp_path: Path, values: np.ndarray, text: bytes):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), RescaleSlope="1.234567"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.234567", text.ljust(8)))
    assert path.read_bytes() != content
    refusal(path)


@pytest.mark.parametrize("value", [0, 1234, 4095])
def test_one_single_value(tmp_path: Path, value: int):
    assert "one single value" in refusal(save(tmp_path / "a.dcm", dataset(np.full((64, 64), value, dtype=np.uint16))))


def test_the_smallest_film(tmp_path: Path, values: np.ndarray):
    assert read_film(save(tmp_path / "a.dcm", dataset(values[:64, :64].astype(np.uint16)))).shape == (64, 64)
    assert "63 x 64" in refusal(save(tmp_path / "a.dcm", dataset(values[:63, :64].astype(np.uint16))))


def test_an_empty_modality_lut_is_none(tmp_path: Path, values: np.ndarray):
    made = dataset(values.astype(np.uint16), ModalityLUTSequence=Sequence([]))
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)


@pytest.mark.parametrize("syntax", [DEFLATED, "1.2.840.10008.1.2.4.102", "1.2.3", NAME])
def test_other_transfer_syntaxes(tmp_path: Path, values: np.ndarray, syntax: str):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    content = path.read_bytes()
    at, end = (content.index(field) for field in (b"\x02\x00\x10\x00UI", b"\x02\x00\x12\x00UI"))
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax) + len(syntax) % 2) + syntax.encode()
    path.write_bytes(content[:at] + element + b"\0" * (len(syntax) % 2) + content[end:])
    assert "transfer syntax" in refusal(path)


# Refusals: files made to hurt


def test_cut_short_anywhere(tmp_path: Path, values: np.ndarray):
    """Whole or refused: foreign memory must never stand in for the part that is missing."""
    compressed = dataset(values.astype(np.uint16), stream=lossless_jpeg(values, 12), syntax=JPEG_LOSSLESS)
    run_length = dataset(values.astype(np.uint16))
    run_length.compress(RLE, generate_instance_uid=False)
    path = tmp_path / "cut.dcm"
    for made in (dataset(values.astype(np.uint16)), compressed, run_length):
        content = save(tmp_path / "whole.dcm", made).read_bytes()
        positions = {
            *range(0, 1200, 7),
            *range(1200, len(content), len(content) // 60),
            *(len(content) - k for k in range(1, 20)),
        }
        for length in sorted(positions):
            path.write_bytes(content[:length])
            film = film_or_refusal(path)
            if film is not None:
                np.testing.assert_array_equal(film.image, values)
                assert length >= len(content) - 8  # of the end mark of a sequence at most


@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_LOSSLESS, RLE, BIG])
def test_changed_bytes_never_end_in_anything_but_a_sentence(tmp_path: Path, rng: np.random.Generator, syntax: str):
    values = rng.integers(0, 4096, (64, 64))
    stream = lossless_jpeg(values, 12) if syntax == JPEG_LOSSLESS else None
    made = dataset(values.astype(np.uint16), syntax=EXPLICIT if syntax == RLE else syntax, stream=stream)
    if syntax == RLE:
        made.compress(RLE, generate_instance_uid=False)
    content = save(tmp_path / "whole.dcm", made).read_bytes()
    for _ in range(40):
        changed = bytearray(content)
        for at in rng.integers(132, 900, 3):  # the headers; what is changed in pixels is another picture
            changed[at] = rng.integers(0, 256)
        (tmp_path / "a.dcm").write_bytes(changed)
        film = film_or_refusal(tmp_path / "a.dcm")
        assert film is None or np.isfinite(film.image).all()


def nested(depth: int, undefined: bool) -> bytes:
    """Procedure Code Sequences within each other, explicit little endian."""
    if undefined:
        opening = b"\x08\x00\x32\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        return opening * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    content = b""
    for _ in range(depth):
        content = (
            b"\x08\x00\x32\x10SQ\0\0"
            + struct.pack("<L", len(content) + 8)
            + b"\xfe\xff\x00\xe0"
            + struct.pack("<L", len(content))
            + content
        )
    return content


@pytest.mark.parametrize(("depth", "undefined"), [(100_000, True), (3_000, False)])
def test_sequences_nested_without_end(tmp_path: Path, values: np.ndarray, depth: int, undefined: bool):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    content = path.read_bytes()
    at = content.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(content[:at] + nested(depth, undefined) + content[at:])
    if undefined:
        assert "nested" in refusal(path)
    else:  # its length is known, so it is stepped over and never reaches GDCM
        np.testing.assert_array_equal(read_film(path).image, values)


def test_lying_lengths(tmp_path: Path, values: np.ndarray):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8
    for length in (0, 1, 600, ROWS * COLUMNS * 2 - 2, ROWS * COLUMNS * 2 + 2, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        path.write_bytes(content[:at] + struct.pack("<L", length) + content[at + 4 :])
        film = film_or_refusal(path)
        if film is not None:  # all of the pixels are there, whatever it says
            assert length > ROWS * COLUMNS * 2
            np.testing.assert_array_equal(film.image, values)


@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_lying_fragment_lengths(tmp_path: Path, values: np.ndarray, length: int):
    stream = lossless_jpeg(values, 12)
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), stream=stream, syntax=JPEG_LOSSLESS))
    content = path.read_bytes()
    at = content.index(stream) - 4
    path.write_bytes(content[:at] + struct.pack("<L", length) + content[at + 4 :])
    film = film_or_refusal(path)
    if film is not None:  # too long: it then holds all that there is
        assert length >= len(stream)
        np.testing.assert_array_equal(film.image, values)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\0" * 64,  # no segment: GDCM dies of it
        struct.pack("<16L", 0, 64, 64 + 80, *[0] * 13),
        struct.pack("<16L", 3, 64, 64 + 80, *[0] * 13),
        struct.pack("<16L", 1, 64, *[0] * 14),
        struct.pack("<16L", 2, 64, 64, *[0] * 13),
        struct.pack("<16L", 2, 64, 10**9, *[0] * 13),
        struct.pack("<16L", 2, 0, 90, *[0] * 13),
        struct.pack("<16L", 2, 90, 70, *[0] * 13),
        struct.pack("<16L", 15, *range(64, 79)),
        struct.pack("<16L", 2**32 - 1, *[0] * 15),
    ],
)
def test_rle_with_wrong_segments(tmp_path: Path, values: np.ndarray, header: bytes):
    made = dataset(values.astype(np.uint16), stream=header + b"\x81\x07" * 80, syntax=RLE)  # enough for both
    refusal(save(tmp_path / "a.dcm", made))


def test_rle_segments_that_are_too_short(tmp_path: Path):
    full = b"\x81\x07" * 32  # 128 of 7 each: 4096 bytes
    for first, second, fits in (
        (32, 32, True),
        (33, 32, True),
        (31, 32, False),
        (30, 34, False),
        (32, 31, False),
        (64, 1, False),
    ):
        segments = (full[:2] * first, b"\x81\x00" + full[:2] * (second - 1))
        header = struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13)
        made = dataset(np.zeros((64, 64), dtype=np.uint16), stream=header + b"".join(segments), syntax=RLE)
        path = save(tmp_path / "a.dcm", made)
        if fits:
            assert read_film(path).image.max() == 0x707
        else:
            assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": ROWS * 2},
        {"Columns": COLUMNS * 2},
        {"Rows": COLUMNS, "Columns": ROWS},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    ],
)
def test_codestreams_that_differ_from_the_header(tmp_path: Path, values: np.ndarray, elements: dict[str, Any]):
    words = values.astype(np.uint16)
    jpeg = dataset(words, stream=lossless_jpeg(values, 12), syntax=JPEG_LOSSLESS, **elements)
    assert "compressed image of" in refusal(save(tmp_path / "a.dcm", jpeg))
    j2k = dataset(words, stream=jpeg_2000(tmp_path, words), syntax=JPEG_2000, **elements)
    assert "compressed image of" in refusal(save(tmp_path / "b.dcm", j2k))


def test_damaged_codestreams(tmp_path: Path, values: np.ndarray):
    words = values.astype(np.uint16)
    jpeg, j2k = lossless_jpeg(values, 12), jpeg_2000(tmp_path, words)
    for syntax, stream in (
        (JPEG_LOSSLESS, jpeg[:-2]),  # no end
        (JPEG_LOSSLESS, jpeg[:20]),
        (JPEG_LOSSLESS, b"\xff\xd8\xff\xd9"),
        (JPEG_LOSSLESS, b"\xff" * 500),
        (JPEG_LOSSLESS, j2k),
        (JPEG_BASELINE, jpeg),  # another process than the syntax says
        (JPEG_LS, jpeg),
        (JPEG_2000, jpeg),
        (JPEG_2000, j2k[:-2]),
        (JPEG_2000, j2k[:30]),
        (JPEG_2000, b"\0" * 100 + j2k),
    ):
        refusal(save(tmp_path / "a.dcm", dataset(words, stream=stream + b"\0" * (len(stream) % 2), syntax=syntax)))


def test_a_thinned_out_jpeg_2000_component(tmp_path: Path, values: np.ndarray):
    stream = bytearray(jpeg_2000(tmp_path, values.astype(np.uint16)))
    at = stream.index(b"\xff\x4f\xff\x51") + 43
    assert stream[at : at + 2] == b"\1\1"
    stream[at] = 2
    refusal(save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), stream=bytes(stream), syntax=JPEG_2000)))


def test_compressed_pixels_under_a_native_syntax_and_the_other_way_round(tmp_path: Path, values: np.ndarray):
    native = dataset(values.astype(np.uint16))
    packed = dataset(values.astype(np.uint16))
    packed.compress(RLE, generate_instance_uid=False)
    for made, old, new in ((native, EXPLICIT, RLE), (packed, RLE, EXPLICIT)):
        path = save(tmp_path / "a.dcm", made)
        content = path.read_bytes()
        path.write_bytes(content.replace(old.encode() + b"\0", new.encode() + b"\0"))
        assert path.read_bytes() != content
        assert "transfer syntax" in refusal(path)


# Privacy and the process


def test_gdcm_sees_nothing_of_the_header(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    seen = []
    bare = dicom_pixels._bare_dataset

    def spy(*arguments: Any) -> Dataset:
        seen.append(bare(*arguments))
        return seen[-1]

    monkeypatch.setattr(dicom_pixels, "_bare_dataset", spy)
    read_film(
        save(
            tmp_path / "a.dcm",
            dataset(values.astype(np.uint16), InstitutionName=NAME, PhotometricInterpretation="MONOCHROME1"),
        )
    )
    assert len(seen) == 1 and NAME not in str(seen[0]) and BIRTH not in str(seen[0])
    assert "PatientName" not in seen[0] and seen[0].PhotometricInterpretation == "MONOCHROME2"


def test_nothing_is_logged_or_warned_and_no_file_stays(
    tmp_path: Path,
    values: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    monkeypatch: pytest.MonkeyPatch,
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    caplog.set_level(logging.DEBUG)
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16), ImagerPixelSpacing=["1.23456", "1.23456"]))
    content = path.read_bytes()
    for changed in (content, content.replace(b"1.23456\\1.23456", NAME.encode()), content[:-2], content[:900]):
        path.write_bytes(changed)
        film_or_refusal(path)
    refusal(wheel_file("badVR.dcm"))  # pydicom logs a value of this one
    assert not caplog.records and not len(recwarn)
    assert not list(temporary.iterdir())
    assert not logging.getLogger("pydicom").disabled


def test_without_files_in_memory_the_copy_is_a_temporary_file(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    np.testing.assert_array_equal(read_film(path).image, values)
    assert not list(temporary.iterdir())
    temporary.rmdir()
    assert "room" in refusal(path)


def test_a_file_that_needs_too_much_memory(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "a.dcm", dataset(values.astype(np.uint16)))

    def full(*_: object) -> None:
        raise MemoryError

    for step in ("dicom_header._check_header", "dicom.decode"):
        with monkeypatch.context() as patched:
            patched.setattr(f"spineseg.io.{step}", full)
            assert "memory" in refusal(path)


# Real files


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "CT_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG-lossy.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "JPGExtended.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "examples_overlay.dcm",
        "6154",
        "4919",
    ],
)
def test_pydicoms_grey_files_read_as_simpleitk_reads_them(name: str):
    path = wheel_file(name)
    film = read_film(path, limits=ANY_SIZE)
    np.testing.assert_array_equal(film.image, by_simpleitk(path).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("image_dfl.dcm", "Deflated"),
        ("SC_rgb_jpeg.dcm", "colour"),
        ("SC_rgb_rle_2frame.dcm", "colour"),
        ("examples_palette.dcm", "palette"),
        ("rtdose.dcm", "frame"),
        ("rtdose_1frame.dcm", "32 of 32"),
        ("liver_1frame.dcm", "1 of 1"),
        ("MR_small_padded.dcm", "8192 bytes"),
        ("MR_truncated.dcm", "8192 bytes"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "1024 x 256 x 1"),
        ("test-SR.dcm", "report"),
        ("waveform_ecg.dcm", "report"),
        ("rtplan_truncated.dcm", "report"),
        ("rtstruct.dcm", "DICM"),
        ("no_meta.dcm", "DICM"),
        ("meta_missing_tsyntax.dcm", "got none"),
        ("empty_charset_LEI.dcm", "report"),
        ("badVR.dcm", "expected"),
        ("DICOMDIR", "report"),
    ],
)
def test_pydicoms_other_files_are_refused(name: str, word: str):
    assert word in refusal(wheel_file(name), limits=ANY_SIZE)


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


def test_monochrome1_of_a_real_film_is_turned_over_once(shared: Path):
    path = shared / "dicom" / "s02_dx_lateral_spine_vet.dcm"
    np.testing.assert_array_equal(read_film(path).image, 255 - pydicom.dcmread(path).pixel_array.astype(np.float32))


def test_no_value_of_a_patient_leaves_the_real_header(shared: Path, tmp_path: Path):
    """s02 carries patient-like values: none of its words may be in a sentence, wherever the file is cut."""
    content = (shared / "dicom" / "s02_dx_lateral_spine_vet.dcm").read_bytes()
    header = pydicom.dcmread(shared / "dicom" / "s02_dx_lateral_spine_vet.dcm", stop_before_pixels=True)
    secrets = {str(each.value) for each in header if each.tag.group == 0x0010 and len(str(each.value)) > 3}
    assert secrets
    for length in range(0, len(content), 397):
        (tmp_path / "a.dcm").write_bytes(content[:length])
        sentence = refusal(tmp_path / "a.dcm")
        assert not [secret for secret in secrets if secret in sentence]


def test_a_small_film_is_read_where_limits_allow(shared: Path):
    path = shared / "dicom" / "s03_cspine_lateral_16x16.dcm"
    film = read_film(path, limits=Limits(min_side=16))
    stored = pydicom.dcmread(path).pixel_array.astype(np.float64)
    np.testing.assert_array_equal(film.image, ((4095 - stored) * 0.684 + 200).astype(np.float32))


def test_real_films(shared: Path):
    paths = sorted(shared.glob("films/img/*.dcm"))
    assert len(paths) == 16
    for path in paths:
        film = read_film(path)
        assert film.spacing is None
        np.testing.assert_array_equal(film.image, pydicom.dcmread(path).pixel_array)
