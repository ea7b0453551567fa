from __future__ import annotations

import numpy as np
import pytest

from spineseg.film import CHANNELS, VERTEBRAE, BadInput, Film, Spacing, bounding_box


def test_channels_run_from_head_to_foot_and_end_with_the_background():
    assert VERTEBRAE == ("L1", "L2", "L3", "L4", "L5", "S1")
    assert (*VERTEBRAE, "background") == CHANNELS


def test_a_film_cannot_be_changed():
    film = Film(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        film.image[0, 0] = 9
    with pytest.raises(AttributeError):
        film.spacing = None  # pyright: ignore[reportAttributeAccessIssue]


def test_shape_is_rows_then_columns():
    assert Film(np.zeros((2, 3), dtype=np.float32)).shape == (2, 3)


def test_inverting_exchanges_dense_and_clear_within_the_range():
    spacing = Spacing(0.1, 0.2, "detector")
    film = Film(np.array([[1, 2], [3, 5]], dtype=np.float32), spacing).inverted()
    np.testing.assert_array_equal(film.image, [[5, 4], [3, 1]])
    assert film.spacing == spacing
    assert film.image.dtype == np.float32


def test_inverting_twice_is_the_same_film():
    image = np.array([[-3, 2], [3, 4095]], dtype=np.float32)
    np.testing.assert_array_equal(Film(image).inverted().inverted().image, image)


def test_bad_input_is_a_value_error():
    assert issubclass(BadInput, ValueError)


def test_the_box_of_a_mask_holds_it_and_no_more():
    mask = np.zeros((5, 6), bool)
    mask[1, 4] = mask[3, 2] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 5))
    assert mask[bounding_box(np.zeros((5, 6), bool))].size == 0
    assert bounding_box(np.ones((5, 6), bool)) == (slice(0, 5), slice(0, 6))
