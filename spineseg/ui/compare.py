"""Two sets of masks over one film: scores per vertebra, and whether other names would fit better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from spineseg.evaluation.metrics import dice, hausdorff95, iou, levels_right
from spineseg.film import VERTEBRAE, Film
from spineseg.ui.correction import Bits, bits_to_masks, shifted


@dataclass(frozen=True)
class Comparison:
    """dice, iou: 0..1 per vertebra, NaN where neither has it. hd95: in `unit`, infinite where only one has it.

    same_names: every vertebra bears the same name in both. better_shift: levels caudally (negative: cranially) by
    which the names would have to move to fit clearly better; 0 if they fit as they are.
    """

    title: str
    other: str
    dice: tuple[float, ...]
    iou: tuple[float, ...]
    hd95: tuple[float, ...]
    unit: str
    same_names: bool
    better_shift: int

    @property
    def mean_dice(self) -> float:
        """Over the vertebrae that either has."""
        known = [value for value in self.dice if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    def as_dict(self) -> dict[str, Any]:
        """For JSON; null where there is no finite number."""
        rows = zip(VERTEBRAE, self.dice, self.iou, self.hd95, strict=True)
        hd95 = f"hd95_{self.unit}"
        scores = {name: {"dice": _finite(d), "iou": _finite(i), hd95: _finite(h)} for name, d, i, h in rows}
        return {
            "with": self.other,
            "scores": scores,
            "mean dice": _finite(self.mean_dice),
            "same names": self.same_names,
        }


def compare(title: str, bits: Bits, other_title: str, other: Bits, film: Film) -> Comparison:
    """Scores of `bits` against `other`, both at the film's size.

    Distances are in mm where the film states its spacing, else in pixels (column widths).
    """
    ours, theirs = bits_to_masks(bits), bits_to_masks(other)
    spacing = film.spacing
    distance = hausdorff95(ours, theirs, film.row_to_column) * (spacing.column_mm if spacing else 1.0)
    overlap, same = dice(ours, theirs), levels_right(ours, theirs)
    return Comparison(
        title,
        other_title,
        tuple(map(float, overlap)),
        tuple(map(float, iou(ours, theirs))),
        tuple(map(float, distance)),
        "mm" if spacing else "px",
        same,
        0 if same else _better_shift(bits, theirs, overlap),
    )


def _better_shift(bits: Bits, theirs: np.ndarray, overlap: np.ndarray) -> int:
    """The shift by one level that raises the mean Dice by more than 0.2."""
    means = {0: _mean(overlap), **{s: _mean(dice(bits_to_masks(shifted(bits, s)), theirs)) for s in (-1, 1)}}
    best = max(means, key=lambda shift: means[shift])
    return best if means[best] > means[0] + 0.2 else 0


def _mean(scores: np.ndarray) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else 0.0


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
