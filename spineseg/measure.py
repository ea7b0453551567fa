"""Masks to what a spine reader measures: heights, compression, discs, angles, slips; each with its error.

Everything is worked out from the four corners and the two endplate middles of each body (`geometry`). Angles and ratios
need no spacing; millimetres appear only where the film states one, with whose they are. Errors come from drawing the
sides of each body anew within the masks' own uncertainty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from spineseg.film import VERTEBRAE, BadInput, Masks, Spacing
from spineseg.geometry import SIDES, Body, Facing, Spine, meet, read_spine
from spineseg.grid import Box, GridFit
from spineseg.levels import LevelConfig, LevelReport

LUMBAR = VERTEBRAE[:5]
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
4 to 13 per cent of them reached 15 (docs/measurements.md)."""

MOST_ERROR = {"deg": 60.0, "%": 100.0, "": 2.0, "mm": 40.0}
"""Error, by unit, beyond which a figure tells nothing and is withheld, with the grade made from it. Twice as much as
the largest on films that show a spine; fields of noise reach thousands."""
_GRADED = {"genant_grade": "compression_percent", "meyerding_grade": "slip_percent"}

_DRAWS = 400
_LEAST_TURN_DEG = 20.0
"""Below this the front of the spine cannot be told from its back."""

Source = Literal["nothing", "outline", "probability"]
"""What errors rest on: nothing where corners are given as known, and no error is stated then."""

Draws = Float[np.ndarray, "draw"]
Vectors = Float[np.ndarray, "*any rc=2"]


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
    corners: Float[np.ndarray, "vertebra=6 corner=4 rc=2"], spacing: Spacing | None = None
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


@dataclass(frozen=True, eq=False)
class BoneMap:
    """A network's probability of bone on its grid, and where the film lies on it; its soft edges tell the errors.

    visible: rows and columns of the film that show anything (`visible.visible_part`); all of them if not given.
    """

    bone: Float32[np.ndarray, "grid_rows grid_columns"]
    fit: GridFit
    visible: Box | None = None

    def probability(self, points: Vectors) -> Float[np.ndarray, "*any"]:
        """Of bone, 0..1, at points of the film, (row, column), pixel centres at whole numbers."""
        return self._at(points, self.bone)

    def sharpness(self, points: Vectors) -> Float[np.ndarray, "*any"]:
        """How steeply the probability changes at points of the film, per grid pixel."""
        return self._at(points, self._steepness)

    @cached_property
    def _steepness(self) -> Float32[np.ndarray, "grid_rows grid_columns"]:
        return np.hypot(*np.gradient(self.bone)).astype(np.float32)

    def _at(self, points: Vectors, values: Float32[np.ndarray, "grid_rows grid_columns"]) -> Float[np.ndarray, "*any"]:
        fit = self.fit
        row = (points[..., 0] + 0.5) * fit.row_scale + fit.row_offset - 0.5
        column = (points[..., 1] + 0.5) * fit.column_scale + fit.column_offset - 0.5
        return ndimage.map_coordinates(values, [row, column], order=1, mode="nearest")


@runtime_checkable
class Predicted(Protocol):
    """What is asked of a prediction (`predict.Prediction` has it)."""

    @property
    def masks(self) -> Masks: ...  # noqa: D102

    @property
    def probabilities(self) -> Float32[np.ndarray, "vertebra=6 grid_rows grid_columns"]: ...  # noqa: D102

    @property
    def fit(self) -> GridFit: ...  # noqa: D102

    @property
    def levels(self) -> LevelReport: ...  # noqa: D102

    @property
    def visible(self) -> Box: ...  # noqa: D102


def measure_prediction(
    prediction: Predicted, spacing: Spacing | None = None, *, facing: Facing | None = None
) -> Measurements:
    """Measure what a network found, with errors from how soft the edges of its probability map are.

    Vertebrae whose own level is uncertain are left out. The verdict on the film as a whole is the caller's to show.
    facing: see `measure`.
    """
    usable, bone_map = sure_vertebrae(prediction.levels), bone_map_of(prediction)
    return measure(prediction.masks, spacing, usable=usable, bone_map=bone_map, facing=facing)


def bone_map_of(prediction: Predicted) -> BoneMap:
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
    errors: Float[np.ndarray, "vertebra=6 side=4 kind=2"] | None,
    spacing: Spacing | None,
    source: Source,
) -> Measurements:
    """Figures of bodies that are known, their errors (none stated if none are given) and lines."""
    drawn = _drawn(spine, errors)
    found = {key: values for key, values in _figures(drawn, spacing) if np.isfinite(values[0])}
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


