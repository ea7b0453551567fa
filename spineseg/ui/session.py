"""What one visitor has open, and the store that keeps it in memory between two requests, for minutes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.corners import KeptFits
from spineseg.inference.levels import LevelReport
from spineseg.inference.verdict import NOT_LUMBAR
from spineseg.measure.errors import BoneMap
from spineseg.measure.measurements import Measurements, measure, sure_vertebrae
from spineseg.ui import texts
from spineseg.ui.compare import LEAST_FIT, NOTHING, SHOWN, Comparison, compare, fit
from spineseg.ui.correction import Bits, Changes, bits_to_masks, changes
from spineseg.ui.values import Coding, coding_of


@dataclass(frozen=True, eq=False)
class MaskLayer:
    """One set of masks over a film: a model's, or a reference that the visitor uploaded.

    levels: None for a reference. probabilities: 0..255 for 0..1, on the model's grid. bone_map: their sum, and where
    that grid lies on the film. remarks: what the label file said that masks cannot. beyond: run lengths of the
    bodies that have no name, by their level (`Prediction.beyond`).
    """

    title: str
    bits: Bits
    levels: LevelReport | None = None
    seconds: float = 0.0
    device: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    probabilities: UInt8[np.ndarray, "vertebra grid_rows grid_columns"] | None = None
    bone_map: BoneMap | None = None
    remarks: tuple[str, ...] = ()
    beyond: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @property
    def undecoded(self) -> bool:
        """Whether its model has no decoder, so that its probability maps say more than its masks."""
        return self.card.get("decoder") == "none"

    @cached_property
    def present(self) -> tuple[bool, ...]:
        """Which vertebrae have any pixel."""
        seen = int(np.bitwise_or.reduce(self.bits, axis=None))
        return tuple(bool(seen >> k & 1) for k in range(len(VERTEBRAE)))


@dataclass(frozen=True, eq=False)
class SessionState:
    """One visitor's film and what is known about it; never changed, only replaced.

    token: names the film to the viewer, at random. name: of an example; the name of an upload stays in the browser.
    film: as the first model decided to see it (`Prediction.seen`); remarks: what it said of that. inverted: the visitor
    turned it over. layer: the model's masks. corrected: the masks that a person made of them. shown_anyway: the visitor
    asked for the masks of a picture that does not look like a lateral lumbar radiograph. forgotten: only the browser
    has the film, whose image is 0 here. no_segmentation: why no DICOM segmentation can refer to the film's file, ""
    where one can. fits: bodies found so far.
    sides: what is compared, A and B, see `compare.SHOWN`. others: masks of further models, by name. references: masks
    that the visitor uploaded, by choice; refusals: why the file that was uploaded last is none.
    """

    film: Film
    token: str
    name: str | None = None
    inverted: bool = False
    layer: MaskLayer | None = None
    corrected: Bits | None = None
    remarks: tuple[str, ...] = ()
    shown_anyway: bool = False
    forgotten: bool = False
    no_segmentation: str = ""
    fits: KeptFits = field(default_factory=KeptFits)
    sides: tuple[str, str] = (SHOWN, NOTHING)
    others: Mapping[str, MaskLayer] = field(default_factory=dict)
    references: Mapping[str, MaskLayer] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown_film(self) -> Film:
        """The film with bright bone."""
        return self.film.as_told(invert=True) if self.inverted else self.film

    @cached_property
    def digest(self) -> str:
        """Of the film's size and values, by which the browser knows it again."""
        rows, columns = self.film.shape
        digest = hashlib.blake2b(f"{rows} {columns} ".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.film.image).data)
        return digest.hexdigest()

    @cached_property
    def coding(self) -> Coding:
        """How the film's values are sent to the browser."""
        return coding_of(self.film.image)

    @property
    def held_back(self) -> bool:
        """Whether masks are there that nobody has asked to see."""
        if self.layer is None or self.layer.levels is None or self.corrected is not None:
            return False
        return self.layer.levels.verdict == NOT_LUMBAR and not self.shown_anyway

    @property
    def bits(self) -> Bits | None:
        """The masks as a person corrected them, else the model's."""
        return self.corrected if self.corrected is not None or self.layer is None else self.layer.bits

    @cached_property
    def changes(self) -> Changes | None:
        """What a person changed; None where nothing was, or where the model's masks are not known here."""
        if self.corrected is None or self.layer is None:
            return None
        return changes(self.layer.bits, self.corrected, self.layer.beyond)

    @property
    def renumbered(self) -> bool:
        """Whether a person moved a name, so that the verdict on the model's numbering is not one on that shown."""
        return self.changes is not None and bool(self.changes.renamed)

    @cached_property
    def measurements(self) -> Measurements | None:
        """Of the masks as corrected. Vertebrae that a person named or drew count as sure."""
        if self.bits is None or self.held_back:
            return None
        layer, changed = self.layer, self.changes
        sure = sure_vertebrae(layer.levels) if layer and layer.levels else frozenset(VERTEBRAE)
        return measure(
            bits_to_masks(self.bits),
            self.film.spacing,
            row_to_column=self.film.row_to_column,
            usable=sure.union(changed.settled if changed else ()),
            bone_map=layer.bone_map if layer else None,
            drawn=changed.drawn if changed else (),
            fit=self.fits,
        )

    def side(self, choice: str) -> MaskLayer | None:
        """The masks of a choice; None where there are none, or where nobody has asked to see them."""
        if choice == SHOWN:
            return self._as_shown
        layer = self.layer if self.layer and self.layer.title == choice else self.others.get(choice)
        if layer is None:
            return self.references.get(choice)
        turned_away = layer.levels is not None and layer.levels.verdict == NOT_LUMBAR
        return None if turned_away and not self.shown_anyway else layer

    @cached_property
    def _as_shown(self) -> MaskLayer | None:
        """The film's masks with what a person changed."""
        if self.layer is None or self.bits is None or self.held_back:
            return None
        if self.corrected is None:
            return self.layer
        return replace(self.layer, title=texts.AS_CORRECTED.format(self.layer.title), bits=self.bits)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Of side A with side B."""
        a, b = map(self.side, self.sides)
        if a is None or b is None or self.sides[0] == self.sides[1]:
            return None
        found = compare(a.title, a.bits, b.title, b.bits, self.film)
        return replace(found, strangers=self._strangers()) if found.apart else found

    def _strangers(self) -> tuple[str, ...]:
        """Titles of the references compared that fit no model's masks of this film."""
        models = [layer for layer in (self.layer, *self.others.values()) if layer and self.side(layer.title)]
        chosen = [self.references[choice] for choice in self.sides if choice in self.references]
        found = {
            layer.title: [fit(layer.bits, model.bits) for model in models if any(model.present)] for layer in chosen
        }
        return tuple(title for title, fits in found.items() if fits and max(fits) < LEAST_FIT)


