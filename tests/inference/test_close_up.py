"""close_up: contours of the second look, names of the first."""

from __future__ import annotations

import numpy as np
import pytest

from spineseg.exposed_field import Box
from spineseg.film import Case
from spineseg.inference.close_up import MARGIN, close_channels, close_field
from spineseg.inference.grid import GridFit, film_to_grid, masks_to_grid
from spineseg.model.config import GridConfig
from spineseg.simulate import SickConfig, SimulateConfig, simulate_case

GRID = GridConfig()


@pytest.fixture(scope="module")
def case() -> Case:
    return simulate_case(3, 0, SimulateConfig(rows=700, crop_probability=0.0, sick=SickConfig(share=0.0)))


@pytest.fixture(scope="module")
def looks(case: Case) -> tuple[np.ndarray, GridFit, np.ndarray, GridFit, Box]:
    """What `close_channels` takes, of a network that knows."""
    fit = film_to_grid(case.film, GRID)[1]
    close_fit = film_to_grid(case.film, GRID, close_field(case.masks, case.film.field))[1]
    whole = slice(0, case.film.shape[0]), slice(0, case.film.shape[1])
    return masks_to_grid(case.masks, fit), fit, masks_to_grid(case.masks, close_fit), close_fit, whole


def test_the_field_is_the_bodies_with_a_margin_within_the_films():
    masks = np.zeros((6, 400, 300), bool)
    masks[0, 100:150, 120:160] = masks[5, 250:300, 100:140] = True
    margin = round(MARGIN * 200)
    assert close_field(masks, (slice(0, 400), slice(0, 300))) == (
        slice(100 - margin, 300 + margin),
        slice(100 - margin, 160 + margin),
    )
    assert close_field(masks, (slice(90, 320), slice(95, 170))) == (slice(90, 320), slice(95, 170))


def test_names_come_from_the_first_look(looks: tuple) -> None:
    named, fit, close, close_fit, visible = looks
    shifted = close_channels(named, fit, np.roll(close, 1, 0), close_fit, visible)
    right = close_channels(named, fit, close, close_fit, visible)
    assert np.array_equal(shifted, right)
    for channel, truth in zip(right[:5] > 0.5, close[:5] > 0.5, strict=True):
        assert np.array_equal(channel, truth)
    assert (right[5] > 0.5)[close[5] > 0.5].mean() > 0.9


def test_a_body_that_the_second_look_misses_or_merges_stays(looks: tuple) -> None:
    named, fit, close, close_fit, visible = looks
    missed, merged = close.copy(), close.copy()
    missed[2] = 0
    rows = np.flatnonzero((close[1:3] > 0.5).any((0, 2)))
    columns = np.flatnonzero((close[1:3] > 0.5).any((0, 1)))
    merged[1, rows[0] : rows[-1], columns[0] : columns[-1]] = 1  # one block over L2 and L3
    merged[2] = 0
    for second in (missed, merged):
        channels = close_channels(named, fit, second, close_fit, visible)
        here, truth = channels[2] > 0.5, close[2] > 0.5
        assert (here & truth).sum() > 0.9 * (here | truth).sum()


def test_a_body_that_the_first_look_left_out_stays_out(looks: tuple) -> None:
    named, fit, close, close_fit, visible = looks
    left_out = named.copy()
    left_out[0] = 0
    assert not close_channels(left_out, fit, close, close_fit, visible)[0].any()
