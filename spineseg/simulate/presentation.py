"""How a film reaches the network: faint, burnt out, digitised or photographed; small, turned or framed in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from spineseg.film import Finding
from spineseg.simulate.config import Rng

Image = Float32[np.ndarray, "rows columns"]
Matrix = Float[np.ndarray, "3 3"]
TONES = ("faint", "evenly grey", "burnt out", "digitised")
PLACES = ("page margin", "viewer frame", "small in the picture", "turned", "photographed")
TEXTS = (
    "LUMBAR SPINE LAT",
    "kV 85  mAs 40",
    "W 4096  L 2048",
    "Se: 1  Im: 2/4",
    "2026-01-01  10:24",
    "ANON 000",
    "LAT",
    "R",
)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a film lies in its picture.

    matrix: film to picture in (column, row), pixel centres at whole numbers. shape: of the picture. page: grey value
    0..1 around the film. names: those of `PLACES` that it is.
    """

    matrix: Matrix
    shape: tuple[int, int]
    page: float = 0.0
    names: tuple[str, ...] = ()

    @classmethod
    def unchanged(cls, rows: int, columns: int) -> Placement:
        """The film is the picture."""
        return cls(np.eye(3), (rows, columns))

    def points(self, points: Float[np.ndarray, "point rc=2"]) -> Float[np.ndarray, "point rc=2"]:
        """(row, column) on the film to (row, column) in the picture."""
        w = np.c_[points[:, ::-1], np.ones(len(points))] @ self.matrix.T
        return (w[:, :2] / w[:, 2:])[:, ::-1]

    @property
    def scale(self) -> float | None:
        """Pixels of the picture for one of the film; None where it is not the same everywhere."""
        if "photographed" in self.names:
            return None
        return float(np.sqrt(np.linalg.det(self.matrix[:2, :2])))


def place(rows: int, columns: int, degree: float, rng: Rng) -> tuple[Placement, list[Finding]]:
    """A picture as tall as the film that shows it smaller, turned, or askew."""
    names = tuple(str(n) for n in rng.choice(PLACES, 1 + int(rng.random() < 0.3), replace=False))
    found, share, angle = [], 1.0, 0.0
    aspect = columns / rows
    if "page margin" in names:
        share *= 1 - rng.uniform(0.02, 0.04 + 0.16 * degree)
    if "viewer frame" in names:
        share *= 1 - rng.uniform(0.04, 0.08 + 0.3 * degree)
        aspect = rng.uniform(0.8, 1.7)
    if "small in the picture" in names:
        share *= 1 - rng.uniform(0.25 + 0.3 * degree, 0.35 + 0.35 * degree)
        aspect = rng.uniform(0.6, 1.5)
    if "turned" in names:
        angle = (3 + 27 * degree) * rng.choice([-1.0, 1.0])
        share *= 0.97 if rng.random() < 0.3 else 1 / (abs(np.cos(np.deg2rad(angle))) + abs(np.sin(np.deg2rad(angle))))
    shape = rows, max(round(aspect * rows), 8)
    share *= min(1.0, shape[1] / columns)
    matrix = _matrix((rows, columns), shape, share, angle, rng)
    if "photographed" in names:
        matrix = _askew(rows, columns, 0.01 + 0.05 * degree, rng) @ matrix
        found.append(Finding("photographed", degree))
    for name in names:
        if name != "photographed":
            found.append(
                Finding(name, *((abs(angle), "degrees") if name == "turned" else (100 * share, "% of the size")))
            )
    page = (
        float(rng.choice([0.0, 0.0, 1.0, rng.uniform(0.1, 0.9)]))
        if names != ("page margin",)
        else float(rng.random() < 0.8)
    )
    return Placement(matrix, shape, page, names), found


def _matrix(film: tuple[int, int], shape: tuple[int, int], share: float, angle_deg: float, rng: Rng) -> Matrix:
    """Scale and turn about the film's middle, which comes to lie in or near the picture's."""
    c, s = share * np.cos(np.deg2rad(angle_deg)), share * np.sin(np.deg2rad(angle_deg))
    linear = np.array([[c, s], [-s, c]])
    from_middle, middle = np.array([film[1], film[0]]) / 2, np.array([shape[1], shape[0]]) / 2
    half = np.abs(linear) @ from_middle
    middle = middle + np.maximum(middle - half, 0) * rng.uniform(-0.9, 0.9, 2)
    return np.vstack([np.c_[linear, middle - linear @ from_middle], [0, 0, 1]])


