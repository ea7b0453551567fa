"""The page as it is served: asked over HTTP and raw sockets for what nobody may get, and sent what nobody may send."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import numpy as np
import pytest
from gradio import queueing, routes
from gradio_client import Client, handle_file
from ui_server import ask, running, stored

from spineseg.io.limits import DEFAULT_LIMITS
from spineseg.ui import launch as app
from spineseg.ui.access import BadAccount, account, refused
from spineseg.ui.server import StripMessages, filter_logs

ROOT = Path(__file__).parents[2]
LOGIN = ("radiology", "a long pass phrase")
MULTIPART = "multipart/form-data; boundary=B"
NAME = "Doe-Jane"
"""A file name as hospitals give them: it must be found neither on the disk nor in the log."""


@pytest.fixture(scope="module")
def open_page(uploads: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patched:
        for module in (queueing, routes):
            patched.setattr(module, "traceback", traceback)  # so that it is put back
        filter_logs()
        with running() as address:
            yield address


@pytest.fixture(scope="module")
def closed_page(uploads: Path) -> Iterator[str]:
    with running(LOGIN) as address:
        yield address


# ---- uploads ----


def part(disposition: str, content: bytes = b"film") -> bytes:
    return f"--B\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def send(page: str, body: bytes, *content_types: str, length: int | None = None) -> socket.socket:
    """The connection over which an upload with these Content-Type headers was sent."""
    address = urllib.parse.urlsplit(page)
    lines = ["POST /gradio_api/upload HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {content_type}" for content_type in content_types]
    client = socket.create_connection((address.hostname, address.port), timeout=60)
    client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    return client


def answer_to(page: str, body: bytes, *content_types: str) -> tuple[int, bytes]:
    with send(page, body, *content_types) as client:
        head, _, content = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), content


def wait_until_stored(uploads: Path, expected: set[Path], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while stored(uploads) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stored(uploads) == expected


@pytest.fixture
def no_name_anywhere(
    open_page: str, uploads: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """After the test the visitor's file name is neither on the disk nor in the log."""
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert "Doe" not in printed.out + printed.err + caplog.text
    assert "Traceback" not in printed.out + printed.err
    assert [path for path in uploads.rglob("*") if "Doe" in path.name] == []


DISPOSITIONS = [
    'form-data; name="files"; filename="{}.dcm"',
    'form-data; name="files"; filename="{}.dcm"; filename="second {}.dcm"',
    'form-data; name="files"; filename="a\\"b {}.dcm"',
    'form-data; name="files"; filename="x; filename={}; y"',
    'form-data; name="files"; filename="C:\\films\\{}.dcm"',
    "form-data; name=files; filename={}.dcm",
    'form-data; filename="{}.dcm"; name="files"',
    'form-data;name="files";\tfilename="{}.dcm"',
    'form-data; name="files"; filename="x"; filename \t= "{}.dcm"',
    'form-data; name="files"; filename="x"; filename*=UTF-8\'\'{}.dcm',
    'form-data; name="files"; filename="x"\r\nX-Name: {}',
    'form-data; name="files"; filename="x"\r\nContent-Disposition: form-data; name="files"; filename="{}"',
    'FORM-DATA; NAME="files"; name="files"; FileName="{}"; filename="../../{}"',
]


@pytest.mark.parametrize("disposition", DISPOSITIONS)
@pytest.mark.usefixtures("no_name_anywhere")
def test_an_upload_is_stored_under_a_random_name(open_page: str, uploads: Path, disposition: str) -> None:
    films = [b"\r\n--Bfilm\r\n\r\nfilename=Doe", b""]
    body = b"".join(part(disposition.replace("{}", NAME), film) for film in films) + b"--B--\r\n"
    status, content = answer_to(open_page, body, 'Multipart/Form-Data; x="boundary=a"; boundary="B"')
    assert status == 200
    paths = [Path(path) for path in json.loads(content)]
    assert [path.read_bytes() for path in paths] == films
    assert all(re.fullmatch("[0-9a-f]{24}", path.name) for path in paths)
    for path in paths:
        path.unlink()


