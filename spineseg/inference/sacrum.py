"""The outline of S1 below its upper endplate: where the film shows bone, the bone; where not, what sacra look like.

Ilium and pelvic brim cover the lower and the posterior edge of S1 on most lateral films, and a network's mask ends
early there. The upper endplate, which the film shows, stays. The two lower corners are those of the highest posterior
probability: bone within the outline, under a Gaussian prior on its shape (a point distribution model; Cootes et al.
1995, doi:10.1006/cviu.1995.1004).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage, optimize

from spineseg.film import VERTEBRAE
from spineseg.inference.corners import NoBody, cross, fit_body
from spineseg.inference.outlines import coverage, sharpness

Image = Float32[np.ndarray, "rows columns"]
Channels = Float32[np.ndarray, "vertebra rows columns"]
Mask = Bool[np.ndarray, "rows columns"]
Endplate = Float[np.ndarray, "corner=2 rc=2"]
Direction = Float[np.ndarray, "rc=2"]
Corners = Float[np.ndarray, "corner=4 rc=2"]
"""Cranial-anterior, cranial-posterior, caudal-posterior, caudal-anterior; each (row, column), pixel edges whole."""

_SHAPE = np.array([0.80, 0.83, -0.12, 0.885])
"""Mean place of the caudal-posterior and of the caudal-anterior corner: to posterior and to caudal of the middle of the
upper endplate, in lengths of that. Of the simulator's spines (`simulate.shape.sample_spine`), which come from outlines
of 488 people."""
_DEVIATION = np.array([0.12, 0.147, 0.12, 0.147])
_CORRELATION = np.array([(1, 0.18, 0.77, 0.18), (0.18, 1, 0.18, 0.89), (0.77, 0.18, 1, 0.18), (0.18, 0.89, 0.18, 1)])
_PRECISION = np.linalg.inv(_CORRELATION * np.outer(_DEVIATION, _DEVIATION))
_STEP_PX = 0.05


@dataclass(frozen=True)
class SacrumConfig:
    """Of the outline."""

    evidence: float = 3.0
    """Weight of the mean log odds of bone against the prior."""
    most_log_odds: float = 5.0
    """Log odds beyond which the network counts as sure."""
    samples: int = 20
    """Per side of the outline, at which the log odds are read."""
    overlap: tuple[float, float] = (0.5, 0.9)
    """Intersection over union with the network's mask, on the film: up to the first S1 stays as the network saw it,
    from the second on it is completed, and between them its outline lies between both. LOG.md, 2026-11-28."""


def with_s1(channels: Channels, bone: Image, seen: Mask) -> Channels:
    """The channels with S1 `completed`, where the last vertebra is S1; the rest as there."""
    if VERTEBRAE[-1] != "S1":
        return channels
    return np.concatenate([channels[:-1], completed(channels, bone, seen)[None]])


def completed(channels: Channels, bone: Image, seen: Mask, config: SacrumConfig = SacrumConfig()) -> Image:
    """S1's channel as area fractions of its outline; as it is where no outline agrees with it.

    channels: each vertebra's probability within its own body, S1 last. bone: the network's probability of bone. seen:
    where the film lies; beyond its edge the shape alone decides.
    """
    l5, s1 = channels[-2] > 0.5, channels[-1] > 0.5
    if not (l5.any() and s1.any()):
        return channels[-1]
    above, here = (np.array(ndimage.center_of_mass(mask)) for mask in (l5, s1))
    down = (here - above) / np.linalg.norm(here - above)
    try:
        upper = fit_body(s1, down, sharpness=sharpness(bone)).corners[:2] + 0.5
    except NoBody:
        return channels[-1]
    log_odds = _log_odds(bone, channels[:-1].max(0) > 0.5, seen, config)
    fits = [_Fit(log_odds, endplate, down, float(l5.sum()), config) for endplate in (upper, upper[::-1])]
    _, corners = min((fit.best() for fit in fits), key=lambda found: found[0])
    drawn = coverage(corners, s1.shape)
    there = (drawn > 0.5) & seen
    overlap = (there & s1).sum() / (there | s1).sum()
    least, most = config.overlap
    share = np.clip((overlap - least) / (most - least), 0, 1) if _convex(corners) else 0.0
    return _between(channels[-1], drawn, float(share))


def _between(seen: Image, drawn: Image, share: float) -> Image:
    """The outline at that share of the way from the first to the second, by their signed distances."""
    if share in (0.0, 1.0):
        return drawn if share else seen
    distance = (1 - share) * _depth_px(seen) + share * _depth_px(drawn)
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


def _depth_px(channel: Image) -> Float[np.ndarray, "rows columns"]:
    """Of each pixel's centre within the outline at 0.5; negative outside."""
    inside = (channel > 0.5).astype(np.uint8)
    inner, outer = (
        cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5 for mask in (inside, 1 - inside)
    )
    return np.where(inside, inner, -outer)


