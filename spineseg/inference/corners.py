"""Corners, endplates and walls of vertebral bodies from their masks, to a fraction of a pixel.

Each side of a body is a chord with a sag: a robust parabola through the middle of its contour. Neighbouring chords
intersect in the corners. Rounded corners, ragged edges and osteophytes therefore move them little, and a waist or a
hollow endplate does not pull them inwards as straight lines through the contour would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.optimize import leastsq

from spineseg.film import bounding_box
from spineseg.inference.masks import largest_component

Mask = Bool[np.ndarray, "rows columns"]
Points = Float[np.ndarray, "point rc=2"]
Corners = Float[np.ndarray, "corner=4 rc=2"]
"""Cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior; each (row, column)."""
SIDES = ("upper endplate", "posterior wall", "lower endplate", "anterior wall")
"""Side k runs from corner k to corner k + 1."""
_SMALLEST_SIDE_PX, _LINE_PX = 8.0, 0.5
_TOO_SHORT = "one of its sides is too short for a vertebral body"
_ROUNDS = 12
_BAND = 0.15
"""How far from a side, as a share of the body's size, contour still counts as that side's."""
_DEEPEST = 2.5
"""The same inwards in the middle of a side, over that: an endplate may be sunk by a third of the height."""
_LEAST_OVERLAP = 0.75
"""Least intersection over union of a mask and its quadrilateral."""
_OBLIQUE_COST = 1.5
"""Cost of endplates oblique to the spine; 8 degrees, two deviations of a spine's, cost as much as 4 % of the area."""
_POOR_FIT = 0.1
"""1 - intersection over union of a mask and its best quadrilateral, from which on the penalty counts in full."""
_GOOD_FIT = 0.1
"""Share of the penalty below which it changes nothing."""
_SHARPNESS_POWER = 4
"""A point of the contour is weighted by this power of its sharpness; chosen on simulated films."""
_LEAST_SAG_PX = 0.8
"""A hollow shallower than this is the staircase of the pixels; deeper ones are corrected less, the deeper they are."""
_USUAL_SAG = 0.03
"""Standard deviation of hollows among bodies, as a share of the side: the prior of an unclear one."""
_SAG_SEEN = 0.44
"""Share of a parabola's sag by which its middle lies deeper than its ends, in the zones of `_sag`."""
_SAG_NOISE = 2.0
"""Standard deviation of a sag so found over that of the contour."""
_ENDS = 0.08
"""Share of a side at either end that is ignored: corners are rounded, chipped or carry osteophytes."""
Sharpness = Callable[[Points], Float[np.ndarray, "point"]]
"""Steepness of a body's edge at points of its contour, in any unit; steeper parts of a side count for more."""


def steepness(bone: Float32[np.ndarray, "rows columns"]) -> Float32[np.ndarray, "rows columns"]:
    """By which a contour's points are weighted: how fast the probability of bone changes, per pixel."""
    return np.hypot(*np.gradient(bone)).astype(np.float32)


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
    """Midpoints between each pixel of the largest component and a neighbour outside it, (row, column); holes filled.

    For a mask of the pixels whose centre lies within an outline, these lie on that outline in the mean.
    """
    box = bounding_box(mask)
    if not mask[box].size:
        return np.zeros((0, 2))
    top, left = box[0].start - 1, box[1].start - 1
    inside = np.pad(largest_component(mask[box]), 1)
    down, right = np.argwhere(inside[1:] != inside[:-1]), np.argwhere(inside[:, 1:] != inside[:, :-1])
    return np.concatenate([down + [0.5, 0.0], right + [0.0, 0.5]]) + [top, left]


@dataclass(frozen=True, eq=False)
class Pixels:
    """A coarse sample of a mask with a margin around it, in square pixels of a column's width."""

    points: Points
    inside: Bool[np.ndarray, "point"]


