"""Corners, endplates and walls of vertebral bodies from their masks, to a fraction of a pixel.

Each side of a body is a chord with a sag: a robust parabola through the middle of its contour. Neighbouring chords meet
in the corners, so rounded corners, ragged edges and osteophytes move them little, and a waist or a hollow endplate
does not pull them inwards as straight lines through the contour would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import least_squares

from spineseg.film import bounding_box
from spineseg.inference.masks import one_piece

Mask = Bool[np.ndarray, "rows columns"]
Points = Float[np.ndarray, "point rc=2"]
Corners = Float[np.ndarray, "corner=4 rc=2"]
"""Cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior; each (row, column)."""
SIDES = ("upper endplate", "posterior wall", "lower endplate", "anterior wall")
"""Side k runs from corner k to corner k + 1."""
_SMALLEST_SIDE_PX = 8.0
_ROUNDS = 12
_BAND = 0.15
"""How far from a side, as a share of the body's size, contour still counts as that side's."""
_DEEPEST = 2.5
"""The same inwards in the middle of a side, over that: an endplate may be sunk by a third of the height."""
_LEAST_OVERLAP = 0.75
"""Share of what a mask and its quadrilateral cover that both must."""
_LEVEL = 1.5
"""What endplates aslant to the spine cost: for 8 degrees, two deviations of a spine's, as much as 4 % of the area."""
_UNCLEAR = 0.1
"""Share that a mask and its best quadrilateral do not both cover, from which on that cost counts in full."""
_SHARPER = 4
"""Power of the sharpness that a point of the contour counts with; chosen on simulated films."""
_LEAST_SAG_PX = 0.8
"""A hollow shallower than this is the staircase of the pixels; a deeper one loses the less the deeper it is."""
_USUAL_SAG = 0.03
"""Deviation of hollows among bodies, as a share of the side: how far one that is seen unclearly is believed."""
_SAG_SEEN = 0.44
"""Share of a parabola's sag by which its middle lies deeper than its ends, in the zones of `_sag`."""
_SAG_NOISE = 2.0
"""Deviation of a sag so found over that of the contour."""
_ENDS = 0.08
"""Share of a side at either end that says nothing of it: corners are rounded, chipped or carry osteophytes."""
Sharpness = Callable[[Points], Float[np.ndarray, "point"]]
"""How steep the edge of a body is at points of its contour, in any unit; steeper parts of a side count for more."""


class NoBody(ValueError):
    """The mask is not shaped like a vertebral body; the message says why."""


@dataclass(frozen=True, eq=False)
class Body:
    """One vertebral body on the film: (row, column), pixel centres at whole numbers.

    middles: of the upper and of the lower endplate's contour. ragged_px: per side, the robust deviation of its contour
    from the fitted curve, in column widths.
    """

    corners: Corners
    middles: Float[np.ndarray, "endplate=2 rc=2"]
    ragged_px: Float[np.ndarray, "side=4"]


def contour(mask: Mask) -> Points:
    """Midpoints between each pixel of the mask and a neighbour outside it, (row, column), largest piece, holes filled.

    On a mask of the pixels whose centre lies within an outline, these lie on that outline in the mean.
    """
    box = bounding_box(mask)
    if not mask[box].size:
        return np.zeros((0, 2))
    top, left = box[0].start - 1, box[1].start - 1
    inside = np.pad(one_piece(mask[box]), 1)
    down, right = np.argwhere(inside[1:] != inside[:-1]), np.argwhere(inside[:, 1:] != inside[:, :-1])
    return np.concatenate([down + [0.5, 0.0], right + [0.0, 0.5]]) + [top, left]


@dataclass(frozen=True, eq=False)
class Pixels:
    """A coarse sample of a mask with a rim around it, in square pixels of a column's width."""

    places: Points
    inside: Bool[np.ndarray, "point"]