@pytest.mark.parametrize(
    ("content_types", "disposition"),
    [
        ((MULTIPART, "multipart/form-data; boundary=C"), DISPOSITIONS[0]),
        (("multipart/form-data; boundary=C", MULTIPART), DISPOSITIONS[0]),
        ((MULTIPART, MULTIPART), DISPOSITIONS[0]),
        ((MULTIPART, "text/plain"), DISPOSITIONS[0]),
        (("text/plain", MULTIPART), DISPOSITIONS[0]),
        ((), DISPOSITIONS[0]),
        (("multipart/form-data",), DISPOSITIONS[0]),
        (("multipart/form-data; boundary=",), DISPOSITIONS[0]),
        (("multipart/form-data; boundary=B; boundary=C",), DISPOSITIONS[0]),
        (("multipart/form-data; boundary=" + 300 * "B",), DISPOSITIONS[0]),
        (("multipart/form-data; xboundary=B",), DISPOSITIONS[0]),
        (("multipart/form-data, multipart/form-data; boundary=B",), DISPOSITIONS[0]),
        ((MULTIPART,), "form-data; name=\"files\"; filename*=UTF-8''{}.dcm"),
        ((MULTIPART,), 'form-data; name="other"; filename="{}.dcm"'),
        ((MULTIPART,), 'form-data; name="files"'),
        ((MULTIPART,), 'form-data; filename="{}.dcm"'),
    ],
)
@pytest.mark.usefixtures("no_name_anywhere")
def test_a_malformed_upload_is_refused_and_leaves_nothing(
    open_page: str, uploads: Path, content_types: tuple[str, ...], disposition: str
) -> None:
    before = stored(uploads)
    body = part(DISPOSITIONS[0].replace("{}", NAME)) + part(disposition.replace("{}", NAME)) + b"--B--\r\n"
    assert answer_to(open_page, body, *content_types)[0] == 400
    assert stored(uploads) == before


@pytest.mark.parametrize("cut", ["whole length", "less than its length"])
@pytest.mark.usefixtures("no_name_anywhere")
def test_an_upload_that_is_cut_short_leaves_nothing(open_page: str, uploads: Path, cut: str) -> None:
    before = stored(uploads)
    body = part(DISPOSITIONS[0].replace("{}", NAME), b"film" * 1000)
    with send(open_page, body, MULTIPART, length=len(body) + (10**6 if cut == "less than its length" else 0)) as client:
        if cut == "whole length":
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        else:
            while stored(uploads) == before:
                time.sleep(0.01)
            assert not any("Doe" in path.name for path in stored(uploads))
    wait_until_stored(uploads, before)


def mutated(body: bytes, rng: np.random.Generator) -> bytes:
    """One to four times: bytes overwritten, a piece removed, doubled or moved to another place, or the end cut off."""
    for _ in range(rng.integers(1, 5)):
        start, length = int(rng.integers(len(body) + 1)), int(rng.integers(1, 40))
        before, piece, after = body[:start], body[start : start + length], body[start + length :]
        other = int(rng.integers(len(body) + 1))
        ways = (before + rng.bytes(len(piece)) + after, before + after, before + 2 * piece + after, before)
        ways += (body[:other] + piece + body[other:],)
        body = ways[rng.choice(len(ways), p=(0.3, 0.2, 0.2, 0.1, 0.2))]
    return body


@pytest.mark.usefixtures("no_name_anywhere")
def test_damaged_uploads_are_answered_and_leave_nothing(
    open_page: str, uploads: Path, rng: np.random.Generator
) -> None:
    before, answered = stored(uploads), set()
    for number in range(200):
        whole = [part(DISPOSITIONS[(number + k) % len(DISPOSITIONS)].replace("{}", NAME)) for k in range(2)]
        kind = MULTIPART.encode() if number % 4 else mutated(MULTIPART.encode(), rng).translate(None, b"\r\n")
        status, content = answer_to(open_page, mutated(b"".join(whole) + b"--B--\r\n", rng), kind.decode("latin-1"))
        answered.add(status)
        for path in json.loads(content) if status == 200 else ():
            assert re.fullmatch("[0-9a-f]{24}", Path(path).name)
            Path(path).unlink(missing_ok=True)
        assert stored(uploads) == before, number
    assert {200, 400} <= answered <= {200, 400, 413}


