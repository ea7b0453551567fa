"""The vocabulary every other file speaks: vertebrae in channel order, a film, a labelled case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

VERTEBRAE = ("L1", "L2", "L3", "L4", "L5", "S1")
"""Cranial to caudal; the order of the first six channels everywhere."""
BACKGROUND = "background"
CHANNELS = (*VERTEBRAE, BACKGROUND)
"""The seven channels of an array: six vertebral bodies, then the complement of their union."""
Masks = Bool[np.ndarray, "vertebra=6 rows columns"]
SPACING_MM = (0.001, 100.0)
"""Least and most distance of two pixels that a film may state; any other is a slip, or there to break what computes."""


class BadInput(ValueError):
    """One sentence for a person: what was expected, what came, what to do. Never holds a path or a patient field."""


@dataclass(frozen=True)
class Spacing:
    """Distance between neighbouring pixel centres, and in which plane it was measured.

    row_mm: between rows (downwards); column_mm: between columns (to the right); both within `SPACING_MM`.
    plane: "detector" (Imager Pixel Spacing, 0018,1164: the patient is magnified against it) or
    "patient" (Pixel Spacing, 0028,0030, calibrated). Source: DICOM PS3.3 C.8.11.3 and 10.7.1.3.
    """

    row_mm: float
    column_mm: float
    plane: Literal["detector", "patient"]


@dataclass(frozen=True, eq=False)
class Film:
    """One radiograph, without any identity of the patient.

    image: brighter = denser (bone bright), in the stored units; finite, not constant, read-only.
    spacing: None where the file states none.
    """

    image: Float32[np.ndarray, "rows columns"]
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        self.image.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.image.shape
        return rows, columns

    def inverted(self) -> Film:
        """The film with dense and clear exchanged within its own range, for one stored the wrong way round."""
        low, high = self.image.min(), self.image.max()
        return Film(np.asarray(low + high - self.image, dtype=np.float32), self.spacing)


@dataclass(frozen=True, eq=False)
class Case:
    """A film with the masks of its six vertebrae; masks may overlap by some pixels (L5 and S1 do on real films).

    remarks: what the label file said that masks cannot, as short sentences.
    """

    name: str
    film: Film
    masks: Masks
    remarks: tuple[str, ...] = ()


def bounding_box(mask: Bool[np.ndarray, "rows columns"]) -> tuple[slice, slice]:
    """The smallest box that holds the mask: its rows and its columns; two empty slices where nothing is."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    high = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[high].any(axis=0))
    return high, slice(int(columns[0]), int(columns[-1]) + 1)


def down_the_spine(centres: Float[np.ndarray, "body 2"]) -> Float[np.ndarray, "2"]:
    """Unit vector (row, column) of the line that fits the centres best, pointing down the film."""
    axis = np.linalg.svd(centres - centres.mean(axis=0))[2][0]
    return axis if axis[0] >= 0 else -axis
