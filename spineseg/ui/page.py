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
from spineseg.ui.handlers import Handlers, Model, Result, forget
from spineseg.ui.viewer import part, upload_field, viewer

MAX_UPLOAD_BYTES = 64 * 2**20
FORGET_AFTER_S = 600
"""A film in a session that was left alone is dropped after this."""
SESSIONS = 40
"""Sessions held at once; one 3000 x 2500 film takes 30 MB."""
WAITING = 40
"""Presses that may wait in line; the next one is told that the page is busy."""

_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
_READ: dict[str, Any] = {"concurrency_id": "read", "concurrency_limit": 2}
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}


def build_page(
    segmenters: Mapping[str, Model], read: Callable[[Path], Film], examples: Path | None = None
) -> gr.Blocks:
    """The whole page.

    segmenters: by name, in the order offered; may still be loading. read: file -> film, raises BadInput. examples: a
    folder of *.dcm to click; nothing is shown where it is missing or empty.
    """
    shipped = tuple(sorted(examples.glob("*.dcm"))) if examples else ()

    def predict(name: str, film: Film) -> Result:
        return segmenters[name](film)

    handlers = Handlers(segmenters, read, _on_gpu(predict), shipped)
    with gr.Blocks(
        title="spineseg", analytics_enabled=False, fill_width=True, delete_cache=(60, FORGET_AFTER_S)
    ) as page:
        gr.HTML(part("page.html"), elem_id="header", apply_default_css=False)
        opened = gr.State(None, time_to_live=FORGET_AFTER_S)
        with gr.Row(equal_height=False, elem_id="desk"):
            with gr.Column(scale=1, min_width=270, elem_id="side"):
                film = upload_field(MAX_UPLOAD_BYTES)
                model = gr.Dropdown(list(segmenters), label="Model", visible=len(segmenters) > 1, elem_id="model")
                invert = gr.Checkbox(label="Film stored the wrong way round", elem_id="invert", container=False)
                go = gr.Button("Segment", variant="primary", elem_id="segment")
                status = gr.HTML('<p class="status">Loading the model</p>', elem_id="status", apply_default_css=False)
                buttons = _example_buttons(shipped)
            with gr.Column(scale=4, min_width=300):
                shown = viewer()
                summary = gr.HTML("", elem_id="summary", apply_default_css=False)
        _connect(handlers, page, (film, opened, model, invert, go, shown, summary, status), buttons)
        _program(handlers)
    return page.queue(max_size=WAITING)


def _connect(handlers: Handlers, page: gr.Blocks, parts: tuple[Any, ...], buttons: list[gr.Button]) -> None:
    """Which control calls what. After each picture the viewer's value is made small again (see `forget`)."""
    film, opened, model, invert, go, shown, summary, status = parts
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, **_PRIVATE}
    page.load(handlers.status, None, status, show_progress="hidden", concurrency_limit=None, **_PRIVATE)

    segmented = go.click(
        handlers.segment,
        [opened, model, invert],
        [shown, summary],
        api_name="press",  # the name "segment" is the public one
        show_progress_on=shown,
        **_MODEL,
        **_PRIVATE,
    )
    segmented.then(forget, None, [shown, film], **quiet)
    # a result that is still to come belongs to the film, or the way round, that was just left
    left: dict[str, Any] = {"cancels": segmented, **_PRIVATE}

    turned = invert.input(handlers.show, [opened, invert], [shown, summary], show_progress="hidden", **_READ, **left)
    turned.then(forget, None, [shown, film], **quiet)

    def opens(event: Callable[..., Any], function: Callable[..., Any], inputs: Any, **options: Any) -> None:
        cleared = event(_empty, None, [opened, shown, summary, invert], **{**quiet, **left})
        progress: dict[str, Any] = {"show_progress_on": shown, **_READ, **_PRIVATE}
        read = cleared.then(function, inputs, [opened, shown, summary], **progress, **options)
        read.then(forget, None, [shown, film], **quiet)

    opens(film.upload, handlers.open_upload, film, preprocess=False)
    for index, button in enumerate(buttons):
        opens(button.click, partial(handlers.open_example, index), None)


def _empty() -> tuple[None, None, str, bool]:
    """No film, an empty viewer, nothing said, not inverted."""
    return None, None, "", False


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


def _on_gpu(function: Callable[[str, Film], Result]) -> Callable[[str, Film], Result]:
    """The function, which on a ZeroGPU Space borrows a GPU while it runs."""
    try:
        return importlib.import_module("spaces").GPU(function)
    except ImportError:
        return function


def serve(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Starts the server in a thread and returns the page's address.

    host, port: None leaves them to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, else 127.0.0.1 and the first free port
    from 7860. Nothing is ever shared through a tunnel.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        theme=_theme(),
        css=part("page.css"),
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=SESSIONS,
        allowed_paths=[],
        footer_links=["api", "settings"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
    )
    return address


def _theme() -> themes.Base:
    """System fonts only: a web font would ask another host."""
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = themes.Default(primary_hue="sky", neutral_hue="slate", font=sans, font_mono=mono)
    return theme.set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")
