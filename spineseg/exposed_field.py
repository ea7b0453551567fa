"""The exposed field of a picture: the radiograph without page margins, viewer frames and paper around it.

A border is one colour from the picture's edge on, but for text, and ends in a sharp or straight edge. Black air fades
into the body instead, and is left: it is part of the radiograph. So are collimated parts, unless their edge is sharp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

Image = Float32[np.ndarray, "rows columns"]
Grey = UInt8[np.ndarray, "coarse_rows coarse_columns"]
Content = Bool[np.ndarray, "rows columns"]
Shares = Float[np.ndarray, "line"]
Box = tuple[slice, slice]
"""Rows and columns."""

_ROUNDS = 8
"""Borders within borders: page margin, window, tool bars, frame."""
_COARSE_PX = 400
"""Least side of the copy on which the field is looked for, before its edges are found in the picture itself."""
_STROKE_PX = 5
"""Side of the square that fits into no stroke of text, on that copy."""
_CONSTANT, _UNEVEN = 0.012, 0.1
"""How far a border may stray from its colour, as a share of the picture's range: one colour as JPEG keeps it, paper."""
_OF_EDGE = 0.9
"""Least share of one edge of the picture that a border takes."""
_DARK = 0.25
"""Below this share of the range a border may be air."""
_LINES, _BEHIND = 3, 12
"""A sharp edge is no wider than the first; behind the second no more of it may begin."""
_JUMP, _OF_ALL = 0.2, 0.8
"""Least share of a line's pixels that a sharp edge takes, of all and of those that differ behind it."""
_SLOPE, _FILLS = 0.06, 0.35
"""Width of a straight edge over its length (3.4 degrees), and least share of pixels that differ behind it."""
_WRITTEN = 0.25
"""Largest share of a border that text may cover."""
_MOST_AIR = 0.25
"""Black sides that take more of a picture than this are left out, whatever their edge."""
_LEAST_AREA = 0.02
"""Borders smaller than this share of the picture are left."""
_LEAST_SIDE = 32
"""A field of fewer rows or columns is none."""


def exposed_field(image: Image) -> Box:
    """Rows and columns of the radiograph within a picture; all of them where there is no border.

    image: in any unit, bright or dark bone. Exact to the pixel where the border has one colour. Of a radiograph that is
    turned by up to 3 degrees within paper, the box that halves the wedges along its sides.
    """
    whole = rows, columns = slice(0, image.shape[0]), slice(0, image.shape[1])
    for _ in range(_ROUNDS):
        inner = _without_border(image[rows, columns])
        if inner is None:
            break
        rows, columns = _within(rows, inner[0]), _within(columns, inner[1])
    left_out = image.size - (rows.stop - rows.start) * (columns.stop - columns.start)
    return (rows, columns) if left_out >= _LEAST_AREA * image.size else whole


def _within(outer: slice, inner: slice) -> slice:
    return slice(outer.start + inner.start, outer.start + inner.stop)


def _without_border(image: Image) -> Box | None:
    """The box within the outermost border; None if there is none."""
    rows, columns = image.shape
    for border in _borders(image):
        top, bottom, left, right = _widths(image, border)
        box = slice(top, rows - bottom), slice(left, columns - right)
        if top + bottom + left + right and min(side.stop - side.start for side in box) >= _LEAST_SIDE:
            return box
    return None


@dataclass(frozen=True)
class _Border:
    """A colour that fills edges of a picture, how far it strays, whether it may be air, and whether it is uneven."""

    value: float
    tolerance: float
    dark: bool
    uneven: bool

    def content(self, image: Image) -> Content:
        """What has another colour."""
        return np.abs(image - np.float32(self.value)) > self.tolerance


def _borders(image: Image) -> Iterator[_Border]:
    """Colours of nearly a whole edge: those that stray least first, then those of most edges."""
    low, span = float(image.min()), float(np.ptp(image))
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    for uneven, share in ((False, _CONSTANT), (True, _UNEVEN)):
        tolerance, seen = share * span, []
        held = [(value, _held(edges, value, tolerance)) for value in map(float, map(np.median, edges))]
        for value, shares in sorted(held, key=lambda pair: -sum(pair[1])):
            dark = value < low + _DARK * span
            if max(shares) > _OF_EDGE and not (dark and uneven) and all(abs(value - one) > tolerance for one in seen):
                seen.append(value)
                yield _Border(value, tolerance, dark, uneven)


def _held(edges: tuple[np.ndarray, ...], value: float, tolerance: float) -> list[float]:
    """Share of each edge that has this colour."""
    return [float(np.mean(np.abs(edge - value) <= tolerance)) for edge in edges]


