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

from spineseg.film import VERTEBRAE

Channels = Float32[np.ndarray, "vertebra rows columns"]
Agreement = Float[np.ndarray, "body vertebra"]
Weights = Float[np.ndarray, "body"]
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
    off_spine: float = 1.1
    """How far from the curve through the others a body may lie."""
    skipped_end: float = 0.25
    """Cost of leaving a body above or below all named ones without a level, as T12 is."""
    skipped_body: float = 3.0
    """Cost of leaving a body between named ones without a level."""
    skipped_level: float = 0.8
    """Cost of a level missing between two that are there."""
    sure_margin: float = 0.35
    """Least gap to the second-best path at which levels count as sure."""
    sure_agreement: float = 0.3
    """A body counts as sure if its level's channel makes more than this share of the claims on it."""
    sure_bone: float = 0.90
    """Least mean probability of bone, over all that is taken for bone, at which a film counts as seen well."""
    sure_strongest: float = 0.84
    """The same of the strongest channel. These four are calibrated on simulated films: `tools/calibrate_verdict.py`."""
    merged_size: float = 1.35
    """A body larger than this share of a typical one is cut where its strongest channel changes."""
    cut_size: float = 0.4
    """Least share of a typical body that a piece so cut must have."""
    room_below: float = 0.6
    """Room that a film must leave below S1 for the sacrum to be told from a lumbar body."""
    room_above: float = 0.35
    """Room that it must leave above L1."""
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
    return float(np.median(_no_specks(areas)))


def _no_specks(areas: Int[np.ndarray, "piece"]) -> Int[np.ndarray, "large"]:
    """The areas of at least a fifth of the largest."""
    return areas[areas >= areas.max() * 0.2]


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


def _cut_merged(bodies: Numbered, strongest: Int[np.ndarray, "rows columns"], config: LevelConfig) -> Numbered:
    """Part bodies that have grown together over a disc, where one channel gives way to the next."""
    areas = np.bincount(bodies.ravel())[1:]
    typical = float(np.quantile(_no_specks(areas), 0.25))
    seeds = bodies.copy()
    for body in np.flatnonzero(areas > config.merged_size * typical) + 1:
        inside = bodies == body
        shares = [_label(inside & (strongest == level)) for level in np.unique(strongest[inside])]
        large = [share == n for share in shares for n in _larger_than(config.cut_size * typical, share)]
        if len(large) > 1:
            seeds[inside] = 0
            for piece in large:
                seeds[piece] = seeds.max() + 1
    return _part(bodies, seeds)


def _larger_than(area: float, numbered: Numbered) -> Int[np.ndarray, "piece"]:
    """Numbers of the pieces of at least that area."""
    return np.flatnonzero(np.bincount(numbered.ravel())[1:] >= area) + 1


def _on_curve(centres: Float[np.ndarray, "body rc=2"], farthest: float) -> Bool[np.ndarray, "body"]:
    """Which bodies stand in one column.

    As long as some body lies farther than `farthest` from the parabola (column against row) through the others, the one
    without which the others fit best is left out. Fewer than five bodies say too little of their curve and all stay.
    """
    kept = np.ones(len(centres), bool)
    while kept.sum() >= 5:
        candidates = np.flatnonzero(kept).tolist()
        fits = [_aside_and_rest(centres, np.delete(candidates, k), body) for k, body in enumerate(candidates)]
        worst = min(range(len(fits)), key=lambda k: fits[k][1])
        if fits[worst][0] <= farthest:
            break
        kept[candidates[worst]] = False
    return kept


def _aside_and_rest(centres: Float[np.ndarray, "body rc=2"], rest: np.ndarray, body: int) -> tuple[float, float]:
    """How far a body lies from the parabola through the rest, and how badly the rest fit it (root mean square)."""
    curve = np.polynomial.Polynomial.fit(centres[rest, 0], centres[rest, 1], 2)
    missed = centres[:, 1] - curve(centres[:, 0])
    return abs(float(missed[body])), float(np.sqrt(np.mean(missed[rest] ** 2)))


