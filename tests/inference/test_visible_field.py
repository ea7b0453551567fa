"""The visible part: what blades, shutters and saturated air hide is not in it, and nothing else is missing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spineseg.film import Film
from spineseg.inference.grid import Box, film_to_grid
from spineseg.inference.visible_field import visible_field
from spineseg.model.config import GridConfig

SHAPE = (600, 400)
GRID_PX = SHAPE[0] / GridConfig().rows
"""Film pixels to a grid pixel, for a film as tall as this one."""


def picture(rng: np.random.Generator) -> np.ndarray:
    """Soft blobs, as a film without any bone."""
    return cv2.GaussianBlur(rng.uniform(0, 1, SHAPE), (0, 0), 12).astype(np.float32)


def visible(image: np.ndarray) -> Box:
    return visible_field(*film_to_grid(Film(image.astype(np.float32)), GridConfig()))


def whole(shape: tuple[int, int] = SHAPE) -> Box:
    return slice(0, shape[0]), slice(0, shape[1])


@pytest.mark.parametrize("fill", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("blades", [(60, 540, 80, 330), (0, 450, 0, 400), (200, 600, 0, 150)])
def test_a_shutter_is_found_on_each_side(blades: tuple[int, int, int, int], fill: float):
    image = picture(np.random.default_rng(1))
    top, bottom, left, right = blades
    shuttered = np.full(SHAPE, image.min() + fill * np.ptp(image), np.float32)
    shuttered[top:bottom, left:right] = image[top:bottom, left:right]
    rows, columns = visible(shuttered)
    found = np.array([rows.start, -rows.stop, columns.start, -columns.stop])
    inwards = found - [top, -bottom, left, -right]
    assert (inwards >= 0).all() and (inwards <= 3 * GRID_PX).all(), "never outside, and near"
    assert all(inwards[k] == 0 for k, edge in enumerate((top, bottom - 600, left, right - 400)) if edge == 0)


def test_blades_that_are_turned_and_a_letter_on_the_shutter_change_little():
    image = picture(np.random.default_rng(2))
    open_part = np.zeros(SHAPE, np.uint8)
    corners = cv2.boxPoints(((200, 300), (300, 400), 2.0)).astype(np.int32)
    cv2.fillPoly(open_part, [corners], 1)
    letter = cv2.putText(np.zeros(SHAPE, np.uint8), "L", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 1, 4)
    shuttered = np.where(letter > 0, image.max(), image * open_part)
    rows, columns = visible(shuttered)
    assert np.abs(np.array([rows.start, rows.stop, columns.start, columns.stop]) - [100, 500, 50, 350]).max() < 12


def test_a_film_that_shows_something_everywhere_is_visible_as_a_whole():
    image = picture(np.random.default_rng(3))
    assert visible(image) == whole() and visible(image[:, ::-1]) == whole() and visible(-5 * image + 3) == whole()
    assert visible(image[:90]) == whole((90, 400)) and visible(image[:, :70]) == whole((600, 70))


def test_a_film_that_shows_next_to_nothing_is_taken_as_a_whole():
    dot = np.zeros(SHAPE, np.float32)
    dot[300, 200] = 1
    assert visible(dot) == whole()


def test_turned_over_the_part_is_turned_over():
    image = picture(np.random.default_rng(4))
    image[:120], image[:, 300:] = 0, 0
    rows, columns = visible(image)
    turned_rows, turned_columns = visible(image[::-1, ::-1])
    assert (turned_rows.start, turned_rows.stop) == (600 - rows.stop, 600 - rows.start)
    assert (turned_columns.start, turned_columns.stop) == (400 - columns.stop, 400 - columns.start)
