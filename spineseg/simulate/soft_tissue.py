"""Torso, lung, ribs, bowel gas, stool and texture."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from spineseg.simulate.canvas import Canvas, ellipse, smooth_closed, smooth_open
from spineseg.simulate.config import AnatomyConfig, Rng, lognormal
from spineseg.simulate.shape import SpineShape

Tissue = Float32[np.ndarray, "rows columns"]
"""Attenuation of the soft tissue of the trunk, before air and bone."""


def paint_torso(canvas: Canvas, spine: SpineShape, rng: Rng, config: AnatomyConfig) -> Tissue:
    """Elliptical sections whose skin lines follow the spine, the belly and the buttock."""
    rows, columns = canvas.attenuation.shape
    y = (np.arange(rows) + 0.5) * canvas.pixel_mm + canvas.origin_mm[1]
    x = (np.arange(columns) + 0.5) * canvas.pixel_mm + canvas.origin_mm[0]
    lumbar, hip = spine.lumbar.mean(1), spine.hip_mm
    top, girth = spine.thoracic[-1].mean(0), lognormal(rng, 1.0, 0.14)
    level = np.array([top[1] - 120, top[1], lumbar[0, 1], lumbar[3, 1], spine.sacral[0, 2, 1], hip[1], hip[1] + 120])
    level = np.maximum.accumulate(level + np.arange(7))
    if (np.diff(level) <= 0).any():
        level = level + 0.1 * np.arange(7)
    centre = np.array([top[0], top[0], lumbar[0, 0], lumbar[3, 0], spine.sacral[0, 2, 0], hip[0], hip[0]])
    behind = np.array([84, 84, 80, 82, 66, 118, 100]) * rng.normal(1, 0.10, 7) * np.sqrt(girth)
    ahead = np.array([170, 165, 160, 165, 175, 120, 95]) * rng.normal(1, 0.10, 7) * girth
    width = np.array([290, 285, 280, 285, 335, 355, 320]) * rng.normal(1, 0.07, 7) * np.sqrt(girth)
    back, front, wide = (
        gaussian_filter1d(PchipInterpolator(level, along)(np.clip(y, level[0], level[-1])), 30 / canvas.pixel_mm)
        for along in (centre + behind, centre - ahead, width)
    )
    if spine.look.bent:
        back, front = _around_column(spine, y, back, front, 30 / canvas.pixel_mm)
    middle, half = (back + front)[:, None] / 2, np.maximum((back - front)[:, None] / 2, 20.0)
    inside = np.clip(1 - ((x - middle) / half) ** 2, 0, 1)
    section = inside ** rng.uniform(0.4, 0.9)
    tissue = (wide[:, None] * section * rng.uniform(*config.soft_per_mm)).astype(np.float32)
    canvas.attenuation += tissue
    return tissue


def _around_column(
    spine: SpineShape, y: np.ndarray, back: np.ndarray, front: np.ndarray, smooth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Skin lines moved outwards where the column would leave the trunk."""
    middles = spine.column.mean(1)
    x = np.interp(y, *middles[np.argsort(middles[:, 1])].T[::-1])
    back, front = np.maximum(back, x + 68), np.minimum(front, x - 75)
    return gaussian_filter1d(back, smooth / 2), gaussian_filter1d(front, smooth / 2)


