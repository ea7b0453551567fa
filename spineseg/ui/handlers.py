"""What the page does when something is pressed: plain functions from desk to desk, which keep nothing themselves."""

from __future__ import annotations

import html
import io
import logging
import secrets
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from spineseg.film import BadInput, Film
from spineseg.inference.prediction import Prediction
from spineseg.io.labels import Label, to_array
from spineseg.measure.measurements import bone_map_of
from spineseg.ui import panels, takeaway
from spineseg.ui.correction import Correction, NothingChosen, pack
from spineseg.ui.models import Model, device
from spineseg.ui.session import Answer, Desk
from spineseg.ui.uploads import take, uploaded

log = logging.getLogger("spineseg.ui")
GENERIC = "Something went wrong here, not with what you did; try again, or try another film."
NOTHING, REFERENCE = "", "reference"
"""What a film may be compared with, beside the names of models."""
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def answers(function: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """The function, whose errors reach the browser as one sentence and the log without path, name or value."""

    @wraps(function)
    def answered(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            message = sentence(error, function.__name__)
        raise gr.Error(html.escape(message, quote=False), print_exception=False)  # shown as HTML

    return answered


def sentence(error: Exception, doing: str) -> str:
    """What a person is told; what nobody foresaw is logged."""
    if isinstance(error, BadInput):
        return str(error)
    log.error("%s failed: %s", doing, where(error))
    return GENERIC


def where(error: BaseException) -> str:
    """Kind of error and the lines of code it came through; never its message, which may hold a path or a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


@dataclass(frozen=True)
class Handlers:
    """The page's actions.

    segmenters: by name, in the order offered. read: file -> film, read_label: file and size -> label; both raise
    BadInput. predict: name, film -> result, the only one that needs the device. examples: files shipped with the page.
    """

    segmenters: Mapping[str, Model]
    read: Callable[[Path], Film]
    read_label: Callable[[Path, tuple[int, int]], Label]
    predict: Callable[[str, Film], Prediction]
    examples: tuple[Path, ...] = ()

    def status(self) -> str:
        """Which device the first model runs on, once it is loaded; or why it is not."""
        name = next(iter(self.segmenters))
        try:
            on = device(self.segmenters[name].device)
        except Exception as error:
            return f'<p class="status failed">{panels.escaped(name)}: {panels.escaped(sentence(error, "status"))}</p>'
        return f'<p class="status ready">Ready: {panels.escaped(name)} on {on}</p>'

    @answers
    def about(self, model: str) -> str:
        """What the chosen model's card says."""
        name = self._known(model)
        segmenter = self.segmenters[name]
        return panels.about(name, asdict(segmenter.card), segmenter.device)

    @answers
    def open_upload(self, desk: Desk | None, upload: Mapping[str, Any] | None) -> Desk:
        """An uploaded file becomes the session's film, and is gone from the disk."""
        path = uploaded(upload)
        return Desk(take(path, self.read), path.name)

    @answers
    def open_example(self, desk: Desk | None, index: int) -> Desk:
        """One of the examples becomes the session's film."""
        path = self.examples[index]
        return Desk(self.read(path), secrets.token_hex(12), path.stem)

    @answers
    def turn(self, desk: Desk | None, inverted: bool) -> Desk | None:
        """The film the other way round, for now without masks; a reference stays."""
        return desk and _turned(desk, inverted)

    @answers
    def segment(self, desk: Desk | None, model: str, inverted: bool, against: str | None) -> Desk:
        """The model's masks under its own names, and those of the model that it is compared with.

        An answer that is there is not worked out again.
        """
        if desk is None:
            raise NothingChosen("Expected a film, got none; choose one first")
        if desk.inverted != inverted:
            desk = _turned(desk, inverted)
        name = self._known(model)
        found = desk.found if desk.found and desk.found.title == name else self._answer(desk, name)
        return self._compared(replace(desk, found=found, correction=Correction()), against)

    def show(self, desk: Desk | None, model: str, inverted: bool, against: str | None) -> Desk | None:
        """`segment` where there is a film: what follows on opening one, turning it over or choosing a model."""
        return desk and self.segment(desk, model, inverted, against)

    @answers
    def compare(self, desk: Desk | None, against: str | None) -> Desk | None:
        """Nothing, a reference that is still to be uploaded, or another model's masks beside the first one's."""
        return desk and self._compared(desk, against)

    def _compared(self, desk: Desk, against: str | None) -> Desk:
        other = desk.other
        reference = other is not None and other.levels is None
        if against == REFERENCE:
            return replace(desk, other=other if reference else None)
        if not against or desk.found is None:
            return replace(desk, other=None)
        if other is not None and not reference and other.title == against:
            return desk
        return replace(desk, other=self._answer(desk, against))

    @answers
    def open_reference(self, desk: Desk | None, upload: Mapping[str, Any] | None) -> Desk:
        """An uploaded label, of the film's own size, to compare with; it is gone from the disk."""
        path = uploaded(upload, "a label")
        if desk is None:
            path.unlink(missing_ok=True)
            raise NothingChosen("Expected a film before its reference, got none; choose the film first")
        label = take(path, partial(self._label, shape=desk.film.shape))
        return replace(desk, other=Answer("reference", pack(label.masks), remarks=label.remarks))

    def _label(self, path: Path, shape: tuple[int, int]) -> Label:
        return self.read_label(path, shape)

    @answers
    def correct(self, desk: Desk | None, action: str, vertebra: int | None = None) -> Desk:
        """Every name one level lower or higher, one vertebra left out, or all of it undone."""
        if desk is None or desk.found is None:
            raise NothingChosen("Expected a segmented film, got none; press Segment first")
        if action in ("lower", "higher"):
            return replace(desk, correction=desk.correction.moved(1 if action == "lower" else -1))
        if action == "drop" and isinstance(vertebra, int):
            return replace(desk, correction=desk.correction.without(vertebra))
        return replace(desk, correction=Correction())

    @answers
    def take_away(self, desk: Desk | None, kind: str) -> dict[str, Any]:
        """A file for the viewer to save; see `takeaway.KINDS`."""
        if desk is None:
            raise NothingChosen("Expected a segmented film, got none; open it again and press Segment")
        return {"film": desk.token, "file": takeaway.file(desk, kind)}

    def one_of_several(self, upload: Mapping[str, Any] | None, model: str, inverted: bool) -> dict[str, Any]:
        """One film's entries of a ZIP, or the sentence why there are none; the others go on."""
        token = (upload or {}).get("orig_name")
        try:
            film = take(uploaded(upload), self.read)
            desk = Desk(film, "", inverted=inverted)
            desk = replace(desk, found=self._answer(desk, model))
            return {"token": token, **_row(desk), "entries": [takeaway.zip_entry(desk, k) for k in takeaway.SEVERAL]}
        except Exception as error:
            return {"token": token, "error": sentence(error, "one_of_several")}

    @answers
    def segment_file(self, film: Mapping[str, Any], model: str = "", invert: bool = False) -> str:
        """Segment L1 to L5 and S1 on a lateral lumbar radiograph; for research, not for diagnosis.

        Args:
            film: DICOM file
            model: name of a model on the page; empty for the first
            invert: True for a film stored the wrong way round

        Returns:
            .npy file, uint8, rows x columns x 7: L1, L2, L3, L4, L5, S1, background
        """
        read = take(uploaded(film), self.read)
        masks = self.predict(self._known(model), read.inverted() if invert is True else read).masks
        array = io.BytesIO()
        np.save(array, to_array(masks))
        return save_bytes_to_cache(array.getvalue(), "masks.npy", get_upload_folder())

    def _known(self, model: str) -> str:
        name = model or next(iter(self.segmenters))
        if name not in self.segmenters:
            raise NothingChosen(f"Expected one of the models {', '.join(self.segmenters)}, got another; choose one")
        return name

    def _answer(self, desk: Desk, model: str) -> Answer:
        """A model's masks with all that the page says of them."""
        name = self._known(model)
        result = self.predict(name, desk.oriented)
        return Answer(
            name,
            pack(result.masks),
            result.levels,
            result.seconds,
            result.device,
            asdict(self.segmenters[name].card),
            np.rint(result.probabilities * 255).astype(np.uint8),
            bone_map_of(result),
        )


def _turned(desk: Desk, inverted: bool) -> Desk:
    kept = desk.other if desk.other and desk.other.levels is None else None
    return replace(desk, inverted=inverted, found=None, correction=Correction(), other=kept)


def _row(desk: Desk) -> dict[str, Any]:
    """A film's line in the table of several films."""
    assert desk.found is not None and desk.found.levels is not None
    levels = desk.found.levels
    return {
        "rows": desk.film.shape[0],
        "columns": desk.film.shape[1],
        "verdict": levels.verdict,
        "reasons": "; ".join(levels.reasons),
        "present": levels.present,
        "seconds": round(desk.found.seconds, 2),
    }
