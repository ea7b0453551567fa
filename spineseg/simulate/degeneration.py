"""Worn and fused joints: discs that are gone, gas in them, spurs that bridge them, bodies that grew together."""

from __future__ import annotations

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.bodies import paint_spur, paint_vacuum
from spineseg.simulate.canvas import Canvas, smooth_closed
from spineseg.simulate.column import Column, unit
from spineseg.simulate.config import Rng
from spineseg.simulate.shape import SpineShape, bowed


def wear(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One to six worn discs from L5-S1 upwards, two or more bodies fused on the severe films."""
    joints = np.arange(column.first_lumbar, len(column.bodies))
    weight = np.linspace(0.6, 1.6, len(joints))
    count = 1 + int(rng.binomial(5, 0.15 + 0.6 * degree))
    chosen = sorted(rng.choice(joints, count, replace=False, p=weight / weight.sum()).tolist(), reverse=True)
    fused = rng.random() < 0.05 + 0.25 * degree
    found = [finding for joint in chosen for finding in _worn(column, int(joint), degree, rng)]
    return found + (_fuse(column, chosen[: int(rng.integers(1, 4))], rng) if fused else [])


def _worn(column: Column, joint: int, degree: float, rng: Rng) -> list[Finding]:
    """A thin disc, and what comes with it."""
    where = column.named((joint - 1, joint))
    lost = 1 - (1 - rng.uniform(0.3, 0.6) - 0.4 * degree * rng.random())
    column.set_gap(joint, max(column.gap_mm(joint) * (1 - lost), 0.3))
    column.look.endplate[joint - 1, 1] *= rng.uniform(0.8, 2.2)
    column.look.endplate[joint, 0] *= rng.uniform(0.8, 2.2)
    found = [Finding("narrow disc", 100 * lost, "% of its height", where)]
    for name, share in (("gas in a disc", 0.35), ("bridging osteophyte", 0.3 + 0.5 * degree)):
        if rng.random() < share:
            found.append(Finding(name, degree, "", where))
    return found


def _fuse(column: Column, joints: list[int], rng: Rng) -> list[Finding]:
    """No disc is left; endplates fade."""
    for joint in joints:
        column.set_gap(joint, rng.uniform(0.2, 2.5))
        column.look.endplate[joint - 1, 1] *= rng.uniform(0.1, 0.8)
        column.look.endplate[joint, 0] *= rng.uniform(0.1, 0.8)
    return [Finding("fused bodies", where=column.named((joint - 1, joint))) for joint in joints]


def _pair(spine: SpineShape, finding: Finding) -> tuple[np.ndarray, np.ndarray]:
    """The bodies above and below a disc."""
    upper, lower = (spine.column_names.index(name) for name in finding.where)
    return spine.column[upper], spine.column[lower]


def paint_gas_in_disc(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """A dark cleft."""
    for _ in range(1 + round(finding.degree)):
        paint_vacuum(canvas, *_pair(spine, finding), rng)


def paint_bridge(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Claws or a thick mantle of bone in front, and now and then behind."""
    upper, lower = _pair(spine, finding)
    paint_spur(canvas, upper, lower, strength[1], rng)
    ahead = unit(upper[0] - upper[1]) * rng.uniform(3, 6 + 10 * finding.degree)
    height = (upper[3] - upper[0]) * rng.uniform(0.15, 0.5), (lower[3] - lower[0]) * rng.uniform(0.15, 0.5)
    mantle = np.stack(
        [upper[3] - height[0], upper[3] - height[0] * 0.3 + ahead * 0.6, (upper[3] + lower[0]) / 2 + ahead]
    )
    mantle = np.concatenate([mantle, [lower[0] + height[1] * 0.3 + ahead * 0.6, lower[0] + height[1]]])
    mantle = smooth_closed(mantle + rng.normal(0, 0.8, mantle.shape), 2)
    canvas.fill(mantle, strength[1] * rng.uniform(0.2, 0.8), soft_mm=0.8)
    canvas.line(mantle, strength[1] * rng.uniform(0.2, 0.8), width_mm=1.1, closed=True)


def paint_fused(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Bone instead of a disc, with walls that run on from body to body."""
    upper, lower = _pair(spine, finding)
    gap = np.concatenate([bowed(upper[3], upper[2], 0.5), bowed(lower[1], lower[0], 0.5)])
    canvas.fill(gap, strength[0] * rng.uniform(0.5, 1.1) + 0.05, soft_mm=0.8)
    for start, end in ((upper[0], lower[3]), (upper[1], lower[2])):
        canvas.line(bowed(start, end, rng.normal(0, 1.5)), strength[2] * rng.uniform(0.3, 1.0), width_mm=1.3)
