"""bodies: made-up maps of bone whose bodies are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spineseg.inference.bodies import BodyConfig, components, find_bodies

SIDE, STEP = 24, 32


def column(*, slipped: int = 0, stray: tuple[int, int] | None = None) -> np.ndarray:
    """Six square bodies below one another, channel by channel; S1 moved to the right, a second one at `stray`."""
    channels = np.zeros((6, 224, 192), np.float32)
    for level in range(6):
        left = 60 + (slipped if level == 5 else 0)
        channels[level, 16 + STEP * level : 16 + STEP * level + SIDE, left : left + SIDE] = 0.96
    if stray is not None:
        channels[5, stray[0] : stray[0] + SIDE, stray[1] : stray[1] + SIDE] = 0.96
    return channels


def found(channels: np.ndarray) -> list[tuple[int, ...]]:
    """Row and column of the middle of each body."""
    bodies, count = find_bodies(channels.sum(0), channels.argmax(0))
    middles = ndimage.center_of_mass(bodies > 0, bodies, range(1, count + 1))
    return [tuple(round(place + 0.5) for place in middle) for middle in middles]


@pytest.mark.parametrize("slipped", [0, SIDE, 2 * SIDE, -2 * SIDE])
def test_a_body_that_has_slipped_is_one_of_the_spine(slipped: int):
    middles = found(column(slipped=slipped))
    assert middles == [(28 + STEP * level, 72 + (slipped if level == 5 else 0)) for level in range(6)]


def test_what_lies_beside_the_spine_and_bears_a_name_that_is_there_is_no_body():
    assert found(column(stray=(60, 150))) == found(column())


def test_what_lies_beside_the_spine_without_a_plain_name_is_no_body():
    channels = column(slipped=2 * SIDE)
    channels[3, 176 : 176 + SIDE // 2] = 2 * channels[5, 176 : 176 + SIDE // 2]
    assert len(found(channels)) == 5


@pytest.mark.parametrize("rows", [1, 2])
def test_bodies_side_by_side_are_left_out_until_too_few_define_a_curve(rows: int):
    """Warnings are errors: a parabola through two rows would be one."""
    channels = np.zeros((6, 224, 320), np.float32)
    for row, left in ((40 + 100 * (k % rows), 8 + 50 * k) for k in range(6)):
        channels[0, row : row + SIDE, left : left + SIDE] = 0.96
    assert len(found(channels)) == 4


@pytest.mark.parametrize(("share", "count"), [(0.2, 5), (0.35, 6), (0.5, 6)])
def test_a_merged_body_is_split_where_a_third_of_a_body_bears_another_name(share: float, count: int):
    channels = column()
    channels[:2], middle = 0, 16 + round(share * SIDE)
    channels[0, 16:middle, 60:84] = channels[1, middle : 16 + STEP + SIDE, 60:84] = 0.96
    assert len(found(channels)) == count


def test_each_pixel_goes_to_a_core_of_its_own_component():
    """A body's corner may be nearer to the core of its neighbour than to its own, and still is its own."""
    bone = np.zeros((120, 120), np.float32)
    bone[10:50, 10:50] = bone[51:91, 31:71] = 1
    bodies, count = find_bodies(bone, np.zeros(bone.shape, int), BodyConfig(erode_share=0.3))
    assert count == 2
    for own in (components(bodies == number) for number in (1, 2)):
        assert (own.max(), np.count_nonzero(own)) == (1, 1600)


def test_the_largest_bodies_are_kept():
    bone = np.zeros((100, 100), np.float32)
    for k, side in enumerate((14, 10, 16, 12)):
        bone[25 * k : 25 * k + side, 10 : 10 + side] = 1
    bodies, count = find_bodies(bone, np.zeros(bone.shape, int), BodyConfig(most_bodies=2))
    assert count == 2
    assert [np.count_nonzero(bodies == k) for k in (1, 2)] == [14**2, 16**2]