def paint_lung(canvas: Canvas, spine: SpineShape, tissue: Tissue, rng: Rng) -> None:
    """Air above one dome for each half of the diaphragm, down to a recess behind; at no fixed level of the spine."""
    level = spine.lumbar[0, :, 1].mean() + rng.normal(-40, 50)
    for _ in range(rng.choice([0, 1, 2, 2, 2, 2, 2])):
        y = level + rng.normal(0, 20)
        x = spine.lumbar[0, :, 0].mean()
        dome = [
            (x - 190, y + rng.normal(10, 25)),
            (x - 110, y - rng.uniform(10, 60)),
            (x - 30, y - rng.uniform(0, 45)),
            (x + 25, y + rng.normal(15, 12)),
            (x + rng.uniform(45, 70), y + rng.uniform(20, 75)),
        ]
        lung = np.array([*dome, (x + 75, y - 80), (x + 75, y - 500), (x - 190, y - 500)])
        lung[:5] = lung[:5] + rng.normal(0, 5, (5, 2))
        outline = np.concatenate([smooth_open(lung[:5], 3), lung[5:]])
        found = canvas.coverage(outline, soft_mm=rng.uniform(0.6, 3.0))
        if found is not None:
            box, share = found
            canvas.attenuation[box] -= share * tissue[box] * rng.uniform(0.15, 0.42)
        canvas.line(smooth_open(lung[:5], 3), rng.uniform(0, 0.15), width_mm=1.5)


def paint_ribs(canvas: Canvas, spine: SpineShape, rng: Rng) -> None:
    """Pairs of bands from the bodies with ribs downwards and forwards; the lowest is short or missing."""
    amount = rng.uniform(0.0, 0.3)
    shift = rng.choice([0, 0, 0, 0, 1])  # the lowest rib may be T11's, as with six bodies that look lumbar
    first = len(spine.thoracic) - 1 - spine.look.lumbar_like
    for index, body in enumerate(spine.column[first::-1]):
        for _ in range(2):
            reach = rng.uniform(-60, 90) if index <= shift else rng.uniform(60, 190)
            if reach < 20:
                continue
            start = body[1] + rng.normal(0, 4, 2)
            slope = np.deg2rad(rng.normal(50, 12))
            bow = start + [rng.uniform(15, 40), rng.uniform(10, 30)]
            along = np.array([-np.cos(slope), np.sin(slope)])
            line = np.stack([start, bow, bow + along * reach * 0.4 + [8, 8], bow + along * reach])
            line = smooth_open(line, 3)
            width = rng.uniform(6, 11)
            canvas.line(line, amount * rng.uniform(0.3, 0.8), width_mm=width, soft_mm=1.0)
            for side in (-0.5, 0.5):
                canvas.line(line + [0, side * width], amount * rng.uniform(0.3, 1.0), width_mm=1.2)


def paint_gas(canvas: Canvas, spine: SpineShape, rng: Rng, config: AnatomyConfig) -> None:
    """Bowel gas and stool in the belly, a stomach bubble, gas in front of the sacrum."""
    lumbar = spine.lumbar.mean(1)
    strength = rng.uniform(0.05, 0.8)
    for _ in range(rng.integers(0, config.gas_blobs)):
        centre = np.array([lumbar[2, 0] - rng.uniform(5, 150), rng.uniform(lumbar[0, 1] - 40, spine.hip_mm[1])])
        radius = rng.uniform(3, 16)
        shape = smooth_closed(
            ellipse(centre, (radius, radius * rng.uniform(0.5, 1)), rng.uniform(0, 180))[::5]
            + rng.normal(0, radius * 0.25, (8, 2)),
            2,
        )
        canvas.fill(shape, -strength * rng.uniform(0.1, 0.7), soft_mm=rng.uniform(0.5, 3))
        if rng.random() < 0.4:
            canvas.line(shape, rng.uniform(0, 0.12), width_mm=1.5, closed=True)
    if rng.random() < 0.5:
        _paint_stool(canvas, lumbar, rng)
    if rng.random() < 0.6:
        centre = spine.sacral[2].mean(0) + [rng.normal(-45, 12), rng.normal(5, 20)]
        for _ in range(rng.integers(1, 4)):
            blob = ellipse(
                centre + rng.normal(0, 10, 2), (rng.uniform(8, 22), rng.uniform(10, 30)), rng.uniform(-40, 40)
            )
            canvas.fill(blob, -rng.uniform(0.1, 0.7), soft_mm=rng.uniform(0.8, 4))
    if rng.random() < 0.5:
        centre = lumbar[0] + [rng.uniform(-110, -30), rng.uniform(-60, 20)]
        canvas.fill(
            ellipse(centre, (rng.uniform(15, 45), rng.uniform(8, 25)), rng.uniform(-30, 30)),
            -rng.uniform(0.1, 0.8),
            soft_mm=2.0,
        )
    if rng.random() < 0.25:
        for _ in range(rng.integers(2, 12)):
            start = lumbar[rng.integers(1, 4)] + [rng.uniform(-45, -28), rng.uniform(-20, 20)]
            canvas.line(
                np.stack([start, start + rng.normal(0, [1.5, 8])]), rng.uniform(0.05, 0.5), width_mm=rng.uniform(0.8, 2)
            )