def find_bodies(
    bone: Float32[np.ndarray, "rows columns"], strongest: Int[np.ndarray, "rows columns"], config: LevelConfig
) -> tuple[Numbered, int]:
    """Label the bodies in a map of bone probability, 1..n from the top row down; 0 elsewhere.

    strongest: the channel with the highest probability at each pixel. n is at most `LevelConfig.most_bodies`.
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
    bodies = _cut_merged(bodies, strongest, config)
    areas = np.bincount(bodies.ravel())[1:]
    kept = np.flatnonzero(areas >= config.smallest_share * _typical(areas)) + 1
    kept = kept[np.argsort(-areas[kept - 1], kind="stable")][: config.most_bodies]
    centres = np.array(ndimage.center_of_mass(np.ones_like(bodies), bodies, kept))
    on_spine = _on_curve(centres, config.off_spine * side)
    order = kept[on_spine][np.argsort(centres[on_spine, 0])]
    relabel = np.zeros(len(areas) + 1, np.int32)
    relabel[order] = np.arange(1, len(order) + 1)
    return relabel[bodies], len(order)


def best_path(
    agreement: Agreement, weight: Weights, config: LevelConfig, forbidden: frozenset[tuple[int, int]] = frozenset()
) -> tuple[float, Path]:
    """Level of each body from head to tail (-1 for none), strictly increasing, of the highest total.

    agreement: share of all claims on each body that each level's channel makes, 0..1. weight: how much of a body it is,
    0..1, which scales the cost of leaving it out. forbidden: (body, level) not allowed.
    """
    bodies = len(agreement)
    passed = np.concatenate([[0.0], np.cumsum(weight)]).astype(float).tolist()
    best: dict[tuple[int, int], tuple[float, Path]] = {}
    outcome: tuple[float, Path] = (-config.skipped_end * passed[bodies], (-1,) * bodies)
    for body in range(bodies):
        for level in range(len(VERTEBRAE)):
            if (body, level) in forbidden:
                continue
            score, path = -config.skipped_end * passed[body], (-1,) * body
            for before in range(body):
                skipped = config.skipped_body * (passed[body] - passed[before + 1])
                for upper in range(level):
                    if (before, upper) in best:
                        total = best[before, upper][0] - skipped - config.skipped_level * (level - upper - 1)
                        if total > score:
                            score, path = total, best[before, upper][1] + (-1,) * (body - before - 1)
            best[body, level] = score + float(agreement[body, level]), (*path, level)
            total = best[body, level][0] - config.skipped_end * (passed[bodies] - passed[body + 1])
            if total > outcome[0]:
                outcome = total, best[body, level][1] + (-1,) * (bodies - body - 1)
    return outcome


def path_margin(agreement: Agreement, weight: Weights, config: LevelConfig) -> tuple[Path, float]:
    """The best path, and how far the best one that differs from it in some body falls behind."""
    score, path = best_path(agreement, weight, config)
    named = [(body, level) for body, level in enumerate(path) if level >= 0]
    others = [best_path(agreement, weight, config, frozenset({pair}))[0] for pair in named]
    return path, score - max(others, default=score)


def _odd_sized(channels: Channels, config: LevelConfig) -> list[str]:
    """Vertebrae far from the median body in area, as two that have grown together are."""
    areas = (channels > 0.5).sum((1, 2))
    if not areas.any():
        return []
    low, high = (share * np.median(areas[areas > 0]) for share in config.usual_size)
    return [v for v, area in zip(VERTEBRAE, areas, strict=True) if area and not low <= area <= high]


def _unexplained(path: Path) -> int:
    """Bodies without a level, save one above L1: that is T12, which belongs there."""
    has_t12 = 0 in path and path.index(0) > 0
    return path.count(-1) - has_t12


def _film_ends(channels: Channels, film_rows: tuple[float, float], config: LevelConfig) -> list[str]:
    """What is said of a film that ends where its last named vertebra does; counting starts at a sacrum that is seen."""
    shown = channels > 0.5
    areas = shown.sum((1, 2))
    if not areas.any():
        return []
    side, reasons = float(np.sqrt(np.median(areas[areas > 0]))), []
    if areas[0] and np.flatnonzero(shown[0].any(1))[0] - film_rows[0] < config.room_above * side:
        reasons.append("the film ends at L1, so it may be a lower vertebra")
    if areas[-1] and film_rows[1] - 1 - np.flatnonzero(shown[-1].any(1))[-1] < config.room_below * side:
        reasons.append("the film ends at S1, so it may be a lumbar vertebra")
    return reasons


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


def certainty(probabilities: Channels) -> tuple[float, float]:
    """Mean probability of bone, and of the strongest channel, over all that is taken for bone; 1 where nothing is."""
    bone = np.minimum(probabilities.sum(0), 1.0)
    taken = bone > 0.5
    if not taken.any():
        return 1.0, 1.0
    return float(bone[taken].mean()), float(probabilities.max(0)[taken].mean())


def _seen_poorly(probabilities: Channels, config: LevelConfig) -> list[str]:
    bone, strongest = certainty(probabilities)
    if bone < config.sure_bone or strongest < config.sure_strongest:
        return ["the bones are hard to tell on this film"]
    return []


def decode_ordered(
    probabilities: Channels, config: LevelConfig = LevelConfig(), *, film_rows: tuple[float, float] | None = None
) -> Decoded:
    """Part the bone into bodies, name them along one path, and keep each channel to its body and a rim of no bone.

    With the rim the channels, interpolated, pass 0.5 where the network's own probability of bone does.
    film_rows: first row of the film on the grid, and one past its last; the whole grid if not given.
    """
    bone = np.minimum(probabilities.sum(0), 1.0)
    bodies, count = find_bodies(bone, probabilities.argmax(0), config)
    index = np.arange(1, count + 1)
    claims = np.array([ndimage.sum_labels(p, bodies, index) for p in probabilities]).T
    # Divided by all claims, not by the bone: six channels that each show the whole spine must not agree with any level.
    agreement = claims / np.maximum(claims.sum(1, keepdims=True), 1e-6)
    areas = np.bincount(bodies.ravel(), minlength=count + 1)[1:]
    weight = np.minimum(areas / _typical(areas), 1.0) ** 2 if count else np.zeros(0)
    path, margin = path_margin(agreement, weight, config)
    channels, no_bone = np.zeros_like(probabilities), (bodies == 0) & (bone <= 0.5)
    confidence, present = [0.0] * len(VERTEBRAE), [False] * len(VERTEBRAE)
    for body, level in enumerate(path):
        if level >= 0:
            channels[level] = bone * _rimmed(bodies == body + 1, no_bone)
            confidence[level], present[level] = round(float(agreement[body, level]), 4), True
    odd_sized = _odd_sized(channels, config)
    reasons = _reasons(present, confidence, margin, odd_sized, _unexplained(path), config)
    reasons += _seen_poorly(probabilities, config)
    reasons += _film_ends(channels, film_rows or (0.0, float(probabilities.shape[1])), config)
    verdict = "unsure" if reasons else "sure"
    return Decoded(channels, LevelReport(tuple(present), tuple(confidence), round(margin, 4), verdict, tuple(reasons)))


def _rimmed(
    body: Bool[np.ndarray, "rows columns"], no_bone: Bool[np.ndarray, "rows columns"]
) -> Bool[np.ndarray, "rows columns"]:
    """The body, and those of its neighbours that are no bone: all that interpolation asks for at its contour."""
    near = cv2.dilate(body.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return body | (near & no_bone)


def decode_raw(probabilities: Channels) -> Decoded:
    """No rule at all: each pixel goes to its strongest channel. For networks whose card names no decoder."""
    strongest = probabilities.argmax(0)
    channels = np.where(strongest == np.arange(len(VERTEBRAE))[:, None, None], probabilities, 0).astype(np.float32)
    present = tuple(bool((c > 0.5).any()) for c in channels)
    confidence = tuple(round(float(c[c > 0.5].mean()), 4) if (c > 0.5).any() else 0.0 for c in channels)
    reason = "this model's channels are shown without any rule of anatomy"
    return Decoded(channels, LevelReport(present, confidence, 0.0, "unsure", (reason,)))
