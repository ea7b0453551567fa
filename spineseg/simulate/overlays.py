"""What lies before, behind or on the body: contrast media, gas of a hernia, zips, buttons, clips, electrodes."""

from __future__ import annotations

import numpy as np

from spineseg.film import Finding
from spineseg.simulate.canvas import Canvas, ellipse, smooth_closed, smooth_open
from spineseg.simulate.column import Column, unit
from spineseg.simulate.config import Rng
from spineseg.simulate.shape import SpineShape


def overlay(column: Column, degree: float, rng: Rng) -> list[Finding]:
    """One to three of the things that can be painted, each as marked as the degree says."""
    names = rng.choice(list(OVERLAYS), 1 + int(rng.binomial(2, 0.2 + 0.4 * degree)), replace=False)
    return [Finding(str(name), degree) for name in names]


def _somewhere(spine: SpineShape, rng: Rng, spread_mm: float) -> np.ndarray:
    """A point on a lumbar body or around it."""
    return spine.lumbar[int(rng.integers(0, len(spine.lumbar)))].mean(0) + rng.normal(0, spread_mm, 2)


def _paint_bowel(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Barium in a stretch of bowel, with folds."""
    start = _somewhere(spine, rng, 30.0) - [rng.uniform(20, 90), 0]
    path = smooth_open(start + np.cumsum(rng.normal(0, 26, (int(rng.integers(3, 7)), 2)), 0), 3)
    amount, width = 0.5 + 2.5 * degree * rng.random(), rng.uniform(8, 26)
    for point in path[:: max(len(path) // 30, 1)]:
        lobe = ellipse(point, (width * rng.uniform(0.35, 0.6), width * rng.uniform(0.3, 0.6)), rng.uniform(0, 180))[::4]
        lobe = smooth_closed(lobe + rng.normal(0, 1.2, lobe.shape), 2)
        canvas.fill(lobe, amount * rng.uniform(0.1, 0.6), soft_mm=0.8)


def _paint_canal(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Contrast in the dural sac behind the bodies (myelography)."""
    behind = np.stack([b[[1, 2]].mean(0) + unit(b[1] - b[0]) * rng.uniform(6, 10) for b in spine.column[-7:]])
    behind = np.concatenate([behind, spine.sacral[:2, [1, 2]].mean(1)])
    canvas.line(smooth_open(behind, 3), 0.2 + 0.8 * degree, width_mm=rng.uniform(7, 12), soft_mm=1.0)


def _paint_urine(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Contrast in kidneys and ureters."""
    for _ in range(2):
        pelvis = spine.lumbar[1].mean(0) + rng.normal([-5, 0], [15, 15])
        cup = ellipse(pelvis, (rng.uniform(6, 12), rng.uniform(8, 16)), rng.uniform(-30, 30))[::4]
        canvas.fill(smooth_closed(cup + rng.normal(0, 2.5, cup.shape), 2), (0.2 + 0.8 * degree) * rng.uniform(0.4, 1))
        path = np.linspace(pelvis, spine.s1[0] + rng.normal([-30, 30], 10, 2), 6) + rng.normal(0, 5, (6, 2))
        canvas.line(smooth_open(path, 3), (0.1 + 0.5 * degree) * rng.uniform(0.3, 1), width_mm=rng.uniform(2, 4))


def _paint_hernia(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """A stomach in the chest: a thin wall, gas, and a level of fluid; large ones lie over the spine."""
    centre = spine.thoracic[min(1, len(spine.thoracic) - 1)].mean(0) + rng.normal([-25 + 22 * degree, 5], [10, 15])
    size = rng.uniform(14, 20 + 20 * degree, 2)
    wall = ellipse(centre, (size[0], size[1]), rng.uniform(-20, 20))
    canvas.line(wall, rng.uniform(0.1, 0.4), width_mm=rng.uniform(2, 4), closed=True)
    level = centre[1] + size[1] * rng.uniform(-0.3, 0.6)
    gas = wall.copy()
    gas[:, 1] = np.minimum(gas[:, 1], level)
    canvas.fill(gas, -rng.uniform(0.4, 1.0 + degree), soft_mm=0.8)


def _paint_gas(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Wide loops of bowel gas right over the bodies."""
    for _ in range(1 + int(rng.binomial(5, 0.3 + 0.5 * degree))):
        loop = ellipse(_somewhere(spine, rng, 14.0), tuple(rng.uniform(8, 26, 2)), rng.uniform(0, 180))[::4]
        loop = smooth_closed(loop + rng.normal(0, 2.5, loop.shape), 3)
        canvas.fill(loop, -rng.uniform(0.1, 0.3 + 0.6 * degree), soft_mm=rng.uniform(0.8, 3))
        canvas.line(loop, rng.uniform(0, 0.12), width_mm=1.5, closed=True)


def _paint_zip(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Two rows of teeth along a curve, with a slider."""
    start = _somewhere(spine, rng, 25.0)
    turn = rng.uniform(0, np.pi) if rng.random() < 0.5 else np.pi / 2 + rng.normal(0, 0.2)
    along, amount = np.array([np.cos(turn), np.sin(turn)]), rng.uniform(0.6, 1.5 + 2 * degree)
    aside = np.array([-along[1], along[0]])
    for step in np.arange(0, rng.uniform(60, 190), 2.4):
        for side in (-1.2, 1.2):
            tooth = start + along * (step + side / 2) + aside * (side + 6 * np.sin(step / 60))
            canvas.line(np.stack([tooth - aside * 0.9, tooth + aside * 0.9]), amount, width_mm=1.3, soft_mm=0.2)
    canvas.fill(ellipse(start, (4.0, 5.5)), amount * 1.3)


def _paint_buttons(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """A row of buttons, rivets or snaps."""
    start, step = _somewhere(spine, rng, 25.0), rng.normal(0, [8, 25], 2)
    radius, amount = rng.uniform(3.5, 9), rng.uniform(0.2, 0.6 + 2 * degree)
    for index in range(int(rng.integers(1, 6))):
        centre = start + step * index + rng.normal(0, 2, 2)
        canvas.fill(ellipse(centre, (radius, radius * rng.uniform(0.3, 1.0)), rng.uniform(0, 180)), amount, soft_mm=0.3)
        canvas.line(ellipse(centre, (radius, radius)), amount * 0.6, width_mm=1.0, closed=True)
        for hole in rng.normal(0, 0.25 * radius, (4, 2)):
            canvas.fill(ellipse(centre + hole, (0.8, 0.8)), -0.6 * amount, soft_mm=0.2)


def _paint_wires(canvas: Canvas, spine: SpineShape, degree: float, rng: Rng) -> None:
    """Electrodes with their leads, or a catheter."""
    for _ in range(1 + int(rng.binomial(3, 0.5))):
        path = _somewhere(spine, rng, 50.0) + np.cumsum(rng.normal(0, 32, (5, 2)), 0)
        canvas.line(
            smooth_open(path, 4), rng.uniform(0.3, 0.6 + 1.5 * degree), width_mm=rng.uniform(0.8, 2.2), soft_mm=0.3
        )
        canvas.fill(ellipse(path[0], tuple(rng.uniform(3, 9, 2))), rng.uniform(0.3, 1.5), soft_mm=0.4)


OVERLAYS = {
    "barium in the bowel": _paint_bowel,
    "contrast in the spinal canal": _paint_canal,
    "contrast in the kidneys": _paint_urine,
    "gas of a hiatal hernia": _paint_hernia,
    "bowel gas over the spine": _paint_gas,
    "zip": _paint_zip,
    "buttons": _paint_buttons,
    "leads": _paint_wires,
}


def paint_overlay(canvas: Canvas, spine: SpineShape, finding: Finding, strength: np.ndarray, rng: Rng) -> None:
    """One of `OVERLAYS`."""
    OVERLAYS[finding.name](canvas, spine, finding.degree, rng)
