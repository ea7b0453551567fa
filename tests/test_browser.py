"""The page from end to end: the real program, a simulated film, a real headless Chromium."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
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

# The colour of every pixel of the overlay, summed: changes when anything drawn there does.
DRAWN = """() => {
  const canvas = document.querySelector('.viewer canvas.overlay');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((sum, value) => sum + value, 0);
}"""
# Milliseconds from the press of a switch to the drawn frame.
SWITCH = """async (channel) => {
  const viewer = document.querySelector('.viewer'), before = viewer.dataset.drawn, began = performance.now();
  viewer.querySelector(`[data-channel="${channel}"]`).click();
  while (viewer.dataset.drawn === before) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


def run(*arguments: str | Path) -> None:
    """One of the package's commands."""
    subprocess.run([sys.executable, "-m", "spineseg", *map(str, arguments)], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    run("simulate", "--out", folder, "--count", "1", "--seed", "1", "--rows", "768", "--processes", "1")
    (path,) = (folder / "img").glob("*.dcm")
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where `python app.py` says that the page is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout
        try:
            said = server.stdout.readline()  # the end of the file, and so "", where the program ended
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found, said + server.stdout.read()
            yield found[0]
        finally:
            server.terminate()


@pytest.fixture
def page(chromium: str, address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_from_upload_to_the_array_of_the_command_line(page: Page, address: str, film: Path, tmp_path: Path) -> None:
    hosts: set[str] = set()
    errors: list[str] = []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.goto(address)
    assert "not for diagnosis" in page.inner_text("#header")
    page.set_input_files("#film input", film)
    page.wait_for_selector('.viewer[data-loaded="1"]')
    assert page.is_disabled(".viewer .download"), "a film without masks has no array"
    page.click("#segment")
    page.wait_for_selector('.viewer[data-masks="yes"]')
    page.wait_for_function(f"({DRAWN})() > 0")
    assert "× " in page.inner_text("#summary") and "CPU" in page.inner_text("#summary").upper()

    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    found = page.locator('.legend button[role="switch"]:not([disabled])')
    channel = found.first.get_attribute("data-channel")
    whole = page.evaluate(DRAWN)
    took = [page.evaluate(SWITCH, channel)]
    assert page.evaluate(DRAWN) < whole, "one vertebra less"
    took.append(page.evaluate(SWITCH, channel))
    assert page.evaluate(DRAWN) == whole, "and back"
    took.append(page.evaluate(SWITCH, "6"))
    assert page.evaluate(DRAWN) > whole, "the background"
    assert min(took) < 100, "milliseconds; the least of three, the machine being busy with other tests"
    page.focus(".stage")
    page.keyboard.press("7")
    page.wait_for_function(f"({DRAWN})() === {whole}")

    with page.expect_download() as download:
        page.click(".viewer .download")
    assert requests == [] or all(url.startswith("blob:") for url in requests), "the browser writes the array itself"
    assert download.value.suggested_filename == f"{film.stem}.npy"
    download.value.save_as(tmp_path / "page.npy")
    run("predict", film, "--out", tmp_path)
    assert (tmp_path / "page.npy").read_bytes() == (tmp_path / f"{film.stem}.npy").read_bytes()

    assert hosts == {address.removeprefix("http://")}, "no other host is asked for anything"
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert errors == []


def test_wrong_file_gets_a_sentence_on_a_phone_s_width(page: Page, address: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no film")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    page.set_input_files("#film input", tmp_path / "notes.txt")
    page.wait_for_selector('[data-testid="toast-text"]')
    said = page.inner_text('[data-testid="toast-text"]')
    assert "expected" in said.lower() and "notes.txt" not in said and "/" not in said
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out to the side"


def test_program_gets_the_array_of_the_command_line(address: str, film: Path, tmp_path: Path) -> None:
    client = Client(address, verbose=False, download_files=tmp_path / "answers")
    answer = Path(client.predict(handle_file(film), api_name="/segment"))
    run("predict", film, "--out", tmp_path)
    assert answer.read_bytes() == (tmp_path / f"{film.stem}.npy").read_bytes()
    client.close()
