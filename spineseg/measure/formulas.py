"""Formulas of the figures: from all samples of the bodies at once to all samples of a figure.

The first sample is as measured, the others tell the error. Lengths are in column widths of the film.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE
from spineseg.measure.errors import SampledBodies, Samples, Vectors, length

GENANT = (20.0, 25.0, 40.0)
"""Loss of height in per cent at which grades 1, 2 and 3 begin."""
MEYERDING = (5.0, 25.0, 50.0, 75.0, 100.0)
"""Slip forward, in per cent of the endplate, at which grades 1 to 5 begin. Meyerding's own grade 1 begins above
nothing; here it begins at 5."""
MEYERDING_BACKWARD = (15.0, *MEYERDING[1:])
"""The same backward. Among 502 people's outlines the mean was 4 to 7 per cent backward with a deviation of 5 to 9, and
4 to 13 per cent of them reached 15 (docs/reference/measurements.md)."""
_COMPARED = tuple(name for name in ("L1", "L2", "L3", "L4") if name in VERTEBRAE)
"""Bodies that others' heights are compared with."""


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
