"""How long a person waits for the page, in a headless Chromium.

Usage: python -m benchmarks.page_speed [--repeats 5] [--switches 40] [--starts 3] [--rows 3000] [--columns 2500]

Start: from `python app.py`, whose word that it is there is looked for fifty times a second, until a browser shows the
first page, and until it shows the overlay of a film that is chosen at once. Then, on this machine and over a line of
20 Mbit/s that the browser imitates: from the choice of a film, an uncompressed one of 12 bits, until it is shown; from
then until the overlay is; and from the press of a vertebra's switch until the next frame after the picture has changed.
A film counts as shown when the page says so, which is looked at with every frame.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.films import BITS, enlarged
from benchmarks.load import page as started_page
from benchmarks.timing import options, seconds_of, spread, surroundings, tell
from experiments.records import Row
from spineseg.io.dicom_write import write_film

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
READY = '.viewer[data-masks="yes"]'
PRESSED = """async (channel) => {
  const viewer = document.querySelector('.viewer'), before = viewer.dataset.drawn, began = performance.now();
  viewer.querySelector(`[data-channel="${channel}"]`).click();
  while (viewer.dataset.drawn === before) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [performance.now() - began, Number(viewer.dataset.drawMs)];
}"""
"""Milliseconds from the press of a switch to the frame after its drawing, and those of drawing alone."""
SHOWN, OVERLAY = "film shown", "film to overlay"


@dataclass(frozen=True)
class Line:
    """What lies between the page and the browser; megabits a second each way, None for no limit, and milliseconds."""

    name: str
    megabits: float | None = None
    latency_ms: float = 0.0


LINES = (Line("this machine"), Line("20 Mbit/s", 20.0, 20.0))


@contextmanager
def visit(browser: Browser, address: str, line: Line) -> Iterator[Page]:
    """A new visitor's first page, over that line."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(300_000)
    if line.megabits:
        bytes_a_second = line.megabits * 1e6 / 8
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        limits = {"offline": False, "latency": line.latency_ms}
        limits |= {"downloadThroughput": bytes_a_second, "uploadThroughput": bytes_a_second}
        session.send("Network.emulateNetworkConditions", limits)
    try:
        page.goto(address)
        page.wait_for_selector(READY)
        yield page
    finally:
        context.close()


def choose(page: Page, film: Path) -> None:
    """Hand the film over and wait until it is shown."""
    before = page.get_attribute(".viewer", "data-loaded")
    page.set_input_files("#film input", film)
    page.wait_for_function(f"document.querySelector('.viewer').dataset.loaded !== '{before}'")


def masks(page: Page) -> None:
    """Wait until the overlay of the film that was handed over is shown."""
    page.wait_for_function("document.querySelector('.viewer').dataset.masks === 'yes'")
    drawn = page.get_attribute(".viewer", "data-drawn")
    page.evaluate("document.querySelector('.legend button').click()")
    page.wait_for_function(f"document.querySelector('.viewer').dataset.drawn !== '{drawn}'")


def starts(browser: Browser, folder: Path, film: Path, count: int) -> list[Row]:
    """The program's start to the first page and to the first answer, with the system's files in memory.

    Each time a new visitor comes. The answer is the overlay of a film that is chosen as soon as the page is there.
    """
    took: dict[str, list[float]] = {"program says where it is": [], "first page": [], "first answer": []}
    for number in range(count):
        began = time.perf_counter()
        with started_page(folder / "uploads", folder / f"log-{number}") as (address, _):
            took["program says where it is"].append(time.perf_counter() - began)
            with visit(browser, address, LINES[0]) as page:
                took["first page"].append(time.perf_counter() - began)
                choose(page, film)
                masks(page)
                took["first answer"].append(time.perf_counter() - began)
    return [{"from the start of the program to": name, **spread(seconds)} for name, seconds in took.items() if seconds]


def waits(browser: Browser, address: str, line: Line, film: Path, repeats: int, switches: int) -> list[Row]:
    """A visitor's waits over one line; each upload is a new visitor's, so that nothing is held from the last one."""
    took: dict[str, list[float]] = {"page opened": [], SHOWN: [], OVERLAY: [], "upload to overlay": []}
    pressed: list[list[float]] = []
    for _ in range(repeats):
        began = time.perf_counter()
        with visit(browser, address, line) as page:
            took["page opened"].append(time.perf_counter() - began)
            took[SHOWN].append(seconds_of(lambda page=page: choose(page, film)))
            took[OVERLAY].append(seconds_of(lambda page=page: masks(page)))
            took["upload to overlay"].append(took[SHOWN][-1] + took[OVERLAY][-1])
            share = -(-switches // repeats)
            pressed += [page.evaluate(PRESSED, str(press // 2 % 6)) for press in range(share)]
    figures = {
        **took,
        "switch to picture": [a / 1000 for a, _ in pressed],
        "drawing alone": [b / 1000 for _, b in pressed],
    }
    return [
        {"line": line.name, "wait": name, "times": len(seconds), **spread(seconds)} for name, seconds in figures.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell."""
    parser = options("page_speed", __doc__, 5)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    parser.add_argument("--switches", type=int, default=40, help="presses of switches, over all repeats")
    parser.add_argument("--starts", type=int, default=3, help="of the program")
    chosen = parser.parse_args(arguments)
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("expected Chromium, found none; install it (sudo apt-get install chromium)")
    place = surroundings("cpu", ["gradio", "playwright"])
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        (folder / "uploads").mkdir()
        write_film(film := folder / "film.dcm", enlarged(chosen.rows, chosen.columns), bits_stored=BITS)
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        begun = starts(browser, folder, film, chosen.starts)
        with started_page(folder / "uploads", folder / "log") as (address, _):
            with visit(browser, address, LINES[0]) as page:  # the model is loaded before the clock starts
                choose(page, film)
                masks(page)
            waited = [
                row for line in LINES for row in waits(browser, address, line, film, chosen.repeats, chosen.switches)
            ]
        settings = {"rows": chosen.rows, "columns": chosen.columns, "megabytes": round(film.stat().st_size / 1e6, 1)}
        settings |= {"repeats": chosen.repeats, "latency_ms": LINES[1].latency_ms, "browser": browser.version}
        browser.close()
    tell("page_speed", settings, place, {"Start": begun, "Waits": waited}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
