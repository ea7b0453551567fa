"""What is known of a film after inference; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from spineseg.film import Masks
from spineseg.inference.grid import Box, GridFit
from spineseg.inference.levels import LevelReport


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network and its decoder say of one film.

    masks: at the film's size, disjoint. probabilities: 0..1 on the grid, the mean over views, before any rule.
    seconds: film to masks.
    device: where the network ran; "cpu" too where the one asked for had no memory left for this film.
    visible: rows and columns of the film that show anything, within a shutter or a collimator's blades.
    """

    masks: Masks
    probabilities: Float32[np.ndarray, "vertebra grid_rows grid_columns"]
    fit: GridFit
    levels: LevelReport
    seconds: float
    device: str
    visible: Box
