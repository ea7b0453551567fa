"""Every figure that a film may have: its geometry, name, unit and source. Functions take all draws at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE, Spacing
from spineseg.measure.errors import Drawn, Draws, Vectors, length

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
4 to 13 per cent of them reached 15 (docs/reference/measurements.md)."""


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


def depth(drawn: Drawn, name: str) -> Draws:
    """Front-to-back depth of a body: mean of its two endplates' lengths. Source: Frobin (1997), mean depth."""
    return (length(drawn.upper(name)) + length(drawn.lower(name))) / 2


def heights(drawn: Drawn, name: str) -> tuple[Draws, Draws, Draws]:
    """Anterior, middle and posterior height: between the corners in front, the endplates' middles, the corners behind.

    The middle is that of the contour, not of the chord, so that a hollow endplate lowers it. Source: Genant (1993).
    """
    ca, cp, lp, la = drawn.of(name)
    middle = drawn.middles[:, VERTEBRAE.index(name)]
    return length(la - ca), length(middle[:, 1] - middle[:, 0]), length(lp - cp)


def compression_percent(drawn: Drawn, name: str) -> Draws:
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


def _healthy_beside(drawn: Drawn, name: str, side: int) -> list[Draws]:
    """Heights of the one or two bodies of L1-L4 nearest to this one, those left out that have lost a fifth themselves.

    side: 0 for anterior heights, 2 for posterior ones. Lost: against the tallest of them.
    """
    others = {other: heights(drawn, other)[side] for other in LUMBAR[:4] if other != name}
    others = {other: height for other, height in others.items() if np.isfinite(height[0])}
    tallest = max((height[0] for height in others.values()), default=0.0)
    tall = {other: height for other, height in others.items() if height[0] > (1 - GENANT[0] / 100) * tallest}
    away = {other: abs(LUMBAR.index(other) - LUMBAR.index(name)) for other in tall}
    return [height for other, height in tall.items() if away[other] == min(away.values())]


def disc_heights(drawn: Drawn, above: str, below: str) -> tuple[Draws, Draws]:
    """Anterior and posterior height of a disc, across the bisector of the two endplates that bound it.

    Measured across, a slip does not add to the height. Source: Frobin (1997), with the endplates for the midplanes.
    """
    lower, upper = drawn.lower(above), drawn.upper(below)
    along = lower / length(lower)[:, None] + upper / length(upper)[:, None]
    across = np.stack([along[:, 1], -along[:, 0]], -1) / length(along)[:, None]
    _, _, lp, la = drawn.of(above)
    ca, cp, _, _ = drawn.of(below)
    return _dot(ca - la, across), _dot(cp - lp, across)


def slip_percent(drawn: Drawn, above: str, below: str) -> Draws:
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


def all_figures(drawn: Drawn, spacing: Spacing | None) -> Iterator[tuple[str, Draws]]:
    """Every figure in the order of `KEYS`, NaN where it cannot be had; lengths only with a spacing."""
    found = dict(_angles(drawn))
    for a, b in JOINTS:
        found[f"{a}_{b}_slip_percent"] = found[f"{a}_{b}_meyerding_grade"] = slip = slip_percent(drawn, a, b)
        found[f"{a}_{b}_slip_mm"] = slip / 100 * length(drawn.upper(b))
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


def _angles(drawn: Drawn) -> Iterator[tuple[str, Draws]]:
    for top in ("L1", "L4"):
        yield f"lordosis_{top}_S1_deg", angle_deg(drawn.upper(top), drawn.upper("S1"))
    yield "sacral_slope_deg", tilt_deg(drawn.upper("S1"))
    for a, b in JOINTS:
        yield f"{a}_{b}_segment_deg", angle_deg(drawn.upper(a), drawn.upper(b))
        yield f"{a}_{b}_disc_deg", angle_deg(drawn.lower(a), drawn.upper(b))
