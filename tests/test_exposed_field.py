"""Borders are found to the pixel, and nothing else is: air, lung and soft collimation stay."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spineseg.exposed_field import Box, exposed_field
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.simulate.exposure import ExposureConfig

ROWS, COLUMNS = 500, 340


def radiograph(seed: int = 1) -> np.ndarray:
    """Soft blobs with grain, as a film that shows something everywhere, 0..4000."""
    rng = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(rng.uniform(0, 1, (ROWS, COLUMNS)), (0, 0), 12)
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    return np.round(400 + 3200 * blobs + rng.normal(0, 40, blobs.shape)).clip(0, 4000).astype(np.float32)


def bordered(image: np.ndarray, widths: tuple[int, int, int, int], value: float) -> np.ndarray:
    """widths: top, bottom, left, right."""
    top, bottom, left, right = widths
    return np.pad(image, ((top, bottom), (left, right)), constant_values=np.float32(value))


def inner(widths: tuple[int, int, int, int], shape: tuple[int, int] = (ROWS, COLUMNS)) -> Box:
    return slice(widths[0], widths[0] + shape[0]), slice(widths[2], widths[2] + shape[1])


WHOLE = inner((0, 0, 0, 0))


@pytest.mark.parametrize("value", [0.0, 2000.0, 4000.0, -32768.0, 65535.0])
@pytest.mark.parametrize(
    "widths", [(60, 60, 60, 60), (0, 0, 0, 37), (0, 0, 150, 150), (400, 3, 0, 0), (1, 0, 0, 400), (170, 0, 170, 0)]
)
def test_a_border_is_found_to_the_pixel(widths: tuple[int, int, int, int], value: float) -> None:
    assert exposed_field(bordered(radiograph(), widths, value)) == inner(widths)


def test_borders_within_borders_are_left_out_together() -> None:
    framed = bordered(bordered(radiograph(), (9, 12, 5, 7), 0.0), (80, 90, 100, 110), 4000.0)
    assert exposed_field(framed) == inner((89, 102, 105, 117))


def test_text_in_the_border_and_round_corners_change_nothing() -> None:
    image = np.pad(radiograph(), 90, constant_values=np.float32(0))
    ink = np.zeros(image.shape, np.uint8)
    for row in range(30, image.shape[0], 40):
        cv2.putText(ink, "NAME", (5, row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,), 1)
    corners = [(column, row) for column in (90, 89 + COLUMNS) for row in (90, 89 + ROWS)]
    for corner in corners:
        image[cv2.circle(np.zeros(image.shape, np.uint8), corner, 12, (1,), -1) > 0] = 0
    image[ink > 0] = 4000
    assert exposed_field(image) == inner((90, 90, 90, 90))


def test_a_film_in_a_tenth_of_a_screen_is_found_beside_bars_and_text() -> None:
    screen = np.full((1080, 1600), 30, np.uint8)
    screen[:50], screen[:, :200] = 200, 90
    cv2.putText(screen, "File  Edit", (20, 35), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0,), 2)
    cv2.putText(screen, "L4: 31 mm", (1200, 900), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255,), 2)
    screen[300 : 300 + ROWS, 700 : 700 + COLUMNS] = radiograph() / 4000 * 255
    assert exposed_field(screen.astype(np.float32)) == inner((300, 0, 700, 0))


@pytest.mark.parametrize("turn_deg", [-3.0, 0.0, 2.0])
def test_uneven_paper_is_left_out_and_a_turn_costs_little_more_than_its_wedges(turn_deg: float) -> None:
    down, across = np.mgrid[0:700, 0:540]
    matrix = cv2.getRotationMatrix2D((COLUMNS / 2 - 0.5, ROWS / 2 - 0.5), turn_deg, 1.0)
    matrix[:, 2] += 100
    shown = cv2.warpAffine(radiograph() / 20 + 20, matrix, (540, 700))
    covered = cv2.warpAffine(np.ones((ROWS, COLUMNS), np.float32), matrix, (540, 700))
    noise = np.random.default_rng(2).normal(0, 1.5, covered.shape)
    picture = (shown + (1 - covered) * (240 - across / 60 - down / 90) + noise).clip(0, 255)
    decoded = cv2.imdecode(cv2.imencode(".jpg", picture.astype(np.uint8))[1], cv2.IMREAD_GRAYSCALE)
    rows, columns = exposed_field(np.asarray(decoded, np.float32))
    found = np.array([rows.start, rows.stop, columns.start, columns.stop])
    most = 1 + np.sin(np.deg2rad(abs(turn_deg))) * np.array([COLUMNS, COLUMNS, ROWS, ROWS]) / 2
    assert (np.abs(found - [100, 100 + ROWS, 100, 100 + COLUMNS]) <= most).all()


def test_a_film_without_a_border_is_used_whole_turned_over_or_inverted() -> None:
    image = radiograph()
    for view in (image, image[::-1], image[:, ::-1], -image, 1e-3 * image + 7, image[:40], image[:, :40]):
        assert exposed_field(np.ascontiguousarray(view)) == inner((0, 0, 0, 0), view.shape)


def test_air_that_fades_into_the_body_is_left() -> None:
    image = radiograph()
    column = np.arange(COLUMNS) - 280 + 25 * np.sin(np.arange(ROWS) / 80)[:, None]
    image[column > 0] = 0
    assert exposed_field(image) == WHOLE


def test_black_sides_of_more_than_a_quarter_are_left_out_though_they_fade_into_air() -> None:
    image = radiograph()
    column = np.arange(COLUMNS) - 280 + 25 * np.sin(np.arange(ROWS) / 80)[:, None]
    image[column > 0] = 0
    rows, columns = exposed_field(bordered(image, (0, 0, 170, 170), 0.0))
    assert rows == slice(0, ROWS) and columns.start == 170
    assert 170 + 300 <= columns.stop <= 170 + 310, "where the body ends"


@pytest.mark.parametrize("size", [(ROWS, COLUMNS), (64, 64)])
def test_degenerate_pictures_are_used_whole(size: tuple[int, int]) -> None:
    dot = np.zeros(size, np.float32)
    dot[size[0] // 2, size[1] // 2] = 1
    stamp = np.zeros(size, np.float32)
    stamp[20:40, 20:40] = radiograph()[:20, :20]
    half = np.zeros(size, np.float32)
    half[:, size[1] // 2 :] = 1
    for image in (np.zeros(size, np.float32), dot, stamp):
        assert exposed_field(image) == inner((0, 0, 0, 0), size)
    rows, columns = exposed_field(half)
    assert rows == slice(0, size[0]) and columns.stop - columns.start >= size[1] // 2


def test_borders_of_less_than_a_fiftieth_are_left() -> None:
    assert exposed_field(bordered(radiograph(), (2, 0, 1, 0), 0.0)) == inner((0, 0, 0, 0), (ROWS + 2, COLUMNS + 1))


@pytest.mark.parametrize("index", range(12))
def test_simulated_films_without_black_sides_are_used_whole(index: int) -> None:
    exposure = replace(ExposureConfig(), collimated_probability=0.0)
    image = simulate_case(5, index, SimulateConfig(rows=512, exposure=exposure)).film.image
    black = (image <= image.min() + 0.012 * np.ptp(image)).mean(0) > 0.9
    if black.mean() < 0.2:
        assert exposed_field(image) == inner((0, 0, 0, 0), image.shape)
    else:
        assert black[np.r_[: exposed_field(image)[1].start]].all(), "only black columns are left out"
