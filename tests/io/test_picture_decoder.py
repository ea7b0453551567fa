"""Stored numbers of pictures: checked against hand-made files and Pillow; damaged, large and unusual files."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from io import BytesIO
from typing import Literal

import cv2
import numpy as np
import pytest
from picture_files import by_pillow, png, tiff
from PIL import Image, ImageOps

from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.kinds import BMP, JPEG, PNG, TIFF, WEBP, Kind, kind_of
from spineseg.io.limits import Limits
from spineseg.io.picture_decoder import StoredPicture, decode_picture

ROWS, COLUMNS = 20, 31
ANY_SIZE = Limits(min_side=1)
GREY = (np.add.outer(3 * np.arange(ROWS), 2 * np.arange(COLUMNS)) + 9).astype(np.uint8)
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)


def decode(content: bytes, **options: bool) -> StoredPicture:
    kind = kind_of(content[:520])
    return decode_picture(content, kind, ANY_SIZE, **options)


def refusal(content: bytes, limits: Limits = ANY_SIZE) -> str:
    with pytest.raises(UnreadableFilm) as caught:
        decode_picture(content, kind_of(content[:520]), limits)
    assert (caught.value.__cause__ is None and caught.value.__suppress_context__) or caught.value.__context__ is None
    return str(caught.value)


def joined(picture: StoredPicture) -> np.ndarray:
    """Rows x columns x all channels."""
    values = picture.values.reshape(*picture.values.shape[:2], -1)
    return values if picture.alpha is None else np.dstack([values, picture.alpha])


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """By the words of EXIF: where the stored row 0 and column 0 belong."""
    rows_down, columns_right = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    turned = stored.swapaxes(0, 1) if orientation > 4 else stored
    if orientation > 4:  # the stored rows are columns now
        rows_down, columns_right = orientation in (5, 6), orientation in (5, 8)
    return turned[:: 1 if rows_down else -1, :: 1 if columns_right else -1]


# ---- PNG ----


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png(rng: np.random.Generator, bits: int):
    values = rng.integers(0, 2**bits, (ROWS, COLUMNS))
    picture = decode(png(values, bits))
    np.testing.assert_array_equal(picture.values, values)
    assert (picture.bits, picture.alpha, picture.orientation) == (bits, None, 1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_with_several_channels(rng: np.random.Generator, bits: int, channels: int):
    values = rng.integers(0, 2**bits, (ROWS, COLUMNS, channels))
    picture = decode(png(values, bits))
    found = joined(picture)
    if found.shape[2] == 4 and channels == 2:  # grey as three equal colours
        found = found[..., [0, 3]] if (np.ptp(found[..., :3], axis=2) == 0).all() else found
    np.testing.assert_array_equal(found, values)
    assert picture.bits == bits


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png(rng: np.random.Generator, bits: int):
    values = rng.integers(0, 2**bits, (ROWS, COLUMNS))
    palette, alpha = rng.integers(0, 256, (2**bits, 3)).astype(np.uint8), rng.integers(0, 256, 2**bits).astype(np.uint8)
    np.testing.assert_array_equal(decode(png(values, bits, palette.tobytes())).values, palette[values])
    np.testing.assert_array_equal(decode(png(values, bits, palette.tobytes()), indices=True).values, values)
    picture = decode(png(values, bits, palette.tobytes(), alpha.tobytes()))
    np.testing.assert_array_equal(picture.alpha, alpha[values])
    np.testing.assert_array_equal(picture.values, palette[values])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_grey_value_that_is_transparent(rng: np.random.Generator, bits: int):
    values = rng.integers(0, min(2**bits, 5), (ROWS, COLUMNS))
    picture = decode(png(values, bits, transparency=b"\0\1"))
    np.testing.assert_array_equal(picture.values, values)
    np.testing.assert_array_equal(picture.alpha, np.where(values == 1, 0, 2**bits - 1))


@pytest.mark.parametrize("bits", [8, 16])
def test_one_colour_that_is_transparent(rng: np.random.Generator, bits: int):
    values = rng.integers(0, 3, (ROWS, COLUMNS, 3))
    picture = decode(png(values, bits, transparency=b"\0\1\0\1\0\1"))
    np.testing.assert_array_equal(picture.values, values)
    np.testing.assert_array_equal(picture.alpha == 0, (values == 1).all(axis=2))


# ---- TIFF ----


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"])
def test_grey_tiff(rng: np.random.Generator, kind: str, order: Literal["<", ">"]):
    dtype = np.dtype(kind)
    low, high = (-5, 5) if kind[0] == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = rng.uniform(low, high, (ROWS, COLUMNS)).astype(dtype)
    picture = decode(tiff(values, order=order, tags={282: 72}))
    np.testing.assert_array_equal(picture.values, values)
    assert picture.bits == 8 * dtype.itemsize and picture.alpha is None


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("u1", lambda stored: 255 - stored),
        ("u2", lambda stored: 65535 - stored),
        ("u4", lambda stored: 2**32 - 1 - stored),
        ("i2", lambda stored: -1 - stored),
        ("f4", lambda stored: stored.min() + stored.max() - stored),
    ],
)
def test_min_is_white_is_inverted_grayscale(kind: str, shown: object):
    values = (GREY.astype(float) * 100 - 9000 * (kind[0] == "i")).astype(kind) if kind != "u1" else GREY
    assert callable(shown)
    np.testing.assert_array_equal(decode(tiff(values, white=True)).values, shown(values))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_in_colour(rng: np.random.Generator, kind: str, channels: int):
    values = rng.integers(0, np.iinfo(kind).max, (ROWS, COLUMNS, channels), endpoint=True).astype(kind)
    np.testing.assert_array_equal(joined(decode(tiff(values))), values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("values", [GREY, COLOUR])
def test_compressed_tiff(values: np.ndarray, compression: str):
    content = by_pillow(values, "TIFF", compression=compression)
    reference = np.asarray(Image.open(BytesIO(content)).convert("L" if values.ndim == 2 else "RGB"))
    np.testing.assert_array_equal(decode(content).values, reference)


def test_pages(rng: np.random.Generator):
    deep = rng.integers(0, 65536, (ROWS, COLUMNS)).astype(np.uint16)
    assert "TIFF picture with 2 pages" in refusal(tiff(deep, deep))
    np.testing.assert_array_equal(decode(tiff(deep, deep[::2, ::2], tags={254: 1})).values, deep)  # a thumbnail


@pytest.mark.parametrize("tags", [{284: 2}, {258: 12}, {339: 4}])
def test_a_tiff_of_an_unusual_kind_is_never_misread(rng: np.random.Generator, tags: dict[int, int]):
    values = rng.integers(0, 65536, (ROWS, COLUMNS, 3)).astype(np.uint16)
    assert "unusual kind" in refusal(tiff(values, tags=tags))


# ---- JPEG, BMP, WebP ----


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
        *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB")),
        *(("WEBP", mode, {"lossless": True}) for mode in ("L", "RGB", "RGBA")),
    ],
)
def test_against_pillow(form: str, mode: str, options: dict[str, bool]):
    content = by_pillow(COLOUR, form, mode=mode, **options)
    picture = decode(content)
    reference = np.asarray(Image.open(BytesIO(content)).convert("RGBA"))
    values = picture.values * (255 if picture.bits == 1 else 1)
    np.testing.assert_array_equal(
        np.broadcast_to(values.reshape(ROWS, COLUMNS, -1), (ROWS, COLUMNS, 3)), reference[..., :3]
    )


def test_a_bmp_whose_fourth_byte_is_unused():
    head = struct.pack("<2sLLL", b"BM", 54 + 84 + 4 * GREY.size, 0, 14 + 124)
    info = struct.pack("<LllHHLLllLL", 124, COLUMNS, -ROWS, 1, 32, 3, 4 * GREY.size, 0, 0, 0, 0)
    masks = struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = np.dstack([COLOUR[..., ::-1], np.zeros_like(GREY)]).tobytes()
    picture = decode(head + info + masks + bytes(124 - 40 - 16) + pixels)
    np.testing.assert_array_equal(picture.values, COLOUR)
    assert picture.alpha is None


def test_animations_are_refused():
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())]
    for form in ("PNG", "WEBP"):
        frames[0].save(stream := BytesIO(), form, save_all=True, append_images=frames[1:], lossless=True)
        assert "2 pages or frames" in refusal(stream.getvalue())


# ---- orientation ----


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "values"), [("JPEG", GREY), ("PNG", COLOUR), ("WEBP", COLOUR), ("TIFF", GREY)])
def test_exif_orientation_against_pillow(form: str, values: np.ndarray, orientation: int):
    content = by_pillow(values, form, orientation=orientation)
    picture = decode(content)
    reference = ImageOps.exif_transpose(Image.open(BytesIO(content)))
    np.testing.assert_array_equal(picture.values, np.asarray(reference))
    assert picture.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (ROWS, COLUMNS, 3)])
def test_orientation_of_a_tiff_with_16_bits(rng: np.random.Generator, shape: tuple[int, ...], orientation: int):
    values = rng.integers(0, 65536, shape).astype(np.uint16)
    picture = decode(tiff(values, tags={274: orientation}))
    np.testing.assert_array_equal(picture.values, upright(values, orientation))
    assert picture.orientation == orientation


@pytest.mark.parametrize("stated", [0, 9, 65535])
def test_an_orientation_that_there_is_not_turns_nothing(stated: int):
    np.testing.assert_array_equal(decode(by_pillow(GREY, "PNG", orientation=stated)).values, GREY)


# ---- limits and damage ----


def resized(content: bytes, kind: Kind, rows: int, columns: int) -> bytes:
    """The same file with another size in its header."""
    changed = bytearray(content)
    if kind is PNG:
        changed[16:24] = struct.pack(">LL", columns, rows)
        changed[29:33] = struct.pack(">L", zlib.crc32(changed[12:29]))
    elif kind is JPEG:
        start = content.index(b"\xff\xc0")
        changed[start + 5 : start + 9] = struct.pack(">HH", rows, columns)
    elif kind is BMP:
        changed[18:26] = struct.pack("<LL", columns, rows)
    return bytes(changed)


@pytest.mark.parametrize(("form", "kind"), [("PNG", PNG), ("JPEG", JPEG), ("BMP", BMP)])
@pytest.mark.parametrize(("rows", "columns", "words"), [(60000, 60000, "60000 x 60000"), (9000, 9000, "40 million")])
def test_giant_pictures_are_refused_before_they_are_decoded(form: str, kind: Kind, rows: int, columns: int, words: str):
    content = resized(by_pillow(GREY, form), kind, rows, columns)
    assert words in refusal(content, Limits())


def test_a_giant_tiff_or_webp_is_refused_before_it_is_decoded():
    assert "got 20 x 60000" in refusal(tiff(GREY, tags={256: 60000}), Limits(min_side=1))
    webp = bytearray(by_pillow(GREY, "WEBP", lossless=True))
    webp[21:25] = struct.pack("<L", 16383 | 16383 << 14)
    assert "16384 x 16384" in refusal(bytes(webp), Limits())


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "deep PNG", "deep TIFF"])
def test_a_picture_cut_short_is_whole_or_refused(rng: np.random.Generator, form: str):
    if form.startswith("deep"):
        deep = rng.integers(0, 65536, (ROWS, COLUMNS, 3)).astype(np.uint16)
        content = cv2.imencode(f".{form[5:].lower()}"[:4], deep)[1].tobytes()
    else:
        content = by_pillow(COLOUR, form)
    whole = decode(content).values
    for length in range(16, len(content), max(1, len(content) // 60)):
        try:
            np.testing.assert_array_equal(decode_picture(content[:length], kind_of(content), ANY_SIZE).values, whole)
            assert length >= len(content) - 24  # checksums and an end mark
        except UnreadableFilm as error:
            assert "damaged or of an unusual kind" in str(error) or "rows and columns" in str(error)


def test_every_changed_byte_of_a_png_is_noticed():
    content = by_pillow(COLOUR, "PNG")
    for place in range(8, len(content)):
        assert refusal(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    np.testing.assert_array_equal(decode(content + b"more").values, COLOUR)


def test_what_pillow_warns_of_is_not_shown(caplog: pytest.LogCaptureFixture):
    content = bytearray(by_pillow(GREY, "JPEG", orientation=6))
    start = content.index(b"Exif\0\0")
    content[start + 14 : start + 16] = b"\xff\xff"  # so many entries
    with caplog.at_level(logging.WARNING), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(bytes(content))
    assert not seen and not caplog.records


@pytest.mark.parametrize("kind", [PNG, JPEG, TIFF, BMP, WEBP])
def test_a_head_alone(kind: Kind):
    heads = {
        PNG: b"\x89PNG\r\n\x1a\n",
        JPEG: b"\xff\xd8\xff",
        TIFF: b"II*\0",
        BMP: b"BM" + bytes(8),
        WEBP: b"RIFF\0\0\0\0WEBP",
    }
    for rest in (b"", bytes(400), b"\xff" * 400):
        assert "damaged" in refusal(heads[kind] + rest) or kind is BMP
