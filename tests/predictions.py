"""A prediction of given masks, for tests that need no network."""

from __future__ import annotations

import numpy as np

from spineseg.film import VERTEBRAE, Masks
from spineseg.inference.grid import GridFit, grid_fit, masks_to_grid
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import RELIABLE
from spineseg.model.config import GridConfig

CERTAIN = LevelReport((True,) * len(VERTEBRAE), (0.9,) * len(VERTEBRAE), 1.0, RELIABLE, ())


def predicted(
    masks: Masks,
    levels: LevelReport = CERTAIN,
    *,
    probabilities: np.ndarray | None = None,
    fit: GridFit | None = None,
    seconds: float = 1.25,
    device: str = "cpu",
) -> Prediction:
    """probabilities: the masks' own on a grid of 64 x 48 if not given."""
    rows, columns = masks.shape[1:]
    fit = fit or grid_fit((rows, columns), GridConfig(rows=64, columns=48))
    if probabilities is None:
        probabilities = masks_to_grid(masks, fit)
    visible = slice(0, rows), slice(0, columns)
    return Prediction(masks, probabilities, fit, levels, seconds, device, visible)
