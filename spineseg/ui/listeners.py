"""What Gradio calls: each takes the session's state to a handler, stores the new one and answers the components."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from spineseg.ui import texts
from spineseg.ui.compare import NOTHING, SHOWN
from spineseg.ui.handlers import Handlers
from spineseg.ui.panels import panels
from spineseg.ui.session import Entry, SessionState, SessionStore
from spineseg.ui.uploads import discard
from spineseg.ui.viewer import UNCHANGED, after_correction, in_language, update

_SAME_PANELS: tuple[Any, ...] = tuple(gr.skip() for _ in range(3))
_NOTHING_NEW: tuple[Any, ...] = (UNCHANGED, *(gr.skip() for _ in range(6)))
"""Viewer, panels, inversion and both sides of the comparison as they are."""


def state_of(entry: Entry | None, opening: SessionState | None, shown: object) -> SessionState | None:
    """The session's state; else the film that the page opens with, where the tab shows that one or nothing yet."""
    if entry and entry.state:
        return entry.state
    return opening if opening and shown in ("", opening.token) else None


def on_session(
    store: SessionStore,
    handler: Callable[..., SessionState | None],
    opening: SessionState | None = None,
    *,
    silent: bool = False,
    of_shown: bool = False,
    more: Callable[[SessionState | None], tuple[Any, ...]] = lambda state: (),
) -> Callable[..., tuple[Any, ...]]:
    """A Gradio listener that hands the session's state to `handler` and stores the state that it returns.

    Returns the viewer's payload, the panels, and what `more` makes of the state. Where another request changed the
    state meanwhile, the result is dropped, with an error unless `silent`. A handler that returns the same state changes
    nothing. Of a film that is not here any more the viewer is told so. The listener's first input is the token of the
    film that the tab shows. of_shown: do nothing where the session holds another film, which the tab is yet to show.
    """

    def listener(request: gr.Request, shown: Any, *inputs: Any) -> tuple[Any, ...]:
        session = session_of(request)
        entry = store.get(session)
        before = state_of(entry, opening, shown)
        another = of_shown and before is not None and shown not in ("", before.token)
        if another or (before is None and shown):
            for each in inputs:
                discard(each)
            return UNCHANGED if another else {"film": shown, "lost": True}, *_SAME_PANELS, *more(None)
        after = handler(before, *inputs)
        if after is before:
            return UNCHANGED, *_SAME_PANELS, *more(after)
        overtaken = not store.replace(session, entry, after)
        if overtaken and silent:
            return UNCHANGED, *_SAME_PANELS
        if overtaken:
            raise gr.Error(texts.OVERTAKEN, print_exception=False)
        return update(before, after), *panels(after), *more(after)

    return listener


def on_shown(
    store: SessionStore,
    handler: Callable[[SessionState | None, Mapping[str, Any]], dict[str, Any]],
    opening: SessionState | None,
) -> Callable[..., dict[str, Any]]:
    """A Gradio listener that hands `handler` the film that the tab shows and what its script sent; it keeps nothing."""

    def listener(request: gr.Request, event: gr.EventData) -> dict[str, Any]:
        sent, entry = sent_by(event), store.get(session_of(request))
        return handler(state_of(entry, opening, sent.get("film")), sent)

    return listener


def on_language(store: SessionStore, opening: SessionState | None) -> Callable[..., tuple[Any, ...]]:
    """A Gradio listener that says once more what Python wrote of the film that the tab shows: another language is read.

    Returns the viewer's payload and the panels. Of a film that is not here any more nothing can be said anew.
    """

    def listener(request: gr.Request, shown: Any = "") -> tuple[Any, ...]:
        state = state_of(store.get(session_of(request)), opening, shown)
        if state is None and shown:
            return UNCHANGED, *_SAME_PANELS
        return in_language(state), *panels(state)

    return listener


def correct_on_session(
    store: SessionStore,
    handlers: Handlers,
    session: str,
    sent: Mapping[str, Any],
    opening: SessionState | None = None,
) -> tuple[Any, ...]:
    """Take a person's masks over whatever else changed meanwhile; returns the viewer's payload and the panels.

    sent: what `Handlers.correct` takes, and asked, by which the viewer knows the answer.

    Of a film that is not here any more nothing is kept.
    """
    while True:
        entry = store.get(session)
        after = handlers.correct(state_of(entry, opening, sent.get("film")), sent)
        if after.forgotten or store.replace(session, entry, after):
            return {**after_correction(after), "film": sent.get("film"), "asked": sent.get("asked")}, *panels(after)


def on_new_film(store: SessionStore, handler: Callable[..., SessionState]) -> Callable[..., tuple[Any, ...]]:
    """A Gradio listener whose handler opens a film, which replaces the old one unless another was chosen meanwhile.

    Returns the viewer's payload, the panels, and the reset values of inversion and of both sides of the comparison.
    """

    def listener(request: gr.Request, *inputs: Any) -> tuple[Any, ...]:
        session = session_of(request)
        entry, opening = store.get(session), store.begin_opening(session)
        before = entry.state if entry else None
        after = handler(before, *inputs)
        if not store.finish_opening(session, opening, after):
            return _NOTHING_NEW
        return update(before, after), *panels(after), False, SHOWN, NOTHING

    return listener


def on_upload(store: SessionStore, handlers: Handlers) -> Callable[..., tuple[Any, ...]]:
    """`on_new_film` of an upload, and the upload field's value: the sentence why the file was refused, or None."""

    def listener(request: gr.Request, upload: Any) -> tuple[Any, ...]:
        session_of(request)  # one without is no refusal of the file
        try:
            return *on_new_film(store, handlers.open_upload)(request, upload), None
        except gr.Error as refusal:
            return *_NOTHING_NEW, {"refused": html.unescape(refusal.message), "token": _token_of(upload)}

    return listener


def _token_of(upload: Any) -> str | None:
    """The random name under which a file is stored, by which the browser knows which of its files it is."""
    path = upload.get("path") if isinstance(upload, Mapping) else None
    return re.split(r"[\\/]", path)[-1] if isinstance(path, str) else None


def session_of(request: gr.Request) -> str:
    """A random name that Gradio gives each open tab; a request without one would share another's film."""
    session = request.session_hash
    if not isinstance(session, str) or not re.fullmatch("[0-9A-Za-z-]{6,64}", session):
        raise gr.Error(texts.NO_SESSION, print_exception=False)
    return session


def sent_by(event: gr.EventData) -> Mapping[str, Any]:
    """What a script sent with its event; nothing where a program sent something else."""
    return event._data if isinstance(event._data, Mapping) else {}
