"""Every figure that a film may have: its formula, and one declaration of its key, name, unit and source.

`DEFINITIONS` lists them; tables, CSV columns, JSON and the page follow from it. A formula takes all samples of the
bodies at once: the first sample is as measured, the others tell the error. Lengths are in column widths of the film.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE, Spacing
from spineseg.measure.errors import SampledBodies, Samples, Vectors, length

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
GENANT = (20.0, 25.0, 40.0)
"""Loss of height in per cent at which grades 1, 2 and 3 begin."""
MEYERDING = (5.0, 25.0, 50.0, 75.0, 100.0)
"""Slip forward, in per cent of the endplate, at which grades 1 to 5 begin. Meyerding's own grade 1 begins above
nothing; here it begins at 5."""
MEYERDING_BACKWARD = (15.0, *MEYERDING[1:])
"""The same backward. Among 502 people's outlines the mean was 4 to 7 per cent backward with a deviation of 5 to 9, and
4 to 13 per cent of them reached 15 (docs/reference/measurements.md)."""
MOST_ERROR = {"deg": 60.0, "%": 100.0, "": 2.0, "mm": 40.0}
"""Error, by unit, beyond which a figure tells nothing and is withheld, with the grade made from it. Twice as much as
the largest on films that show a spine; fields of noise reach thousands."""
_COMPARED = tuple(name for name in ("L1", "L2", "L3", "L4") if name in VERTEBRAE)
"""Bodies that others' heights are compared with."""


# Formulas


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1)


def tilt_deg(endplate: Vectors) -> Float[np.ndarray, "*any"]:
    """Slope of an endplate given from front to back: degrees by which its front is lower than its back."""
    return np.degrees(np.arctan2(-endplate[..., 0], endplate[..., 1]))


def angle_deg(upper: Vectors, lower: Vectors) -> Float[np.ndarray, "*any"]:
    """Angle between two endplates, positive if they come nearer to each other at the back (lordosis), -180..180.

    Source: Cobb (1948), who drew it between the perpendiculars, which is the same.
    """
    return (tilt_deg(lower) - tilt_deg(upper) + 180) % 360 - 180


def upper_endplates_deg(bodies: SampledBodies, above: str, below: str) -> Samples:
    """Angle between the upper endplates of two bodies."""
    return angle_deg(bodies.upper(above), bodies.upper(below))


def disc_deg(bodies: SampledBodies, above: str, below: str) -> Samples:
    """Angle between the two endplates that bound a disc."""
    return angle_deg(bodies.lower(above), bodies.upper(below))


def anterior_height(bodies: SampledBodies, name: str) -> Samples:
    """Between the two corners in front. Source: Genant (1993)."""
    ca, _, _, la = bodies.of(name)
    return length(la - ca)


def middle_height(bodies: SampledBodies, name: str) -> Samples:
    """Between the middles of the endplates' contours, which a hollow endplate lowers. Source: Genant (1993)."""
    middle = bodies.middles[:, VERTEBRAE.index(name)]
    return length(middle[:, 1] - middle[:, 0])


def posterior_height(bodies: SampledBodies, name: str) -> Samples:
    """Between the two corners behind. Source: Genant (1993)."""
    _, cp, lp, _ = bodies.of(name)
    return length(lp - cp)


def depth(bodies: SampledBodies, name: str) -> Samples:
    """Front-to-back depth of a body: mean of its two endplates' lengths. Source: Frobin (1997), mean depth."""
    return (length(bodies.upper(name)) + length(bodies.lower(name))) / 2


def compression_percent(bodies: SampledBodies, name: str) -> Samples:
    """Loss of height: the largest of wedge (anterior to posterior), biconcave (middle to posterior) and crush.

    Crush is the posterior height against the mean of the nearest healthy bodies (`_healthy_neighbours`). L5 is lower
    behind than in front in health: its crush is that of the anterior height, its middle is compared with the mean of
    front and back, and it is no neighbour to others. Without another body no crush is judged. May be negative in a
    body without any loss. Source: Genant (1993), who judged the same losses by eye.
    """
    front, middle, back = (height(bodies, name) for height in (anterior_height, middle_height, posterior_height))
    compared = anterior_height if name == "L5" else posterior_height
    shares = [front / back, middle / ((front + back) / 2 if name == "L5" else back)]
    if neighbours := _healthy_neighbours(bodies, name, compared):
        shares.append(compared(bodies, name) / np.mean(neighbours, axis=0))
    return 100 * (1 - np.min(shares, axis=0))


