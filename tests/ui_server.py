"""A served page and what asks it: for the tests of the page over HTTP."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, build_opener

import gradio as gr
from ui_fakes import FILM, Bands, read_label

from spineseg.ui.page import build_page
from spineseg.ui.server import serve

DIRECT = build_opener(ProxyHandler({}))


@contextmanager
def running(
    login: tuple[str, str] | None = None, page: gr.Blocks | None = None, port: int | None = None, **options: Any
) -> Iterator[str]:
    """The address of a page that is served for the length of the block."""
    port = port or free_port()
    page = page or build_page({"bands": Bands()}, lambda path: FILM, read_label)
    try:
        yield serve(page, "127.0.0.1", port, login, **options).rstrip("/")
    finally:
        page.close(verbose=False)


def free_port() -> int:
    """Gradio's own search leaves a socket open for each port that is taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(
    url: str, data: bytes | None = None, opener: OpenerDirector | None = None, kind: str = "application/json"
) -> tuple[int, bytes]:
    """Status and content of the answer itself: no redirect is followed, no proxy asked."""
    opener = opener or build_opener(Stay, ProxyHandler({}))
    request = urllib.request.Request(url, data, {"Content-Type": kind} if data and kind else {})
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def stored(uploads: Path) -> set[Path]:
    return {path for path in uploads.rglob("*") if path.is_file()}


# ---- events ----


def post(url: str, body: object) -> tuple[int, Any]:
    """Status and JSON of the answer to a JSON body."""
    status, content = ask(url, json.dumps(body).encode())
    return status, json.loads(content) if content.startswith((b"{", b"[")) else content


def upload(page: str, content: bytes) -> dict[str, Any]:
    """An uploaded file as an event receives it."""
    body = b'--B\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n' + content + b"\r\n--B--\r\n"
    status, paths = ask(f"{page}/gradio_api/upload", body, kind="multipart/form-data; boundary=B")
    assert status == 200
    (path,) = json.loads(paths)
    return {"path": path, "orig_name": "token", "meta": {"_type": "gradio.FileData"}}


def call(page: str, name: str, *data: object) -> tuple[str, Any]:
    """How a call of a public event ended, "complete" or "error", and with what."""
    url = f"{page}/gradio_api/call/{name}"
    status, answer = post(url, {"data": data})
    assert status == 200, answer
    event, _, content = ask(f"{url}/{answer['event_id']}")[1].decode().strip().rpartition("\n\n")[2].partition("\n")
    return event.removeprefix("event: "), json.loads(content.removeprefix("data: "))


def join(page: str, event: int, session: object, *data: object) -> tuple[int, Any]:
    """What the queue says to a press, as the browser sends it."""
    body = {"data": data, "fn_index": event, "session_hash": session, "event_data": {}}
    return post(f"{page}/gradio_api/queue/join", body)


def messages(page: str, session: str) -> Iterator[dict[str, Any]]:
    """What the queue tells a session, until nothing of it is left to do."""
    with DIRECT.open(f"{page}/gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def press(page: str, event: int, session: str, *data: object) -> tuple[bool, Any]:
    """Whether a press succeeded, and its output; alone in its session."""
    status, answer = join(page, event, session, *data)
    assert status == 200, answer
    for message in messages(page, session):
        if message["msg"] == "process_completed":
            return message["success"], message["output"]
    raise AssertionError("no answer")
