"""Outlines shaped like vertebral bodies: what sticks out of a body's shape goes, what is missing from it is added.

The shape has straight walls and endplates that may be hollow. It is fitted robustly (`corners.fit_body`) to where the
film shows an edge, and the outline stays close to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from spineseg.inference.corners import Body, Corners, NoBody, Sharpness, fit_body, intersection, steepness

Image = Float32[np.ndarray, "rows columns"]
Channels = Float32[np.ndarray, "vertebra rows columns"]
Outline = Float[np.ndarray, "point rc=2"]
"""(row, column), pixel edges whole."""


@dataclass(frozen=True)
class OutlineConfig:
    """How closely an outline follows the fitted shape."""

    tolerance: float = 0.02
    """Largest distance between them, as a share of the square root of the body's area."""
    least_overlap: float = 0.85
    """Least intersection over union of the shape and the body, as for one that the film cuts off it is lower."""
    samples: int = 20
    """Rows and columns over a body, on which its first corners are found."""
    points: int = 12
    """Of an endplate."""


def shaped(channels: Channels, bone: Image, config: OutlineConfig = OutlineConfig()) -> Channels:
    """All channels but the last, each within the tolerance of its body's shape; as it is where no shape fits.

    channels: each vertebra's probability within its own body, from head to tail. bone: the network's probability of
    bone. Nothing is added where another vertebra is.
    """
    masks, result = channels > 0.5, channels.copy()
    middles = {k: np.array(ndimage.center_of_mass(mask)) for k, mask in enumerate(masks) if mask.any()}
    levels, weights = list(middles), sharpness(bone)
    for place, k in enumerate(levels):
        down = middles[levels[min(place + 1, len(levels) - 1)]] - middles[levels[max(place - 1, 0)]]
        if k + 1 == len(channels) or not down.any():
            continue
        try:
            body = fit_body(masks[k], down / np.linalg.norm(down), sharpness=weights, samples=config.samples)
        except NoBody:
            continue
        result[k] = _within(channels[k], body, np.asarray(np.delete(masks, k, 0).any(0)), config)
    return result


def sharpness(bone: Image) -> Sharpness:
    """By which the measurements weight a contour's points too (`measure.errors.BoneMap`)."""
    values = steepness(bone)
    return lambda points: ndimage.map_coordinates(values, points.T, order=1, mode="nearest")


def coverage(outline: Outline, shape: tuple[int, int], oversampling: int = 8) -> Image:
    """Share of each pixel that the outline encloses, 0..1."""
    first = np.clip(np.floor(outline.min(0)).astype(int), 0, shape)
    rows, columns = np.clip(np.ceil(outline.max(0)).astype(int), 0, shape) - first
    drawn = np.zeros(shape, np.float32)
    if rows and columns:
        fine = np.zeros((rows * oversampling, columns * oversampling), np.float32)
        points = np.round(((outline - first)[:, ::-1] * oversampling - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 1, shift=4)
        part = cv2.resize(fine, (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
        drawn[first[0] : first[0] + rows, first[1] : first[1] + columns] = part
    return drawn


def _within(channel: Image, body: Body, others: np.ndarray, config: OutlineConfig) -> Image:
    """Between the shape drawn smaller and the shape drawn larger by the tolerance; as it is where unlike both."""
    mask = channel > 0.5
    near = config.tolerance * float(np.sqrt(np.count_nonzero(mask)))
    least, most = (coverage(_outline(body, by, config.points), mask.shape) for by in (-near, near))
    shape = least + most > 1
    if (shape & mask).sum() < config.least_overlap * (shape | mask).sum():
        return channel
    least[others] = 0
    return np.maximum(np.minimum(channel, most), least)


def _outline(body: Body, outwards: float, points: int) -> Outline:
    """A body with its sides moved outwards: each endplate a parabola through its middle, each wall straight."""
    corners, along = body.corners + 0.5, np.linspace(0, 1, points)[:, None]
    moved, endplates = _moved(corners, outwards), []
    for k, middle in zip((0, 2), body.middles + 0.5, strict=True):
        hollow = middle - (corners[k] + corners[k + 1]) / 2
        start, end = moved[k], moved[k + 1]
        endplates.append(start + along * (end - start) + 4 * along * (1 - along) * hollow)
    return np.concatenate(endplates)


def _moved(corners: Corners, outwards: float) -> Corners:
    """The quadrilateral whose sides lie so far outside."""
    along = np.roll(corners, -1, 0) - corners
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    start = corners + outwards * normal
    return intersection(np.roll(start, 1, 0), np.roll(along, 1, 0), start, along)
