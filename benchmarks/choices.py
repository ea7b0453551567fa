"""What one setting is worth: short narrow trainings that differ in that setting alone, scored on films of another kind.

Usage: python -m benchmarks.choices --data DIR --films DIR [--work out/choices] [--only NAME ...]

Every arm is trained from nothing with the same films, order, size and number of steps, once per seed, and scored with
the ordered decoder on the labelled films of --films. An arm whose result is in `--work`/results.jsonl is not run again.
The arms are small so that all of them take minutes: they rank settings, and their Dice is no network's worth.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.running import read_rows, write_rows
from spineseg.data.augment import AugmentConfig
from spineseg.evaluation.metrics import dice, levels_right
from spineseg.film import Case
from spineseg.inference.segmenter import Segmenter
from spineseg.io.folder import labelled_films, read_case
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training.config import TrainConfig
from spineseg.training.loop import train

GRID = GridConfig(rows=256, columns=192)
NETWORK = UNetConfig(features=(16, 24, 32, 48, 64, 80))
EPOCHS = 4


def arms(base: TrainConfig) -> dict[str, TrainConfig]:
    """The base and its variants, each changed in one respect."""
    return {
        "base: local contrast": base,
        "one contrast for the film": replace(base, grid=replace(GRID, intensity="global")),
        "least to most": replace(base, grid=replace(GRID, intensity="minmax")),
        "no moving average": replace(base, average=0.0),
        "BCE alone": replace(base, loss="bce"),
        "Dice alone": replace(base, loss="dice"),
        "no changes of films": replace(base, augment=AugmentConfig.none()),
    }


def score(checkpoint: Path, cases: list[Case]) -> dict[str, object]:
    """Mean Dice over films and vertebrae, and films with all levels right."""
    segmenter = Segmenter.load(checkpoint, "cpu")
    masks = [segmenter(case.film).masks for case in cases]
    values = [dice(found, case.masks) for found, case in zip(masks, cases, strict=True)]
    right = sum(levels_right(found, case.masks) for found, case in zip(masks, cases, strict=True))
    return {"dice": round(float(np.nanmean(values)), 4), "right": int(right), "films": len(cases)}


def main() -> None:
    """Train and score what has no result yet; print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="films to train on")
    parser.add_argument("--films", type=Path, required=True, help="labelled films to score on")
    parser.add_argument("--work", type=Path, default=Path("out/choices"))
    parser.add_argument("--only", nargs="*", default=[], help="arms whose name begins so")
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    results = chosen.work / "results.jsonl"
    rows = read_rows(results)
    done = {(row["arm"], row["seed"]) for row in rows}
    cases = [read_case(files) for files in tqdm(labelled_films(chosen.films), desc="reading")]
    for seed in range(chosen.seeds):
        base = TrainConfig(chosen.data, chosen.work, grid=GRID, network=NETWORK, epochs=EPOCHS, seed=seed)
        for name, config in arms(base).items():
            if (name, seed) in done or (chosen.only and not name.startswith(tuple(chosen.only))):
                continue
            out = chosen.work / f"{name.replace(' ', '-').replace(':', '')}-{seed}"
            held_back = train(replace(config, out=out))[-1].mean_dice
            rows.append({"arm": name, "seed": seed, "held back": held_back, **score(out / "last.safetensors", cases)})
            write_rows(results, rows)
    for row in sorted(rows, key=lambda row: (row["arm"], row["seed"])):
        scores = f"Dice {row['dice']:.3f}  right {row['right']} of {row['films']}  held back {row['held back']:.3f}"
        print(f"{row['arm']:28} seed {row['seed']}  {scores}")


if __name__ == "__main__":
    main()
