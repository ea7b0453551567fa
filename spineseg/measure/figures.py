"""Every figure that a film may have: one declaration of its key, name, unit, source, formula and lines.

`DEFINITIONS` lists them; tables, CSV columns, JSON and the page follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from spineseg.film import VERTEBRAE, Spacing
from spineseg.measure.errors import SampledBodies, Samples
from spineseg.measure.formulas import (
    anterior_height,
    compression_percent,
    depth,
    disc_deg,
    disc_height,
    genant_grade,
    meyerding_grade,
    middle_height,
    posterior_height,
    slip,
    slip_percent,
    tilt_deg,
    upper_endplates_deg,
)

PRESACRAL = tuple(name for name in VERTEBRAE if not name.startswith("S"))
"""Vertebrae above the sacrum, which have a lower endplate, heights and a depth."""
JOINTS = tuple(pairwise(VERTEBRAE))
SOURCES = {
    "Cobb 1948": "Cobb JR. Outline for the study of scoliosis. Instr Course Lect 1948;5:261-275",
    "Frobin 1997": "Frobin W, Brinckmann P, Biggemann M, Tillotson M, Burton K. Precision measurement of disc height, "
    "vertebral height and sagittal plane displacement from lateral radiographic views of the lumbar spine. "
    "Clin Biomech 1997;12 Suppl 1:S1-S63",
    "Genant 1993": "Genant HK, Wu CY, van Kuijk C, Nevitt MC. Vertebral fracture assessment using a semiquantitative "
    "technique. J Bone Miner Res 1993;8:1137-1148",
    "Meyerding 1932": "Meyerding HW. Spondylolisthesis. Surg Gynecol Obstet 1932;54:371-377",
    "Legaye 1998": "Legaye J, Duval-Beaupere G, Hecquet J, Marty C. Pelvic incidence: a fundamental pelvic parameter "
    "for three-dimensional regulation of spinal sagittal curves. Eur Spine J 1998;7:99-103",
}
"""What the short names of sources in the tables stand for."""
MOST_ERROR = {"deg": 60.0, "%": 100.0, "": 2.0, "mm": 40.0}
"""Error, by unit, beyond which a figure tells nothing and is withheld, with the grade made from it. Twice as much as
the largest on films that show a spine; fields of noise reach thousands."""


@dataclass(frozen=True)
class Figure:
    """One measured figure. key: for files, with the unit at its end. error: half the width of the 95 % interval."""

    key: str
    name: str
    value: float
    unit: str
    error: float | None
    source: str


Topic = Literal["alignment", "slips", "discs", "bodies"]


class Row(NamedTuple):
    """One line of a table; error: half the width of the 95 % interval, None for a grade.

    A slip backward is called retrolisthesis and has no sign. lines: names of the measurement lines that show it.
    """

    name: str
    value: float
    unit: str
    error: float | None
    source: str
    key: str
    lines: tuple[str, ...]
    topic: Topic

    @property
    def cells(self) -> tuple[str, ...]:
        """Under `TABLE_HEAD`, for a spreadsheet."""
        if self.error is None:
            return (self.name, f"{self.value:g}", "", "", self.unit, self.source)
        ends = (f"{self.value + sign * self.error:.4g}" for sign in (-1, 1))
        return (self.name, f"{self.value:.4g}", *ends, self.unit, self.source)


TABLE_HEAD = ("measurement", "value", "95 % from", "95 % to", "unit", "source")


@dataclass(frozen=True)
class Definition:
    """One figure, declared once. In key and name {0} and {1} stand for the vertebrae, which `at` puts in.

    key: for files, with the unit at its end. unit: one of `MOST_ERROR`; of a grade, its range. source: a key of
    `SOURCES`. formula: takes the bodies and the vertebrae's names. grade: makes a grade of a value in per cent.
    directions: names that a table gives to values from 0 on and below 0, both printed without a sign. least: smaller
    values count as this one. lines: names of the measurement lines that show it. topic: under which a table lists it.
    """

    key: str
    name: str
    unit: str
    source: str
    formula: Callable[..., Samples]
    vertebrae: tuple[str, ...] = ()
    grade: Callable[[float], int] | None = None
    directions: tuple[str, str] | None = None
    least: float = -math.inf
    lines: tuple[str, ...] = ()
    topic: Topic = "alignment"

    def at(self, *vertebrae: str) -> Definition:
        """The same figure of these vertebrae."""
        return replace(
            self,
            key=self.key.format(*vertebrae),
            name=self.name.format(*vertebrae),
            vertebrae=vertebrae,
            directions=self.directions
            and (self.directions[0].format(*vertebrae), self.directions[1].format(*vertebrae)),
            lines=tuple(line.format(*vertebrae) for line in self.lines),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a table with one line per film. A grade has no error of its own."""
        return (self.key,) if self.grade else (self.key, f"{self.key}_error")

    @property
    def most_error(self) -> float:
        """Error beyond which the figure is withheld; of a grade, that of the value in per cent."""
        return MOST_ERROR["%" if self.grade else self.unit]

    def samples(self, bodies: SampledBodies, spacing: Spacing | None) -> Samples | None:
        """In the figure's unit; None where a vertebra is not measured, or a length has no spacing."""
        if self.unit == "mm" and spacing is None:
            return None
        found = self.formula(bodies, *self.vertebrae)
        if self.unit == "mm" and spacing is not None:
            found = found * spacing.column_mm
        return found if np.isfinite(found[0]) else None

    def error(self, samples: Samples) -> float | None:
        """Half the width of the 95 % interval; None without samples beside the measured one."""
        differences = samples[1:] - float(samples[0])
        if self.unit == "deg":  # an angle near 180 degrees may jump to -180 between samples
            differences = (differences + 180) % 360 - 180
        return 1.96 * float(np.sqrt(np.mean(differences**2))) if len(differences) else None

    def figure(self, samples: Samples, spacing: Spacing | None) -> Figure:
        """As it is printed and stored."""
        value = float(samples[0])
        if self.grade:
            return Figure(self.key, self.name, float(self.grade(value)), self.unit, None, self.source)
        value, unit = max(value, self.least), self.unit
        if self.unit == "mm" and spacing is not None:
            unit += " at the detector" if spacing.plane == "detector" else " calibrated"
        return Figure(self.key, self.name, value, unit, self.error(samples), self.source)

    def row(self, figure: Figure) -> Row:
        """The figure as a table prints it."""
        name, value = self.name, figure.value
        if self.directions:
            name, value = self.directions[value < 0], abs(value)
        return Row(name, value, figure.unit, figure.error, figure.source, self.key, self.lines, self.topic)


