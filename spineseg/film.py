"""The vocabulary of every other file: vertebrae in channel order, a film, a labelled case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from spineseg.exposed_field import Box, exposed_field


@dataclass(frozen=True)
class Vertebra:
    """One vertebral body that the network names.

    colour: of its mask, "#rrggbb". snomed: code and meaning in SNOMED CT, as in DICOM PS3.16 context group 7603.
    """

    name: str
    colour: str
    snomed: tuple[str, str]


ANATOMY = (
    Vertebra("L1", "#ee8055", ("66794005", "L1 vertebra")),
    Vertebra("L2", "#7090ff", ("14293000", "L2 vertebra")),
    Vertebra("L3", "#aa0000", ("36470004", "L3 vertebra")),
    Vertebra("L4", "#50fff0", ("11994002", "L4 vertebra")),
    Vertebra("L5", "#5a00f0", ("49668003", "L5 vertebra")),
    Vertebra("S1", "#ffff00", ("65985001", "S1 vertebra")),
)
"""Cranial to caudal, without a gap: the one place that says which vertebrae there are. For another set see
`docs/how-to/another-set-of-vertebrae.md`.

The colours come from a search for a large least CIEDE2000 distance over all pairs, to normal, red-blind, green-blind
and blue-blind eyes, at 45 % opacity over a mid-grey film. It is 15 (`tests/test_render.py` measures it); Okabe and
Ito's palette, made for print, has 5.6. In this order neighbours differ most: by 29."""

VERTEBRAE = tuple(vertebra.name for vertebra in ANATOMY)
"""Their names, in the order of the first channels everywhere."""
BACKGROUND = "background"
CHANNELS = (*VERTEBRAE, BACKGROUND)
"""The channels of an array: the vertebral bodies, then the complement of their union."""
Masks = Bool[np.ndarray, f"vertebra={len(VERTEBRAE)} rows columns"]
SPACING_MM = (0.001, 100.0)
"""Range of pixel spacing that a film may state; any other value is a mistake or an attack."""
ASPECT = (0.1, 10.0)
"""Range of the height of a pixel over its width that a film may state."""


class BadInput(ValueError):
    """One sentence for a person: what is wrong and what to do. Never holds a path or a patient's data."""


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

    @property
    def row_to_column(self) -> float:
        """Height of a pixel over its width."""
        return self.row_mm / self.column_mm


WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""VOI LUT Function (0028,1056): how level and width make grey values. Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""

WINDOW_MOST = 1e9
"""Largest level, up or down, and largest width that a film may state."""


@dataclass(frozen=True)
class Window:
    """Window level (Window Center, 0028,1050) and width (0028,1051), in the units of `Film.image`; width above 0."""

    level: float
    width: float
    function: str = "LINEAR"

    def mirrored(self, about: float) -> Window:
        """The window under which `about` - value looks as value did under this one, black and white exchanged."""
        return replace(self, level=about - self.level + (self.function == "LINEAR"))


@dataclass(frozen=True, eq=False)
class Film:
    """One radiograph, without any identity of the patient.

    image: brighter = denser (bone bright), in the stored units; finite, not constant, read-only.
    spacing: None where the file states none. aspect: height of a pixel over its width, used where there is no spacing
    (Pixel Aspect Ratio, 0028,0034). remarks: what a user of the film must know of the file, as short sentences.
    polarity_known: a person said that bone is bright here; else the picture decides (`inference.polarity`).
    window: the one that the file states, None where it states none.
    """

    image: Float32[np.ndarray, "rows columns"]
    spacing: Spacing | None = None
    aspect: float = 1.0
    remarks: tuple[str, ...] = ()
    polarity_known: bool = False
    window: Window | None = None

    def __post_init__(self) -> None:
        self.image.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.image.shape
        return rows, columns

    @property
    def row_to_column(self) -> float:
        """Height of a pixel over its width."""
        return self.spacing.row_to_column if self.spacing else self.aspect

    @cached_property
    def field(self) -> Box:
        """Rows and columns of the radiograph, without borders around it; see `exposed_field`."""
        return exposed_field(self.image)

    def inverted(self) -> Film:
        """The film with its grey values inverted within their own range, for one stored with dark bone."""
        both = self.image.min() + self.image.max()
        window = self.window and self.window.mirrored(float(both))
        return replace(self, image=np.asarray(both - self.image, dtype=np.float32), window=window)

    def as_told(self, *, invert: bool) -> Film:
        """The film of a person who says whether bone is dark in it (`invert`) or bright."""
        return replace(self.inverted() if invert else self, polarity_known=True)


@dataclass(frozen=True)
class Finding:
    """What is known to be on a film beside healthy bone, such as a fracture or an implant.

    degree: how much of it, in `unit` ("" where there is nothing to measure). where: the bodies that it concerns.
    """

    name: str
    degree: float = 1.0
    unit: str = ""
    where: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Case:
    """A film with the masks of its vertebrae, which may overlap by some pixels (L5 and S1 do on real films).

    remarks: what the label file states and masks cannot hold, as short sentences. findings: what a simulated film shows
    beside an ordinary spine.
    """

    name: str
    film: Film
    masks: Masks
    remarks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def bounding_box(mask: Bool[np.ndarray, "rows columns"]) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds the mask; two empty slices for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    high = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[high].any(axis=0))
    return high, slice(int(columns[0]), int(columns[-1]) + 1)


def down_the_spine(centres: Float[np.ndarray, "body 2"]) -> Float[np.ndarray, "2"]:
    """Unit vector (row, column) of the line that fits the centres best, pointing down the film.

    The direction of the spine as a whole, whatever the centres are called and in whichever order they come.
    """
    axis = np.linalg.svd(centres - centres.mean(axis=0))[2][0]
    return axis if axis[0] >= 0 else -axis


def down_at(centres: Mapping[int, Float[np.ndarray, "2"]], level: int) -> Float[np.ndarray, "2"]:
    """Unit vector (row, column) from head to tail at one vertebra: from the one above to the one below.

    The direction of the spine's curve there. centres: by place in `VERTEBRAE`; where a neighbour is missing the next
    one counts, and at an end the vertebra itself. Straight down the film for a vertebra that is alone.
    """
    above = max((k for k in centres if k < level), default=level)
    below = min((k for k in centres if k > level), default=level)
    down = centres[below] - centres[above]
    length = float(np.linalg.norm(down))
    return down / length if length else np.array([1.0, 0.0])