@pytest.mark.usefixtures("no_name_anywhere")
def test_a_film_that_is_too_large_is_told_the_limit_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(vars(DEFAULT_LIMITS), "max_bytes", 2**20)
    (tmp_path / "film.dcm").write_bytes(bytes(2**20 + 1))
    with running() as page:
        body = part(DISPOSITIONS[0].replace("{}", NAME), bytes(2**20 + 1)) + b"--B--\r\n"
        status, content = answer_to(f"{page}/gradio_api/upload", body, MULTIPART)
        client = Client(page, verbose=False, download_files=tmp_path)
        with pytest.raises(ValueError, match=r"film\.dcm exceeds the maximum file size of 1048576 bytes"):
            client.predict(handle_file(str(tmp_path / "film.dcm")), api_name="/segment")
    assert status == 413
    assert b"exceeds the maximum allowed size of 1 MB; export a single film, compressed" in content


# ---- the log ----


@pytest.mark.parametrize("film", ["/films/Doe.dcm", {"path": "/films/Doe.dcm"}, {"path": ["Doe"]}])
@pytest.mark.usefixtures("no_name_anywhere")
def test_a_request_that_gradio_cannot_read_leaves_no_word_in_the_log(
    open_page: str, film: object, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{open_page}/gradio_api/call/segment"
    _, answer = ask(url, json.dumps({"data": [film, "", False]}).encode())
    assert b"event: error" in ask(f"{url}/{json.loads(answer)['event_id']}")[1]
    assert "gradio failed: " in caplog.text


def test_what_uvicorn_logs_has_no_word_either() -> None:
    try:
        raise OSError("cannot open /films/Doe-Jane.dcm")
    except OSError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, "of %s", ("Doe",), sys.exc_info())
    assert StripMessages().filter(record)
    line = logging.Formatter().format(record)
    assert line.startswith("failed: OSError at test_server.py:") and "Doe" not in line


# ---- files and routes ----

FORBIDDEN = [
    *("/etc/passwd", "README.md", "../README.md", "/proc/self/environ", "/proc/self/fd/0", "C:/Windows/win.ini"),
    *(str(ROOT / name) for name in ("README.md", "app.py", "checkpoints/spineseg.safetensors")),
    *("//etc/passwd", "file:///etc/passwd", "http:%2F%2F127.0.0.1:1/", "http%3A//169.254.169.254/latest/meta-data"),
    *("http://127.0.0.1:1/", "https://example.org/film", "data:text/html,hello"),
    *("{uploads}", "{uploads}/../secret", "{uploads}/a/../../secret", "{uploads}/link", "{uploads}%2F..%2Fsecret"),
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_files_that_are_no_visitors_are_refused(open_page: str, uploads: Path, name: str) -> None:
    (uploads.parent / "secret").write_text("someone's")
    link = uploads / "link"
    if not link.exists():
        link.symlink_to(uploads.parent / "secret")
    plain = name.format(uploads=uploads)
    for route in ("/gradio_api/file=", "/gradio_api/file/"):
        for quoted in (plain, urllib.parse.quote(plain, safe="")):
            assert ask(open_page + route + quoted)[0] in (403, 404), quoted
    link.unlink()


def test_a_visitors_own_file_is_given_to_who_knows_its_name(open_page: str, uploads: Path) -> None:
    own = uploads / "0123456789abcdef" / "masks.npy"
    own.parent.mkdir()
    own.write_bytes(b"masks")
    assert ask(f"{open_page}/gradio_api/file={own}") == (200, b"masks")


CLOSED = [
    *("/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/proxy=https://example.hf.space/", "/gradio_api/monitoring"),
    *("/gradio_api/monitoring/summary", "/gradio_api/profiling/traces", "/gradio_api/dev/reload"),
    *("/gradio_api/vibe-code", "/gradio_api/stream/a/b/1/playlist.m3u8", "/run-history/buckets"),
    "/gradio_api/custom_component/1/client/component/index.js",
    *("/static/../../app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd", "/assets/..%2f..%2f..%2fapp.py"),
    *("/svelte/..%2f..%2fapp.py", "/.env", "/app.py"),
]


@pytest.mark.parametrize("path", CLOSED)
def test_routes_that_the_page_has_no_use_for_are_closed(open_page: str, path: str) -> None:
    assert ask(open_page + path)[0] in (403, 404)


def test_a_body_that_is_no_upload_is_limited(open_page: str) -> None:
    most = DEFAULT_LIMITS.max_request_bytes
    assert ask(f"{open_page}/gradio_api/queue/join", b"[" * (most + 1))[0] == 413
    address = urllib.parse.urlsplit(open_page)
    headers = "Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    head = f"POST /gradio_api/queue/join HTTP/1.1\r\n{headers}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        client.sendall(head.encode())
        with suppress(OSError):  # it is cut on the way
            for _ in range(most // 2**20 + 2):
                client.sendall(b"100000\r\n" + b"[" * 2**20 + b"\r\n")
            client.sendall(b"0\r\n\r\n")
        assert b" 200 " not in client.recv(100)
    assert ask(f"{open_page}/config")[0] == 200


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/theme.css"])
def test_the_page_itself_is_open(open_page: str, path: str) -> None:
    assert ask(open_page + path)[0] == 200


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/gradio_api/upload", False),
        ("/gradio_api/file=/tmp/a/masks.npy", False),
        ("/gradio_api/file=http%253A//a", True),
        ("/gradio_api/file/https:/a", True),
        ("/behind/a/proxy/gradio_api/proxy=http://a", True),
        ("/proxy=http://a", True),
    ],
)
def test_what_is_closed(path: str, closed: bool) -> None:
    assert refused(path) is closed


