"""Masks to what a spine reader measures: heights, compression, discs, angles, slips; each with its error.

Everything is worked out from the four corners and the two endplate middles of each body (`geometry`). Angles and ratios
need no spacing; millimetres appear only where the film states one, with whose they are. Errors come from drawing the
sides of each body anew within the masks' own uncertainty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE, BadInput, Masks, Spacing
from spineseg.inference.levels import LevelConfig, LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.measure.corners import SIDES, Body
from spineseg.measure.errors import BoneMap, Draws, drawn_bodies, side_errors
from spineseg.measure.figures import (
    GENANT,
    JOINTS,
    KEYS,
    KINDS,
    MEYERDING,
    MEYERDING_BACKWARD,
    SOURCES,
    all_figures,
    grade,
)
from spineseg.measure.spine import Facing, Spine, read_spine

MOST_ERROR = {"deg": 60.0, "%": 100.0, "": 2.0, "mm": 40.0}
"""Error, by unit, beyond which a figure tells nothing and is withheld, with the grade made from it. Twice as much as
the largest on films that show a spine; fields of noise reach thousands."""
_GRADED = {"genant_grade": "compression_percent", "meyerding_grade": "slip_percent"}
_LEAST_TURN_DEG = 20.0
"""Below this the front of the spine cannot be told from its back."""
Source = Literal["nothing", "outline", "probability"]
"""What errors rest on: nothing where corners are given as known, and no error is stated then."""


class Row(NamedTuple):
    """One line of a table; error: half the width of the 95 % interval, None for a grade."""

    name: str
    value: float
    unit: str
    error: float | None
    source: str


@dataclass(frozen=True)
class Line:
    """A construction line on the film; (row, column), pixel centres at whole numbers."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One measured figure. key: for files, with the unit at its end. error: half the width of the 95 % interval."""

    key: str
    name: str
    value: float
    unit: str
    error: float | None
    source: str


@dataclass(frozen=True, eq=False)
class Measurements:
    """All figures of one film, by key in a fixed order.

    left_out: vertebrae without figures, with the reason. corners: of each measured body, (row, column): cranial-
    anterior, cranial-posterior, caudal-posterior, caudal-anterior. error_from: what the errors rest on. withheld: names
    of figures that are too uncertain to be given (`MOST_ERROR`).
    facing: the side of the film that the front of the body is on; None if it could not be told, and then no figures.
    """

    figures: dict[str, Figure]
    left_out: dict[str, str]
    corners: dict[str, list[tuple[float, float]]]
    lines: tuple[Line, ...]
    facing: Facing | None
    spacing: Spacing | None
    error_from: Source
    withheld: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Figure:
        """The figure of that key; KeyError where it could not be measured."""
        return self.figures[key]

    def table(self) -> list[Row]:
        """Every figure as (name, value, unit, error, source)."""
        return [Row(f.name, f.value, f.unit, f.error, f.source) for f in self.figures.values()]

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "figures": {key: asdict(figure) for key, figure in self.figures.items()},
            "error": "half the width of the 95 % interval",
            "error_from": self.error_from,
            "left_out": self.left_out,
            "withheld": self.withheld,
            "facing": self.facing,
            "millimetres": None if self.spacing is None else self.spacing.plane,
            "corners_row_column": self.corners,
            "sources": {f.source: SOURCES[f.source] for f in self.figures.values() if f.source in SOURCES},
        }


def measure_corners(
    corners: Float[np.ndarray, "vertebra corner=4 rc=2"], spacing: Spacing | None = None
) -> Measurements:
    """The same figures from corners that are known, as a simulator's or a reader's are; without errors.

    corners: (row, column) with the front on the left: cranial-anterior, cranial-posterior, caudal-posterior, caudal-
    anterior; NaN for a vertebra that has none. Endplates count as straight.
    """
    row_to_column = spacing.row_mm / spacing.column_mm if spacing else 1.0
    bodies, left_out = {}, {}
    for name, four in zip(VERTEBRAE, corners * [row_to_column, 1.0], strict=True):
        if np.isfinite(four).all():
            middles = np.stack([(four[0] + four[1]) / 2, (four[2] + four[3]) / 2])
            bodies[name] = Body(four, middles, np.zeros(len(SIDES)))
        else:
            left_out[name] = "no corners"
    return _measured(Spine(bodies, left_out, "left", 180.0), None, spacing, "nothing")


