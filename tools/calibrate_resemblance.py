"""Choose the least clear film that still counts as a lateral lumbar radiograph: `most_traces` of a card.

Usage: python -m tools.calibrate_resemblance --others DIR [--films 100] [--real DIR] [--checkpoint FILE] [--atlas FILE]

--others: films that are none (chests, hands, CT slices, photographs, pages of text ...), of any kind that `read_film`
takes; the first word of a name, up to "__", is its source. Half of the sources calibrate and the other half are held
back. Lateral lumbar films are simulated, and those of --real are added. Prints, for each threshold, how many ordinary
films would be turned away and how many others would pass. LOG.md, 2026-11-27, has the last run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from spineseg.film import BadInput, Film
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import traces
from spineseg.inference.views import bone_of
from spineseg.io.films import read_film
from spineseg.simulate import SimulateConfig, load_atlas, simulate_case

SEED = 9600
THRESHOLDS = np.arange(0.36, 0.62, 0.02).round(2).tolist()


def films_in(folder: Path) -> Iterator[tuple[str, Film]]:
    """Source and film of every file that is one."""
    for path in tqdm(sorted(p for p in folder.rglob("*") if p.is_file()), desc=folder.name):
        try:
            yield path.name.partition("__")[0], read_film(path)
        except BadInput:
            continue


def traces_of(segmenter: Segmenter, film: Film) -> float:
    """Of the film at the first look, which decides whether there is a second one."""
    return traces(bone_of(segmenter(film).probabilities))


def above(values: list[float], threshold: float) -> str:
    """How many are turned away."""
    return f"{sum(value > threshold for value in values)} of {len(values)}"


def main() -> None:
    """Simulate, segment, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--others", type=Path, required=True)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    parser.add_argument("--atlas", type=Path)
    chosen = parser.parse_args()
    segmenter, config = Segmenter.load(chosen.checkpoint), SimulateConfig(rows=768)
    now, segmenter.card = segmenter.card.most_traces, replace(segmenter.card, most_traces=0.0)  # no second look
    atlas = load_atlas(chosen.atlas) if chosen.atlas else None
    indices = tqdm(range(chosen.films), desc="simulated")
    films = (simulate_case(SEED, index, config, atlas if index % 2 else None).film for index in indices)
    ordinary = {"simulated": [traces_of(segmenter, film) for film in films]}
    if chosen.real:
        ordinary["real"] = [traces_of(segmenter, film) for _, film in films_in(chosen.real)]
    others = [(source, traces_of(segmenter, film)) for source, film in films_in(chosen.others)]
    calibrating = set(sorted({source for source, _ in others})[::2])
    halves = {name: [t for s, t in others if (s in calibrating) == half] for name, half in _HALVES.items()}
    thresholds: set[float] = {*THRESHOLDS, now} if now else {*THRESHOLDS}
    for threshold in sorted(thresholds):
        counts = (f"{name} {above(values, threshold)}" for name, values in (ordinary | halves).items())
        print(f"{threshold:.2f}: turned away", "; ".join(counts), "<- now" if threshold == now else "")


_HALVES = {"others": True, "others held back": False}

if __name__ == "__main__":
    main()
