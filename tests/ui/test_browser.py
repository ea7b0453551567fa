"""The page from end to end: the real program, simulated films, a real headless Chromium."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAME = "Doe-Jane-1970"
"""A file name as hospitals give them: it must be found nowhere but in this browser."""
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # a busy machine is slowed most by threads that wait for each other

# The colour of every pixel of the overlay, summed: changes when anything drawn there does.
DRAWN = """() => {
  const canvas = document.querySelector('.viewer canvas.overlay');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((sum, value) => sum + value, 0);
}"""
# Milliseconds of drawing after the press of a switch, once the next frame is there.
SWITCH = """async (channel) => {
  const viewer = document.querySelector('.viewer'), before = viewer.dataset.drawn;
  viewer.querySelector(`[data-channel="${channel}"]`).click();
  while (viewer.dataset.drawn === before) await new Promise(requestAnimationFrame);
  return Number(viewer.dataset.drawMs);
}"""


def run(*arguments: str | Path) -> None:
    """One of the package's commands."""
    command = [sys.executable, "-m", "spineseg", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, env=ONE_THREAD, check=True, capture_output=True)


@dataclass(frozen=True)
class Made:
    """Two simulated films, the first with its label and with the array that the command line makes of it."""

    film: Path
    other: Path
    label: Path
    array: bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("simulated")
    run("simulate", "--out", folder, "--count", "2", "--seed", "1", "--rows", "640", "--processes", "1")
    first, second = sorted((folder / "img").glob("*.dcm"))
    label = next((folder / "label").glob(f"{first.stem}.*"))
    film = shutil.copy(first, folder / f"{NAME}.dcm")
    run("predict", film, "--out", folder)
    return Made(Path(film), second, label, (folder / f"{NAME}.npy").read_bytes())


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained checkpoint without a decoder: its channels tell no vertebra from another."""
    import torch

    from spineseg.model.card import Card
    from spineseg.model.checkpoint import save_checkpoint
    from spineseg.model.config import GridConfig, UNetConfig
    from spineseg.model.unet import UNet

    torch.manual_seed(0)
    grid, config = GridConfig(rows=64, columns=64), UNetConfig(in_channels=2, features=(4, 8))
    path = tmp_path_factory.mktemp("tiny") / "collapsed.safetensors"
    save_checkpoint(path, UNet(config), Card("collapsed", grid, config, decoder="none"))
    return path


@dataclass(frozen=True)
class Server:
    address: str
    disk: Path
    log: Path


@pytest.fixture(scope="module")
def server(collapsed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`python app.py` with two models, where it says that it is, its folder for uploads and what it printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    disk, log = folder / "uploads", folder / "log"
    disk.mkdir()
    models = ["--checkpoint", str(ROOT / "checkpoints" / "spineseg.safetensors"), "--checkpoint", str(collapsed)]
    command = [sys.executable, "app.py", "--port", str(port), *models]
    environment = {**ONE_THREAD, "GRADIO_TEMP_DIR": str(disk), "TMPDIR": str(folder)}
    with (
        log.open("w") as written,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=written, text=True
        ) as process,
    ):
        assert process.stdout
        try:
            said = process.stdout.readline()  # the end of the file, and so "", where the program ended
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found, said + log.read_text()
            yield Server(found[0], disk, log)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield browser
        browser.close()


class Visitor:
    """A person with a browser of their own: what they press, and what their browser asked for meanwhile."""

    def __init__(self, browser: Browser, server: Server, **context: object) -> None:
        options = {"viewport": {"width": 1400, "height": 900}, **context}
        self.page: Page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.goto(server.address)
        self.page.wait_for_selector('.legend [role="switch"]')

    def open(self, *films: Path) -> None:
        before = self.page.get_attribute(".viewer", "data-loaded")
        self.page.set_input_files("#film input", list(films))
        self.page.wait_for_function(f"document.querySelector('.viewer').dataset.loaded !== '{before}'")

    def segment(self) -> None:
        """Nothing need be pressed."""
        self.page.wait_for_selector('.viewer[data-masks="yes"]')

    def refer(self, label: Path) -> None:
        self.unfold("#compare")
        self.page.set_input_files("#reference input", label)

    def unfold(self, accordion: str) -> None:
        self.page.click(f"{accordion} > button")

    def take(self, kind: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(f'[data-take="{kind}"]')
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def mode(self, name: str) -> None:
        self.page.click(f'.modes [data-mode="{name}"]')
        self.page.wait_for_selector(f'.viewer[data-mode="{name}"]')

    @property
    def outside(self) -> list[str]:
        """Requests to any host but the page's own."""
        own = "/".join(self.page.url.split("/")[:3])
        return [url for url in self.requests if not url.startswith((own, "blob:", "data:"))]

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[Visitor]:
    visitor = Visitor(browser, server)
    yield visitor
    assert visitor.outside == [], "no other host is asked for anything"
    assert visitor.errors == []
    visitor.close()


