"""A map of bone to bodies: connected components, split where they touch and where one channel gives way to the next."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from scipy import ndimage

Numbered = Int32[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class BodyConfig:
    """Sizes are shares of a typical body's area, distances of its side."""

    erode_share: float = 0.12
    """How far bodies are eroded to split those that touch."""
    smallest_share: float = 0.25
    """Components below this share of the median area are no body."""
    most_bodies: int = 16
    """Only the largest count, which bounds the time that a map full of speckles takes."""
    off_spine: float = 1.1
    """Largest distance of a body from the curve through the others, unless its name is plain."""
    plain_name: float = 0.9
    """Least share of a body on which one channel is the strongest, and on no other body, for its name to be plain."""
    merged_size: float = 1.35
    """A body larger than this share of a typical one is split where its strongest channel changes."""
    cut_size: float = 0.3
    """Least share of a typical body that each of its parts must have."""


def components(mask: Bool[np.ndarray, "rows columns"]) -> Numbered:
    """Number the connected components from 1; 0 elsewhere."""
    numbered = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=numbered)
    return numbered


def typical_area(areas: Int[np.ndarray, "component"]) -> float:
    """Median area, specks left out."""
    return float(np.median(_no_specks(areas)))


def _no_specks(areas: Int[np.ndarray, "component"]) -> Int[np.ndarray, "large"]:
    """The areas of at least a fifth of the largest."""
    return areas[areas >= areas.max() * 0.2]


def _split(pieces: Numbered, cores: Numbered) -> Numbered:
    """Give each pixel to the nearest core within its own component; a component without a core is no bone."""
    bodies = np.zeros_like(pieces)
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        here = pieces[box] == number
        own = np.where(here, cores[box], 0)
        if own.any():
            nearest = ndimage.distance_transform_edt(own == 0, return_distances=False, return_indices=True)
            bodies[box][here] = own[tuple(np.asarray(nearest))][here]
    return bodies


def _split_merged(bodies: Numbered, strongest: Int[np.ndarray, "rows columns"], config: BodyConfig) -> Numbered:
    """Split bodies that are merged across a disc, where one channel gives way to the next."""
    areas = np.bincount(bodies.ravel())[1:]
    small = float(np.quantile(_no_specks(areas), 0.25))  # merged bodies are large and raise the median
    seeds = bodies.copy()
    for body in np.flatnonzero(areas > config.merged_size * small) + 1:
        inside = bodies == body
        of_channels = [components(inside & (strongest == level)) for level in np.unique(strongest[inside])]
        large = [found == n for found in of_channels for n in _larger_than(config.cut_size * small, found)]
        if len(large) > 1:
            seeds[inside] = 0
            for part in large:
                seeds[part] = seeds.max() + 1
    return _split(bodies, seeds)


def _larger_than(area: float, numbered: Numbered) -> Int[np.ndarray, "component"]:
    """Numbers of the components of at least that area."""
    return np.flatnonzero(np.bincount(numbered.ravel())[1:] >= area) + 1


def _on_curve(centres: Float[np.ndarray, "body rc=2"], farthest: float) -> Bool[np.ndarray, "body"]:
    """Which bodies lie on one curve.

    As long as some body lies farther than `farthest` from the parabola (column against row) through the others, the one
    without which the others fit best is left out. Fewer than five bodies define no curve, and all are kept.
    """
    kept = np.ones(len(centres), bool)
    while kept.sum() >= 5:
        candidates = np.flatnonzero(kept).tolist()
        fits = [_distance_and_rms(centres, np.delete(candidates, k), body) for k, body in enumerate(candidates)]
        worst = min(range(len(fits)), key=lambda k: fits[k][1])
        if fits[worst][0] <= farthest:
            break
        kept[candidates[worst]] = False
    return kept


def _distance_and_rms(centres: Float[np.ndarray, "body rc=2"], rest: np.ndarray, body: int) -> tuple[float, float]:
    """A body's distance from the parabola through the rest, and the root mean square of the rest's."""
    degree = min(2, len(np.unique(centres[rest, 0].round(6))) - 1)  # two rows define no parabola
    curve = np.polynomial.Polynomial.fit(centres[rest, 0], centres[rest, 1], degree)
    residuals = centres[:, 1] - curve(centres[:, 0])
    return abs(float(residuals[body])), float(np.sqrt(np.mean(residuals[rest] ** 2)))


def find_bodies(
    bone: Float32[np.ndarray, "rows columns"],
    strongest: Int[np.ndarray, "rows columns"],
    config: BodyConfig = BodyConfig(),
) -> tuple[Numbered, int]:
    """Label the bodies in a map of bone probability, 1..n from the top row down; 0 elsewhere.

    strongest: the channel with the highest probability at each pixel. n is at most `BodyConfig.most_bodies`.
    """
    solid = np.asarray(ndimage.binary_fill_holes(bone > 0.5))
    pieces = components(solid)
    if not solid.any():
        return pieces, 0
    side = float(np.sqrt(typical_area(np.bincount(pieces.ravel())[1:])))
    depth = cv2.distanceTransform(np.pad(solid, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    bodies = _split(pieces, components(depth > config.erode_share * side))
    if not bodies.any():
        return bodies, 0
    bodies = _split_merged(bodies, strongest, config)
    order = _spinal(bodies, strongest, config.off_spine * side, config)
    renumbered = np.zeros(bodies.max() + 1, np.int32)
    renumbered[order] = np.arange(1, len(order) + 1)
    return renumbered[bodies], len(order)


def _spinal(
    bodies: Numbered, strongest: Int[np.ndarray, "rows columns"], farthest: float, config: BodyConfig
) -> Int[np.ndarray, "body"]:
    """Numbers of the bodies that are large enough and lie on the spine, from the top row down.

    Off the curve through the others lies a body that has slipped, and what is no body; its name tells them apart.
    """
    areas = np.bincount(bodies.ravel())[1:]
    kept = np.flatnonzero(areas >= config.smallest_share * typical_area(areas)) + 1
    kept = kept[np.argsort(-areas[kept - 1], kind="stable")][: config.most_bodies]
    centres = np.array(ndimage.center_of_mass(np.ones_like(bodies), bodies, kept))
    on_spine = _on_curve(centres, farthest)
    if not on_spine.all():
        on_spine |= _plainly_named(bodies, strongest, kept, on_spine, config.plain_name)
    return kept[on_spine][np.argsort(centres[on_spine, 0])]


def _plainly_named(
    bodies: Numbered,
    strongest: Int[np.ndarray, "rows columns"],
    kept: Int[np.ndarray, "body"],
    on_spine: Bool[np.ndarray, "body"],
    least_share: float,
) -> Bool[np.ndarray, "body"]:
    """Which bodies off the spine bear the name of no other, on nearly all of their area."""
    found = [np.bincount(strongest[bodies == body]) for body in kept]
    names = np.array([counts.argmax() for counts in found])
    plain = np.array([counts.max() >= least_share * counts.sum() for counts in found])
    return ~on_spine & plain & (np.bincount(names)[names] == 1)
