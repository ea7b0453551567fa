"""Charts for the pages in docs/: matrices and curves, drawn with OpenCV so that no further package is needed.

A picture is uint8 (rows, columns, 3), red green blue, as in `spineseg.render`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

Picture = np.ndarray
Rgb = tuple[int, int, int]

PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (222, 222, 222)
LINES: tuple[Rgb, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (40, 40, 40),
)
"""Okabe and Ito's palette (2008), without the yellow that white paper swallows."""


def paper(rows: int, columns: int) -> Picture:
    """An empty sheet."""
    sheet = np.empty((rows, columns, 3), np.uint8)
    sheet[:] = PAPER
    return sheet


def text_width(text: str, size: float = 0.5) -> int:
    """Columns that the text takes."""
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]


def write(
    sheet: Picture, text: str, row: int, column: int, *, size: float = 0.5, colour: Rgb = INK, align: str = "left"
) -> None:
    """Write a line of text on the sheet, in place, its middle at `row`; `align` says what stands at `column`."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    left = column - {"left": 0, "middle": width // 2, "right": width}[align]
    cv2.putText(sheet, text, (left, row + height // 2), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def stacked(pictures: Sequence[Picture], *, across: int = 1, gap: int = 12) -> Picture:
    """The pictures in reading order on white, `across` to a row, each at the upper left of its cell."""
    high, wide = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    lines = -(-len(pictures) // across)
    sheet = paper(lines * (high + gap) - gap, min(across, len(pictures)) * (wide + gap) - gap)
    for place, picture in enumerate(pictures):
        top, left = (place // across) * (high + gap), (place % across) * (wide + gap)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def matrix(
    values: Sequence[Sequence[float | None]],
    names: Sequence[str],
    title: str,
    *,
    subtitle: str = "",
    low: float = 0.0,
    high: float = 1.0,
    cell_px: int = 40,
) -> Picture:
    """A square table as grey cells with their numbers, `low` white and `high` black; None is left blank.

    names: of the rows, which are the channels, and of the columns, which are the vertebrae.
    """
    margin, head, size = 34, 62, len(values)
    sheet = paper(head + size * cell_px + 4, margin + size * cell_px + 4)
    write(sheet, title, 12, margin, size=0.45)
    write(sheet, subtitle, 30, margin, size=0.4, colour=(110, 110, 110))
    for k, name in enumerate(names):
        write(sheet, name, head - 9, margin + k * cell_px + cell_px // 2, size=0.42, align="middle")
        write(sheet, name, head + k * cell_px + cell_px // 2, margin - 6, size=0.42, align="right")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            _cell(sheet, value, (head + i * cell_px, margin + j * cell_px), cell_px, low, high)
    return sheet


def _cell(sheet: Picture, value: float | None, corner: tuple[int, int], side: int, low: float, high: float) -> None:
    """One square of a matrix, its number in black or in white, whichever shows."""
    top, left = corner
    share = 0.0 if value is None else min(max((value - low) / (high - low), 0.0), 1.0)
    shade = round(255 * (1 - share))
    sheet[top : top + side - 1, left : left + side - 1] = (shade,) * 3
    cv2.rectangle(sheet, (left - 1, top - 1), (left + side - 1, top + side - 1), FAINT, 1)
    if value is not None:
        colour = (255, 255, 255) if shade < 128 else INK
        write(sheet, f"{value:.2f}", top + side // 2, left + side // 2, size=0.36, colour=colour, align="middle")


@dataclass(frozen=True)
class Curve:
    """One line of a chart. dashed: for what is to be told from the solid line of the same colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: Rgb
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis of a chart: what it shows, its range, and whether equal steps are equal factors."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where the value lies between the ends, 0..1."""
        place: Callable[[float], float] = math.log if self.logarithmic else float
        return (place(value) - place(self.low)) / (place(self.high) - place(self.low))

    def ticks(self) -> list[float]:
        """Round values between the ends."""
        if self.logarithmic:
            marks = [m * 10.0**k for k in range(-4, 7) for m in (1, 2, 5)]
            return [mark for mark in marks if self.low <= mark <= self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
        step = next(s for s in (step, 2 * step, 5 * step, 10 * step) if (self.high - self.low) / s <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def around(title: str, values: Sequence[float], *, zero: bool = True) -> Axis:
    """A linear axis over the values, and over 0 if asked, with a little room at either end."""
    known = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = 0.04 * (high - low) or 1.0
    return Axis(title, low - (room if low < 0 or not zero else 0), high + room)


def chart(curves: Sequence[Curve], x: Axis, y: Axis, title: str, *, rows: int = 360, columns: int = 640) -> Picture:
    """Curves over one pair of axes, named at the right; a darker line marks 0 where it lies within."""
    legend = max((text_width(curve.name, 0.42) for curve in curves), default=0) + 44
    sheet = paper(rows, columns + legend)
    top, bottom, left, right = 40, rows - 48, 74, columns - 12
    write(sheet, title, 16, left, size=0.5)

    def at(px: float, py: float) -> tuple[int, int]:
        """(column, row) on the sheet."""
        return round(left + x.share(px) * (right - left)), round(bottom - y.share(py) * (bottom - top))

    for tick in x.ticks():
        column = at(tick, y.low)[0]
        cv2.line(sheet, (column, top), (column, bottom), FAINT, 1)
        write(sheet, f"{tick:g}", bottom + 12, column, size=0.4, align="middle")
    for tick in y.ticks():
        row = at(x.low, tick)[1]
        cv2.line(sheet, (left, row), (right, row), (150, 150, 150) if tick == 0 else FAINT, 1)
        write(sheet, f"{tick:g}", row, left - 8, size=0.4, align="right")
    write(sheet, x.title, bottom + 34, (left + right) // 2, size=0.42, align="middle")
    write(sheet, y.title, 34, left, size=0.38, colour=(110, 110, 110))
    for number, curve in enumerate(curves):
        points = [at(*point) for point in zip(curve.x, curve.y, strict=True) if math.isfinite(point[1])]
        _line(sheet, points, curve)
        row = top + 8 + 20 * number
        _line(sheet, [(columns, row), (columns + 26, row)], curve)
        write(sheet, curve.name, row, columns + 34, size=0.42)
    return sheet


def _line(sheet: Picture, points: Sequence[tuple[int, int]], curve: Curve) -> None:
    """Straight pieces from point to point, with a dot on each of a short line."""
    for start, end in pairwise(points):
        length = math.dist(start, end)
        parts = max(1, round(length / 5)) if curve.dashed else 1
        way = np.linspace(start, end, parts + 1).round().astype(int)
        for k in range(0, parts, 2):
            cv2.line(sheet, tuple(way[k].tolist()), tuple(way[k + 1].tolist()), curve.colour, 2, cv2.LINE_AA)
    if len(curve.x) <= 12 or len(points) == 1:
        for point in points:
            cv2.circle(sheet, point, 3, curve.colour, -1, cv2.LINE_AA)
