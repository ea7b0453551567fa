"""The other numbering of an ambiguous film: every name moved by one level.

Names are counted from the sacrum. Where it is not in view, where the film ends at the first or last vertebra, where
there are more bodies than levels, or where the moved names hold much of the probability too, the film alone does not
say which of two numberings is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spineseg.film import VERTEBRAE

Agreement = Float[np.ndarray, "body vertebra"]
LevelPath = tuple[int, ...]
LAST = len(VERTEBRAE) - 1
CLOSE = 0.5
"""Names that lose less than this by moving are ambiguous wherever the film ends."""
_LIKELIHOOD = (2.0, 8.4, 3.3)
"""Constant, weight of the loss, and what is added where the film ends at the last name: a logistic regression on
simulated films (`python -m tools.calibrate_numbering`)."""


@dataclass(frozen=True)
class OtherNumbering:
    """shift: 1 where L1 becomes L2 and so on, -1 where L2 becomes L1. likelihood: of the two numberings, 0..1.

    sentence: what is ambiguous, and why.
    """

    shift: int
    likelihood: float
    sentence: str


def counted(path: LevelPath) -> dict[int, int]:
    """The level of each body, counted on above the first name (-1: above `VERTEBRAE[0]`) and below the last.

    A body that was passed over between two names has none.
    """
    named = {body: level for body, level in enumerate(path) if level >= 0}
    if not named:
        return {}
    first, last = min(named), max(named)
    above = {body: path[first] - first + body for body in range(first)}
    return {**above, **named, **{body: path[last] - last + body for body in range(last + 1, len(path))}}


def beyond(path: LevelPath) -> dict[int, int]:
    """Bodies that are counted beyond the first or the last vertebra of all, by their level."""
    return {level: body for body, level in counted(path).items() if not 0 <= level <= LAST}


def loss(agreement: Agreement, path: LevelPath, shift: int) -> float:
    """Share of the probability on the bodies that names lose by moving, a mean over the named ones; -1..1."""

    def held(by: int) -> float:
        moved = ((body, level + by) for body, level in counted(path).items())
        return sum(float(agreement[body, level]) for body, level in moved if 0 <= level <= LAST)

    return (held(0) - held(shift)) / sum(level >= 0 for level in path)


def other_numbering(agreement: Agreement, path: LevelPath, *, cut: tuple[bool, bool]) -> OtherNumbering | None:
    """None where the numbering is not ambiguous.

    cut: whether the film ends at the first vertebra of all, and at the last of all, where these are named.
    """
    named = [level for level in path if level >= 0]
    shifts = [shift for shift in (-1, 1) if any(0 <= level + shift <= LAST for level in named)]
    if not shifts:
        return None
    losses = {shift: loss(agreement, path, shift) for shift in shifts}
    shift = 1 if cut == (True, False) else -1 if cut == (False, True) else min(losses, key=lambda each: losses[each])
    why = _why(path, cut, losses[shift])
    if not why:
        return None
    return OtherNumbering(shift, _likelihood(losses[shift], cut[1]), _sentence(named, shift, why))


def _why(path: LevelPath, cut: tuple[bool, bool], lost: float) -> str:
    if any(cut):
        return "the film ends there"
    if LAST not in path:
        return "the sacrum is not in view" if VERTEBRAE[LAST] == "S1" else f"{VERTEBRAE[LAST]} is not in view"
    if set(beyond(path)) - {-1}:  # one above the first vertebra is expected, as T12 is above L1
        return "there are more bodies than levels"
    return "both numberings fit nearly as well" if lost < CLOSE else ""


def _sentence(named: list[int], shift: int, why: str) -> str:
    lowest, uppermost = ((VERTEBRAE[end], end + shift) for end in (named[-1], named[0]))
    if lowest[1] <= LAST:
        return f"{lowest[0]} or {VERTEBRAE[lowest[1]]}: the lowest vertebra may be either, as {why}"
    return f"{uppermost[0]} or {VERTEBRAE[uppermost[1]]}: the uppermost vertebra may be either, as {why}"


def _likelihood(lost: float, cut_below: bool) -> float:
    constant, weight, more = _LIKELIHOOD
    likelihood = 1 / (1 + math.exp(weight * lost - constant - more * cut_below))
    return round(min(max(likelihood, 0.01), 0.99), 2)