def _askew(rows: int, columns: int, most: float, rng: Rng) -> Matrix:
    """A perspective that moves each corner by at most a share of the film."""
    corners = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32)
    moved = corners + (rng.uniform(-most, most, (4, 2)) * [columns, rows]).astype(np.float32)
    return cv2.getPerspectiveTransform(corners, moved).astype(np.float64)


def compose(
    film: Image, placement: Placement, degree: float, rng: Rng
) -> Float32[np.ndarray, "picture_rows picture_columns"]:
    """The picture, 0..1."""
    if not placement.names:
        return film
    rows, columns = placement.shape
    scale = float(np.sqrt(abs(np.linalg.det(placement.matrix[:2, :2]))))
    if scale < 0.8:
        film = cv2.GaussianBlur(film, (0, 0), 0.4 / scale)
    inside = cv2.warpPerspective(np.ones_like(film), placement.matrix, (columns, rows), flags=cv2.INTER_LINEAR)
    shown = cv2.warpPerspective(film, placement.matrix, (columns, rows), flags=cv2.INTER_LINEAR)
    picture = np.ascontiguousarray(shown * inside + placement.page * (1 - inside), dtype=np.float32)
    if "viewer frame" in placement.names:
        _paint_viewer(picture, rng)
    if placement.names != ("turned",) and rng.random() < 0.7:
        _paint_ruler(picture, rng)
    if "photographed" in placement.names:
        picture = _photograph(picture, degree, rng)
    return picture


