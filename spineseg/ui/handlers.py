"""What the page does on each event: plain functions from one session state to the next, which keep nothing."""

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
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from spineseg.film import BadInput, Film
from spineseg.inference.prediction import Prediction
from spineseg.io.dicom_seg import obstacle
from spineseg.io.label_readers import OTHER_FILM
from spineseg.io.labels import Label, to_array
from spineseg.measure.measurements import bone_map_of, measure_prediction
from spineseg.ui import downloads, panels, texts
from spineseg.ui.compare import NOTHING, REFERENCES, SHOWN
from spineseg.ui.correction import BadRequest, masks_to_bits, runs_of
from spineseg.ui.examples import PUBLISHED, Example
from spineseg.ui.films_table import table_row
from spineseg.ui.language import ENGLISH, speaking, translated
from spineseg.ui.sent_masks import sent_bits, sent_film
from spineseg.ui.session import MaskLayer, SessionState
from spineseg.ui.uploads import read_and_delete, uploaded
from spineseg.ui.values import encoded_part, parts

log = logging.getLogger("spineseg.ui")
_Arguments = ParamSpec("_Arguments")
_Returned = TypeVar("_Returned")


@runtime_checkable
class Model(Protocol):
    """What the page needs of a `Segmenter`, whose module imports torch, which takes seconds."""

    @property
    def device(self) -> str:
        """As torch calls it."""
        ...

    @property
    def card(self) -> Any:
        """A `Card`."""
        ...

    def __call__(self, film: Film, /) -> Prediction:
        """Segment one film."""
        ...


