"""Random lumbar spines in the sagittal plane: corners of every vertebral body, sacrum and hip, in millimetres.

Axes: x to posterior, y to caudal; the film is drawn facing left. Corners of a body run cranial-anterior,
cranial-posterior, caudal-posterior, caudal-anterior. Proportions and curvature are drawn from a statistic of 488
people (`lumbar_shape.json`, its attribution inside); posture, disc height, slips and fractures are added here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE, BadInput

Corners = Float[np.ndarray, "vertebra corner=4 xy=2"]
Points = Float[np.ndarray, "_ xy=2"]
OUTLINED = ("L1", "L2", "L3", "L4", "L5", "S1")
"""The vertebrae of the statistic; those above and below follow from them."""
_L3 = OUTLINED.index("L3")


@dataclass(frozen=True)
class ShapeConfig:
    """How far the drawn spines range. Angles are standard deviations in degrees; probabilities are per vertebra."""

    l3_depth_mm: tuple[float, float] = (39.0, 4.0)
    """Mean and deviation of L3's antero-posterior depth on the detector, magnification included."""
    posture_deg: float = 8.0
    """Turn of the whole spine against the standing mean."""
    lordosis_deg: float = 1.8
    """Bend common to all five lumbar joints, per joint."""
    joint_deg: float = 1.8
    """Further bend of each joint alone."""
    slip_probability: float = 0.06
    narrow_disc_probability: float = 0.14
    fracture_probability: float = 0.04
    thoracic: int = 5
    """How many thoracic bodies (T12 upwards) stand above L1."""


@dataclass(frozen=True, eq=False)
class BodyLook:
    """What sets bodies apart from ordinary ones, in the order of `SpineShape.column`; `ordinary` changes nothing.

    bow_mm: how far the middle of a side (upper endplate, posterior wall, lower endplate, anterior wall) lies beyond the
    line between its corners. density: factor of what the body's inside attenuates. endplate: the same of its upper and
    lower endplate. lean_deg, spin_deg: turn about the antero-posterior and the long axis, which parts left from right.
    intact: the corners before a collapse, on which the posterior arch is set. lumbar_like: how many bodies above L1
    have no ribs; below 0, so many lumbar ones have ribs. bent: whether the trunk must follow the column.
    """

    bow_mm: Float[np.ndarray, "body side=4"]
    density: Float[np.ndarray, "body"]
    endplate: Float[np.ndarray, "body plate=2"]
    lean_deg: Float[np.ndarray, "body"]
    spin_deg: Float[np.ndarray, "body"]
    intact: Corners
    lumbar_like: int = 0
    bent: bool = False

    @classmethod
    def ordinary(cls, column: Corners) -> BodyLook:
        """Of bodies with these corners."""
        n = len(column)
        return cls(np.zeros((n, 4)), np.ones(n), np.ones((n, 2)), np.zeros(n), np.zeros(n), column.copy())


def bowed(start: np.ndarray, end: np.ndarray, bow_mm: float, count: int = 9) -> Points:
    """A parabola from start to end whose middle lies bow_mm to the left of the direction."""
    t = np.linspace(0, 1, count)[:, None]
    chord = end - start
    normal = np.array([chord[1], -chord[0]]) / (np.linalg.norm(chord) + 1e-9)
    return start + t * chord + 4 * t * (1 - t) * bow_mm * normal


