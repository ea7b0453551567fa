"""Films mended on the page, as a folder to train on: `app.py --collect DIR`.

A film is kept under a digest of its pixels, so that it is there once however often it is collected, and no name of a
visitor's file is needed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.data.check_masks import mask_findings
from spineseg.film import Film, Masks
from spineseg.io.folder import LABELS, add_film
from spineseg.ui import texts
from spineseg.ui.access import from_this_machine
from spineseg.ui.correction import BadRequest, bits_to_masks
from spineseg.ui.handlers import Handlers, with_user_errors
from spineseg.ui.language import translated
from spineseg.ui.session import SessionState
from spineseg.ui.uploads import discard, read_and_delete, uploaded

_DIGITS = 16
"""Of the digest, in a film's name."""


@dataclass(frozen=True)
class Collection:
    """folder: with img/ and label/, as training reads it. handlers: of the page. from_others: see `refuse_others`."""

    folder: Path
    handlers: Handlers
    from_others: bool = False

    @with_user_errors
    def refuse_others(self, headers: Mapping[str, str], sent: Mapping[str, Any]) -> None:
        """Raises BadRequest for a request that does not come from this machine, unless those are wanted too."""
        if not (self.from_others or from_this_machine(headers)):
            discard(sent.get("upload"))
            raise BadRequest(texts.NOT_FROM_OTHERS)

    @with_user_errors
    def collect(self, state: SessionState | None, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Put the film that the tab shows into the folder, with the masks as shown; what the viewer then says.

        sent: upload, of the film's file, which is deleted, unless the film is an example; where a person corrected the
        masks, what `Handlers.correct` takes.
        """
        add = partial(self._add, state, sent)
        if "upload" in sent:
            said = read_and_delete(uploaded(sent["upload"]), add)
        else:
            examples = (example.path for example in self.handlers.examples)
            said = add(next((path for path in examples if state and path.stem == state.name), None))
        return {"film": sent.get("film"), "collected": said}

    def _add(self, state: SessionState | None, sent: Mapping[str, Any], path: Path | None) -> str:
        if state is not None and "masks" in sent:
            state = self.handlers.correct(state, sent)
        elif state is not None and state.token != sent.get("film"):
            state = None  # another film was opened meanwhile
        if state is None or state.forgotten or path is None:
            raise BadRequest(texts.NO_FILM_TO_DOWNLOAD)
        return add_to(self.folder, state, path, self.handlers.read)


def add_to(folder: Path, state: SessionState, path: Path, read: Callable[[Path], Film]) -> str:
    """Add a film's file and its masks to the folder; the sentence that says so, and what `check` would warn of.

    Raises BadInput where it was not added.
    """
    masks = masks_to_train_on(state)
    name = SessionState(film_as_shown(state, read, path), "").digest[:_DIGITS]
    try:
        known = add_film(folder, name, path, masks)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BadRequest(texts.FOLDER_FULL if full else texts.FOLDER_NOT_WRITTEN) from None
    said = (texts.COLLECTED_AGAIN if known else texts.COLLECTED).format(sum(1 for _ in (folder / LABELS).glob("*.mat")))
    warnings = [translated(finding.sentence) for finding in mask_findings("", masks)]
    return " ".join([said, *(texts.LOOK_AGAIN.format(warning) for warning in warnings[:1])])


def masks_to_train_on(state: SessionState) -> Masks:
    """The masks as shown. Raises BadRequest where there are none, or `check` would find an error in them."""
    if state.bits is None or state.held_back:
        raise BadRequest(texts.NO_MASKS_TO_DOWNLOAD)
    masks = bits_to_masks(state.bits)
    errors = [finding.sentence for finding in mask_findings("", masks) if finding.severity == "error"]
    if errors:
        raise BadRequest(errors[0])
    return masks


def film_as_shown(state: SessionState, read: Callable[[Path], Film], path: Path) -> Film:
    """The film of a file. Raises BadInput unless it is the one shown, with bright bone, as training reads it."""
    film, shown = read(path), state.shown_film.image
    if np.array_equal(film.image, shown):
        return film
    if np.array_equal(film.inverted().image, shown):
        raise BadRequest(texts.DARK_BONE)
    raise BadRequest(texts.BAD_MASKS)
