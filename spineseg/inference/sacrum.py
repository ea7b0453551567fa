"""The outline of S1: where the film shows its edge, the edge; where not, what sacra look like.

Ilium and pelvic brim cover the lower and the posterior edge of S1 on most lateral films, and a network's mask ends
early there. The outline is the quadrilateral of the highest posterior probability: bone within it, under a Gaussian
prior on its shape and on its size beside the vertebrae above (a point distribution model; Cootes et al. 1995,
doi:10.1006/cviu.1995.1004).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage, optimize

Image = Float32[np.ndarray, "rows columns"]
Mask = Bool[np.ndarray, "rows columns"]
Corners = Float[np.ndarray, "corner=4 rc=2"]
"""Cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior; each (row, column), pixel edges whole."""

_SHAPE = np.array([0.80, 0.83, -0.12, 0.885])
"""Mean place of the caudal-posterior and of the caudal-anterior corner: to posterior and to caudal of the middle of the
upper endplate, in lengths of that."""
_DEVIATION = np.array([0.12, 0.147, 0.12, 0.147])
_CORRELATION = np.array([(1, 0.18, 0.77, 0.18), (0.18, 1, 0.18, 0.89), (0.77, 0.18, 1, 0.18), (0.18, 0.89, 0.18, 1)])
_PRECISION = np.linalg.inv(_CORRELATION * np.outer(_DEVIATION, _DEVIATION))
_SIZES = ((0.10, 0.09), (0.075, 0.09), (0.065, 0.09))
"""Mean and deviation of log(length of S1's upper endplate / square root of the area) of L5, L4 and L3. These statistics
are those of the simulator's spines (`simulate.shape.sample_spine`), which come from outlines of 488 people."""

_STEP_PX = 0.05


@dataclass(frozen=True)
class SacrumConfig:
    """Of the fit."""

    evidence: float = 4.0
    """Weight of the mean log odds of bone against the prior."""
    most_log_odds: float = 3.0
    """Log odds beyond which the network counts as sure."""
    samples: int = 20
    """Per side of the quadrilateral, at which the log odds are read."""
    turns_deg: tuple[float, ...] = (-40.0, -20.0, 0.0, 20.0, 40.0)
    """Of the endplates that the fit starts from, against the line from L5 to S1."""
    least_overlap: float = 0.4
    """Least intersection over union with the network's mask; below it there is no quadrilateral."""


def fit_sacrum(
    bone: Image, mask: Mask, others: Sequence[Mask], seen: Mask, config: SacrumConfig = SacrumConfig()
) -> Corners | None:
    """S1's corners on the grid; None where no quadrilateral agrees with the mask.

    bone: probability of bone. mask: the network's S1. others: masks of L5, L4 and L3, or of those that are there, L5
    first. seen: where the film shows anything; elsewhere the shape alone decides.
    """
    energy = _Energy(_log_odds(bone, others, seen, config), others, config)
    start = min(_starts(mask, others[0], config), key=energy)
    found = optimize.minimize(energy, start.ravel(), method="L-BFGS-B", jac=energy.slope, options={"maxiter": 60})
    corners = found.x.reshape(4, 2)
    drawn = coverage(corners, mask.shape) > 0.5
    overlap = (drawn & mask).sum() / max((drawn | mask).sum(), 1)
    return corners if overlap >= config.least_overlap and _convex(corners) else None


def coverage(corners: Corners, shape: tuple[int, int], oversampling: int = 8) -> Image:
    """Share of each pixel that the quadrilateral covers, 0..1."""
    fine = np.zeros([side * oversampling for side in shape], np.uint8)
    points = np.round((corners[:, ::-1] * oversampling - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [points], 1, shift=4)
    return cv2.resize(fine.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)


def _log_odds(bone: Image, others: Sequence[Mask], seen: Mask, config: SacrumConfig) -> Image:
    most = config.most_log_odds
    certain = 1 / (1 + np.exp(most))
    p = np.clip(bone, certain, 1 - certain)
    odds = np.where(seen, np.log(p / (1 - p)), 0.0)
    odds[np.any(others, axis=0)] = -2 * most
    return cv2.GaussianBlur(odds.astype(np.float32), (0, 0), 1.0)


def _starts(mask: Mask, l5: Mask, config: SacrumConfig) -> Iterator[Corners]:
    """The mean shape in the mask's place, turned and mirrored."""
    centre, above = (np.array(ndimage.center_of_mass(m)) + 0.5 for m in (mask, l5))
    length = np.exp(_SIZES[0][0]) * np.sqrt(l5.sum())
    mean = np.array([(-0.5, 0.0), (0.5, 0.0), _SHAPE[:2], _SHAPE[2:]])
    down = (centre - above) / np.linalg.norm(centre - above)
    for turn in np.deg2rad(config.turns_deg):
        caudal = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ down
        for posterior in (caudal[::-1] * [1, -1], caudal[::-1] * [-1, 1]):
            quadrilateral = mean @ np.stack([posterior, caudal]) * length
            yield quadrilateral - quadrilateral.mean(0) + centre


class _Energy:
    """Negative logarithm of the posterior probability of corners, up to a constant."""

    def __init__(self, log_odds: Image, others: Sequence[Mask], config: SacrumConfig) -> None:
        self._log_odds, self._evidence = log_odds, config.evidence
        self._sizes = [np.log(np.sqrt(other.sum())) for other in others]
        self._area = float(others[0].sum())
        at = (np.arange(config.samples) + 0.5) / config.samples
        self._down, self._across = (axis.ravel()[:, None] for axis in np.meshgrid(at, at, indexing="ij"))

    def __call__(self, corners: np.ndarray) -> float:
        corners = corners.reshape(4, 2)
        return self._prior(corners) - self._evidence * self._bone(corners) / self._area

    def slope(self, corners: Float[np.ndarray, "8"]) -> Float[np.ndarray, "8"]:
        """By central differences: forward ones stop a tenth of a pixel before the minimum, and elsewhere each time."""
        steps = np.eye(8) * _STEP_PX
        return np.array([self(corners + step) - self(corners - step) for step in steps]) / (2 * _STEP_PX)

    def _bone(self, corners: Corners) -> float:
        """Sum of the log odds within the corners: over a bilinear grid, times the area of each of its cells."""
        down, across = self._down, self._across
        front, back = corners[3] - corners[0], corners[2] - corners[1]
        upper, lower = corners[1] - corners[0], corners[2] - corners[3]
        places = corners[0] + down * front + across * (upper + down * (lower - upper))
        cells = np.abs(_cross(front + across * (back - front), upper + down * (lower - upper)))
        odds = ndimage.map_coordinates(self._log_odds, (places - 0.5).T, order=1, mode="nearest")
        return float(odds @ cells) / len(cells)

    def _prior(self, corners: Corners) -> float:
        upper = corners[1] - corners[0]
        length = float(np.linalg.norm(upper))
        posterior = upper / length
        caudal = np.array([-posterior[1], posterior[0]])
        caudal *= np.sign(caudal @ (corners[2] + corners[3] - corners[0] - corners[1]))
        lower = (corners[2:] - corners[:2].mean(0)) @ np.stack([posterior, caudal]).T / length
        off = lower.ravel() - _SHAPE
        known = zip(self._sizes, _SIZES, strict=False)
        sizes = [((np.log(length) - size - mean) / deviation) ** 2 for size, (mean, deviation) in known]
        return float(off @ _PRECISION @ off + np.mean(sizes)) / 2


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _convex(corners: Corners) -> bool:
    sides = np.roll(corners, -1, 0) - corners
    turns = _cross(sides, np.roll(sides, -1, 0))
    return bool((turns > 0).all() or (turns < 0).all())
