"""How uncertain the sides of a body are, and random samples of the bodies within that (Monte Carlo)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from spineseg.exposed_field import Box
from spineseg.film import VERTEBRAE
from spineseg.inference.corners import Body, intersection, steepness
from spineseg.inference.grid import GridFit
from spineseg.measure.spine import Spine

_SAMPLES = 400
Samples = Float[np.ndarray, "sample"]
Vectors = Float[np.ndarray, "*any rc=2"]


@dataclass(frozen=True, eq=False)
class BoneMap:
    """A network's probability of bone on its grid, and where the film lies on it; its soft edges tell the errors.

    visible: rows and columns of the film that show anything (`visible_field.visible_field`); all of them if not given.
    """

    bone: Float32[np.ndarray, "grid_rows grid_columns"]
    fit: GridFit
    visible: Box | None = None

    def probability(self, points: Vectors) -> Float[np.ndarray, "*any"]:
        """Of bone, 0..1, at points of the film, (row, column), pixel centres at whole numbers."""
        return self._at(points, self.bone)

    def sharpness(self, points: Vectors) -> Float[np.ndarray, "*any"]:
        """How steeply the probability changes at points of the film, per grid pixel."""
        return self._at(points, self._steepness)

    @cached_property
    def _steepness(self) -> Float32[np.ndarray, "grid_rows grid_columns"]:
        return steepness(self.bone)

    def _at(self, points: Vectors, values: Float32[np.ndarray, "grid_rows grid_columns"]) -> Float[np.ndarray, "*any"]:
        row, column = self.fit.grid_row(points[..., 0] + 0.5), self.fit.grid_column(points[..., 1] + 0.5)
        return ndimage.map_coordinates(values, [row - 0.5, column - 0.5], order=1, mode="nearest")


# Errors

_OUTLINE_FREEDOM = 4.0
"""Independent stretches of a side, for an outline whose neighbouring pixels err alike."""


def side_errors(body: Body, row_to_column: float, bone_map: BoneMap | None) -> Float[np.ndarray, "side=4 kind=2"]:
    """Standard deviation of each side's place, and of how far its ends are off by tilt; in column widths."""
    if bone_map is None:
        place = np.maximum(body.ragged_px, 0.3) / np.sqrt(_OUTLINE_FREEDOM)
        return np.stack([place, np.sqrt(3) * place], 1)
    soft, size = edge_widths(body, row_to_column, bone_map), _size(body)
    return np.hypot(np.multiply.outer(soft, _SOFT), np.multiply(size, _LEAST))


_SOFT = (0.87, 0.64)
"""Deviation of a side's place and tilt over that of its soft edge, so that 95 % of the sides of simulated films
lie within 1.96 deviations of the truth (docs/background/accuracy.md)."""
_LEAST = (0.005, 0.003)
"""What is added, over the body's size, where the edge is sharp."""
_UNSEEN = 0.15
"""Deviation of a side that no edge shows, over the body's size: the usual gap between two bodies."""


def _size(body: Body) -> float:
    """Mean length of a body's sides."""
    return float(np.linalg.norm(np.roll(body.corners, -1, 0) - body.corners, axis=1).mean())


def edge_widths(body: Body, row_to_column: float, bone_map: BoneMap) -> Float[np.ndarray, "side=4"]:
    """How soft the probability's edge is at each side: the deviation of a logistic edge of that softness.

    The integral of p (1 - p) across a logistic edge is its scale, pi / sqrt(3) of which is its deviation. Where the
    probability does not fall across a side, no edge tells where it lies: as far as it lacks of falling by one half,
    `_UNSEEN` of the body's size is added.
    """
    along = np.roll(body.corners, -1, 0) - body.corners
    outward = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    outward *= np.sign(((body.corners + along / 2 - body.corners.mean(0)) * outward).sum(1, keepdims=True))
    place = np.linspace(0.15, 0.85, 15)[:, None, None]
    across, step = np.linspace(-0.2, 0.2, 41, retstep=True)
    size = _size(body)
    points = (body.corners + place * along)[:, :, None] + across[:, None] * size * outward[:, None]
    p = bone_map.probability(points / [row_to_column, 1.0])
    soft = (p * (1 - p)).sum(-1).mean(0) * step * size
    fall = p[..., across < 0].max(-1) - p[..., across > 0].min(-1)
    unseen = np.clip(1 - 2 * fall, 0, 1).mean(0)
    return np.pi / np.sqrt(3) * soft + _UNSEEN * size * unseen


@dataclass(frozen=True, eq=False)
class SampledBodies:
    """Corners and endplate middles with the front on the left; the first sample is as measured, NaN where left out."""

    corners: Float[np.ndarray, "sample vertebra corner=4 rc=2"]
    middles: Float[np.ndarray, "sample vertebra endplate=2 rc=2"]

    def upper(self, name: str) -> Vectors:
        """Along the upper endplate, from front to back."""
        ca, cp, _, _ = self.of(name)
        return cp - ca

    def lower(self, name: str) -> Vectors:
        """Along the lower endplate, from front to back."""
        _, _, lp, la = self.of(name)
        return lp - la

    def of(self, name: str) -> tuple[Vectors, Vectors, Vectors, Vectors]:
        """The four corners: cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior."""
        ca, cp, lp, la = np.moveaxis(self.corners[:, VERTEBRAE.index(name)], 1, 0)
        return ca, cp, lp, la


def sample_bodies(spine: Spine, errors: Float[np.ndarray, "vertebra side=4 kind=2"] | None) -> SampledBodies:
    """Each side moved and tilted at random (the same numbers every time); corners are where neighbours meet anew.

    Without errors only the first sample.
    """
    corners = np.full((len(VERTEBRAE), 4, 2), np.nan)
    middles = np.full((len(VERTEBRAE), 2, 2), np.nan)
    for name, body in spine.bodies.items():
        corners[VERTEBRAE.index(name)], middles[VERTEBRAE.index(name)] = body.corners, body.middles
    if spine.facing == "right":
        corners, middles = corners * [1, -1], middles * [1, -1]
    if errors is None:
        return SampledBodies(corners[None], middles[None])
    half = (np.roll(corners, -1, 1) - corners) / 2
    outward = np.stack([-half[..., 1], half[..., 0]], -1) / length(half)[..., None]
    move = np.random.default_rng(0).normal(size=(_SAMPLES + 1, *errors.shape)) * errors
    move[0] = 0
    start = corners + half + move[..., :1] * outward
    along = half + move[..., 1:] * outward
    shifted = intersection(np.roll(start, 1, 2), np.roll(along, 1, 2), start, along)
    return SampledBodies(shifted, middles + (move[..., :1] * outward)[:, :, [0, 2]])


def length(vectors: np.ndarray) -> np.ndarray:
    """Of vectors (..., 2)."""
    return np.linalg.norm(vectors, axis=-1)
