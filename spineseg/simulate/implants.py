"""Pedicle screws with rods and cross-links, cages between bodies, plates in front, as lateral films show them.

Left and right are seen apart, for no film is exactly lateral. Steel leaves nothing behind it to be seen, titanium some.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from spineseg.film import Finding
from spineseg.simulate.canvas import Canvas, Points, ellipse, smooth_closed, smooth_open
from spineseg.simulate.column import Column, unit
from spineseg.simulate.config import Rng
from spineseg.simulate.shape import SpineShape

LEVELS = (1, 6)
Point = Float[np.ndarray, "xy=2"]


def instrument(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """Screws at one to six levels, or a plate, or cages alone; about a collapsed body where there is one."""
    levels = LEVELS[0] + round((LEVELS[1] - LEVELS[0]) * degree)
    s1 = len(column.bodies) - 1
    ill = sorted(column.collapsed)
    middle = int(rng.choice(ill)) if ill and rng.random() < 0.8 else s1 - int(rng.integers(0, 5))
    first = int(np.clip(middle - levels // 2 - rng.integers(0, 2), max(s1 - 9, 0), s1 - levels))
    span = list(range(first, first + levels + 1))
    if rng.random() < 0.12:
        return [Finding("anterior plate", float(levels), "levels", column.named(span))]
    found = _cages(column, span, rng)
    if found and rng.random() < 0.15:
        return found
    inner = [k for k in span[1:-1] if k not in ill and rng.random() < 0.85]
    screwed = column.named([span[0], *inner, span[-1]])
    links = [Finding("cross-link", where=screwed)] if rng.random() < 0.2 + 0.3 * degree else []
    return [Finding("pedicle screws", float(levels), "levels", screwed), *links, *found]


def _cages(column: Column, span: list[int], rng: Rng) -> list[Finding]:
    """In some of the lumbar discs; they hold the disc open."""
    found = []
    for upper, lower in pairwise(span):
        if upper >= column.first_lumbar and rng.random() < 0.35:
            column.set_gap(lower, rng.uniform(4.0, 10.0))
            found.append(Finding("cage", where=column.named((upper, lower))))
    return found


def paint_screws(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """Both sides with their rods; a cross-link is painted with `paint_link`."""
    metal, size = rng.uniform(1.2, 4.0), rng.uniform(0.9, 1.1)
    apart = rng.normal(0, [5, 3]) + (rng.normal(0, [14, 9]) if rng.random() < 0.3 else 0)
    for side in (0.5, -0.5):
        heads = [_paint_screw(canvas, spine, name, apart * side, metal, size, rng) for name in finding.where]
        _paint_rod(canvas, np.stack(heads), metal, size, rng)


def _paint_screw(
    canvas: Canvas, spine: SpineShape, name: str, shift: Point, metal: float, size: float, rng: Rng
) -> Point:
    """A screw through one pedicle; its head's middle."""
    index = spine.column_names.index(name)
    body, whole = spine.column[index], spine.look.intact[index]
    behind = unit(whole[1] - whole[0])
    entry = whole[1] + behind * rng.uniform(19, 25) + (whole[2] - whole[1]) * rng.uniform(0.12, 0.3) + shift
    u, v = rng.uniform(0.08, 0.4), rng.uniform(0.2, 0.55)
    tip = (body[0] * (1 - u) + body[1] * u) * (1 - v) + (body[3] * (1 - u) + body[2] * u) * v
    tip = tip + shift * 0.6 + rng.normal(0, 1.5, 2)
    along = unit(tip - entry)
    _paint_shaft(canvas, entry, tip, rng.uniform(5.0, 7.5) * size, metal, rng)
    across = np.array([-along[1], along[0]])
    head = np.array([(2, -4.5), (2, 4.5), (-5, 7), (-14, 7), (-14, 3), (-10, 2.5), (-10, -2.5), (-14, -3), (-14, -7)])
    head = np.concatenate([head, [(-5, -7)]]) * size * rng.uniform(0.85, 1.1)
    _paint_metal(canvas, entry + head[:, :1] * along + head[:, 1:] * across, metal * rng.uniform(1.1, 1.6))
    centre = entry - along * 7 * size
    _paint_metal(canvas, ellipse(centre, (4.2 * size, 4.2 * size)), 0.5 * metal)
    return centre


def _paint_shaft(canvas: Canvas, entry: Point, tip: Point, width_mm: float, metal: float, rng: Rng) -> None:
    """Core and thread: a saw-toothed outline, and the turns of the thread across it."""
    along, length = unit(tip - entry), float(np.linalg.norm(tip - entry))
    across, pitch = np.array([-along[1], along[0]]), rng.uniform(2.0, 3.4)
    place = np.arange(0.0, length, pitch / 2)
    taper = np.clip((length - place) / 9.0, 0.35, 1.0)
    outer = width_mm / 2 * taper
    core = outer * rng.uniform(0.62, 0.78)
    tooth = np.where(np.arange(len(place)) % 2, outer, core)
    left = entry + np.outer(place, along) + np.outer(tooth, across)
    right = entry + np.outer(place, along) - np.outer(np.roll(tooth, 1), across)
    _paint_metal(canvas, np.concatenate([left, [tip], right[::-1]]), metal * 0.75)
    for start, half in zip(place[1::2], outer[1::2], strict=True):
        turn = np.stack([-half * across - 0.25 * pitch * along, half * across + 0.25 * pitch * along])
        canvas.line(entry + start * along + turn, metal * 0.3, width_mm=0.35 * pitch, soft_mm=0.2)


