"""Six channels to six ordered masks: anatomy's rules, on plain arrays.

Where bone is and which bone it is are decided apart. The sum of the channels says where a body is; pieces of it are
bodies. Then a path from head to tail gives each body a level, no level twice and none out of order, that agrees best
with the channels (as SPINEPS assigns instances; Moeller et al. 2024, arXiv 2402.16368). The gap to the second-best
path says how sure that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from scipy import ndimage

from spineseg.film import VERTEBRAE, Masks

Channels = Float32[np.ndarray, "vertebra=6 rows columns"]
Scores = Float[np.ndarray, "body vertebra=6"]
Numbered = Int32[np.ndarray, "rows columns"]
Path = tuple[int, ...]


@dataclass(frozen=True)
class LevelConfig:
    """Rules of the decoder; lengths are shares of a typical body's side."""

    erode_share: float = 0.12
    """How far bodies are shrunk to part those that touch."""
    smallest_share: float = 0.25
    """Pieces below this share of the median area are no body."""
    most_bodies: int = 16
    """Only the largest are looked at, which bounds the time that a map full of speckles takes."""
    skipped_body: float = 0.35
    """Cost of leaving a body between others, or at an end, without a level."""
    skipped_level: float = 0.6
    """Cost of a level missing between two that are there."""
    sure_margin: float = 0.35
    """Least gap to the second-best path at which levels count as sure."""
    sure_agreement: float = 0.65
    """A body counts as sure if its level's channel makes more than this share of the claims on it."""
    usual_size: tuple[float, float] = (0.4, 2.2)
    """Area of a body as a share of the median body's, outside of which it is remarked on."""


@dataclass(frozen=True)
class LevelReport:
    """present, confidence (0..1): per vertebra in channel order. reasons: why the verdict is "unsure", as sentences."""

    present: tuple[bool, ...]
    confidence: tuple[float, ...]
    margin: float
    verdict: Literal["sure", "unsure"]
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Decoded:
    """channels: each vertebra's probability within its own body and 0 elsewhere."""

    channels: Channels
    report: LevelReport


def _label(mask: Bool[np.ndarray, "rows columns"]) -> Numbered:
    """Number the connected pieces from 1; 0 elsewhere."""
    numbered = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=numbered)
    return numbered


def _typical(areas: Int[np.ndarray, "piece"]) -> float:
    """Median area, specks left out."""
    return float(np.median(areas[areas >= areas.max() * 0.2]))


def _part(pieces: Numbered, cores: Numbered) -> Numbered:
    """Give each pixel of a piece to the nearest core of that same piece; a piece without a core is no bone."""
    bodies = np.zeros_like(pieces)
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        here = pieces[box] == number
        own = np.where(here, cores[box], 0)
        if own.any():
            nearest = ndimage.distance_transform_edt(own == 0, return_distances=False, return_indices=True)
            bodies[box][here] = own[tuple(np.asarray(nearest))][here]
    return bodies


