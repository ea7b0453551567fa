"""Mending contours in a real headless Chromium: by mouse, keys and touch; what is kept, sent and saved."""

from __future__ import annotations

import io
import json
import shutil
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
import ui_browser
from playwright.sync_api import Browser, Page
from ui_fakes import Bands
from ui_server import free_port, running

from spineseg.data.check import check_folder
from spineseg.film import VERTEBRAE
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.labels import read_label, to_array
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.page import build_page
from spineseg.ui.session import SessionStore

L1, L3, S1 = (VERTEBRAE.index(name) for name in ("L1", "L3", "S1"))


@dataclass(frozen=True)
class Simulated:
    film: Path
    model: Bands

    def page(self) -> Any:
        return build_page({"bands": self.model}, read_film, read_label)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A film, and a model that knows its masks."""
    case = simulate_case(7, 4, SimulateConfig(rows=512))
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_film(path, case.film)
    return Simulated(path, Bands(answer=case.masks))


@pytest.fixture(scope="module")
def address(simulated: Simulated, uploads: Path) -> Iterator[str]:
    with running(page=simulated.page()) as address:
        yield address


class Editor:
    """A person who edits the masks of one film."""

    def __init__(self, browser: Browser, address: str, film: Path, **context: Any) -> None:
        self.page: Page = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **context}).new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector('.legend [role="switch"]')
        self.film = film
        self.open()

    def open(self) -> None:
        ui_browser.open_film(self.page, self.film)
        self.settle()

    def data(self, name: str) -> str | None:
        return self.page.get_attribute(".viewer", f"data-{name}")

    def settle(self) -> None:
        """Until the server has answered what was changed last, and all of it is stored."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            "(({ asked, answered }) => asked === answered)(document.querySelector('.viewer').dataset)"
        )
        self.page.wait_for_timeout(300)

    def edit(self, vertebra: int, tool: str = "shape") -> None:
        if self.data("edit") is None:
            self.page.click('[data-do="edit"]')
        self.page.click(f'[data-pick="{vertebra}"]')
        self.page.click(f'.kit [data-tool="{tool}"]')

    def handles(self) -> dict[str, tuple[float, float]]:
        """Places on the screen of the handles of the vertebra that is edited, by their label."""
        self.page.wait_for_function("document.querySelector('.handles button:not([hidden])')?.style.transform")
        script = """(buttons) => buttons.map((button) => {
          const { x, y, width, height } = button.getBoundingClientRect();
          return [button.getAttribute('aria-label'), [x + width / 2, y + height / 2]];
        })"""
        self.page.wait_for_timeout(100)
        found = self.page.eval_on_selector_all(".handles button:not([hidden])", script)
        return {label: (x, y) for label, (x, y) in found}

    def corners(self, vertebra: int) -> list[tuple[float, float]]:
        """On the screen, one after the other around the body."""
        self.edit(vertebra)
        return [place for label, place in self.handles().items() if "corner" in label]

    def drag(self, start: tuple[float, float], *way: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for x, y in way:
            self.page.mouse.move(x, y, steps=4)
        self.page.mouse.up()

    def masks(self) -> np.ndarray:
        """As the browser writes them, (rows, columns, channels); Chromium keeps no more than 20 downloads in a row."""
        array = self.page.evaluate(
            """() => new Promise((resolve) => {
              const { click } = HTMLAnchorElement.prototype;
              HTMLAnchorElement.prototype.click = async function () {
                const reader = new FileReader();
                reader.onload = () => resolve(reader.result.split(',')[1]);
                reader.readAsDataURL(await (await fetch(this.href)).blob());
              };
              document.querySelector('[data-download="npy"]').click();
              HTMLAnchorElement.prototype.click = click;
            })"""
        )
        return np.load(io.BytesIO(b64decode(array)))

    def download(self, kind: str) -> tuple[str, bytes]:
        return ui_browser.download(self.page, kind)

    def close(self) -> None:
        ui_browser.close(self.page, self.requests, self.errors)


@pytest.fixture
def editor(browser: Browser, address: str, simulated: Simulated) -> Iterator[Editor]:
    editor = Editor(browser, address, simulated.film)
    yield editor
    editor.close()


def areas(masks: np.ndarray) -> list[int]:
    return [int(masks[..., k].sum()) for k in range(len(VERTEBRAE))]


def everything(editor: Editor) -> list[np.ndarray]:
    """Each kind of change once, by mouse; the masks after each."""
    page, after = editor.page, []

    def done() -> None:
        after.append(editor.masks())

    (x, y), *_ = editor.corners(L3)
    editor.page.mouse.click(x, y)  # a handle that is not moved makes no step
    assert page.is_disabled('[data-edit-do="undo"]')
    editor.drag((x, y), (x - 12, y - 9))
    done()
    x, y = editor.handles()["L3, side 2"]
    editor.drag((x, y), (x, y + 8))
    done()
    editor.edit(L3, "brush")
    editor.drag((x, y), (x + 20, y + 10), (x + 25, y - 5))
    done()
    editor.edit(L3, "erase")
    editor.drag((x + 5, y), (x - 15, y))
    done()
    places = editor.corners(L1)
    page.click('[data-edit-do="remove"]')
    done()
    editor.edit(L1, "corners")
    for place in places:
        page.mouse.click(*place)
    done()
    page.select_option(".rename", "S1")  # taken: the two are exchanged
    done()
    page.check(".neighbours")
    page.click('[data-pick="1"]')
    page.select_option(".rename", "L3")
    done()
    page.uncheck(".neighbours")
    return after


def test_every_change_by_mouse_can_be_undone_and_redone_to_the_same_bytes(editor: Editor) -> None:
    page, original = editor.page, editor.masks()
    after = everything(editor)
    dragged, bent, painted, erased, removed, drawn, exchanged, moved = after
    for before, changed in zip([original, *after], after, strict=False):
        assert not np.array_equal(before, changed)
        assert (changed.sum(-1) == 1).all(), "each pixel is in one channel"
    for masks, others in ((dragged, original), (bent, dragged), (painted, bent), (erased, painted)):
        assert np.array_equal(masks[..., [L1, S1]], others[..., [L1, S1]]), "only what was touched changes"
    assert areas(painted)[L3] > areas(bent)[L3]
    assert areas(erased)[L3] < areas(painted)[L3]
    assert areas(removed)[L1] == 0
    overlap = (drawn[..., L1] & original[..., L1]).sum() * 2 / (areas(drawn)[L1] + areas(original)[L1])
    assert overlap > 0.9, "the outline through the four corners is the body again"
    assert np.array_equal(exchanged[..., [L1, S1]], drawn[..., [S1, L1]])
    assert np.array_equal(moved[..., 1 : S1 + 1], exchanged[..., :S1])

    states = [original, *after]
    for state in reversed(states[:-1]):
        page.keyboard.press("Control+z")
        assert np.array_equal(editor.masks(), state)
    assert page.is_disabled('[data-edit-do="undo"]')
    for state in states[1:]:
        page.keyboard.press("Control+Shift+z")
        assert np.array_equal(editor.masks(), state)
    page.click('[data-edit-do="original"]')
    assert np.array_equal(editor.masks(), original)
    assert editor.download("npy")[0] == "film.npy", "nothing is changed any more"
    page.click('[data-edit-do="undo"]')
    assert np.array_equal(editor.masks(), moved)


def test_figures_lines_and_panels_follow(editor: Editor) -> None:
    page = editor.page
    page.click("#measure > button")
    before = page.inner_text("#measures")
    x, y = editor.corners(L3)[0]
    editor.drag((x, y), (x - 10, y - 10))
    page.wait_for_selector('#findings .verdict.corrected:has-text("Corrected by hand")')
    page.wait_for_function("(text) => document.querySelector('#measures').innerText !== text", arg=before)
    assert "Contour changed: L3." in page.inner_text("#findings")
    page.click('#findings [data-correct="drop"] >> nth=0')
    page.wait_for_selector('#findings .absent:has-text("L1")')
    page.click('#findings [data-correct="undo"]')
    page.wait_for_function("!document.querySelector('#findings .absent')")
    page.click('[data-edit-do="undo"]')
    page.wait_for_selector("#findings .verdict.reliable")
    page.wait_for_function("(text) => document.querySelector('#measures').innerText === text", arg=before)
    assert page.inner_text(".edit-note") == "Undone: contour of L3."
    page.click('[data-edit-do="done"]')
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector("#findings .verdict.corrected")
    assert not page.is_visible("#findings .verdict.reliable"), "that was said of the model's names"
    page.click('#findings [data-correct="undo"]')
    page.wait_for_selector('.edit-note:has-text("Undone: all labels moved.")')
    page.click('#findings [data-correct="drop"] >> nth=0')
    page.wait_for_selector(".edit-note", state="hidden")
    page.click('#findings [data-correct="undo"]')


def test_corners_that_were_clicked_are_the_corners_measured(editor: Editor) -> None:
    """JavaScript draws the body through them, Python finds them in the mask."""
    places = editor.corners(L3)
    editor.page.click('[data-edit-do="remove"]')
    editor.edit(L3, "corners")
    for x, y in places:
        editor.page.mouse.click(x, y)
    editor.settle()
    measured = json.loads(editor.download("json")[1])["measurements"]["corners_row_column"]["L3"]
    script = """(places) => {
      const box = document.querySelector('.stage').getBoundingClientRect(), scale = box.height / places.rows;
      const left = (box.width - places.columns * scale) / 2;
      return places.at.map(([x, y]) => [(y - box.top) / scale - 0.5, (x - box.left - left) / scale - 0.5]);
    }"""
    rows, columns, _ = editor.masks().shape
    clicked = editor.page.evaluate(script, {"rows": rows, "columns": columns, "at": places})
    for corner in clicked:
        assert min(np.hypot(*(np.array(corner) - other)) for other in measured) < 2.0


def test_downloads_are_what_is_shown_and_check_accepts_them(
    editor: Editor, simulated: Simulated, tmp_path: Path
) -> None:
    everything(editor)
    editor.page.click('[data-edit-do="undo"]')
    editor.page.click('[data-edit-do="undo"]')  # the names as they were
    shown = editor.masks()
    files = {kind: editor.download(kind) for kind in ("npy", "npz", "mat", "labels", "overlay", "json")}
    assert all(name.startswith("film-corrected") for name, _ in files.values())
    content = {kind: io.BytesIO(bytes_) for kind, (_, bytes_) in files.items()}
    archive = np.load(content["npz"])
    assert archive["corrected"] and np.array_equal(archive["masks"], shown)
    assert np.array_equal(scipy.io.loadmat(content["mat"])["label_separated"], shown)
    labels = cv2.imdecode(np.frombuffer(files["labels"][1], np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels is not None and np.array_equal(labels, (shown[..., :-1] * np.arange(1, 7)).sum(-1))
    report = json.loads(files["json"][1])
    assert report["corrected"]["vertebrae"]["L3"] == {"model's name": "L3", "outline": "by hand"}
    assert report["vertebrae"]["L3"]["pixels"] == areas(shown)[L3]
    for kind in ("npy", "mat"):
        folder = tmp_path / kind
        for name in ("img", "label"):
            (folder / name).mkdir(parents=True)
        shutil.copy(simulated.film, folder / "img" / "film.dcm")
        (folder / "label" / f"film.{kind}").write_bytes(files[kind][1])
        assert check_folder(folder).findings == ()


def test_everything_by_keys(editor: Editor) -> None:
    page, original = editor.page, editor.masks()
    page.keyboard.press("e")
    page.keyboard.press("3")
    assert editor.data("vertebra") == str(L3)
    page.wait_for_selector('.handles button[aria-label="L3, side 4"]')
    labels = []
    for _ in range(8):
        page.keyboard.press("Tab")
        labels.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert labels == [f"L3, {kind} {n}" for kind in ("corner", "side") for n in (1, 2, 3, 4)]
    page.focus(".handles button >> nth=0")
    page.keyboard.press("ArrowLeft")
    by_one = editor.masks()
    page.focus(".handles button >> nth=0")
    page.keyboard.press("Shift+ArrowLeft")
    by_ten = editor.masks()
    one, ten = ((masks != original).any(-1).sum() for masks in (by_one, by_ten))
    assert 0 < one < ten / 5
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert np.array_equal(editor.masks(), original)
    page.keyboard.press("Control+y")
    assert np.array_equal(editor.masks(), by_one)
    page.focus(".stage")
    for key, tool in (("b", "brush"), ("x", "erase"), ("c", "corners"), ("v", "shape")):
        page.keyboard.press(key)
        assert editor.data("tool") == tool
    page.keyboard.press("b")
    size = page.inner_text(".radius-value")
    page.keyboard.press("]")
    assert page.inner_text(".radius-value") != size
    page.keyboard.press("Delete")
    assert areas(editor.masks())[L3] == 0
    page.focus(".stage")
    page.keyboard.press("Escape")
    assert editor.data("edit") is None
    page.keyboard.press("2")
    assert page.get_attribute('.legend [data-channel="1"]', "aria-checked") == "false", "keys have their old meaning"


def test_by_touch_with_a_magnifier_and_a_pinch(browser: Browser, address: str, simulated: Simulated) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    editor = Editor(browser, address, simulated.film, **phone)
    page, original = editor.page, editor.masks()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    editor.edit(L3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nor with the toolbar"

    def place() -> tuple[float, float]:
        """Of a corner, after the page has been scrolled to the film."""
        page.evaluate("document.querySelector('.stage').scrollIntoView({ block: 'center' })")
        return editor.handles()["L3, corner 1"]

    x, y = place()
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": px, "y": py, "id": n} for n, (px, py) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (x + 6, y + 6))  # near enough for a finger
    for step in range(1, 6):
        touch("touchMove", (x + 6 - 3 * step, y + 6 - 2 * step))
    page.wait_for_selector(".loupe:not([hidden])")
    touch("touchEnd")
    page.wait_for_selector(".loupe", state="hidden")
    dragged = editor.masks()
    assert areas(dragged)[L3] != areas(original)[L3]

    editor.edit(L3)
    x, y = place()
    page.evaluate("document.querySelector('[data-tool=brush]').click()")
    touch("touchStart", (x, y))
    touch("touchMove", (x + 4, y + 4))
    touch("touchStart", (x, y), (x, y + 60))  # below: beside it are the buttons
    for step in range(1, 7):
        touch("touchMove", (x, y - 8 * step), (x, y + 60 + 8 * step))
    touch("touchEnd")
    page.wait_for_selector(".stage.zoomed")
    assert np.array_equal(editor.masks(), dragged), "two fingers zoom and paint nothing"
    editor.close()


@pytest.mark.parametrize("between", ["Delete", "lower", "v"])
def test_what_comes_in_the_middle_of_a_drag_can_be_undone(editor: Editor, between: str) -> None:
    page, original = editor.page, editor.masks()
    x, y = editor.corners(L3)[0]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 15, y - 10, steps=3)
    if between == "lower":
        page.evaluate("document.querySelector('[data-correct=lower]').click()")
    else:
        page.keyboard.press(between)
    page.mouse.move(x - 30, y - 20, steps=3)
    page.mouse.up()
    editor.settle()
    assert int(editor.data("steps") or 0) == (between != "v"), "the drag itself ended with it"
    page.keyboard.press("Control+z")
    assert np.array_equal(editor.masks(), original)
    editor.close()


def test_another_tool_between_press_and_release_starts_the_corners_anew(editor: Editor) -> None:
    page = editor.page
    editor.edit(L3, "corners")
    page.mouse.click(500, 300)
    page.mouse.move(540, 300)
    page.mouse.down()
    page.keyboard.press("c")
    page.mouse.up()
    for n, place in enumerate([(500, 300), (560, 300), (560, 340), (500, 340)]):
        page.wait_for_selector(f'.edit-note:has-text("{n} of 4")')
        page.mouse.click(*place)
    assert editor.data("steps") == "1"
    editor.close()


def test_keys_are_found_on_a_korean_keyboard(editor: Editor) -> None:
    script = """(stage, [key, code]) => stage.dispatchEvent(
      new KeyboardEvent('keydown', { key, code, bubbles: true, cancelable: true }),
    )"""
    for key, code, tool in (("\u3137", "KeyE", "shape"), ("\u3160", "KeyB", "brush"), ("Process", "KeyX", "erase")):
        editor.page.eval_on_selector(".stage", script, [key, code])
        assert editor.data("edit") is not None and editor.data("tool") == tool
    editor.close()


def test_a_page_that_is_loaded_anew_keeps_all(editor: Editor, simulated: Simulated) -> None:
    page = editor.page
    everything(editor)
    page.keyboard.press("Control+z")
    mended = editor.masks()
    editor.settle()
    page.reload()
    page.wait_for_selector('.viewer[data-masks="yes"]')
    editor.settle()
    assert "Your contours are back. The server no longer holds" in page.inner_text(".edit-note")
    assert np.array_equal(editor.masks(), mended)
    assert np.array_equal(np.load(io.BytesIO(editor.download("npz")[1]))["masks"], mended), "the server has no film"
    assert "Corrected by hand" in page.inner_text("#findings")
    page.keyboard.press("Control+Shift+z")
    assert not np.array_equal(editor.masks(), mended), "steps are kept as well"
    page.keyboard.press("Control+z")
    page.click('[data-download="overlay"]')
    page.wait_for_selector('[data-testid="toast-text"]:has-text("choose it again, your contours come back")')
    editor.open()
    assert np.array_equal(editor.masks(), mended)
    assert editor.download("overlay")[0] == "film-corrected-overlay.png"
    page.click('[data-do="edit"]')
    page.click('[data-edit-do="original"]')
    assert np.array_equal(editor.masks(), to_array(simulated.model.answer))


def test_another_visitor_of_the_browser_s_tab_sees_only_films_that_they_have(editor: Editor, browser: Browser) -> None:
    """Masks are found again by the film's pixels alone; a new tab shows nothing by itself."""
    editor.corners(L3)
    editor.page.click('[data-edit-do="remove"]')
    editor.settle()
    other = editor.page.context.new_page()
    other.goto(editor.page.url)
    other.wait_for_selector('.legend [role="switch"]')
    other.wait_for_timeout(500)
    assert other.get_attribute(".viewer", "data-masks") == "no"
    assert editor.page.evaluate("Object.keys(localStorage).length") == 0
    stranger = browser.new_context().new_page()
    stranger.goto(editor.page.url)
    stranger.wait_for_selector('.legend [role="switch"]')
    assert stranger.get_attribute(".viewer", "data-masks") == "no"
    stranger.context.close()


def test_segmenting_again_is_a_step_that_can_be_undone(editor: Editor) -> None:
    page, original = editor.page, editor.masks()
    editor.corners(L3)
    page.click('[data-edit-do="remove"]')
    editor.settle()
    mended = editor.masks()
    loaded = int(editor.data("loaded") or 0)
    page.click("#invert input")  # shows the film anew, and segments it
    page.wait_for_function(f"Number(document.querySelector('.viewer').dataset.loaded) >= {loaded + 2}")
    editor.settle()
    assert np.array_equal(editor.masks(), original)
    assert "Undo brings yours back" in page.inner_text(".edit-note")
    page.keyboard.press("Control+z")
    assert np.array_equal(editor.masks(), mended)
    page.wait_for_selector("#findings .verdict.corrected")


def test_a_server_that_starts_anew_and_one_that_forgot_the_film_lose_nothing(
    browser: Browser, simulated: Simulated, uploads: Path
) -> None:
    port = free_port()
    with running(page=simulated.page(), port=port) as address:
        editor = Editor(browser, address, simulated.film)
        page = editor.page
        x, y = editor.corners(L3)[0]
        editor.drag((x, y), (x - 12, y - 9))
        editor.settle()
        mended = editor.masks()
    page.click('[data-edit-do="remove"]')  # while nobody answers
    without = editor.masks()
    assert areas(without)[L3] == 0
    with running(page=simulated.page(), port=port):
        page.wait_for_function("document.querySelector('.edit-note')?.textContent.includes('are back')")  # reloaded
        editor.settle()
        assert np.array_equal(editor.masks(), without)
        assert np.array_equal(np.load(io.BytesIO(editor.download("npz")[1]))["masks"], without)
        page.keyboard.press("Control+z")
        assert np.array_equal(editor.masks(), mended)
        page.context.close()


def test_a_film_that_the_server_forgot_is_sent_again(
    browser: Browser, simulated: Simulated, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: list[SessionStore] = []
    monkeypatch.setattr(
        "spineseg.ui.page.SessionStore", lambda *a, **k: store.append(SessionStore(*a, **k)) or store[-1]
    )
    with running(page=simulated.page()) as address:
        editor = Editor(browser, address, simulated.film)
        page = editor.page
        editor.corners(L3)
        page.click('[data-edit-do="remove"]')
        editor.settle()
        store[0]._entries.clear()
        loaded = int(editor.data("loaded") or 0)
        page.keyboard.press("Control+z")
        page.keyboard.press("4")
        page.keyboard.press("Delete")
        page.wait_for_function(f"Number(document.querySelector('.viewer').dataset.loaded) >= {loaded + 2}")
        editor.settle()
        masks = editor.masks()
        assert [area == 0 for area in areas(masks)] == [k == VERTEBRAE.index("L4") for k in range(len(VERTEBRAE))]
        assert editor.download("overlay")[0] == "film-corrected-overlay.png"
        editor.close()


def test_a_person_mends_a_film_whose_sacrum_is_wrong_within_twenty_seconds(
    browser: Browser, simulated: Simulated, uploads: Path
) -> None:
    """One and a half seconds before each press and the time of Fitts's law: E, S1, Four corners, four clicks."""
    truth = simulated.model.answer
    wrong = truth.copy()
    wrong[S1] = np.roll(truth[S1], 25, axis=0) & ~truth[:S1].any(0)
    with running(page=Simulated(simulated.film, Bands(answer=wrong)).page()) as address:
        editor = Editor(browser, address, simulated.film)
        page = editor.page
        rows, columns = np.nonzero(truth[S1])
        around = cv2.boxPoints(cv2.minAreaRect(np.stack([columns, rows], 1).astype(np.float32)))

        def click(x: float, y: float) -> None:
            box = page.locator(".stage").bounding_box()
            assert box
            scale = box["height"] / truth.shape[1]
            page.mouse.click(box["x"] + (box["width"] - truth.shape[2] * scale) / 2 + x * scale, box["y"] + y * scale)

        began, gestures = time.monotonic(), 0
        for press in (
            lambda: page.keyboard.press("e"),
            lambda: page.click(f'[data-pick="{S1}"]'),
            lambda: page.click('.kit [data-tool="corners"]'),
            *(partial(click, x, y) for x, y in around.tolist()),
        ):
            time.sleep(1.5)
            press()
            gestures += 1
        took = time.monotonic() - began
        mask = editor.masks()[..., S1].astype(bool)
        dice = 2 * (mask & truth[S1]).sum() / (mask.sum() + truth[S1].sum())
        assert (gestures, took < 20) == (7, True)
        assert dice > 0.8 > 2 * (wrong[S1] & truth[S1]).sum() / (wrong[S1].sum() + truth[S1].sum())
        editor.close()
