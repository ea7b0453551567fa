"""Probability maps to named bodies: the post-processing that knows anatomy, on plain arrays.

Where bone is and which bone it is are decided apart. The sum of the channels shows bone, whose connected components
are split into bodies. Dynamic programming over body and level then finds the best path from head to tail: no level
twice, none out of order, in the best agreement with the channels (as SPINEPS assigns instances; Moeller et al. 2024,
arXiv 2402.16368). The margin to the second-best path measures how ambiguous the numbering is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from spineseg.film import VERTEBRAE
from spineseg.inference.bodies import Numbered, find_bodies, typical_area
from spineseg.inference.numbering import Agreement, LevelPath, OtherNumbering, beyond, other_numbering
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE, Verdict, bone_confidence, mean_of_bone, traces
from spineseg.inference.views import bone_of

Channels = Float32[np.ndarray, "vertebra rows columns"]
Channel = Float32[np.ndarray, "rows columns"]
Weights = Float[np.ndarray, "body"]


@dataclass(frozen=True)
class LevelConfig:
    """Parameters of the decoder; distances are shares of a typical body's side."""

    skipped_end: float = 0.25
    """Cost of leaving a body above or below all named ones without a level, as T12 is."""
    skipped_body: float = 3.0
    """Cost of leaving a body between named ones without a level."""
    skipped_level: float = 0.8
    """Cost of a level missing between two that are there."""
    sure_margin: float = 0.35
    """Least margin to the second-best path at which the numbering counts as reliable."""
    sure_agreement: float = 0.3
    """The level of a body counts as reliable if its channel holds more than this share of all probability on it."""
    sure_bone: float = 0.90
    """Least mean probability of bone, over all that is above 0.5, at which bone outlines count as reliable."""
    sure_strongest: float = 0.86
    """The same of the strongest channel."""
    sure_body: float = 0.83
    """The first of them for each vertebra. `tools/calibrate_verdict.py` calibrates these five on simulated films."""
    room_below: float = 0.6
    """Least distance from the last vertebra to the end of the film: a sacrum cut off looks like a lumbar body."""
    room_above: float = 0.35
    """Least distance from the first vertebra to the top of the film."""
    usual_size: tuple[float, float] = (0.4, 2.2)
    """Range of a body's area as a share of the median body's; any other is a reason for doubt."""


@dataclass(frozen=True)
class LevelReport:
    """present, confidence (0..1): per vertebra in channel order. reasons: why to check the numbering, as sentences.

    shift: levels by which all names move caudally in the other numbering, 0 where the numbering is not ambiguous;
    shift_likelihood: 0..1, that of the two it is the right one.
    """

    present: tuple[bool, ...]
    confidence: tuple[float, ...]
    margin: float
    verdict: Verdict
    reasons: tuple[str, ...]
    shift: int = 0
    shift_likelihood: float = 0.0

    @property
    def stated(self) -> dict[str, Any]:
        """What JSON files and programs are told."""
        told = {"verdict": self.verdict, "reasons": self.reasons}
        return {**told, "shift": self.shift, "shift_likelihood": self.shift_likelihood}

    @property
    def shift_cells(self) -> list[int | float | str]:
        """Of a table of films: both empty where the numbering is not ambiguous."""
        return [self.shift, self.shift_likelihood] if self.shift else ["", ""]

    @property
    def review_order(self) -> float:
        """The lower, the sooner a person should look: films to be checked, reliable ones, then other pictures.

        Among those of one verdict the film comes first whose least confident vertebra is less so.
        """
        return 2.0 * (CHECK, RELIABLE, NOT_LUMBAR).index(self.verdict) + min(self.confidence)


@dataclass(frozen=True, eq=False)
class Decoded:
    """channels: each vertebra's probability within its own body and 0 elsewhere.

    beyond: the same of bodies above the first vertebra of all (-1, -2, ...) and below the last, by their level.
    """

    channels: Channels
    report: LevelReport
    beyond: Mapping[int, Channel] = field(default_factory=dict)