def each(
    places: Iterable[tuple[str, ...]], *definitions: Definition, topic: Topic = "alignment"
) -> Iterator[Definition]:
    """All definitions at the first place, then at the next; places with a vertebra not in `VERTEBRAE` are left out."""
    for vertebrae in places:
        if set(vertebrae) <= set(VERTEBRAE):
            yield from (replace(definition.at(*vertebrae), topic=topic) for definition in definitions)


_SLIP = ("{0} on {1} anterolisthesis", "{0} on {1} retrolisthesis")
_UPPER = ("{0} upper endplate", "{1} upper endplate")
_DISC = ("{0} lower endplate", "{1} upper endplate")
_GAP = ("{0}/{1} disc anterior", "{0}/{1} disc posterior")
_HEIGHTS = ("{0} anterior height", "{0} middle height", "{0} posterior height")
DEFINITIONS = (
    *each(
        [("L1", "S1")],
        Definition(
            "lordosis_{0}_{1}_deg",
            "Lumbar lordosis, {0}-{1} Cobb",
            "deg",
            "Cobb 1948",
            upper_endplates_deg,
            lines=_UPPER,
        ),
    ),
    *each(
        [("L4", "S1")],
        Definition(
            "lordosis_{0}_{1}_deg",
            "Lower lumbar lordosis, {0}-{1} Cobb",
            "deg",
            "Cobb 1948",
            upper_endplates_deg,
            lines=_UPPER,
        ),
    ),
    *each(
        [("S1",)],
        Definition(
            "sacral_slope_deg",
            "Sacral slope",
            "deg",
            "Legaye 1998",
            lambda b, s1: tilt_deg(b.upper(s1)),
            lines=("{0} upper endplate", "sacral slope horizontal"),
        ),
    ),
    *each(
        JOINTS,
        Definition(
            "{0}_{1}_segment_deg", "{0}-{1} segmental angle", "deg", "Cobb 1948", upper_endplates_deg, lines=_UPPER
        ),
        Definition("{0}_{1}_disc_deg", "{0}/{1} disc angle", "deg", "Cobb 1948", disc_deg, lines=_DISC),
    ),
    *each(
        JOINTS,
        Definition(
            "{0}_{1}_slip_percent",
            "{0} slip on {1}",
            "%",
            "Meyerding 1932",
            slip_percent,
            directions=_SLIP,
            lines=("{0} slip on {1}",),
        ),
        Definition(
            "{0}_{1}_slip_mm",
            "{0} slip on {1}",
            "mm",
            "Meyerding 1932",
            slip,
            directions=_SLIP,
            lines=("{0} slip on {1}",),
        ),
        Definition(
            "{0}_{1}_meyerding_grade",
            "{0} on {1} Meyerding grade",
            "grade 0-5",
            "Meyerding 1932",
            slip_percent,
            grade=meyerding_grade,
            lines=("{0} slip on {1}",),
        ),
        topic="slips",
    ),
    *each(
        JOINTS,
        Definition(
            "{0}_{1}_disc_ratio",
            "{0}/{1} disc height / depth of {0}",
            "",
            "Frobin 1997",
            lambda b, above, below: disc_height(b, above, below) / depth(b, above),
            lines=_GAP,
        ),
        Definition("{0}_{1}_disc_height_mm", "{0}/{1} disc height", "mm", "Frobin 1997", disc_height, lines=_GAP),
        topic="discs",
    ),
    *each(
        [(name,) for name in PRESACRAL],
        Definition(
            "{0}_anterior_posterior_ratio",
            "{0} anterior / posterior height",
            "",
            "Genant 1993",
            lambda b, name: anterior_height(b, name) / posterior_height(b, name),
            lines=(_HEIGHTS[0], _HEIGHTS[2]),
        ),
        Definition(
            "{0}_middle_posterior_ratio",
            "{0} middle / posterior height",
            "",
            "Genant 1993",
            lambda b, name: middle_height(b, name) / posterior_height(b, name),
            lines=_HEIGHTS[1:],
        ),
        Definition(
            "{0}_compression_percent",
            "{0} compression",
            "%",
            "Genant 1993",
            compression_percent,
            least=0.0,
            lines=_HEIGHTS,
        ),
        Definition(
            "{0}_genant_grade",
            "{0} Genant grade",
            "grade 0-3",
            "Genant 1993",
            compression_percent,
            grade=genant_grade,
            lines=_HEIGHTS,
        ),
        Definition(
            "{0}_anterior_height_mm", "{0} anterior height", "mm", "Genant 1993", anterior_height, lines=_HEIGHTS[:1]
        ),
        Definition(
            "{0}_middle_height_mm", "{0} middle height", "mm", "Genant 1993", middle_height, lines=_HEIGHTS[1:2]
        ),
        Definition(
            "{0}_posterior_height_mm", "{0} posterior height", "mm", "Genant 1993", posterior_height, lines=_HEIGHTS[2:]
        ),
        Definition(
            "{0}_depth_mm",
            "{0} depth",
            "mm",
            "Frobin 1997",
            depth,
            lines=("{0} upper endplate", "{0} lower endplate"),
        ),
        topic="bodies",
    ),
)
"""In the order of tables. To add one, add its line: `docs/how-to/add-a-measurement.md`."""
KEYS = tuple(definition.key for definition in DEFINITIONS)
"""Keys of all figures that a film may have."""
DEFINED = dict(zip(KEYS, DEFINITIONS, strict=True))
"""The definition of each key."""
