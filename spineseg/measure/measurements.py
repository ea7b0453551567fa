"""Masks to what a spine reader measures: heights, compression, discs, angles, slips; each with its error.

Everything follows from the four corners and the two endplate middles of each body (`corners`, `figures`). Angles and
ratios need no spacing. Millimetres need one, and say whether they are the detector's or the patient's. Errors are the
spread over random samples of each body's sides within the masks' own uncertainty (`errors`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from spineseg.film import CHANNELS, VERTEBRAE, BadInput, Masks, Spacing
from spineseg.inference.corners import SIDES, Body, Fit, fit_body
from spineseg.inference.levels import LevelConfig, LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.inference.views import bone_of
from spineseg.measure.errors import BoneMap, sample_bodies, side_errors
from spineseg.measure.figures import DEFINED, DEFINITIONS, JOINTS, PRESACRAL, SOURCES, Figure, Row
from spineseg.measure.spine import Facing, Spine, read_spine

_LEAST_TURN_DEG = 20.0
"""Below this the front of the spine cannot be told from its back."""
Source = Literal["nothing", "outline", "probability"]
"""What errors rest on: nothing where corners are given as known, and no error is stated then."""


@dataclass(frozen=True)
class Line:
    """A construction line on the film; (row, column), pixel centres at whole numbers."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Measurements:
    """All figures of one film, by key in a fixed order.

    left_out: vertebrae without figures, with the reason. corners: of each measured body, (row, column): cranial-
    anterior, cranial-posterior, caudal-posterior, caudal-anterior. error_from: what the errors rest on. withheld: names
    of figures that are too uncertain to be given (`figures.MOST_ERROR`).
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
        """Every figure as a table prints it."""
        return [DEFINED[key].row(figure) for key, figure in self.figures.items()]

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "figures": {key: asdict(figure) for key, figure in self.figures.items()},
            "error": "half the width of the 95 % interval",
            "slip": "above 0 anterolisthesis, below 0 retrolisthesis",
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
    row_to_column = spacing.row_to_column if spacing else 1.0
    bodies, left_out = {}, {}
    for name, four in zip(VERTEBRAE, corners * [row_to_column, 1.0], strict=True):
        if np.isfinite(four).all():
            middles = np.stack([(four[0] + four[1]) / 2, (four[2] + four[3]) / 2])
            bodies[name] = Body(four, middles, np.zeros(len(SIDES)))
        else:
            left_out[name] = "no corners"
    return _measured(Spine(bodies, left_out, "left", 180.0), None, spacing, row_to_column, "nothing")


def measure_prediction(
    prediction: Prediction,
    spacing: Spacing | None = None,
    *,
    row_to_column: float | None = None,
    facing: Facing | None = None,
) -> Measurements:
    """Measure what a network found, with errors from how soft the edges of its probability map are.

    Vertebrae whose own level is uncertain are left out, and all of them where the film does not look like a lateral
    lumbar radiograph. The verdict on the film as a whole is the caller's to show.
    row_to_column, facing: see `measure`.
    """
    if prediction.levels.verdict == NOT_LUMBAR:
        return unmeasured(spacing)
    usable, bone_map = sure_vertebrae(prediction.levels), bone_map_of(prediction)
    return measure(
        prediction.masks, spacing, row_to_column=row_to_column, usable=usable, bone_map=bone_map, facing=facing
    )


def unmeasured(spacing: Spacing | None = None) -> Measurements:
    """Of a picture that does not look like a lateral lumbar radiograph."""
    return Measurements({}, dict.fromkeys(VERTEBRAE, NOT_LUMBAR), {}, (), None, spacing, "probability")


def bone_map_of(prediction: Prediction) -> BoneMap:
    """Of all vertebrae together, as `measure` takes it."""
    return BoneMap(bone_of(prediction.probabilities), prediction.fit, prediction.visible)


def sure_vertebrae(levels: LevelReport) -> frozenset[str]:
    """Vertebrae that are present and whose own level is not uncertain."""
    least = LevelConfig().sure_agreement
    stated = zip(VERTEBRAE, levels.present, levels.confidence, strict=True)
    return frozenset(name for name, present, sure in stated if present and sure > least)


def check_masks(masks: np.ndarray) -> None:
    """Raise BadInput unless these are boolean masks, one for each vertebra."""
    count = len(VERTEBRAE)
    if masks.ndim != 3 or len(masks) != count or masks.dtype != bool:
        shape = " x ".join(map(str, masks.shape))
        raise BadInput(
            f"expected boolean masks of {count} x rows x columns, got {masks.dtype} of {shape}; "
            f"of an array of rows x columns x {len(CHANNELS)} take np.moveaxis(array[..., :{count}] > 0, 2, 0)"
        )


def measure(
    masks: Masks,
    spacing: Spacing | None = None,
    *,
    row_to_column: float | None = None,
    usable: Collection[str] = VERTEBRAE,
    bone_map: BoneMap | None = None,
    facing: Facing | None = None,
    drawn: Collection[str] = (),
    fit: Fit = fit_body,
) -> Measurements:
    """Measure one film.

    row_to_column: height of a pixel over its width, that of the spacing if not given (`Film.row_to_column`).
    usable: names of the vertebrae that may be measured; others, and those absent, cut by the edge of the film or of its
    visible part or not shaped like a body, yield no figure. bone_map: what the errors rest on for a network's masks
    (`measure_prediction` gives it); without it they hold only how well the outlines fix the sides, not whether the
    outlines are right. facing: the side that the front of the body is on, if that is known; without it a spine that
    turns too little yields no figure, and a kyphotic one is taken for a lordotic one that faces the other way.
    drawn: names of the vertebrae that a person outlined, whose errors rest on their outline and not on the bone map.
    fit: what finds a body in its mask; `KeptFits` where masks are measured again and again.
    Raises BadInput for another array.
    """
    check_masks(masks)
    row_to_column = row_to_column or (spacing.row_to_column if spacing else 1.0)
    sharpness, visible = (bone_map.sharpness, bone_map.visible) if bone_map else (None, None)
    spine = read_spine(masks, row_to_column, usable, sharpness, facing, visible, drawn, fit)
    source: Source = "outline" if bone_map is None else "probability"
    if facing is None and spine.turn_deg < _LEAST_TURN_DEG:
        reason = "which side is the front cannot be told"
        left_out = {name: spine.left_out.get(name, reason) for name in VERTEBRAE}
        return Measurements({}, left_out, {}, (), None, spacing, source)
    errors = np.zeros((len(VERTEBRAE), len(SIDES), 2))
    for name, body in spine.bodies.items():
        errors[VERTEBRAE.index(name)] = side_errors(body, row_to_column, None if name in drawn else bone_map)
    return _measured(spine, errors, spacing, row_to_column, source)


def _measured(
    spine: Spine,
    errors: Float[np.ndarray, "vertebra side=4 kind=2"] | None,
    spacing: Spacing | None,
    row_to_column: float,
    source: Source,
) -> Measurements:
    """Figures of known bodies with their errors (none stated if none are given) and measurement lines."""
    bodies = sample_bodies(spine, errors)
    figures: dict[str, Figure] = {}
    withheld: dict[str, None] = {}  # a slip in per cent and in mm have one name
    for definition in DEFINITIONS:
        samples = definition.samples(bodies, spacing)
        if samples is None:
            continue
        if (definition.error(samples) or 0.0) > definition.most_error:
            withheld |= {} if definition.grade else {definition.name: None}
        else:
            figures[definition.key] = definition.figure(samples, spacing)
    to_film = np.array([1 / row_to_column, 1.0])
    corners = {name: [(float(r), float(c)) for r, c in body.corners * to_film] for name, body in spine.bodies.items()}
    lines = tuple(_lines(spine, to_film))
    return Measurements(figures, spine.left_out, corners, lines, spine.facing, spacing, source, tuple(withheld))


# Lines


def _lines(spine: Spine, to_film: np.ndarray) -> Iterator[Line]:
    """Endplates, heights and middles of the bodies; the horizontal at S1; the slips. In film pixels."""

    def line(name: str, start: np.ndarray, end: np.ndarray) -> Line:
        (r0, c0), (r1, c1) = (start * to_film).tolist(), (end * to_film).tolist()
        return Line(name, (r0, c0), (r1, c1))

    for name, body in spine.bodies.items():
        ca, cp, lp, la = body.corners
        yield line(f"{name} upper endplate", ca, cp)
        if name in PRESACRAL:
            yield line(f"{name} lower endplate", la, lp)
            yield line(f"{name} anterior height", ca, la)
            yield line(f"{name} middle height", *body.middles)
            yield line(f"{name} posterior height", cp, lp)
        elif name == "S1":
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
    figures = (column for definition in DEFINITIONS for column in definition.columns)
    return ("film", "verdict", "reasons", "facing", "left_out", "millimetres", "error_from", "remarks", *figures)


def csv_row(
    film: str, levels: LevelReport, measurements: Measurements, remarks: Collection[str] = ()
) -> tuple[str, ...]:
    """One film's line; an empty cell where there is no figure. remarks: what to know of the film's file."""
    stated = {"film": film, "verdict": levels.verdict, "reasons": "; ".join(levels.reasons)}
    cells = {**stated, **csv_cells(measurements), "remarks": "; ".join(remarks)}
    return tuple(cells.get(column, "") for column in csv_columns())


def csv_cells(measurements: Measurements) -> dict[str, str]:
    """Of that line what was measured, by column."""
    cells = {
        "facing": measurements.facing or "",
        "left_out": "; ".join(f"{name}: {reason}" for name, reason in measurements.left_out.items()),
        "millimetres": measurements.spacing.plane if measurements.spacing else "",
        "error_from": measurements.error_from,
    }
    for key, figure in measurements.figures.items():
        cells[key] = f"{figure.value:.4g}"
        if figure.error is not None:
            cells[f"{key}_error"] = f"{figure.error:.3g}"
    return cells