def best_path(
    agreement: Agreement, weight: Weights, config: LevelConfig, forbidden: frozenset[tuple[int, int]] = frozenset()
) -> tuple[float, LevelPath]:
    """Level of each body from head to tail (-1 for none), strictly increasing, of the highest total.

    agreement: share of the probability on each body that each level's channel holds, 0..1. weight: of each body, 0..1,
    which scales the cost of leaving it out. forbidden: (body, level) not allowed.
    """
    bodies = len(agreement)
    passed = np.concatenate([[0.0], np.cumsum(weight)]).astype(float).tolist()
    best: dict[tuple[int, int], tuple[float, LevelPath]] = {}
    outcome: tuple[float, LevelPath] = (-config.skipped_end * passed[bodies], (-1,) * bodies)
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


def path_margin(agreement: Agreement, weight: Weights, config: LevelConfig) -> tuple[LevelPath, float]:
    """The best path, and the margin of its score over the best path that differs in some body."""
    score, path = best_path(agreement, weight, config)
    named = [(body, level) for body, level in enumerate(path) if level >= 0]
    others = [best_path(agreement, weight, config, frozenset({pair}))[0] for pair in named]
    return path, score - max(others, default=score)


def _odd_sized(channels: Channels, config: LevelConfig) -> list[str]:
    """Vertebrae far from the median body in area, as two merged ones are."""
    areas = (channels > 0.5).sum((1, 2))
    if not areas.any():
        return []
    low, high = (share * np.median(areas[areas > 0]) for share in config.usual_size)
    return [v for v, area in zip(VERTEBRAE, areas, strict=True) if area and not low <= area <= high]


def _unexplained(path: LevelPath) -> int:
    """Bodies without a level, save one above the first vertebra: one is expected there, as T12 is above L1."""
    expected = 1 if 0 in path and path.index(0) > 0 else 0
    return path.count(-1) - expected


def _film_ends(channels: Channels, visible_rows: tuple[float, float], config: LevelConfig) -> tuple[bool, bool]:
    """Whether the film shows nothing above the first vertebra, and nothing below the last, where these are found."""
    masks = channels > 0.5
    areas = masks.sum((1, 2))
    if not areas.any():
        return False, False
    side = float(np.sqrt(np.median(areas[areas > 0])))
    first, last = np.flatnonzero(masks[0].any(1)), np.flatnonzero(masks[-1].any(1))
    above = first.size > 0 and first[0] - visible_rows[0] < config.room_above * side
    below = last.size > 0 and visible_rows[1] - 1 - last[-1] < config.room_below * side
    return bool(above), bool(below)


def _reasons(
    present: list[bool],
    confidence: list[float],
    margin: float,
    odd_sized: list[str],
    unnamed: int,
    other: OtherNumbering | None,
    config: LevelConfig,
) -> list[str]:
    reasons = [other.sentence] if other else []
    absent = [v for v, here in zip(VERTEBRAE, present, strict=True) if not here]
    if absent:
        reasons.append(f"not found: {', '.join(absent)}")
    weak = [v for v, here, c in zip(VERTEBRAE, present, confidence, strict=True) if here and c <= config.sure_agreement]
    if weak:
        reasons.append(f"level uncertain: {', '.join(weak)}")
    if any(present) and margin < config.sure_margin and not other:
        reasons.append("another naming of the vertebrae fits nearly as well")
    if odd_sized:
        reasons.append(f"unusual size: {', '.join(odd_sized)}")
    if unnamed:
        reasons.append(f"{unnamed} further vertebra-like {'shape' if unnamed == 1 else 'shapes'} without a level")
    return reasons


def _faint(probabilities: Channels, channels: Channels, config: LevelConfig) -> list[str]:
    bone, strongest = bone_confidence(probabilities)
    if bone < config.sure_bone or strongest < config.sure_strongest:
        return ["the bones are hard to tell on this film"]
    faint = [v for v, channel in zip(VERTEBRAE, channels, strict=True) if mean_of_bone(channel) < config.sure_body]
    return [f"outline uncertain: {', '.join(faint)}"] if faint else []


