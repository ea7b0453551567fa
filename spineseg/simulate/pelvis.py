"""Hip bones and femora."""

from __future__ import annotations

import numpy as np

from spineseg.simulate.canvas import Canvas, Points, ellipse, smooth_closed, smooth_open
from spineseg.simulate.config import AnatomyConfig, Rng
from spineseg.simulate.shape import SpineShape

_HIP_BONE_MM = np.array(
    [(-75, -85), (-52, -125), (-8, -150), (42, -147), (82, -118), (97, -82), (82, -60), (46, -52), (36, -20), (42, 10)]
    + [(32, 62), (2, 84), (-40, 70), (-74, 46), (-60, 20), (-28, -5), (-46, -45)],
    dtype=np.float64,
)
"""Outline of one hip bone seen from the side, about the centre of the femoral head; x to posterior, y to caudal."""


def _paint_notch(canvas: Canvas, spine: SpineShape, rng: Rng, edge: float) -> None:
    """Left and right brim of the pelvis: from above the hip up to somewhere on S1, and down behind the sciatic notch.

    Where they cross S1 they are often the brightest line on it, and are no border of the body.
    """
    s1, hip = spine.s1, spine.hip_mm
    u, v = rng.uniform(0.1, 1.1), rng.uniform(-0.1, 0.95)
    for _ in range(2):
        apex = s1[0] + (s1[1] - s1[0]) * u + (s1[3] - s1[0]) * v + rng.normal(0, 4, 2)
        foot = hip + rng.normal([-18, -28], [10, 8])
        tail = spine.sacral[int(rng.integers(1, 4))].mean(0) + rng.normal(0, 8, 2)
        bow = (foot + apex) / 2 + rng.normal([6, 4], 6, 2)
        brim = smooth_open(np.stack([foot, bow, apex]), 3)
        behind = smooth_open(np.stack([apex, (apex + tail) / 2 + rng.normal([4, -6], 6, 2), tail]), 3)
        width = rng.uniform(1.5, 7)
        canvas.line(brim, edge * rng.uniform(0.3, 1.6), width_mm=width, soft_mm=rng.uniform(0.6, 2))
        canvas.line(behind, edge * rng.uniform(0.0, 1.2), width_mm=rng.uniform(1.2, 4), soft_mm=1.0)
        notch = smooth_closed(np.stack([apex, (apex + foot) / 2 + [8, 6], foot + [30, 8], tail]), 3)
        canvas.fill(notch, -rng.uniform(0, 0.25), soft_mm=2.0)
        if rng.random() < 0.6:
            wing = np.stack([apex, foot, foot + [-25, -40], s1[0] + [-25, -25], s1[1] + [0, -18]])
            canvas.fill(smooth_closed(wing + rng.normal(0, 6, wing.shape), 2), rng.uniform(0, 0.3), soft_mm=1.5)


def _turned(points: np.ndarray, angle_deg: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return points @ np.array([[c, s], [-s, c]])


def paint_pelvis(canvas: Canvas, spine: SpineShape, rng: Rng, config: AnatomyConfig, *, hip_bones: bool = True) -> None:
    """Both hip bones (if not painted elsewhere) and femora, the second shifted and magnified against the first."""
    s1_depth = float(np.linalg.norm(spine.s1[1] - spine.s1[0]))
    scale = s1_depth / 41.0 * rng.normal(1.05, 0.05)
    outline = (_HIP_BONE_MM * scale) * rng.normal(1, 0.05, 2) + rng.normal(0, 5, _HIP_BONE_MM.shape)
    turn, thigh = -spine.pelvic_turn_deg + rng.normal(0, 4), rng.normal(0, 14)
    seen, edge, femur = rng.uniform(0.02, 0.28), rng.uniform(0.03, 0.4), rng.uniform(0.03, 0.35)
    between = rng.normal(0, config.pelvis_offset_mm, 2)
    if hip_bones and rng.random() < 0.75:
        _paint_notch(canvas, spine, rng, rng.uniform(0.05, 0.6))
    for side in (-0.5, 0.5):
        hip, magnified = spine.hip_mm + between * side, 1 + side * rng.uniform(0, 0.1)
        if hip_bones:
            _paint_hip_bone(canvas, hip, outline * magnified, turn, scale * magnified, (seen, edge), rng)
        _paint_femur(canvas, hip, scale * magnified, thigh, (femur, edge), rng)


def _paint_hip_bone(
    canvas: Canvas,
    hip: np.ndarray,
    outline: Points,
    turn_deg: float,
    scale: float,
    amounts: tuple[float, float],
    rng: Rng,
) -> None:
    """One hip bone about its femoral head. amounts: its inside, its edges."""
    seen, edge = amounts
    bone = smooth_closed(_turned(outline, turn_deg), 3) + hip
    canvas.fill(bone, seen * rng.uniform(0.6, 1.3), soft_mm=1.0)
    canvas.line(bone, edge * rng.uniform(0.5, 1.3), width_mm=rng.uniform(1.2, 3.0), soft_mm=0.8, closed=True)
    arcuate = _turned(np.array([(70, -75), (30, -50), (-5, -30), (-45, -5), (-70, 25)]) * scale, turn_deg)
    brim = smooth_open(arcuate + rng.normal(0, 4, (5, 2))) + hip
    canvas.line(brim, edge * rng.uniform(0.2, 1.2), width_mm=2.0, soft_mm=0.8)
    if rng.random() < 0.8:
        hole = ellipse(hip + _turned(np.array([-14.0, 54.0]) * scale, turn_deg), (13 * scale, 18 * scale), 25.0)
        canvas.fill(hole, -seen * 0.8, soft_mm=1.0)


def _paint_femur(
    canvas: Canvas, hip: np.ndarray, scale: float, thigh_deg: float, amounts: tuple[float, float], rng: Rng
) -> None:
    """Roof of the socket, femoral head and shaft. amounts: the inside, the edges."""
    femur, edge = amounts
    radius = 25.0 * scale * rng.normal(1, 0.05)
    roof = ellipse(hip, (radius + 2.5, radius + 2.5))
    canvas.line(roof, edge * rng.uniform(0.3, 1.5), width_mm=rng.uniform(1.2, 3.0), closed=True)
    head = ellipse(hip, (radius, radius))
    canvas.fill(head, femur * rng.uniform(0.8, 1.2), soft_mm=0.8)
    canvas.line(head, edge * rng.uniform(0.2, 0.8), width_mm=1.2, closed=True)
    shaft = np.array([(-14, 5), (16, 0), (24, 45), (19, 110), (17, 300), (-15, 300), (-16, 110), (-18, 45)]) * scale
    shaft = smooth_closed(_turned(shaft + rng.normal(0, 2, shaft.shape), thigh_deg + rng.normal(0, 4)), 2) + hip
    canvas.fill(shaft, femur * rng.uniform(0.7, 1.1), soft_mm=1.0)
    canvas.line(shaft, edge * rng.uniform(0.3, 1.4), width_mm=rng.uniform(2, 4), closed=True)
