"""Pedicle screws and rods."""

from __future__ import annotations

import numpy as np

from spineseg.simulate.canvas import Canvas, ellipse, smooth_closed
from spineseg.simulate.config import AnatomyConfig, Rng
from spineseg.simulate.shape import SpineShape


def paint_hardware(canvas: Canvas, spine: SpineShape, rng: Rng, config: AnatomyConfig) -> None:
    """Screws with a rod, a cage, cement, or clips; opaque."""
    if rng.random() < config.hardware_probability:
        first = int(rng.integers(1, 4))
        heads = []
        for body in spine.lumbar[first : first + int(rng.integers(2, 4))]:
            back = (body[1] - body[0]) / np.linalg.norm(body[1] - body[0])
            head = body[1] + back * rng.uniform(18, 26) + (body[2] - body[1]) * 0.2
            tip = body[0] + (body[1] - body[0]) * rng.uniform(0.15, 0.4) + (body[3] - body[0]) * rng.uniform(0.25, 0.5)
            canvas.line(np.stack([head, tip]), rng.uniform(1.5, 4), width_mm=rng.uniform(4.5, 6.5))
            heads.append(head)
            canvas.fill(ellipse(head, (6.0, 6.0)), 3.0)
        canvas.line(np.stack(heads), 3.0, width_mm=6.0)
    if rng.random() < config.hardware_probability / 2:
        level = int(rng.integers(2, 5))
        upper, lower = spine.lumbar[level], spine.lumbar[level + 1]
        cage = np.stack(
            [
                upper[3] * 0.75 + upper[2] * 0.25,
                upper[3] * 0.3 + upper[2] * 0.7,
                lower[0] * 0.3 + lower[1] * 0.7,
                lower[0] * 0.75 + lower[1] * 0.25,
            ]
        )
        canvas.fill(cage, rng.uniform(0.3, 2.0), soft_mm=0.4)
    if rng.random() < config.hardware_probability / 2:
        body = spine.lumbar[int(rng.integers(0, 5))]
        cement = ellipse(body.mean(0), (rng.uniform(6, 14), rng.uniform(5, 9)), rng.uniform(0, 180))[::4]
        canvas.fill(smooth_closed(cement + rng.normal(0, 2, cement.shape), 2), rng.uniform(0.5, 2.5))
    if rng.random() < 0.15:
        for _ in range(rng.integers(1, 6)):
            start = spine.lumbar[rng.integers(0, len(spine.lumbar))].mean(0) + rng.normal(0, 45, 2)
            canvas.line(
                np.stack([start, start + rng.normal(0, 4, 2)]), rng.uniform(0.5, 3), width_mm=rng.uniform(0.8, 2)
            )
