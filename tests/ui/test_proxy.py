"""The page between proxies: one that this machine must use for others, and one in front that adds a path."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from ui_fakes import FILM, Bands, read_label
from ui_server import DIRECT, ask, call, running, upload

from spineseg.ui.access import bypass_proxy
from spineseg.ui.page import build_page

ROOT = Path(__file__).parents[2]
PREFIX = "/hub/user/ann/proxy/7860"
START = """
import os, sys
from ui_fakes import FILM, Bands, read_label
from spineseg.ui.page import build_page
from spineseg.ui.server import serve
pages = [build_page({"bands": Bands()}, lambda path: FILM, read_label) for _ in sys.argv[1:]]
for page, host in zip(pages, sys.argv[1:]):
    print(serve(page, host or None), flush=True)
os._exit(0)  # closing takes seconds
"""


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Forbids(http.server.BaseHTTPRequestHandler):
    """A company's proxy, which answers 403 to everything of this machine."""

    def refuse(self) -> None:
        self.send_error(403)

    do_GET = do_HEAD = do_POST = do_CONNECT = refuse

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def proxies() -> Iterator[dict[str, str]]:
    """One that refuses, and two addresses of none."""
    with serving(Forbids) as forbids, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{unused.getsockname()[1]}"
        yield {"http_proxy": forbids, "HTTP_PROXY": f"http://{dead}", "all_proxy": f"socks5://{dead}"}


def start(proxy: dict[str, str], hosts: list[str]) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", START, *hosts], env={**clean, **proxy, "PYTHONPATH": paths}, **pipes)


def test_the_page_starts_where_a_proxy_is_set(proxies: dict[str, str]) -> None:
    """At four addresses, in three programs at the same time."""
    hosts = {"": "127.0.0.1", "0.0.0.0": "localhost", "localhost": "localhost", "::1": "[::1]"}
    if not Path("/proc/net/if_inet6").exists():
        del hosts["::1"]
    with ExitStack() as stack:
        programs = [stack.enter_context(start({name: proxy}, list(hosts))) for name, proxy in proxies.items()]
        for program in programs:
            stack.callback(program.kill)
        for program in programs:
            said, errors = program.communicate(timeout=120)
            assert program.returncode == 0, errors
            assert [line.partition("://")[2].rpartition(":")[0] for line in said.split()] == list(hosts.values())


def test_what_went_through_the_proxy_still_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    bypass_proxy("spine.example")
    assert not {"NO_PROXY", "no_proxy"} & os.environ.keys(), "without a proxy there is nothing to pass by"
    for name, value in {"https_proxy": "http://proxy.example:3128", "NO_PROXY": "pacs.example,10.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "pacs.example,10.0.0.1")
    bypass_proxy("spine.example")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert os.environ["NO_PROXY"].split(",") == [
        *("pacs.example", "10.0.0.1", "127.0.0.1", "localhost", "::1", "::", "spine.example")
    ]
    assert urllib.request.getproxies()["https"] == "http://proxy.example:3128"
    assert urllib.request.proxy_bypass("spine.example") and not urllib.request.proxy_bypass("hub.example")


# ---- in front of the page ----


def strips(page: str) -> type[http.server.BaseHTTPRequestHandler]:
    """A server in front, as JupyterHub's: passes on what is under PREFIX, without it, under its own Host."""

    class Front(http.server.BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = page + self.path.removeprefix(PREFIX)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            request = urllib.request.Request(url, body or None, headers, method=self.command)
            try:
                answer = DIRECT.open(request, timeout=60)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self.send_response(answer.status or 500)
                for name, value in answer.headers.items():
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_GET = do_HEAD = do_POST = pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Front


@pytest.fixture(scope="module")
def behind(uploads: Path) -> Iterator[str]:
    """The page's address behind a server that adds a path."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_ROOT_PATH", PREFIX)
        page = build_page({"bands": Bands()}, lambda path: FILM, read_label, ROOT / "examples")
        with running(page=page) as address, serving(strips(address)) as front:
            yield front + PREFIX


def test_programs_find_the_page_under_a_path_and_what_is_closed_stays_so(behind: str) -> None:
    ended, (answer,) = call(behind, "segment", upload(behind, b"film"), "", False)
    assert ended == "complete"
    assert answer["url"].startswith(f"{behind}/gradio_api/file=")
    assert ask(answer["url"])[1].startswith(b"\x93NUMPY")
    for path in ("gradio_api/proxy=http://127.0.0.1:1/", "gradio_api/file=/etc/passwd", "gradio_api/component_server"):
        assert ask(f"{behind}/{path}")[0] in (403, 404)
    for way in ("run", "api", "call"):
        assert ask(f"{behind}/gradio_api/{way}/listener", b'{"data": []}')[0] == 404


def test_the_page_works_under_a_path_in_a_browser(behind: str, chromium: str) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{behind}/")
        page.click("#examples button >> nth=1", timeout=60_000)
        page.wait_for_selector('.viewer[data-example="2-leaning"][data-masks="yes"]', timeout=60_000)
        with page.expect_download() as waited:
            page.click('[data-download="npy"]')
        assert Path(waited.value.path()).read_bytes().startswith(b"\x93NUMPY")
        browser.close()
    assert [url for url in asked if not url.startswith((behind, "data:", "blob:"))] == []
