"""Random changes of a film on the grid. Masks move with the image; channels are never reordered.

Turning left to right changes no level, so L1 stays channel 0: what breaks a network is reversing axis 0 of
(channel, row, column) masks, as `np.flipud` does. Nothing here does so or turns a film upside down.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from spineseg.data.config import AugmentConfig
from spineseg.inference.grid import Image, Matrix, about_middle, warp

Fractions = Float32[np.ndarray, "vertebra rows columns"]
StridedTargets = Float32[np.ndarray, "channel strided_rows strided_columns"]
StridedFractions = Float32[np.ndarray, "vertebra strided_rows strided_columns"]
Inside = Bool[np.ndarray, "rows columns"]
Transform = Callable[[Image, StridedTargets, Inside, np.random.Generator], tuple[Image, StridedTargets, Inside]]
"""A change of your own for each training film, after `augment` and before normalisation: of its image (about 0..1), its
targets (0..1) and where the film lies. The generator follows from the seed, the epoch and the film."""


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], config: AugmentConfig) -> Matrix:
    """Affine map from source (column, row) to target, pixel edges at whole numbers, about the middle of the grid."""
    rows, columns = shape
    turn = np.deg2rad(rng.normal(0, config.rotate_deg))
    size = np.exp(rng.normal(0, config.scale))
    aspect = np.exp(rng.normal(0, config.stretch))
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear @ np.array([[aspect, rng.normal(0, config.shear)], [0.0, 1 / aspect]])
    if rng.random() < config.flip_probability:
        linear = linear @ np.diag([-1.0, 1.0])
    return about_middle(linear, shape, rng.normal(0, config.shift, 2) * [columns, rows])


def _cut(inside: Inside, rng: np.random.Generator) -> Inside:
    """Blank a band of up to three tenths along one side."""
    rows, columns = inside.shape
    kept = inside.copy()
    side, share = rng.integers(4), rng.uniform(0.02, 0.3)
    if side == 0:
        kept[: int(share * rows)] = False
    elif side == 1:
        kept[rows - int(share * rows) :] = False
    elif side == 2:
        kept[:, : int(share * columns)] = False
    else:
        kept[:, columns - int(share * columns) :] = False
    return kept


def change_intensity(image: Image, rng: np.random.Generator, config: AugmentConfig) -> Image:
    """Exposure, processing and artefacts at random; image 0..1, out somewhat beyond (`normalise` sets the range)."""
    rows, columns = image.shape
    image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, config.gamma)))
    field = rng.normal(0, config.bias, (4, 3)).astype(np.float32)
    image = image * np.exp(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC))
    if rng.random() < config.clip_probability:
        low, high = np.quantile(image[::9, ::9], [rng.uniform(0, 0.3), rng.uniform(0.85, 1.0)])
        image = np.clip(image, low, max(high, low + 0.05))
    if rng.random() < config.blur_probability:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < config.sharpen_probability:
        image = image + rng.uniform(0.3, 2.0) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 6)))
    noise = rng.standard_normal((rows, columns), dtype=np.float32) * rng.uniform(0, config.noise)
    if config.noise and rng.random() < 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.5)) * 2
    image = image + noise
    if rng.random() < config.box_probability:
        for _ in range(rng.integers(1, 4)):
            height, width = rng.integers(6, rows // 7), rng.integers(6, columns // 6)
            top, left = rng.integers(0, rows - height), rng.integers(0, columns - width)
            image[top : top + height, left : left + width] = rng.uniform(0, 1)
    if rng.random() < config.invert_probability:
        image = image.max() - image
    return image.astype(np.float32)


def augment(
    image: Image, fractions: Fractions, inside: Inside, rng: np.random.Generator, config: AugmentConfig, stride: int = 1
) -> tuple[Image, StridedFractions, Inside]:
    """Change one film on the grid: image, area fractions on the grid divided by `stride`, where the film lies.

    image: 0..1 on entry; see `change_intensity` for what comes back. fractions: 0..1 on the whole grid.
    """
    matrix = random_matrix(rng, image.shape, config)
    image, inside = warp(image, matrix), warp(inside.astype(np.float32), matrix) > 0.5
    moved = np.stack([warp(f, matrix, stride) for f in fractions])
    if rng.random() < config.cut_probability:
        inside = _cut(inside, rng)
        kept = cv2.resize(inside.astype(np.float32), moved.shape[:0:-1], interpolation=cv2.INTER_AREA)
        moved *= kept
    image = change_intensity(image, rng, config)
    image[~inside] = 0
    return image, np.clip(moved, 0, 1), inside
