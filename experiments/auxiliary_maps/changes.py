"""Changes of a training film: S1's lower edge hidden as on real films, and maps of what separates the vertebrae."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from spineseg.film import VERTEBRAE

Image = Float32[np.ndarray, "rows columns"]
Targets = Float32[np.ndarray, "channel strided_rows strided_columns"]
Inside = Bool[np.ndarray, "rows columns"]
S1, LEAST_PX = 5, 40


def hidden_and_mapped(
    image: Image, targets: Targets, inside: Inside, rng: np.random.Generator
) -> tuple[Image, Targets, Inside]:
    """A `Transform` (spineseg.data.augment): the film with faint places, its targets with `borders_and_discs`."""
    image = hidden(image, targets[: len(VERTEBRAE)], rng)
    image[~inside] = 0
    return image, np.concatenate([targets, borders_and_discs(targets[: len(VERTEBRAE)])]), inside


def borders_and_discs(targets: Targets) -> Targets:
    """Two maps of 0 and 1: borders of bodies, two pixels wide; what lies between neighbours in their common hull."""
    masks = [(target > 0.5).astype(np.uint8) for target in targets]
    border, disc, all_of_them = (np.zeros_like(masks[0]) for _ in range(3))
    for mask, below in zip(masks, [*masks[1:], None], strict=True):
        all_of_them |= mask
        border |= cv2.dilate(mask, np.ones((3, 3), np.uint8)) - cv2.erode(mask, np.ones((3, 3), np.uint8))
        if below is not None and mask.any() and below.any():
            hull = np.zeros_like(disc)
            cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(mask | below)), 1)
            disc |= hull
    return np.stack([border, disc & (1 - all_of_them)]).astype(np.float32)


def hidden(image: Image, targets: Targets, rng: np.random.Generator) -> Image:
    """Contrast taken from below S1's endplate, or from any body; lines of the ilium and grain laid over.

    image: about 0..1. targets: of the vertebrae, on the grid divided by the network's stride.
    """
    step, spread = image.shape[0] / targets.shape[1], float(image.std()) + 1e-3
    sides = np.sqrt(targets.sum((1, 2))) * step
    there = [k for k, side in enumerate(sides.tolist()) if side > np.sqrt(LEAST_PX) * step]
    if not there:
        return image
    places = np.indices(targets.shape[1:], dtype=np.float32)
    centres = {k: (places * targets[k]).sum((1, 2)) / targets[k].sum() * step for k in there}
    row, column = np.indices(image.shape, dtype=np.float32)
    if {S1 - 1, S1} <= centres.keys() and rng.random() < 0.6:
        axis = _turned(centres[S1] - centres[S1 - 1], rng.normal(0, 0.25))
        down = ((row - centres[S1][0]) * axis[0] + (column - centres[S1][1]) * axis[1]) / sides[S1]
        far = np.hypot(row - centres[S1][0], column - centres[S1][1]) / sides[S1]
        begins = rng.uniform(-0.45, 0.5)
        share = _smooth_step((down - begins) / rng.uniform(0.15, 0.6)) * np.exp(-((far / rng.uniform(1, 2.2)) ** 2) / 2)
        image = _faint(image, share * rng.uniform(0.4, 1), sides[S1] * rng.uniform(0.15, 0.5))
        if rng.random() < 0.6:
            middle = centres[S1] + axis * sides[S1] * 0.6
            image = image + _lines(image.shape, middle, sides[S1], rng) * spread * rng.uniform(0.2, 1.0)
    if rng.random() < 0.3:
        k = int(rng.choice(there))
        middle = centres[k] + rng.normal(0, 0.3, 2) * sides[k]
        far = np.hypot(row - middle[0], column - middle[1]) / (sides[k] * rng.uniform(0.3, 0.9))
        image = _faint(image, np.exp(-(far**2) / 2) * rng.uniform(0.3, 0.95), sides[k] * rng.uniform(0.1, 0.4))
    if rng.random() < 0.3:
        k = int(rng.choice(there[:2]))
        above = _above(image.shape, centres[k] + rng.normal(0, 0.6, 2) * sides[k], sides[k], rng)
        image = image + (float(rng.uniform(0, 0.15)) - image) * above * rng.uniform(0.6, 0.98)
    if rng.random() < 0.25:
        grain, width = rng.standard_normal(image.shape, dtype=np.float32), rng.uniform(0.6, 2.0)
        grain = cv2.GaussianBlur(grain, (0, 0), width, sigmaY=width * rng.uniform(0.5, 2))
        image = image + grain / grain.std() * spread * rng.uniform(0.02, 0.15)
    return image.astype(np.float32)


def _above(shape: tuple[int, int], middle: np.ndarray, side: float, rng: np.random.Generator) -> Image:
    """1 above a dome through that place, as a lung lies over a diaphragm; 0 below."""
    row, column = np.indices(shape, dtype=np.float32)
    across = (column - middle[1]) / side
    edge = middle[0] + side * (rng.normal(0, 0.4) * across + rng.uniform(0, 0.15) * across**2)
    return _smooth_step((edge - row) / (side * rng.uniform(0.1, 1.0)) + 0.5).astype(np.float32)


def _turned(axis: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) @ axis / max(float(np.hypot(*axis)), 1e-6)


def _smooth_step(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _faint(image: Image, share: np.ndarray, width: float) -> Image:
    """That share of the detail gone."""
    return image * (1 - share) + cv2.GaussianBlur(image, (0, 0), width) * share


def _lines(shape: tuple[int, int], middle: np.ndarray, side: float, rng: np.random.Generator) -> Image:
    """One to four arcs near a place, mostly bright."""
    lines = np.zeros(shape, np.float32)
    for _ in range(rng.integers(1, 5)):
        radius, angle = side * rng.uniform(0.5, 4), rng.uniform(0, 360)
        on_it = middle + rng.normal(0, 0.8, 2) * side
        row, column = on_it - radius * np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
        axes = int(radius), int(radius * rng.uniform(0.8, 1.25))
        ends = angle - rng.uniform(8, 60), angle + rng.uniform(8, 60)
        grey = float(rng.uniform(0.3, 1.0) * rng.choice([1, 1, 1, -1]))
        cv2.ellipse(lines, (int(column), int(row)), axes, 0, *ends, grey, int(rng.integers(1, 4)), cv2.LINE_AA)
    return cv2.GaussianBlur(lines, (0, 0), rng.uniform(0.6, 2.0))