def test_switches_ask_the_server_nothing_and_show_at_once(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    assert page.inner_text("body").count("not for diagnosis") == 1, "said once, where it is seen"
    assert page.is_disabled('[data-take="npy"]'), "without masks there is no array"
    visitor.open(made.film)
    visitor.segment()
    page.wait_for_function(f"({DRAWN})() > 0")
    page.wait_for_timeout(500)  # the presses' last requests
    asked = len(visitor.requests)
    whole = page.evaluate(DRAWN)
    took = [page.evaluate(SWITCH, "2")]
    assert page.evaluate(DRAWN) < whole, "one vertebra less"
    took += [page.evaluate(SWITCH, "2")]
    assert page.evaluate(DRAWN) == whole, "and back"
    took += [page.evaluate(SWITCH, "6")]
    assert page.evaluate(DRAWN) > whole, "the background"
    took += [page.evaluate(SWITCH, "6") for _ in range(3)]
    assert statistics.median(took) < 100, "milliseconds"

    page.focus(".stage")
    for key in ("7", "7", "O", "N", "O", "N", "[", "]", "I", "I", "+", "f", "A", "A", "R", "M"):
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    page.wait_for_function(f"({DRAWN})() > 0")
    page.keyboard.press("Shift+Digit3")
    switches = page.locator('.legend [role="switch"]')
    checked = [switches.nth(k).get_attribute("aria-checked") for k in range(7)]
    assert checked == ["false", "false", "true", "false", "false", "false", "false"]
    page.keyboard.press("?")
    assert "pinch zooms" in page.inner_text("dialog.help")
    page.keyboard.press("Escape")
    page.hover(".stage")
    page.wait_for_function(
        "/^row \\d+ +column \\d+ +(background|[LS]\\d)/.test(document.querySelector('.readout').textContent)"
    )
    assert len(visitor.requests) == asked, "none of that asks the server"


def test_what_is_taken_home_is_what_the_command_line_makes(visitor: Visitor, made: Made) -> None:
    visitor.open(made.film)
    visitor.segment()
    page = visitor.page
    asked = len(visitor.requests)
    name, array = visitor.take("npy")
    assert [url for url in visitor.requests[asked:] if not url.startswith("blob:")] == [], "the browser writes it"
    assert (name, array) == (f"{NAME}.npy", made.array)
    expected = np.load(io.BytesIO(made.array))
    files = {kind: visitor.take(kind) for kind in ("npz", "mat", "overlay", "labels", "json")}
    endings = {"npz": ".npz", "mat": ".mat", "overlay": "-overlay.png", "labels": "-labels.png", "json": ".json"}
    assert {kind: name for kind, (name, _) in files.items()} == {k: NAME + ending for k, ending in endings.items()}
    assert np.array_equal(np.load(io.BytesIO(files["npz"][1]))["masks"], expected)
    assert np.array_equal(scipy.io.loadmat(io.BytesIO(files["mat"][1]))["label_separated"], expected)
    labels = cv2.imdecode(np.frombuffer(files["labels"][1], np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert np.array_equal(labels == 4, expected[..., 3] == 1)
    report = json.loads(files["json"][1])
    assert report["model"]["name"].startswith("spineseg")
    assert NAME not in json.dumps(report)
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert "Doe" not in page.url


def test_a_correction_goes_into_the_scores_the_lines_and_the_files(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    visitor.open(made.film)
    visitor.segment()
    visitor.refer(made.label)
    page.wait_for_selector("#comparison .agree")
    assert page.input_value("#against input") == "a reference file"
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector("#comparison .disagree")
    assert "Now empty: L1" in page.inner_text("#findings") or "now empty: L1" in page.inner_text("#findings")
    assert page.locator(".legend button.absent").all_inner_texts() == []  # the reference still has L1
    name, array = visitor.take("npy")
    assert name == f"{NAME}-corrected.npy"
    moved, plain = np.load(io.BytesIO(array)), np.load(io.BytesIO(made.array))
    assert np.array_equal(moved[..., 1:6], plain[..., :5])
    for mode in ("difference", "swipe", "blink", "b", "a"):
        before = page.evaluate(DRAWN)
        visitor.mode(mode)
        page.wait_for_function(f"({DRAWN})() !== {before}")
    visitor.mode("difference")
    assert "other name" in page.inner_text(".viewer .key")
    page.click("#comparison [data-correct]")  # "move all names one higher"
    page.wait_for_selector("#comparison .agree")
    assert visitor.take("npy") == (f"{NAME}.npy", made.array), "as it was"


def test_a_second_model_and_the_raw_view(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    visitor.open(made.film)
    visitor.segment()
    visitor.unfold("#compare")
    page.click("#against input")
    page.click('[role="option"]:has-text("collapsed")')
    page.wait_for_selector('.viewer[data-other="yes"]')
    assert "collapsed has no masks: none of its channels comes above 0.5." in page.inner_text("#comparison")
    drawn = page.evaluate(DRAWN)
    visitor.mode("swipe")
    page.wait_for_function(f"({DRAWN})() !== {drawn}")
    assert re.fullmatch(r"collapsed: raw channels, at most 0\.\d\d", page.inner_text(".side.right"))
    visitor.mode("b")
    page.wait_for_function(f"({DRAWN})() > 0")
    assert page.evaluate(DRAWN) > 0, "a model without rules is no empty side"
    visitor.mode("rawb")
    assert page.locator(".channels button").count() == 6
    visitor.mode("raw")
    panels = page.locator(".channels button")
    assert panels.count() == 6
    said = panels.all_inner_texts()
    assert all(
        re.search(rf"{name}: up to (0\.[5-9]\d|1\.00), 0\.\d|{name}: up to", text)
        for name, text in zip(("L1", "L2", "L3", "L4", "L5", "S1"), said, strict=True)
    )
    before = page.evaluate(DRAWN)
    panels.nth(2).click()
    page.wait_for_function(f"({DRAWN})() !== {before}")
    page.hover(".stage")
    page.wait_for_function("/L1 [01]\\.\\d\\d +L2 [01]\\.\\d\\d/.test(document.querySelector('.readout').textContent)")
    page.click("#model input")
    page.click('[role="option"]:has-text("collapsed")')
    page.wait_for_function("document.querySelector('#findings .facts').innerText.includes('collapsed')")
    page.click("#model input")
    page.click('[role="option"]:has-text("spineseg")')
    page.wait_for_function("document.querySelector('#findings .facts').innerText.includes('spineseg')")
    visitor.unfold("#about")
    assert "two CPU" not in page.inner_text("#card")
    page.wait_for_function("document.querySelector('#card').innerText.includes('mean Dice')")


def test_a_film_that_is_refused_leaves_the_old_one(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    visitor.open(made.film)
    visitor.segment()
    page.wait_for_function(f"({DRAWN})() > 0")
    broken = made.label.with_name("broken.dcm")
    broken.write_bytes(made.film.read_bytes()[:3000])
    page.set_input_files("#film input", broken)
    page.wait_for_selector('[data-testid="toast-text"]')
    assert page.inner_text('[data-testid="toast-text"]').lower().startswith("expected")
    assert page.evaluate(DRAWN) > 0
    assert visitor.take("npy") == (f"{NAME}.npy", made.array)


def test_a_reference_of_another_film_gets_a_sentence(browser: Browser, server: Server, made: Made) -> None:
    visitor = Visitor(browser, server)
    visitor.open(made.other)
    np.save(made.label.with_name("small.npy"), np.zeros((9, 8, 7), np.uint8))
    visitor.refer(made.label.with_name("small.npy"))
    visitor.page.wait_for_selector('[data-testid="toast-text"]')
    said = visitor.page.inner_text('[data-testid="toast-text"]')
    assert "got 9 x 8 x 7" in said
    assert "small.npy" not in said and "/" not in said
    visitor.close()


def test_two_visitors_at_once_see_their_own(browser: Browser, server: Server, made: Made) -> None:
    visitors = [Visitor(browser, server), Visitor(browser, server)]
    films = (made.film, made.other)
    for visitor, film in zip(visitors, films, strict=True):
        visitor.page.set_input_files("#film input", film)
    for visitor in visitors:
        visitor.page.wait_for_selector('.viewer[data-loaded="1"]')
    for visitor in visitors:
        visitor.page.wait_for_selector('.viewer[data-masks="yes"]')
    taken = [visitor.take("npy") for visitor in visitors]
    assert taken[0] == (f"{NAME}.npy", made.array)
    assert taken[1][0] == f"{made.other.stem}.npy"
    assert taken[1][1] != made.array
    visitors[0].page.click('#findings [data-correct="lower"]')
    visitors[0].page.wait_for_selector("#findings .verdict.corrected")
    assert "Corrected" not in visitors[1].page.inner_text("#findings")
    assert visitors[1].take("npy") == taken[1]
    uploads = [url for visitor in visitors for url in visitor.requests if NAME in url or made.other.stem in url]
    assert uploads == [], "no name in any address"
    for visitor in visitors:
        assert visitor.outside == []
        visitor.close()


def test_several_films_become_one_zip(visitor: Visitor, made: Made, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no film")
    with visitor.page.expect_download() as download:
        visitor.page.set_input_files("#film input", [made.film, tmp_path / "notes.txt", made.other])
    assert download.value.suggested_filename == "spineseg.zip"
    assert "2 of 3 films are ready" in visitor.page.inner_text("#several")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        stems = (NAME, made.other.stem)
        endings = (".npy", "-overlay.png", "-labels.png", ".json")
        assert sorted(archive.namelist()) == sorted([*(s + e for s in stems for e in endings), "films.csv"])
        assert archive.read(f"{NAME}.npy") == made.array
        rows = list(csv.DictReader(io.StringIO(archive.read("films.csv").decode())))
    assert [row["file"] for row in rows] == [f"{NAME}.dcm", "notes.txt", made.other.name]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[0]["verdict"] in ("sure", "unsure")


def test_several_films_can_be_stopped(visitor: Visitor, made: Made) -> None:
    copies = [made.film, made.other] * 4
    visitor.page.set_input_files("#film input", copies)
    visitor.page.wait_for_selector("#several .cancel:visible")
    visitor.page.wait_for_function("document.querySelector('#several progress').value >= 1")
    visitor.page.click("#several .cancel")
    visitor.page.wait_for_selector("#several .close:visible")
    said = visitor.page.inner_text("#several .lead")
    ready = re.fullmatch(r"Stopped: (\d) of 8 films are ready", said)
    assert ready
    assert 1 <= int(ready[1]) < 8
    with visitor.page.expect_download() as download:
        visitor.page.click("#several .save")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 4 * int(ready[1]) + 1


def test_phone(browser: Browser, server: Server, made: Made, tmp_path: Path) -> None:
    size = {"width": 390, "height": 844}
    visitor = Visitor(browser, server, viewport=size, has_touch=True, is_mobile=True, color_scheme="dark")
    page = visitor.page
    (tmp_path / "notes.txt").write_text("no film")
    page.set_input_files("#film input", tmp_path / "notes.txt")
    page.wait_for_selector('[data-testid="toast-text"]')
    said = page.inner_text('[data-testid="toast-text"]')
    assert "expected" in said.lower() and "notes.txt" not in said and "/" not in said
    visitor.open(made.film)
    visitor.segment()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out to the side"
    assert page.evaluate("document.body.classList.contains('dark')")
    page.locator(".stage").scroll_into_view_if_needed()
    box = page.locator(".stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": px, "y": py, "id": n} for n, (px, py) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 7):
        touch("touchMove", (x - 30 - 8 * step, y), (x + 30 + 8 * step, y))
    touch("touchEnd")
    page.wait_for_selector(".stage.zoomed")
    assert page.evaluate("visualViewport.scale") == 1, "the film is zoomed, not the page"
    visitor.close()


def test_programs_get_the_array_and_leave_no_name(server: Server, made: Made, tmp_path: Path) -> None:
    client = Client(server.address, verbose=False, download_files=tmp_path / "answers")
    answer = Path(client.predict(handle_file(made.film), api_name="/segment"))
    assert answer.read_bytes() == made.array
    client.close()
    curl = shutil.which("curl")
    if curl:
        api = f"{server.address}/gradio_api"
        sent = subprocess.run(
            [curl, "-sf", f"{api}/upload", "-F", f"files=@{made.film}"], capture_output=True, check=True
        )
        (path,) = json.loads(sent.stdout)
        assert NAME not in path
        body = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", False]})
        call = subprocess.run(
            [curl, "-sf", f"{api}/call/segment", "-H", "Content-Type: application/json", "-d", body],
            capture_output=True,
            check=True,
        )
        event = json.loads(call.stdout)["event_id"]
        stream = subprocess.run(
            [curl, "-sfN", f"{api}/call/segment/{event}"], capture_output=True, check=True, text=True
        )
        url = re.search(r'"url": ?"([^"]+)"', stream.stdout)
        assert url, stream.stdout
        array = subprocess.run([curl, "-sf", url[1]], capture_output=True, check=True).stdout
        assert array == made.array


def test_nothing_of_a_film_is_left_on_the_server(server: Server, made: Made) -> None:
    """Comes last: after all of the above only arrays that programs fetched wait for their sweep."""
    left = [path for path in server.disk.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"masks.npy"}
    written = server.log.read_text()
    for secret in (NAME, made.other.stem, "Traceback", str(server.disk)):
        assert secret not in written
