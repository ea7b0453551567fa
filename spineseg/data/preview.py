"""A batch as the network sees it: films on the grid, changed at random and normalised, with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from spineseg.data.augment import augment
from spineseg.data.config import AugmentConfig
from spineseg.film import VERTEBRAE, Case
from spineseg.inference.grid import film_to_grid, masks_to_grid, normalise
from spineseg.io.folder import labelled_films, read_case
from spineseg.model.config import GridConfig
from spineseg.render import contact_sheet, overlay

COUNT, COLUMNS = 8, 4


def augmented_batch(
    folder: Path, grid: GridConfig, changes: AugmentConfig, *, seed: int = 0, count: int = COUNT
) -> UInt8[np.ndarray, "rows columns rgb=3"]:
    """Films of a folder, drawn at random and again where there are too few, as training would change them.

    Raises BadInput if a film or label cannot be read.
    """
    films, rng = labelled_films(folder), np.random.default_rng(seed)
    order: Sequence[int] = rng.permutation(np.arange(max(count, len(films))) % len(films))[:count].tolist()
    return contact_sheet([_changed(read_case(films[k]), grid, changes, rng) for k in order], COLUMNS)


def _changed(
    case: Case, grid: GridConfig, changes: AugmentConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "rows columns rgb=3"]:
    """One film: the first channel of the network's input, its targets in colour."""
    image, fit = film_to_grid(case.film, grid)
    inside = fit.inside()
    low, high = float(image[inside].min()), float(image[inside].max())
    unit = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * inside).astype(np.float32)
    masks = masks_to_grid(case.masks, fit).astype(np.float32)
    image, targets, inside = augment(unit, masks, inside, rng, changes)
    return overlay(_grey(normalise(image, inside, grid)[0]), _vertebrae(targets))


def _vertebrae(
    targets: Float32[np.ndarray, "channel rows columns"],
) -> Bool[np.ndarray, "vertebra rows columns"]:
    return targets[: len(VERTEBRAE)] > 0.5


def _grey(channel: Float32[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    low, high = float(channel.min()), float(channel.max())
    return np.rint((channel - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