def measure_prediction(
    prediction: Prediction, spacing: Spacing | None = None, *, facing: Facing | None = None
) -> Measurements:
    """Measure what a network found, with errors from how soft the edges of its probability map are.

    Vertebrae whose own level is uncertain are left out. The verdict on the film as a whole is the caller's to show.
    facing: see `measure`.
    """
    usable, bone_map = sure_vertebrae(prediction.levels), bone_map_of(prediction)
    return measure(prediction.masks, spacing, usable=usable, bone_map=bone_map, facing=facing)


def bone_map_of(prediction: Prediction) -> BoneMap:
    """Of all vertebrae together, as `measure` takes it."""
    bone = np.minimum(prediction.probabilities.sum(0), 1.0).astype(np.float32)
    return BoneMap(bone, prediction.fit, prediction.visible)


def sure_vertebrae(levels: LevelReport) -> frozenset[str]:
    """Vertebrae that are present and whose own level is not uncertain."""
    least = LevelConfig().sure_agreement
    stated = zip(VERTEBRAE, levels.present, levels.confidence, strict=True)
    return frozenset(name for name, present, sure in stated if present and sure > least)


def check_masks(masks: np.ndarray) -> None:
    """Raise BadInput unless these are six boolean masks."""
    if masks.ndim != 3 or len(masks) != len(VERTEBRAE) or masks.dtype != bool:
        shape = " x ".join(map(str, masks.shape))
        raise BadInput(
            f"expected boolean masks of 6 x rows x columns, got {masks.dtype} of {shape}; "
            "of an array of rows x columns x 7 take np.moveaxis(array[..., :6] > 0, 2, 0)"
        )


def measure(
    masks: Masks,
    spacing: Spacing | None = None,
    *,
    usable: Collection[str] = VERTEBRAE,
    bone_map: BoneMap | None = None,
    facing: Facing | None = None,
) -> Measurements:
    """Measure one film.

    usable: names of the vertebrae that may be measured; others, and those absent, cut by the edge of the film or of its
    visible part or not shaped like a body, yield no figure. bone_map: what the errors rest on for a network's masks
    (`measure_prediction` gives it); without it they hold only how well the outlines fix the sides, not whether the
    outlines are right. facing: the side that the front of the body is on, if that is known; without it a spine that
    turns too little yields no figure, and a kyphotic one is taken for a lordotic one that faces the other way.
    Raises BadInput for another array.
    """
    check_masks(masks)
    row_to_column = spacing.row_mm / spacing.column_mm if spacing else 1.0
    sharpness, visible = (bone_map.sharpness, bone_map.visible) if bone_map else (None, None)
    spine = read_spine(masks, row_to_column, usable, sharpness, facing, visible)
    source: Source = "outline" if bone_map is None else "probability"
    if facing is None and spine.turn_deg < _LEAST_TURN_DEG:
        reason = "which side is the front cannot be told"
        left_out = {name: spine.left_out.get(name, reason) for name in VERTEBRAE}
        return Measurements({}, left_out, {}, (), None, spacing, source)
    errors = np.zeros((len(VERTEBRAE), len(SIDES), 2))
    for name, body in spine.bodies.items():
        errors[VERTEBRAE.index(name)] = side_errors(body, row_to_column, bone_map)
    return _measured(spine, errors, spacing, source)


def _measured(
    spine: Spine,
    errors: Float[np.ndarray, "vertebra side=4 kind=2"] | None,
    spacing: Spacing | None,
    source: Source,
) -> Measurements:
    """Figures of bodies that are known, their errors (none stated if none are given) and lines."""
    drawn = drawn_bodies(spine, errors)
    found = {key: values for key, values in all_figures(drawn, spacing) if np.isfinite(values[0])}
    figures = {key: _figure(key, values, spacing) for key, values in found.items()}
    withheld = {key: figure.name for key, figure in figures.items() if _vague(key, figures)}
    figures = {key: figure for key, figure in figures.items() if key not in withheld}
    back = np.array([spacing.column_mm / spacing.row_mm if spacing else 1.0, 1.0])
    corners = {name: [(float(r), float(c)) for r, c in body.corners * back] for name, body in spine.bodies.items()}
    lines, told = tuple(_lines(spine, back)), tuple(dict.fromkeys(withheld.values()))
    return Measurements(figures, spine.left_out, corners, lines, spine.facing, spacing, source, told)


