"""The second source of bones: projected meshes (`atlas`), warped onto the drawn spine.

From film to film the turn changes, how much each layer attenuates, and the warp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from spineseg.simulate.atlas import VERTEBRAL_MESHES, Atlas, Projections
from spineseg.simulate.canvas import Canvas
from spineseg.simulate.config import Rng
from spineseg.simulate.shape import SpineShape, bowed


@dataclass(frozen=True)
class BonesConfig:
    """How the projected bones are warped and how much they attenuate; pairs are (low, high), even on a log scale."""

    shell_per_mm: tuple[float, float] = (0.005, 0.045)
    under_shell_per_mm: tuple[float, float] = (0.001, 0.02)
    inner_per_mm: tuple[float, float] = (0.001, 0.010)
    pelvis: tuple[float, float] = (0.4, 3.0)
    """Attenuation of the hip bones as a multiple of the bodies'."""
    sacral_turn_deg: tuple[float, float] = (8.0, 9.0)
    """Mean and deviation of the sacrum's turn below S1, downwards."""
    waviness_mm: float = 1.2
    """Deviation of a smooth random displacement, so that no two bones have one outline."""


def _spline(target: np.ndarray, source: np.ndarray) -> RBFInterpolator:
    """Thin-plate map from film to bone that meets every pair of points."""
    return RBFInterpolator(target, source, kernel="thin_plate_spline")


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """Scale-and-turn a, shift b with target = a * source + b in complex numbers x + iy, least squares."""
    z, w = source @ [1, 1j], target @ [1, 1j]
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean())
    return a, w.mean() - a * z.mean()


def _moved(points: np.ndarray, a: complex, b: complex) -> np.ndarray:
    w = a * (points @ [1, 1j]) + b
    return np.stack([w.real, w.imag], 1)


def _frame_mm(bone: Projections, share: float) -> np.ndarray:
    """Eight points on the border of a bone's picture, or beyond or within it by `share`."""
    size = np.array(bone.layers.shape[-1:-3:-1]) * bone.pixel_mm
    unit = np.array([(0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5)]) - 0.5
    return bone.origin_mm + size / 2 + unit * size * share


def _paint(
    canvas: Canvas, bone: Projections, turn: int, back: RBFInterpolator, around: np.ndarray, amount: np.ndarray
) -> None:
    """Add a bone's layers, weighted by amount (per mm, one for each layer), through the map `back`.

    around: points (mm) on the film that the bone's picture lies within.
    """
    low, high = canvas.to_pixels(around).min(0) - 2, canvas.to_pixels(around).max(0) + 2
    rows, columns = canvas.attenuation.shape
    left, top = np.maximum(np.floor(low), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high), [columns, rows]).astype(int)
    if right - left < 2 or bottom - top < 2:
        return
    step = 12
    xs, ys = np.arange(left, right + step, step), np.arange(top, bottom + step, step)
    coarse = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    source = back((coarse + 0.5) * canvas.pixel_mm + canvas.origin_mm)
    pixel = ((source - bone.origin_mm) / bone.pixel_mm - 0.5).reshape(len(ys), len(xs), 2).astype(np.float32)
    place = (np.arange(right - left) / step, np.arange(bottom - top) / step)
    grid = np.meshgrid(*(p.astype(np.float32) for p in place))
    fine = cv2.remap(pixel, *grid, interpolation=cv2.INTER_LINEAR)
    weighted = np.tensordot(amount, bone.layers[turn], 1).astype(np.float32)
    x_map, y_map = np.ascontiguousarray(fine[..., 0]), np.ascontiguousarray(fine[..., 1])
    canvas.attenuation[top:bottom, left:right] += cv2.remap(weighted, x_map, y_map, cv2.INTER_LINEAR, borderValue=0.0)


def paint_bones(canvas: Canvas, spine: SpineShape, atlas: Atlas, rng: Rng, config: BonesConfig = BonesConfig()) -> None:
    """Thoracic and lumbar vertebrae, sacrum and hip bones of a drawn spine; corners of the bodies meet the spine's."""
    ranges = np.array([config.shell_per_mm, config.under_shell_per_mm, config.inner_per_mm, config.pelvis])
    *layers, pelvis = np.exp(rng.uniform(*np.log(ranges).T))
    amount = np.array(layers)
    names = ["L1"] * len(spine.thoracic) + list(VERTEBRAL_MESHES)
    fade = rng.uniform(0.8, 1.05)
    for index, name in enumerate(names):
        above = max(len(spine.thoracic) - index, 0)
        here = amount * fade ** (above / 2) * np.exp(0.12 * rng.normal(size=3))
        here = here * _weights(spine, index)
        _paint_vertebra(canvas, atlas[name], spine, index, here, rng, config)
    turn = int(rng.integers(len(atlas["sacrum"].layers)))
    _paint_sacrum(canvas, atlas["sacrum"], turn, spine, amount * rng.uniform(0.5, 1.3), rng, config)
    _paint_hips(canvas, atlas, turn, spine, amount * pelvis, rng)


