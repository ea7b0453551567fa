"""Files that break a rule and that other readers show: pixel for pixel as pydicom reads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    EXPLICIT,
    HIGH_THROUGHPUT,
    IMPLICIT,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    content_of,
    dataset,
    jpeg_2000,
    lossless_jpeg,
    refusal,
    save,
)
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.sequence import Sequence

from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.isolation import read_film_isolated

ROWS, COLUMNS = 67, 71
VALUES = np.random.default_rng(3).integers(0, 4096, (ROWS, COLUMNS)).astype(np.uint16)


def even(stream: bytes) -> bytes:
    return stream + b"\0" * (len(stream) % 2)


def same_as_pydicom(path: Path) -> bool:
    return np.array_equal(read_film(path).image, pydicom.dcmread(path, force=True).pixel_array)


# ---- bytes behind the pixels ----


@pytest.mark.parametrize("more", [1, 2, 992, 2 * ROWS * COLUMNS - 2])
def test_padding_behind_the_pixels_is_ignored(tmp_path: Path, more: int) -> None:
    made = dataset(VALUES)
    made.PixelData += b"\xab" * more
    path = save(tmp_path / "a.dcm", made)
    np.testing.assert_array_equal(read_film(path).image, VALUES)


@pytest.mark.parametrize("count", [2 * ROWS * COLUMNS - 2, 4 * ROWS * COLUMNS])
def test_too_few_bytes_or_a_second_image_are_refused(tmp_path: Path, count: int) -> None:
    made = dataset(VALUES)
    made.PixelData = (made.PixelData * 2)[:count]
    assert f"got {count}" in refusal(save(tmp_path / "a.dcm", made))


# ---- no preamble ----


def without_meta(made: Dataset, implicit: bool) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, implicit
    write_dataset(stream, made)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_without_preamble_and_meta_information(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a", without_meta(dataset(VALUES), syntax == IMPLICIT))
    np.testing.assert_array_equal(read_film(path).image, VALUES)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_without_preamble_but_with_meta_information(tmp_path: Path, syntax: str) -> None:
    content = content_of(dataset(VALUES, syntax=syntax))
    path = save(tmp_path / "a", content[content.index(b"DICM") + 4 :])
    np.testing.assert_array_equal(read_film(path).image, VALUES)


@pytest.mark.parametrize(
    "content", [b"\x08\0", b"\x08\0\x05\0" + b"\xff" * 200, b"\x02\0" + bytes(300), b"\x08\0 text" * 50]
)
def test_what_only_begins_like_it_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(save(tmp_path / "a", content))


# ---- compressed images ----


def compressed(syntax: str, stream: bytes, **elements: Any) -> Dataset:
    return dataset(VALUES, syntax=syntax, stream=even(stream), **elements)


STREAMS = {JPEG_LOSSLESS: lossless_jpeg(VALUES.astype(int), 12), JPEG_2000: jpeg_2000(VALUES)}


@pytest.mark.parametrize("syntax", STREAMS)
def test_a_high_bit_of_15_says_nothing_of_a_codestream(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a.dcm", compressed(syntax, STREAMS[syntax], HighBit=15))
    np.testing.assert_array_equal(read_film(path).image, VALUES)


def test_ten_bits_in_the_header_over_a_codestream_of_twelve(tmp_path: Path) -> None:
    made = compressed(JPEG_LOSSLESS, lossless_jpeg(VALUES.astype(int), 12), BitsStored=10, HighBit=9)
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, VALUES)
    made.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(read_film(save(tmp_path / "b.dcm", made)).image, 4095 - VALUES.astype(float))


@pytest.mark.parametrize("fragments", [1, 2, 5])
@pytest.mark.parametrize("zeros", [0, 64])
def test_one_frame_in_fragments_with_an_offset_for_each(tmp_path: Path, fragments: int, zeros: int) -> None:
    stream = lossless_jpeg(VALUES.astype(int), 12) + bytes(zeros)
    size = -(-len(stream) // fragments)
    parts = [even(stream[at : at + size + size % 2]) for at in range(0, len(stream), size + size % 2)]
    made = compressed(JPEG_LOSSLESS, stream)
    made.PixelData = encapsulate(parts, has_bot=True)
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, VALUES)


def test_run_length_codes_that_end_in_zeros_stay_whole(tmp_path: Path) -> None:
    made = dataset(np.zeros_like(VALUES) + np.eye(ROWS, COLUMNS, dtype=np.uint16))
    made.compress(RLE, generate_instance_uid=False)
    assert same_as_pydicom(save(tmp_path / "a.dcm", made))


def test_fewer_bits_than_the_decoder_takes_are_named(tmp_path: Path) -> None:
    stream = jpeg_2000((VALUES // 32).astype(np.uint8))
    made = dataset((VALUES // 32).astype(np.uint8), bits=7, syntax=JPEG_LS, stream=even(stream))
    assert refusal(save(tmp_path / "a.dcm", made))
    seven = bytes.fromhex("ffd8fff7000b07") + struct.pack(">HH", ROWS, COLUMNS) + bytes.fromhex("01011100ffda000801")
    made = dataset((VALUES // 32).astype(np.uint8), bits=7, syntax=JPEG_LS, stream=even(seven + b"\xff\xd9"))
    assert "of 7 bits, of which 8 to 16 are read" in refusal(save(tmp_path / "b.dcm", made))


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_jpeg_2000_of_fewer_than_8_bits(tmp_path: Path, bits: int) -> None:
    words = (VALUES >> (12 - bits)).astype(np.uint8)
    made = dataset(words, bits=bits, syntax=JPEG_2000, stream=shallow(words, bits))
    path = save(tmp_path / "a.dcm", made)
    np.testing.assert_array_equal(read_film(path).image, words)
    assert same_as_pydicom(path)
    made.PixelData = encapsulate([shallow(words, bits)[:-40] + b"\xff\xd9"])
    assert "damaged" in refusal(save(tmp_path / "b.dcm", made))


def shallow(words: np.ndarray, bits: int) -> bytes:
    """Lossless JPEG 2000 of 8 bits whose values are moved so that the same codestream means fewer bits.

    A decoder adds half of the range to what is coded (ITU T.800 G.1).
    """
    stream = bytearray(jpeg_2000(words + np.uint8(128 - 2 ** (bits - 1))))
    stream[stream.index(b"\xff\x4f\xff\x51") + 42] = bits - 1
    return even(bytes(stream))


# ---- High-Throughput JPEG 2000 ----


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("end", ["201", "202", "203"])
def test_high_throughput_jpeg_2000(tmp_path: Path, end: str, signed: bool) -> None:
    rows, columns = np.mgrid[:66, :71]
    values = rows * 60 + columns - 2000 * signed
    stream, syntax = HIGH_THROUGHPUT[signed], f"1.2.840.10008.1.2.4.{end}"
    made = dataset(values.astype(np.uint16), bits=16, signed=signed, syntax=syntax, stream=stream)
    np.testing.assert_array_equal(read_film(save(tmp_path / "a.dcm", made)).image, values)


def test_jpeg_xl_is_named(tmp_path: Path) -> None:
    made = content_of(dataset(VALUES, syntax="1.2.840.10008.1.2.4.201", stream=b"\xff\x0a" + bytes(20)))
    path = save(tmp_path / "a.dcm", made.replace(b"1.2.4.201", b"1.2.4.110"))
    assert "JPEG XL Lossless, which is not read" in refusal(path)


# ---- Modality LUT ----


def with_table(entries: np.ndarray, first: int, bits: int = 16, **elements: Any) -> Dataset:
    item = Dataset()
    signed = elements.get("signed", False)
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    item.ModalityLUTType = "US"
    made = dataset(VALUES, **elements)
    made.ModalityLUTSequence = Sequence([item])
    return made


TABLE = (np.arange(3000)[::-1] ** 2 // 200).astype(np.uint16)


@pytest.mark.parametrize(("first", "signed"), [(0, False), (500, False), (-700, True)])
def test_a_modality_lut_is_applied(tmp_path: Path, first: int, signed: bool) -> None:
    path = save(tmp_path / "a.dcm", with_table(TABLE, first, signed=signed))
    film = pydicom.dcmread(path)
    np.testing.assert_array_equal(read_film(path).image, apply_modality_lut(film.pixel_array, film))


def test_monochrome1_is_inverted_behind_the_table(tmp_path: Path) -> None:
    plain = read_film(save(tmp_path / "a.dcm", with_table(TABLE, 0))).image
    inverted = read_film(save(tmp_path / "b.dcm", with_table(TABLE, 0, PhotometricInterpretation="MONOCHROME1"))).image
    np.testing.assert_array_equal(inverted, plain.max() + plain.min() - plain)


@pytest.mark.parametrize(("count", "bits"), [(2999, 16), (3001, 16), (3000, 40)])
def test_a_table_unlike_its_descriptor_is_refused(tmp_path: Path, count: int, bits: int) -> None:
    made = with_table(TABLE, 0, bits)
    made.ModalityLUTSequence[0].LUTDescriptor = [count, 0, bits]
    assert "Modality LUT" in refusal(save(tmp_path / "a.dcm", made))


# ---- padding and pixels that are not square ----


@pytest.mark.parametrize(
    ("elements", "padding", "limit"),
    [
        ({}, 0, None),
        ({}, 4095, None),
        ({"bits": 16}, 65535, 65000),
        ({"signed": True}, -2048, None),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 4095, None),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 0, 10),
    ],
)
def test_padding_is_as_dark_as_the_darkest_pixel(
    tmp_path: Path, elements: dict[str, Any], padding: int, limit: int | None
) -> None:
    values = np.clip(VALUES.astype(int) // 4 + 500, 501, 1500)
    values[:, :20] = padding
    values[:5] = padding if limit is None else limit
    made = dataset(values.astype(np.uint16) & (0xFFFF if elements.get("bits") == 16 else 0xFFF), **elements)
    made.add_new("PixelPaddingValue", "US", padding % 65536)  # with the VR of the other sign, as some write it
    if limit is not None:
        made.add_new("PixelPaddingRangeLimit", "US", limit)
    image = read_film(save(tmp_path / "a.dcm", made)).image
    inside = image[5:, 20:]
    assert np.all(image[:5] == inside.min()) and np.all(image[:, :20] == inside.min())
    sign = -1 if "PhotometricInterpretation" in elements else 1
    np.testing.assert_array_equal(np.diff(inside), sign * np.diff(values[5:, 20:]))


@pytest.mark.parametrize("columns", [60, 150, 400])
@pytest.mark.parametrize("sides", ["l", "lr", "tblr"])
@pytest.mark.parametrize(
    ("elements", "padding"),
    [
        ({"bits": 16}, 0),
        ({"bits": 16}, 65535),
        ({"bits": 16, "signed": True}, -32768),
        ({"bits": 16, "PhotometricInterpretation": "MONOCHROME1"}, 65535),
    ],
)
def test_a_padded_film_is_the_film_with_its_border_at_the_darkest_value(
    tmp_path: Path, elements: dict[str, Any], padding: int, sides: str, columns: int
) -> None:
    inverted = "PhotometricInterpretation" in elements
    values = np.random.default_rng(1).integers(1000, 9000, (90, 80))
    around = [columns * (side in sides) for side in "tblr"]
    widths = (tuple(around[:2]), tuple(around[2:]))
    films = {}
    for name, value in (("padded", padding), ("dark", values.max() if inverted else values.min())):
        words = np.pad(values, widths, constant_values=value).astype(np.int16 if padding < 0 else np.uint16)
        made = dataset(words.view(np.uint16), **elements)
        if name == "padded":
            made.add_new("PixelPaddingValue", "US", padding % 65536)
        films[name] = read_film(save(tmp_path / f"{name}.dcm", made))
    np.testing.assert_array_equal(films["padded"].image, films["dark"].image)
    rows, used = films["padded"].field
    assert (rows.start, used.start) == (around[0], around[2]) and films["padded"].image[rows, used].shape == (90, 80)


def test_padding_everywhere_is_no_picture(tmp_path: Path) -> None:
    made = dataset(np.full_like(VALUES, 7) + (VALUES > 9) * np.uint16(1), PixelPaddingValue=7, PixelPaddingRangeLimit=8)
    assert "one single value" in refusal(save(tmp_path / "a.dcm", made))


@pytest.mark.parametrize(
    ("elements", "row_to_column"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": [1, 2]}, 0.5),
        ({"PixelAspectRatio": [2, 1]}, 2.0),
        ({"ImagerPixelSpacing": [0.1, 0.4], "PixelAspectRatio": [2, 1]}, 0.25),
        ({"PixelAspectRatio": [1, 0]}, 1.0),
        ({"PixelAspectRatio": [1000, 1]}, 1.0),
    ],
)
def test_height_of_a_pixel_over_its_width(tmp_path: Path, elements: dict[str, Any], row_to_column: float) -> None:
    film = read_film_isolated(save(tmp_path / "a.dcm", dataset(VALUES, **elements)))
    assert film.row_to_column == pytest.approx(row_to_column)
    write_film(tmp_path / "b.dcm", film)
    assert read_film(tmp_path / "b.dcm").row_to_column == pytest.approx(row_to_column)
