"""The visible field of a film: within shutter and collimator, without air and lung that are saturated black."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from spineseg.exposed_field import Box
from spineseg.film import bounding_box
from spineseg.inference.grid import GridFit, Image

_LEAST_SPREAD = 0.08
"""Least span of a visible line's 10th to 90th percentile, as a share of the film's 1st to 99th."""
_ROUNDS = 3


def visible_field(image: Image, fit: GridFit) -> Box:
    """Rows and columns of the film between the outermost visible ones; all of them where none is visible.

    image: the film on its grid (`film_to_grid`), in any unit. A row or column is visible if its values differ. Those of
    a shutter, of collimator blades and of saturated air or lung do not, whatever letters stand there. The field ends
    within one grid pixel of the true edge, on the inner side; blades may be turned by a few degrees.
    """
    picture = image[bounding_box(fit.inside())]
    if not picture.size:  # thinner than a grid pixel
        return fit.field
    low, high = np.percentile(picture[::3, ::3], [1, 99])
    unit = np.clip((picture - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    down = across = slice(None)
    for _ in range(_ROUNDS):  # rows are judged within the visible columns, and columns within the visible rows
        down = _span(_spread(unit[:, across], 1) > _LEAST_SPREAD)
        across = _span(_spread(unit[down], 0) > _LEAST_SPREAD)
    return (
        _on_film(down, unit.shape[0], fit.row_scale, fit.field[0]),
        _on_film(across, unit.shape[1], fit.column_scale, fit.field[1]),
    )


def _spread(unit: Image, axis: int) -> Float[np.ndarray, "line"]:
    low, high = np.percentile(unit, [10, 90], axis=axis)
    return high - low


def _span(lines: Bool[np.ndarray, "line"]) -> slice:
    """From the first that is true to the last; all of them if none is."""
    found = np.flatnonzero(lines)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, len(lines))


def _on_film(visible: slice, size: int, scale: float, field: slice) -> slice:
    """Film pixels of a range of grid pixels; grid pixel 0 is the field's first, `size` is how many the field covers.

    The outermost grid pixel, which an edge may halve, is left out; the field's own edge stays where it is.
    """
    first = field.start + math.ceil((visible.start + 1) / scale) if visible.start > 0 else field.start
    last = field.start + math.floor((visible.stop - 1) / scale) if visible.stop < size else field.stop
    return slice(first, last) if first < last else field
