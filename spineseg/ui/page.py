"""The page: its layout, what each control calls, and how it is served."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes

from spineseg.film import Film
from spineseg.inference.prediction import Prediction
from spineseg.io.labels import Label
from spineseg.ui.access import Closed
from spineseg.ui.handlers import NOTHING, REFERENCE, Handlers
from spineseg.ui.models import Model
from spineseg.ui.panels import panels
from spineseg.ui.session import Desk, Shelf
from spineseg.ui.uploads import Nameless
from spineseg.ui.viewer import KEEP, changes, part, several_films, upload_field, viewer

MAX_UPLOAD_BYTES = 64 * 2**20
FORGET_AFTER_S = 600
"""A film that was left alone is dropped after this, a file that a program fetched too."""
SESSIONS = 40
"""Films held at once; one of 3000 x 2500 takes 50 MB."""
WAITING = 40
"""Presses that may wait in line; the next one is told that the page is busy."""
LATE = "Expected the film as it was, but another press came between; press again"
_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
_READ: dict[str, Any] = {"concurrency_id": "read", "concurrency_limit": 2}
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, **_PRIVATE}


def build_page(
    segmenters: Mapping[str, Model],
    read: Callable[[Path], Film],
    read_label: Callable[[Path, tuple[int, int]], Label],
    examples: Path | None = None,
) -> gr.Blocks:
    """The whole page.

    segmenters: by name, in the order offered; may still be loading. read, read_label: file -> film, file and size ->
    label; both raise BadInput. examples: a folder of *.dcm to click; nothing is shown where it is missing or empty.
    """
    shipped = tuple(sorted(examples.glob("*.dcm"))) if examples else ()

    def predict(name: str, film: Film) -> Prediction:
        return segmenters[name](film)

    handlers = Handlers(segmenters, read, read_label, _on_gpu(predict), shipped)
    with gr.Blocks(
        title="spineseg", analytics_enabled=False, fill_width=True, delete_cache=(60, FORGET_AFTER_S)
    ) as page:
        Layout(handlers, Shelf(float(FORGET_AFTER_S), most=SESSIONS)).connect(page)
        _program(handlers)
    return page.queue(max_size=WAITING)


class Layout:
    """The controls, made in the order in which they are seen, and what each calls."""

    def __init__(self, handlers: Handlers, shelf: Shelf) -> None:
        self.handlers, self.shelf = handlers, shelf
        names = list(handlers.segmenters)
        gr.HTML(part("page.html"), elem_id="header", js_on_load=part("page.js"), apply_default_css=False)
        with gr.Row(equal_height=False, elem_id="desk"):
            with gr.Column(scale=1, min_width=250, elem_id="side"):
                self._sources(names)
            with gr.Column(scale=4, min_width=300, elem_id="middle"):
                self.shown = viewer()
            with gr.Column(scale=1, min_width=290, elem_id="said"):
                self._findings(names)
        with gr.Accordion("About: the model, its limits, your own model", open=False, elem_id="about"), gr.Row():
            with gr.Column(min_width=300):
                gr.HTML(part("about.html"), elem_id="limits", apply_default_css=False)
            with gr.Column(min_width=300):
                self.about = gr.HTML("", elem_id="card", apply_default_css=False)

    def _sources(self, names: list[str]) -> None:
        hint = "or drop it here: DICOM, up to 64 MB; several at once give one ZIP"
        self.film = upload_field("film", "Choose a film", hint, MAX_UPLOAD_BYTES, several=True)
        self.several = several_films(MAX_UPLOAD_BYTES)
        self.model = gr.Dropdown(names, label="Model", visible=len(names) > 1, elem_id="model")
        self.invert = gr.Checkbox(label="Film stored the wrong way round", elem_id="invert", container=False)
        self.go = gr.Button("Segment", variant="primary", elem_id="segment")
        waiting = '<p class="status">Loading the model</p>'
        self.status = gr.HTML(waiting, elem_id="status", apply_default_css=False)
        self.examples = _example_buttons(self.handlers.examples)

    def _findings(self, names: list[str]) -> None:
        quiet = panels(None)
        script = part("findings.js")
        self.findings = gr.HTML(quiet[0], elem_id="findings", js_on_load=script, apply_default_css=False)
        with gr.Accordion("Compare", open=False, elem_id="compare"):
            choices = [("nothing", NOTHING), ("a reference file", REFERENCE), *((name, name) for name in names)]
            self.against = gr.Dropdown(choices, value=NOTHING, label="Compare with", elem_id="against")
            hint = ".mat (label_separated) or .npy, rows × columns × 7"
            self.reference = upload_field("reference", "Choose a reference", hint, MAX_UPLOAD_BYTES)
            self.comparison = gr.HTML(quiet[1], elem_id="comparison", js_on_load=script, apply_default_css=False)
        with gr.Accordion("Measurements", open=False, elem_id="measure"):
            self.measures = gr.HTML(quiet[2], elem_id="measures", apply_default_css=False)

    @property
    def panels(self) -> list[Any]:
        """The outputs of a press that changes the desk: the viewer, then what is said beside it."""
        return [self.shown, self.findings, self.comparison, self.measures]

    def connect(self, page: gr.Blocks) -> None:
        """Which control calls what. After each answer the viewer's value is made small again (see `_forget`)."""
        handlers, shelf = self.handlers, self.shelf
        always: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, **_PRIVATE}
        page.load(handlers.status, None, self.status, **always)
        page.load(handlers.about, self.model, self.about, **always)
        self.model.change(handlers.about, self.model, self.about, **always)

        def left(request: gr.Request) -> None:
            shelf.leave(_session(request))

        page.unload(left)
        self._opens()
        self._segments(self.go.click, handlers.segment)
        self._segments(self.model.input)
        working: dict[str, Any] = {"show_progress_on": self.shown, **_MODEL, **_PRIVATE}
        self._then_forget(
            self.against.input(
                pressed(shelf, handlers.compare), self.against, self.panels, api_name="against", **working
            )
        )
        turned = self.invert.input(
            pressed(shelf, handlers.turn), self.invert, self.panels, show_progress="hidden", **_READ, **_PRIVATE
        )
        self._segments(turned.success)
        referred = self.reference.upload(
            pressed(shelf, handlers.open_reference), self.reference, self.panels, preprocess=False, **_READ, **_PRIVATE
        )
        self._then_forget(referred)
        referred.success(lambda: REFERENCE, None, self.against, **_QUIET)
        self._corrects()
        self._takes()

    def _segments(self, event: Callable[..., Any], handler: Callable[..., Desk | None] | None = None) -> None:
        """The event asks the model; without a handler only where there is a film."""
        self._then_forget(
            event(
                pressed(self.shelf, handler or self.handlers.show, follows=handler is None),
                [self.model, self.invert, self.against],
                self.panels,
                show_progress_on=self.shown,
                **_MODEL,
                **_PRIVATE,
            )
        )

    def _opens(self) -> None:
        """A new film is read, shown, and segmented; the old one stays until then, and where the new one is refused."""
        handlers = self.handlers

        def opens(event: Callable[..., Any], function: Callable[..., Any], inputs: Any, **options: Any) -> None:
            reading: dict[str, Any] = {"show_progress_on": self.shown, **_READ, **_PRIVATE}
            fresh = [*self.panels, self.invert, self.against]
            opening = event(opened(self.shelf, function), inputs, fresh, **reading, **options)
            self._then_forget(opening)
            self._segments(opening.success)

        opens(self.film.upload, handlers.open_upload, self.film, preprocess=False)
        for index, button in enumerate(self.examples):
            opens(button.click, partial(handlers.open_example, index=index), None)

    def _corrects(self) -> None:
        """The presses among what is said: their buttons are HTML, their kind comes with the event."""
        act = pressed(self.shelf, self.handlers.correct)

        def correct(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
            return act(request, event._data.get("action"), event._data.get("vertebra"))

        for source in (self.findings, self.comparison):
            self._then_forget(
                source.correct(
                    correct,
                    None,
                    self.panels,
                    show_progress="hidden",
                    concurrency_limit=1,
                    concurrency_id="correct",
                    **_PRIVATE,
                )
            )

    def _takes(self) -> None:
        """Files: for the film on the desk, and for several films one after the other."""
        handlers, shelf = self.handlers, self.shelf

        def take(request: gr.Request, event: gr.EventData) -> dict[str, Any]:
            place = shelf.get(_session(request))
            return handlers.take_away(place and place.desk, event._data.get("kind"))

        self._then_forget(self.shown.take(take, None, self.shown, show_progress="hidden", **_READ, **_PRIVATE))
        inputs = [self.several, self.model, self.invert]
        sent = self.several.film(
            handlers.one_of_several,
            inputs,
            self.several,
            preprocess=False,
            show_progress="hidden",
            **_MODEL,
            **_PRIVATE,
        )
        sent.failure(lambda: {"error": "the page is busy; try again later"}, None, self.several, **_QUIET)

    def _then_forget(self, event: Any) -> None:
        event.then(_forget, None, [self.shown, self.film, self.reference], **_QUIET)


def _forget() -> tuple[dict[str, Any], None, None]:
    """Leaves the viewer as it is, but makes Gradio's own record of it and of the uploads empty."""
    return KEEP, None, None


def pressed(
    shelf: Shelf, handler: Callable[..., Desk | None], *, follows: bool = False
) -> Callable[..., tuple[Any, ...]]:
    """The handler, whose desk is fetched from the shelf before and put back after.

    Answers what changed for the viewer, and the panels. What became late, because another press was quicker, changes
    nothing, and is said unless it only follows on a press; what changes nothing disturbs no other press.
    """

    def act(request: gr.Request, *inputs: Any) -> tuple[Any, ...]:
        session = _session(request)
        place = shelf.get(session)
        before = place.desk if place else None
        after = handler(before, *inputs)
        late = after is not before and not shelf.put(session, place, after)
        if late and follows:
            return KEEP, gr.skip(), gr.skip(), gr.skip()
        if late:
            raise gr.Error(LATE, print_exception=False)
        return changes(before, after), *panels(after)

    return act


def opened(shelf: Shelf, handler: Callable[..., Desk]) -> Callable[..., tuple[Any, ...]]:
    """The handler, whose desk takes the place of the old one, unless another film was chosen meanwhile.

    Answers what the viewer and the panels show, then a switch and a choice that begin anew.
    """

    def act(request: gr.Request, *inputs: Any) -> tuple[Any, ...]:
        session = _session(request)
        place, reading = shelf.get(session), shelf.begin(session)
        before = place.desk if place else None
        after = handler(before, *inputs)
        if not shelf.finish(session, reading, after):
            return KEEP, *(gr.skip() for _ in range(5))
        return changes(before, after), *panels(after), False, NOTHING

    return act


def _session(request: gr.Request) -> str:
    """Whose press this is: a random name that Gradio gives each open tab."""
    return str(request.session_hash)


def _program(handlers: Handlers) -> None:
    """`/segment` for gradio_client and curl: the one event that is public."""
    with gr.Row(visible=False):
        film = gr.File(label="film")
        model = gr.Textbox(next(iter(handlers.segmenters)), label="model")
        invert = gr.Checkbox(False, label="invert")
        array = gr.File(label="masks")
        # preprocess=False: gr.File would leave an empty file behind for each call
        gr.Button().click(
            handlers.segment_file, [film, model, invert], array, api_name="segment", preprocess=False, **_MODEL
        )


def _caption(stem: str) -> str:
    """`2-sacrum-cut-off` as "Sacrum cut off"; the number only orders the buttons."""
    return re.sub(r"[-_]", " ", re.sub(r"^\d+-", "", stem)).capitalize()


def _example_buttons(examples: tuple[Path, ...]) -> list[gr.Button]:
    if not examples:
        return []
    gr.HTML('<p class="caption">Simulated examples</p>', apply_default_css=False)
    with gr.Row(elem_id="examples"):
        return [gr.Button(_caption(path.stem), size="sm", min_width=100) for path in examples]


def _on_gpu(function: Callable[[str, Film], Prediction]) -> Callable[[str, Film], Prediction]:
    """The function, which on a ZeroGPU Space borrows a GPU while it runs."""
    try:
        return importlib.import_module("spaces").GPU(function)
    except ImportError:
        return function


def serve(
    page: gr.Blocks, host: str | None = None, port: int | None = None, account: tuple[str, str] | None = None
) -> str:
    """Starts the server in a thread and returns the page's address.

    host, port: None leaves them to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, else 127.0.0.1 and the first free port
    from 7860. account: name and password that the page asks for. Nothing is ever shared through a tunnel.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        auth=account,
        theme=_theme(),
        css=part("page.css"),
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=SESSIONS,
        allowed_paths=[],
        footer_links=["settings"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={"middleware": [(Closed, (), {}), (Nameless, (), {})]},  # what Starlette's Middleware unpacks to
    )
    return address


def _theme() -> themes.Base:
    """System fonts only: a web font would ask another host."""
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = themes.Default(primary_hue="sky", neutral_hue="slate", font=sans, font_mono=mono)
    return theme.set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")
