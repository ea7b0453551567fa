"""views: what a network says of a turned or mirrored film comes back to where the film is."""

from __future__ import annotations

import numpy as np
import pytest

from spineseg.film import Film
from spineseg.inference.grid import OFF_FILM, film_to_grid, normalise
from spineseg.inference.views import ONE_VIEW, VIEWS, View, averaged
from spineseg.model.config import GridConfig

ROWS, COLUMNS = 96, 64


def blob(row: float, column: float) -> np.ndarray:
    """A smooth hill, 0..1, that is near 0 at the grid's border."""
    rows, columns = np.indices((ROWS, COLUMNS))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 72).astype(np.float32)


def six(channels: np.ndarray) -> np.ndarray:
    """A network that says of each level what it sees, brighter by what off the film counts as 0."""
    return np.repeat(channels[:1] + 1, 6, 0)


@pytest.fixture
def channels() -> np.ndarray:
    """Bright bodies on black, and a second channel."""
    return np.stack([blob(30, 22) + blob(70, 40) - 1, blob(50, 30)])


def test_one_view_is_the_network_itself(channels: np.ndarray):
    seen = []

    def run(view: np.ndarray) -> np.ndarray:
        seen.append(view)
        return six(view)

    assert np.array_equal(averaged(channels, ONE_VIEW, run), six(channels))
    assert len(seen) == 1 and np.array_equal(seen[0], channels)


def test_a_turn_is_clockwise_as_seen_and_a_mirror_image_swaps_left_and_right():
    """A point right of the middle goes down when the film is turned clockwise by a quarter."""
    assert np.allclose(
        View(90.0).matrix((ROWS, COLUMNS)) @ [COLUMNS / 2 + 10, ROWS / 2, 1], [COLUMNS / 2, ROWS / 2 + 10]
    )
    assert np.allclose(View(mirrored=True).matrix((ROWS, COLUMNS)) @ [0, 5, 1], [COLUMNS, 5])
    turned = View(90.0, mirrored=True).matrix((ROWS, COLUMNS)) @ [COLUMNS / 2, ROWS / 2 - 10, 1]
    assert np.allclose(turned, [COLUMNS / 2 - 10, ROWS / 2])


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_each_view_comes_back_to_its_place(channels: np.ndarray, view: View):
    """What is lost is the resampling of a hill six pixels wide."""
    back = averaged(channels, [view], six)
    assert np.abs(back - six(channels)).max() < 0.03


@pytest.mark.parametrize("views", [VIEWS, (View(), View(20.0))], ids=["all", "turned"])
def test_where_a_view_does_not_reach_the_others_count(channels: np.ndarray, views: tuple[View, ...]):
    """Corners of the grid leave a turned view; a network that finds 1 everywhere is 1 there too."""
    assert np.allclose(averaged(channels, views, lambda view: np.ones((6, ROWS, COLUMNS), np.float32)), 1.0)


def test_off_the_film_a_view_holds_what_the_grid_does():
    film = Film(np.full((60, 60), 500.0, np.float32))
    grid = GridConfig(rows=ROWS, columns=COLUMNS)
    image, fit = film_to_grid(film, grid)
    channels = normalise(image, fit.inside(), grid)
    assert tuple(channels[:, 0, 0]) == OFF_FILM
    seen = []
    averaged(channels, [View(30.0)], lambda view: seen.append(view) or six(view))
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert tuple(seen[0][:, *corner]) == OFF_FILM


def test_views_are_averaged(channels: np.ndarray):
    answers = iter([0.2, 0.6])
    mean = averaged(
        channels, [View(), View(mirrored=True)], lambda view: np.full((6, ROWS, COLUMNS), next(answers), np.float32)
    )
    assert np.allclose(mean, 0.4)


def test_mirrored_films_get_mirrored_answers(channels: np.ndarray, rng: np.random.Generator):
    """Even of a network that tells left from right."""
    slope = rng.random((6, ROWS, COLUMNS)).astype(np.float32)
    mirrored = averaged(np.ascontiguousarray(channels[:, :, ::-1]), VIEWS, lambda view: six(view) * slope)
    assert np.allclose(mirrored[:, :, ::-1], averaged(channels, VIEWS, lambda view: six(view) * slope), atol=2e-3)
    once = averaged(np.ascontiguousarray(channels[:, :, ::-1]), ONE_VIEW, lambda view: six(view) * slope)
    assert np.abs(once[:, :, ::-1] - six(channels) * slope).max() > 0.1