def _solid(coarse: Image, border: _Border) -> Grey:
    """1 where another colour than the border's fills a square larger than strokes of text, else 0."""
    import cv2  # here, since every command imports `film`, and `--help` must not wait

    square = np.ones((_STROKE_PX, _STROKE_PX), np.uint8)
    return cv2.morphologyEx(border.content(coarse).astype(np.uint8), cv2.MORPH_OPEN, square)


def _content_box(coarse: Image, solid: Grey) -> Box | None:
    """The box of the largest and most varied part; None if there is none."""
    import cv2

    count, numbered, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count == 1:
        return None
    largest = (np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:3] + 1).tolist()
    best = max(largest, key=lambda part: stats[part, cv2.CC_STAT_AREA] * float(coarse[numbered == part].std()))
    left, top, wide, high = (int(value) for value in stats[best, :4])
    return slice(top, top + high), slice(left, left + wide)


def _in_picture(coarse: slice, step: int, size: int) -> slice:
    return slice(coarse.start * step, min(coarse.stop * step, size))


def _widths(image: Image, border: _Border) -> list[int]:
    """How much of the picture is certainly border: rows at the top and bottom, columns on the left and right."""
    step = max(1, min(image.shape) // _COARSE_PX)
    coarse = image[::step, ::step]
    solid = _solid(coarse, border)
    box = _content_box(coarse, solid)
    if box is None:
        return [0] * 4
    rows, columns = (_in_picture(side, step, size) for side, size in zip(box, image.shape, strict=True))
    near = (rows.start, image.shape[0] - rows.stop, columns.start, image.shape[1] - columns.stop)
    inwards = (image[:, columns], image[::-1, columns], image[rows].T, image[rows, ::-1].T)
    sides = [_Side(lines, border, at, step) for lines, at in zip(inwards, near, strict=True)]
    widths = [side.sharp() for side in sides]
    if not border.dark and not all(widths):
        straight = [width or side.straight() for width, side in zip(widths, sides, strict=True)]
        widths = straight if all(straight) else [0] * 4 if border.uneven else widths
    if border.dark:
        black = [max(lines - 1, 0) * step for lines in _empty(solid)]
        for pair in (slice(0, 2), slice(2, 4)):
            if sum(black[pair]) >= _MOST_AIR * len(sides[pair.start].lines):
                widths[pair] = [width or other for width, other in zip(widths[pair], black[pair], strict=True)]
    return widths


def _empty(solid: Grey) -> list[int]:
    """Empty lines at the top, bottom, left and right."""
    down, across = np.asarray(solid.any(1)), np.asarray(solid.any(0))
    return [int(line.argmax()) for line in (down, down[::-1], across, across[::-1])]


@dataclass(frozen=True, eq=False)
class _Side:
    """One side of a picture, its outermost line first. near: where its content begins, to within `step` lines."""

    lines: Image
    border: _Border
    near: int
    step: int

    def sharp(self) -> int:
        """Lines before a sharp edge; 0 if there is none."""
        first = max(self.near - 2 * self.step, 0)
        shares = self._shares(first, self.near + 2 * self.step + _LINES)
        lines = 1 if self.border.dark else _LINES  # collimator blades are soft and slightly turned
        if not self.near or len(shares) <= lines:
            return 0
        jumps = shares[lines:] - shares[:-lines]
        most = int(jumps.argmax())
        before, behind = shares[most], shares[most + lines]
        deeper = self._shares(first + most + _BEHIND, first + most + _BEHIND + 1)
        if jumps[most] < max(_JUMP, _OF_ALL * (deeper.max(initial=0) - before)):
            return 0
        return self._if_empty(first + most + int(np.argmax(shares[most:] >= (before + behind) / 2)))

    def straight(self) -> int:
        """Lines before the middle of a straight edge that may be turned; 0 if there is none."""
        first = max(self.near - 2 * self.step, 0)
        shares = self._shares(first, self.near + math.ceil(_SLOPE * self.lines.shape[1]))
        if not self.near or shares.max() < _FILLS:
            return 0
        return self._if_empty(first + int(np.argmax(shares >= shares.max() / 2)))

    def _shares(self, first: int, last: int) -> Shares:
        """Of each line, how much has another colour than the border."""
        return self.border.content(self.lines[first:last]).mean(1)

    def _if_empty(self, width: int) -> int:
        """The width, if so many lines have the border's colour but for text; else 0."""
        band = self.border.content(self.lines[: width : self.step, :: self.step])
        return width if band.size and band.mean() <= _WRITTEN else 0
