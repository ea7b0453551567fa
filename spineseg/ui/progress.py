"""What the page says while a film is read and segmented."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import gradio as gr

from spineseg.inference.views import VIEW_BEGINS
from spineseg.ui import texts

_Arguments = ParamSpec("_Arguments")
_Returned = TypeVar("_Returned")


def tells(key: str, function: Callable[_Arguments, _Returned]) -> Callable[_Arguments, _Returned]:
    """The function, while which the text of that key stands over the film; nothing where no visitor waits for it."""

    @wraps(function)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Returned:
        gr.Progress()(0.0, desc=getattr(texts, key))
        return function(*args, **kwargs)

    return wrapped


def tells_views(function: Callable[_Arguments, _Returned]) -> Callable[_Arguments, _Returned]:
    """A function that segments a film, while which the view that the network looks at is named."""

    def begins(view: int, count: int) -> None:
        if count > 1:
            gr.Progress()((view - 1) / count, desc=texts.SEGMENTING_VIEW.format(view=view, count=count))

    @wraps(function)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Returned:
        before = VIEW_BEGINS.set(begins)
        try:
            return function(*args, **kwargs)
        finally:
            VIEW_BEGINS.reset(before)

    return tells("SEGMENTING", wrapped)
