"""Masks as one byte per pixel, and the corrections of their names that a visitor makes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from spineseg.film import VERTEBRAE, BadInput, Masks
from spineseg.ui import texts

Bits = UInt8[np.ndarray, "rows columns"]
"""Bit k of a pixel is vertebra k; 0 is the background."""
assert len(VERTEBRAE) <= 8, "the session, the viewer and its scripts hold one bit per vertebra in one byte per pixel"
_ALL_BITS = np.uint8((1 << len(VERTEBRAE)) - 1)


class BadRequest(BadInput):
    """The visitor asked for what cannot be done, such as a download before there are masks."""


def masks_to_bits(masks: Masks) -> Bits:
    """One byte per pixel."""
    bits = np.zeros(masks.shape[1:], np.uint8)
    for k, mask in enumerate(masks):
        bits |= mask.view(np.uint8) << k
    return bits


def bits_to_masks(bits: Bits) -> Masks:
    """The inverse of `masks_to_bits`."""
    return np.stack([(bits & np.uint8(1 << k)) != 0 for k in range(len(VERTEBRAE))])


@dataclass(frozen=True)
class Correction:
    """Names that a visitor changed.

    shift: levels by which every name was moved caudally (1: the body called L1 becomes L2). dropped: vertebrae left
    out, by their index in the model's own masks.
    """

    shift: int = 0
    dropped: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return self != Correction()

    def moved(self, levels: int) -> Correction:
        """With every name moved further. Raises BadRequest where no vertebra would be left."""
        if abs(self.shift + levels) >= len(VERTEBRAE):
            raise BadRequest(texts.NO_VERTEBRA_LEFT)
        return replace(self, shift=self.shift + levels)

    def without(self, vertebra: int) -> Correction:
        """With the vertebra of this present name left out as well."""
        return replace(self, dropped=self.dropped | {vertebra - self.shift})

    def applied(self, bits: Bits) -> Bits:
        """The masks under their corrected names."""
        kept = bits & np.uint8(sum(1 << k for k in range(len(VERTEBRAE)) if k not in self.dropped))
        moved = kept << self.shift if self.shift >= 0 else kept >> -self.shift
        return moved & _ALL_BITS

    def source(self, vertebra: int) -> int | None:
        """Which of the model's vertebrae bears this name now; None if none does."""
        before = vertebra - self.shift
        return before if 0 <= before < len(VERTEBRAE) and before not in self.dropped else None

    def sentences(self, present: tuple[bool, ...]) -> tuple[str, ...]:
        """The correction in words, with the vertebrae that lost their name and the names that became empty.

        present: which vertebrae the model found.
        """
        kept = [k for k, found in enumerate(present) if found and k not in self.dropped]
        nameless = [VERTEBRAE[k] for k in kept if not 0 <= k + self.shift < len(VERTEBRAE)]
        empty = [name for k, name in enumerate(VERTEBRAE) if k - self.shift not in kept] if self.shift else []
        dropped = [VERTEBRAE[k] for k in sorted(self.dropped) if 0 <= k < len(VERTEBRAE)]
        named = ((texts.DROPPED, dropped), (texts.NAMELESS, nameless), (texts.EMPTY, empty))
        moved = (texts.names_moved(self.shift),) if self.shift else ()
        return (*moved, *(sentence.format(", ".join(names)) for sentence, names in named if names))
