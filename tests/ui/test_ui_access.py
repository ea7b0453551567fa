"""Who gets in, and which files and routes nobody gets: asked over HTTP of a page that runs."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import gradio as gr
import pytest
from gradio import queueing, routes
from spineseg.ui.quiet import Bare, keep_quiet
from ui_fakes import FILM, Bands

import app
from spineseg.io.labels import Label
from spineseg.ui.access import BadAccount, account, refused
from spineseg.ui.page import build_page, serve

ROOT = Path(__file__).parents[2]
LOGIN = ("radiology", "a long pass phrase")


def no_label(path: Path, shape: tuple[int, int]) -> Label:
    raise AssertionError("no label is read here")


def free_port() -> int:
    """Gradio's own search leaves a socket open for each port that is taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(login: tuple[str, str] | None = None) -> Iterator[str]:
    page = build_page({"bands": Bands()}, lambda path: FILM, no_label)
    try:
        yield serve(page, "127.0.0.1", free_port(), login).rstrip("/")
    finally:
        page.close(verbose=False)
        gr.close_all(verbose=False)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Gradio keeps files, for this module only."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def open_page(uploads: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patched:
        for module in (queueing, routes):
            patched.setattr(module, "traceback", traceback)  # so that it is put back
        keep_quiet()
        with running() as address:
            yield address


@pytest.fixture(scope="module")
def closed_page(uploads: Path) -> Iterator[str]:
    with running(LOGIN) as address:
        yield address


