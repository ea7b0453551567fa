"""augment: masks go where the image goes, and L1 stays the first channel and the uppermost."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from spineseg.data.augment import AugmentConfig, augment, random_matrix
from spineseg.inference.grid import normalise, warp
from spineseg.model.config import GridConfig

ROWS, COLUMNS = 128, 96
NONE = AugmentConfig.none()
FLIP = replace(NONE, flip_probability=1.0)
MOVES = replace(
    NONE,
    **{
        name: getattr(AugmentConfig(), name) for name in ("flip_probability", "rotate_deg", "scale", "stretch", "shear")
    },
    shift=AugmentConfig().shift,
    cut_probability=0.5,
)
"""All that moves or cuts, nothing that changes a value."""
SEEDS = range(300)
RANGES = [field.name for field in fields(AugmentConfig)]


@pytest.fixture(scope="module")
def fractions() -> np.ndarray:
    """Six bodies of a lordotic spine; read-only, as the cache's are."""
    masks = np.zeros((6, ROWS, COLUMNS), np.uint8)
    for k, (column, turn_deg) in enumerate(zip((50, 47, 45, 46, 49, 54), (-14, -6, 2, 9, 20, 38), strict=True)):
        box = cv2.boxPoints(((column, 22.0 + 16 * k), (18, 11), turn_deg))
        cv2.fillPoly(masks[k], [box.round().astype(np.int32)], (1,))
    result = masks.astype(np.float32)
    result.setflags(write=False)
    return result


@pytest.fixture(scope="module")
def image(fractions: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)
    result = (0.2 + 0.5 * fractions.max(0) + 0.2 * noise).astype(np.float32)
    result.setflags(write=False)
    return result


@pytest.fixture(scope="module")
def inside() -> np.ndarray:
    result = np.ones((ROWS, COLUMNS), bool)
    result.setflags(write=False)
    return result


def centroids(channels: np.ndarray) -> dict[int, np.ndarray]:
    """(column, row), pixel edges at whole numbers, of each channel that is there."""
    rows, columns = np.indices(channels.shape[1:]) + 0.5
    weights = {k: c for k, c in enumerate(channels) if c.sum() > 5}
    return {k: np.array([(columns * c).sum(), (rows * c).sum()]) / c.sum() for k, c in weights.items()}


def in_order(channels: np.ndarray) -> bool:
    """Whether each channel that is there lies below the one before it."""
    heights = [row for _, row in centroids(channels).values()]
    return all(upper < lower for upper, lower in pairwise(heights))


def test_the_identity_changes_nothing(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    assert all(getattr(NONE, name) == 0 for name in RANGES)
    for seed in range(5):
        changed, moved, where = augment(image, fractions, inside, np.random.default_rng(seed), NONE)
        assert np.allclose(changed, image, atol=1e-6)
        assert np.array_equal(moved, fractions)
        assert where.all()


def test_a_flip_is_left_to_right_and_moves_no_channel(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    changed, moved, _ = augment(image, fractions, inside, np.random.default_rng(0), FLIP)
    assert np.allclose(changed, image[:, ::-1], atol=1e-6)
    assert np.array_equal(moved, fractions[:, :, ::-1])


def test_flipping_twice_is_no_flip(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    once = augment(image, fractions, inside, np.random.default_rng(0), FLIP)
    twice = augment(*once, np.random.default_rng(1), FLIP)
    assert np.allclose(twice[0], image, atol=1e-6)
    assert np.array_equal(twice[1], fractions)


def test_half_of_the_films_are_flipped():
    config = replace(NONE, flip_probability=0.5)
    flipped = [random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), config)[0, 0] < 0 for seed in SEEDS]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.1)


def test_nothing_is_turned_upside_down():
    matrices = [random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), AugmentConfig()) for seed in range(2000)]
    assert min(matrix[1, 1] for matrix in matrices) > 0


def test_masks_move_with_the_image(fractions: np.ndarray, inside: np.ndarray):
    """Each mask as the image comes out as that mask."""
    for seed in range(40):
        for k in (0, 3, 5):
            changed, moved, _ = augment(fractions[k], fractions, inside, np.random.default_rng(seed), MOVES)
            assert np.allclose(changed, moved[k], atol=1e-5)


def test_every_channel_goes_where_the_matrix_takes_it(fractions: np.ndarray, inside: np.ndarray):
    """So no channel becomes another one, whatever its height."""
    config = replace(MOVES, cut_probability=0.0)
    start = centroids(fractions)
    seen = 0
    for seed in range(100):
        matrix = random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), config)
        _, moved, _ = augment(fractions[0], fractions, inside, np.random.default_rng(seed), config)
        framed = [channel[[0, -1]].any() or channel[:, [0, -1]].any() for channel in moved]
        for k, centre in centroids(moved).items():
            if not framed[k]:
                assert centre == pytest.approx(matrix[:, :2] @ start[k] + matrix[:, 2], abs=0.3)
                seen += 1
    assert seen > 400


