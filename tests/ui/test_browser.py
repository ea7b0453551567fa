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
from typing import Any

import numpy as np
import pytest
import scipy.io
import ui_browser
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, Page

from spineseg.inference.verdict import VERDICTS

ROOT = Path(__file__).parents[2]
NAME = "Doe-Jane-1970"
"""A file name as hospitals give them: it must be found nowhere but in this browser."""
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # a busy machine is slowed most by threads that wait for each other

# The colour of every pixel of the overlay, summed: changes when anything drawn there does.
DRAWN = """() => {
  const canvas = document.querySelector('.viewer canvas.overlay');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((sum, value) => sum + value, 0);
}"""
# Milliseconds of drawing after a click on a toggle, once the next frame is there.
TOGGLE = """async (channel) => {
  const viewer = document.querySelector('.viewer'), before = viewer.dataset.drawn;
  viewer.querySelector(`[data-channel="${channel}"]`).click();
  while (viewer.dataset.drawn === before) await new Promise(requestAnimationFrame);
  return Number(viewer.dataset.drawMs);
}"""


@dataclass(frozen=True)
class Server:
    address: str
    disk: Path
    log: Path


@dataclass(frozen=True)
class Made:
    """Two simulated films, the first with its label and with the array that the command line makes of it."""

    film: Path
    other: Path
    label: Path
    array: bytes


@pytest.fixture(scope="module")
def undecoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained checkpoint without a decoder: its probability maps tell no vertebra from another."""
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


@pytest.fixture(scope="module")
def program(undecoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`python app.py` with two models, just started, and the folder that it writes to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    (folder / "uploads").mkdir()
    models = [ROOT / "checkpoints" / "spineseg.safetensors", undecoded]
    command = [sys.executable, "app.py", "--port", str(port), *(f"--checkpoint={path}" for path in models)]
    environment = {**ONE_THREAD, "GRADIO_TEMP_DIR": str(folder / "uploads"), "TMPDIR": str(folder)}
    options: dict[str, Any] = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "text": True}
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log, **options) as process:
        try:
            yield process, folder
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def made(program: tuple[subprocess.Popen[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Made while the server starts."""
    folder = tmp_path_factory.mktemp("simulated")

    def run(*arguments: str | Path) -> None:
        command = [sys.executable, "-m", "spineseg", *map(str, arguments)]
        subprocess.run(command, cwd=ROOT, env=ONE_THREAD, check=True, capture_output=True)

    run("simulate", "--out", folder, "--count", "2", "--seed", "1", "--rows", "640", "--processes", "1")
    first, second = sorted((folder / "img").glob("*.dcm"))
    label = next((folder / "label").glob(f"{first.stem}.*"))
    film = shutil.copy(first, folder / f"{NAME}.dcm")
    run("predict", film, "--out", folder)
    return Made(Path(film), second, label, (folder / f"{NAME}.npy").read_bytes())


@pytest.fixture(scope="module")
def server(program: tuple[subprocess.Popen[str], Path], made: Made) -> Server:
    """Where the program says that it is."""
    process, folder = program
    assert process.stdout
    line = process.stdout.readline()  # the end of the file, and so "", where the program ended
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line + (folder / "log").read_text()
    return Server(found[0], folder / "uploads", folder / "log")


class Visitor:
    """A person with a browser of their own: what they press, and what their browser asks for meanwhile."""

    def __init__(self, browser: Browser, server: Server, **context: Any) -> None:
        self.page: Page = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **context}).new_page()
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(server.address)
        self.page.wait_for_selector('.viewer[data-masks="yes"]')  # of the example that the page opens with

    def open(self, film: Path) -> None:
        """Nothing need be pressed for its masks."""
        ui_browser.open_film(self.page, film)

    def refer(self, label: Path) -> None:
        self.page.click("#compare > button")
        self.page.set_input_files("#reference-1 input", label)

    def choose(self, dropdown: str, option: str) -> None:
        self.page.click(f"{dropdown} input")
        self.page.click(f'[role="option"]:has-text("{option}")')

    def download(self, kind: str) -> tuple[str, bytes]:
        return ui_browser.download(self.page, kind)

    def mode(self, name: str) -> None:
        self.page.click(f'.modes [data-mode="{name}"]')
        self.page.wait_for_selector(f'.viewer[data-mode="{name}"]')

    def drawn(self, condition: str) -> None:
        """Waits until the overlay meets the condition."""
        self.page.wait_for_function(f"({DRAWN})() {condition}")

    def close(self) -> None:
        ui_browser.close(self.page, self.requests, self.errors)


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[Visitor]:
    visitor = Visitor(browser, server)
    yield visitor
    visitor.close()


