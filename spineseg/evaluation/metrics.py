"""How good masks are: overlap, contour distance, levels, anatomy, and confidence intervals of the averages.

Masks are boolean (vertebra, rows, columns) in the order of `VERTEBRAE`. A vertebra missing from both masks has no
score (NaN, as in nnU-Net and in MONAI's `ignore_empty`): a film that ends at L2 earns no Dice of 1 for L1. A
vertebra missing from one of them scores a Dice of 0 and a distance of infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import KDTree

from spineseg.film import VERTEBRAE, Masks, bounding_box, down_at, down_the_spine

Mask = Bool[np.ndarray, "rows columns"]
PerVertebra = Float[np.ndarray, "vertebra"]
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def dice(predicted: Masks, reference: Masks) -> PerVertebra:
    """2 |A and B| / (|A| + |B|) of each vertebra, 0..1; NaN where both masks are empty, 0 where one is.

    Source: Dice (1945).
    """
    both, total = _overlap_px(predicted, reference)
    return _ratio(2 * both, total)


def iou(predicted: Masks, reference: Masks) -> PerVertebra:
    """|A and B| / |A or B| of each vertebra, 0..1; NaN where both masks are empty, 0 where one is.

    Source: Jaccard (1901).
    """
    both, total = _overlap_px(predicted, reference)
    return _ratio(both, total - both)


def dice_matrix(predicted: Masks, reference: Masks) -> Float[np.ndarray, "predicted reference"]:
    """Dice of every prediction (row) with every reference (column); NaN where both are empty.

    Its diagonal is `dice`; a spine that is one level off fills the next diagonal instead.
    """
    sizes = _sizes_px(predicted)[:, None] + _sizes_px(reference)[None, :]
    both = np.array([[_shared_px(a, b) for b in reference] for a in map(_Cropped, predicted)], dtype=np.float64)
    return _ratio(2 * both, sizes)


def _overlap_px(a: Masks, b: Masks) -> tuple[PerVertebra, PerVertebra]:
    """Pixels of each vertebra in both masks, and the sum of the pixels in either."""
    both = np.array([_shared_px(_Cropped(one), other) for one, other in zip(a, b, strict=True)], dtype=np.float64)
    return both, _sizes_px(a) + _sizes_px(b)


def _sizes_px(masks: Masks) -> PerVertebra:
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Their quotient; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


class _Cropped:
    """A mask cropped to its bounding box, for a vertebra covers some 1 % of a film."""

    def __init__(self, mask: Mask) -> None:
        self.box = bounding_box(mask)
        self.mask = mask[self.box]

    def points(self, chosen: Mask, row_to_column: float) -> Float[np.ndarray, "point 2"]:
        """(row, column) on the film, in column widths, of the pixels of the box that are chosen."""
        rows, columns = np.nonzero(chosen)
        return np.stack([(rows + self.box[0].start) * row_to_column, columns + float(self.box[1].start)], axis=1)


def _shared_px(one: _Cropped, other: Mask) -> int:
    return int(np.count_nonzero(one.mask & other[one.box]))


def hausdorff95(predicted: Masks, reference: Masks, row_to_column: float = 1.0) -> PerVertebra:
    """95th-percentile Hausdorff distance of each vertebra, in pixels (column widths).

    The distance from every edge pixel of one mask to the nearest edge pixel of the other; its 95th percentile; the
    larger of the two directions. NaN where both masks are empty, infinite where one is.
    row_to_column: height of a pixel over its width (`Spacing.row_to_column`), 1 for square pixels.
    Source: `monai.metrics.compute_hausdorff_distance(percentile=95)`, with which it agrees. A tree over the edge
    pixels costs the same however far apart the masks are; a distance transform grows with their bounding box.
    """
    pairs = zip(predicted, reference, strict=True)
    return np.array([_hausdorff95(_edge_points(a, row_to_column), _edge_points(b, row_to_column)) for a, b in pairs])


def _hausdorff95(a: Float[np.ndarray, "m 2"], b: Float[np.ndarray, "n 2"]) -> float:
    if len(a) == 0 and len(b) == 0:
        return math.nan
    if len(a) == 0 or len(b) == 0:
        return math.inf
    there, back = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _edge_points(mask: Mask, row_to_column: float) -> Float[np.ndarray, "point 2"]:
    """(row, column) of the pixels with a neighbour outside the mask or the film, in column widths."""
    cropped = _Cropped(mask)
    return cropped.points(cropped.mask & np.logical_not(ndimage.binary_erosion(cropped.mask)), row_to_column)


def l3_depth_px(masks: Masks, row_to_column: float = 1.0) -> float:
    """Front-to-back depth of the body of L3, in pixels (column widths); NaN if L3 is empty or not in `VERTEBRAE`.

    The depth of the rectangle that spreads as much as L3 does (standard deviation times the square root of 12) across
    the spine (`film.down_at`). For a rectangle that is its depth; for a bone with a waist, its mean depth. A direction
    wrong by 5 degrees changes it by under 1 %.
    """
    if "L3" not in VERTEBRAE or not masks[l3 := VERTEBRAE.index("L3")].any():
        return math.nan
    centres = {k: _points(mask, row_to_column).mean(axis=0) for k, mask in enumerate(masks) if mask.any()}
    down = down_at(centres, l3)
    across = np.array([-down[1], down[0]])
    within_a_pixel = (across * (row_to_column, 1.0)) @ (across * (row_to_column, 1.0)) / 12
    return math.sqrt(12 * (float(np.var(_points(masks[l3], row_to_column) @ across)) + within_a_pixel))


def _points(mask: Mask, row_to_column: float) -> Float[np.ndarray, "point 2"]:
    """(row, column) of the mask's pixels, in column widths."""
    cropped = _Cropped(mask)
    return cropped.points(cropped.mask, row_to_column)