@dataclass(frozen=True, eq=False)
class SpineShape:
    """lumbar: L1-L5, S1. thoracic: T12 upwards. sacral: S2-S5 and a coccyx. hip_mm: centre of the femoral heads."""

    lumbar: Corners
    thoracic: Float[np.ndarray, "thoracic corner=4 xy=2"]
    sacral: Float[np.ndarray, "sacral corner=4 xy=2"]
    hip_mm: Float[np.ndarray, "xy=2"]
    pelvic_turn_deg: float
    look: BodyLook

    @property
    def column(self) -> Corners:
        """All bodies from the highest thoracic one down to S1."""
        return np.concatenate([self.thoracic[::-1], self.lumbar])

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of the bodies of `column`."""
        return (*(f"T{12 - k}" for k in reversed(range(len(self.thoracic)))), *OUTLINED)

    def outlines(self, names: Collection[str] = VERTEBRAE) -> list[Points]:
        """Closed outlines of bodies: their corners alone (4 points), and the bow of each side where there is one."""
        found = []
        for index in map(self.column_names.index, names):
            body, bow = self.column[index], self.look.bow_mm[index]
            sides = zip(body, np.roll(body, -1, 0), bow, strict=True)
            found.append(np.concatenate([bowed(*side)[:-1] for side in sides]) if bow.any() else body)
        return found

    @property
    def s1(self) -> Float[np.ndarray, "corner=4 xy=2"]:
        """The first sacral body."""
        return self.lumbar[-1]

    def of(self, names: Collection[str] = VERTEBRAE) -> Corners:
        """Bodies by name, thoracic and sacral ones too. Raises BadInput for one that is not drawn."""
        bodies = {f"T{12 - k}": body for k, body in enumerate(self.thoracic)}
        bodies |= dict(zip(OUTLINED, self.lumbar, strict=True))
        bodies |= {f"S{k}": body for k, body in enumerate(self.sacral[:-1], 2)}
        if missing := set(names) - bodies.keys():
            raise BadInput(f"the simulator draws no {', '.join(sorted(missing))}; take other vertebrae")
        return np.stack([bodies[name] for name in names])


@cache
def _statistic() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stored = json.loads(files("spineseg.simulate").joinpath("lumbar_shape.json").read_text())
    return tuple(np.asarray(stored[key], dtype=np.float64) for key in ("mean", "deviation", "modes"))  # type: ignore[return-value]


def turn(points: np.ndarray, centre: np.ndarray, angle_deg: float) -> np.ndarray:
    """Rotate (..., 2) about a centre; positive turns the cranial end backwards (to posterior)."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return (points - centre) @ np.array([[c, s], [-s, c]]) + centre


