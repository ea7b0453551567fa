"""Six masks as one byte per pixel, and what a person corrects about their names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from spineseg.film import VERTEBRAE, BadInput, Masks

Bits = UInt8[np.ndarray, "rows columns"]
"""Bit k of a pixel is vertebra k; 0 is the background."""


class NothingChosen(BadInput):
    """A button was pressed before there was anything to work on."""


def pack(masks: Masks) -> Bits:
    """Six masks as one byte per pixel."""
    bits = np.zeros(masks.shape[1:], np.uint8)
    for k, mask in enumerate(masks):
        bits |= mask.view(np.uint8) << k
    return bits


def unpack(bits: Bits) -> Masks:
    """The six masks again."""
    return np.stack([(bits & np.uint8(1 << k)) != 0 for k in range(len(VERTEBRAE))])


@dataclass(frozen=True)
class Correction:
    """What a person changed about the names.

    shift: levels that each name was moved down the spine (1: the body called L1 is L2). dropped: vertebrae left out, by
    their place in the model's own answer.
    """

    shift: int = 0
    dropped: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return self != Correction()

    def moved(self, levels: int) -> Correction:
        """With every name moved further. Raises NothingChosen beyond five levels, where nothing would be left."""
        if abs(self.shift + levels) >= len(VERTEBRAE):
            raise NothingChosen("Expected at most five levels, got six, which leave no vertebra; move the names back")
        return replace(self, shift=self.shift + levels)

    def without(self, vertebra: int) -> Correction:
        """With the vertebra of this present name left out as well."""
        return replace(self, dropped=self.dropped | {vertebra - self.shift})

    def applied(self, bits: Bits) -> Bits:
        """The masks under their corrected names."""
        kept = bits & np.uint8(sum(1 << k for k in range(len(VERTEBRAE)) if k not in self.dropped))
        moved = kept << self.shift if self.shift >= 0 else kept >> -self.shift
        return moved & np.uint8((1 << len(VERTEBRAE)) - 1)

    def source(self, vertebra: int) -> int | None:
        """Which vertebra of the model's answer bears this name now; None if none does."""
        before = vertebra - self.shift
        return before if 0 <= before < len(VERTEBRAE) and before not in self.dropped else None

    def said(self, present: tuple[bool, ...]) -> tuple[str, ...]:
        """The correction as sentences, with the end that fell off and the one that became empty."""
        if not self:
            return ()
        lines = []
        if self.shift:
            way, count = ("lower" if self.shift > 0 else "higher"), abs(self.shift)
            lines.append(f"every name {count} {'level' if count == 1 else 'levels'} {way}")
        names = [VERTEBRAE[k] for k in sorted(self.dropped) if 0 <= k < len(VERTEBRAE)]
        if names:
            lines.append(f"left out: what the model called {', '.join(names)}")
        kept = [k for k, here in enumerate(present) if here and k not in self.dropped]
        fallen = [VERTEBRAE[k] for k in kept if not 0 <= k + self.shift < len(VERTEBRAE)]
        if fallen:
            lines.append(f"no name is left for what the model called {', '.join(fallen)}")
        empty = [name for k, name in enumerate(VERTEBRAE) if k - self.shift not in kept]
        if self.shift and empty:
            lines.append(f"now empty: {', '.join(empty)}")
        return tuple(lines)
