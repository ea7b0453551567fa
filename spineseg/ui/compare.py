"""Two sets of masks over one film: scores per vertebra, and whether they show the same bodies by the same names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from spineseg.evaluation.metrics import dice, dice_matrix, hausdorff95, iou, levels_right
from spineseg.film import VERTEBRAE, Film, Masks, bounding_box
from spineseg.ui.correction import Bits, bits_to_masks

NOTHING, SHOWN = "", "/shown"
"""Choices of a side: no masks, and the film's own as a person corrected them. A model is chosen by its name."""
REFERENCES: tuple[str, ...] = ("/reference-1", "/reference-2")
"""Choices of a side that the visitor uploads. No model has a name that begins with a slash."""
LEAST_FIT = 0.5
"""Masks whose bodies fit less than this are of another film.

On real films a model's masks fit the film's own label by 0.84 to 0.93 (n = 11), and that of another film of the same
size by 0.13 to 0.48 (n = 20). `python -m tools.calibrate_other_film` measures it."""
_Cropped = Bool[np.ndarray, "vertebra box_rows box_columns"]
_CLEARLY_BETTER = 0.2
"""By how much more of the bodies must fit under moved names."""


@dataclass(frozen=True)
class Comparison:
    """Scores of the masks `title` (A) against the masks `other` (B).

    dice, iou: 0..1 per vertebra, NaN where neither has it. hd95: in `unit`, infinite where only one has it.
    fit: see `fit`. only_here, only_there: vertebrae that A alone has, and B alone. same_names: every vertebra bears the
    same name in both. shift: levels by which B names the same bodies further caudally than A (negative: cranially); 0
    where no shift explains the names. strangers: titles of the references that are of another film.
    """

    title: str
    other: str
    dice: tuple[float, ...]
    iou: tuple[float, ...]
    hd95: tuple[float, ...]
    unit: str
    fit: float
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    same_names: bool
    shift: int
    strangers: tuple[str, ...] = ()

    @property
    def mean_dice(self) -> float:
        """Over the vertebrae that either has."""
        return mean(self.dice)

    @property
    def apart(self) -> bool:
        """Whether the two have hardly a body in common."""
        return self.fit < LEAST_FIT

    def as_dict(self) -> dict[str, Any]:
        """For JSON; null where there is no finite number."""
        rows = zip(VERTEBRAE, self.dice, self.iou, self.hd95, strict=True)
        hd95 = f"hd95_{self.unit}"
        scores = {name: {"dice": _finite(d), "iou": _finite(i), hd95: _finite(h)} for name, d, i, h in rows}
        return {
            "of": self.title,
            "with": self.other,
            "scores": scores,
            "mean dice": _finite(self.mean_dice),
            "mean dice of the best pairs of bodies": _finite(self.fit),
            "same names": self.same_names,
            "names lower in the second by": self.shift,
            "of another film": self.strangers,
        }


def compare(title: str, bits: Bits, other_title: str, other: Bits, film: Film) -> Comparison:
    """Scores of `bits` against `other`, both at the film's size.

    Distances are in mm where the film states its spacing, else in pixels (column widths).
    """
    ours, theirs = _both(bits, other)
    spacing, matrix = film.spacing, np.nan_to_num(dice_matrix(ours, theirs))
    distance = hausdorff95(ours, theirs, film.row_to_column) * (spacing.column_mm if spacing else 1.0)
    same, fitting = levels_right(ours, theirs), _fit(matrix, ours, theirs)
    return Comparison(
        title,
        other_title,
        tuple(map(float, dice(ours, theirs))),
        tuple(map(float, iou(ours, theirs))),
        tuple(map(float, distance)),
        "mm" if spacing else "px",
        fitting,
        _without(ours, theirs),
        _without(theirs, ours),
        same,
        _shift(matrix, ours, theirs) if fitting >= LEAST_FIT and not same else 0,
    )


def fit(bits: Bits, other: Bits) -> float:
    """How well the bodies of the two lie on each other, whatever their names, 0..1.

    For each body of the side that has fewer: its Dice with the body of the other side that it fits best; their mean.
    NaN where either has none.
    """
    ours, theirs = _both(bits, other)
    return _fit(np.nan_to_num(dice_matrix(ours, theirs)), ours, theirs)


def mean(scores: Iterable[float]) -> float:
    """Of the finite ones; NaN where there is none."""
    known = [score for score in scores if math.isfinite(score)]
    return float(np.mean(known)) if known else math.nan


def _both(bits: Bits, other: Bits) -> tuple[_Cropped, _Cropped]:
    """Masks of both within the smallest box that holds all of them, which covers a tenth of a film."""
    box = bounding_box((bits | other) != 0)
    return bits_to_masks(bits[box]), bits_to_masks(other[box])


def _without(masks: Masks, others: Masks) -> tuple[str, ...]:
    """Names of the masks that are empty in the others."""
    return tuple(
        name for name, mask, other in zip(VERTEBRAE, masks, others, strict=True) if mask.any() and not other.any()
    )


def _fit(matrix: Float[np.ndarray, "a b"], ours: Masks, theirs: Masks) -> float:
    here, there = ours.any((1, 2)), theirs.any((1, 2))
    if not (here.any() and there.any()):
        return math.nan
    best = matrix.max(1)[here] if here.sum() <= there.sum() else matrix.max(0)[there]
    return float(best.mean())


def _shift(matrix: Float[np.ndarray, "a b"], ours: Masks, theirs: Masks) -> int:
    """Levels by which all names must move for most of the bodies to fit."""
    fewer = min(ours.any((1, 2)).sum(), theirs.any((1, 2)).sum())
    scores = {k: matrix.trace(k) / fewer for k in range(1 - len(VERTEBRAE), len(VERTEBRAE))}
    best = max(scores, key=lambda k: scores[k])
    return best if scores[best] > max(LEAST_FIT, scores[0] + _CLEARLY_BETTER) else 0


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
