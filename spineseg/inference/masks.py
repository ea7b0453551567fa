"""The last step: named channels on the grid to disjoint masks at the film's size."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import Masks, bounding_box
from spineseg.inference.grid import GridFit, film_box, grid_to_film

Channel = Float32[np.ndarray, "grid_rows grid_columns"]
Mask = Bool[np.ndarray, "rows columns"]
_SPUR, _NOTCH = 0.35, 0.3
"""Radius of discs that fit into no spur, and into no notch, as a share of that of the largest disc in the body."""
_CORNER = 0.4
"""How far a corner may stick out of the disc that rolls along it, as a share of its radius: of a right angle 0.41."""


def largest_component(mask: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """The largest of the 8-connected components, its holes filled; an empty mask stays empty."""
    box = bounding_box(mask)
    if not mask[box].size:
        return mask
    contours, _ = cv2.findContours(mask[box].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask[box].shape, np.uint8)
    cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    result = np.zeros_like(mask)
    result[box] = filled.astype(bool)
    return result


def smoothed(channel: Channel) -> Channel:
    """A body's probability without notches and spurs, which no vertebral body has; edges and corners stay.

    Grey-scale closing and opening (Serra 1982), each undone within reach of what is left, so that corners are not
    rounded. The discs are measured by the body's thickness, so that a collapsed body stays.
    """
    inside = np.pad((channel > 0.5).astype(np.uint8), 1)
    thickness = float(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    notch, spur = _NOTCH * thickness, _SPUR * thickness
    closed = _closed(channel, _disc(notch))
    channel = np.maximum(channel, cv2.erode(closed, _disc(_CORNER * notch)))
    opened = cv2.morphologyEx(channel, cv2.MORPH_OPEN, _disc(spur))
    return np.minimum(channel, cv2.dilate(opened, _disc(_CORNER * spur)))


def _closed(channel: Channel, disc: np.ndarray) -> Channel:
    """With nothing outside: a body that ends before the border must not be drawn to it."""
    margin = disc.shape[0]
    wide = cv2.morphologyEx(np.pad(channel, margin), cv2.MORPH_CLOSE, disc)
    return wide[margin:-margin, margin:-margin]


def _disc(radius_px: float) -> np.ndarray:
    size = 2 * round(radius_px) + 1 if radius_px >= 1 else 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def film_masks(
    channels: Float32[np.ndarray, "vertebra grid_rows grid_columns"], fit: GridFit, *, one_component: bool
) -> Masks:
    """Disjoint masks of the film's pixels at which a channel, interpolated, is above 0.5.

    A pixel in several goes to the most cranial. one_component: of each a smooth outline of one component, holes filled.
    Channels are interpolated only where they are not 0, which is a hundredth of a film.
    """
    masks = np.zeros((len(channels), fit.film_rows, fit.film_columns), bool)
    taken = np.zeros(masks.shape[1:], bool)
    for mask, channel in zip(masks, channels, strict=True):
        _draw(mask, channel, fit, taken, one_component=one_component)
    return masks


def masks_beyond(channels: Mapping[int, Channel], fit: GridFit, masks: Masks) -> dict[int, Mask]:
    """Smooth outlines of bodies that have no name, by their level, without the pixels of `masks`; none is empty."""
    if not channels:
        return {}
    found = {level: np.zeros(masks.shape[1:], bool) for level in channels}
    taken = np.asarray(masks.any(0))
    for level, channel in channels.items():
        _draw(found[level], channel, fit, taken, one_component=True)
    return {level: mask for level, mask in found.items() if mask.any()}


def _draw(mask: Mask, channel: Channel, fit: GridFit, taken: Mask, *, one_component: bool) -> None:
    """Fill an empty mask with those of the channel's pixels that are not taken yet, and take them."""
    channel = smoothed(channel) if one_component else channel
    box = film_box(channel, fit)
    if not mask[box].size:
        return
    found = (grid_to_film(channel[None], fit, box)[0] > 0.5) & ~taken[box]
    mask[box] = largest_component(found) & ~taken[box] if one_component else found
    taken[box] |= mask[box]
