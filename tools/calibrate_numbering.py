"""How often the other numbering that an ambiguous film is offered is the right one, and how far its likelihood holds.

Usage: python -m tools.calibrate_numbering [--films 20] [--seed 9400] [--checkpoint FILE] [--atlas FILE]

Sets of `benchmarks.sick_sets`, ordinary films on which L1 or S1 leaves the picture, and such as are cut above S1. Names
are *right* where each body that is found bears its own, whether all are found or not. Prints a table, then, of the
films on which one of the two numberings is right, on how many it is the other, by the likelihood that was stated.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import without_s1
from benchmarks.sick_sets import S1, SEED, config_of
from spineseg.evaluation.metrics import dice_matrix
from spineseg.film import Case, Masks
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.simulate import load_atlas, simulate_case
from spineseg.simulate.atlas import Atlas

SETS = ("numbering", "mixed", "placement", "hardware", "ordinary", "cropped", "cut above S1")
BINS = (0.0, 0.05, 0.2, 0.5, 1.01)


@dataclass(frozen=True)
class Outcome:
    """right, other: whether the names are right, and those of the other numbering; None where none is offered."""

    right: bool
    other: bool | None
    likelihood: float


def films(name: str, seed: int, count: int, atlas: Atlas | None) -> Iterator[Case]:
    """Those of one set on which a body is seen."""
    config = config_of(name if name in SETS[:5] else "ordinary")
    config = replace(config, crop_probability=float(name == "cropped"))
    for index in range(count):
        case = simulate_case(seed, index, config, atlas)
        if name == "cut above S1" and case.masks[S1].any():
            case = without_s1(case)
        if case.masks.any():
            yield case


def names_right(predicted: Masks, reference: Masks) -> bool:
    """Whether each mask that lies on a body (a Dice above 0.5) bears its name, and at least one does."""
    scores = np.nan_to_num(dice_matrix(predicted, reference))
    found = [level for level in range(len(scores)) if scores[level].max() > 0.5]
    return bool(found) and all(scores[level].argmax() == level for level in found)


def outcome(segmenter: Segmenter, case: Case) -> Outcome | None:
    """Of one film; None where it is turned away."""
    prediction = segmenter(case.film)
    if prediction.levels.verdict == NOT_LUMBAR:
        return None
    other = prediction.other_masks
    offered = None if other is None else names_right(other, case.masks)
    return Outcome(names_right(prediction.masks, case.masks), offered, prediction.levels.shift_likelihood)


def row(outcomes: list[Outcome]) -> str:
    """How many films, wrong names, right ones offered for those, and offers on films with right names."""
    wrong, right = [o for o in outcomes if not o.right], [o for o in outcomes if o.right]
    offers = sum(o.other is not None for o in right)
    return f"| {len(outcomes)} | {len(wrong)} | {sum(o.other is True for o in wrong)} | {offers} |"


def main() -> None:
    """Simulate, ask, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--atlas", type=Path)
    chosen = parser.parse_args()
    segmenter, atlas = Segmenter.load(chosen.checkpoint), load_atlas(chosen.atlas) if chosen.atlas else None
    found: list[Outcome] = []
    print("| set | films | names wrong | the other right | names right, another offered |")
    for name in SETS:
        cases = tqdm(films(name, chosen.seed, chosen.films, atlas), desc=name, total=chosen.films)
        outcomes = [each for case in cases if (each := outcome(segmenter, case))]
        print(f"| {name} {row(outcomes)}")
        found += outcomes
    either = [o for o in found if o.other is not None and o.other != o.right]
    for low, high in itertools.pairwise(BINS):
        here = [o for o in either if low <= o.likelihood < high]
        expected, right = sum(o.likelihood for o in here), sum(not o.right for o in here)
        print(f"stated {low:.2f} to {min(high, 1.0):.2f}: {len(here)} films, expected {expected:.1f}, right {right}")


if __name__ == "__main__":
    main()