# ---- login ----


def test_without_the_password_nothing_is_given_or_taken(closed_page: str, uploads: Path) -> None:
    before = sorted(uploads.rglob("*"))
    for path in (
        "/config",
        "/gradio_api/info",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/queue/data?session_hash=a",
    ):
        assert ask(closed_page + path)[0] in (401, 403), path
    for path in ("upload", "call/segment", "queue/join", "run/segment"):
        assert ask(f"{closed_page}/gradio_api/{path}", b"{}", kind="")[0] in (401, 403), path
    assert sorted(uploads.rglob("*")) == before


def test_only_the_right_name_and_password_open_the_page(closed_page: str) -> None:
    opener = build_opener(HTTPCookieProcessor(CookieJar()), ProxyHandler({}))

    def log_in(user: str, password: str) -> tuple[int, int]:
        form = urllib.parse.urlencode({"username": user, "password": password}).encode()
        status, _ = ask(closed_page + "/login", form, opener, "application/x-www-form-urlencoded")
        return status, ask(closed_page + "/config", opener=opener)[0]

    for user, password in (("radiology", "wrong"), ("", ""), ("Radiology", LOGIN[1]), ("radiology", LOGIN[1] + " ")):
        assert log_in(user, password) in ((400, 401), (422, 401))
    assert log_in(*LOGIN) == (200, 200)


def test_an_account_is_whole_or_none() -> None:
    assert account({}) is None
    assert account({"SPINESEG_USER": "a", "SPINESEG_PASSWORD": "twelve signs"}) == ("a", "twelve signs")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("a", None),
        (None, "twelve signs"),
        ("", "twelve signs"),
        (" ", "twelve signs"),
        ("a", ""),
        ("", ""),
        ("a", "short"),
    ],
)
def test_half_an_account_is_refused_and_not_quoted(user: str | None, password: str | None) -> None:
    given = {"SPINESEG_USER": user, "SPINESEG_PASSWORD": password}
    with pytest.raises(BadAccount, match=r"^expected .+, got .+; ") as caught:
        account({name: value for name, value in given.items() if value is not None})
    assert "short" not in str(caught.value).replace("shorter", "")


def test_half_an_account_ends_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SPINESEG_USER", "radiology")
    monkeypatch.delenv("SPINESEG_PASSWORD", raising=False)
    with pytest.raises(SystemExit) as ended:
        app.main([])
    assert ended.value.code == 2
    assert "expected both SPINESEG_USER and SPINESEG_PASSWORD" in capsys.readouterr().err
