"""sacrum: S1 whole where the film shows it, completed where it is covered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spineseg.film import VERTEBRAE
from spineseg.inference import sacrum
from spineseg.inference.grid import film_to_grid, masks_to_grid
from spineseg.inference.sacrum import coverage, fit_sacrum
from spineseg.model.config import GridConfig
from spineseg.simulate import SickConfig, SimulateConfig, simulate_case
from spineseg.simulate.shape import ShapeConfig, sample_spine

ORDINARY = SimulateConfig(rows=512, crop_probability=0.0, sick=SickConfig(share=0.0))
SEEDS = (1, 2, 3, 4)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def bodies(seed: int) -> np.ndarray:
    """True masks on the grid, (vertebra, rows, columns)."""
    case = simulate_case(seed, 0, ORDINARY)
    return masks_to_grid(case.masks, film_to_grid(case.film, GridConfig())[1]) > 0.5


def fitted(masks: np.ndarray, bone: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """S1 within its corners; the mask itself where there are none."""
    shown = np.ones(bone.shape, bool) if seen is None else seen
    corners = fit_sacrum(bone.astype(np.float32), masks[5], list(masks[4:1:-1]), shown)
    return masks[5] if corners is None else coverage(corners, bone.shape) > 0.5


def test_the_statistics_are_those_of_the_simulated_spines():
    places, sizes = [], []
    for seed in range(600):
        lumbar = sample_spine(np.random.default_rng(seed), ShapeConfig()).lumbar
        s1, length = lumbar[5], np.linalg.norm(lumbar[5, 1] - lumbar[5, 0])
        posterior = (s1[1] - s1[0]) / length
        caudal = np.array([-posterior[1], posterior[0]])
        places.append(((s1[2:] - s1[:2].mean(0)) @ np.stack([posterior, caudal]).T / length).ravel())
        x, y = np.moveaxis(lumbar[4:1:-1], -1, 0)
        areas = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
        sizes.append(np.log(length / np.sqrt(areas)))
    assert VERTEBRAE[4:1:-1] == ("L5", "L4", "L3")
    assert np.mean(places, 0) == pytest.approx(sacrum._SHAPE, abs=0.015)
    assert np.std(places, 0) * np.sqrt(1.5) == pytest.approx(sacrum._DEVIATION, rel=0.1)
    assert np.corrcoef(np.transpose(places)) == pytest.approx(sacrum._CORRELATION, abs=0.08)
    assert np.mean(sizes, 0) == pytest.approx(np.array(sacrum._SIZES)[:, 0], abs=0.015)
    assert np.std(sizes, 0) == pytest.approx(np.array(sacrum._SIZES)[:, 1], abs=0.01)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_s1_that_is_seen_whole_stays_as_it_is(seed: int, mirrored: bool):
    masks = bodies(seed)[..., ::-1] if mirrored else bodies(seed)
    assert overlap(fitted(masks, ndimage.gaussian_filter(masks[5] * 1.0, 1)), masks[5]) > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_covered_part_is_completed(seed: int):
    masks = bodies(seed)
    true = masks[5].copy()
    depth = np.asarray(ndimage.distance_transform_edt(~masks[4]))  # from L5: the caudal part of S1 is far from it
    faint = true & (depth > np.quantile(depth[true], 0.65))
    bone = np.where(faint, 0.2, true * 1.0)
    masks[5] = bone > 0.5
    assert overlap(fitted(masks, bone), true) > overlap(masks[5], true) + 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spur_is_not_drawn(seed: int):
    masks = bodies(seed)
    row, column = np.argwhere(masks[5]).mean(0).astype(int)
    last = np.nonzero(masks[5].any(0))[0][-1]
    masks[5, row - 2 : row + 3, column : last + 12] = True
    assert not fitted(masks, masks[5] * 1.0)[:, last + 8 :].any()


def test_what_lies_off_the_visible_field_is_no_evidence():
    masks = bodies(1)
    true, rows = masks[5].copy(), np.nonzero(masks[5].any(1))[0]
    seen = np.ones(true.shape, bool)
    seen[int(rows.mean()) :] = False
    masks[5] &= seen
    assert overlap(fitted(masks, masks[5] * 1.0, seen), true) > 0.75


def test_a_shape_that_is_no_sacrum_stays():
    masks = bodies(1)
    row, column = np.argwhere(masks[5]).mean(0).astype(int)
    masks[5] = False
    masks[5, row : row + 3, column - 60 : column + 60] = True
    assert fit_sacrum(masks[5].astype(np.float32), masks[5], [masks[4]], np.ones(masks[5].shape, bool)) is None


def test_coverage_is_the_share_of_each_pixel():
    """To an eighth, which OpenCV fills on the outline itself."""
    square = np.array([(2.0, 1.5), (2.0, 4.0), (5.0, 4.0), (5.0, 1.5)])
    expected = np.zeros((7, 6))
    expected[2:5, 1] = 0.5
    expected[2:5, 2:4] = 1
    assert coverage(square, (7, 6)) == pytest.approx(expected, abs=0.13)