def find_bodies(bone: Float32[np.ndarray, "rows columns"], config: LevelConfig) -> tuple[Numbered, int]:
    """Label the bodies in a map of bone probability, 1..n from the top row down; 0 elsewhere.

    n is at most `LevelConfig.most_bodies`.
    """
    solid = np.asarray(ndimage.binary_fill_holes(bone > 0.5))
    pieces = _label(solid)
    if not solid.any():
        return np.zeros(bone.shape, np.int32), 0
    side = float(np.sqrt(_typical(np.bincount(pieces.ravel())[1:])))
    depth = cv2.distanceTransform(np.pad(solid, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    bodies = _part(pieces, _label(depth > config.erode_share * side))
    areas = np.bincount(bodies.ravel())[1:]
    if len(areas) == 0:
        return np.zeros(bone.shape, np.int32), 0
    kept = np.flatnonzero(areas >= config.smallest_share * _typical(areas)) + 1
    kept = kept[np.argsort(-areas[kept - 1], kind="stable")][: config.most_bodies]
    rows = ndimage.center_of_mass(np.ones_like(bodies), bodies, kept)
    order = kept[np.argsort([r for r, _ in rows])]
    relabel = np.zeros(len(areas) + 1, np.int32)
    relabel[order] = np.arange(1, len(order) + 1)
    return relabel[bodies], len(order)


def best_path(
    agreement: Scores, config: LevelConfig, forbidden: frozenset[tuple[int, int]] = frozenset()
) -> tuple[float, Path]:
    """Level of each body from head to tail (-1 for none), strictly increasing, of the highest total.

    agreement: share of all claims on each body that each level's channel makes, 0..1. forbidden: (body, level) not
    allowed.
    """
    bodies = len(agreement)
    best: dict[tuple[int, int], tuple[float, Path]] = {}
    outcome: tuple[float, Path] = (-config.skipped_body * bodies, (-1,) * bodies)
    for body in range(bodies):
        for level in range(len(VERTEBRAE)):
            if (body, level) in forbidden:
                continue
            score, path = -config.skipped_body * body, (-1,) * body
            for before in range(body):
                for upper in range(level):
                    if (before, upper) in best:
                        total = best[before, upper][0]
                        total -= config.skipped_body * (body - before - 1) + config.skipped_level * (level - upper - 1)
                        if total > score:
                            score, path = total, best[before, upper][1] + (-1,) * (body - before - 1)
            best[body, level] = score + float(agreement[body, level]), (*path, level)
            rest = bodies - body - 1
            total = best[body, level][0] - config.skipped_body * rest
            if total > outcome[0]:
                outcome = total, best[body, level][1] + (-1,) * rest
    return outcome


def path_margin(agreement: Scores, config: LevelConfig) -> tuple[Path, float]:
    """The best path, and how far the best one that differs from it in some body falls behind."""
    score, path = best_path(agreement, config)
    others = [
        best_path(agreement, config, frozenset({(body, level)}))[0] for body, level in enumerate(path) if level >= 0
    ]
    return path, score - max(others, default=score)


def _odd_sized(channels: Channels, config: LevelConfig) -> list[str]:
    """Vertebrae far from the median body in area, as two that have grown together are."""
    areas = (channels > 0.5).sum((1, 2))
    if not areas.any():
        return []
    low, high = (share * np.median(areas[areas > 0]) for share in config.usual_size)
    return [v for v, area in zip(VERTEBRAE, areas, strict=True) if area and not low <= area <= high]


def _reasons(
    present: list[bool],
    confidence: list[float],
    margin: float,
    odd_sized: list[str],
    unnamed: int,
    config: LevelConfig,
) -> list[str]:
    reasons = []
    absent = [v for v, here in zip(VERTEBRAE, present, strict=True) if not here]
    if absent:
        reasons.append(f"not found: {', '.join(absent)}")
    weak = [v for v, here, c in zip(VERTEBRAE, present, confidence, strict=True) if here and c <= config.sure_agreement]
    if weak:
        reasons.append(f"level uncertain: {', '.join(weak)}")
    if any(present) and margin < config.sure_margin:
        reasons.append("another naming of the vertebrae fits nearly as well")
    if odd_sized:
        reasons.append(f"unusual size: {', '.join(odd_sized)}")
    if unnamed:
        reasons.append(f"{unnamed} further vertebra-like {'shape' if unnamed == 1 else 'shapes'} without a level")
    return reasons


def decode_ordered(probabilities: Channels, config: LevelConfig = LevelConfig()) -> Decoded:
    """Part the bone into bodies, name them along one path, and keep each channel to its body."""
    bone = np.minimum(probabilities.sum(0), 1.0)
    bodies, count = find_bodies(bone, config)
    index = np.arange(1, count + 1)
    claims = np.array([ndimage.sum_labels(p, bodies, index) for p in probabilities]).T
    # Divided by all claims, not by the bone: six channels that each show the whole spine must not agree with any level.
    agreement = claims / np.maximum(claims.sum(1, keepdims=True), 1e-6)
    path, margin = path_margin(agreement, config)
    channels = np.zeros_like(probabilities)
    confidence, present = [0.0] * len(VERTEBRAE), [False] * len(VERTEBRAE)
    for body, level in enumerate(path):
        if level >= 0:
            channels[level] = bone * (bodies == body + 1)
            confidence[level], present[level] = round(float(agreement[body, level]), 4), True
    odd_sized = _odd_sized(channels, config)
    reasons = _reasons(present, confidence, margin, odd_sized, path.count(-1), config)
    verdict = "unsure" if reasons else "sure"
    return Decoded(channels, LevelReport(tuple(present), tuple(confidence), round(margin, 4), verdict, tuple(reasons)))


def decode_raw(probabilities: Channels) -> Decoded:
    """No rule at all: each pixel goes to its strongest channel. For networks whose card names no decoder."""
    strongest = probabilities.argmax(0)
    channels = np.where(strongest == np.arange(len(VERTEBRAE))[:, None, None], probabilities, 0).astype(np.float32)
    present = tuple(bool((c > 0.5).any()) for c in channels)
    confidence = tuple(round(float(c[c > 0.5].mean()), 4) if (c > 0.5).any() else 0.0 for c in channels)
    reason = "this model's channels are shown without any rule of anatomy"
    return Decoded(channels, LevelReport(present, confidence, 0.0, "unsure", (reason,)))


def one_piece(mask: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """The largest connected piece, its holes filled; an empty mask stays empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return mask
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outlines, _ = cv2.findContours(mask[box].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros(mask[box].shape, np.uint8)
    cv2.drawContours(whole, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    result = np.zeros_like(mask)
    result[box] = whole.astype(bool)
    return result


def to_masks(channels: Channels, *, pieces: bool) -> Masks:
    """Disjoint masks where a channel is above 0.5 (interpolated channels may be passed); one piece each if asked."""
    masks = np.zeros(channels.shape, bool)
    taken = np.zeros(channels.shape[1:], bool)
    for mask, channel in zip(masks, channels, strict=True):
        mask[:] = (channel > 0.5) & ~taken
        if pieces:
            mask[:] = one_piece(mask) & ~taken
        taken |= mask
    return masks
