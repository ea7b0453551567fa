"""How far a checkpoint's measurements are from the truth, and how often the truth lies within the stated error.

Usage: python -m benchmarks.measurements [--films DIR] [--checkpoint FILE] [--simulated 100] [--true-masks 30]
       python -m benchmarks.measurements --figure docs/measurements.png

Five sets, each with its number of films: exact masks of simulated spines at the size of a film, which is what the
geometry alone costs; corners of the same spines moved as far as two people's placements differ, which is what a
reference placed by eye costs; a frozen series of simulated films that no published checkpoint is trained on (seed
9000), against the simulator's corners; labelled films of DIR (img/, label/), against the corners of their labels; and
films on which a shutter hides one half of L1 or of S1, which must not be measured then. The third and fourth leave out
films whose levels are wrong, which they count. Prints tables, then one line of JSON.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.timing import CHECKPOINT, options, surroundings, tell
from experiments.records import Row
from spineseg.evaluation.metrics import levels_right
from spineseg.film import VERTEBRAE, Case, Film
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import RELIABLE
from spineseg.io.folder import labelled_films, read_case
from spineseg.io.pictures import write_png
from spineseg.measure.measurements import Measurements, measure, measure_corners, measure_prediction
from spineseg.render import to_uint8
from spineseg.simulate import SimulateConfig, exact_masks, simulate_case, true_corners

FROZEN_SEED, TRUE_SEED = 9000, 8000
TWO_PLACEMENTS = 0.94
"""Median Dice of a body between two placements of the labelled films' references."""
FRAMED = SimulateConfig(rows=2600, crop_probability=0.0)
FACING_LEFT = SimulateConfig(rows=768, face_right_probability=0.0)


@dataclass(frozen=True)
class Compared:
    """One figure of one film, its true value and its stated error."""

    film: str
    key: str
    value: float
    truth: float
    error: float | None

    @property
    def missed(self) -> float:
        """Difference; an angle's by the shorter way."""
        difference = self.value - self.truth
        return (difference + 180) % 360 - 180 if self.key.endswith("_deg") else difference


@dataclass(frozen=True)
class Measured:
    """A set's comparisons; films looked at, and those left out because a level was wrong."""

    compared: list[Compared]
    films: int
    wrong: int


def kind_of(key: str) -> str:
    """The figure's key without the vertebrae."""
    return key if key.startswith(("lordosis", "sacral")) else re.sub(r"^(L\d_)(L\d_|S1_)?", "", key)


def compare(film: str, found: Measurements, truth: Measurements) -> Iterator[Compared]:
    """The figures that both have."""
    for key, figure in found.figures.items():
        if key in truth.figures:
            yield Compared(film, key, figure.value, truth[key].value, figure.error)


def true_masks(count: int) -> Measured:
    """Simulated spines, drawn exactly."""
    compared = []
    for index in tqdm(range(count), desc="true masks"):
        corners = true_corners(TRUE_SEED, index, FRAMED)
        corners = corners - corners.reshape(-1, 2).min(0) + 40
        rows, columns = (np.ceil(corners.reshape(-1, 2).max(0)).astype(int) + 40).tolist()
        compared += compare(str(index), measure(exact_masks(corners, rows, columns)), measure_corners(corners))
    return Measured(compared, count, 0)


def placement_deviation(spines: list[np.ndarray], rng: np.random.Generator) -> float:
    """How far corners stray, as a share of a body's depth, where two placements agree to `TWO_PLACEMENTS`.

    spines: corners, each (vertebra, corner, rc).
    """
    low, high = 0.0, 0.2
    for _ in range(12):
        middle = (low + high) / 2
        pairs = [(strayed(corners, middle, rng), strayed(corners, middle, rng)) for corners in spines]
        agreed = np.median([quadrilateral_dice(a, b) for pair in pairs for a, b in zip(*pair, strict=True)])
        low, high = (middle, high) if agreed > TWO_PLACEMENTS else (low, middle)
    return (low + high) / 2


