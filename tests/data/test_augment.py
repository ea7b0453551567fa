"""augment: masks go where the image goes, and L1 stays the first channel and the uppermost."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from spineseg.data.augment import AugmentConfig, augment, random_matrix
from spineseg.inference.grid import normalise
from spineseg.model.config import GridConfig

ROWS, COLUMNS = 128, 96
DEFAULT, NONE = AugmentConfig(), AugmentConfig.none()
FLIP = replace(NONE, flip_probability=1.0)
MOVES = ("flip_probability", "rotate_deg", "scale", "stretch", "shear", "shift")
MOVED = replace(NONE, **{name: getattr(DEFAULT, name) for name in MOVES})
"""All that moves, nothing that changes a value."""
SEEDS = range(300)
RANGES = [field.name for field in fields(AugmentConfig)]


def bodies() -> np.ndarray:
    """Six bodies of a lordotic spine."""
    masks = np.zeros((6, ROWS, COLUMNS), np.uint8)
    for k, (column, turn_deg) in enumerate(zip((50, 47, 45, 46, 49, 54), (-14, -6, 2, 9, 20, 38), strict=True)):
        box = cv2.boxPoints(((column, 22.0 + 16 * k), (18, 11), turn_deg))
        cv2.fillPoly(masks[k], [box.round().astype(np.int32)], (1,))
    return masks.astype(np.float32)


FRACTIONS, INSIDE = bodies(), np.ones((ROWS, COLUMNS), bool)
NOISE = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)
IMAGE = (0.2 + 0.5 * FRACTIONS.max(0) + 0.2 * NOISE).astype(np.float32)
for _array in (FRACTIONS, INSIDE, IMAGE):  # as the cache's are
    _array.setflags(write=False)


def changed(
    config: AugmentConfig, seed: int = 0, *, image: np.ndarray = IMAGE, stride: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, the fractions and where the film is, after augmentation."""
    return augment(image, FRACTIONS, INSIDE, np.random.default_rng(seed), config, stride)


def centroids(channels: np.ndarray) -> dict[int, np.ndarray]:
    """(column, row), pixel edges at whole numbers, of each channel that is there."""
    rows, columns = np.indices(channels.shape[1:]) + 0.5
    weights = {k: c for k, c in enumerate(channels) if c.sum() > 5}
    return {k: np.array([(columns * c).sum(), (rows * c).sum()]) / c.sum() for k, c in weights.items()}


@pytest.mark.parametrize(("config", "columns"), [(NONE, np.s_[::1]), (FLIP, np.s_[::-1])], ids=["none", "flip"])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_changes_nothing_and_a_flip_is_left_to_right(config: AugmentConfig, columns: slice, seed: int):
    image, moved, where = changed(config, seed)
    assert np.allclose(image, IMAGE[:, columns], atol=1e-6)
    assert np.array_equal(moved, FRACTIONS[:, :, columns]) and where.all()


def test_half_of_the_films_are_flipped():
    config = replace(NONE, flip_probability=0.5)
    flipped = [random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), config)[0, 0] < 0 for seed in SEEDS]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.1)


def test_masks_move_with_the_image():
    """Each mask as the image comes out as that mask."""
    for seed in range(40):
        for k in (0, 3, 5):
            image, moved, _ = changed(replace(MOVED, cut_probability=0.5), seed, image=FRACTIONS[k])
            assert np.allclose(image, moved[k], atol=1e-5)


def test_every_channel_goes_where_the_matrix_takes_it():
    """So no channel becomes another one, whatever its height."""
    start, seen = centroids(FRACTIONS), 0
    for seed in range(100):
        matrix = random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), MOVED)
        _, moved, _ = changed(MOVED, seed)
        framed = [channel[[0, -1]].any() or channel[:, [0, -1]].any() for channel in moved]
        for k, centre in centroids(moved).items():
            if not framed[k]:
                assert centre == pytest.approx(matrix[:, :2] @ start[k] + matrix[:, 2], abs=0.3)
                seen += 1
    assert seen > 400


@pytest.mark.parametrize("stride", [1, 2])
def test_order_from_head_to_tail_is_kept(stride: int):
    whole = 0
    for seed in SEEDS:
        heights = [row for _, row in centroids(changed(DEFAULT, seed, stride=stride)[1]).values()]
        assert all(upper < lower for upper, lower in pairwise(heights))
        whole += len(heights) == 6
    assert whole > len(SEEDS) / 2


@pytest.mark.parametrize("config", [NONE, FLIP])
def test_stride_2_is_the_mean_of_four(config: AugmentConfig):
    full, half = (changed(config, stride=stride)[1] for stride in (1, 2))
    assert half.shape == (6, ROWS // 2, COLUMNS // 2)
    assert np.allclose(half, full.reshape(6, ROWS // 2, 2, COLUMNS // 2, 2).mean((2, 4)), atol=1e-5)


def test_fractions_stay_within_0_and_1_and_images_finite():
    for seed in SEEDS:
        image, moved, where = changed(DEFAULT, seed)
        assert moved.min() >= 0 and moved.max() <= 1
        assert np.isfinite(image).all() and not image[~where].any()
        assert np.abs(normalise(image, where, GridConfig(rows=ROWS, columns=COLUMNS))[0]).max() <= 1


def test_a_cut_takes_image_and_masks_alike():
    bands = set()
    for seed in range(40):
        image, moved, where = changed(replace(NONE, cut_probability=1.0), seed)
        assert not moved[:, ~where].any() and np.array_equal(moved[:, where], FRACTIONS[:, where])
        assert np.allclose(image[where], IMAGE[where], atol=1e-6) and 0.68 < where.mean() < 1
        sides = zip("tblr", (where[0], where[-1], where[:, 0], where[:, -1]), strict=True)
        bands |= {side for side, line in sides if not line.any()}
    assert bands == set("tblr")


@pytest.mark.parametrize("field", RANGES)
def test_every_range_does_something(field: str):
    assert getattr(NONE, field) == 0
    config = replace(NONE, **{field: max(getattr(DEFAULT, field), 0.9 * field.endswith("probability"))})
    assert any(not np.allclose(changed(config, seed)[0], IMAGE, atol=1e-3) for seed in range(5))


def test_an_inversion_turns_dark_to_bright():
    image, moved, _ = changed(replace(NONE, invert_probability=1.0))
    assert np.corrcoef(image.ravel(), IMAGE.ravel())[0, 1] == pytest.approx(-1, abs=1e-5)
    assert np.array_equal(moved, FRACTIONS)
