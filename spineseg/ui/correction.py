"""Masks as one byte per pixel, and what a person changed in those of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

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


def shifted(bits: Bits, levels: int) -> Bits:
    """Names moved caudally by that many levels (1: the body called L1 becomes L2); what has no name left is gone."""
    return (bits << levels if levels >= 0 else bits >> -levels) & _ALL_BITS


def runs_of(mask: Bool[np.ndarray, "rows columns"]) -> list[int]:
    """How many pixels lie outside, inside, outside ... in reading order, as the viewer has it (`runsOf`)."""
    edges = np.flatnonzero(np.diff(mask.ravel().view(np.int8), prepend=0, append=0))
    return np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()


@dataclass(frozen=True)
class Changes:
    """What a person changed in a model's masks.

    sources: for each name, which of the model's vertebrae bears it now, by its level (-1, or one too many, for one that
    had no name); None for one drawn by hand and for none.
    by_hand: for each name, whether it has pixels that are not just those of its source. found: the vertebrae of the
    model.
    """

    sources: tuple[int | None, ...]
    by_hand: tuple[bool, ...]
    found: tuple[bool, ...]

    @cached_property
    def drawn(self) -> tuple[str, ...]:
        """Names whose outline a person drew or changed."""
        return tuple(name for name, drawn in zip(VERTEBRAE, self.by_hand, strict=True) if drawn)

    @cached_property
    def renamed(self) -> tuple[str, ...]:
        """Names that a person gave to another of the model's vertebrae."""
        return tuple(VERTEBRAE[k] for k, source in enumerate(self.sources) if source not in (None, k))

    @cached_property
    def settled(self) -> tuple[str, ...]:
        """Names that a person gave: to another outline, or to another of the model's vertebrae."""
        return tuple(dict.fromkeys([*self.drawn, *self.renamed]))

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Vertebrae of the model that are in none, by the model's names."""
        return tuple(VERTEBRAE[j] for j, found in enumerate(self.found) if found and j not in self.sources)

    @cached_property
    def shift(self) -> int:
        """Levels by which all names were moved caudally; 0 where they did not move alike."""
        moves = {k - source for k, source in enumerate(self.sources) if source is not None}
        return moves.pop() if len(moves) == 1 else 0

    @property
    def sentences(self) -> tuple[str, ...]:
        """The changes in words."""
        absent = [not drawn and source is None for drawn, source in zip(self.by_hand, self.sources, strict=True)]
        nameless = [name for name in self.left_out if not 0 <= VERTEBRAE.index(name) + self.shift < len(VERTEBRAE)]
        named = (
            (texts.RENAMED, self._renamed),
            (texts.CHANGED, [name for name in self.drawn if self.sources[VERTEBRAE.index(name)] is not None]),
            (texts.DRAWN, [name for name in self.drawn if self.sources[VERTEBRAE.index(name)] is None]),
            (texts.DROPPED, [name for name in self.left_out if name not in nameless]),
            (texts.NAMELESS, nameless),
            (texts.EMPTY, [name for name, empty in zip(VERTEBRAE, absent, strict=True) if empty and self.shift]),
        )
        moved = (texts.names_moved(self.shift),) if self.shift else ()
        return (*moved, *(sentence.format(", ".join(names)) for sentence, names in named if names))

    @property
    def _renamed(self) -> list[str]:
        """Each vertebra that moved by another number of levels than all."""
        pairs = [] if self.shift else [(k, j) for k, j in enumerate(self.sources) if j is not None and j != k]
        return [texts.NAME_AND_FORMER.format(VERTEBRAE[k], former_name(j)) for k, j in pairs]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = zip(VERTEBRAE, self.sources, self.by_hand, strict=True)
        return {
            "in words": self.sentences,
            "names moved down the spine by": self.shift,
            "left out (the model's names)": self.left_out,
            "vertebrae": {
                name: {"model's name": j if j is None else former_name(j), "outline": "by hand" if hand else "model"}
                for name, j, hand in rows
                if hand or j is not None
            },
        }


def former_name(source: int) -> str:
    """What the model called one of its vertebrae."""
    return VERTEBRAE[source] if 0 <= source < len(VERTEBRAE) else texts.NO_NAME


def changes(model: Bits, corrected: Bits, beyond: Mapping[int, Sequence[int]] | None = None) -> Changes:
    """What turns the model's masks into the corrected ones, both disjoint.

    A name's source is the vertebra of the model that it shares most pixels with, and that shares most with it.
    beyond: run lengths of the model's vertebrae that have no name, by their level.
    """
    beyond = beyond or {}
    levels = [*range(len(VERTEBRAE)), *beyond]
    shared = _shared(model, corrected, list(beyond.values()))
    areas, found = shared.sum(1)[1:], shared.sum(0)[1:]
    inner = shared[1:, 1:]
    best = inner.argmax(1)
    mutual = [inner[k, j] > 0 and inner[:, j].argmax() == k for k, j in enumerate(best)]
    sources = tuple(levels[j] if both else None for j, both in zip(best, mutual, strict=True))
    same = [both and inner[k, j] == areas[k] == found[j] for k, (j, both) in enumerate(zip(best, mutual, strict=True))]
    by_hand = tuple(bool(area) and not equal for area, equal in zip(areas, same, strict=True))
    return Changes(sources, by_hand, tuple(map(bool, found[: len(VERTEBRAE)])))


def _shared(model: Bits, corrected: Bits, beyond: Sequence[Sequence[int]]) -> Int[np.ndarray, "corrected model"]:
    """How many pixels each pair has in common; 0 is the background, vertebra k is k + 1, those beyond come last."""
    named = len(VERTEBRAE) + 1
    count = named + len(beyond)
    number = np.zeros(256, np.uint8)
    number[[1 << k for k in range(len(VERTEBRAE))]] = np.arange(1, named)
    modelled, after = number[model.ravel()], number[corrected.ravel()]
    for n, runs in enumerate(beyond):
        modelled[np.repeat(np.arange(len(runs)) % 2 == 1, runs)] = named + n
    either = np.flatnonzero(modelled | after)
    pairs = after[either].astype(np.intp) * count + modelled[either]
    return np.bincount(pairs, minlength=named * count).reshape(named, count)