def _paint_text(picture: Image, text: str, at: tuple[int, int], size: float, level: float) -> None:
    """A line whose lower left corner is at (column, row)."""
    thick = max(1, round(2 * size))
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    drawn = np.zeros((height + base + 2 * thick, width + 2 * thick), np.uint8)
    cv2.putText(drawn, text, (thick, height + thick), cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
    top, left = max(at[1] - height, 0), max(at[0], 0)
    there = picture[top : top + drawn.shape[0], left : left + drawn.shape[1]]
    share = drawn[: there.shape[0], : there.shape[1]].astype(np.float32) / 255
    there += share * (level - there)


def _paint_viewer(picture: Image, rng: Rng) -> None:
    """Text in the corners, a bar of buttons, a thin frame."""
    rows, columns = picture.shape
    size, ink = rows * rng.uniform(0.0004, 0.0009), float(rng.uniform(0.6, 1.0))
    for y in (0.03, 0.06, 0.09, 0.93, 0.96):
        for x in (0.01, 0.72):
            if rng.random() < 0.6:
                _paint_text(picture, str(rng.choice(TEXTS)), (int(x * columns), int(y * rows)), size, ink)
    if rng.random() < 0.6:
        bar, grey = max(int(rows * rng.uniform(0.03, 0.07)), 4), float(rng.uniform(0.15, 0.9))
        view = picture if rng.random() < 0.5 else picture.T
        view[:bar] = grey
        for x in range(bar // 2, view.shape[1] - bar, int(bar * rng.uniform(1.3, 2.5))):
            view[bar // 4 : 3 * bar // 4, x : x + bar // 2] = rng.uniform(0, 1)
    if rng.random() < 0.5:
        cv2.rectangle(picture, (2, 2), (columns - 3, rows - 3), ink, max(1, rows // 400))


def _paint_ruler(picture: Image, rng: Rng) -> None:
    """Ticks at an edge, or a caption."""
    rows, columns = picture.shape
    level = float(rng.choice([0.0, 1.0]))
    if rng.random() < 0.5:
        step = rows * rng.uniform(0.02, 0.06)
        x = 0 if rng.random() < 0.5 else columns - max(columns // 60, 3)
        for y in np.arange(rows * 0.2, rows * 0.8, step).astype(int):
            picture[y : y + max(rows // 500, 1), x : x + max(columns // 60, 3)] = level
    else:
        at = int(columns * rng.uniform(0.02, 0.6)), int(rows * rng.choice([0.04, 0.985]))
        _paint_text(picture, str(rng.choice(TEXTS)), at, rows * rng.uniform(0.0004, 0.001), level)


def _photograph(picture: Image, degree: float, rng: Rng) -> Image:
    """Uneven light, a glare, the grid of a screen, a camera's noise and compression."""
    rows, columns = picture.shape
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    light = 1 + degree * (rng.uniform(-0.4, 0.4) * (x - 0.5) + rng.uniform(-0.4, 0.4) * (y - 0.5))
    cx, cy, wide = rng.uniform(0, 1, 2).tolist() + [rng.uniform(0.05, 0.25)]
    glare = degree * rng.uniform(0, 0.6) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / wide**2)
    pitch = rng.uniform(2.2, 9.0)
    grid = 1 + degree * rng.uniform(0, 0.06) * np.sin(
        2 * np.pi * (x * columns + rng.uniform(-0.3, 0.3) * y * rows) / pitch
    )
    picture = np.clip(picture * light * grid + glare, 0, 1)
    picture = picture + rng.normal(0, 0.005 + 0.02 * degree, picture.shape)
    return _jpeg(picture.astype(np.float32), int(85 - 60 * degree * rng.random()))


def _jpeg(picture: Image, quality: int) -> Image:
    """After storage as JPEG."""
    eight = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    stored = cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / 255


def tone(degree: float, rng: Rng) -> list[Finding]:
    """One of `TONES`."""
    return [Finding(str(rng.choice(TONES)), degree)]


def retouch(film: Image, pixel_mm: float, name: str, degree: float, rng: Rng) -> Image:
    """A film in one of `TONES`, 0..1."""
    if name == "faint":
        kept = 0.45 - 0.38 * degree
        grey = film * kept + (1 - kept) * rng.uniform(0.0, 1.0)
        return _noisy(grey, 0.025 * kept * (1 + degree), rng)
    if name == "evenly grey":
        slow = cv2.GaussianBlur(film, (0, 0), rng.uniform(2.5, 6) / pixel_mm)
        kept = 0.7 - 0.45 * degree
        return _noisy(slow * (1 - kept) + film * kept, 0.012 * (1 + degree), rng)
    if name == "burnt out":
        return _burn(film, degree, rng)
    return _digitise(film, degree, rng)


def _noisy(film: Image, deviation: float, rng: Rng) -> Image:
    noise = rng.standard_normal(film.shape, dtype=np.float32) * deviation
    return np.clip(film + noise, 0, 1).astype(np.float32)


def _burn(film: Image, degree: float, rng: Rng) -> Image:
    """White or black over a part of its range, more so towards one end of the film."""
    rows = len(film)
    slope = (
        np.linspace(-0.5, 0.5, rows, dtype=np.float32)[:, None] * rng.choice([-1.0, 1.0]) * rng.uniform(0, 0.5) * degree
    )
    moved = film + slope + rng.choice([-1.0, 1.0]) * (0.05 + 0.2 * degree)
    return np.clip((moved - 0.5) * (1 + 0.6 * degree) + 0.5, 0, 1).astype(np.float32)


def _digitise(film: Image, degree: float, rng: Rng) -> Image:
    """A film's steep curve, its grain, dark corners, dust, scratches, few grey values."""
    rows, columns = film.shape
    steep = 4 + 4 * degree * rng.random()
    curve = 1 / (1 + np.exp(-steep * (film - rng.uniform(0.35, 0.65))))
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    curve = curve * (1 - degree * rng.uniform(0, 0.35) * (x**2 + y**2) / 2)
    grain = cv2.GaussianBlur(rng.standard_normal(film.shape, dtype=np.float32), (0, 0), rng.uniform(0.5, 1.4))
    shown = np.ascontiguousarray(curve + grain * rng.uniform(0.01, 0.02 + 0.06 * degree), dtype=np.float32)
    for _ in range(int(rng.integers(0, int(10 + 40 * degree)))):
        start = rng.uniform(0, [columns, rows])
        path = start + np.cumsum(rng.normal(0, rng.choice([0.002, 0.02]) * rows, (4, 2)), 0)
        cv2.polylines(shown, [np.round(path).astype(np.int32)], False, float(rng.random()), 1, cv2.LINE_AA)
    return _jpeg(shown, int(90 - 55 * degree * rng.random()))
