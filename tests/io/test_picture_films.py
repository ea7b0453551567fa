"""Pictures as films: their values, what is said of them, and what is told to be no film."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_files import refusal
from picture_files import by_pillow, png, tiff
from PIL import Image
from small import rectangles

from spineseg.film import Film
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.isolation import read_film_isolated
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.io.pictures import png_bytes
from spineseg.render import label_picture, overlay

ROWS, COLUMNS = 70, 81
BUSY = replace(DEFAULT_LIMITS, wall_s=120.0)


@pytest.fixture
def deep(rng: np.random.Generator) -> np.ndarray:
    """Values of a film of 12 bits."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return (30 * rows + 20 * columns + rng.integers(0, 300, rows.shape)).clip(0, 4095).astype(np.uint16)


@pytest.fixture
def grey(deep: np.ndarray) -> np.ndarray:
    return (deep >> 4).astype(np.uint8)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# ---- values ----


def test_a_lossless_picture_has_the_values_of_the_dicom_film(tmp_path: Path, deep: np.ndarray):
    write_film(tmp_path / "a.dcm", Film(deep.astype(np.float32)))
    image = read_film(tmp_path / "a.dcm").image
    for content in (png(deep, 16), tiff(deep), tiff(deep, order=">"), png(np.repeat(deep[..., None], 3, axis=2), 16)):
        film = read_film(saved(tmp_path / "of any name.dcm", content))
        np.testing.assert_array_equal(film.image, image)
        assert film.image.dtype == np.float32 and film.spacing is None and film.row_to_column == 1
        assert not film.image.flags.writeable


def test_invert(tmp_path: Path, grey: np.ndarray):
    path = saved(tmp_path / "a", png(grey, 8))
    np.testing.assert_array_equal(read_film(path, invert=True).image, float(grey.min()) + grey.max() - grey)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_colour_is_luminance_as_pillow_has_it(tmp_path: Path, rng: np.random.Generator, form: str):
    colours = rng.integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)
    content = by_pillow(colours, form, lossless=True)
    film = read_film(saved(tmp_path / "a", content))
    reference = np.asarray(Image.open(BytesIO(content)).convert("L")).astype(float)
    assert np.abs(film.image - reference).max() <= 0.51
    assert any("% of the picture is coloured: its luminance is used" in remark for remark in film.remarks)


def test_equal_channels_are_grey_exactly(tmp_path: Path, grey: np.ndarray):
    film = read_film(saved(tmp_path / "a", by_pillow(np.repeat(grey[..., None], 3, axis=2), "BMP")))
    np.testing.assert_array_equal(film.image, grey)
    assert not any("coloured" in remark for remark in film.remarks)


def test_noise_of_a_jpegs_chroma_is_no_colour(tmp_path: Path, grey: np.ndarray, rng: np.random.Generator):
    noisy = (grey[..., None].astype(int) + rng.integers(-3, 4, (ROWS, COLUMNS, 3))).clip(0, 255).astype(np.uint8)
    film = read_film(saved(tmp_path / "a", by_pillow(noisy, "JPEG", quality=80, subsampling=2)))
    assert not any("coloured" in remark for remark in film.remarks)
    assert np.abs(film.image - grey).mean() < 4


def test_a_coloured_annotation_is_measured(tmp_path: Path, grey: np.ndarray):
    marked = np.repeat(grey[..., None], 3, axis=2)
    marked[10:17, :] = (255, 0, 0)  # 7 of 70 rows
    film = read_film(saved(tmp_path / "a", by_pillow(marked, "PNG")))
    assert "10% of the picture is coloured: its luminance is used" in film.remarks
    np.testing.assert_allclose(film.image[10:17], 0.299 * 255, rtol=1e-5)
    np.testing.assert_array_equal(film.image[17:], grey[17:])


def test_transparent_is_background(tmp_path: Path, grey: np.ndarray):
    alpha = np.full_like(grey, 255)
    alpha[:, :8], alpha[:, 8:16] = 0, 51
    image = np.maximum(grey, 40)
    film = read_film(saved(tmp_path / "a", png(np.dstack([image, alpha]), 8)))
    low = float(image[:, 16:].min())
    np.testing.assert_array_equal(film.image[:, :8], low)
    np.testing.assert_allclose(film.image[:, 8:16], low + (image[:, 8:16] - low) / 5, rtol=1e-5)
    np.testing.assert_array_equal(film.image[:, 16:], image[:, 16:])
    assert "20% of the picture is transparent: it counts as background" in film.remarks  # 16 of 81 columns


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path, grey: np.ndarray):
    film = read_film(saved(tmp_path / "a", png(np.dstack([grey, np.full_like(grey, 255)]), 8)))
    np.testing.assert_array_equal(film.image, grey)
    assert not any("transparent" in remark for remark in film.remarks)


# ---- what is said ----


def test_what_is_said_of_a_picture(tmp_path: Path, grey: np.ndarray, deep: np.ndarray):
    said = {
        "a JPEG picture of 8 bits": by_pillow(grey, "JPEG"),
        "a PNG picture of 16 bits": png(deep, 16),
        "a TIFF picture of 32 bits": tiff(deep.astype(np.float32), tags={282: 300}),
        "a PNG picture of 4 bits": png(grey >> 4, 4),
    }
    for words, content in said.items():
        film = read_film(saved(tmp_path / "a", content))
        assert film.remarks == (
            f"{words}: values are as shown, not as measured",
            "no pixel spacing: lengths are relative",
        )


