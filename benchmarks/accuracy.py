"""How right a checkpoint is, and whether it says when it is not.

Usage: python -m benchmarks.accuracy [--films DIR] [--checkpoint FILE] [--simulated 100] [--meshes DIR]

Four sets, each with its number of films: labelled films of DIR (img/, label/); the same films spoiled in eight ways;
and two frozen series of simulated films that no published checkpoint is trained on (seed 9000), one with painted
bones and, with --meshes, one with projected bones. They are frozen for one commit of the simulator. A film is *right*
if each predicted mask overlaps its own reference best, with a Dice above 0.5, and none is predicted that the film
does not show. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.timing import CHECKPOINT, options, surroundings, tell
from experiments.records import Row
from spineseg.evaluation.metrics import anatomy_faults, dice, levels_right
from spineseg.film import Case, Film
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import NOT_LUMBAR, RELIABLE
from spineseg.io.files import write_text
from spineseg.io.folder import labelled_films, read_case
from spineseg.simulate import SimulateConfig, build_atlas, simulate_case
from spineseg.simulate.atlas import Atlas

FROZEN_SEED = 9000
L1, S1 = 0, 5


def _changed(case: Case, change: Callable[[np.ndarray], np.ndarray]) -> Case:
    """The same change of image and masks, both given as (rows, columns) float32."""
    image = np.ascontiguousarray(change(case.film.image), dtype=np.float32)
    masks = np.stack([change(mask.astype(np.float32)) > 0.5 for mask in case.masks])
    return Case(case.name, Film(image), masks)


def upside_down(case: Case) -> Case:
    """Rows reversed."""
    return _changed(case, lambda plane: plane[::-1])


def _top_of_s1(case: Case) -> int:
    """Its first row."""
    return int(np.flatnonzero(case.masks[S1].any(1))[0])


def _end_of_l1(case: Case) -> int:
    """One past its last row."""
    return int(np.flatnonzero(case.masks[L1].any(1))[-1]) + 1


def without_s1(case: Case) -> Case:
    """Cut above S1."""
    last = _top_of_s1(case)
    return _changed(case, lambda plane: plane[:last])


def without_l1(case: Case) -> Case:
    """Cut below L1."""
    first = _end_of_l1(case)
    return _changed(case, lambda plane: plane[first:])


def _shuttered(case: Case, rows: slice) -> Case:
    """Black from edge to edge in these rows, as behind a shutter."""
    image, masks = case.film.image.copy(), case.masks.copy()
    image[rows], masks[:, rows] = image.min(), False
    return Case(case.name, Film(image), masks)


def s1_shuttered(case: Case) -> Case:
    """Black from the top of S1 down."""
    return _shuttered(case, slice(_top_of_s1(case), None))


def l1_shuttered(case: Case) -> Case:
    """Black down to the bottom of L1."""
    return _shuttered(case, slice(0, _end_of_l1(case)))


def inverted(case: Case) -> Case:
    """Grey values exchanged."""
    return Case(case.name, case.film.inverted(), case.masks)


def stretched(case: Case) -> Case:
    """Rows stretched by 30 %."""
    return _changed(case, lambda plane: cv2.resize(plane, None, fx=1.0, fy=1.3, interpolation=cv2.INTER_LINEAR))


def blurred_out(case: Case) -> Case:
    """Blurred until no bone shows: by a third of a vertebra's height."""
    height = np.sqrt(case.masks[1:4].sum() / 3)
    image = cv2.GaussianBlur(case.film.image, (0, 0), height / 3)
    return Case(case.name, Film(image.astype(np.float32)), case.masks)


SPOILERS = (upside_down, without_s1, without_l1, s1_shuttered, l1_shuttered, inverted, stretched, blurred_out)


def judge(segmenter: Segmenter, cases: Iterable[Case]) -> list[Row]:
    """For each case its Dice, whether the levels are right, and the verdict."""
    results = []
    for case in cases:
        prediction = segmenter(case.film)
        right = levels_right(prediction.masks, case.masks)
        results.append(
            {
                "film": case.name,
                "dice": float(np.nanmean(dice(prediction.masks, case.masks))),
                "right": bool(right),
                "verdict": prediction.levels.verdict,
                "margin": prediction.levels.margin,
                "confidence": min((c for c in prediction.levels.confidence if c), default=0.0),
                "faults": anatomy_faults(prediction.masks, case.masks).count,
                "reasons": prediction.levels.reasons,
            }
        )
    return results


def line(name: str, results: list[Row]) -> Row:
    """One row of the table."""
    right = [r["verdict"] for r in results if r["right"]]
    wrong = [r["verdict"] for r in results if not r["right"]]
    return {
        "set": name,
        "films": len(results),
        "dice": round(float(np.mean([r["dice"] for r in results])), 4),
        "right": len(right),
        "right but flagged": len(right) - right.count(RELIABLE),
        "wrong and not flagged": wrong.count(RELIABLE),
        "called no lumbar film": (right + wrong).count(NOT_LUMBAR),
        "anatomy faults": sum(int(r["faults"]) for r in results),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, tell."""
    parser = options("accuracy", __doc__)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--simulated", type=int, default=100)
    parser.add_argument("--meshes", type=Path, help="folder of bone meshes for the second simulated series")
    parser.add_argument("--details", type=Path, help="write every film's result here, as JSON")
    chosen = parser.parse_args(arguments)
    segmenter = Segmenter.load(chosen.checkpoint)
    config = SimulateConfig(rows=768)
    sets: dict[str, list[Row]] = {}
    if chosen.films:
        cases = [read_case(files) for files in labelled_films(chosen.films)]
        sets["real"] = judge(segmenter, tqdm(cases, desc="real"))
        for spoil in SPOILERS:
            sets[spoil.__name__] = judge(segmenter, map(spoil, tqdm(cases, desc=spoil.__name__)))
    if chosen.simulated:
        sources: dict[str, Atlas | None] = {"simulated": None}
        if chosen.meshes:
            sources["projected"] = build_atlas(chosen.meshes)
        for name, atlas in sources.items():
            series = tqdm(range(chosen.simulated), desc=name)
            sets[name] = judge(segmenter, (simulate_case(FROZEN_SEED, index, config, atlas) for index in series))
    rows = [line(name, results) for name, results in sets.items()]
    if chosen.details:
        write_text(chosen.details, json.dumps(sets, indent=1) + "\n")
    settings = {"checkpoint": segmenter.name, "trained at": segmenter.card.origin.get("commit")}
    tell("accuracy", settings, surroundings("cpu"), {"sets": rows}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