def _log_odds(bone: Image, others: Mask, seen: Mask, config: SacrumConfig) -> Image:
    """others: where the other vertebrae are, and S1 is not."""
    certain = 1 / (1 + np.exp(config.most_log_odds))
    p = np.clip(bone, certain, 1 - certain)
    odds = np.where(seen, np.log(p / (1 - p)), 0.0)
    odds[others] = -2 * config.most_log_odds
    return cv2.GaussianBlur(odds.astype(np.float32), (0, 0), 1.0)


class _Fit:
    """Lower corners below one upper endplate: cranial-anterior and cranial-posterior corner.

    down: from L5 to S1. area: of L5, in pixels.
    """

    def __init__(self, log_odds: Image, endplate: Endplate, down: Direction, area: float, config: SacrumConfig) -> None:
        self._log_odds, self._endplate, self._evidence = log_odds, endplate, config.evidence / area
        upper = endplate[1] - endplate[0]
        self._length = float(np.linalg.norm(upper))
        posterior = upper / self._length
        across = np.array([-posterior[1], posterior[0]])
        self._axes = np.stack([posterior, across * np.sign(across @ down)])
        at = (np.arange(config.samples) + 0.5) / config.samples
        self._down, self._across = (axis.ravel()[:, None] for axis in np.meshgrid(at, at, indexing="ij"))

    def best(self) -> tuple[float, Corners]:
        """Negative logarithm of the highest posterior probability, up to a constant, and its corners."""
        mean = self._endplate.mean(0) + _SHAPE.reshape(2, 2) @ self._axes * self._length
        options = {"maxiter": 40}
        found = optimize.minimize(self, mean.ravel(), method="L-BFGS-B", jac=self._slope, options=options)
        return float(found.fun), np.concatenate([self._endplate, found.x.reshape(2, 2)])

    def __call__(self, lower: Float[np.ndarray, "4"]) -> float:
        corners = np.concatenate([self._endplate, lower.reshape(2, 2)])
        off = ((corners[2:] - corners[:2].mean(0)) @ self._axes.T / self._length).ravel() - _SHAPE
        return float(off @ _PRECISION @ off) / 2 - self._evidence * self._bone(corners)

    def _slope(self, lower: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
        """By central differences: forward ones stop a tenth of a pixel before the minimum, and elsewhere each time."""
        return np.array([self(lower + step) - self(lower - step) for step in np.eye(4) * _STEP_PX]) / (2 * _STEP_PX)

    def _bone(self, corners: Corners) -> float:
        """Sum of the log odds within the corners: over a bilinear grid, times the area of each of its cells."""
        down, across = self._down, self._across
        front, back = corners[3] - corners[0], corners[2] - corners[1]
        upper, lower = corners[1] - corners[0], corners[2] - corners[3]
        places = corners[0] + down * front + across * (upper + down * (lower - upper))
        cells = np.abs(cross(front + across * (back - front), upper + down * (lower - upper)))
        odds = ndimage.map_coordinates(self._log_odds, (places - 0.5).T, order=1, mode="nearest")
        return float(odds @ cells) / len(cells)


def _convex(corners: Corners) -> bool:
    sides = np.roll(corners, -1, 0) - corners
    turns = cross(sides, np.roll(sides, -1, 0))
    return bool((turns > 0).all() or (turns < 0).all())