def test_resolution_is_no_spacing(tmp_path: Path, grey: np.ndarray):
    for form in ("PNG", "JPEG", "TIFF", "BMP"):
        assert read_film(saved(tmp_path / "a", by_pillow(grey, form, dpi=(300, 150)))).spacing is None


def test_a_turned_picture_says_the_size_of_its_results(tmp_path: Path, grey: np.ndarray):
    film = read_film(saved(tmp_path / "a", by_pillow(grey, "JPEG", orientation=6)))
    assert film.shape == (COLUMNS, ROWS)
    assert f"results have {COLUMNS} rows and {ROWS} columns" in film.remarks[-1]
    assert not any("turned" in remark for remark in read_film(saved(tmp_path / "a", by_pillow(grey, "JPEG"))).remarks)


def test_in_isolation_the_film_is_the_same(tmp_path: Path, grey: np.ndarray):
    marked = np.dstack([grey, grey // 2, grey, np.minimum(255, 2 * grey.astype(int)).astype(np.uint8)])
    path = saved(tmp_path / "a", by_pillow(marked, "PNG", orientation=8))
    here, there = read_film(path), read_film_isolated(path, limits=BUSY)
    np.testing.assert_array_equal(there.image, here.image)
    assert there.remarks == here.remarks and len(here.remarks) == 5 and there.spacing is None


# ---- what is no film ----


def copied(content: bytes) -> bytes:
    """The same picture, saved by another program."""
    copy = BytesIO()
    Image.open(BytesIO(content)).save(copy, "PNG")
    return copy.getvalue()


def test_a_label_is_told(tmp_path: Path):
    masks = rectangles((ROWS, COLUMNS), 2, 6, 4, 20, 20)
    film = Film(np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS))
    numbers = (masks * np.arange(1, 7)[:, None, None]).max(axis=0)
    palette = np.arange(21, dtype=np.uint8) * 12
    for content in (
        png_bytes(label_picture(masks)),
        png(numbers, 8),
        png(numbers, 4),
        png(numbers, 8, palette.tobytes()),
    ):
        said = refusal(saved(tmp_path / "a", content))
        assert "This is a PNG of a label or a drawing with 7 values, not a film; choose the radiograph" in said
    assert "with 2 values" in refusal(saved(tmp_path / "a", png(masks[0], 1)))
    assert "TIFF of a label" in refusal(saved(tmp_path / "a", tiff(numbers.astype(np.uint8))))
    drawn = png_bytes(overlay(film, masks))
    assert "This is a picture that spineseg drew, not a film; " in refusal(saved(tmp_path / "a", drawn))
    assert read_film(saved(tmp_path / "a", copied(drawn))).shape == (ROWS, COLUMNS)


def test_a_dithered_film_of_one_bit_is_a_film(tmp_path: Path, grey: np.ndarray):
    assert (
        read_film(saved(tmp_path / "a", by_pillow(grey, "PNG", mode="1")))
        .remarks[0]
        .startswith("a PNG picture of 1 bit:")
    )


def test_refused(tmp_path: Path, deep: np.ndarray):
    not_numbers = deep.astype(np.float32)
    not_numbers[3, 4] = np.nan
    clear = np.dstack([deep, np.zeros_like(deep)])
    refused = {
        "one single value": png(np.full((ROWS, COLUMNS), 7), 8),
        "values that are no numbers": tiff(not_numbers),
        "with values that are no numbers": tiff(deep * 1e300),
        "transparent everywhere": png(clear, 16),
        "64 to 10000 rows and columns, got 63": png(deep[:63], 16),
        "2 pages": tiff(deep, deep),
    }
    for words, content in refused.items():
        assert words in refusal(saved(tmp_path / "a", content))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%PDF-1.7", "This is a PDF document, not a film; export the film as DICOM, PNG or TIFF"),
        (b"PK\3\4", "This is a ZIP archive, not a film; unpack it"),
        (b"\x1f\x8b", "This is a gzip archive, not a film; unpack it"),
        (b"MATLAB 5.0 MAT-file", "This is a MATLAB file, not a film; it may hold a label"),
        (b"\x93NUMPY", "This is a NumPy array, not a film; it may hold a label"),
        (b"GIF89a", "This is a GIF picture, not a film"),
        (b"\0\0\0\x18ftypheic", "This is a HEIC or AVIF picture, not a film"),
        (b"\0\0\0\x0cjP  \r\n", "This is a JPEG 2000 picture, not a film"),
        (b"", "This is an empty file, not a film; copy the film again"),
        (b"Dear colleague", "This is another kind of file, not a film"),
    ],
)
def test_other_kinds_name_themselves(tmp_path: Path, head: bytes, words: str):
    assert words in refusal(saved(tmp_path / "film.dcm", head + bytes(600) * bool(head)))


def test_a_folder_and_a_missing_file_name_themselves(tmp_path: Path):
    assert "This is a folder, not a film" in refusal(tmp_path)
    assert "This file is missing" in refusal(tmp_path / "nothere.png")