def status(url: str, opener: urllib.request.OpenerDirector | None = None, data: bytes | None = None) -> int:
    """Of the answer itself: no redirect is followed, no proxy asked."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = opener or urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=data), timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def post(url: str, data: bytes, kind: str) -> tuple[int, bytes]:
    """Status and content of the answer."""
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("sent", ["a whole length", "less than its length"])
def test_nothing_stays_of_an_upload_that_breaks_off(open_page: str, uploads: Path, sent: str):
    before = {path for path in uploads.rglob("*") if path.is_file()}
    body = b'--B\r\nContent-Disposition: form-data; name="files"; filename="Doe.dcm"\r\n\r\n' + b"Doe" * 1000
    length = len(body) + (10**6 if sent == "less than its length" else 0)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
    address = urllib.parse.urlsplit(open_page)
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=B\r\n\r\n".encode() + body)
        if length == len(body):
            assert client.recv(100).startswith(b"HTTP/1.1 4")
        else:
            wait_until(lambda: {path for path in uploads.rglob("*") if path.is_file()} != before)
    wait_until(lambda: {path for path in uploads.rglob("*") if path.is_file()} == before)


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


@pytest.mark.parametrize("film", ["/films/Doe-Jane.dcm", {"path": "/films/Doe-Jane.dcm"}, {"path": ["Doe-Jane"]}])
def test_a_request_that_gradio_cannot_read_leaves_no_word_in_the_log(
    open_page: str, film: object, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    caplog.clear()
    asked = f"{open_page}/gradio_api/call/segment"
    _, answer = post(asked, json.dumps({"data": [film, "", False]}).encode(), "application/json")
    with urllib.request.urlopen(f"{asked}/{json.loads(answer)['event_id']}", timeout=60) as events:
        assert b"event: error" in events.read()
    said = capfd.readouterr()
    assert "gradio failed: " in caplog.text
    assert "Doe" not in said.err + said.out + caplog.text and "Traceback" not in said.err + said.out


def test_what_uvicorn_logs_has_no_word_either():
    try:
        raise OSError("cannot open /films/Doe-Jane.dcm")
    except OSError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, "of %s", ("Doe",), sys.exc_info())
    assert Bare().filter(record)
    said = logging.Formatter().format(record)
    assert said.startswith("failed: OSError at test_ui_access.py:") and "Doe" not in said


FORBIDDEN = [
    "/etc/passwd",
    str(ROOT / "README.md"),
    str(ROOT / "app.py"),
    str(ROOT / "checkpoints" / "spineseg.safetensors"),
    "README.md",
    "../README.md",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "C:/Windows/win.ini",
    "//etc/passwd",
    "file:///etc/passwd",
    "{uploads}",
    "{uploads}/../secret",
    "{uploads}/a/../../secret",
    "{uploads}/link",
    "{uploads}%2F..%2Fsecret",
    "http://127.0.0.1:1/",
    "http:%2F%2F127.0.0.1:1/",
    "http%3A//169.254.169.254/latest/meta-data",
    "https://example.org/film",
    "data:text/html,hello",
]


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/gradio_api/file/"])
def test_files_that_are_no_visitors_are_refused(open_page: str, uploads: Path, route: str, name: str):
    (uploads.parent / "secret").write_text("someone's")
    link = uploads / "link"
    if not link.exists():
        link.symlink_to(uploads.parent / "secret")
    for quoted in (name.format(uploads=uploads), urllib.parse.quote(name.format(uploads=uploads), safe="")):
        assert status(open_page + route + quoted) in (403, 404), quoted


def test_a_visitors_own_file_is_given_to_who_knows_its_name(open_page: str, uploads: Path):
    own = uploads / "0123456789abcdef" / "masks.npy"
    own.parent.mkdir()
    own.write_bytes(b"masks")
    assert status(f"{open_page}/gradio_api/file={own}") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/proxy=https://example.hf.space/",
        "/gradio_api/monitoring",
        "/gradio_api/monitoring/summary",
        "/gradio_api/profiling/traces",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-code",
        "/gradio_api/custom_component/1/client/component/index.js",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/run-history/buckets",
        "/static/../../app.py",
        "/static/..%2f..%2fapp.py",
        "/static//etc/passwd",
        "/assets/..%2f..%2f..%2fapp.py",
        "/svelte/..%2f..%2fapp.py",
        "/.env",
        "/app.py",
    ],
)
def test_routes_that_the_page_has_no_use_for_are_closed(open_page: str, path: str):
    assert status(open_page + path) in (403, 404)


def test_the_page_itself_is_open(open_page: str):
    for path in ("/", "/config", "/gradio_api/info", "/theme.css"):
        assert status(open_page + path) == 200, path


@pytest.mark.parametrize(
    "path",
    ["/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/gradio_api/queue/data?session_hash=a"],
)
def test_without_the_password_nothing_is_given(closed_page: str, path: str):
    assert status(closed_page + path) in (401, 403)


def test_without_the_password_nothing_is_taken(closed_page: str, uploads: Path):
    before = sorted(uploads.rglob("*"))
    for path in ("/gradio_api/upload", "/gradio_api/call/segment", "/gradio_api/queue/join", "/gradio_api/run/segment"):
        assert status(closed_page + path, data=b"{}") in (401, 403), path
    assert sorted(uploads.rglob("*")) == before


def test_only_the_right_name_and_password_open_the_page(closed_page: str):
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({})
    )
    for user, password in (("radiology", "wrong"), ("", ""), ("Radiology", LOGIN[1]), ("radiology", LOGIN[1] + " ")):
        form = urllib.parse.urlencode({"username": user, "password": password}).encode()
        assert status(closed_page + "/login", opener, form) in (400, 422)
        assert status(closed_page + "/config", opener) == 401
    form = urllib.parse.urlencode({"username": LOGIN[0], "password": LOGIN[1]}).encode()
    assert status(closed_page + "/login", opener, form) == 200
    assert status(closed_page + "/config", opener) == 200


def test_an_account_is_whole_or_none():
    assert account({}) is None
    assert account({"SPINESEG_USER": "a", "SPINESEG_PASSWORD": "twelve signs"}) == ("a", "twelve signs")


@pytest.mark.parametrize(
    "environment",
    [
        {"SPINESEG_USER": "a"},
        {"SPINESEG_PASSWORD": "twelve signs"},
        {"SPINESEG_USER": "", "SPINESEG_PASSWORD": "twelve signs"},
        {"SPINESEG_USER": " ", "SPINESEG_PASSWORD": "twelve signs"},
        {"SPINESEG_USER": "a", "SPINESEG_PASSWORD": ""},
        {"SPINESEG_USER": "", "SPINESEG_PASSWORD": ""},
        {"SPINESEG_USER": "a", "SPINESEG_PASSWORD": "short"},
    ],
)
def test_half_an_account_is_refused_and_not_quoted(environment: dict[str, str]):
    with pytest.raises(BadAccount, match=r"^expected .+, got .+; ") as caught:
        account(environment)
    assert "short" not in str(caught.value).replace("shorter", "")


def test_half_an_account_ends_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("SPINESEG_USER", "radiology")
    monkeypatch.delenv("SPINESEG_PASSWORD", raising=False)
    with pytest.raises(SystemExit) as ended:
        app.main([])
    assert ended.value.code == 2
    assert "expected both SPINESEG_USER and SPINESEG_PASSWORD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/", False),
        ("/gradio_api/upload", False),
        ("/gradio_api/file=/tmp/a/masks.npy", False),
        ("/gradio_api/file=http://a", True),
        ("/gradio_api/file=http%253A//a", True),
        ("/gradio_api/file/https:/a", True),
        ("/behind/a/proxy/gradio_api/proxy=http://a", True),
        ("/proxy=http://a", True),
        ("/gradio_api/monitoring", True),
    ],
)
def test_what_is_closed(path: str, closed: bool):
    assert refused(path) is closed


def test_no_test_leaves_a_login_behind():
    assert "SPINESEG_USER" not in os.environ