def strayed(corners: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Every corner moved on its own, by a deviation in shares of the bodies' depth."""
    depth = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean()
    return corners + rng.normal(0, share * depth, corners.shape)


def quadrilateral_dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two convex quadrilaterals, (corner, rc) each."""
    first, second = (np.ascontiguousarray(quadrilateral, np.float32) for quadrilateral in (a, b))
    shared, _ = cv2.intersectConvexConvex(first, second)
    return 2 * shared / (cv2.contourArea(first) + cv2.contourArea(second))


def placed_by_eye(count: int) -> Measured:
    """Corners as a reader places them, against the true ones."""
    rng = np.random.default_rng(TRUE_SEED)
    spines = [true_corners(TRUE_SEED, index, FRAMED) for index in range(count)]
    deviation = placement_deviation(spines, rng)
    compared = []
    for index, corners in enumerate(spines):
        placed = measure_corners(strayed(corners, deviation, rng))
        compared += compare(str(index), placed, measure_corners(corners))
    return Measured(compared, count, 0)


def simulated(segmenter: Segmenter, count: int) -> Measured:
    """The frozen series, as predicted, against the corners that were drawn."""
    compared, wrong = [], 0
    for index in tqdm(range(count), desc="simulated"):
        case = simulate_case(FROZEN_SEED, index, FACING_LEFT)
        prediction = segmenter(case.film)
        if not levels_right(prediction.masks, case.masks):
            wrong += 1
            continue
        truth = measure_corners(true_corners(FROZEN_SEED, index, FACING_LEFT), case.film.spacing)
        compared += compare(case.name, measure_prediction(prediction, case.film.spacing), truth)
    return Measured(compared, count, wrong)


def labelled(segmenter: Segmenter, folder: Path) -> Measured:
    """Real films, as predicted, against the corners of their labels."""
    compared, wrong = [], 0
    files = labelled_films(folder)
    for case in map(read_case, tqdm(files, desc="labelled")):
        prediction = segmenter(case.film)
        if not levels_right(prediction.masks, case.masks):
            wrong += 1
            continue
        compared += compare(case.name, measure_prediction(prediction), measure(case.masks))
    return Measured(compared, len(files), wrong)


def half_hidden(series: str, segmenter: Segmenter, cases: Iterable[Case]) -> list[Row]:
    """What is said of films on which a shutter, turned a little, hides one half of a vertebra.

    How often it is measured all the same, how often the numbering is called reliable, and how many vertebrae beside it
    are left out for the shutter.
    """
    rng = np.random.default_rng(TRUE_SEED)
    nothing = {"films": 0, "measured": 0, "reliable": 0, "others left out": 0}
    counts: dict[str, Row] = {name: {**nothing} for name in ("L1", "S1")}
    for case in cases:
        for name, count in counts.items():
            if not (mask := case.masks[VERTEBRAE.index(name)]).any():
                continue
            prediction = segmenter(behind_shutter(case.film, mask, below=name == "S1", rng=rng))
            measured = measure_prediction(prediction)
            shuttered = [v for v, reason in measured.left_out.items() if reason.endswith("what the film shows")]
            count["films"] += 1
            count["measured"] += name in measured.corners
            count["reliable"] += prediction.levels.verdict == RELIABLE
            count["others left out"] += len(set(shuttered) - {name})
    return [{"set": series, "hidden": name, **count} for name, count in counts.items()]


def behind_shutter(film: Film, mask: np.ndarray, *, below: bool, rng: np.random.Generator) -> Film:
    """One grey value beyond a line through the middle of the mask, turned by a degree or so."""
    row, column = (float(place.mean()) for place in np.nonzero(mask))
    rows, columns = np.indices(film.shape, sparse=True)
    past = rows - row - np.tan(np.deg2rad(rng.normal(0, 1))) * (columns - column)
    low, high = np.percentile(film.image, [1, 99])
    fill = low + rng.choice([0.0, 0.0, 0.1, 1.0]) * (high - low)
    return Film(np.where(past > 0 if below else past < 0, fill, film.image).astype(np.float32), film.spacing)


def rows_of(compared: Iterable[Compared]) -> list[Row]:
    """For every kind of figure: how many, mean and median error, bias, worst, and share within the stated error."""
    kinds: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        kinds[kind_of(one.key)].append(one)
    return [{"figure": kind, **_row(ones)} for kind, ones in kinds.items()]


def _row(ones: list[Compared]) -> dict[str, float]:
    missed = np.array([one.missed for one in ones])
    row = {
        "n": len(ones),
        "mean": float(np.abs(missed).mean()),
        "median": float(np.median(np.abs(missed))),
        "p95": float(np.percentile(np.abs(missed), 95)),
        "max": float(np.abs(missed).max()),
        "bias": float(missed.mean()),
    }
    stated = np.array([one.error for one in ones if one.error is not None])
    if len(stated):
        row |= {"stated": float(np.median(stated)), "covered": float(np.mean(np.abs(missed) <= stated))}
    else:
        row |= {"same": float(np.mean(missed == 0))}
    return {key: round(value, 4) for key, value in row.items()}


STROKES = {"endplate": (60, 200, 255), "height": (255, 190, 60), "slip": (255, 80, 80), "disc": (120, 255, 120)}
"""Colour (red, green, blue) of a line by a word of its name."""


def draw_figure(path: Path) -> None:
    """A simulated film with every construction line, four pixels to its one, around the spine."""
    case = simulate_case(FROZEN_SEED, 7, SimulateConfig(rows=1024, crop_probability=0.0, face_right_probability=0.0))
    rows, columns = np.flatnonzero(case.masks.any((0, 2))), np.flatnonzero(case.masks.any((0, 1)))
    top, left = max(rows[0] - 30, 0), max(columns[0] - 40, 0)
    grey = to_uint8(case.film)[top : rows[-1] + 30, left : columns[-1] + 60]
    scale = 900 / len(grey)
    picture = np.repeat(cv2.resize(grey, None, fx=scale, fy=scale)[..., None], 3, 2)
    for line in measure(case.masks).lines:
        colour = next((rgb for word, rgb in STROKES.items() if word in line.name), (255, 255, 255))
        ends = [((np.array(end) - [top, left] + 0.5) * scale - 0.5)[::-1] * 16 for end in (line.start, line.end)]
        first, last = (tuple(np.round(end).astype(int).tolist()) for end in ends)
        cv2.line(picture, first, last, colour, 2, cv2.LINE_AA, 4)
    write_png(path, picture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell."""
    parser = options("measurements", __doc__)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--simulated", type=int, default=100)
    parser.add_argument("--true-masks", type=int, default=30)
    parser.add_argument("--figure", type=Path, help="draw the construction lines there, and nothing else")
    chosen = parser.parse_args(arguments)
    if chosen.figure:
        draw_figure(chosen.figure)
        return 0
    segmenter = Segmenter.load(chosen.checkpoint)
    sets: dict[str, Measured] = {}
    if chosen.true_masks:
        sets |= {"true masks": true_masks(chosen.true_masks), "placed by eye": placed_by_eye(10 * chosen.true_masks)}
    if chosen.simulated:
        sets["simulated"] = simulated(segmenter, chosen.simulated)
    if chosen.films:
        sets["labelled"] = labelled(segmenter, chosen.films)
    hidden = {
        "simulated": (simulate_case(FROZEN_SEED, k, FACING_LEFT) for k in range(chosen.simulated // 5)),
        "labelled": map(read_case, labelled_films(chosen.films)) if chosen.films else [],
    }
    halves = [row for name, cases in hidden.items() for row in half_hidden(name, segmenter, cases)]
    tables = {
        "films": [{"set": name, "films": m.films, "left out for a wrong level": m.wrong} for name, m in sets.items()],
        **{name: rows_of(measured.compared) for name, measured in sets.items()},
        "one half of a vertebra behind a shutter": halves,
    }
    settings = {"checkpoint": segmenter.name, "trained at": segmenter.card.origin.get("commit")}
    tell("measurements", settings, surroundings("cpu"), tables, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