def _weights(spine: SpineShape, index: int) -> np.ndarray:
    """Factors of a body's three layers."""
    inner, plates = spine.look.density[index], spine.look.endplate[index].mean()
    return np.array([plates, np.sqrt(plates * inner), inner])


def _paint_vertebra(
    canvas: Canvas,
    bone: Projections,
    spine: SpineShape,
    index: int,
    amount: np.ndarray,
    rng: Rng,
    config: BonesConfig,
) -> None:
    """One vertebra; where the spine leans or turns, its left and right half are painted apart."""
    turn = int(rng.integers(len(bone.layers)))
    marks, corners = bone.marks_mm[turn], spine.column[index]
    a, b = _similarity(marks, spine.look.intact[index])
    far = _frame_mm(bone, 1.3)
    wave = rng.normal(0, config.waviness_mm, far.shape) * 3
    source, target = _matched(marks, corners, spine.look.bow_mm[index])
    around = _moved(_frame_mm(bone, 1.0), a, b)
    halves = _apart_mm(spine, index)
    for shift in halves:
        back = _spline(np.concatenate([target + shift, _moved(far, a, b) + wave]), np.concatenate([source, far]))
        _paint(canvas, bone, turn, back, around, amount / len(halves))


def _matched(marks: np.ndarray, corners: np.ndarray, bow_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a bone and where they come to lie: its corners, and the middle of every side if one is bowed."""
    if not bow_mm.any():
        return marks, corners
    sides = zip(corners, np.roll(corners, -1, 0), bow_mm, strict=True)
    middles = [bowed(*side, 3)[1] for side in sides]
    return np.concatenate([marks, (marks + np.roll(marks, -1, 0)) / 2]), np.concatenate([corners, middles])


def _apart_mm(spine: SpineShape, index: int, half_width: float = 0.33) -> list[np.ndarray]:
    """Displacements of a body's halves; one of zero where the spine neither leans nor turns there."""
    lean, spin = np.deg2rad([spine.look.lean_deg[index], spine.look.spin_deg[index]])
    if not lean and not spin:
        return [np.zeros(2)]
    body = spine.column[index]
    up, behind = body[:2].mean(0) - body[2:].mean(0), body[1] - body[0]
    depth = np.linalg.norm(behind)
    apart = half_width * depth * (np.tan(lean) * up / np.linalg.norm(up) + np.sin(spin) * behind / depth)
    return [apart, -apart]


def _paint_sacrum(
    canvas: Canvas, bone: Projections, turn: int, spine: SpineShape, amount: np.ndarray, rng: Rng, config: BonesConfig
) -> None:
    """S1's corners meet the spine's; the rest follows, bent a little."""
    marks, corners = bone.marks_mm[turn], spine.s1
    a, b = _similarity(marks, corners)
    far = _frame_mm(bone, 1.15)
    downwards = np.exp(1j * np.deg2rad(rng.normal(*config.sacral_turn_deg)))
    there = corners.mean(0) @ [1, 1j]
    goal = _moved(_moved(far, a, b), downwards, there * (1 - downwards))
    wave = rng.normal(0, config.waviness_mm, far.shape) * 2
    back = _spline(np.concatenate([corners, goal + wave]), np.concatenate([marks, far]))
    _paint(canvas, bone, turn, back, goal, amount)


def _paint_hips(canvas: Canvas, atlas: Atlas, turn: int, spine: SpineShape, amount: np.ndarray, rng: Rng) -> None:
    """Hip bones set by S1's endplate and the hip centre, the near one smaller than the far one."""
    apart = rng.normal(0, 5.0, 2)
    tall = rng.uniform(-0.07, 0.07)
    for side, sign in (("left hip", 0.5), ("right hip", -0.5)):
        bone = atlas[side]
        marks = bone.marks_mm[turn]
        goal = np.stack([spine.s1[:2].mean(0), spine.hip_mm]) + apart * sign
        a, b = _similarity(np.stack([marks[:2].mean(0), marks[4]]), goal)
        size = 1 + tall * sign * 2
        b += (1 - size) * (goal[1] @ [1, 1j] - b)
        far = _frame_mm(bone, 1.0)
        target = _moved(far, a * size, b) + rng.normal(0, 4, far.shape)
        _paint(canvas, bone, turn, _spline(target, far), target, amount)