def _paint_stool(canvas: Canvas, lumbar: np.ndarray, rng: Rng) -> None:
    """Clusters of small bubbles with bright rims in front of the spine."""
    strength = rng.uniform(0.1, 0.5)
    for _ in range(rng.integers(1, 4)):
        middle = np.array([lumbar[2, 0] - rng.uniform(25, 130), rng.uniform(lumbar[0, 1], lumbar[-1, 1] + 40)])
        for _ in range(rng.integers(8, 45)):
            radius = rng.uniform(1.5, 7)
            bubble = ellipse(
                middle + rng.normal(0, [18, 28]), (radius, radius * rng.uniform(0.6, 1)), rng.uniform(0, 180)
            )[::4]
            bubble = smooth_closed(bubble + rng.normal(0, radius * 0.2, bubble.shape), 1)
            canvas.fill(bubble, -strength * rng.uniform(0.2, 1), soft_mm=rng.uniform(0.4, 1.5))
            canvas.line(bubble, strength * rng.uniform(0, 0.6), width_mm=1.2, closed=True)


def paint_texture(canvas: Canvas, tissue: Tissue, rng: Rng) -> None:
    """Unevenness of tissue from a hand's breadth down to a millimetre, in proportion to the tissue."""
    rows, columns = canvas.attenuation.shape
    total = np.zeros((rows, columns), np.float32)
    for scale_mm, share in ((60, 0.03), (20, 0.02), (7, 0.014), (2.5, 0.010), (1.2, 0.006)):
        step = max(scale_mm / canvas.pixel_mm, 1.0)
        coarse = rng.standard_normal((int(rows / step) + 3, int(columns / step) + 3)).astype(np.float32)
        total += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC) * share * rng.uniform(0.0, 1.6)
    canvas.attenuation += total * tissue
    _paint_strands(canvas, rng)
    for _ in range(rng.integers(0, 4)):
        fold = np.stack([[-300, rng.uniform(-200, 250)], [0, rng.uniform(-200, 250)], [200, rng.uniform(-200, 250)]])
        canvas.line(
            smooth_open(fold + rng.normal(0, 20, (3, 2))),
            rng.normal(0, 0.12),
            width_mm=rng.uniform(1, 12),
            soft_mm=rng.uniform(0.5, 3),
        )


def _paint_strands(canvas: Canvas, rng: Rng) -> None:
    """Faint curved lines and edges anywhere: bowel walls, vessels, muscle borders, clothing."""
    strength = rng.uniform(0.0, 0.16)
    for _ in range(rng.integers(0, 40)):
        start = rng.uniform([-170, -200], [110, 260])
        turn = rng.uniform(0, 2 * np.pi)
        steps = np.cumsum(rng.normal(turn, 0.5, 4))
        path = start + np.cumsum(np.stack([np.cos(steps), np.sin(steps)], 1) * rng.uniform(6, 30), 0)
        canvas.line(
            smooth_open(path, 2), rng.normal(0, strength), width_mm=rng.uniform(0.8, 5), soft_mm=rng.uniform(0.4, 1.5)
        )
