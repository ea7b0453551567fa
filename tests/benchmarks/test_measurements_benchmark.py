"""The benchmark of measurements: what a reference placed by eye costs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measurements import TWO_PLACEMENTS, placement_deviation, quadrilateral_dice, strayed

SQUARE = np.array([[0.0, 0.0], [0.0, 40.0], [40.0, 40.0], [40.0, 0.0]])


def test_dice_of_two_squares_is_what_it_looks_like() -> None:
    assert quadrilateral_dice(SQUARE, SQUARE) == pytest.approx(1.0)
    assert quadrilateral_dice(SQUARE, SQUARE + [0, 20]) == pytest.approx(0.5)
    assert quadrilateral_dice(SQUARE, SQUARE + [0, 100]) == 0.0


def test_two_placements_stray_until_they_agree_as_two_readers_do() -> None:
    spines = [np.stack([SQUARE + [50 * k, 0] for k in range(6)])] * 40
    deviation = placement_deviation(spines, np.random.default_rng(0))
    again = np.random.default_rng(1)
    pairs = [(strayed(s, deviation, again), strayed(s, deviation, again)) for s in spines]
    agreed = np.median([quadrilateral_dice(a, b) for pair in pairs for a, b in zip(*pair, strict=True)])
    assert agreed == pytest.approx(TWO_PLACEMENTS, abs=0.01)
    assert 0.01 < deviation < 0.06
