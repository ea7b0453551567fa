"""The part of a film around the vertebrae, for a second look where they are small on the grid.

A film that fills a part of the picture, or shows more of the spine, leaves few grid pixels for a vertebra: bodies run
into one another. What the first look finds tells where the spine is (coarse to fine, as Zhou et al. 2017, arXiv
1612.08230). The field is wide enough for the neighbours by which the vertebrae are named. LOG.md, 2026-11-28.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from spineseg.exposed_field import Box
from spineseg.film import bounding_box
from spineseg.inference.bodies import components
from spineseg.inference.grid import GridFit
from spineseg.inference.levels import Decoded


@dataclass(frozen=True)
class SpineFieldConfig:
    """When a second look is worth its time, and at what."""

    margin: float = 0.5
    """Around the vertebrae, as a share of their height."""
    smallest_share: float = 0.2
    """Spots of bone below this share of the largest are none."""
    least_gain: float = 1.1
    """Least magnification."""
    least_known: int = 4
    """So many vertebrae, found by the first look, must bear the same names after the second."""


def spine_field(
    bone: Float32[np.ndarray, "rows columns"], fit: GridFit, config: SpineFieldConfig = SpineFieldConfig()
) -> Box | None:
    """Rows and columns of the film around the bone; None where they are not much less than the field that was seen.

    bone: probability, 0..1, on the grid.
    """
    spots = components(bone > 0.5)
    areas = np.bincount(spots[fit.inside()])[1:]  # what a network finds beyond the film's edge is no bone
    if not areas.size:
        return None
    rows, columns = bounding_box(np.isin(spots, np.flatnonzero(areas >= config.smallest_share * areas.max()) + 1))
    high = (1 + 2 * config.margin) * (rows.stop - rows.start)
    wide = max(high * fit.columns / fit.rows, (1 + 2 * config.margin) * (columns.stop - columns.start))
    if min(fit.rows / high, fit.columns / wide) < config.least_gain:
        return None
    return (
        _on_film(rows, high, fit.row_scale, fit.row_offset, fit.field[0]),
        _on_film(columns, wide, fit.column_scale, fit.column_offset, fit.field[1]),
    )


def _on_film(used: slice, size: float, scale: float, offset: float, field: slice) -> slice:
    """Film pixels of a stretch of the grid of that size about the middle of what is used, within the field."""
    middle = (used.start + used.stop) / 2
    first, last = ((end - offset) / scale for end in (middle - size / 2, middle + size / 2))
    most = field.stop - field.start
    return slice(field.start + max(math.floor(first), 0), field.start + min(math.ceil(last), most))


def same_names(
    first: Decoded, fit: GridFit, second: Decoded, near: GridFit, config: SpineFieldConfig = SpineFieldConfig()
) -> bool:
    """Whether each vertebra of the second look lies nearest to that of its own name in the first.

    A film cut in the middle of the spine has fewer neighbours in view by which to count, and the second look fewer yet.
    Where the first look found few vertebrae it had run them into one another, and the second one is believed.
    """
    before, after = _centres(first, fit), _centres(second, near)
    if len(before) < config.least_known:
        return True
    return all(
        math.dist(place, before[k]) <= min(math.dist(place, other) for other in before.values())
        for k, place in after.items()
        if k in before
    )


def _centres(decoded: Decoded, fit: GridFit) -> dict[int, tuple[float, float]]:
    """Row and column, in pixels of the film, of each vertebra that was found."""
    found = {k: np.argwhere(channel > 0.5) for k, channel in enumerate(decoded.channels)}
    return {k: fit.film_place(*places.mean(0).tolist()) for k, places in found.items() if len(places)}