def _healthy_neighbours(
    bodies: SampledBodies, name: str, height: Callable[[SampledBodies, str], Samples]
) -> list[Samples]:
    """Heights of the one or two nearest of L1 to L4; without those a fifth lower than the tallest of them."""
    others = {other: height(bodies, other) for other in _COMPARED if other != name}
    others = {other: samples for other, samples in others.items() if np.isfinite(samples[0])}
    tallest = max((samples[0] for samples in others.values()), default=0.0)
    healthy = {other: samples for other, samples in others.items() if samples[0] > (1 - GENANT[0] / 100) * tallest}
    steps = {other: abs(VERTEBRAE.index(other) - VERTEBRAE.index(name)) for other in healthy}
    return [samples for other, samples in healthy.items() if steps[other] == min(steps.values())]


def disc_height(bodies: SampledBodies, above: str, below: str) -> Samples:
    """Mean of a disc's anterior and posterior height, across the bisector of the two endplates that bound it.

    Measured across, a slip does not add to the height. Source: Frobin (1997), with the endplates for the midplanes.
    """
    lower, upper = bodies.lower(above), bodies.upper(below)
    along = lower / length(lower)[:, None] + upper / length(upper)[:, None]
    across = np.stack([along[:, 1], -along[:, 0]], -1) / length(along)[:, None]
    _, _, lp, la = bodies.of(above)
    ca, cp, _, _ = bodies.of(below)
    return np.mean([_dot(ca - la, across), _dot(cp - lp, across)], axis=0)


def slip_percent(bodies: SampledBodies, above: str, below: str) -> Samples:
    """How far the lower back corner of a body lies in front of the upper back corner of the next one.

    In per cent of the lower body's upper endplate, along it; above 0 forward (anterolisthesis), below 0 backward
    (retrolisthesis). Source: Meyerding (1932) for the grades in quarters of the endplate.
    """
    endplate = bodies.upper(below)
    _, _, lp, _ = bodies.of(above)
    _, cp, _, _ = bodies.of(below)
    return 100 * _dot(cp - lp, endplate) / _dot(endplate, endplate)


def slip(bodies: SampledBodies, above: str, below: str) -> Samples:
    """The same as a length."""
    return slip_percent(bodies, above, below) / 100 * length(bodies.upper(below))


def genant_grade(loss_percent: float) -> int:
    """0 to 3. Source: Genant (1993)."""
    return sum(loss_percent >= limit for limit in GENANT)


def meyerding_grade(slip_percent: float) -> int:
    """0 to 5, of a slip forward (above 0) or backward. Source: Meyerding (1932)."""
    return sum(abs(slip_percent) >= limit for limit in (MEYERDING if slip_percent >= 0 else MEYERDING_BACKWARD))


# Declarations


@dataclass(frozen=True)
class Figure:
    """One measured figure. key: for files, with the unit at its end. error: half the width of the 95 % interval."""

    key: str
    name: str
    value: float
    unit: str
    error: float | None
    source: str


@dataclass(frozen=True)
class Definition:
    """One figure, declared once. In key and name {0} and {1} stand for the vertebrae, which `at` puts in.

    key: for files, with the unit at its end. unit: one of `MOST_ERROR`; of a grade, its range. source: a key of
    `SOURCES`. formula: takes the bodies and the vertebrae's names. grade: makes a grade of a value in per cent.
    signs: what the printed unit says of a value from 0 on, and below 0. least: smaller values count as this one.
    """

    key: str
    name: str
    unit: str
    source: str
    formula: Callable[..., Samples]
    vertebrae: tuple[str, ...] = ()
    grade: Callable[[float], int] | None = None
    signs: tuple[str, str] = ("", "")
    least: float = -math.inf

    def at(self, *vertebrae: str) -> Definition:
        """The same figure of these vertebrae."""
        return replace(self, key=self.key.format(*vertebrae), name=self.name.format(*vertebrae), vertebrae=vertebrae)

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
        value, unit = max(value, self.least), self.unit + self.signs[value < 0]
        if self.unit == "mm" and spacing is not None:
            unit += " at the detector" if spacing.plane == "detector" else " calibrated"
        return Figure(self.key, self.name, value, unit, self.error(samples), self.source)