def response_matrix(
    channels: Float32[np.ndarray, "channel rows columns"], masks: Bool[np.ndarray, "vertebra rows columns"]
) -> Float[np.ndarray, "channel vertebra"]:
    """Mean of every channel (row) over every reference vertebra (column), in the channels' units; NaN for an empty one.

    A trained network shows a bright diagonal. A band means that the channels cannot tell levels apart (too little
    context or time); an X, that training reversed the order of the channels in half of the labels.
    """
    result = np.full((len(channels), len(masks)), np.nan)
    for k, mask in enumerate(masks):
        cropped = _Cropped(mask)
        if cropped.mask.any():
            result[:, k] = channels[:, *cropped.box][:, cropped.mask].mean(axis=1, dtype=np.float64)
    return result


def levels_right(predicted: Masks, reference: Masks) -> bool:
    """Whether every vertebra carries its own name.

    Each reference vertebra has a prediction of its name with a Dice above 0.5, and no prediction has a higher Dice
    with another vertebra's reference; a vertebra that the reference lacks is not predicted.
    """
    scores = np.nan_to_num(dice_matrix(predicted, reference), nan=0.0)
    named, there = predicted.any(axis=(1, 2)), reference.any(axis=(1, 2))
    own = scores.diagonal()
    return bool(np.array_equal(named, there) and np.all((own > 0.5) & (own >= scores.max(axis=1)) | ~there))


@dataclass(frozen=True)
class AnatomyFaults:
    """Names of the predicted vertebrae that no spine could have.

    out_of_order: no lower, along the spine, than the one before it. duplicated: lies on the bone of another.
    in_pieces: more than one connected component (pixels that touch by a corner are connected).
    """

    out_of_order: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    in_pieces: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Vertebrae with at least one fault."""
        return len({*self.out_of_order, *self.duplicated, *self.in_pieces})

    def __str__(self) -> str:
        kinds = {"out of order": self.out_of_order, "duplicated": self.duplicated, "in pieces": self.in_pieces}
        return "; ".join(f"{kind}: {' '.join(names)}" for kind, names in kinds.items() if names)


def anatomy_faults(masks: Masks, reference: Masks | None = None) -> AnatomyFaults:
    """The vertebrae that are out of cranio-caudal order, duplicated or in pieces, on a film with the head up.

    Order is judged by the centroids along the line that fits them best, so a curved or oblique spine is in order.
    Two masks are duplicates if they share more than half of the smaller one or, where a reference is given, if both
    overlap most with the same reference vertebra: one bone cut in two by disjoint masks is seen only that way.
    """
    named = [k for k in range(len(masks)) if masks[k].any()]
    in_pieces = [k for k in named if _components(masks[k]) > 1]
    duplicates = _sharing(masks, named) | (set() if reference is None else _same_bone(masks, reference))
    return AnatomyFaults(_names(_out_of_order(masks, named)), _names(sorted(duplicates)), _names(in_pieces))


def _components(mask: Mask) -> int:
    """How many 8-connected components the mask has."""
    cropped = _Cropped(mask).mask
    numbered = np.zeros(cropped.shape, dtype=np.int32)
    ndimage.label(cropped, EIGHT_NEIGHBOURS, output=numbered)
    return int(numbered.max(initial=0))


def _names(vertebrae: Sequence[int]) -> tuple[str, ...]:
    return tuple(VERTEBRAE[k] for k in vertebrae)


def _out_of_order(masks: Masks, named: list[int]) -> list[int]:
    if len(named) < 2:
        return []
    centroids = np.array([_points(masks[k], 1.0).mean(axis=0) for k in named])
    steps = np.diff(centroids @ down_the_spine(centroids))
    return [k for k, step in zip(named[1:], steps, strict=True) if step <= 0]


def _sharing(masks: Masks, named: list[int]) -> set[int]:
    """Masks that share more than half of the smaller one with another."""
    result: set[int] = set()
    for k, other in combinations(named, 2):
        cropped = _Cropped(masks[k])
        smaller = min(np.count_nonzero(cropped.mask), np.count_nonzero(masks[other]))
        if 2 * _shared_px(cropped, masks[other]) > smaller:
            result |= {k, other}
    return result


def _same_bone(masks: Masks, reference: Masks) -> set[int]:
    """Masks whose best-overlapping reference is also that of another mask."""
    scores = np.nan_to_num(dice_matrix(masks, reference), nan=0.0)
    on_bone = np.flatnonzero(scores.max(axis=1) > 0)
    best = scores.argmax(axis=1)
    return {int(k) for k in on_bone if np.count_nonzero(best[on_bone] == best[k]) > 1}


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in the units of what it is about."""

    low: float
    high: float


def bootstrap_interval(values: ArrayLike, seed: int, resamples: int = 10_000) -> Interval:
    """95 % percentile bootstrap interval of the mean of `values` (one per film), NaN left out; repeatable by its seed.

    NaN for fewer than two values, which say nothing about their spread. Source: Efron (1979).
    """
    from scipy import stats  # 0.2 s to import, which reading and predicting need not wait for

    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if known.size < 2:
        return Interval(math.nan, math.nan)
    found = stats.bootstrap((known,), np.mean, n_resamples=resamples, method="percentile", rng=seed)
    return Interval(float(found.confidence_interval.low), float(found.confidence_interval.high))


def wilson_interval(successes: int, n: int) -> Interval:
    """95 % interval of a proportion, 0..1; the whole of 0..1 for n = 0. Unlike p +- 1.96 s it holds for 11 of 11.

    Source: Wilson (1927).
    """
    from scipy import stats

    if n == 0:
        return Interval(0.0, 1.0)
    found = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high))
