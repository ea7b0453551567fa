"""What borders around a film change: masks on the film with a border against those on the film alone, by kind.

Usage: python -m benchmarks.borders [--data DIR] [--films 20] [--seed 77] [--kinds NAME ...]

A row a kind of border. Films of DIR/img, or simulated ones. The film's own masks are moved to where the picture shows
it, so nothing but the border, and the resolution where it is shown smaller, makes a difference.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Float64
from tqdm import tqdm

from benchmarks.timing import CHECKPOINT, options, surroundings, tell
from experiments.records import Row
from spineseg.evaluation.metrics import dice
from spineseg.film import Film, Masks
from spineseg.inference.prediction import Prediction
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import RELIABLE
from spineseg.io.films import read_film
from spineseg.render import to_uint8
from spineseg.simulate import simulate_case

Image = Float32[np.ndarray, "_ _"]
SAME = 0.5
"""Least Dice at which a vertebra is where it was."""


@dataclass(frozen=True, eq=False)
class Bordered:
    """A film within a picture; place: the affine map of the film's (column, row) to the picture's."""

    image: Image
    place: Float64[np.ndarray, "2 3"]

    def masks(self, masks: Masks) -> Masks:
        """The film's masks where the picture shows them."""
        size = self.image.shape[::-1]
        warped = [cv2.warpAffine(mask.astype(np.uint8), self.place, size, flags=cv2.INTER_NEAREST) for mask in masks]
        return np.stack(warped).astype(bool)


def _at(row: float, column: float, scale: float = 1.0) -> Float64[np.ndarray, "2 3"]:
    """Moved to that row and column; pixel centres are at whole numbers."""
    return np.array([[scale, 0, column + scale / 2 - 0.5], [0, scale, row + scale / 2 - 0.5]])


def constant(film: Film, pixels: int, grey: float, sides: str) -> Bordered:
    """A border of one value on sides named by "tblr"; grey: 0 for the film's lowest value, 1 for the highest."""
    image = film.image
    value = float(image.min() + grey * np.ptp(image))
    top, bottom, left, right = (pixels * (side in sides) for side in "tblr")
    return Bordered(np.pad(image, ((top, bottom), (left, right)), constant_values=value), _at(top, left))


