"""What a checkpoint makes of sick spines, kind by kind: frozen sets with their findings, and a table.

Usage: python -m benchmarks.sick_sets [--count 100] [--meshes DIR] [--checkpoint FILE] [--kinds NAME ...] [--write DIR]

Each set holds `count` films of one kind (`spineseg.simulate.config.KINDS`) of every degree, and "mixed" films as a
training sees them, all sick; "ordinary" ones are the same people without a finding. Seed 9400, projected bones with
--meshes, painted ones without; frozen for one commit of the simulator. A pair is *merged* where one mask covers more
than 30 % of two true bodies. A body is *skipped* where all masks together cover less than 30 % of it, but its
neighbours are covered. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from benchmarks.timing import CHECKPOINT, options, surroundings, tell
from experiments.records import Row
from spineseg.evaluation.metrics import dice, levels_right
from spineseg.film import Case, Masks
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import RELIABLE
from spineseg.io.folder import write_case
from spineseg.simulate import KINDS, SickConfig, SimulateConfig, build_atlas, only, simulate_case
from spineseg.simulate.atlas import Atlas

SEED = 9400
COVERED = 0.3
S1 = 5
SETS = ("ordinary", *KINDS, "mixed")


def config_of(name: str) -> SimulateConfig:
    """Of the films of one set."""
    sick = {"ordinary": SickConfig(share=0.0), "mixed": SickConfig(share=1.0)}
    return SimulateConfig(rows=768, crop_probability=0.0, sick=sick[name] if name in sick else only(name))


def frozen(name: str, count: int, atlas: Atlas | None) -> Iterator[Case]:
    """The films of one set; those of the first `count` indices on which a body is seen."""
    for index in range(count):
        case = simulate_case(SEED, index, config_of(name), atlas)
        if case.masks.any():
            yield replace(case, name=f"{name}-{index:03d}")


def coverage(predicted: Masks, reference: Masks) -> Float[np.ndarray, "predicted reference"]:
    """Share of each true body that each mask covers; 0 for a body that is off the film."""
    areas = np.maximum(reference.sum((1, 2)), 1)
    flat = predicted.reshape(len(predicted), -1).astype(np.float32), reference.reshape(len(reference), -1)
    return flat[0] @ flat[1].T.astype(np.float32) / areas


def merged(predicted: Masks, reference: Masks) -> int:
    """Masks that cover two true bodies."""
    return int(((coverage(predicted, reference) > COVERED).sum(1) > 1).sum())


def skipped(predicted: Masks, reference: Masks) -> int:
    """True bodies that no mask covers, while those above and below are covered."""
    there = reference.any((1, 2))
    covered = np.asarray(coverage(np.asarray(predicted.any(0))[None], reference)[0] >= COVERED)
    beside = np.pad(covered | ~there, 1, constant_values=True)
    known = np.pad(covered, 1, constant_values=False)
    neighbours = beside[:-2] & beside[2:] & (known[:-2] | known[2:])
    return int((there & ~covered & neighbours).sum())


def judge(segmenter: Segmenter, case: Case) -> Row:
    """One film's figures."""
    prediction = segmenter(case.film)
    scores = dice(prediction.masks, case.masks)
    return {
        "film": case.name,
        "dice": float(np.nanmean(scores)),
        "s1": float(scores[S1]),
        "right": bool(levels_right(prediction.masks, case.masks)),
        "reliable": prediction.levels.verdict == RELIABLE,
        "merged": merged(prediction.masks, case.masks),
        "skipped": skipped(prediction.masks, case.masks),
        "findings": [f"{f.name} {f.degree:.2f} {' '.join(f.where)}".strip() for f in case.findings],
    }


def line(name: str, results: list[Row]) -> Row:
    """One row of the table."""
    s1 = [r["s1"] for r in results if not np.isnan(r["s1"])]
    return {
        "set": name,
        "films": len(results),
        "dice": round(float(np.mean([r["dice"] for r in results])), 3),
        "S1": round(float(np.mean(s1)), 3) if s1 else float("nan"),
        "levels right": sum(r["right"] for r in results),
        "right or flagged": sum(r["right"] or not r["reliable"] for r in results),
        "wrong and reliable": sum(not r["right"] and r["reliable"] for r in results),
        "films merged or skipped": sum(bool(r["merged"] or r["skipped"]) for r in results),
        "merged": sum(r["merged"] for r in results),
        "skipped": sum(r["skipped"] for r in results),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, judge or write, tell."""
    parser = options("sick_sets", __doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--count", type=int, default=100, help="films of each set")
    parser.add_argument("--kinds", nargs="+", choices=SETS, default=SETS, help="sets to make")
    parser.add_argument("--meshes", type=Path, help="folder of bone meshes; bones are projected from them")
    parser.add_argument("--write", type=Path, help="write the films with labels and findings here, judge nothing")
    chosen = parser.parse_args(arguments)
    atlas = build_atlas(chosen.meshes) if chosen.meshes else None
    if chosen.write:
        for name in chosen.kinds:
            for case in tqdm(frozen(name, chosen.count, atlas), desc=name, total=chosen.count):
                write_case(chosen.write / name, case)
        return 0
    segmenter = Segmenter.load(chosen.checkpoint)
    rows = []
    for name in chosen.kinds:
        films = tqdm(frozen(name, chosen.count, atlas), desc=name, total=chosen.count)
        rows.append(line(name, [judge(segmenter, case) for case in films]))
    settings = {"checkpoint": segmenter.name, "trained at": segmenter.card.origin.get("commit"), "seed": SEED}
    tell("sick_sets", settings, surroundings("cpu"), {"sets": rows}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