def _paint_rod(canvas: Canvas, heads: Points, metal: float, size: float, rng: Rng) -> None:
    """A smooth rod through the heads, and a little farther."""
    beyond = rng.uniform(6, 14, 2)
    start = heads[0] + unit(heads[0] - heads[1]) * beyond[0]
    end = heads[-1] + unit(heads[-1] - heads[-2]) * beyond[1]
    path = smooth_open(np.concatenate([[start], heads, [end]]), 3)
    canvas.line(path, metal * rng.uniform(0.8, 1.3), width_mm=rng.uniform(4.5, 6.2) * size, soft_mm=0.25)
    canvas.line(path, 0.12 * metal, width_mm=8.0 * size, soft_mm=1.5)


def _paint_metal(canvas: Canvas, outline: Points, amount: float) -> None:
    """A solid with a sharp edge and a faint halo, as the detector's glare draws it."""
    canvas.fill(outline, amount, soft_mm=0.25)
    canvas.fill(outline, 0.1 * amount, soft_mm=1.8)


def paint_link(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """A bar from rod to rod, seen nearly end on."""
    upper, lower = (spine.look.intact[spine.column_names.index(name)] for name in (finding.where[0], finding.where[-1]))
    share = rng.uniform(0.3, 0.7)
    middle = (upper[1] * (1 - share) + lower[2] * share) + unit(upper[1] - upper[0]) * rng.uniform(24, 32)
    reach = rng.normal(0, [8, 4])
    for side in (-1, 1):
        clamp = ellipse(middle + reach * side, (5.0, 4.0), rng.uniform(0, 180))
        _paint_metal(canvas, clamp, rng.uniform(1.5, 3.0))
    canvas.line(np.stack([middle - reach, middle + reach]), rng.uniform(1.5, 3.5), width_mm=rng.uniform(3, 5))


def paint_cage(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """A titanium frame with windows, or a plastic one of which only the pins are seen."""
    upper, lower = (spine.column[spine.column_names.index(name)] for name in finding.where)
    front, back = np.sort(rng.uniform([0.05, 0.55], [0.4, 0.92]))
    corners = np.stack(
        [upper[3] + (upper[2] - upper[3]) * u for u in (front, back)]
        + [lower[0] + (lower[1] - lower[0]) * u for u in (back, front)]
    )
    amount = rng.uniform(0.8, 3.0)
    if rng.random() < 0.45:
        for u, v in ((0, 0.5), (1, 0.15), (1, 0.85)):
            pin = (corners[0] * (1 - u) + corners[1] * u) * (1 - v) + (corners[3] * (1 - u) + corners[2] * u) * v
            canvas.line(np.stack([pin - [0.0, 2.0], pin + [0.0, 2.0]]), amount, width_mm=1.2, soft_mm=0.2)
        return
    _paint_metal(canvas, smooth_closed(corners, 1), amount * 0.5)
    canvas.line(corners, amount * 0.5, width_mm=rng.uniform(1.2, 2.5), soft_mm=0.25, closed=True)
    if rng.random() < 0.6:
        window = corners.mean(0) + (corners - corners.mean(0)) * rng.uniform(0.35, 0.6)
        canvas.fill(smooth_closed(window, 2), -0.35 * amount, soft_mm=0.3)
    for point in (*corners[:2] + [0.0, -0.8], *corners[2:] + [0.0, 0.8]):
        canvas.fill(ellipse(point, (0.9, 0.9)), amount * 0.6, soft_mm=0.2)


def paint_plate(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """A plate along the front or the side of the bodies, with screws across them."""
    metal, bodies = rng.uniform(1.2, 3.5), spine.column[[spine.column_names.index(name) for name in finding.where]]
    u = rng.choice([-0.06, rng.uniform(0.1, 0.5)])
    middles = np.stack([(b[0] + b[3]) / 2 * (1 - u) + (b[1] + b[2]) / 2 * u for b in bodies])
    ends = np.stack([bodies[0, 0] * (1 - u) + bodies[0, 1] * u, bodies[-1, 3] * (1 - u) + bodies[-1, 2] * u])
    path = smooth_open(np.concatenate([ends[:1], middles, ends[1:]]), 2)
    canvas.line(path, metal, width_mm=rng.uniform(2.5, 4) if u < 0 else rng.uniform(6, 11), soft_mm=0.3)
    for body, middle in zip(bodies, middles, strict=True):
        for v in (-0.22, 0.22):
            head = middle + (body[3] - body[0]) * v
            if u < 0:
                tip = head + (body[1] - body[0]) * rng.uniform(0.5, 0.75) + rng.normal(0, 1.5, 2)
                _paint_shaft(canvas, head, tip, rng.uniform(3.5, 5.0), metal, rng)
            _paint_metal(canvas, ellipse(head, (3.2, 3.2)), 0.7 * metal)