def _sample(mask: Mask, row_to_column: float, samples: int) -> Pixels:
    """So many rows and columns, or a few more, over the mask's box and a fifth around it."""
    rows, columns = box = bounding_box(mask)
    component = largest_component(mask[box])
    margin = [side // 5 + 1 for side in component.shape]
    padded = np.pad(component, [(m, m) for m in margin])
    steps = [max(side // samples, 1) for side in padded.shape]
    sampled = padded[:: steps[0], :: steps[1]]
    points = np.argwhere(np.ones_like(sampled)) * steps + [rows.start - margin[0], columns.start - margin[1]]
    return Pixels(points * [row_to_column, 1.0], sampled.ravel())


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors (row, column): the area that they span, signed."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def intersection(a: np.ndarray, a_along: np.ndarray, b: np.ndarray, b_along: np.ndarray) -> np.ndarray:
    """Of the lines through a and b; all (..., 2), parallel lines give infinities."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return a + a_along * (cross(b - a, b_along) / cross(a_along, b_along))[..., None]


def _first_corners(pixels: Pixels, down: Float[np.ndarray, "rc=2"]) -> Corners:
    """The quadrilateral that differs least in area from the mask, first corner cranial and on the left of `down`.

    Spikes and bites count by their area alone. Least squares between the mask and a quadrilateral with soft edges,
    starting from the rectangle with the mask's second moments. Raises NoBody for a line.
    """
    inside = pixels.points[pixels.inside]
    if not len(inside):
        raise NoBody("it has too few pixels")
    centre, left = inside.mean(0), np.array([down[1], -down[0]])
    tall, deep = (np.sqrt(3 * ((inside - centre) @ axis).var()) for axis in (down, left))
    if min(tall, deep) < _LINE_PX:
        raise NoBody(_TOO_SHORT)
    corners = centre + np.array([-tall * down + deep * left, -tall * down - deep * left])
    corners = np.concatenate([corners, 2 * centre - corners])
    penalty = _OBLIQUE_COST * np.sqrt(len(inside)) / (4 * deep) * np.array([-down, down, down, -down]).ravel()
    free = _fit_quadrilateral(corners, pixels, 0.0 * penalty, float(np.sqrt(tall * deep)))
    poor = min((1 - _iou(free, pixels)) / _POOR_FIT, 1.0) ** 2
    if poor < _GOOD_FIT:
        return free
    return _fit_quadrilateral(corners, pixels, poor * penalty, float(np.sqrt(tall * deep)))


def _fit_quadrilateral(corners: Corners, pixels: Pixels, penalty: Float[np.ndarray, "8"], size: float) -> Corners:
    """Least squares of `_residuals`, first with soft edges, then with sharper ones."""
    for soft in (0.1, 0.03):
        found = leastsq(
            _residuals, corners.ravel(), (pixels, soft * size, penalty), _jacobian, full_output=True, maxfev=60
        )[0]
        corners = np.reshape(found, (4, 2))
    return corners


def _iou(corners: Corners, pixels: Pixels) -> float:
    """Intersection over union of a quadrilateral and the mask."""
    covered = _depth_within(corners, pixels.points)[0] > 0
    both, either = np.count_nonzero(covered & pixels.inside), np.count_nonzero(covered | pixels.inside)
    return both / max(either, 1)


def _residuals(
    corners: Float[np.ndarray, "8"], pixels: Pixels, width: float, penalty: Float[np.ndarray, "8"]
) -> Float[np.ndarray, "residual"]:
    """A quadrilateral with soft edges minus the mask, at every pixel.

    The last residual is the obliqueness of its endplates to the spine, which decides for a body that is nearly round.
    """
    depth, _ = _depth_within(corners.reshape(4, 2), pixels.points)
    return np.append(0.5 + 0.5 * np.tanh(depth / width) - pixels.inside, penalty @ corners)


def _jacobian(
    corners: Float[np.ndarray, "8"], pixels: Pixels, width: float, penalty: Float[np.ndarray, "8"]
) -> Float[np.ndarray, "residual 8"]:
    """Of `_residuals`: a side moves with its two corners, each by its share."""
    quadrilateral = corners.reshape(4, 2)
    depth, side = _depth_within(quadrilateral, pixels.points)
    along = np.roll(quadrilateral, -1, 0) - quadrilateral
    length = np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    inward = np.stack([along[:, 1], -along[:, 0]], 1) / length
    share = ((pixels.points - quadrilateral[side]) * (along / length**2)[side]).sum(1)
    steep = -(0.5 / width) * (1 - np.tanh(depth / width) ** 2)[:, None] * inward[side]
    slopes, index = np.zeros((len(depth), 4, 2)), np.arange(len(depth))
    slopes[index, side] = steep * (1 - share)[:, None]
    slopes[index, (side + 1) % 4] = steep * share[:, None]
    return np.concatenate([slopes.reshape(-1, 8), penalty[None]])


def _depth_within(corners: Corners, points: Points) -> tuple[Float[np.ndarray, "point"], Int[np.ndarray, "point"]]:
    """Distance of points from the nearest side of a quadrilateral (negative outside), and which side that is."""
    along = np.roll(corners, -1, 0) - corners
    inward = np.stack([along[:, 1], -along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    depths = inward @ points.T - (corners * inward).sum(1)[:, None]
    return depths.min(0), depths.argmin(0)


@dataclass(frozen=True, eq=False)
class _Side:
    """A side's chord as two points, and the robust deviation of the contour from its curve."""

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
    """Sag of a side (0 or below), from how much deeper its middle lies than its ends.

    Both ends must rise, for a spur or a ledge at one of them makes no hollow. A ragged contour shrinks the sag.
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


def _fit_side(
    points: Points, weights: np.ndarray, start: np.ndarray, end: np.ndarray, band: float, sag: float
) -> _Side:
    """Robust chord of a side whose contour is a parabola of that sag; a side with little contour near it is kept."""
    near, place, height = _on_side(points, start, end, band, 1 - 2 * _ENDS)
    length = float(np.linalg.norm(end - start))
    if not length or len(place) < 0.2 * length:
        return _Side(start, end, band / 3)
    outward = np.array([start[1] - end[1], end[0] - start[0]]) / length
    (level, tilt), ragged = _robust(
        np.stack([np.ones_like(place), place], 1), height - sag * (1 - place**2), weights[near]
    )
    move = [outward * (level + sign * tilt) for sign in (-1, 1)]
    return _Side(start + move[0], end + move[1], ragged)


def _middle(points: Points, start: np.ndarray, end: np.ndarray, band: float) -> Float[np.ndarray, "rc=2"]:
    """The contour at the middle of a side, however hollow."""
    _, _, height = _on_side(points, start, end, band, 0.15)
    outward = np.array([start[1] - end[1], end[0] - start[0]]) / np.linalg.norm(end - start)
    return (start + end) / 2 + outward * (float(np.median(height)) if len(height) else 0.0)


def _robust(terms: np.ndarray, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weighted least squares with Tukey's biweight (Beaton and Tukey 1974), and the residuals' robust deviation."""
    biweight = weights
    found, deviation = np.zeros(terms.shape[1]), 0.0
    for _ in range(5):
        weighted = terms.T * biweight
        found = np.linalg.solve(weighted @ terms + 1e-9 * np.eye(terms.shape[1]), weighted @ values)
        residuals = values - terms @ found
        deviation = float(1.4826 * np.median(np.abs(residuals)))
        biweight = weights * np.clip(1 - (residuals / max(4.7 * deviation, 1.0)) ** 2, 1e-6, None) ** 2
    return found, deviation


def fit_body(
    mask: Mask,
    down: Float[np.ndarray, "rc=2"],
    row_to_column: float = 1.0,
    sharpness: Sharpness | None = None,
    samples: int = 40,
) -> Body:
    """Corners and endplates of a mask, in square pixels of a column's width.

    down: roughly from head to tail at this body. The corners start with the cranial one on the left of a film with the
    head up (on the side of `down` turned clockwise as the film is seen). samples: rows and columns on which the first
    corners are found. Raises NoBody.
    """
    points, pixels = contour(mask) * [row_to_column, 1.0], _sample(mask, row_to_column, samples)
    if len(points) < 4 * _SMALLEST_SIDE_PX:
        raise NoBody("it has too few pixels")
    first = _first_corners(pixels, down)
    band = _BAND * float(np.linalg.norm(np.roll(first, -1, 0) - first, axis=1).mean())
    corners, sides = _refined(first, points, _weights(points / [row_to_column, 1.0], sharpness), band)
    _check(corners, pixels)
    middles = [_middle(points, corners[k], corners[(k + 1) % 4], band) for k in (0, 2)]
    return Body(corners, np.stack(middles), np.array([side.ragged for side in sides]))


Fit = Callable[[Mask, Float[np.ndarray, "rc=2"], float, Sharpness | None], Body]
"""What `fit_body` does."""


class KeptFits:
    """`fit_body` that keeps the last bodies, for masks of which a person changes one at a time.

    A body is found again by all that it follows from, so that the results are those of `fit_body`.
    """

    def __init__(self, most: int = 64) -> None:
        """most: bodies that are kept; all are forgotten where one more comes."""
        self._most = most
        self._bodies: dict[tuple[object, ...], Body] = {}

    def __call__(
        self, mask: Mask, down: Float[np.ndarray, "rc=2"], row_to_column: float, sharpness: Sharpness | None
    ) -> Body:
        """As `fit_body`."""
        box = rows, columns = bounding_box(mask)
        place = (rows.start, rows.stop, columns.start, columns.stop)
        key = (mask.shape, place, mask[box].tobytes(), down.tobytes(), row_to_column, sharpness)
        if (body := self._bodies.get(key)) is None:
            body = fit_body(mask, down, row_to_column, sharpness)
            if len(self._bodies) >= self._most:
                self._bodies = {}
            self._bodies[key] = body
        return body


def _weights(film_points: Points, sharpness: Sharpness | None) -> Float[np.ndarray, "point"]:
    """Of the contour's points, 1 in the mean."""
    if sharpness is None:
        return np.ones(len(film_points))
    weights = np.maximum(sharpness(film_points), 1e-3) ** _SHARPNESS_POWER
    return weights / weights.mean()


def _refined(
    first: Corners, points: Points, weights: Float[np.ndarray, "point"], band: float
) -> tuple[Corners, list[_Side]]:
    """Intersections of the fitted sides' chords, iterated until they stay or move too far from the first."""
    corners = first
    sags: list[float] = []
    sides: list[_Side] = []
    for turn in range(_ROUNDS):
        if turn < 2:
            sags = [_sag(points, corners[k], corners[(k + 1) % 4], band) for k in range(4)]
        sides = [_fit_side(points, weights, corners[k], corners[(k + 1) % 4], band, sags[k]) for k in range(4)]
        start, along = np.array([s.start for s in sides]), np.array([s.end - s.start for s in sides])
        moved = intersection(np.roll(start, 1, 0), np.roll(along, 1, 0), start, along)
        step = float(np.linalg.norm(moved - corners, axis=1).max())
        if not np.linalg.norm(moved - first, axis=1).max() < 2 * band:
            break
        corners = moved
        if turn and step < 0.01:
            break
    return corners, sides


def _check(corners: Corners, pixels: Pixels) -> None:
    """A quadrilateral, no side of it very short, that covers about what the mask does. Raises NoBody."""
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    if not sides.min() > max(_SMALLEST_SIDE_PX, 0.25 * sides.max()):
        raise NoBody(_TOO_SHORT)
    if _iou(corners, pixels) < _LEAST_OVERLAP:
        raise NoBody("its outline does not have the shape of a vertebral body")
