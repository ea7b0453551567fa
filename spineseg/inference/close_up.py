"""A second look at the vertebrae that were found: the same film with L1 to S1 filling the grid.

The first look tells where the spine is and which body is which; the second gives the outlines.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int32

from spineseg.exposed_field import Box
from spineseg.film import VERTEBRAE, Masks, bounding_box
from spineseg.inference.grid import GridFit, onto
from spineseg.inference.levels import LevelConfig, find_bodies, with_rim
from spineseg.inference.sacrum import completed

Channels = Float32[np.ndarray, "vertebra rows columns"]
Numbered = Int32[np.ndarray, "rows columns"]
MARGIN = 0.3
"""Around the bodies, as a share of their common height."""
_SAME = 0.5
"""Least share of a body of either look that lies on one of the other, so that both are the same bone."""


def close_field(masks: Masks, field: Box) -> Box:
    """Rows and columns of the film around all bodies, within its field."""
    rows, columns = bounding_box(np.any(masks, axis=0))
    margin = round(MARGIN * (rows.stop - rows.start))
    return _widened(rows, margin, field[0]), _widened(columns, margin, field[1])


def _widened(used: slice, margin: int, field: slice) -> slice:
    return slice(max(used.start - margin, field.start), min(used.stop + margin, field.stop))


def close_channels(named: Channels, fit: GridFit, close: Channels, close_fit: GridFit) -> Channels:
    """Each vertebra's probability within its own body, on the grid of the second look.

    named: the same of the first look. close: the network's probabilities of the second. A body that the second look
    misses, or takes together with another, stays as the first saw it.
    """
    bone = np.minimum(close.sum(0), 1.0)
    bodies, count = find_bodies(bone, close.argmax(0), LevelConfig())
    channels = onto(named, fit, close_fit)
    no_bone = (bodies == 0) & (bone <= 0.5)
    for level, body in _same_bones(channels > 0.5, bodies, count):
        channels[level] = bone * with_rim(bodies == body, no_bone)
    if VERTEBRAE[-1] == "S1":
        channels[-1] = completed(channels, bone)
    return channels


def _same_bones(
    named: Bool[np.ndarray, "vertebra rows columns"], bodies: Numbered, count: int
) -> list[tuple[int, int]]:
    """(level, body) of the bodies of the second look that lie on one of the first, and on no other."""
    shared = np.array([np.bincount(bodies[mask], minlength=count + 1)[1:] for mask in named])
    of_named = shared / np.maximum(named.sum((1, 2)), 1)[:, None] >= _SAME
    of_bodies = shared / np.maximum(np.bincount(bodies.ravel(), minlength=count + 1)[1:], 1) >= _SAME
    alone = of_named.sum(0) == 1
    return [(int(level), int(body) + 1) for level, body in np.argwhere(of_named & of_bodies & alone)]
