"""The last step: named channels on the grid to disjoint masks at the film's size."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import Masks, bounding_box
from spineseg.inference.grid import GridFit, film_box, grid_to_film


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


def film_masks(
    channels: Float32[np.ndarray, "vertebra grid_rows grid_columns"], fit: GridFit, *, one_component: bool
) -> Masks:
    """Disjoint masks of the film's pixels at which a channel, interpolated, is above 0.5.

    A pixel in several goes to the most cranial. one_component: keep only the largest component of each, holes filled.
    Channels are interpolated only where they are not 0, which is a hundredth of a film.
    """
    masks = np.zeros((len(channels), fit.film_rows, fit.film_columns), bool)
    taken = np.zeros(masks.shape[1:], bool)
    for mask, channel in zip(masks, channels, strict=True):
        box = film_box(channel, fit)
        if not mask[box].size:
            continue
        found = (grid_to_film(channel[None], fit, box)[0] > 0.5) & ~taken[box]
        mask[box] = largest_component(found) & ~taken[box] if one_component else found
        taken[box] |= mask[box]
    return masks
