"""render: pixels to check by hand, and colours that everybody can tell apart."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import rectangles

from spineseg.film import CHANNELS, VERTEBRAE, Film, Masks
from spineseg.io.pictures import png_bytes, write_png
from spineseg.render import (
    COLOURS,
    DIFFERENCES,
    LEGEND,
    Colour,
    contact_sheet,
    figure_channels,
    label_picture,
    overlay,
    to_uint8,
)

# Linear RGB as seen without red, green or blue cones. Source: Machado, Oliveira and Fernandes (2009), severity 1.
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def ramp(rows: int = 240, columns: int = 200) -> Film:
    """Grey values from 0 to 1 from left to right."""
    return Film(np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows, 1)))


def spine(rows: int = 240, columns: int = 200) -> Masks:
    return rectangles((rows, columns), 10, 38, 30, 60, 60)


def seen(rgb: np.ndarray, eye: str) -> np.ndarray:
    """Colours (n, 3), 0..1, in CIELAB as an eye sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(value.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0].astype(np.float64)


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """How different two CIELAB colours look. Source: Sharma, Wu and Dalal (2005), with their equations' names."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    waves = ((1, -30, -0.17), (2, 0, 0.24), (3, 6, 0.32), (4, -63, -0.20))
    t = 1 + sum(weight * np.cos(np.radians(times * hue + shift)) for times, shift, weight in waves)
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    d_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    d_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2) / (1 + 0.015 * chroma * t)
    return float(np.sqrt(d_light**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue))


def differences(eye: str, opacity: float, grey: int, colours: Sequence[Colour] = COLOURS) -> np.ndarray:
    """CIEDE2000 between all pairs of colours laid over a grey film."""
    lab = seen((1 - opacity) * grey / 255 + opacity * np.array([colour.rgb for colour in colours]) / 255, eye)
    return np.array([[ciede2000(a, b) for b in lab] for a in lab])


def stored(path: Path) -> np.ndarray:
    """The picture in the file as OpenCV has it, blue first."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_a_colour_is_its_hex_code():
    assert Colour("#e69f00").rgb == (0xE6, 0x9F, 0x00)
    assert tuple(LEGEND) == CHANNELS
    assert [LEGEND[name] for name in VERTEBRAE] == list(COLOURS)
    assert len(set(LEGEND.values())) == 7


@pytest.mark.parametrize(("opacity", "grey"), [(0.45, 96), (0.45, 128), (0.45, 160), (1.0, 0)])
@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_all_vertebrae_apart(eye: str, opacity: float, grey: int):
    """Over a film, and as outlines in full colour."""
    found = differences(eye, opacity, grey)
    apart = [found[a, b] for a, b in itertools.combinations(range(len(VERTEBRAE)), 2)]
    assert min(apart) > 15 and min(found[a, a + 1] for a in range(len(VERTEBRAE) - 1)) > 29, "neighbours"


@pytest.mark.parametrize(("opacity", "grey"), [(0.5, 64), (0.5, 128), (0.5, 192), (1.0, 0)])
@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_kinds_of_a_difference_apart(eye: str, opacity: float, grey: int):
    found = differences(eye, opacity, grey, list(DIFFERENCES.values()))
    assert min(found[a, b] for a, b in itertools.combinations(range(len(DIFFERENCES)), 2)) > 24


def test_no_colour_of_a_difference_is_like_a_vertebra_s():
    found = differences("all cones", 0.5, 128, [*DIFFERENCES.values(), *COLOURS])
    assert found[: len(DIFFERENCES), len(DIFFERENCES) :].min() > 12


