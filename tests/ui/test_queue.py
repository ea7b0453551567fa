"""Each event of the page by every route that Gradio offers: who may call what, and who waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from ui_fakes import FILM, Bands, read_label
from ui_server import ask, call, join, messages, post, press, running, stored, upload

from spineseg.film import BadInput, Film
from spineseg.inference.prediction import Prediction
from spineseg.ui.access import refused
from spineseg.ui.page import QUEUE_LENGTH, build_page

ROOT = Path(__file__).parents[2]
PUBLIC = {"segment", "measure"}
WITHOUT_A_SESSION = {"status", "about", "_labels", "_menus", "batch_film", "close_tab"}
"""Private events that keep nothing between two requests."""
NO_SESSIONS = (None, "", "None", "null", "a", "../../a", "é" * 8, 65 * "a")
READ_S = 1.0
"""How long a slow film is read before it is refused."""


@dataclass
class Slow(Bands):
    """Takes a moment for each film and remembers when; `go` lets it go on."""

    seconds: float = 0.02
    spans: list[tuple[float, float]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)

    def __call__(self, film: Film, /) -> Prediction:
        began = time.monotonic()
        self.started.set()
        assert self.go.wait(60)
        time.sleep(self.seconds)
        self.spans.append((began + self.seconds / 10, time.monotonic()))
        return super().__call__(film)

    def overlapping(self) -> bool:
        spans = sorted(self.spans)
        return any(after[0] < before[1] for before, after in pairwise(spans))


def read(path: Path) -> Film:
    if path.read_bytes() == b"slow":
        time.sleep(READ_S)
        raise BadInput("expected a film that is read within its time, got one that takes longer; export it again")
    return FILM


@dataclass(frozen=True)
class Served:
    address: str
    page: gr.Blocks
    model: Slow

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.page.get_config_file()["dependencies"]  # pyright: ignore

    def event(self, elem_id: str, name: str) -> int:
        """The event of that control."""
        (block,) = (number for number, block in self.page.blocks.items() if getattr(block, "elem_id", "") == elem_id)
        return next(event["id"] for event in self.events if (block, name) in map(tuple, event["targets"]))

    def open(self, session: str) -> None:
        """A film, as the browser does: the upload is read."""
        assert press(self.address, self.event("film", "upload"), session, upload(self.address, b"film"))[0]


@pytest.fixture(scope="module")
def served(uploads: Path) -> Iterator[Served]:
    model = Slow()
    page = build_page({"bands": model, "other": model}, read, read_label, ROOT / "examples")
    with running(page=page) as address:
        yield Served(address, page, model)


@pytest.fixture(autouse=True)
def _quick(served: Served) -> None:
    served.model.spans.clear()
    served.model.started.clear()
    served.model.go.set()


# ---- routes ----


def posts(routes: list[Any]) -> set[str]:
    """Every path that takes a POST, with its place holders, also of routers that are included."""
    inner = [
        path for route in routes if hasattr(route, "original_router") for path in posts(route.original_router.routes)
    ]
    return {*inner, *(route.path.rstrip("/") for route in routes if "POST" in (getattr(route, "methods", None) or ()))}


def test_every_route_that_takes_something_is_closed_or_known(served: Served) -> None:
    """A new version of Gradio that opens another one fails here."""
    api = "/gradio_api"
    opened = {path for path in posts(served.page.app.routes) if not refused(path, ["{api_name}"])}
    by_name = {f"{api}/{way}/{{api_name}}" for way in ("run", "call", "call/v2")}
    assert opened == {"/login", *by_name, *(f"{api}/{name}" for name in ("upload", "queue/join", "cancel", "reset"))}


def test_private_events_cannot_be_called_by_name(served: Served) -> None:
    """Nor public ones past the queue. What runs outside of the queue gives everyone the same constants."""
    answers: dict[str, set[bytes]] = {}
    for event in served.events:
        name, private = event["api_name"], event["api_visibility"] == "private"
        assert private is (name not in PUBLIC)
        for way in ("run", "api", "call", "call/v2"):
            for path in (f"{way}/{name}", f"{way}/{name}/", f"{way}/%{ord(name[0]):x}{name[1:]}"):
                for body in (b'{"data": []}', b'{"data": [], "session_hash": "a-visitor", "fn_index": 4}'):
                    status, content = ask(f"{served.address}/gradio_api/{path}", body)
                    if way == "run" and not event["queue"] and b"fn_index" not in body:
                        answers.setdefault(name.rstrip("_0123456789"), set()).add(content.partition(b',"duration')[0])
                    elif private or not way.startswith("call"):
                        assert status == 404, path
    constants = ("_forget", "_hidden", "_offered", "_refused", "lambda")
    assert {name: len(different) for name, different in answers.items()} == dict.fromkeys(constants, 1)


@pytest.mark.parametrize("session", NO_SESSIONS)
def test_an_event_that_keeps_a_film_refuses_whoever_has_no_session_of_their_own(served: Served, session: Any) -> None:
    queued = [event for event in served.events if event["queue"]]
    kept = [e for e in queued if e["api_name"].rstrip("_0123456789") not in WITHOUT_A_SESSION | PUBLIC]
    assert len(kept) >= 13
    if not session:  # Gradio itself refuses it
        assert 200 not in {join(served.address, event["id"], session)[0] for event in kept}
        return
    quoted = "".join(f"%{byte:02x}" for byte in session.encode())
    joined = {}
    for event in kept:
        data = [None] * len(event["inputs"])
        joined[join(served.address, event["id"], session, *data)[1]["event_id"]] = event["api_name"]
    for message in messages(served.address, quoted):
        if message["msg"] == "process_completed":
            name = joined.pop(message["event_id"])
            assert not message["success"], name
            assert "Expected a session with a random name" in (message["output"]["error"] or ""), name
    assert not joined


# ---- the queue ----


def test_one_film_at_a_time_whoever_asks(served: Served) -> None:
    """Three calls, three measurements, three presses, three of a batch."""
    served.model.seconds = 0.05
    segment, batch = served.event("run-again", "click"), served.event("batch", "film")
    for k in range(3):
        served.open(f"visitor-{k}")
    films = [upload(served.address, b"film") for _ in range(9)]
    with ThreadPoolExecutor(12) as pool:
        calls = [
            pool.submit(call, served.address, name, films[3 * i + k], "", False)
            for i, name in enumerate(sorted(PUBLIC))
            for k in range(3)
        ]
        presses = [
            pool.submit(press, served.address, segment, f"visitor-{k}", "", "bands", False, "", "/shown")
            for k in range(3)
        ]
        presses += [
            pool.submit(press, served.address, batch, f"batch-{k}", {"file": films[6 + k]}, "bands", False)
            for k in range(3)
        ]
    served.model.seconds = 0.02
    assert [done.result()[0] for done in calls] == ["complete"] * 6
    assert [done.result()[0] for done in presses] == [True] * 6
    assert len(served.model.spans) == 12
    assert not served.model.overlapping()


def test_the_queue_is_full_at_its_length_and_says_so(served: Served) -> None:
    segment = served.event("run-again", "click")
    served.open("visitor")
    served.model.go.clear()
    assert join(served.address, segment, "visitor", "", "bands", False, "", "/shown")[0] == 200
    assert served.model.started.wait(60)
    waiting = [
        join(served.address, segment, "visitor", "", "bands", False, "", "/shown")[0] for _ in range(QUEUE_LENGTH)
    ]
    assert waiting == [200] * QUEUE_LENGTH
    full = 503, {"detail": f"Queue is full. Max size is {QUEUE_LENGTH} and size is {QUEUE_LENGTH}."}
    assert join(served.address, segment, "visitor", "", "bands", False, "", "/shown") == full
    assert post(f"{served.address}/gradio_api/call/segment", {"data": [None, "", False]}) == full
    served.model.go.set()
    done = [message for message in messages(served.address, "visitor") if message["msg"] == "process_completed"]
    assert len(done) == 1 + QUEUE_LENGTH


# ---- files that take long ----


def finished(served: Served, by: str, slow: int) -> float:
    """Seconds until fifteen visitors have their answers, who come just after `slow` others with slow films."""
    film, batch = served.event("film", "upload"), served.event("batch", "film")
    segment = served.event("run-again", "click")

    def visit(number: int, sent: dict[str, Any]) -> None:
        session = f"visitor-{slow}-{number}"
        if by == "call":
            call(served.address, "segment", sent, "", False)
        elif by == "batch":
            press(served.address, batch, session, {"file": sent}, "bands", False)
        elif press(served.address, film, session, sent)[1]["data"][-1] is None:  # not refused
            press(served.address, segment, session, "", "bands", False, "", "/shown")

    slow_films = [upload(served.address, b"slow") for _ in range(slow)]
    films = [upload(served.address, b"film") for _ in range(15)]
    with ThreadPoolExecutor(20) as pool:
        for number, sent in enumerate(slow_films):
            pool.submit(visit, 100 + number, sent)
        time.sleep(0.2)
        began = time.monotonic()
        wait([pool.submit(visit, number, sent) for number, sent in enumerate(films)])
        return time.monotonic() - began


@pytest.mark.parametrize("by", ["call", "batch", "press"])
def test_slow_files_of_five_visitors_hold_up_none_of_the_fifteen_others(served: Served, by: str) -> None:
    alone, beside = finished(served, by, 0), finished(served, by, 5)
    assert len(served.model.spans) == 30
    assert beside < alone + 2 * READ_S, "five slow files, one after the other, would add five times that"


def test_nothing_is_left_of_any_upload(served: Served, uploads: Path) -> None:
    time.sleep(READ_S / 10)
    assert {path for path in stored(uploads) if path.read_bytes() in (b"film", b"slow")} == set()
