"""What one visitor has open, and the shelf on which it waits between two presses: in memory, for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.levels import LevelReport
from spineseg.measure.errors import BoneMap
from spineseg.measure.measurements import Measurements, measure, sure_vertebrae
from spineseg.ui.compare import Comparison, compare
from spineseg.ui.correction import Bits, Correction, unpack


@dataclass(frozen=True, eq=False)
class Answer:
    """One set of masks over a film: a model's, or a reference that a visitor brought.

    raw: a model's probabilities, 0..255 for 0..1, on its own grid. bone_map: their sum, and where that grid lies on the
    film. remarks: what the label file said that masks cannot.
    """

    title: str
    bits: Bits
    levels: LevelReport | None = None
    seconds: float = 0.0
    device: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    raw: UInt8[np.ndarray, "vertebra grid_rows grid_columns"] | None = None
    bone_map: BoneMap | None = None
    remarks: tuple[str, ...] = ()

    @property
    def undecoded(self) -> bool:
        """Whether its model has no rules: what is worth seeing of it are its channels."""
        return self.card.get("decoder") == "none"

    @cached_property
    def present(self) -> tuple[bool, ...]:
        """Which vertebrae have any pixel."""
        seen = int(np.bitwise_or.reduce(self.bits, axis=None))
        return tuple(bool(seen >> k & 1) for k in range(len(VERTEBRAE)))


@dataclass(frozen=True, eq=False)
class Desk:
    """One visitor's film and what is known about it; never changed, only replaced.

    token: names the film to the viewer, and is nothing but random. name: of an example; an upload's name stays in the
    browser. inverted: the film was stored the wrong way round. found: the model's answer; other: what it is compared
    with.
    """

    film: Film
    token: str
    name: str | None = None
    inverted: bool = False
    found: Answer | None = None
    correction: Correction = field(default_factory=Correction)
    other: Answer | None = None

    @property
    def oriented(self) -> Film:
        """The film, turned over where it was stored the wrong way round."""
        return self.film.inverted() if self.inverted else self.film

    @cached_property
    def bits(self) -> Bits | None:
        """The model's masks under their corrected names."""
        return self.correction.applied(self.found.bits) if self.found else None

    @cached_property
    def measurements(self) -> Measurements | None:
        """Of the masks under their corrected names; names that a person moved count as sure."""
        if self.found is None or self.bits is None:
            return None
        sure = sure_vertebrae(self.found.levels) if self.found.levels and not self.correction.shift else VERTEBRAE
        return measure(unpack(self.bits), self.film.spacing, usable=sure, bone_map=self.found.bone_map)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Of the corrected masks with the other ones."""
        if self.found is None or self.bits is None or self.other is None:
            return None
        return compare(self.found.title, self.bits, self.other.title, self.other.bits, self.film.spacing)


@dataclass(eq=False)
class Place:
    """Where a session's desk lies; another press that replaces the desk replaces the place.

    reading: stands for the film that was last chosen, until it has been read.
    """

    desk: Desk | None
    until: float
    reading: object = None


class Shelf:
    """Desks by session, each forgotten after it was left alone, and soon after its tab was closed.

    Gradio's own State keeps what a closed tab left for an hour. keep_s: after the last press. leave_s: after the tab
    was closed (a phone that sleeps for a moment looks the same). most: desks at once; the one left alone longest goes.
    """

    def __init__(
        self, keep_s: float, leave_s: float = 60.0, most: int = 40, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.keep_s, self.leave_s, self.most, self._clock = keep_s, leave_s, most, clock
        self._places: dict[str, Place] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._places)

    def get(self, session: str) -> Place | None:
        """The session's place, which is then kept for the full time again; None once it is forgotten."""
        with self._lock:
            self._sweep()
            if place := self._places.get(session):
                place.until = self._clock() + self.keep_s
            return place

    def begin(self, session: str) -> object:
        """A film is about to be read; what to name it by in `finish`. The old desk stays until then."""
        with self._lock:
            self._sweep()
            if session not in self._places:
                self._store(session, None)
            place = self._places[session]
            place.until = self._clock() + self.keep_s
            place.reading = object()
            return place.reading

    def finish(self, session: str, reading: object, desk: Desk) -> bool:
        """The film that was read takes the place of the old one, whatever is still being worked out for that.

        False, and nothing done, if another film was chosen meanwhile.
        """
        with self._lock:
            self._sweep()
            place = self._places.get(session)
            if place is None or place.reading is not reading:
                return False
            self._store(session, desk)
            return True

    def put(self, session: str, place: Place | None, desk: Desk | None) -> bool:
        """Replace what lay at `place`; False, and nothing done, if another press has done so meanwhile."""
        with self._lock:
            self._sweep()
            if self._places.get(session) is not place:
                return False
            self._store(session, desk)
            return True

    def leave(self, session: str) -> None:
        """The session's tab was closed."""
        with self._lock:
            if place := self._places.get(session):
                place.until = min(place.until, self._clock() + self.leave_s)

    def sweep(self) -> None:
        """Forget what was left alone; called by itself now and then."""
        with self._lock:
            self._timer = None
            self._sweep()
            self._wake()

    def _store(self, session: str, desk: Desk | None) -> None:
        before = self._places.get(session)
        self._places[session] = Place(desk, self._clock() + self.keep_s, before and before.reading)
        while len(self._places) > self.most:
            del self._places[min(self._places, key=lambda key: self._places[key].until)]
        self._wake()

    def _sweep(self) -> None:
        now = self._clock()
        self._places = {session: place for session, place in self._places.items() if place.until > now}

    def _wake(self) -> None:
        """A timer only while there is something to forget."""
        if self._timer is None and self._places:
            self._timer = threading.Timer(min(self.keep_s, self.leave_s) / 2, self.sweep)
            self._timer.daemon = True
            self._timer.start()
