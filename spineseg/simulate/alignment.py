"""Deformities of the whole spine: kyphosis, scoliosis, slipped bodies."""

from __future__ import annotations

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.column import Column, slope_deg, unit
from spineseg.simulate.config import Rng

KYPHOSIS_DEG = (15.0, 60.0)
SCOLIOSIS_DEG = (10.0, 60.0)
SLIP_PERCENT = (8.0, 100.0)


def between(limits: tuple[float, float], degree: float) -> float:
    """The value at a degree 0..1 of a range."""
    return limits[0] + (limits[1] - limits[0]) * degree


def cobb_deg(column: Column, first: int, last: int) -> float:
    """Angle between the upper endplate of one body and the lower endplate of another; above 0 is a kyphosis."""
    return slope_deg(column.bodies[first, [0, 1]]) - slope_deg(column.bodies[last, [3, 2]])


def kyphose(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """A kyphosis about T11 to L2: three bodies become wedges, and the discs between them bend."""
    apex = column.first_lumbar + int(rng.integers(-2, 2))
    first, last = apex - 1, apex + 1
    goal = between(KYPHOSIS_DEG, degree)
    lacking = goal - cobb_deg(column, first, last)
    whole = np.array([k not in column.collapsed for k in (apex, last, first)])
    wedges = rng.dirichlet([4.0, 1.5, 1.5]) * whole * lacking * rng.uniform(0.4, 0.8)
    for index, angle in zip((apex, last, first), np.clip(wedges, 0.0, 24.0), strict=True):
        _wedge(column, index, float(angle))
    discs = rng.dirichlet([3.0, 3.0]) * (goal - cobb_deg(column, first, last))
    for joint, angle in zip((apex, last), discs, strict=True):
        column.turn_above(joint, column.bodies[joint, :2].mean(0), -float(angle))
        column.set_gap(joint, max(column.gap_mm(joint), rng.uniform(0.5, 3.0)))
    return [Finding("kyphosis", goal, "degrees", column.named((first, last)))]


def _wedge(column: Column, index: int, angle_deg: float) -> None:
    """Lower a body's front so that its upper endplate turns forward, and with it all above."""
    body = column.bodies[index]
    before = slope_deg(body[[0, 1]])
    target = np.deg2rad(before + angle_deg)
    along = -np.array([np.cos(target), -np.sin(target)])
    down = body[3] - body[0]
    # The point of the anterior wall at which the turned endplate meets it.
    share, _ = np.linalg.solve(np.stack([down, -along], 1), body[1] - body[0])
    body[0] = body[0] + down * min(share, 0.8)
    column.turn_above(index, body[1], -(slope_deg(body[[0, 1]]) - before))


def curve(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """A scoliosis: bodies lean to either side along the curve and turn about their axis at its apex."""
    cobb = between(SCOLIOSIS_DEG, degree)
    place = (np.arange(len(column.bodies)) - column.first_lumbar - rng.uniform(-1, 4)) / rng.uniform(3.5, 6.0)
    sign = rng.choice([-1.0, 1.0])
    column.look.lean_deg[:] += sign * min(cobb / 2, 17.0) * np.sin(np.pi * place) * np.exp(-0.3 * place**2)
    column.look.spin_deg[:] += sign * min(cobb * 0.6, 32.0) * np.cos(np.pi * place) * np.exp(-0.3 * place**2)
    for index in range(len(column.bodies) - 1):
        middle = column.bodies[index].mean(0)
        wider = 1 + 0.25 * abs(np.sin(np.deg2rad(column.look.spin_deg[index])))
        along = unit(column.bodies[index, 1] - column.bodies[index, 0])
        for corners in (column.bodies[index], column.look.intact[index]):
            corners += np.outer((corners - middle) @ along * (wider - 1), along)
    return [Finding("scoliosis", cobb, "degrees")]


def slip(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One body slides forward on the one below, now and then a second or backwards; from grade 3 on it tips over."""
    percent = between(SLIP_PERCENT, degree)
    s1 = len(column.bodies) - 1
    joint = s1 if percent > 50 or rng.random() < 0.5 else s1 - int(rng.integers(1, 4))
    found = [_slide(column, joint, percent, rng)]
    if rng.random() < 0.3:
        other = s1 - int(rng.integers(1, 4))
        if other != joint:
            found.append(_slide(column, other, rng.choice([-1.0, 1.0]) * rng.uniform(8, 30), rng))
    return found


def slip_percent(column: Column, joint: int) -> float:
    """How far the body above `joint` lies in front of it, in per cent of the lower one's upper endplate."""
    upper, lower = column.bodies[joint - 1], column.bodies[joint]
    across = lower[0] - lower[1]
    return float(100 * (upper[2] - lower[1]) @ across / (across @ across))


def _slide(column: Column, joint: int, percent: float, rng: Rng) -> Finding:
    lower = column.bodies[joint]
    if percent > 50:
        tip = rng.uniform(0.1, 0.45) * (percent - 50)
        column.turn_above(joint, column.bodies[joint - 1, 2:].mean(0), -tip)
        column.look.bow_mm[joint, 0] = column.depth(joint) * rng.uniform(0.02, 0.1)
    gap = rng.uniform(0.5, 3.0) if abs(percent) > 25 else max(column.gap_mm(joint) * rng.uniform(0.3, 1.0), 0.5)
    across = lower[0] - lower[1]
    for _ in range(4):
        column.move_above(joint, across * (percent - slip_percent(column, joint)) / 100)
        column.set_gap(joint, gap + max(column.look.bow_mm[joint, 0], 0.0) * 0.6)
    column.move_above(joint, across * (percent - slip_percent(column, joint)) / 100)
    return Finding("slip", percent, "%", column.named((joint - 1, joint)))