def doubled(film: Film) -> Bordered:
    """Black sides that double the width."""
    return constant(film, film.shape[1] // 2, 0.0, "lr")


def framed(film: Film) -> Bordered:
    """A black frame on a white page."""
    inner = constant(film, 25, 0.0, "tblr")
    outer = constant(Film(inner.image), 120, 1.0, "tblr")
    return Bordered(outer.image, _at(145, 145))


def written(film: Film, grey: float) -> Bordered:
    """Text in the border, as viewers write it in the corners."""
    bordered = constant(Film(to_uint8(film).astype(np.float32)), 200, grey, "tblr")
    image, ink = bordered.image.astype(np.uint8), (round(255 * (1 - grey)),)
    rows, columns = image.shape
    for row, column in ((50, 20), (90, 20), (rows - 60, 20), (rows - 60, columns - 320), (50, columns - 320)):
        cv2.putText(image, "NAME 1961-01-01", (column, row), cv2.FONT_HERSHEY_SIMPLEX, 1.0, ink, 2)
    for row in range(300, rows - 200, 60):
        cv2.putText(image, "W:400 L", (20, row), cv2.FONT_HERSHEY_SIMPLEX, 1.0, ink, 2)
    return Bordered(image.astype(np.float32), bordered.place)


def screenshot(film: Film, grey: float) -> Bordered:
    """A tenth of a screen of 1920 x 1080 pixels, beside a bar, buttons and text."""
    screen = np.full((1080, 1920), round(255 * grey), np.uint8)
    rows, columns = film.shape
    scale = float(np.sqrt(0.1 * screen.size / (rows * columns)))
    small = cv2.resize(to_uint8(film), (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)
    screen[:60], screen[:, :240] = 200, 60
    for row in range(110, 1000, 45):
        cv2.putText(screen, "Series 12", (20, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (230,), 1, cv2.LINE_AA)
    cv2.putText(screen, "File  Edit  View  Tools", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0,), 2, cv2.LINE_AA)
    for column in range(700, 1000, 60):
        screen[15:45, column : column + 40] = 90
    row, column = 300, 900
    screen[row : row + small.shape[0], column : column + small.shape[1]] = small
    place = np.array(
        [[small.shape[1] / columns, 0, column - 0.5 + small.shape[1] / columns / 2],
         [0, small.shape[0] / rows, row - 0.5 + small.shape[0] / rows / 2]]
    )  # fmt: skip
    return Bordered(screen.astype(np.float32), place)


def photographed(film: Film, turn_deg: float, grey: float) -> Bordered:
    """On unevenly lit paper, turned, as a JPEG; grey: of the paper, 0..1."""
    rows, columns = film.shape
    margin = round(0.12 * max(film.shape))
    size = columns + 2 * margin, rows + 2 * margin
    cosine, sine = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middle, of_film = (np.array(size) - 1) / 2, (np.array([columns, rows]) - 1) / 2
    place = np.column_stack([linear, middle - linear @ of_film])
    down, across = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    paper = 255 * grey - 14 * across - 8 * down**2
    covered = cv2.warpAffine(np.ones((rows, columns), np.float32), place, size, flags=cv2.INTER_LINEAR)
    shown = cv2.warpAffine(to_uint8(film).astype(np.float32), place, size, flags=cv2.INTER_LINEAR)
    noise = np.random.default_rng(0).normal(0, 1.5, paper.shape)
    picture = shown + (1 - covered) * paper + noise
    encoded = cv2.imencode(".jpg", np.clip(np.rint(picture), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return Bordered(np.asarray(cv2.imdecode(encoded[1], cv2.IMREAD_GRAYSCALE), np.float32), place)


def rounded(film: Film, grey: float) -> Bordered:
    """Rounded corners, within a border of 60 pixels."""
    bordered = constant(film, 60, grey, "tblr")
    rows, columns = film.shape
    radius = round(0.05 * min(rows, columns))
    inside = np.zeros(film.shape, np.uint8)
    inside[radius:-radius], inside[:, radius:-radius] = 1, 1
    for row in (radius, rows - 1 - radius):
        for column in (radius, columns - 1 - radius):
            cv2.circle(inside, (column, row), radius, (1,), -1)
    image = bordered.image.copy()
    image[60:-60, 60:-60][inside == 0] = image[0, 0]
    return Bordered(image, bordered.place)


GREYS = {"black": 0.0, "grey": 0.5, "white": 1.0}
KINDS: dict[str, Callable[[Film], Bordered]] = {
    **{
        f"{name}, {pixels} px on {len(sides)} side{'s' * (len(sides) > 1)}": partial(
            constant, pixels=pixels, grey=grey, sides=sides
        )
        for name, grey in GREYS.items()
        for pixels, sides in ((60, "tblr"), (150, "r"), (150, "lr"), (150, "tblr"), (400, "lr"), (400, "tblr"))
    },
    "black sides that double the width": doubled,
    "black frame on a white page": framed,
    **{f"{name} with text": partial(written, grey=grey) for name, grey in GREYS.items() if name != "grey"},
    **{f"a tenth of a {name} screenshot": partial(screenshot, grey=grey) for name, grey in GREYS.items()},
    "paper": partial(photographed, turn_deg=0.0, grey=0.95),
    "paper, turned by 1 degree": partial(photographed, turn_deg=1.0, grey=0.95),
    "paper, turned by 3 degrees": partial(photographed, turn_deg=3.0, grey=0.95),
    "dark table, turned by 1 degree": partial(photographed, turn_deg=1.0, grey=0.15),
    **{f"rounded corners on {name}": partial(rounded, grey=grey) for name, grey in GREYS.items()},
}
"""What is done to a film, by the name of its row."""


def compared(alone: Prediction, bordered: Prediction, placed: Bordered) -> Row:
    """Mean and least Dice over vertebrae, and whether each is found where it was and sure."""
    scores = dice(bordered.masks, placed.masks(alone.masks))
    least = min((score for score in scores if not math.isnan(score)), default=1.0)
    return {"mean": float(np.nanmean(scores)), "least": least, "reliable": bordered.levels.verdict == RELIABLE}


def row_of(kind: str, results: Sequence[Row]) -> Row:
    """Over films: Dice, on how many the levels are those of the film alone, and which of the others are sure."""
    moved = [result for result in results if result["least"] < SAME]
    return {
        "border": kind,
        "films": len(results),
        "mean Dice": round(float(np.mean([result["mean"] for result in results])), 4),
        "least film's": round(min(result["mean"] for result in results), 4),
        "least vertebra's": round(min(result["least"] for result in results), 4),
        "same levels": len(results) - len(moved),
        "other levels, reliable": sum(result["reliable"] for result in moved),
    }


def _films(data: Path | None, count: int, seed: int) -> Iterator[Film]:
    if data is None:
        yield from (simulate_case(seed, index).film for index in range(count))
    else:
        yield from (read_film(path) for path in sorted(data.glob("img/*.dcm"))[:count])


def main(arguments: Sequence[str]) -> None:
    """Measure and print; see the module."""
    parser = options("borders", __doc__)
    parser.add_argument("--data", type=Path, help="folder with img/*.dcm; films are simulated without it")
    parser.add_argument("--films", type=int, default=20, help="at most so many (20)")
    parser.add_argument("--seed", type=int, default=77, help="series of the simulated ones (77)")
    parser.add_argument("--kinds", nargs="*", default=[""], help="beginnings of the names of borders; else all")
    given = parser.parse_args(arguments)
    kinds = {name: kind for name, kind in KINDS.items() if name.startswith(tuple(given.kinds))}
    segmenter = Segmenter.load(CHECKPOINT, device="cpu")
    results: dict[str, list[Row]] = {name: [] for name in kinds}
    for film in tqdm(list(_films(given.data, given.films, given.seed)), file=sys.stderr):
        alone = segmenter(film)
        for name, kind in kinds.items():
            placed = kind(film)
            results[name].append(compared(alone, segmenter(Film(placed.image)), placed))
    settings = {"films": given.films, "seed": None if given.data else given.seed}
    rows = [row_of(name, found) for name, found in results.items()]
    tell("borders", settings, surroundings("cpu"), {"borders": rows}, given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
