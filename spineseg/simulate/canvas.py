"""An attenuation image to paint on: shapes in millimetres, sub-pixel edges, work confined to each shape's own box."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

Points = Float[np.ndarray, "_ xy=2"]
_SUBPIXEL_BITS = 5


def smooth_closed(points: Points, rounds: int = 3) -> Points:
    """Cut the corners of a closed polygon (Chaikin 1974); each round doubles the points."""
    for _ in range(rounds):
        following = np.roll(points, -1, 0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points


def smooth_open(points: Points, rounds: int = 3) -> Points:
    """Cut the corners of an open line, keeping both ends."""
    for _ in range(rounds):
        first, last = points[:1], points[-1:]
        inner = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], 1)
        points = np.concatenate([first, inner.reshape(-1, 2)[1:-1], last])
    return points


def ellipse(centre: Float[np.ndarray, "xy=2"], radii_mm: tuple[float, float], turn_deg: float = 0.0) -> Points:
    """A closed polygon of 40 points on an ellipse."""
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    return np.stack([radii_mm[0] * np.cos(t), radii_mm[1] * np.sin(t)], 1) @ np.array([[c, s], [-s, c]]) + centre


@dataclass(eq=False)
class Canvas:
    """attenuation: what is summed up along the beam, dimensionless (1 = the beam falls to 1/e).

    A point (x, y) in millimetres lies in column (x - origin_mm[0]) / pixel_mm and row (y - origin_mm[1]) / pixel_mm,
    pixel centres at half-integers.
    """

    attenuation: Float32[np.ndarray, "rows columns"]
    pixel_mm: float
    origin_mm: tuple[float, float]

    def to_pixels(self, points: Points) -> Points:
        """Millimetres to (column, row) with pixel centres at integers, as OpenCV counts."""
        return (points - np.asarray(self.origin_mm)) / self.pixel_mm - 0.5

    def _box(self, points: Points, margin: float) -> tuple[int, int, int, int] | None:
        rows, columns = self.attenuation.shape
        (x0, y0), (x1, y1) = np.floor(points.min(0) - margin - 1), np.ceil(points.max(0) + margin + 2)
        x0, y0, x1, y1 = int(max(x0, 0)), int(max(y0, 0)), int(min(x1, columns)), int(min(y1, rows))
        return (y0, y1, x0, x1) if y1 > y0 and x1 > x0 else None

    def coverage(
        self, points: Points, *, soft_mm: float = 0.0, line_mm: float | None = None, closed: bool = True
    ) -> tuple[tuple[slice, slice], Float32[np.ndarray, "box_rows box_columns"]] | None:
        """Share of each pixel (0..1) that a polygon covers, or a line of that width; None when outside the film."""
        pixels = self.to_pixels(points)
        sigma = soft_mm / self.pixel_mm
        width = 0.0 if line_mm is None else line_mm / self.pixel_mm
        box = self._box(pixels, 3 * sigma + width)
        if box is None:
            return None
        y0, y1, x0, x1 = box
        drawn = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed = np.round((pixels - [x0, y0]) * 2**_SUBPIXEL_BITS).astype(np.int32)
        if line_mm is None:
            cv2.fillPoly(drawn, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        else:
            cv2.polylines(drawn, [fixed], closed, 255, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL_BITS)
        share = drawn.astype(np.float32) / 255
        if line_mm is not None:
            share *= min(1.0, width)
        if sigma > 0.3:
            share = cv2.GaussianBlur(share, (0, 0), sigma)
        return (slice(y0, y1), slice(x0, x1)), share

    def fill(self, points: Points, amount: float, *, soft_mm: float = 0.6) -> None:
        """Add a polygon of even attenuation."""
        found = self.coverage(points, soft_mm=soft_mm)
        if found is not None:
            self.attenuation[found[0]] += amount * found[1]

    def line(
        self, points: Points, amount: float, *, width_mm: float, soft_mm: float = 0.5, closed: bool = False
    ) -> None:
        """Add a line of even attenuation."""
        found = self.coverage(points, soft_mm=soft_mm, line_mm=width_mm, closed=closed)
        if found is not None:
            self.attenuation[found[0]] += amount * found[1]
