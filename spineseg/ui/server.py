"""How the page is served: settings of the server, theme, models that load behind the page, and a log without names."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import gradio as gr
from gradio import http_server, queueing, routes, themes

from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.ui.access import CloseRoutes, bypass_proxy
from spineseg.ui.handlers import Model, error_location
from spineseg.ui.mcp_tools import use_uploads_only
from spineseg.ui.page import SESSIONS
from spineseg.ui.uploads import fetch_nothing, strip_file_names
from spineseg.ui.viewer import asset

log = logging.getLogger("spineseg.ui")


class LazyModels(Mapping[str, Model]):
    """Segmenters by name, loaded one after the other in a thread; asking for one waits until it is there."""

    def __init__(self, loaders: Mapping[str, Callable[[], Model]]) -> None:
        self._loaders, self._futures = dict(loaders), {name: Future[Model]() for name in loaders}

    def start(self) -> LazyModels:
        """Begins to load; to be called once, when nothing is left that a visitor waits for. Returns itself."""
        threading.Thread(target=self._load, name="load").start()
        return self

    def _load(self) -> None:
        for name, load in self._loaders.items():
            try:
                self._futures[name].set_result(load())
            except Exception as error:  # raised where the model is asked for
                self._futures[name].set_exception(error)

    def __getitem__(self, name: str) -> Model:
        return self._futures[name].result()

    def __contains__(self, name: object) -> bool:
        return name in self._futures

    def __iter__(self) -> Iterator[str]:
        return iter(self._futures)

    def __len__(self) -> int:
        return len(self._futures)


def serve(
    page: gr.Blocks,
    host: str | None = None,
    port: int | None = None,
    account: tuple[str, str] | None = None,
    *,
    mcp: bool = False,
) -> str:
    """Starts the server in a thread and returns the page's address.

    host, port: None leaves them to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, else 127.0.0.1 and the first free port
    from 7860. account: name and password that the page asks for. mcp: serve its public events as tools too, which needs
    `gradio[mcp]` (`mcp_tools.require_mcp`). Nothing is ever shared through a tunnel.
    """
    strip_file_names()
    http_server.__dict__["get_space"] = lambda: None  # on a Space: no second server, on port 7887, that swaps the code
    fetch_nothing()
    bypass_proxy(host)
    if mcp:
        use_uploads_only()
    public = {event.api_name for event in page.fns.values() if event.api_visibility == "public"}
    _, address, _ = page.launch(
        server_name=f"[{host}]" if host and ":" in host.strip("[]") and host[0] != "[" else host,
        server_port=port,
        auth=account,
        theme=_theme(),
        css=asset("page.css"),
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=DEFAULT_LIMITS.max_bytes,
        state_session_capacity=SESSIONS,
        allowed_paths=[],
        footer_links=["api", "settings"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=mcp,
        app_kwargs={"middleware": [(CloseRoutes, (public,), {})]},  # what Starlette's Middleware unpacks to
    )
    return address


def _theme() -> themes.Base:
    """Colours of Gradio's controls; the page's own are in `static/page.css`. A web font would ask another host."""
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = themes.Default(primary_hue="sky", neutral_hue="slate", font=sans, font_mono=mono)
    return theme.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_700",  # white on primary_500, Gradio's own, has a contrast of 2.8
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )


class StripMessages(logging.Filter):
    """Keeps of a logged error its type and the place in the code, without its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record, and keeps it."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args = f"failed: {error_location(error)}", ()
            record.exc_info = record.exc_text = None
        return True


class _Traceback:
    """Stands in for the module `traceback` where Gradio prints errors."""

    def print_exc(self, *_: Any, **__: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            log.error("gradio failed: %s", error_location(error))

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)


def filter_logs() -> None:
    """From here on neither Gradio nor Uvicorn logs an error's message.

    Gradio prints the errors of requests that it cannot read, and Uvicorn logs those that nobody caught. Their messages
    quote the request: a program that sends a path instead of a file would leave a film's name in the log.
    """
    for module in (queueing, routes):
        vars(module)["traceback"] = _Traceback()
    logging.getLogger("uvicorn.error").addFilter(StripMessages())
