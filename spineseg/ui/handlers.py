"""What the page does when something is pressed: plain functions, which keep nothing of a visitor between calls."""

from __future__ import annotations

import html
import io
import logging
import secrets
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from spineseg.film import BadInput, Film, Masks
from spineseg.labels import to_array
from spineseg.levels import LevelReport
from spineseg.ui.viewer import KEEP, Payload, show_film, show_masks

log = logging.getLogger("spineseg.ui")

GENERIC = "Something went wrong here, not with what you did; try again, or try another film."

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


@runtime_checkable
class Result(Protocol):
    """What the page needs of a `spineseg.predict.Prediction`; see there."""

    @property
    def masks(self) -> Masks:
        """Disjoint, at the film's size."""
        ...

    @property
    def levels(self) -> LevelReport:
        """What was found, and how sure that is."""
        ...

    @property
    def seconds(self) -> float:
        """Film to masks."""
        ...

    @property
    def device(self) -> str:
        """As torch calls it."""
        ...


@runtime_checkable
class Model(Protocol):
    """What the page needs of a `spineseg.predict.Segmenter`.

    Not imported from there: that imports torch, which takes seconds, and the page is up before that.
    """

    @property
    def device(self) -> str:
        """As torch calls it."""
        ...

    def __call__(self, film: Film, /) -> Result:
        """Segment one film."""
        ...


class NothingChosen(BadInput):
    """A button was pressed before there was anything to work on."""


@dataclass(frozen=True, eq=False)
class Opened:
    """One visitor's film, in that visitor's session only.

    token: names the film to the viewer, and is nothing but random. name: of an example; an upload's name stays in the
    browser.
    """

    film: Film
    token: str
    name: str | None = None

    def show(self, invert: bool) -> Payload:
        """The film for the viewer; inverted shows what the network will see."""
        return show_film(self.oriented(invert), self.token, self.name)

    def oriented(self, invert: bool) -> Film:
        """The film, turned over where it was stored the wrong way round."""
        return self.film.inverted() if invert else self.film


class Loading(Mapping[str, Model]):
    """Segmenters by name, loaded one after the other in a thread; asking for one waits until it is there."""

    def __init__(self, loaders: Mapping[str, Callable[[], Model]]) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._futures: dict[str, Future[Model]] = {name: pool.submit(load) for name, load in loaders.items()}
        pool.shutdown(wait=False)

    def __getitem__(self, name: str) -> Model:
        return self._futures[name].result()

    def __contains__(self, name: object) -> bool:
        return name in self._futures

    def __iter__(self) -> Iterator[str]:
        return iter(self._futures)

    def __len__(self) -> int:
        return len(self._futures)