# Errors

_OUTLINE_FREEDOM = 4.0
"""Independent stretches of a side, for an outline whose neighbouring pixels err alike."""


def side_errors(body: Body, row_to_column: float, bone_map: BoneMap | None) -> Float[np.ndarray, "side=4 kind=2"]:
    """Standard deviation of each side's place, and of how far its ends are off by tilt; in column widths."""
    if bone_map is None:
        place = np.maximum(body.ragged_px, 0.3) / np.sqrt(_OUTLINE_FREEDOM)
        return np.stack([place, np.sqrt(3) * place], 1)
    soft, size = edge_widths(body, row_to_column, bone_map), _size(body)
    return np.hypot(np.multiply.outer(soft, _SOFT), np.multiply(size, _LEAST))


_SOFT = (0.87, 0.64)
"""Deviation of a side's place and tilt over that of its soft edge, so that 95 % of the sides of simulated films
lie within 1.96 deviations of the truth (docs/measurements.md)."""
_LEAST = (0.005, 0.003)
"""What is added, over the body's size, where the edge is sharp."""


_UNSEEN = 0.15
"""Deviation of a side that no edge shows, over the body's size: the usual gap between two bodies."""


def _size(body: Body) -> float:
    """Mean length of a body's sides."""
    return float(np.linalg.norm(np.roll(body.corners, -1, 0) - body.corners, axis=1).mean())


def edge_widths(body: Body, row_to_column: float, bone_map: BoneMap) -> Float[np.ndarray, "side=4"]:
    """How soft the probability's edge is at each side: the deviation of a logistic edge of that softness.

    The integral of p (1 - p) across a logistic edge is its scale, pi / sqrt(3) of which is its deviation. Where the
    probability does not fall across a side, no edge tells where it lies: as far as it lacks of falling by one half,
    `_UNSEEN` of the body's size is added.
    """
    along = np.roll(body.corners, -1, 0) - body.corners
    outward = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    outward *= np.sign(((body.corners + along / 2 - body.corners.mean(0)) * outward).sum(1, keepdims=True))
    place = np.linspace(0.15, 0.85, 15)[:, None, None]
    across, step = np.linspace(-0.2, 0.2, 41, retstep=True)
    size = _size(body)
    points = (body.corners + place * along)[:, :, None] + across[:, None] * size * outward[:, None]
    p = bone_map.probability(points / [row_to_column, 1.0])
    soft = (p * (1 - p)).sum(-1).mean(0) * step * size
    fall = p[..., across < 0].max(-1) - p[..., across > 0].min(-1)
    unseen = np.clip(1 - 2 * fall, 0, 1).mean(0)
    return np.pi / np.sqrt(3) * soft + _UNSEEN * size * unseen


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Corners and endplate middles with the front on the left; the first draw is as measured, NaN where left out."""

    corners: Float[np.ndarray, "draw vertebra=6 corner=4 rc=2"]
    middles: Float[np.ndarray, "draw vertebra=6 endplate=2 rc=2"]

    def upper(self, name: str) -> Vectors:
        """Along the upper endplate, from front to back."""
        ca, cp, _, _ = self.of(name)
        return cp - ca

    def lower(self, name: str) -> Vectors:
        """Along the lower endplate, from front to back."""
        _, _, lp, la = self.of(name)
        return lp - la

    def of(self, name: str) -> tuple[Vectors, Vectors, Vectors, Vectors]:
        """The four corners: cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior."""
        ca, cp, lp, la = np.moveaxis(self.corners[:, VERTEBRAE.index(name)], 1, 0)
        return ca, cp, lp, la


def _drawn(spine: Spine, errors: Float[np.ndarray, "vertebra=6 side=4 kind=2"] | None) -> _Drawn:
    """Each side moved and tilted at random (the same numbers every time); corners are where neighbours meet anew.

    Without errors only the first draw.
    """
    corners = np.full((len(VERTEBRAE), 4, 2), np.nan)
    middles = np.full((len(VERTEBRAE), 2, 2), np.nan)
    for name, body in spine.bodies.items():
        corners[VERTEBRAE.index(name)], middles[VERTEBRAE.index(name)] = body.corners, body.middles
    if spine.facing == "right":
        corners, middles = corners * [1, -1], middles * [1, -1]
    if errors is None:
        return _Drawn(corners[None], middles[None])
    half = (np.roll(corners, -1, 1) - corners) / 2
    outward = np.stack([-half[..., 1], half[..., 0]], -1) / _length(half)[..., None]
    move = np.random.default_rng(0).normal(size=(_DRAWS + 1, *errors.shape)) * errors
    move[0] = 0
    start = corners + half + move[..., :1] * outward
    along = half + move[..., 1:] * outward
    shifted = meet(np.roll(start, 1, 2), np.roll(along, 1, 2), start, along)
    return _Drawn(shifted, middles + (move[..., :1] * outward)[:, :, [0, 2]])


# Geometry of figures; every function takes all draws at once


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


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


def depth(drawn: _Drawn, name: str) -> Draws:
    """Front-to-back depth of a body: mean of its two endplates' lengths. Source: Frobin (1997), mean depth."""
    return (_length(drawn.upper(name)) + _length(drawn.lower(name))) / 2


