"""Collapsed bodies, and the cement that is put into them."""

from __future__ import annotations

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.alignment import between
from spineseg.simulate.canvas import Canvas, ellipse, smooth_closed
from spineseg.simulate.column import Column, slope_deg, unit
from spineseg.simulate.config import Rng
from spineseg.simulate.shape import SpineShape

LOSS_PERCENT = (20.0, 80.0)
"""Of the height: in front for a wedge, in the middle for a biconcave body, everywhere for a crush."""
BICONCAVE_PERCENT = 60.0
"""Beyond it the walls give way too."""
MOST = 5
"""Bodies that collapse on one film."""


def _chosen(column: Column, most: int, rng: Rng) -> list[int]:
    """Bodies of T11 to L5, about the junction of chest and loin more often than others, and next to each other."""
    places = np.arange(column.first_lumbar - 2, len(column.bodies) - 1)
    weight = np.array([0.8, 1.6, 2.0, 1.3, 1.0, 1.0, 0.7])
    first = rng.choice(places, p=weight / weight.sum())
    weight = weight * np.exp(-np.abs(places - first) / 2) * (places != first)
    others = rng.choice(places, min(most, len(places)) - 1, replace=False, p=weight / weight.sum())
    return [int(first), *others.tolist()]


def fracture(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One to five collapsed bodies, the first as severe as the degree says, the others at most as much."""
    count = int(rng.choice(np.arange(1, MOST + 1), p=[0.35, 0.25, 0.18, 0.12, 0.1]))
    found = []
    for index in _chosen(column, count, rng):
        loss = between(LOSS_PERCENT, degree * (rng.uniform(0.5, 1.0) if found else 1.0))
        kinds = ["wedge", "crush", "biconcave"] if loss <= BICONCAVE_PERCENT else ["wedge", "crush"]
        kind = str(rng.choice(["wedge", *kinds]))
        found += collapse(column, int(index), kind, loss, rng)
    return found


def collapse(column: Column, index: int, kind: str, loss_percent: float, rng: Rng) -> list[Finding]:
    """One body loses height; what is above follows. kind: wedge, biconcave or crush."""
    share = loss_percent / 100
    column.collapsed.add(index)
    {"wedge": _wedge, "biconcave": _biconcave, "crush": _crush}[kind](column, index, share, rng)
    name = column.named((index,))
    found = [Finding(f"{kind} fracture", loss_percent, "%", name), *_thrown_out(column, index, share, rng)]
    dense = rng.uniform(0.9, 1 / (1 - 0.75 * share)) * (rng.uniform(1.3, 2.0) if rng.random() < 0.3 else 1.0)
    column.look.density[index] *= dense
    column.look.endplate[index] *= rng.uniform(0.1, 1.5, 2)
    return [*found, Finding("sclerosis", dense, "times as dense", name)] if dense > 1.5 else found


def _wedge(column: Column, index: int, loss: float, rng: Rng) -> None:
    """The front is lower than the back by the loss; the spine above leans forward, but not by all of it."""
    body = column.bodies[index]
    before, below = slope_deg(body[[0, 1]]), slope_deg(body[[3, 2]])
    behind = float(np.linalg.norm(body[1] - body[2]))
    wall = body[0] - body[3]
    excess = wall * (1 - (1 - loss) * behind / np.linalg.norm(wall))
    upper = rng.choice([1.0, 1.0, rng.uniform(0.3, 0.9), 0.0])
    body[0] -= excess * upper
    body[3] += excess * (1 - upper)
    follows = rng.uniform(0.3, 0.95)
    column.turn_above(index, body[1], -follows * (slope_deg(body[[0, 1]]) - before))
    column.turn_above(index + 1, body[2].copy(), -follows * (below - slope_deg(body[[3, 2]])))
    _close(column, index, rng)


def _crush(column: Column, index: int, loss: float, rng: Rng) -> None:
    """All of it is lower by the loss and a little broader."""
    body = column.bodies[index]
    middle = body.mean(0)
    sunk = (body[[3, 2]] - body[[0, 1]]) * loss
    body[:2] += sunk
    column.move_above(index, sunk.mean(0))
    across = unit(body[1] - body[0])
    body += np.outer((body - middle) @ across * rng.uniform(0.0, 0.2) * loss, across)


def _biconcave(column: Column, index: int, loss: float, rng: Rng) -> None:
    """Endplates sink in the middle by the loss; the walls lose a little."""
    if loss > 0.4:
        _crush(column, index, rng.uniform(0.0, 0.3) * loss, rng)
    body = column.bodies[index]
    height = (np.linalg.norm(body[0] - body[3]) + np.linalg.norm(body[1] - body[2])) / 2
    upper = rng.uniform(0.35, 0.65)
    column.look.bow_mm[index, 0] -= loss * height * upper
    column.look.bow_mm[index, 2] -= loss * height * (1 - upper)


def _close(column: Column, index: int, rng: Rng) -> None:
    """The discs next to a collapsed body are as thick as before where they are thinnest, or thinner."""
    for joint in (index, index + 1):
        if 0 < joint < len(column.bodies):
            column.set_gap(joint, min(max(column.gap_mm(joint), 0.6), rng.uniform(0.6, 5.0)))


def _thrown_out(column: Column, index: int, loss: float, rng: Rng) -> list[Finding]:
    """Walls that bulge with the loss, behind into the canal and in front."""
    depth, found, body = column.depth(index), [], column.bodies[index]
    for side, name, most in ((1, "bone thrown out behind", 0.22), (3, "bone thrown out in front", 0.18)):
        if rng.random() < 0.2 + 0.6 * loss:
            wall = float(np.linalg.norm(body[side] - body[(side + 1) % 4]))
            out = min(depth * most * rng.uniform(0.3, 1.0) * (0.3 + loss), 0.35 * wall)
            column.look.bow_mm[index, side] += out
            found.append(Finding(name, out, "mm", column.named((index,))))
    return found


def paint_fracture(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """What a collapse leaves beside the outline: pressed bone under the endplates, a step, fragments in front."""
    index = spine.column_names.index(finding.where[0])
    body, loss = spine.column[index], finding.degree / 100
    height, ahead = np.linalg.norm(body[1] - body[2]), unit(body[0] - body[1])
    outline = spine.outlines(finding.where)[0]
    if rng.random() < 0.6:
        canvas.line(
            outline[: max(len(outline) // 4, 2)], strength[1] * rng.uniform(0.2, 0.9), width_mm=rng.uniform(2, 5)
        )
    if rng.random() < 0.5:
        step = body[0] + (body[3] - body[0]) * rng.uniform(0.15, 0.6)
        canvas.line(
            np.stack([step, step - ahead * rng.uniform(5, 18)]), strength[2] * rng.uniform(0.4, 1), width_mm=1.3
        )
    for corner in (body[0], body[3]):
        if rng.random() < 0.7 * loss:
            centre = corner + ahead * rng.uniform(1, 6)
            chip = ellipse(centre, (rng.uniform(2, 5), rng.uniform(1.5, 0.2 * height + 2)), rng.uniform(0, 180))[::5]
            chip = smooth_closed(chip + rng.normal(0, 0.8, chip.shape), 2)
            canvas.fill(chip, strength[1] * rng.uniform(0.3, 0.9))
            canvas.line(chip, strength[1] * rng.uniform(0.1, 0.6), width_mm=1.0, closed=True)


def cement(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One to four bodies filled; collapsed ones first. A third to all of them leak."""
    others = [k for k in _chosen(column, 7, rng) if k not in column.collapsed]
    where = [*sorted(column.collapsed), *rng.permutation(others).tolist()][: 1 + round(3 * degree)]
    found = [Finding("cement", rng.uniform(20, 25 + 45 * degree), "% of the body", column.named((k,))) for k in where]
    leaks = [Finding("cement leak", where=column.named((k,))) for k in where if rng.random() < 0.3 + 0.5 * degree]
    return found + leaks


def _within(body: np.ndarray, u: float, v: float) -> np.ndarray:
    """A point of a body: u from its front to its back, v from its upper to its lower endplate."""
    return (body[0] * (1 - u) + body[1] * u) * (1 - v) + (body[3] * (1 - u) + body[2] * u) * v


def paint_cement(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """A dense cloud of lobes, or two balls, within one body."""
    body = spine.column[spine.column_names.index(finding.where[0])]
    wide, high = np.linalg.norm(body[1] - body[0]), np.linalg.norm(body[0] + body[1] - body[2] - body[3]) / 2
    turn = np.degrees(np.arctan2(*(body[1] - body[0])[::-1]))
    share, amount = finding.degree / 100, rng.uniform(0.8, 3.5)
    lobes = 2 if rng.random() < 0.25 else int(rng.integers(4, 9))
    radius = np.sqrt(share / lobes / np.pi) * 1.6
    for _ in range(lobes):
        size = (max(wide * radius * rng.uniform(0.6, 1.5), 1.5), max(high * radius * rng.uniform(0.5, 1.3), 1.0))
        lobe = ellipse(_within(body, *rng.uniform(0.22, 0.75, 2)), size, turn + rng.normal(0, 20))
        rough = lobe[:: 2 if lobes == 2 else 4]
        rough = smooth_closed(rough + rng.normal(0, 0.2 * min(size) + 0.2, rough.shape), 2)
        canvas.fill(rough, amount * rng.uniform(0.4, 1.0), soft_mm=rng.uniform(0.4, 0.9))


def paint_leak(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Cement in the disc above or below, in a vein in front, or in the canal behind."""
    body = spine.column[spine.column_names.index(finding.where[0])]
    start, toward = (
        (_within(body, rng.uniform(0.3, 0.7), 0.05), body[1] - body[2]),
        (_within(body, rng.uniform(0.3, 0.7), 0.95), body[2] - body[1]),
        (_within(body, 0.05, rng.uniform(0.2, 0.8)), body[0] - body[1]),
        (_within(body, 0.98, rng.uniform(0.2, 0.8)), body[1] - body[0]),
    )[int(rng.integers(4))]
    steps = unit(toward) * rng.uniform(1, 3.5) + rng.normal(0, 1.6, (int(rng.integers(3, 7)), 2))
    path = start + np.cumsum(steps, 0)
    canvas.line(path, rng.uniform(0.6, 2.5), width_mm=rng.uniform(1.5, 5.0), soft_mm=0.7)