def _vague(key: str, figures: dict[str, Figure]) -> bool:
    """Whether the figure's error, or a grade's figure's, tells that nothing is known."""
    for graded, figure in _GRADED.items():
        key = key.replace(graded, figure)
    error = figures[key].error
    return error is not None and error > MOST_ERROR[KINDS[key].unit]


def _figure(key: str, values: Draws, spacing: Spacing | None) -> Figure:
    """Value of the first draw, error from the rest, if there are any."""
    kind, value, unit = KINDS[key], float(values[0]), KINDS[key].unit
    if key.endswith("_genant_grade"):
        return Figure(key, kind.name, float(grade(value, GENANT)), unit, None, kind.source)
    if key.endswith("_meyerding_grade"):
        limits = MEYERDING if value >= 0 else MEYERDING_BACKWARD
        return Figure(key, kind.name, float(grade(abs(value), limits)), unit, None, kind.source)
    # An angle near 180 degrees may jump to -180 between draws.
    spread = (values[1:] - value + 180) % 360 - 180 if unit == "deg" else values[1:] - value
    error = 1.96 * float(np.sqrt(np.mean(spread**2))) if len(spread) else None
    if key.endswith("_compression_percent"):
        value = max(value, 0.0)
    if "_slip_" in key:
        unit += " forward (antero)" if value >= 0 else " backward (retro)"
    if kind.unit == "mm" and spacing is not None:
        unit += " at the detector" if spacing.plane == "detector" else " calibrated"
    return Figure(key, kind.name, value, unit, error, kind.source)


# Lines


def _lines(spine: Spine, back: np.ndarray) -> Iterator[Line]:
    """Endplates, heights and middles of the bodies; the horizontal at S1; the slips. In film pixels."""

    def line(name: str, start: np.ndarray, end: np.ndarray) -> Line:
        (r0, c0), (r1, c1) = (start * back).tolist(), (end * back).tolist()
        return Line(name, (r0, c0), (r1, c1))

    for name, body in spine.bodies.items():
        ca, cp, lp, la = body.corners
        yield line(f"{name} upper endplate", ca, cp)
        if name != "S1":
            yield line(f"{name} lower endplate", la, lp)
            yield line(f"{name} anterior height", ca, la)
            yield line(f"{name} middle height", *body.middles)
            yield line(f"{name} posterior height", cp, lp)
        else:
            yield line("sacral slope horizontal", cp, np.array([cp[0], ca[1]]))
    for above, below in JOINTS:
        if above in spine.bodies and below in spine.bodies:
            corner, (ca, cp) = spine.bodies[above].corners[2], spine.bodies[below].corners[:2]
            foot = cp + (ca - cp) * ((corner - cp) @ (ca - cp)) / ((ca - cp) @ (ca - cp))
            yield line(f"{above} slip on {below}", corner, foot)
            yield line(f"{above}/{below} disc anterior", spine.bodies[above].corners[3], ca)
            yield line(f"{above}/{below} disc posterior", corner, cp)


# One table over films


def csv_columns() -> tuple[str, ...]:
    """Head of a table with one line per film: every figure that a film may have, each followed by its error."""
    figures = (column for key in KEYS for column in _columns_of(key))
    return ("film", "verdict", "reasons", "facing", "left_out", "millimetres", "error_from", *figures)


def csv_row(film: str, levels: LevelReport, measurements: Measurements) -> tuple[str, ...]:
    """One film's line; an empty cell where there is no figure."""
    cells: list[str] = []
    for key in KEYS:
        figure = measurements.figures.get(key)
        cells.append("" if figure is None else f"{figure.value:.4g}")
        if len(_columns_of(key)) > 1:
            cells.append("" if figure is None or figure.error is None else f"{figure.error:.3g}")
    left_out = "; ".join(f"{name}: {reason}" for name, reason in measurements.left_out.items())
    plane = measurements.spacing.plane if measurements.spacing else ""
    said = (film, levels.verdict, "; ".join(levels.reasons), measurements.facing or "", left_out, plane)
    return (*said, measurements.error_from, *cells)


def _columns_of(key: str) -> tuple[str, ...]:
    """A grade has no error of its own."""
    return (key,) if key.endswith("_grade") else (key, f"{key}_error")