def decode_ordered(
    probabilities: Channels,
    config: LevelConfig = LevelConfig(),
    *,
    visible_rows: tuple[float, float] | None = None,
    most_traces: float | None = None,
) -> Decoded:
    """Split the bone into bodies, name them along one path, and restrict each channel to its body.

    visible_rows: first visible row of the film on the grid, and one past its last; the whole grid if not given.
    most_traces: of the network's card; without it no film is turned away.
    """
    bone = bone_of(probabilities)
    bodies, count = find_bodies(bone, probabilities.argmax(0))
    agreement, weight = _agreement(probabilities, bodies, count)
    path, margin = path_margin(agreement, weight, config)
    channels, no_bone = np.zeros_like(probabilities), (bodies == 0) & (bone <= 0.5)
    confidence, present = [0.0] * len(VERTEBRAE), [False] * len(VERTEBRAE)

    def channel(body: int) -> Channel:
        return bone * _with_rim(bodies == body + 1, no_bone)

    for body, level in enumerate(path):
        if level >= 0:
            channels[level] = channel(body)
            confidence[level], present[level] = round(float(agreement[body, level]), 4), True
    cut = _film_ends(channels, visible_rows or (0.0, float(probabilities.shape[1])), config)
    other = other_numbering(agreement, path, cut=cut)
    odd_sized = _odd_sized(channels, config)
    reasons = _reasons(present, confidence, margin, odd_sized, _unexplained(path), other, config)
    reasons += _faint(probabilities, channels, config)
    verdict = CHECK if reasons else RELIABLE
    if most_traces is not None and traces(bone) > most_traces:
        verdict, reasons, other = NOT_LUMBAR, [], None
    shift = (other.shift, other.likelihood) if other else (0, 0.0)
    report = LevelReport(tuple(present), tuple(confidence), round(margin, 4), verdict, tuple(reasons), *shift)
    return Decoded(channels, report, {level: channel(body) for level, body in beyond(path).items()})


def _agreement(probabilities: Channels, bodies: Numbered, count: int) -> tuple[Agreement, Weights]:
    """What `best_path` needs of each body. A body's weight is its area over a typical one's, at most 1, squared.

    The share is of all probability on a body, not of its area: channels that each show the whole spine agree with no
    level.
    """
    sums = np.array([ndimage.sum_labels(p, bodies, np.arange(1, count + 1)) for p in probabilities]).T
    areas = np.bincount(bodies.ravel(), minlength=count + 1)[1:]
    weight = np.minimum(areas / typical_area(areas), 1.0) ** 2 if count else np.zeros(0)
    return sums / np.maximum(sums.sum(1, keepdims=True), 1e-6), weight


def _with_rim(
    body: Bool[np.ndarray, "rows columns"], no_bone: Bool[np.ndarray, "rows columns"]
) -> Bool[np.ndarray, "rows columns"]:
    """The body and its neighbouring pixels that are no bone.

    Interpolation needs them: with the rim a channel passes 0.5 where the network's probability of bone does.
    """
    near = cv2.dilate(body.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return body | (near & no_bone)


def decode_raw(probabilities: Channels) -> Decoded:
    """Argmax without post-processing: each pixel goes to its strongest channel. For cards whose decoder is "none"."""
    strongest = probabilities.argmax(0)
    channels = np.where(strongest == np.arange(len(VERTEBRAE))[:, None, None], probabilities, 0).astype(np.float32)
    present = tuple(bool((c > 0.5).any()) for c in channels)
    confidence = tuple(round(float(c[c > 0.5].mean()), 4) if (c > 0.5).any() else 0.0 for c in channels)
    reason = "this model's channels are shown without any rule of anatomy"
    return Decoded(channels, LevelReport(present, confidence, 0.0, CHECK, (reason,)))