def test_label_picture_has_a_value_for_each_vertebra():
    masks = spine()
    masks[5] |= masks[0]
    picture = label_picture(masks)
    assert picture.dtype == np.uint8
    assert set(np.unique(picture)) == {0, 2, 3, 4, 5, 6}
    assert (picture[masks[0]] == 6).all(), "the more caudal"
    stored = cv2.imdecode(np.frombuffer(png_bytes(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    assert np.array_equal(stored, picture)


def test_the_percentiles_become_black_and_white():
    image = np.arange(101, dtype=np.float32).reshape(1, 101).repeat(5, axis=0)
    grey = to_uint8(Film(image), low_percentile=10.0, high_percentile=90.0)
    assert grey[0, :11].max() == 0
    assert grey[0, 90:].min() == 255
    assert grey[0, 50] == 128
    assert (np.diff(grey[0].astype(int)) >= 0).all()


def test_brightness_does_not_depend_on_the_stored_units():
    image = np.random.default_rng(0).random((60, 50), dtype=np.float32)
    assert np.array_equal(to_uint8(Film(image)), to_uint8(Film(image * 4096 - 1024)))


def test_a_film_almost_all_of_one_value_is_still_shown():
    image = np.zeros((3000, 20), dtype=np.float32)
    image[1, 1] = 7
    grey = to_uint8(Film(image))
    assert (grey[1, 1], grey.max(), grey.min(), np.count_nonzero(grey)) == (255, 255, 0, 1)


@pytest.mark.parametrize("opacity", [0.0, 0.25, 1.0])
def test_a_pixel_in_a_mask_has_the_blended_colour_and_the_rest_is_untouched(opacity: float):
    film, masks = ramp(), spine()
    grey = to_uint8(film)
    picture = overlay(film, masks, opacity=opacity, outline=False, names=False)
    for mask, colour in zip(masks, COLOURS, strict=True):
        expected = np.rint((1 - opacity) * grey[mask][:, None] + opacity * np.array(colour.rgb))
        assert np.array_equal(picture[mask], expected)
    background = ~masks.any(axis=0)
    assert np.array_equal(picture[background], np.repeat(grey[background][:, None], 3, axis=1))


@pytest.mark.parametrize(("size", "width"), [(240, 1), (2600, 3)])
def test_the_outline_is_the_inner_border_only_and_grows_with_the_film(size: int, width: int):
    film, masks = ramp(rows=size), spine(rows=size)
    picture = overlay(film, masks, opacity=0.0, outline=True, names=False)
    changed = (picture != overlay(film, masks, opacity=0.0, outline=False, names=False)).any(axis=2)
    border = np.zeros_like(changed)
    for k in range(6):
        top, left = 10 + 38 * k, 60
        border[top : top + 30, left:120] = True
        border[top + width : top + 30 - width, left + width : 120 - width] = False
    assert np.array_equal(changed, border)
    assert (picture[10, 60] == COLOURS[0].rgb).all()


def test_a_mask_at_the_edge_of_the_film_is_outlined_there():
    masks = np.zeros((6, 240, 200), dtype=bool)
    masks[5, 230:, 190:] = True
    picture = overlay(ramp(), masks, opacity=0.0, names=False)
    assert (picture[239, 190:] == COLOURS[5].rgb).all()
    assert not (picture[235, 195] == COLOURS[5].rgb).all()


def test_names_are_white_with_a_dark_outline_and_lie_on_their_bones():
    film, masks = ramp(rows=1200, columns=800), spine(rows=1200, columns=800)
    plain = overlay(film, masks, names=False)
    named = overlay(film, masks)
    changed = (plain != named).any(axis=2)
    for k in range(6):
        rows, columns = np.nonzero(changed & masks[k])
        assert (rows.min() + rows.max()) / 2 == pytest.approx(24.5 + 38 * k, abs=1)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(89.5, abs=1)
        assert (named[masks[k]] == 255).all(axis=1).any()
        assert (named[masks[k]].max(axis=1) < 32).any()
    assert not (changed & ~masks.any(axis=0)).any()


def test_a_name_stays_in_the_picture():
    masks = np.zeros((6, 240, 200), dtype=bool)
    masks[0, :2, :2] = True
    masks[5, -1, -1] = True
    picture = overlay(ramp(), masks)
    assert (picture[:20, :30] == 255).all(axis=2).any()
    tiny = np.zeros((6, 5, 4), dtype=bool)
    tiny[0, 2, 2] = True
    assert overlay(ramp(rows=5, columns=4), tiny).shape == (5, 4, 3)


def test_the_name_of_a_bone_in_two_pieces_is_on_one_of_them():
    masks = np.zeros((6, 1000, 1000), dtype=bool)
    masks[0, 100:200, 450:550] = masks[0, 700:900, 450:550] = True
    film = ramp(rows=1000, columns=1000)
    changed = (overlay(film, masks) != overlay(film, masks, names=False)).any(axis=2)
    assert changed.any()
    assert not (changed & ~masks[0]).any()


def test_an_overlay_of_nothing_is_the_film_and_changes_none():
    film = ramp()
    grey, before = to_uint8(film), film.image.copy()
    shown = grey.copy()
    assert np.array_equal(overlay(film, np.zeros((6, 240, 200), dtype=bool)), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(overlay(grey, spine()), overlay(film, spine()))
    assert np.array_equal(film.image, before) and np.array_equal(grey, shown)


def test_figure_has_a_panel_for_the_film_and_each_channel():
    channels = np.zeros((6, 100, 80), dtype=np.float32)
    for k in range(6):
        channels[k] = k / 5
    channels[5] = 3
    figure = figure_channels(ramp(rows=100, columns=80), channels, VERTEBRAE, columns=4)
    panel_rows, panel_columns = 128, 80
    assert figure.shape == (2 * (panel_rows + 8) + 8, 4 * (panel_columns + 8) + 8, 3)
    for place, value in enumerate([None, 0, 51, 102, 153, 204, 255]):
        top, left = 8 + 136 * (place // 4), 8 + 88 * (place % 4)
        panel = figure[top : top + panel_rows, left : left + panel_columns]
        assert panel[:28].max() == 255, "the title"
        expected = to_uint8(ramp(rows=100, columns=80))[..., None] if value is None else value
        assert (panel[28:] == expected).all()


def test_figure_is_reduced_to_the_stated_height_in_proportion():
    masks = spine(rows=600, columns=300)
    figure = figure_channels(ramp(rows=600, columns=300), masks, VERTEBRAE, panel_rows=200, columns=7)
    assert figure.shape == (200 + 28 + 16, 7 * (100 + 8) + 8, 3)
    grid = figure_channels(ramp(rows=600, columns=300), masks[:, ::6, ::6], VERTEBRAE, panel_rows=200, columns=7)
    assert grid.shape == figure.shape, "a small grid is enlarged"


def test_contact_sheet_centres_pictures_in_reading_order():
    red, grey = np.zeros((10, 20, 3), np.uint8), np.full((4, 6), 90, np.uint8)
    red[..., 0] = 255
    sheet = contact_sheet([red, grey, red], columns=2, gap=2)
    assert sheet.shape == (2 * 12 + 2, 2 * 22 + 2, 3)
    assert (sheet[2:12, 2:22] == (255, 0, 0)).all()
    assert (sheet[5:9, 31:37] == 90).all()
    assert (sheet[14:24, 2:22] == (255, 0, 0)).all()
    assert (sheet[14:24, 24:44] == sheet[0, 0]).all()


@pytest.mark.parametrize("name", ["overlay.png", "Über das 요추.png", "no extension", "photo.jpg"])
def test_png_round_trip_at_exactly_this_path(tmp_path: Path, name: str):
    picture = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    write_png(tmp_path / name, picture[..., 0])
    assert np.array_equal(stored(tmp_path / name), picture[..., 0]), "grey values"
    write_png(tmp_path / name, picture)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(stored(tmp_path / name)[..., ::-1], picture)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_the_file_is_as_readable_as_any_other(tmp_path: Path):
    (tmp_path / "plain").write_bytes(b"")
    write_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "picture.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