@dataclass(eq=False)
class Entry:
    """A session's state in the store. Each replacement is a new entry, so an entry also tells one state from the next.

    expires: on the store's clock, in seconds. opening: identifies the film that was last chosen, until it is read.
    """

    state: SessionState | None
    expires: float
    opening: object = None


class SessionStore:
    """States by session, each forgotten when it was not used for a while, and soon after its tab was closed.

    Gradio's own State keeps what a closed tab left for an hour. idle_s: from the last use. closed_s: from the closing
    of the tab (a phone that sleeps for a moment looks the same). most: states at once; the one to expire first goes.
    """

    def __init__(
        self, idle_s: float, closed_s: float = 60.0, most: int = 40, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.idle_s, self.closed_s, self.most, self._clock = idle_s, closed_s, most, clock
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, session: str) -> Entry | None:
        """The session's entry, whose time starts anew; None once it is forgotten."""
        with self._lock:
            self._drop_expired()
            if entry := self._entries.get(session):
                entry.expires = self._clock() + self.idle_s
            return entry

    def begin_opening(self, session: str) -> object:
        """A film is about to be read, and the old one stays until then; returns what `finish_opening` takes."""
        with self._lock:
            self._drop_expired()
            if session not in self._entries:
                self._store(session, None)
            entry = self._entries[session]
            entry.expires = self._clock() + self.idle_s
            entry.opening = object()
            return entry.opening

    def finish_opening(self, session: str, opening: object, state: SessionState) -> bool:
        """The film was read and replaces the old one; False, and nothing done, if another was chosen meanwhile."""
        with self._lock:
            self._drop_expired()
            entry = self._entries.get(session)
            if entry is None or entry.opening is not opening:
                return False
            self._store(session, state)
            return True

    def replace(self, session: str, entry: Entry | None, state: SessionState | None) -> bool:
        """Replace `entry`; False, and nothing done, if another request has replaced it meanwhile."""
        with self._lock:
            self._drop_expired()
            if self._entries.get(session) is not entry:
                return False
            self._store(session, state)
            return True

    def close_tab(self, session: str) -> None:
        """The session's tab was closed."""
        with self._lock:
            if entry := self._entries.get(session):
                entry.expires = min(entry.expires, self._clock() + self.closed_s)

    def drop_expired(self) -> None:
        """Forget what has expired; a timer calls it."""
        with self._lock:
            self._timer = None
            self._drop_expired()
            self._start_timer()

    def _store(self, session: str, state: SessionState | None) -> None:
        before = self._entries.get(session)
        self._entries[session] = Entry(state, self._clock() + self.idle_s, before and before.opening)
        while len(self._entries) > self.most:
            del self._entries[min(self._entries, key=lambda key: self._entries[key].expires)]
        self._start_timer()

    def _drop_expired(self) -> None:
        now = self._clock()
        self._entries = {session: entry for session, entry in self._entries.items() if entry.expires > now}

    def _start_timer(self) -> None:
        """Runs only while there is something to forget."""
        if self._timer is None and self._entries:
            self._timer = threading.Timer(min(self.idle_s, self.closed_s) / 2, self.drop_expired)
            self._timer.daemon = True
            self._timer.start()