def with_user_errors(function: Callable[_Arguments, _Returned]) -> Callable[_Arguments, _Returned]:
    """The function, whose errors reach the browser as one sentence and the log without path, name or value."""

    @wraps(function)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Returned:
        try:
            return function(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            message = error_sentence(error, function.__name__)
        raise gr.Error(html.escape(message, quote=False), print_exception=False)  # shown as HTML

    return wrapped


def error_sentence(error: Exception, doing: str) -> str:
    """What the visitor is told; an unforeseen error is logged."""
    if isinstance(error, BadInput):
        return translated(str(error))
    log.error("%s failed: %s", doing, error_location(error))
    return texts.UNFORESEEN


def error_location(error: BaseException) -> str:
    """Type of error and the lines of code that it passed; never its message, which may hold a path or a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


@dataclass(frozen=True)
class Handlers:
    """The page's actions.

    segmenters: by name, in the order offered. read: file to film; read_label: file and size to label; both raise
    BadInput. predict: name and film to prediction. examples: shipped films. published: the model, by name, that made
    their results; a name that no model has where it is not offered.
    """

    segmenters: Mapping[str, Model]
    read: Callable[[Path], Film]
    read_label: Callable[[Path, tuple[int, int]], Label]
    predict: Callable[[str, Film], Prediction]
    examples: tuple[Example, ...] = ()
    published: str = PUBLISHED

    def opening(self) -> SessionState | None:
        """What the page opens with: the first example with a result. No model is asked."""
        states = (example.segmented(self.published) for example in self.examples)
        return next((state for state in states if state), None)

    def status(self) -> str:
        """Which device the first model runs on, once it is loaded; or why it could not be loaded."""
        name = next(iter(self.segmenters))
        try:
            device = panels.device_name(self.segmenters[name].device)
        except Exception as error:
            return panels.status(f"{name}: {error_sentence(error, 'status')}", "failed")
        return panels.status(texts.READY.format(model=name, device=device), "ready")

    @with_user_errors
    def about(self, model: str) -> str:
        """What the chosen model's card says."""
        name = self._known(model)
        segmenter = self.segmenters[name]
        return panels.about(name, asdict(segmenter.card), segmenter.device)

    @with_user_errors
    def open_upload(self, state: SessionState | None, upload: Mapping[str, Any] | None) -> SessionState:
        """An uploaded file becomes the session's film; the file is deleted."""
        path = uploaded(upload)
        reason, film = read_and_delete(path, lambda path: (obstacle(path), self.read(path)))
        return SessionState(film, path.name, no_segmentation=reason)

    @with_user_errors
    def open_example(self, state: SessionState | None, sent: Mapping[str, Any], model: str) -> SessionState:
        """One of the examples becomes the session's film, with its result where the chosen model is the one it is of.

        sent: index, of the example.
        """
        index = sent.get("index")
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            raise BadRequest(texts.UNKNOWN_EXAMPLE)
        example = self.examples[index]
        known = example.segmented(model) if model == self.published else None
        return known or SessionState(self.read(example.path), secrets.token_hex(12), example.path.stem)

    @with_user_errors
    def invert(self, state: SessionState | None, inverted: bool) -> SessionState | None:
        """The film with its grey values inverted, without the masks of the other; references stay."""
        return state and _inverted(state, inverted)

    @with_user_errors
    def segment(
        self, state: SessionState | None, model: str, inverted: bool, b: str | None = NOTHING, a: str | None = SHOWN
    ) -> SessionState:
        """The model's own masks, and those of sides A and B, see `compare`.

        Masks that are there already are not computed again. The browser keeps what a person corrected as a step that
        can be undone.
        """
        if state is None:
            raise BadRequest(texts.NO_FILM_TO_SEGMENT)
        if state.inverted != inverted:
            state = _inverted(state, inverted)
        name = self._known(model)
        if state.layer is None or state.layer.title != name:
            state = self._segmented(state, name)
        return self._compared(replace(state, corrected=None), a, b)

    def segment_if_open(
        self, state: SessionState | None, model: str, inverted: bool, b: str | None = NOTHING, a: str | None = SHOWN
    ) -> SessionState | None:
        """`segment` where a film lacks this model's masks: it was opened or inverted, or the model was chosen."""
        if state is None or (state.layer and state.layer.title == model and state.inverted == inverted):
            return state and self._compared(state, a, b)
        return self.segment(state, model, inverted, b, a)

    @with_user_errors
    def compare(
        self, state: SessionState | None, b: str | None = NOTHING, a: str | None = SHOWN
    ) -> SessionState | None:
        """What is compared on sides A and B: the film's masks, a model's, a reference (which may be still to come)."""
        return state and self._compared(state, a, b)

    def _compared(self, state: SessionState, a: str | None, b: str | None) -> SessionState:
        """With the masks of the models on either side; of a film without masks only references are compared."""
        sides = a or SHOWN, b or NOTHING
        models = [name for name in sides if name not in (SHOWN, NOTHING, *REFERENCES)]
        if state.sides == sides and all(name in state.others for name in models):
            return state
        if state.layer is not None:
            state = replace(state, others={name: self._other(state, self._known(name)) for name in models})
        return replace(state, sides=sides)

    def _other(self, state: SessionState, name: str) -> MaskLayer:
        """A model's own masks of the film; those that are there already are not computed again."""
        if state.layer is not None and state.layer.title == name:
            return state.layer
        return state.others.get(name) or self._layer(name, self.predict(name, state.shown_film))

    @with_user_errors
    def open_reference(
        self, state: SessionState | None, upload: Mapping[str, Any] | None, choice: str = REFERENCES[0]
    ) -> SessionState:
        """An uploaded label becomes the reference of that choice, on side B unless it is on one already.

        The file is deleted. Where it cannot be used, as one of another size, the choice has no masks afterwards, so
        that no scores are left of the reference before; `refusals` says why. It is refused too if it is empty or its
        vertebrae are out of order, for then every score would be about that.
        """
        path = uploaded(upload, texts.SUBJECT_LABEL)
        if state is None:
            path.unlink(missing_ok=True)
            raise BadRequest(texts.NO_FILM_FOR_REFERENCE)
        others = {key: layer for key, layer in state.references.items() if key != choice}
        refusals = {key: sentence for key, sentence in state.refusals.items() if key != choice}
        try:
            with speaking(ENGLISH):  # the panels say it in the language that is read then
                layer = self._reference(path, state.film.shape, texts.REFERENCE_TITLES[REFERENCES.index(choice)])
        except Exception as error:
            with speaking(ENGLISH):
                sentence = error_sentence(error, "open_reference")
                if sentence.endswith(OTHER_FILM):
                    sentence = f"{texts.STRANGER}: {sentence}"
            return replace(state, references=others, refusals={**refusals, choice: sentence})
        sides = state.sides if choice in state.sides else (state.sides[0], choice)
        return replace(state, references={**others, choice: layer}, refusals=refusals, sides=sides)

    def _reference(self, path: Path, shape: tuple[int, int], title: str) -> MaskLayer:
        label = read_and_delete(path, lambda path: self.read_label(path, shape))
        return MaskLayer(title, masks_to_bits(label.masks), remarks=(*label.remarks, *_faults(label)))

    def menu(self) -> list[tuple[str, str]]:
        """What menus call each model, and its name; one that fails on purpose says so. Waits for the models."""
        return [(self._menu_entry(name), name) for name in self.segmenters]

    def _menu_entry(self, name: str) -> str:
        try:
            fails = self.segmenters[name].card.fails_on_purpose
        except Exception:  # one that cannot be loaded says so where it is used
            return name
        return texts.FAILS_ON_PURPOSE.format(name) if fails else name

    @with_user_errors
    def show_anyway(self, state: SessionState | None) -> SessionState | None:
        """Show what was found on a picture that does not look like a lateral lumbar film."""
        return state and replace(state, shown_anyway=True)

    @with_user_errors
    def correct(self, state: SessionState | None, sent: Mapping[str, Any]) -> SessionState:
        """The masks as a person corrected them in the browser, of the open film or of one that is not here any more.

        sent: film, its token; masks, see `sent_bits`; and of the film what `sent_film` takes. A film that is not here
        gives a state that is not to be kept.
        """
        if state is None or state.token != sent.get("film"):
            film = sent_film(sent)
            return SessionState(film, "", corrected=sent_bits(sent.get("masks"), film.shape), forgotten=True)
        bits = sent_bits(sent.get("masks"), state.film.shape)
        same = state.layer is not None and np.array_equal(bits, state.layer.bits)
        return replace(state, corrected=None if same else bits)

    @with_user_errors
    def values(self, state: SessionState | None, sent: Mapping[str, Any]) -> dict[str, Any]:
        """One part of the open film's own values; only what was asked for where it is of another film, or no part.

        sent: film, its token; hash, its digest; part, a number from 0.
        """
        number = sent.get("part")
        asked = {"film": sent.get("film"), "hash": sent.get("hash"), "part": number}
        if state is None or (state.token, state.digest) != (asked["film"], asked["hash"]):
            return asked
        if not isinstance(number, int) or not 0 <= number < parts(state.film.shape):
            return asked
        return {**asked, **encoded_part(state.film.image, state.coding, number)}

    @with_user_errors
    def download(self, state: SessionState | None, sent: Mapping[str, Any]) -> dict[str, Any]:
        """A file for the viewer to save; see `downloads.KINDS`.

        sent: kind; where a person corrected the masks, what `correct` takes; and for a DICOM segmentation the upload of
        the film's file, which is deleted.
        """
        if "upload" in sent:
            return read_and_delete(uploaded(sent["upload"]), partial(self._download, state, sent))
        paths = (example.path for example in self.examples)
        return self._download(state, sent, next((path for path in paths if state and path.stem == state.name), None))

    def _download(self, state: SessionState | None, sent: Mapping[str, Any], film: Path | None) -> dict[str, Any]:
        if "masks" in sent:
            state = self.correct(state, sent)
        elif state and state.token != sent.get("film", state.token):
            state = None  # another film was opened meanwhile
        if state is None:
            raise BadRequest(texts.NO_FILM_TO_DOWNLOAD)
        return {"film": sent.get("film"), "file": downloads.file(state, str(sent.get("kind")), film)}

    def batch_film(self, sent: Mapping[str, Any] | None, model: str, inverted: bool) -> dict[str, Any]:
        """One film's entries of a batch's ZIP and its lines in the tables, or the sentence why there are none.

        sent: file, an upload; and masks, see `sent_bits`, where a person corrected them since.
        """
        upload, masks = (sent.get(key) if isinstance(sent, Mapping) else None for key in ("file", "masks"))
        token = upload.get("orig_name") if isinstance(upload, Mapping) else None
        try:
            state = SessionState(read_and_delete(uploaded(upload), self.read), "", inverted=inverted)
            state = self._segmented(state, model)
            if masks:
                state = replace(state, corrected=sent_bits(masks, state.film.shape))
            kinds = downloads.WITHOUT_MASKS if state.held_back else downloads.BATCH_KINDS
            entries = [downloads.zip_entry(state, kind) for kind in kinds]
            return {"token": token, **table_row(state), "entries": entries}
        except Exception as error:
            return {"token": token, "error": error_sentence(error, "batch_film")}

    @with_user_errors
    def segment_file(self, film: Mapping[str, Any], model: str = "", invert: bool = False) -> str:
        """Segment the vertebrae on a lateral lumbar radiograph; for research, not for diagnosis.

        Args:
            film: DICOM, PNG, JPEG, TIFF, BMP or WebP file
            model: name of a model on the page; empty for the first
            invert: True for inverted grayscale (bone dark) as the file states it; else the picture decides

        Returns:
            .npy file, uint8, rows x columns x channels: each vertebra from cranial to caudal, then background
        """
        _, prediction = self._read_and_predict(film, model, invert)
        array = io.BytesIO()
        np.save(array, to_array(prediction.masks))
        return save_bytes_to_cache(array.getvalue(), "masks.npy", get_upload_folder())

    @with_user_errors
    def measure_file(self, film: Mapping[str, Any], model: str = "", invert: bool = False) -> dict[str, Any]:
        """Measure the spine on a lateral lumbar radiograph; for research, not for diagnosis.

        Args:
            film: DICOM, PNG, JPEG, TIFF, BMP or WebP file
            model: name of a model on the page; empty for the first
            invert: True for inverted grayscale (bone dark) as the file states it; else the picture decides

        Returns:
            JSON: verdict, reasons, shift (of all names in the other numbering, 0 for none), shift_likelihood, remarks,
            and figures by key, each with name, value, unit, error (half the width of the 95 % interval) and source
        """
        read, prediction = self._read_and_predict(film, model, invert)
        stated = {**prediction.levels.stated, "remarks": (*read.remarks, *prediction.remarks)}
        return {**stated, **measure_prediction(prediction, read.spacing).as_dict()}

    def _read_and_predict(self, film: Mapping[str, Any], model: str, invert: bool) -> tuple[Film, Prediction]:
        read = read_and_delete(uploaded(film), self.read)
        read = read.as_told(invert=True) if invert is True else read
        return read, self.predict(self._known(model), read)

    def _known(self, model: str) -> str:
        name = model or next(iter(self.segmenters))
        if name not in self.segmenters:
            raise BadRequest(texts.UNKNOWN_MODEL.format(", ".join(self.segmenters)))
        return name

    def _segmented(self, state: SessionState, model: str) -> SessionState:
        """With a model's masks. A film is decided to be inverted or not once, for all models."""
        name = self._known(model)
        prediction = self.predict(name, state.shown_film)
        if not (state.inverted or state.film.polarity_known):
            film = prediction.seen(state.film).as_told(invert=False)
            state = replace(state, film=film, remarks=prediction.remarks)
        return replace(state, layer=self._layer(name, prediction))

    def _layer(self, name: str, prediction: Prediction) -> MaskLayer:
        """A model's masks with all that the page says of them."""
        return MaskLayer(
            name,
            masks_to_bits(prediction.masks),
            prediction.levels,
            prediction.seconds,
            prediction.device,
            asdict(self.segmenters[name].card),
            np.rint(prediction.probabilities * 255).astype(np.uint8),
            bone_map_of(prediction),
            beyond={level: runs_of(mask) for level, mask in prediction.beyond.items()},
        )


def _faults(label: Label) -> tuple[str, ...]:
    """What `check` finds wrong in a label that can be compared with. Raises BadRequest for one that cannot."""
    from spineseg.data.check_masks import MISPLACED, mask_findings  # loads pydicom and SimpleITK

    found = [each for each in mask_findings("", label.masks) if each.severity == "error" or each.kind == "pieces"]
    if unfit := [each for each in found if each.kind in MISPLACED or not label.masks.any()]:
        raise BadRequest(unfit[0].sentence)
    return tuple(each.sentence for each in found)


def _inverted(state: SessionState, inverted: bool) -> SessionState:
    return replace(state, inverted=inverted, layer=None, corrected=None, others={}, shown_anyway=False)