def _sampled(mask: Mask, row_to_column: float) -> Pixels:
    """Some thirty rows and columns over the mask's box and a fifth around it."""
    rows, columns = box = bounding_box(mask)
    whole = one_piece(mask[box])
    rim = [side // 5 + 1 for side in whole.shape]
    whole = np.pad(whole, [(r, r) for r in rim])
    steps = [max(side // 40, 1) for side in whole.shape]
    sampled = whole[:: steps[0], :: steps[1]]
    place = np.argwhere(np.ones_like(sampled)) * steps + [rows.start - rim[0], columns.start - rim[1]]
    return Pixels(place * [row_to_column, 1.0], sampled.ravel())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def meet(a: np.ndarray, a_along: np.ndarray, b: np.ndarray, b_along: np.ndarray) -> np.ndarray:
    """Where the lines through a and b meet; all (..., 2), parallel lines give infinities."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return a + a_along * (_cross(b - a, b_along) / _cross(a_along, b_along))[..., None]


def _first_corners(pixels: Pixels, down: Float[np.ndarray, "rc=2"]) -> Corners:
    """The quadrilateral that differs from the mask by the least area, first corner cranial and on the left of `down`.

    Spikes and bites count by their area alone. Least squares between the mask and a quadrilateral with soft edges,
    from the rectangle that spreads as the mask does.
    """
    inside = pixels.places[pixels.inside]
    centre, left = inside.mean(0), np.array([down[1], -down[0]])
    tall, deep = (np.sqrt(3 * ((inside - centre) @ axis).var()) for axis in (down, left))
    corners = centre + np.array([-tall * down + deep * left, -tall * down - deep * left])
    corners = np.concatenate([corners, 2 * centre - corners])
    level = _LEVEL * np.sqrt(len(inside)) / (4 * deep) * np.array([-down, down, down, -down]).ravel()
    free = _fitted(corners, pixels, 0.0 * level, float(np.sqrt(tall * deep)))
    unclear = min((1 - _overlap(free, pixels)) / _UNCLEAR, 1.0) ** 2
    return _fitted(corners, pixels, unclear * level, float(np.sqrt(tall * deep)))


def _fitted(corners: Corners, pixels: Pixels, level: Float[np.ndarray, "8"], size: float) -> Corners:
    """The quadrilateral of the least `_missed`, first with soft edges, then with sharper ones."""
    for soft in (0.1, 0.03):
        start, given = corners.ravel(), (pixels, soft * size, level)
        found = least_squares(_missed, start, _missed_slopes, args=given, method="lm", max_nfev=60)  # pyright: ignore[reportArgumentType]
        corners = found.x.reshape(4, 2)
    return corners


def _overlap(corners: Corners, pixels: Pixels) -> float:
    """Share of what a mask and a quadrilateral cover that both do."""
    covered = _depth_within(corners, pixels.places)[0] > 0
    both, either = np.count_nonzero(covered & pixels.inside), np.count_nonzero(covered | pixels.inside)
    return both / max(either, 1)


def _missed(
    corners: Float[np.ndarray, "8"], pixels: Pixels, width: float, level: Float[np.ndarray, "8"]
) -> Float[np.ndarray, "residual"]:
    """What a quadrilateral with edges of this softness lacks or has beyond the mask, at every pixel.

    Last, how far its endplates are from lying across the spine, which settles the matter for a body nearly round.
    """
    depth, _ = _depth_within(corners.reshape(4, 2), pixels.places)
    return np.append(0.5 + 0.5 * np.tanh(depth / width) - pixels.inside, level @ corners)


def _missed_slopes(
    corners: Float[np.ndarray, "8"], pixels: Pixels, width: float, level: Float[np.ndarray, "8"]
) -> Float[np.ndarray, "residual 8"]:
    """How `_missed` changes with each coordinate: a side moves with its two corners, each by its share."""
    quadrilateral = corners.reshape(4, 2)
    depth, side = _depth_within(quadrilateral, pixels.places)
    along = np.roll(quadrilateral, -1, 0) - quadrilateral
    length = np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    inward = np.stack([along[:, 1], -along[:, 0]], 1) / length
    share = ((pixels.places - quadrilateral[side]) * (along / length**2)[side]).sum(1)
    steep = -(0.5 / width) * (1 - np.tanh(depth / width) ** 2)[:, None] * inward[side]
    slopes, index = np.zeros((len(depth), 4, 2)), np.arange(len(depth))
    slopes[index, side] = steep * (1 - share)[:, None]
    slopes[index, (side + 1) % 4] = steep * share[:, None]
    return np.concatenate([slopes.reshape(-1, 8), level[None]])


def _depth_within(corners: Corners, points: Points) -> tuple[Float[np.ndarray, "point"], Int[np.ndarray, "point"]]:
    """How far points lie inside the nearest side of a quadrilateral (negative outside), and which side that is."""
    along = np.roll(corners, -1, 0) - corners
    inward = np.stack([along[:, 1], -along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    depths = inward @ points.T - (corners * inward).sum(1)[:, None]
    return depths.min(0), depths.argmin(0)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A side's chord as two points, and the robust deviation of the contour about its curve."""

    start: np.ndarray
    end: np.ndarray
    ragged: float


def _on_side(
    points: Points, start: np.ndarray, end: np.ndarray, band: float, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points lie near a side, their place along it (-1..1) and their height outside it."""
    half = (end - start) / 2
    length = float(np.linalg.norm(half)) + 1e-9
    place = (points - (start + end) / 2) @ half / length**2
    height = (points - start) @ np.array([-half[1], half[0]]) / length
    deepest = np.where(np.abs(place) < 0.5, _DEEPEST * band, band)
    near = (np.abs(place) < reach) & (height < band) & (height > -deepest)
    return near, place[near], height[near]


def _sag(points: Points, start: np.ndarray, end: np.ndarray, band: float) -> float:
    """How hollow a side is (0 or below), by how much deeper its middle lies than its ends.

    Both ends must rise, for a spur or a ledge at one of them makes no hollow. A ragged contour is believed less.
    """
    _, place, height = _on_side(points, start, end, band, 0.85)
    zones = [height[(low < place) & (place < high)] for low, high in ((-0.85, -0.5), (-0.25, 0.25), (0.5, 0.85))]
    if min(map(len, zones)) < 3:
        return 0.0
    front, middle, back = (float(np.median(zone)) for zone in zones)
    rises = np.array([front - middle, back - middle])
    sag = -min(float(rises.mean()), 2 * float(rises.min())) / _SAG_SEEN
    if sag >= -_LEAST_SAG_PX:
        return 0.0
    ragged = float(np.std(height - sag * (1 - place**2)))
    usual = (_USUAL_SAG * float(np.linalg.norm(end - start))) ** 2
    return sag * (1 - (_LEAST_SAG_PX / sag) ** 2) * usual / (usual + (_SAG_NOISE * ragged) ** 2)


def _fit_side(points: Points, trust: np.ndarray, start: np.ndarray, end: np.ndarray, band: float, sag: float) -> _Fit:
    """Robust chord of a side whose contour is a parabola of that sag; one with little contour near it stays."""
    near, place, height = _on_side(points, start, end, band, 1 - 2 * _ENDS)
    length = float(np.linalg.norm(end - start))
    if len(place) < 0.2 * length:
        return _Fit(start, end, band / 3)
    outward = np.array([start[1] - end[1], end[0] - start[0]]) / length
    (level, tilt), ragged = _robust(
        np.stack([np.ones_like(place), place], 1), height - sag * (1 - place**2), trust[near]
    )
    move = [outward * (level + sign * tilt) for sign in (-1, 1)]
    return _Fit(start + move[0], end + move[1], ragged)


def _middle(points: Points, start: np.ndarray, end: np.ndarray, band: float) -> Float[np.ndarray, "rc=2"]:
    """The contour at the middle of a side, however hollow."""
    _, _, height = _on_side(points, start, end, band, 0.15)
    outward = np.array([start[1] - end[1], end[0] - start[0]]) / np.linalg.norm(end - start)
    return (start + end) / 2 + outward * (float(np.median(height)) if len(height) else 0.0)


def _robust(terms: np.ndarray, values: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares with Tukey's weights (Beaton and Tukey 1974) times trust, and the robust deviation of the rest."""
    weights = trust
    found, spread = np.zeros(terms.shape[1]), 0.0
    for _ in range(5):
        weighted = terms.T * weights
        found = np.linalg.solve(weighted @ terms + 1e-9 * np.eye(terms.shape[1]), weighted @ values)
        left = values - terms @ found
        spread = float(1.4826 * np.median(np.abs(left)))
        weights = trust * np.clip(1 - (left / max(4.7 * spread, 1.0)) ** 2, 1e-6, None) ** 2
    return found, spread


def fit_body(
    mask: Mask, down: Float[np.ndarray, "rc=2"], row_to_column: float = 1.0, sharpness: Sharpness | None = None
) -> Body:
    """Corners and endplates of a mask, in square pixels of a column's width.

    down: roughly from head to tail at this body. The corners start with the cranial one on the left of a film with the
    head up (on the side of `down` turned clockwise as the film is seen). Raises NoBody.
    """
    points, pixels = contour(mask) * [row_to_column, 1.0], _sampled(mask, row_to_column)
    if len(points) < 4 * _SMALLEST_SIDE_PX:
        raise NoBody("it has too few pixels")
    trust = np.ones(len(points))
    if sharpness is not None:
        trust = np.maximum(sharpness(points / [row_to_column, 1.0]), 1e-3) ** _SHARPER
        trust /= trust.mean()
    first = corners = _first_corners(pixels, down)
    size = float(np.linalg.norm(np.roll(first, -1, 0) - first, axis=1).mean())
    band = _BAND * size
    sags: list[float] = []
    fits: list[_Fit] = []
    for turn in range(_ROUNDS):
        if turn < 2:
            sags = [_sag(points, corners[k], corners[(k + 1) % 4], band) for k in range(4)]
        fits = [_fit_side(points, trust, corners[k], corners[(k + 1) % 4], band, sags[k]) for k in range(4)]
        start, along = np.array([f.start for f in fits]), np.array([f.end - f.start for f in fits])
        moved = meet(np.roll(start, 1, 0), np.roll(along, 1, 0), start, along)
        step = float(np.linalg.norm(moved - corners, axis=1).max())
        if not np.linalg.norm(moved - first, axis=1).max() < 2 * band:
            break
        corners = moved
        if turn and step < 0.01:
            break
    _check(corners, pixels)
    middles = [_middle(points, corners[k], corners[(k + 1) % 4], band) for k in (0, 2)]
    return Body(corners, np.stack(middles), np.array([f.ragged for f in fits]))


def _check(corners: Corners, pixels: Pixels) -> None:
    """A quadrilateral, no side of it very short, that covers about what the mask does. Raises NoBody."""
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    if not sides.min() > max(_SMALLEST_SIDE_PX, 0.25 * sides.max()):
        raise NoBody("one of its sides is too short for a vertebral body")
    if _overlap(corners, pixels) < _LEAST_OVERLAP:
        raise NoBody("its outline does not have the shape of a vertebral body")
