"""The page: its layout, and what each control calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from spineseg.film import Film
from spineseg.inference.prediction import Prediction
from spineseg.io.labels import Label
from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.ui import texts
from spineseg.ui.compare import NOTHING, REFERENCES, SHOWN
from spineseg.ui.examples import PUBLISHED, Example
from spineseg.ui.handlers import Handlers, Model
from spineseg.ui.language import catalogues
from spineseg.ui.listeners import (
    correct_on_session,
    on_language,
    on_new_film,
    on_session,
    on_shown,
    on_upload,
    sent_by,
    session_of,
)
from spineseg.ui.panels import examples as example_buttons
from spineseg.ui.panels import panels, status
from spineseg.ui.progress import tells, tells_views
from spineseg.ui.session import SessionState, SessionStore
from spineseg.ui.viewer import (
    batch_panel,
    fixed_text,
    script,
    update,
    upload_field,
    values_receiver,
    viewer,
)

if TYPE_CHECKING:
    from spineseg.ui.collect import Collection

FORGET_AFTER_S = 600
"""An unused film is dropped after this time, and so is an array that a program fetched."""
SESSIONS = 40
"""Films held at once; one of 3000 x 2500 takes 50 MB."""
QUEUE_LENGTH = 40
"""Requests that may wait; the next one is told that the page is busy."""
_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
_READ: dict[str, Any] = {"concurrency_id": "read", "concurrency_limit": DEFAULT_LIMITS.at_once}
_WHOLE: dict[str, Any] = {"concurrency_id": "whole", "concurrency_limit": DEFAULT_LIMITS.at_once + 2}
"""Read a file, then ask the model: two may wait for the model while others read."""
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", **_PRIVATE}


def build_page(
    segmenters: Mapping[str, Model],
    read: Callable[[Path], Film],
    read_label: Callable[[Path, tuple[int, int]], Label],
    examples: Path | None = None,
    published: str = PUBLISHED,
    collect_in: Path | None = None,
    collect_from_others: bool = False,
) -> gr.Blocks:
    """The whole page.

    segmenters: by name, in the order offered; may still be loading. read: file to film; read_label: file and size to
    label; both raise BadInput. examples: a folder of *.dcm to click; nothing is shown where it is
    missing or empty. published: the model that made the results (`Handlers`). collect_in: where films go that a visitor
    adds to a training folder; without it there is no button for that. collect_from_others: than this machine's.
    """
    shipped = tuple(map(Example, sorted(examples.glob("*.dcm")))) if examples else ()

    def predict(name: str, film: Film) -> Prediction:
        return segmenters[name](film)

    reading, predicting = tells("READING", read), tells_views(_in_turn(predict))
    handlers = Handlers(segmenters, reading, read_label, predicting, shipped, published)
    with gr.Blocks(
        title="spineseg", analytics_enabled=False, fill_width=True, delete_cache=(60, FORGET_AFTER_S)
    ) as page:
        collection = _collection(collect_in, handlers, collect_from_others) if collect_in else None
        Layout(handlers, SessionStore(float(FORGET_AFTER_S), most=SESSIONS), collection).connect(page)
        _add_api(handlers)
    return page.queue(max_size=QUEUE_LENGTH, api_open=False)


def _collection(folder: Path, handlers: Handlers, from_others: bool) -> Collection:
    from spineseg.ui.collect import Collection  # loads pydicom and SimpleITK

    return Collection(folder, handlers, from_others)


class Layout:
    """The controls, made in the order in which they are read, and what each calls.

    opening: the film that the page opens with. A session takes it up with the first thing that is done to it.
    """

    def __init__(self, handlers: Handlers, store: SessionStore, collection: Collection | None = None) -> None:
        self.handlers, self.store, self.opening = handlers, store, handlers.opening()
        self.collection, collects = collection, collection is not None
        names = list(handlers.segmenters)
        names_of_languages = {code: language.name for code, language in catalogues().items()}
        self.header = fixed_text("header", elem_id="header", languages=names_of_languages)
        with gr.Row(equal_height=False, elem_id="workspace"):
            with gr.Column(elem_id="side"):
                most = DEFAULT_LIMITS.max_bytes
                self.film = upload_field("film", most, several=True)
                self.batch = batch_panel(most, collects=collects)
            with gr.Column(elem_id="middle"):
                self.viewer = viewer(update(None, self.opening), collects=collects)
                self.values = values_receiver()
            with gr.Column(elem_id="results"):
                self._add_results(names)
            with gr.Column(elem_id="settings"):
                self._add_settings(names)
        self.shown = gr.Textbox(visible=False)
        self.about = gr.Accordion(texts.ABOUT, open=False, elem_id="about")
        with self.about, gr.Row():
            with gr.Column(min_width=300):
                fixed_text("about", elem_id="limits")
            with gr.Column(min_width=300):
                self.card = gr.HTML("", elem_id="card", apply_default_css=False)

    def _add_settings(self, names: list[str]) -> None:
        buttons = example_buttons(self.handlers.examples)
        self.examples = gr.HTML(
            buttons, elem_id="examples", visible=bool(buttons), js_on_load=script("examples"), apply_default_css=False
        )
        self.model = gr.Dropdown(names, label=texts.MODEL, visible=len(names) > 1, elem_id="model")
        self.inverted = gr.Checkbox(label=texts.INVERTED, elem_id="invert", container=False)
        foreign = self.opening is not None and self.handlers.published not in names
        self.run_again = gr.Button(texts.RUN_AGAIN, elem_id="run-again", visible=foreign)
        self.status = gr.HTML(status(texts.LOADING), elem_id="status", apply_default_css=False)

    def _add_results(self, names: list[str]) -> None:
        findings, comparison, measurements = panels(self.opening)
        correctable: dict[str, Any] = {"js_on_load": script("corrections"), "apply_default_css": False}
        self.findings = gr.HTML(findings, elem_id="findings", **correctable)
        self.compare_accordion = gr.Accordion(texts.COMPARE, open=False, elem_id="compare")
        with self.compare_accordion:
            a, b = _sides([(name, name) for name in names])
            self.side_a = gr.Dropdown(a, value=SHOWN, label=texts.SIDE_A, elem_id="side-a")
            self.side_b = gr.Dropdown(b, value=NOTHING, label=texts.SIDE_B, elem_id="side-b")
            self.comparison = gr.HTML(comparison, elem_id="comparison", **correctable)
            with gr.Row(elem_id="references"):
                self.references = [_reference_field(n) for n in range(len(REFERENCES))]
            self.reference_hint = gr.HTML(_reference_hint(), apply_default_css=False)
        self.measure_accordion = gr.Accordion(texts.MEASUREMENTS, elem_id="measure")
        with self.measure_accordion:
            self.measurements = gr.HTML(
                measurements, elem_id="measures", js_on_load=script("measures"), apply_default_css=False
            )

    @property
    def outputs(self) -> list[Any]:
        """The components that show a session state."""
        return [self.viewer, self.findings, self.comparison, self.measurements]

    def connect(self, page: gr.Blocks) -> None:
        """Which control calls what. After most answers Gradio's record of the viewer's value is emptied."""
        handlers, store = self.handlers, self.store
        always: dict[str, Any] = {"concurrency_limit": None, **_HIDDEN}
        for event in (page.load, self.header.language):
            event(handlers.status, None, self.status, **always)
            event(handlers.about, self.model, self.card, **always)
            event(self._labels, None, list(self._labels()), **always)
            event(self._menus, None, [self.model, self.side_a, self.side_b], **always)
        said = on_language(store, self.opening)
        self._then_forget(page.load(said, None, self.outputs, **always))
        self._then_forget(self._on_film(self.header.language, said, [], self.outputs, **always))
        self.model.change(handlers.about, self.model, self.card, **always)

        def close_tab(request: gr.Request) -> None:
            store.close_tab(str(request.session_hash))

        page.unload(close_tab)
        self._connect_films()
        self._segment_on(self.run_again.click, handlers.segment)
        self._segment_on(self.model.input)
        self._connect_inversion()
        self._connect_comparison()
        self._connect_corrections()
        self._connect_downloads()
        self._connect_values()
        self._connect_batch()

    def _labels(self) -> dict[Any, Any]:
        """Gradio's own controls with their labels, and the examples, in the current language."""
        labelled = {self.model: texts.MODEL, self.inverted: texts.INVERTED, self.about: texts.ABOUT}
        labelled |= {self.compare_accordion: texts.COMPARE, self.measure_accordion: texts.MEASUREMENTS}
        labelled |= {self.side_a: texts.SIDE_A, self.side_b: texts.SIDE_B}
        return {
            **{component: gr.update(label=text) for component, text in labelled.items()},
            self.reference_hint: _reference_hint(),
            self.run_again: gr.update(value=texts.RUN_AGAIN),
            self.examples: example_buttons(self.handlers.examples),
        }

    def _menus(self) -> tuple[dict[str, Any], ...]:
        """The menus of models, which say what fails on purpose."""
        models = self.handlers.menu()
        return tuple(gr.update(choices=choices) for choices in (models, *_sides(models)))

    def _on_film(
        self,
        event: Callable[..., Any],
        handler: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
        **options: Any,
    ) -> Any:
        """The event calls the handler with the film that this tab shows, by its token, before the other inputs."""
        names = "".join(f", input{n}" for n in range(len(inputs)))
        script = f"(_{names}) => [document.querySelector('.viewer').dataset.film ?? ''{names}]"
        return event(handler, [self.shown, *inputs], outputs, js=script, **options)

    def _segment_on(self, event: Callable[..., Any], handler: Callable[..., SessionState | None] | None = None) -> None:
        """The event asks the model; without a handler only where its masks lack. A failed run can be repeated."""
        listener = on_session(
            self.store, handler or self.handlers.segment_if_open, self.opening, silent=handler is None
        )
        inputs = [self.model, self.inverted, self.side_b, self.side_a]
        # a film that comes while another is segmented is segmented too
        options: dict[str, Any] = {"show_progress_on": self.viewer, "trigger_mode": "multiple", **_MODEL, **_PRIVATE}
        run = self._on_film(event, listener, inputs, self.outputs, **options)
        run.success(_hidden, None, self.run_again, queue=False, **_HIDDEN)
        run.failure(_offered, None, self.run_again, queue=False, **_HIDDEN)
        self._then_forget(run)

    def _connect_films(self) -> None:
        """A new film is read, shown and segmented; until then, or where it is refused, the old one stays."""
        outputs = [*self.outputs, self.inverted, self.side_a, self.side_b]
        # the film that was chosen last counts, also while another is read (`SessionStore.begin_opening`)
        options: dict[str, Any] = {"show_progress_on": self.viewer, "trigger_mode": "multiple", **_READ, **_PRIVATE}
        upload = on_upload(self.store, self.handlers)
        sent = self.film.upload(upload, self.film, [*outputs, self.film], preprocess=False, **options)
        sent.failure(_refused, None, self.film, queue=False, **_HIDDEN)

        def open_example(request: gr.Request, event: gr.EventData, model: Any) -> tuple[Any, ...]:
            return on_new_film(self.store, self.handlers.open_example)(request, sent_by(event), model)

        chosen = self.examples.example(open_example, self.model, outputs, **options)
        for opening in (sent, chosen):
            self._then_forget(opening)
            self._segment_on(opening.success)

    def _connect_inversion(self) -> None:
        invert = on_session(self.store, self.handlers.invert, self.opening, of_shown=True)
        inverted = self._on_film(self.inverted.input, invert, [self.inverted], self.outputs, **_READ, **_HIDDEN)
        self._segment_on(inverted.success)

    def _connect_comparison(self) -> None:
        compare = on_session(self.store, self.handlers.compare, self.opening, of_shown=True)
        sides, options = [self.side_b, self.side_a], {"show_progress_on": self.viewer, "trigger_mode": "always_last"}
        for side in sides:
            self._then_forget(self._on_film(side.input, compare, sides, self.outputs, **options, **_MODEL, **_PRIVATE))
        for choice, field in zip(REFERENCES, self.references, strict=True):
            handler = partial(self.handlers.open_reference, choice=choice)
            listener = on_session(
                self.store, handler, self.opening, of_shown=True, more=partial(_after_reference, choice)
            )
            outputs = [*self.outputs, *sides, field]
            opened = self._on_film(field.upload, listener, [field], outputs, preprocess=False, **_READ, **_PRIVATE)
            self._then_forget(opened)
            opened.failure(_refused, None, field, queue=False, **_HIDDEN)

    def _connect_corrections(self) -> None:
        """The viewer keeps what a person changes; figures and panels follow. Its masks come with the event."""

        def correct(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
            return correct_on_session(self.store, self.handlers, session_of(request), sent_by(event), self.opening)

        show = on_session(self.store, self.handlers.show_anyway, self.opening, of_shown=True)
        self._then_forget(self._on_film(self.findings.show, show, [], self.outputs, **_READ, **_HIDDEN))
        options: dict[str, Any] = {"concurrency_id": "correct", "concurrency_limit": 2, **_HIDDEN}
        # The viewer sends the next masks from within the answer to the last, while Gradio holds that for pending.
        self.viewer.correct(correct, None, self.outputs, trigger_mode="multiple", **options)

    def _connect_downloads(self) -> None:
        download = on_shown(self.store, self.handlers.download, self.opening)
        self._then_forget(self.viewer.download(download, None, self.viewer, **_READ, **_HIDDEN))
        if self.collection:
            self._then_forget(self.viewer.collect(self._collect, None, self.viewer, **_READ, **_HIDDEN))

    def _collect(self, request: gr.Request, event: gr.EventData) -> dict[str, Any]:
        assert self.collection
        self.collection.refuse_others(request.headers, sent_by(event))
        return on_shown(self.store, self.collection.collect, self.opening)(request, event)

    def _connect_values(self) -> None:
        """The browser asks for the film's values part by part, and behind the last one for nothing.

        That empties Gradio's record of the answer; `_forget` would come in the way of the next part.
        """
        values = on_shown(self.store, self.handlers.values, self.opening)
        options: dict[str, Any] = {"concurrency_id": "values", "concurrency_limit": 2, **_HIDDEN}
        self.values.part(values, None, self.values, trigger_mode="multiple", **options)

    def _connect_batch(self) -> None:
        inputs = [self.batch, self.model, self.inverted]
        sent = self.batch.film(self.handlers.batch_film, inputs, self.batch, preprocess=False, **_WHOLE, **_HIDDEN)
        sent.failure(lambda: {"error": texts.BUSY}, None, self.batch, queue=False, **_HIDDEN)

    def _then_forget(self, event: Any) -> None:
        """The viewer is sent nothing: a second answer could take the place of the next masks before it saw them."""
        event.then(_forget, self.viewer, None, js="() => [null]", queue=False, **_HIDDEN)


def _forget(nothing: None) -> None:
    """Gradio records what comes as the viewer's value, in place of the last answer."""


def _hidden() -> dict[str, Any]:
    """For *Run again* after a run."""
    return gr.update(visible=False)


def _offered() -> dict[str, Any]:
    """For *Run again* after a run that failed."""
    return gr.update(visible=True)


def _refused() -> dict[str, str]:
    """Tells an upload field that its file was not read: the queue is full."""
    return {"refused": texts.BUSY}


def _after_reference(choice: str, state: SessionState | None) -> tuple[Any, ...]:
    """The sides, B first, and what the upload field is told of its file; None for a film that is here no more."""
    if state is None:
        return gr.skip(), gr.skip(), {"refused": texts.NO_FILM_FOR_REFERENCE}
    refusal = state.refusals.get(choice)
    return *reversed(state.sides), refusal and {"refused": refusal}


def _add_api(handlers: Handlers) -> None:
    """`/segment` and `/measure` for gradio_client and curl: the events that are public."""
    with gr.Row(visible=False):
        film = gr.File(label=f"film: {texts.FILM_FORMATS} file")
        model = gr.Textbox(next(iter(handlers.segmenters)), label="model: name of a model on the page")
        invert = gr.Checkbox(False, label="invert: true for inverted grayscale (bone dark) as the file states it")
        array, figures = gr.File(label="masks: .npy file"), gr.JSON(label="figures with units and errors")
        # preprocess=False: gr.File would leave an empty file behind for each call
        options: dict[str, Any] = {"inputs": [film, model, invert], "preprocess": False, **_WHOLE}
        gr.Button().click(handlers.segment_file, outputs=array, api_name="segment", **options)
        gr.Button().click(handlers.measure_file, outputs=figures, api_name="measure", **options)


def _sides(models: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What can be chosen on side A, and on side B. models: how each is called, and its name."""
    own = [(texts.SHOWN, SHOWN), *models, *zip(map(str.capitalize, texts.REFERENCE_TITLES), REFERENCES, strict=True)]
    return own, [(texts.NOTHING, NOTHING), *own]


def _reference_field(number: int) -> gr.HTML:
    return upload_field("reference", DEFAULT_LIMITS.max_bytes, elem_id=f"reference-{number + 1}")


def _reference_hint() -> str:
    return f'<p class="note">{texts.REFERENCE_HINT}</p>'


def _in_turn(function: Callable[[str, Film], Prediction]) -> Callable[[str, Film], Prediction]:
    """The function, for one film at a time; who still reads a file holds nobody up."""
    turn = threading.Lock()

    def wrapped(name: str, film: Film) -> Prediction:
        with turn:
            return function(name, film)

    return wrapped
