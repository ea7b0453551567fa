"""Decoded channels on the grid to disjoint masks at the film's size."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import Masks, bounding_box
from spineseg.inference.grid import GridFit, film_box, grid_to_film
from spineseg.inference.levels import Channels


def one_piece(mask: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """The largest connected piece, its holes filled; an empty mask stays empty."""
    box = bounding_box(mask)
    if not mask[box].size:
        return mask
    outlines, _ = cv2.findContours(mask[box].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros(mask[box].shape, np.uint8)
    cv2.drawContours(whole, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    result = np.zeros_like(mask)
    result[box] = whole.astype(bool)
    return result


def to_masks(channels: Channels, *, pieces: bool) -> Masks:
    """Disjoint masks where a channel is above 0.5 (interpolated channels may be passed); one piece each if asked."""
    masks = np.zeros(channels.shape, bool)
    taken = np.zeros(channels.shape[1:], bool)
    for mask, channel in zip(masks, channels, strict=True):
        np.greater(channel, 0.5, out=mask)
        box = bounding_box(mask)  # a vertebra covers a hundredth of a film: all else is done there
        _claim(mask[box], mask[box], taken[box], pieces=pieces)
    return masks


def _claim(
    mask: Bool[np.ndarray, "rows columns"],
    part: Bool[np.ndarray, "rows columns"],
    taken: Bool[np.ndarray, "rows columns"],
    *,
    pieces: bool,
) -> None:
    """Fill the mask with what of the part is not taken yet, in one piece if asked, and take it."""
    part = part & ~taken
    mask[:] = one_piece(part) & ~taken if pieces else part
    taken |= mask


def film_masks(
    channels: Float32[np.ndarray, "vertebra grid_rows grid_columns"], fit: GridFit, *, pieces: bool
) -> Masks:
    """`to_masks` of `grid_to_film`, worked out only where a channel is not 0, which is a hundredth of a film."""
    masks = np.zeros((len(channels), fit.film_rows, fit.film_columns), bool)
    taken = np.zeros(masks.shape[1:], bool)
    for mask, channel in zip(masks, channels, strict=True):
        box = film_box(channel, fit)
        if mask[box].size:
            _claim(mask[box], grid_to_film(channel[None], fit, box)[0] > 0.5, taken[box], pieces=pieces)
    return masks