def heights(drawn: _Drawn, name: str) -> tuple[Draws, Draws, Draws]:
    """Anterior, middle and posterior height: between the corners in front, the endplates' middles, the corners behind.

    The middle is that of the contour, not of the chord, so that a hollow endplate lowers it. Source: Genant (1993).
    """
    ca, cp, lp, la = drawn.of(name)
    middle = drawn.middles[:, VERTEBRAE.index(name)]
    return _length(la - ca), _length(middle[:, 1] - middle[:, 0]), _length(lp - cp)


def compression_percent(drawn: _Drawn, name: str) -> Draws:
    """Loss of height: the largest of wedge (anterior to posterior), biconcave (middle to posterior) and crush.

    Crush is the posterior height against the mean of the nearest lumbar bodies that are measured and not low themselves
    (`_healthy_beside`). L5, whose back is lower than its front in health, is compared by its anterior height instead,
    its middle by the mean of front and back, and it is no neighbour to others. Without another body no crush is
    judged. May be negative in a body without any loss. Source: Genant (1993), who judged the same losses by eye.
    """
    front, middle, back = heights(drawn, name)
    kept = [front / back, middle / ((front + back) / 2 if name == "L5" else back)]
    side = 0 if name == "L5" else 2
    others = _healthy_beside(drawn, name, side)
    if others:
        kept.append((front if side == 0 else back) / np.mean(others, axis=0))
    return 100 * (1 - np.min(kept, axis=0))


def _healthy_beside(drawn: _Drawn, name: str, side: int) -> list[Draws]:
    """Heights of the one or two bodies of L1-L4 nearest to this one, those left out that have lost a fifth themselves.

    side: 0 for anterior heights, 2 for posterior ones. Lost: against the tallest of them.
    """
    others = {other: heights(drawn, other)[side] for other in LUMBAR[:4] if other != name}
    others = {other: height for other, height in others.items() if np.isfinite(height[0])}
    tallest = max((height[0] for height in others.values()), default=0.0)
    tall = {other: height for other, height in others.items() if height[0] > (1 - GENANT[0] / 100) * tallest}
    away = {other: abs(LUMBAR.index(other) - LUMBAR.index(name)) for other in tall}
    return [height for other, height in tall.items() if away[other] == min(away.values())]


def disc_heights(drawn: _Drawn, above: str, below: str) -> tuple[Draws, Draws]:
    """Anterior and posterior height of a disc, across the bisector of the two endplates that bound it.

    Measured across, a slip does not add to the height. Source: Frobin (1997), with the endplates for the midplanes.
    """
    lower, upper = drawn.lower(above), drawn.upper(below)
    along = lower / _length(lower)[:, None] + upper / _length(upper)[:, None]
    across = np.stack([along[:, 1], -along[:, 0]], -1) / _length(along)[:, None]
    _, _, lp, la = drawn.of(above)
    ca, cp, _, _ = drawn.of(below)
    return _dot(ca - la, across), _dot(cp - lp, across)


def slip_percent(drawn: _Drawn, above: str, below: str) -> Draws:
    """How far the lower back corner of a body lies in front of the upper back corner of the next one.

    In per cent of the lower body's upper endplate, along it; above 0 forward (anterolisthesis), below 0 backward
    (retrolisthesis). Source: Meyerding (1932) for the grades in quarters of the endplate.
    """
    endplate = drawn.upper(below)
    _, _, lp, _ = drawn.of(above)
    _, cp, _, _ = drawn.of(below)
    return 100 * _dot(cp - lp, endplate) / _dot(endplate, endplate)


def grade(value: float, limits: tuple[float, ...]) -> int:
    """How many of the limits the value has reached."""
    return sum(value >= limit for limit in limits)


# Names


@dataclass(frozen=True)
class _Kind:
    """What the figures of one kind have in common; {a} and {b} stand for the vertebrae."""

    key: str
    name: str
    unit: str
    source: str


