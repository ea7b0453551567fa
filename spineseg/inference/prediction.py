"""The result of inference on one film; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32

from spineseg.exposed_field import Box
from spineseg.film import Film, Masks
from spineseg.inference.grid import GridFit
from spineseg.inference.levels import LevelReport
from spineseg.inference.verdict import NOT_LUMBAR

Mask = Bool[np.ndarray, "rows columns"]
INVERTED = "bone is dark in this picture, which its file does not state; it was inverted"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks, probability maps and level report of one film.

    masks: at the film's size, disjoint. probabilities: 0..1 on the grid, the mean over views, before post-processing.
    seconds: film to masks. device: where the network ran; "cpu" also where the device asked for ran out of memory.
    visible: rows and columns of the film within shutter and collimator (`visible_field`). inverted: the film was
    segmented with bright and dark exchanged, as its picture shows bone dark. beyond: outlines of bodies above the first
    vertebra of all (-1, -2, ...) and below the last, by their level: those that have a name in the other numbering.
    """

    masks: Masks
    probabilities: Float32[np.ndarray, "vertebra grid_rows grid_columns"]
    fit: GridFit
    levels: LevelReport
    seconds: float
    device: str
    visible: Box
    inverted: bool = False
    beyond: Mapping[int, Mask] = field(default_factory=dict)

    def seen(self, film: Film) -> Film:
        """The film as it was segmented, with bright bone."""
        return film.inverted() if self.inverted else film

    @property
    def drawn(self) -> Masks:
        """The masks that are shown unasked: none where the film does not look like a lateral lumbar radiograph."""
        return np.zeros_like(self.masks) if self.levels.verdict == NOT_LUMBAR else self.masks

    @property
    def other_masks(self) -> Masks | None:
        """The masks under the other numbering; None where the numbering is not ambiguous."""
        if not self.levels.shift:
            return None
        bodies, empty = {**dict(enumerate(self.masks)), **self.beyond}, np.zeros_like(self.masks[0])
        return np.stack([bodies.get(level - self.levels.shift, empty) for level in range(len(self.masks))])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user must know of how the film was segmented, as short sentences."""
        return (INVERTED,) if self.inverted else ()
