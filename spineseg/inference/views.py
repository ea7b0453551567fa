"""Test-time augmentation: probability maps of one film, averaged over views that are turned and mirrored.

The edge that a network finds depends a little on where the film lies on the grid, and an angle between two endplates
depends on that. Averaging over views takes most of it out (Wang et al. 2019, doi:10.1016/j.neucom.2019.01.103, for
segmentation). LOG.md, 2026-11-26, has what it gains here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from spineseg.inference.grid import OFF_FILM, Matrix, about_middle, warp

Channels = Float32[np.ndarray, "channel rows columns"]
Probabilities = Float32[np.ndarray, "vertebra rows columns"]


@dataclass(frozen=True)
class View:
    """A film turned by turn_deg, clockwise as it is seen, then mirrored left to right or not."""

    turn_deg: float = 0.0
    mirrored: bool = False

    def matrix(self, shape: tuple[int, int]) -> Matrix:
        """From the film's (column, row) to the view's, pixel edges at whole numbers, on a grid of (rows, columns)."""
        turn = np.deg2rad(self.turn_deg)
        linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return about_middle(np.diag([-1.0, 1.0]) @ linear if self.mirrored else linear, shape)


ONE_VIEW, TURNED = (View(),), (View(180.0),)
VIEWS = (View(), View(0.0, True), View(-7.0), View(7.0, True), View(7.0), View(-7.0, True))
"""The film as it is, which alone reaches every corner of the grid, and turns within the range of training. With each
goes its mirror image, so that a film facing right gets the mirror image of the masks of the same film facing left.
Scaled views gained little (LOG.md, 2026-11-26)."""


VIEW_BEGINS: ContextVar[Callable[[int, int], None]] = ContextVar("VIEW_BEGINS", default=lambda view, count: None)
"""Called before each view with its number, from 1, and how many there are. A variable of the context, because whoever
waits for a film lies several calls further out, and another may wait in the next thread."""


def bone_of(probabilities: Probabilities) -> Float32[np.ndarray, "rows columns"]:
    """Probability of any vertebra: the channels' sum, at most 1."""
    return np.minimum(probabilities.sum(0), np.float32(1))


def averaged(channels: Channels, views: Sequence[View], run: Callable[[Channels], Probabilities]) -> Probabilities:
    """Mean of the network's probabilities over views, each turned back; where a view does not reach, of the others.

    channels: the network's input (`grid.normalise`). run: the network.
    """
    total, reached = np.float32(0), np.float32(0)
    for number, view in enumerate(views, 1):
        VIEW_BEGINS.get()(number, len(views))
        there = view.matrix(channels.shape[1:])
        back = _inverse(there)
        turned = np.stack([warp(c, there, border=off) for c, off in zip(channels, OFF_FILM, strict=False)])
        total = total + np.stack([warp(p, back) for p in run(turned)])
        reached = reached + warp(np.ones(channels.shape[1:], np.float32), back)
    return total / np.maximum(reached, 1e-6)


def _inverse(matrix: Matrix) -> Matrix:
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])