def each(places: Iterable[tuple[str, ...]], *definitions: Definition) -> Iterator[Definition]:
    """All definitions at the first place, then at the next; places with a vertebra not in `VERTEBRAE` are left out."""
    for vertebrae in places:
        if set(vertebrae) <= set(VERTEBRAE):
            yield from (definition.at(*vertebrae) for definition in definitions)


_SLIP = (" forward (antero)", " backward (retro)")
DEFINITIONS = (
    *each(
        [("L1", "S1"), ("L4", "S1")],
        Definition("lordosis_{0}_{1}_deg", "lordosis {0}-{1}", "deg", "Cobb 1948", upper_endplates_deg),
    ),
    *each(
        [("S1",)],
        Definition("sacral_slope_deg", "sacral slope", "deg", "Legaye 1998", lambda b, s1: tilt_deg(b.upper(s1))),
    ),
    *each(
        JOINTS,
        Definition("{0}_{1}_segment_deg", "{0}-{1} segmental angle", "deg", "Cobb 1948", upper_endplates_deg),
        Definition("{0}_{1}_disc_deg", "{0}/{1} disc angle", "deg", "Cobb 1948", disc_deg),
    ),
    *each(
        JOINTS,
        Definition("{0}_{1}_slip_percent", "{0} slip on {1}", "%", "Meyerding 1932", slip_percent, signs=_SLIP),
        Definition("{0}_{1}_slip_mm", "{0} slip on {1}", "mm", "Meyerding 1932", slip, signs=_SLIP),
        Definition(
            "{0}_{1}_meyerding_grade",
            "{0} slip on {1}",
            "grade 0-5",
            "Meyerding 1932",
            slip_percent,
            grade=meyerding_grade,
        ),
    ),
    *each(
        JOINTS,
        Definition(
            "{0}_{1}_disc_ratio",
            "{0}/{1} disc height / depth of {0}",
            "",
            "Frobin 1997",
            lambda b, above, below: disc_height(b, above, below) / depth(b, above),
        ),
        Definition("{0}_{1}_disc_height_mm", "{0}/{1} disc height", "mm", "Frobin 1997", disc_height),
    ),
    *each(
        [(name,) for name in PRESACRAL],
        Definition(
            "{0}_anterior_posterior_ratio",
            "{0} anterior / posterior height",
            "",
            "Genant 1993",
            lambda b, name: anterior_height(b, name) / posterior_height(b, name),
        ),
        Definition(
            "{0}_middle_posterior_ratio",
            "{0} middle / posterior height",
            "",
            "Genant 1993",
            lambda b, name: middle_height(b, name) / posterior_height(b, name),
        ),
        Definition("{0}_compression_percent", "{0} compression", "%", "Genant 1993", compression_percent, least=0.0),
        Definition(
            "{0}_genant_grade", "{0} compression", "grade 0-3", "Genant 1993", compression_percent, grade=genant_grade
        ),
        Definition("{0}_anterior_height_mm", "{0} anterior height", "mm", "Genant 1993", anterior_height),
        Definition("{0}_middle_height_mm", "{0} middle height", "mm", "Genant 1993", middle_height),
        Definition("{0}_posterior_height_mm", "{0} posterior height", "mm", "Genant 1993", posterior_height),
        Definition("{0}_depth_mm", "{0} depth", "mm", "Frobin 1997", depth),
    ),
)
"""In the order of tables. To add one, add its line: `docs/how-to/add-a-measurement.md`."""
KEYS = tuple(definition.key for definition in DEFINITIONS)
"""Keys of all figures that a film may have."""
