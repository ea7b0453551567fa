"""Spines that are counted or built otherwise: six or four lumbar bodies, transitional ones, children, thin bone.

Names are counted from the sacrum, as the network does: S1 is the first sacral body, L5 the one above it, whatever
either looks like. Of six lumbar bodies the uppermost has no name; of four, L1 bears ribs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.bodies import paint_lumbarised
from spineseg.simulate.canvas import Canvas, ellipse, smooth_closed
from spineseg.simulate.column import Column, unit
from spineseg.simulate.config import AnatomyConfig, Rng
from spineseg.simulate.shape import SpineShape, bowed

NUMBERINGS = ("six lumbar bodies", "four lumbar bodies", "sacralised L5", "lumbarised S1")


def renumber(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One of `NUMBERINGS`, its degree being how complete it is."""
    name = NUMBERINGS[int(rng.integers(len(NUMBERINGS)))]
    if name == "sacralised L5":
        return [_sacralise(column, degree, rng)]
    if name == "lumbarised S1":
        return [_lumbarise(column, degree, rng)]
    count = 1 if name.startswith("six") else -1
    column.look = replace(column.look, lumbar_like=count)
    return [Finding(name, 5.0 + count, "bodies without ribs above S1")]


def _sacralise(column: Column, degree: float, rng: Rng) -> Finding:
    """L5's disc is a remnant, and its endplates fade."""
    s1 = len(column.bodies) - 1
    column.set_gap(s1, max(column.gap_mm(s1) * (0.5 - 0.4 * degree), 0.6))
    column.look.endplate[s1 - 1, 1] *= 1 - 0.7 * degree
    column.look.endplate[s1, 0] *= 1 - 0.7 * degree
    return Finding("sacralised L5", degree, "", ("L5",))


def _lumbarise(column: Column, degree: float, rng: Rng) -> Finding:
    """S1 stands square over a disc of its own."""
    s1 = column.bodies[-1]
    lower = s1[2] - s1[3]
    longer = lower * (np.linalg.norm(s1[1] - s1[0]) / np.linalg.norm(lower) - 1) * degree / 2
    s1[2] += longer
    s1[3] -= longer
    away = (s1[2] + s1[3] - s1[0] - s1[1]) / 2 * (0.05 + 0.2 * degree)
    column.sacral += away
    return Finding("lumbarised S1", degree, "", ("S1",))


def paint_sacralised(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Broad transverse processes of L5 that reach the wings of the sacrum."""
    l5, s1 = spine.lumbar[-2], spine.s1
    for _ in range(2):
        middle = l5[0] * 0.4 + l5[1] * 0.6 + (l5[3] - l5[0]) * rng.uniform(0.2, 0.4)
        wing = np.stack(
            [middle + [-9, -4], middle + [9, -6], s1[1] + (s1[2] - s1[1]) * 0.5, s1[0] + (s1[3] - s1[0]) * 0.5]
        )
        wing = smooth_closed(wing + rng.normal(0, 3, wing.shape), 2)
        canvas.fill(wing, strength[0] * rng.uniform(0.2, 0.5 + 0.5 * finding.degree), soft_mm=1.2)
        canvas.line(wing, strength[1] * rng.uniform(0.0, 0.4), width_mm=1.3, closed=True)


def paint_lumbar_s1(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """S1 with back wall, lower endplate and disc."""
    disc = 0.05 + 0.2 * finding.degree
    config = AnatomyConfig()
    paint_lumbarised(canvas, spine.s1, spine.sacral[0], strength, rng, config, disc=(0.8 * disc, disc))


def shrink(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """A child: low bodies with bulging endplates between thick discs. degree: 0 nearly grown, 1 an infant school's."""
    for index in range(len(column.bodies) - 1):
        body = column.bodies[index]
        lower = 1 - rng.uniform(0.05, 0.1 + 0.12 * degree)
        middle = body.mean(0)
        up = unit(body[:2].mean(0) - body[2:].mean(0))
        body += np.outer((body - middle) @ up * (lower - 1), up)
        column.look.bow_mm[index, [0, 2]] += column.depth(index) * rng.uniform(0.0, 0.05 * degree + 0.01)
    s1 = column.bodies[-1]
    column.sacral += (s1[2] + s1[3] - s1[0] - s1[1]) / 2 * 0.1
    return [Finding("child", 16 - 11 * degree, "years")]


def child_scale(findings: tuple[Finding, ...]) -> float:
    """Size of a child over an adult's; 1 for an adult."""
    years = [finding.degree for finding in findings if finding.name == "child"]
    return 0.5 + 0.027 * (years[0] + 2) if years else 1.0


def paint_growth_plates(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Dark plates under thin rims of bone, specks in the corners, vessels in front and behind, S1's own disc."""
    young = (16 - finding.degree) / 11
    for index, body in enumerate(spine.column[:-1]):
        up = unit(body[:2].mean(0) - body[2:].mean(0))
        for (front, back), side, bow in (((0, 1), up, 0), ((3, 2), -up, 2)):
            ends = (body[front], body[back])
            ring = bowed(*ends, spine.look.bow_mm[index, bow] * (1 if bow == 0 else -1))
            canvas.line(ring - side * 0.8, -strength[1] * rng.uniform(0.1, 0.5), width_mm=1.3)
            for corner in (ring[:2], ring[-2:]):
                if rng.random() < 0.8 - 0.4 * young:
                    canvas.line(
                        corner + side * rng.uniform(0.5, 1.5), strength[1] * rng.uniform(0.4, 1.2), width_mm=1.6
                    )
        middle = (body[0] + body[3]) / 2
        notch = ellipse(middle + unit(body[1] - body[0]) * 3, (rng.uniform(2, 7), rng.uniform(0.6, 1.6)))
        canvas.fill(notch, -strength[0] * rng.uniform(0.0, 0.8) * young)
    paint_lumbarised(canvas, spine.s1, spine.sacral[0], strength, rng, AnatomyConfig(), disc=(0.06, 0.12))


def thin(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """Osteoporosis: hardly any bone inside, endplates like pencil lines, some of them hollow."""
    left = 0.5 - 0.4 * degree
    column.look.density[:] *= left
    column.look.endplate[:] *= rng.uniform(0.7, 1.0)
    for index in range(len(column.bodies) - 1):
        hollow = column.depth(index) * rng.uniform(0.0, 0.04 + 0.06 * degree, 2)
        column.look.bow_mm[index, [0, 2]] -= hollow
    return [Finding("osteoporosis", 100 * (1 - left), "% of the inner bone lost")]


def paint_trabeculae(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """The upright beams that are left, seen as fine stripes."""
    if rng.random() < 0.5:
        return
    for body in spine.lumbar[:-1]:
        for u in np.sort(rng.uniform(0.1, 0.9, int(rng.integers(4, 11)))):
            top, end = body[0] + (body[1] - body[0]) * u, body[3] + (body[2] - body[3]) * u
            canvas.line(np.stack([top, end]), strength[2] * rng.uniform(0.03, 0.25), width_mm=0.7)