def _kinds() -> dict[str, _Kind]:
    """Every figure that a film may have, by key, in the order of tables."""
    kinds: list[_Kind] = [
        _Kind("lordosis_L1_S1_deg", "lordosis L1-S1", "deg", "Cobb 1948"),
        _Kind("lordosis_L4_S1_deg", "lordosis L4-S1", "deg", "Cobb 1948"),
        _Kind("sacral_slope_deg", "sacral slope", "deg", "Legaye 1998"),
    ]
    for a, b in JOINTS:
        kinds.append(_Kind(f"{a}_{b}_segment_deg", f"{a}-{b} segmental angle", "deg", "Cobb 1948"))
        kinds.append(_Kind(f"{a}_{b}_disc_deg", f"{a}/{b} disc angle", "deg", "Cobb 1948"))
    for a, b in JOINTS:
        kinds.append(_Kind(f"{a}_{b}_slip_percent", f"{a} slip on {b}", "%", "Meyerding 1932"))
        kinds.append(_Kind(f"{a}_{b}_slip_mm", f"{a} slip on {b}", "mm", "Meyerding 1932"))
        kinds.append(_Kind(f"{a}_{b}_meyerding_grade", f"{a} slip on {b}", "grade 0-5", "Meyerding 1932"))
    for a, b in JOINTS:
        kinds.append(_Kind(f"{a}_{b}_disc_ratio", f"{a}/{b} disc height / depth of {a}", "", "Frobin 1997"))
        kinds.append(_Kind(f"{a}_{b}_disc_height_mm", f"{a}/{b} disc height", "mm", "Frobin 1997"))
    for a in LUMBAR:
        kinds.append(_Kind(f"{a}_anterior_posterior_ratio", f"{a} anterior / posterior height", "", "Genant 1993"))
        kinds.append(_Kind(f"{a}_middle_posterior_ratio", f"{a} middle / posterior height", "", "Genant 1993"))
        kinds.append(_Kind(f"{a}_compression_percent", f"{a} compression", "%", "Genant 1993"))
        kinds.append(_Kind(f"{a}_genant_grade", f"{a} compression", "grade 0-3", "Genant 1993"))
        for place in ("anterior", "middle", "posterior"):
            kinds.append(_Kind(f"{a}_{place}_height_mm", f"{a} {place} height", "mm", "Genant 1993"))
        kinds.append(_Kind(f"{a}_depth_mm", f"{a} depth", "mm", "Frobin 1997"))
    return {kind.key: kind for kind in kinds}


KINDS = _kinds()
KEYS = tuple(KINDS)
"""Keys of all figures that a film may have."""


def _figures(drawn: _Drawn, spacing: Spacing | None) -> Iterator[tuple[str, Draws]]:
    """Every figure in the order of `KEYS`, NaN where it cannot be had; lengths only with a spacing."""
    found = dict(_angles(drawn))
    for a, b in JOINTS:
        found[f"{a}_{b}_slip_percent"] = found[f"{a}_{b}_meyerding_grade"] = slip = slip_percent(drawn, a, b)
        found[f"{a}_{b}_slip_mm"] = slip / 100 * _length(drawn.upper(b))
        height = np.mean(disc_heights(drawn, a, b), axis=0)
        found[f"{a}_{b}_disc_height_mm"], found[f"{a}_{b}_disc_ratio"] = height, height / depth(drawn, a)
    for a in LUMBAR:
        front, middle, back = heights(drawn, a)
        found[f"{a}_anterior_posterior_ratio"], found[f"{a}_middle_posterior_ratio"] = front / back, middle / back
        found[f"{a}_compression_percent"] = found[f"{a}_genant_grade"] = compression_percent(drawn, a)
        found[f"{a}_anterior_height_mm"], found[f"{a}_middle_height_mm"] = front, middle
        found[f"{a}_posterior_height_mm"], found[f"{a}_depth_mm"] = back, depth(drawn, a)
    for key in KEYS:
        if not key.endswith("_mm"):
            yield key, found[key]
        elif spacing is not None:
            yield key, found[key] * spacing.column_mm


def _angles(drawn: _Drawn) -> Iterator[tuple[str, Draws]]:
    for top in ("L1", "L4"):
        yield f"lordosis_{top}_S1_deg", angle_deg(drawn.upper(top), drawn.upper("S1"))
    yield "sacral_slope_deg", tilt_deg(drawn.upper("S1"))
    for a, b in JOINTS:
        yield f"{a}_{b}_segment_deg", angle_deg(drawn.upper(a), drawn.upper(b))
        yield f"{a}_{b}_disc_deg", angle_deg(drawn.lower(a), drawn.upper(b))


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
