"""Choose how little masks may fit before the page says that they are of another film: `LEAST_FIT` in `ui/compare.py`.

Usage: python -m tools.calibrate_other_film --data DIR [--checkpoint FILE]

DIR holds `img/` and `label/`. Prints how well a model's masks fit the film's own label, that label under moved names,
and the labels of other films of the same size. LOG.md, 2026-11-27, has the last run.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np
from tqdm import tqdm

from spineseg.film import Film
from spineseg.inference.segmenter import Segmenter
from spineseg.io.folder import labelled_films, read_case
from spineseg.ui.compare import LEAST_FIT, compare, fit
from spineseg.ui.correction import Bits, masks_to_bits, shifted


def described(fits: list[float]) -> str:
    """How many there are, and their range."""
    below = sum(value < LEAST_FIT for value in fits)
    if not fits:
        return "none"
    return f"{min(fits):.2f} to {max(fits):.2f}, {below} of {len(fits)} below {LEAST_FIT}"


def shifts_told(bits: Bits, label: Bits) -> list[bool]:
    """Whether moved names are told, for one and two levels either way; the film's size plays no part."""
    film = Film(np.zeros(bits.shape, np.float32))
    return [compare("", bits, "", shifted(label, by), film).shift == by for by in (-2, -1, 1, 2)]


def main() -> None:
    """Segment, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    chosen = parser.parse_args()
    segmenter, found = Segmenter.load(chosen.checkpoint), []
    for files in tqdm(labelled_films(chosen.data)):
        case = read_case(files)
        found.append((masks_to_bits(segmenter(case.film).masks), masks_to_bits(case.masks)))
    others = [fit(ours, theirs) for (ours, _), (_, theirs) in permutations(found, 2) if ours.shape == theirs.shape]
    told = [told for ours, label in found for told in shifts_told(ours, label)]
    print("own label:", described([fit(ours, label) for ours, label in found]))
    print("label of another film of the same size:", described(others))
    print(f"moved names told: {sum(told)} of {len(told)}")


if __name__ == "__main__":
    main()