def _disc_centre(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return (upper[2] + upper[3] + lower[0] + lower[1]) / 4


def _bend(corners: np.ndarray, rng: np.random.Generator, config: ShapeConfig) -> np.ndarray:
    """Turn everything above each joint, from the sacrum upwards."""
    common = rng.normal(0, config.lordosis_deg)
    for joint in range(len(OUTLINED) - 2, -1, -1):
        centre = _disc_centre(corners[joint], corners[joint + 1])
        angle = common + rng.normal(0, config.joint_deg)
        corners[: joint + 1] = turn(corners[: joint + 1], centre, angle)
    return corners


def _degenerate(corners: np.ndarray, rng: np.random.Generator, config: ShapeConfig) -> np.ndarray:
    """Narrow discs and slips move everything above; fractures lower the front or the middle of one body."""
    for joint in range(len(OUTLINED) - 2, -1, -1):
        upper, lower = corners[joint], corners[joint + 1]
        gap = (lower[0] + lower[1] - upper[2] - upper[3]) / 2
        if rng.random() < config.narrow_disc_probability:
            corners[: joint + 1] += gap * rng.uniform(0.2, 0.7)
        if rng.random() < config.slip_probability:
            along = (lower[1] - lower[0]) * rng.choice([-1.0, -1.0, 1.0])
            corners[: joint + 1] += along * rng.uniform(0.05, 0.35)
    for level in range(len(OUTLINED) - 1):
        if rng.random() < config.fracture_probability:
            loss = rng.uniform(0.1, 0.4)
            sunk = (corners[level, 3] - corners[level, 0]) * loss
            corners[:level] += sunk * 0.5
            corners[level, 0] += sunk
            corners[level, 1] += (corners[level, 2] - corners[level, 1]) * loss * rng.uniform(0, 0.5)
    return corners


def _rhomboid(s1: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw S1's caudal edge anew: nearly as long as its upper endplate and nearly parallel to it.

    In the slices it is cut short at the canal, and with it the posterior wall; on films both run from cortex to cortex.
    On the Visible Human's sacrum the edge has 0.88 of the endplate's length, the posterior wall 0.93 of the anterior.
    """
    upper = turn(s1[1] - s1[0], np.zeros(2), rng.normal(-3.5, 3.5))
    half = upper * rng.uniform(0.8, 1.04) / 2
    middle = (s1[2] + s1[3]) / 2 + rng.normal(0.05, 0.04) * (s1[2] + s1[3] - s1[0] - s1[1]) / 2
    return np.stack([s1[0], s1[1], middle + half, middle - half])


def _spread(corners: np.ndarray) -> np.ndarray:
    """Push bodies up until no disc is thinner than 4 % of L3's depth."""
    for joint in range(len(OUTLINED) - 2, -1, -1):
        upper, lower = corners[joint], corners[joint + 1]
        axis = (upper[0] + upper[1] - upper[2] - upper[3]) / 2
        axis /= np.linalg.norm(axis)
        gaps = [(upper[3] - lower[0]) @ axis, (upper[2] - lower[1]) @ axis]
        lacking = 0.04 - min(gaps)
        if lacking > 0:
            corners[: joint + 1] += axis * lacking
    return corners


def _thoracic(lumbar: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """T12 upwards: a slightly smaller copy of the body below, moved along the axis and turned forwards higher up."""
    bodies = []
    below = lumbar[0]
    step = rng.normal(-0.3, 1.0)
    for index in range(count):
        forward = -step * 0.5 - 1.6 * index + rng.normal(0.8, 1.2)
        axis = (below[0] + below[1] - below[2] - below[3]) / 2
        body = below.mean(0) + (below - below.mean(0)) * rng.normal([0.965], 0.015)
        body = body + axis * (1.0 + rng.uniform(0.10, 0.24))
        below = turn(body, _disc_centre(body, below), forward)
        bodies.append(below)
    return np.stack(bodies)


def _sacral(s1: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """S2-S5 and a coccyx: shrinking bodies that follow on S1 and curl forwards."""
    bodies = []
    start, depth = (s1[2] + s1[3]) / 2, np.linalg.norm(s1[2] - s1[3])
    axis = (s1[2] + s1[3] - s1[0] - s1[1]) / 2
    direction = np.degrees(np.arctan2(axis[1], axis[0]))
    height, curl = 0.6 * np.linalg.norm(s1[0] - s1[1]), rng.normal(17, 6)
    for index in range(5):
        direction += curl * rng.normal(1, 0.25) * (0.6 if index == 0 else 1.0)
        along = np.array([np.cos(np.deg2rad(direction)), np.sin(np.deg2rad(direction))])
        back = np.array([along[1], -along[0]])
        end, next_depth = start + along * height, depth * (0.78 if index < 4 else 0.6)
        bodies.append(
            [
                start - back * depth / 2,
                start + back * depth / 2,
                end + back * next_depth / 2,
                end - back * next_depth / 2,
            ]
        )
        start, depth, height = end + along * 0.03 * height, next_depth, height * 0.86
    return np.asarray(bodies)


def sample_spine(rng: np.random.Generator, config: ShapeConfig) -> SpineShape:
    """Draw one spine in millimetres on the detector, L3 at the origin."""
    mean, deviation, modes = _statistic()
    scores = np.clip(rng.normal(size=len(deviation)), -2.3, 2.3)
    corners = (mean + (scores * deviation) @ modes).reshape(len(OUTLINED), 4, 2)
    corners = _spread(_degenerate(_bend(corners, rng, config), rng, config))
    corners = turn(corners, corners[_L3].mean(0), rng.normal(2, config.posture_deg))
    corners = (corners - corners[_L3].mean(0)) * max(rng.normal(*config.l3_depth_mm), 25.0)
    s1 = corners[-1] = _rhomboid(corners[-1], rng)
    slope = np.degrees(np.arctan2(s1[0, 1] - s1[1, 1], s1[1, 0] - s1[0, 0]))
    incidence = np.clip(rng.normal(52, 10), slope - 5, slope + 40)
    tilt = np.deg2rad(incidence - slope)
    reach = rng.normal(2.75, 0.2) * np.linalg.norm(s1[1] - s1[0])
    hip = (s1[0] + s1[1]) / 2 + reach * np.array([-np.sin(tilt), np.cos(tilt)])
    thoracic = _thoracic(corners, config.thoracic, rng)
    return SpineShape(
        lumbar=corners,
        thoracic=thoracic,
        sacral=_sacral(s1, rng),
        hip_mm=hip,
        pelvic_turn_deg=float(np.degrees(tilt)) - 12.0 + rng.normal(0, 4),
        look=BodyLook.ordinary(np.concatenate([thoracic[::-1], corners])),
    )
