from __future__ import annotations

import numpy as np
import pytest

from spineseg.film import CHANNELS, VERTEBRAE, Film, Spacing, bounding_box, down_at, down_the_spine


def test_channels_run_from_head_to_foot_and_end_with_the_background():
    assert VERTEBRAE == ("L1", "L2", "L3", "L4", "L5", "S1")
    assert (*VERTEBRAE, "background") == CHANNELS


def test_a_film_cannot_be_changed():
    film = Film(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        film.image[0, 0] = 9
    with pytest.raises(AttributeError):
        film.spacing = None  # pyright: ignore[reportAttributeAccessIssue]


def test_inverting_exchanges_dense_and_clear_within_the_range():
    spacing = Spacing(0.1, 0.2, "detector")
    film = Film(np.array([[1, 2], [3, 5]], dtype=np.float32), spacing).inverted()
    np.testing.assert_array_equal(film.image, [[5, 4], [3, 1]])
    assert (film.spacing, film.shape) == (spacing, (2, 2))
    image = np.array([[-3, 2], [3, 4095]], dtype=np.float32)
    np.testing.assert_array_equal(Film(image).inverted().inverted().image, image)
    assert film.image.dtype == np.float32


def test_the_box_of_a_mask_holds_it_and_no_more():
    mask = np.zeros((5, 6), bool)
    mask[1, 4] = mask[3, 2] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 5))
    assert mask[bounding_box(np.zeros((5, 6), bool))].size == 0
    assert bounding_box(np.ones((5, 6), bool)) == (slice(0, 5), slice(0, 6))


CENTRES = {0: np.array([0.0, 30.0]), 1: np.array([40.0, 0.0]), 3: np.array([120.0, 60.0])}


@pytest.mark.parametrize(
    ("level", "expected"), [(0, (0.8, -0.6)), (1, (120, 30)), (3, (0.8, 0.6))], ids=["first", "between", "last"]
)
def test_down_at_a_vertebra_is_from_the_one_above_to_the_one_below(level: int, expected: tuple[float, float]):
    np.testing.assert_allclose(down_at(CENTRES, level), np.array(expected) / np.linalg.norm(expected))
    np.testing.assert_array_equal(down_at({level: CENTRES[0]}, level), [1, 0])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_down_the_spine_does_not_depend_on_the_order(order: tuple[int, ...]):
    line = np.array([(0.0, 0.0), (30.0, 40.0), (60.0, 80.0)])
    np.testing.assert_allclose(down_the_spine(line[list(order)]), [0.6, 0.8])
