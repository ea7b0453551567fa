"""Films unlike those that the published weights learned from: another vendor's look, another convention of labels.

Usage: python -m experiments.few_films.other_films --out DIR --meshes DIR [--count 60] [--seed 7200]

Bones are projected meshes. The look: local contrast equalised, edges sharpened, grain, and the lines of a grid. The
labels: bodies drawn convex, without their waist and with the cortical rim; of S1 only the upper two thirds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32
from tqdm import tqdm

from spineseg.film import VERTEBRAE, Case, Masks
from spineseg.io.folder import write_case
from spineseg.simulate import SimulateConfig, build_atlas, simulate_case

Image = Float32[np.ndarray, "rows columns"]
Mask = Bool[np.ndarray, "rows columns"]
_WHITE = 4095.0
_RIM_PX = 3
_S1_SHARE = 0.65


def other_look(image: Image, rng: np.random.Generator) -> Image:
    """The image as another vendor would process it, 0..4095."""
    low, high = np.quantile(image, (0.001, 0.999))
    unit = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32) ** 0.6
    equal = cv2.createCLAHE(8.0, (10, 10)).apply((unit * 65535).astype(np.uint16)).astype(np.float32) / 65535
    sharp = equal + 1.8 * (equal - cv2.GaussianBlur(equal, (0, 0), 2.5))
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, dtype=np.float32), (0, 0), 1.2) * 0.12
    grid = 0.04 * np.sin(np.arange(image.shape[1], dtype=np.float32) * (2 * np.pi / rng.uniform(4, 7)))
    return np.rint(np.clip(0.1 + 0.75 * sharp + grain + grid, 0, 1) * _WHITE).astype(np.float32)


def other_labels(masks: Masks) -> Masks:
    """The masks as another reader would draw them."""
    drawn = np.stack([convex(mask) for mask in masks])
    above, last = masks[-2], drawn[-1]
    if above.any() and last.any():
        drawn[-1] = upper_part(last, np.argwhere(last).mean(0) - np.argwhere(above).mean(0))
    taken = np.cumsum(drawn, axis=0) > 1
    return drawn & ~taken


def convex(mask: Mask) -> Mask:
    """The convex hull with a rim of some pixels."""
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    canvas = np.zeros(mask.shape, np.uint8)
    if len(points):
        cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1)
    return cv2.dilate(canvas, np.ones((_RIM_PX, _RIM_PX), np.uint8)).astype(bool)


def upper_part(mask: Mask, down: np.ndarray) -> Mask:
    """The pixels that come first along `down`, (row, column)."""
    points = np.argwhere(mask)
    along = points @ down
    kept = points[along <= np.quantile(along, _S1_SHARE)]
    part = np.zeros_like(mask)
    part[tuple(kept.T)] = True
    return part


def other(case: Case, rng: np.random.Generator) -> Case:
    """The case with that look and those labels."""
    film = replace(case.film, image=other_look(case.film.image, rng))
    return replace(case, film=film, masks=other_labels(case.masks))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the films as `train` reads them."""
    parser = argparse.ArgumentParser(prog="python -m experiments.few_films.other_films", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meshes", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7200)
    chosen = parser.parse_args(arguments)
    atlas, config = build_atlas(chosen.meshes), SimulateConfig(rows=768)
    for index in tqdm(range(chosen.count), desc="simulating", unit="film"):
        case = simulate_case(chosen.seed, index, config, atlas)
        if case.masks.any():
            write_case(chosen.out, other(case, np.random.default_rng([chosen.seed, index])))
    print(f"films of {len(VERTEBRAE)} vertebrae in {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