@pytest.mark.parametrize("stride", [1, 2])
def test_order_from_head_to_tail_is_kept(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray, stride: int):
    whole = 0
    for seed in SEEDS:
        _, moved, _ = augment(image, fractions, inside, np.random.default_rng(seed), AugmentConfig(), stride)
        assert in_order(moved)
        whole += len(centroids(moved)) == 6
    assert whole > len(SEEDS) / 2


@pytest.mark.parametrize("config", [NONE, FLIP])
def test_stride_2_is_the_mean_of_four(
    image: np.ndarray, fractions: np.ndarray, inside: np.ndarray, config: AugmentConfig
):
    _, full, _ = augment(image, fractions, inside, np.random.default_rng(0), config)
    _, half, _ = augment(image, fractions, inside, np.random.default_rng(0), config, stride=2)
    assert half.shape == (6, ROWS // 2, COLUMNS // 2)
    assert np.allclose(half, full.reshape(6, ROWS // 2, 2, COLUMNS // 2, 2).mean((2, 4)), atol=1e-5)


def test_stride_2_moves_nothing(fractions: np.ndarray):
    differences = []
    for seed in range(40):
        matrix = random_matrix(np.random.default_rng(seed), (ROWS, COLUMNS), replace(MOVES, scale=0.0, shift=0.0))
        full = centroids(np.stack([warp(f, matrix) for f in fractions[1:5]]))
        half = centroids(np.stack([warp(f, matrix, 2) for f in fractions[1:5]]))
        for k, centre in full.items():
            differences.append(2 * half[k] - centre)
    assert np.abs(differences).max() < 0.45, "half a pixel of the smaller grid would be 1"
    assert np.abs(np.mean(differences, 0)).max() < 0.05


def test_whole_shifts_are_exact(image: np.ndarray):
    moved = warp(image, np.array([[1.0, 0, 5], [0, 1, -3]]))
    assert np.allclose(moved[:-3, 5:], image[3:, :-5], atol=1e-6)
    assert not moved[-3:].any()
    assert not moved[:, :5].any()


def test_fractions_stay_within_0_and_1_and_images_finite(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    for seed in SEEDS:
        changed, moved, where = augment(image, fractions, inside, np.random.default_rng(seed), AugmentConfig())
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert np.isfinite(changed).all()
        assert not changed[~where].any()
        channels = normalise(changed, where, GridConfig(rows=ROWS, columns=COLUMNS))
        assert np.abs(channels[0]).max() <= 1


def test_a_cut_takes_image_and_masks_alike(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    config = replace(NONE, cut_probability=1.0)
    bands = set()
    for seed in range(40):
        changed, moved, where = augment(image, fractions, inside, np.random.default_rng(seed), config)
        assert not moved[:, ~where].any()
        assert np.array_equal(moved[:, where], fractions[:, where])
        assert np.allclose(changed[where], image[where], atol=1e-6)
        assert 0.68 < where.mean() < 1
        bands |= {
            side
            for side, line in zip("tblr", (where[0], where[-1], where[:, 0], where[:, -1]), strict=True)
            if not line.any()
        }
    assert bands == set("tblr")


@pytest.mark.parametrize("stride", [1, 2])
def test_the_same_generator_gives_the_same_film(
    image: np.ndarray, fractions: np.ndarray, inside: np.ndarray, stride: int
):
    first, again, other = (
        augment(image, fractions, inside, np.random.default_rng(seed), AugmentConfig(), stride) for seed in (7, 7, 8)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("field", RANGES)
def test_every_range_does_something(field: str, image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    config = replace(NONE, **{field: max(getattr(AugmentConfig(), field), 0.9 * field.endswith("probability"))})
    changed = [augment(image, fractions, inside, np.random.default_rng(seed), config)[0] for seed in range(5)]
    assert any(not np.allclose(film, image, atol=1e-3) for film in changed)


def test_an_inversion_turns_dark_to_bright(image: np.ndarray, fractions: np.ndarray, inside: np.ndarray):
    changed, moved, _ = augment(
        image, fractions, inside, np.random.default_rng(0), replace(NONE, invert_probability=1.0)
    )
    assert np.corrcoef(changed.ravel(), image.ravel())[0, 1] == pytest.approx(-1, abs=1e-5)
    assert np.array_equal(moved, fractions)
