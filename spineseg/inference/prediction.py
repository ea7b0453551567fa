"""The result of inference on one film; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from spineseg.exposed_field import Box
from spineseg.film import Masks
from spineseg.inference.grid import GridFit
from spineseg.inference.levels import LevelReport


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks, probability maps and level report of one film.

    masks: at the film's size, disjoint. probabilities: 0..1 on the grid, the mean over views, before post-processing.
    seconds: film to masks. device: where the network ran; "cpu" also where the device asked for ran out of memory.
    visible: rows and columns of the film within shutter and collimator (`visible_field`).
    """

    masks: Masks
    probabilities: Float32[np.ndarray, "vertebra grid_rows grid_columns"]
    fit: GridFit
    levels: LevelReport
    seconds: float
    device: str
    visible: Box
