"""The part of a film around a small spine, and whether a second look gives the same names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import rectangles

from spineseg.inference.grid import GridFit, grid_fit, masks_to_grid
from spineseg.inference.levels import Decoded, decode_ordered
from spineseg.inference.spine_field import same_names, spine_field
from spineseg.model.config import GridConfig

FILM, GRID = (1200, 900), GridConfig(rows=128, columns=96)
MASKS = rectangles(FILM, 400, 60, 45, 500, 60)  # rows 400 to 745, columns 500 to 560
FIELD = (slice(227, 918), slice(270, 790))
"""Half of the height of the spine above and below, in the shape of the grid."""


def seen(masks: np.ndarray, fit: GridFit) -> Decoded:
    return decode_ordered(masks_to_grid(masks, fit) * np.float32(0.98))


def test_a_small_spine_is_seen_with_half_of_its_height_around_it() -> None:
    fit = grid_fit(FILM, GRID)
    found = spine_field(masks_to_grid(MASKS, fit).sum(0), fit)
    assert found is not None
    pixel = 1 / fit.row_scale
    for side, wanted in zip(found, FIELD, strict=True):
        assert side.start == pytest.approx(wanted.start, abs=2 * pixel)
        assert side.stop == pytest.approx(wanted.stop, abs=2 * pixel)
    again = grid_fit(FILM, GRID, field=found)
    assert spine_field(masks_to_grid(MASKS, again).sum(0), again) is None, "it is large by then"


@pytest.mark.parametrize("shift", [0, 300])
def test_the_mirror_image_is_looked_at_in_the_mirrored_part(shift: int) -> None:
    fit = grid_fit(FILM, GRID)
    bone = np.roll(masks_to_grid(MASKS, fit).sum(0), int(shift * fit.row_scale), 0)
    here, there = spine_field(bone, fit), spine_field(np.ascontiguousarray(bone[:, ::-1]), fit)
    assert here is not None and there is not None
    assert here[0] == there[0] and 0 <= here[0].start < here[0].stop <= FILM[0]
    assert (FILM[1] - there[1].stop, FILM[1] - there[1].start) == (here[1].start, here[1].stop)


def test_specks_are_no_spine_and_nothing_is_looked_at_without_bone() -> None:
    fit = grid_fit(FILM, GRID)
    bone = masks_to_grid(MASKS, fit).sum(0)
    specks = bone.copy()
    specks[2, 2] = 1
    assert spine_field(specks, fit) == spine_field(bone, fit)
    assert spine_field(0 * bone, fit) is None


def test_bone_beyond_the_edge_of_the_film_is_none() -> None:
    fit = grid_fit((1200, 300), GRID)
    here = masks_to_grid(rectangles((1200, 300), 400, 60, 45, 100, 60), fit).sum(0)
    beside = np.zeros_like(here)
    beside[40:90, 2:20] = 1
    assert not fit.inside()[beside > 0].any()
    assert spine_field(beside, fit) is None
    assert spine_field(here, fit) == spine_field(here + beside, fit) is not None


def test_names_that_moved_are_not_the_same() -> None:
    fit, near = grid_fit(FILM, GRID), grid_fit(FILM, GRID, field=FIELD)
    first, moved = seen(MASKS, fit), np.roll(MASKS, 1, 0)
    moved[0] = False
    assert same_names(first, fit, seen(MASKS, near), near)
    assert not same_names(first, fit, seen(moved, near), near)
    few = replace(first, channels=first.channels * (np.arange(6) < 3)[:, None, None].astype(np.float32))
    assert same_names(few, fit, seen(moved, near), near), "too little was known"