def test_toggles_and_keys_ask_the_server_nothing_and_show_at_once(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    assert page.inner_text("body").count("not for diagnosis") == 1, "said once, where it is seen"
    visitor.open(made.film)
    visitor.drawn("> 0")
    page.wait_for_selector('.viewer[data-values="own"]')
    page.wait_for_timeout(500)  # the last requests of opening
    asked = len(visitor.requests)
    visitor.drawn("> 0")
    whole = page.evaluate(DRAWN)
    milliseconds = [page.evaluate(TOGGLE, "2")]
    assert page.evaluate(DRAWN) < whole, "one vertebra less"
    milliseconds += [page.evaluate(TOGGLE, "2")]
    assert page.evaluate(DRAWN) == whole, "and back"
    milliseconds += [page.evaluate(TOGGLE, "6")]
    assert page.evaluate(DRAWN) > whole, "the background"
    milliseconds += [page.evaluate(TOGGLE, "6") for _ in range(3)]
    assert statistics.median(milliseconds) < 100

    page.focus(".stage")
    for key in ("7", "7", "O", "N", "O", "N", "[", "]", "I", "I", "+", "f", "A", "A", "R", "M"):
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    visitor.drawn("> 0")
    page.keyboard.press("Shift+Digit3")
    switches = page.locator('.legend [role="switch"]')
    assert [switches.nth(k).get_attribute("aria-checked") == "true" for k in range(7)] == [k == 2 for k in range(7)]
    page.keyboard.press("8")
    page.keyboard.press("?")
    text = page.inner_text("dialog.help")
    assert "pinch zooms" in text and "L1 to S1 on or off" in text
    page.keyboard.press("Escape")
    page.hover(".stage")
    value = "/^row \\d+ +column \\d+ +value \\d+ +(background|[LS]\\d)/"
    page.wait_for_function(f"{value}.test(document.querySelector('.readout').textContent)")
    assert len(visitor.requests) == asked, "none of that asks the server"


def test_downloads_are_what_the_command_line_makes_and_stay_when_a_film_is_refused(
    visitor: Visitor, made: Made, tmp_path: Path
) -> None:
    visitor.open(made.film)
    asked = len(visitor.requests)
    assert visitor.download("npy") == (f"{NAME}.npy", made.array)
    assert [url for url in visitor.requests[asked:] if not url.startswith("blob:")] == [], "the browser writes it"
    endings = {"npz": ".npz", "mat": ".mat", "overlay": "-overlay.png", "labels": "-labels.png", "json": ".json"}
    endings |= {"csv": "-measurements.csv", "seg": ".seg.dcm"}
    files = {kind: visitor.download(kind) for kind in endings}
    assert {kind: name for kind, (name, _) in files.items()} == {k: NAME + ending for k, ending in endings.items()}
    masks = scipy.io.loadmat(io.BytesIO(files["mat"][1]))["label_separated"]
    assert np.array_equal(masks, np.load(io.BytesIO(made.array)))
    assert NAME.encode() not in files["json"][1]
    assert visitor.page.evaluate("localStorage.length + sessionStorage.length") == 0

    (tmp_path / "broken.dcm").write_bytes(made.film.read_bytes()[:3000])
    visitor.page.set_input_files("#film input", tmp_path / "broken.dcm")
    visitor.page.wait_for_selector('#film .drop.wrong:has-text("broken.dcm was refused: ")')
    assert "/" not in visitor.page.inner_text("#film .status")
    assert visitor.page.inner_text("#film .shown") == f"Shown: {NAME}.dcm"
    assert not visitor.page.is_visible('[data-testid="toast-text"]'), "nothing covers the verdict"
    visitor.drawn("> 0")
    assert visitor.download("npy") == (f"{NAME}.npy", made.array)


def test_a_correction_goes_into_the_scores_the_modes_and_the_files(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    visitor.open(made.film)
    visitor.refer(made.label)
    page.wait_for_selector("#comparison .agree")
    page.wait_for_function("document.querySelector('#side-b input').value === 'Reference 1'")
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector("#comparison .disagree")
    assert "now empty: L1" in page.inner_text("#findings")
    assert page.locator(".legend button.absent").all_inner_texts() == []  # the reference still has L1
    name, array = visitor.download("npy")
    assert name == f"{NAME}-corrected.npy"
    moved, plain = np.load(io.BytesIO(array)), np.load(io.BytesIO(made.array))
    assert np.array_equal(moved[..., 1:6], plain[..., :5])
    for mode in ("difference", "swipe", "sideB", "a", "contours", "blink"):  # blink last: it changes by itself
        before = page.evaluate(DRAWN)
        visitor.mode(mode)
        visitor.drawn(f"!== {before}")
    visitor.mode("difference")
    assert "Other name" in page.inner_text(".viewer .difference-key")
    page.click("#comparison [data-correct]")  # "shift labels: cranial"
    page.wait_for_selector("#comparison .agree")
    assert visitor.download("npy") == (f"{NAME}.npy", made.array), "as it was"


def test_a_second_model_and_the_probability_maps(visitor: Visitor, made: Made) -> None:
    page = visitor.page
    visitor.open(made.film)
    page.click("#compare > button")
    visitor.choose("#side-b", "collapsed")
    page.wait_for_selector('.viewer[data-compared="yes"]')
    assert "collapsed has no masks: none of its channels comes above 0.5." in page.inner_text("#comparison")
    page.wait_for_selector('.viewer[data-mode="swipe"]')  # shown at once
    assert re.fullmatch(r"B: collapsed: probability maps, at most 0\.\d\d", page.inner_text(".layer-title.right"))
    visitor.mode("sideB")
    visitor.drawn("> 0")  # a model without a decoder shows its maps
    for mode in ("mapsB", "maps"):
        visitor.mode(mode)
        maps = page.locator(".channels button")
        assert [text.split(":")[0] for text in maps.all_inner_texts()] == ["L1", "L2", "L3", "L4", "L5", "S1"]
        assert all(re.search(r"up to [01]\.\d\d, \d+\.\d % above 0\.5", text) for text in maps.all_inner_texts())
    before = page.evaluate(DRAWN)
    maps.nth(2).click()
    visitor.drawn(f"!== {before}")
    page.hover(".stage")
    page.wait_for_function("/L1 [01]\\.\\d\\d +L2 [01]\\.\\d\\d/.test(document.querySelector('.readout').textContent)")
    for model in ("collapsed", "spineseg"):
        visitor.choose("#model", model)
        page.wait_for_selector(f'#findings .facts:has-text("{model}")')
    page.click("#about > button")
    page.wait_for_selector('#card:has-text("mean Dice")')


def test_two_visitors_at_once_see_their_own(browser: Browser, server: Server, made: Made) -> None:
    visitors = [Visitor(browser, server), Visitor(browser, server)]
    for visitor, film in zip(visitors, (made.film, made.other), strict=True):
        visitor.page.set_input_files("#film input", film)
    for visitor in visitors:
        visitor.page.wait_for_selector('.viewer[data-masks="yes"][data-example=""]')
    first, second = (visitor.download("npy") for visitor in visitors)
    assert first == (f"{NAME}.npy", made.array)
    assert second[0] == f"{made.other.stem}.npy"
    assert second[1] != made.array
    visitors[0].page.click('#findings [data-correct="lower"]')
    visitors[0].page.wait_for_selector("#findings .verdict.corrected")
    assert "Corrected" not in visitors[1].page.inner_text("#findings")
    assert visitors[1].download("npy") == second
    for visitor in visitors:
        assert [url for url in visitor.requests if NAME in url or made.other.stem in url] == [], "no name in an address"
        visitor.close()


def test_a_batch_becomes_one_zip_and_can_be_stopped(visitor: Visitor, made: Made, tmp_path: Path) -> None:
    page = visitor.page
    (tmp_path / "notes.txt").write_text("no film")
    with page.expect_download() as download:
        page.set_input_files("#film input", [made.film, tmp_path / "notes.txt", made.other])
    assert download.value.suggested_filename == "spineseg.zip"
    assert "2 of 3 films are ready" in page.inner_text("#batch")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        names = [
            stem + end for stem in (NAME, made.other.stem) for end in (".npy", "-overlay.png", "-labels.png", ".json")
        ]
        assert sorted(archive.namelist()) == sorted([*names, "films.csv", "measurements.csv"])
        assert archive.read(f"{NAME}.npy") == made.array
        rows = list(csv.DictReader(io.StringIO(archive.read("films.csv").decode())))
    assert [row["file"] for row in rows] == [f"{NAME}.dcm", "notes.txt", made.other.name]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[0]["verdict"] in VERDICTS

    page.set_input_files("#film input", [made.film, made.other] * 4)
    page.wait_for_selector("#batch .cancel:visible")
    page.wait_for_function("document.querySelector('#batch progress').value >= 1")
    page.click("#batch .cancel")
    page.wait_for_selector("#batch .close:visible")
    ready = re.fullmatch(r"Stopped: ([1-7]) of 8 films are ready", page.inner_text("#batch .lead"))
    assert ready
    with page.expect_download() as download:
        page.click("#batch .save")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 4 * int(ready[1]) + 2


def test_a_folder_or_an_archive_is_accounted_for_and_keeps_its_tree(
    visitor: Visitor, made: Made, tmp_path: Path
) -> None:
    """The same folder chosen and as a ZIP: two films of one name, one in a subfolder, and what is no film."""
    page, folder = visitor.page, tmp_path / "export"
    for name in ("a.dcm", "a.ima", f"sub/{NAME} A.B", "__MACOSX/._a.dcm", "sub/Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made.film if "sub" in name else made.other, folder / name)
    (folder / "report.pdf").write_bytes(b"%PDF-1.7")
    shutil.copy(shutil.make_archive(str(tmp_path / "inner"), "zip", made.label.parent), folder / "inner")
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", folder)
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("../out.dcm", made.film.read_bytes())
        more.writestr("locked.dcm", b"")
    content = bytearray(Path(archive).read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # encrypted
    Path(archive).write_bytes(content)
    stems = ("a", "a.ima", f"sub/{NAME} A.B")
    arrays = []
    for field, given, top, ready in (
        ("#film .drop input", archive, "", "3 of 7 films are ready"),
        ("#film .folder input", folder, "export/", r"3 of \d+ films are ready"),
    ):
        with page.expect_download() as download:
            page.set_input_files(field, given)
        assert re.search(ready, page.inner_text("#batch .lead"))
        with zipfile.ZipFile(download.value.path()) as written:
            assert written.testzip() is None
            arrays.append([written.read(f"{top}{stem}.npy") for stem in stems])
            assert len(written.namelist()) == 3 * 4 + 2
            rows = {
                row["file"]: row["error"] for row in csv.DictReader(io.StringIO(written.read("films.csv").decode()))
            }
        assert f"{top}a.ima" in rows and not any("MACOSX" in name or "Thumbs" in name for name in rows)
        assert rows[f"{top}report.pdf"]
        if not top:
            assert rows["inner"].startswith("a ZIP archive in another")
            assert rows["../out.dcm"].startswith("a file whose path leads out")
            assert rows["locked.dcm"].startswith("an encrypted file")
        assert page.inner_text('#batch .films li:has-text("a.ima")').endswith(f"saved as {top}a.ima")
    assert arrays[0] == arrays[1] and arrays[0][2] == made.array and arrays[0][0] == arrays[0][1]
    assert [url for url in visitor.requests if NAME in url] == []


def test_phone(browser: Browser, server: Server, made: Made) -> None:
    size = {"width": 390, "height": 844}
    visitor = Visitor(browser, server, viewport=size, has_touch=True, is_mobile=True, color_scheme="dark")
    page = visitor.page
    visitor.open(made.film)
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
    if not (program := shutil.which("curl")):
        return

    def curl(*arguments: str) -> bytes:
        return subprocess.run([program, "-sfN", *arguments], capture_output=True, check=True).stdout

    api = f"{server.address}/gradio_api"
    (path,) = json.loads(curl(f"{api}/upload", "-F", f"files=@{made.film}"))
    assert NAME not in path
    body = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", False]})
    call = json.loads(curl(f"{api}/call/segment", "-H", "Content-Type: application/json", "-d", body))
    stream = curl(f"{api}/call/segment/{call['event_id']}").decode()
    url = re.search(r'"url": ?"([^"]+)"', stream)
    assert url, stream
    assert curl(url[1]) == made.array


def test_nothing_of_a_film_is_left_on_the_server(server: Server, made: Made) -> None:
    """Comes last: after all of the above only arrays that programs fetched wait for their sweep."""
    left = [path for path in server.disk.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"masks.npy"}
    written = server.log.read_text()
    for secret in (NAME, made.other.stem, "Traceback", str(server.disk)):
        assert secret not in written