def answers(function: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """The function, whose errors reach the browser as one sentence and the log without path, name or value."""

    @wraps(function)
    def answered(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        try:
            return function(*args, **kwargs)
        except BadInput as error:  # the page shows messages as HTML, and a header's text may be in this one
            message = html.escape(str(error), quote=False)
        except Exception as error:
            log.error("%s failed: %s", function.__name__, where(error))
            message = GENERIC
        raise gr.Error(message, print_exception=False)

    return answered


def where(error: BaseException) -> str:
    """Kind of error and the lines of code it came through; never its message, which may hold a path or a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


@dataclass(frozen=True)
class Handlers:
    """The page's actions.

    segmenters: by name, in the order offered. read: file -> film, raises BadInput. predict: name, film -> result, the
    only one that needs the device. examples: files shipped with the page.
    """

    segmenters: Mapping[str, Model]
    read: Callable[[Path], Film]
    predict: Callable[[str, Film], Result]
    examples: tuple[Path, ...] = ()

    @answers
    def status(self) -> str:
        """Which device the first model runs on, once it is loaded."""
        name, segmenter = next(iter(self.segmenters.items()))
        return f'<p class="status ready">Ready: {html.escape(name)} on {device(segmenter.device)}</p>'

    @answers
    def open_upload(self, upload: Mapping[str, Any] | None) -> tuple[Opened, Payload, str]:
        """An uploaded file becomes the session's film, and is gone from the disk."""
        path = uploaded(upload)
        return self._opened(Opened(take(path, self.read), path.name))

    @answers
    def open_example(self, index: int) -> tuple[Opened, Payload, str]:
        """One of the examples becomes the session's film."""
        path = self.examples[index]
        return self._opened(Opened(self.read(path), secrets.token_hex(12), path.stem))

    def _opened(self, opened: Opened) -> tuple[Opened, Payload, str]:
        rows, columns = opened.film.shape
        return opened, opened.show(False), f'<p class="facts">{rows} × {columns} px, not segmented yet</p>'

    @answers
    def show(self, opened: Opened | None, invert: bool) -> tuple[Payload | None, str]:
        """The film again without masks, after `invert` was switched."""
        if opened is None:
            return None, ""
        rows, columns = opened.film.shape
        return opened.show(invert), f'<p class="facts">{rows} × {columns} px, not segmented yet</p>'

    @answers
    def segment(self, opened: Opened | None, model: str, invert: bool) -> tuple[Payload, str]:
        """The session's film with its masks, and the line under it."""
        if opened is None:
            raise NothingChosen("Expected a film, got none (a film is forgotten after some minutes); choose one first")
        prediction = self._predict(opened.oriented(invert), model)
        payload = show_masks(opened.show(invert), prediction.masks, prediction.levels)
        return payload, summary(prediction, model)

    @answers
    def segment_file(self, film: Mapping[str, Any] | None, model: str = "", invert: bool = False) -> str:
        """Segment six vertebrae on one lateral lumbar radiograph. Not for diagnosis.

        Args:
            film: DICOM file
            model: name of a model on the page; empty for the first
            invert: True for a film stored the wrong way round

        Returns:
            .npy file, uint8, rows x columns x 7: L1, L2, L3, L4, L5, S1, background
        """
        read = take(uploaded(film), self.read)
        masks = self._predict(read.inverted() if invert is True else read, model).masks
        array = io.BytesIO()
        np.save(array, to_array(masks))
        return save_bytes_to_cache(array.getvalue(), "masks.npy", get_upload_folder())

    def _predict(self, film: Film, model: str) -> Result:
        name = model or next(iter(self.segmenters))
        if name not in self.segmenters:
            raise NothingChosen(f"Expected one of the models {', '.join(self.segmenters)}, got another; choose one")
        return self.predict(name, film)


def forget() -> tuple[dict[str, bool], None]:
    """Leaves the viewer as it is, but makes Gradio's own record of it and of the upload empty."""
    return KEEP, None


def uploaded(upload: Mapping[str, Any] | None) -> Path:
    """Where Gradio put an upload: inside its own folder, whatever a client claims.

    Raises NothingChosen where there is no such file.
    """
    if not upload or not isinstance(upload.get("path"), str):
        raise NothingChosen("Expected a film, got nothing; choose a DICOM file")
    path = Path(upload["path"]).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise NothingChosen("Expected a film, but it is no longer here; choose it again")
    return path


def take(path: Path, read: Callable[[Path], Film]) -> Film:
    """Reads a film and removes its file, whatever the outcome."""
    try:
        return read(path)
    finally:
        path.unlink(missing_ok=True)


def device(name: str) -> str:
    """A torch device as a person says it."""
    return "GPU" if name.startswith("cuda") else name.upper()


def summary(prediction: Result, model: str) -> str:
    """Size, model, device, seconds; then the verdict on the levels with its reasons."""
    rows, columns = prediction.masks.shape[1:]
    levels = prediction.levels
    facts = (
        f"{rows} × {columns} px",
        html.escape(model),
        device(prediction.device),
        f"{prediction.seconds:.1f} s",
    )
    verdict = "Levels sure" if levels.verdict == "sure" else "Levels unsure"
    return (
        f'<p class="facts"><span class="verdict {html.escape(levels.verdict)}">{verdict}</span>{" · ".join(facts)}</p>'
        + (f'<p class="reasons">{html.escape("; ".join(levels.reasons))}</p>' if levels.reasons else "")
    )
