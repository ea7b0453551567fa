"""What a new visitor meets, in a real headless Chromium: an example with its result, before any model is loaded."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from ui_fakes import Bands
from ui_server import running

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.prediction import Prediction
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.labels import read_label, to_array
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.correction import bits_to_masks
from spineseg.ui.examples import Example
from spineseg.ui.page import build_page
from spineseg.ui.server import LazyModels

EXAMPLES = Path(__file__).parents[2] / "examples"
FIRST, SECOND = sorted(EXAMPLES.glob("*.dcm"))[:2]
WIDTHS = {"wide": (1440, 900), "tablet": (1024, 768), "phone": (390, 844), "zoomed to 200 %": (720, 450)}
VERDICT, LOADED = "#findings .verdict", '.viewer[data-masks="yes"]'
IN_SIGHT = """() => {
  const { top, bottom } = document.querySelector('.stage').getBoundingClientRect();
  return top > -50 && bottom < innerHeight + 50;
}"""
DROP = """([selector, bytes, name]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name));
  for (const kind of ['dragover', 'drop'])
    document.querySelector(selector).dispatchEvent(
      new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }),
    );
}"""


class AnySize(Bands):
    """Knows the masks of one film, and paints bars as large as any other."""

    def __call__(self, film: Film, /) -> Prediction:
        answer = self.answer
        if film.shape != answer.shape[1:]:
            self.answer = np.zeros((len(VERTEBRAE), *film.shape), bool)
            for k, mask in enumerate(self.answer):
                mask[100 * k + 50 : 100 * k + 120, 200:300] = True
        try:
            return super().__call__(film)
        finally:
            self.answer = answer


@dataclass
class Failing(AnySize):
    broken: bool = False

    def __call__(self, film: Film, /) -> Prediction:
        if self.broken:
            raise RuntimeError("out of memory")
        return super().__call__(film)


class Loading:
    """Models that are not loaded before the test says so, and what they were asked."""

    def __init__(self) -> None:
        case = simulate_case(7, 4, SimulateConfig(rows=512))
        self.film, self.masks, self.loaded = case.film, case.masks, threading.Event()
        self.models = {name: AnySize(answer=case.masks) for name in ("spineseg", "other")}

    def lazy(self) -> LazyModels:
        def load(name: str) -> AnySize:
            self.loaded.wait(120)
            return self.models[name]

        return LazyModels({name: lambda name=name: load(name) for name in self.models}).start()

    @property
    def asked(self) -> int:
        return sum(len(model.seen) for model in self.models.values())


@pytest.fixture(scope="module")
def loading(uploads: Path) -> Loading:
    return Loading()


@pytest.fixture(scope="module")
def address(loading: Loading) -> Iterator[str]:
    page = build_page(loading.lazy(), read_film, read_label, EXAMPLES, "spineseg")
    with running(page=page) as address:
        try:
            yield address
        finally:
            loading.loaded.set()


@pytest.fixture
def file(loading: Loading, tmp_path: Path) -> Path:
    """A film of the visitor's own, that the models know."""
    write_film(path := tmp_path / "mine.dcm", loading.film)
    return path


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    """Opens the page as a new visitor; afterwards no script has failed and no other host was asked."""
    contexts, errors, asked = [], [], []

    def open_page(**context: Any) -> Page:
        contexts.append(browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(40_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector(LOADED)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


@pytest.fixture
def page(visit: Any, loading: Loading) -> Page:
    """A visitor's page once the models are loaded."""
    loading.loaded.set()
    return visit()


def open_film(page: Page, film: Path) -> None:
    page.set_input_files("#film input", film)
    page.wait_for_selector('.viewer[data-example=""][data-masks="yes"]')
    page.wait_for_function("!document.querySelector('#findings').textContent.includes('not segmented')")


def array(page: Page) -> np.ndarray:
    with page.expect_download() as download:
        page.click('[data-download="npy"]')
    return np.load(io.BytesIO(Path(download.value.path()).read_bytes()))


def switched_on(page: Page) -> list[bool]:
    switches = page.locator('.legend [role="switch"]').all()
    return [switch.get_attribute("aria-checked") == "true" for switch in switches]


def apart(page: Page, one: str, other: str) -> bool:
    """Whether neither covers a part of the other."""
    a, b = (page.locator(selector).first.bounding_box() for selector in (one, other))
    assert a and b
    beside = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
    return beside or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]


# ---- the first sight ----


def test_the_page_opens_with_a_result_before_a_model_is_loaded(visit: Any, loading: Loading, file: Path) -> None:
    """This test comes first: the models are not there yet. Two visitors act on the same example."""
    page, other = visit(), visit()
    assert not loading.loaded.is_set()
    assert page.inner_text(VERDICT) == "Numbering reliable"
    assert page.inner_text(".stage .example") == "Simulated example - drop your film here"
    assert "lordosis" in page.inner_text("#measures")
    assert not page.is_visible("#run-again"), "there is nothing to run again"
    state = Example(FIRST).segmented("spineseg")
    assert state and state.layer
    shipped = to_array(bits_to_masks(state.layer.bits))
    assert np.array_equal(array(page), shipped)
    for kind in ("npz", "overlay", "json"):
        with page.expect_download() as download:
            page.click(f'[data-download="{kind}"]')
        assert download.value.suggested_filename.startswith(FIRST.stem)
    page.keyboard.press("1")
    assert switched_on(page) == [False, *[True] * (len(VERTEBRAE) - 1), False]
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector(f"{VERDICT}.corrected")
    assert np.array_equal(array(page)[..., 1:6], shipped[..., :5])
    with page.expect_download() as download:
        page.click('[data-download="npz"]')
    assert "corrected" in download.value.suggested_filename
    assert "Corrected" not in other.inner_text("#findings") and np.array_equal(array(other), shipped)
    page.click("#examples button >> nth=1")
    page.wait_for_selector(f'.viewer[data-example="{SECOND.stem}"]')
    page.wait_for_selector('#findings .facts:has-text("590 px")')
    assert loading.asked == 0, "no model was asked"

    other.set_input_files("#film input", file)  # waits for the model
    other.wait_for_selector('#film .status:has-text("Shown: mine.dcm")')
    assert not other.is_visible(".stage .example")
    loading.loaded.set()
    other.wait_for_selector('.viewer[data-example=""][data-masks="yes"]')
    assert np.array_equal(array(other), to_array(loading.masks))


def test_another_model_a_comparison_and_inversion_work_on_the_example(page: Page) -> None:
    page.click("#compare > button")
    page.click("#side-b input")
    page.click('[role="option"]:has-text("other")')
    page.wait_for_selector('.viewer[data-compared="yes"]')
    assert "A: spineseg; B: other" in page.inner_text("#comparison")
    assert not page.is_visible(".stage .example"), "the titles of both stand there"


def test_inversion_of_the_example_asks_the_model(page: Page) -> None:
    loaded = int(page.get_attribute(".viewer", "data-loaded") or 0)
    page.click("#invert input")
    page.wait_for_function(f"Number(document.querySelector('.viewer').dataset.loaded) >= {loaded + 2}")
    page.wait_for_selector(VERDICT)
    assert page.is_visible(LOADED)


def test_thumbnails_show_each_example_with_its_masks_and_which_is_open(page: Page) -> None:
    pictures = "[...document.querySelectorAll('#examples img')].map((image) => image.naturalWidth)"
    assert page.evaluate(pictures) == [138] * len(list(EXAMPLES.glob("*.dcm")))
    pressed = "[...document.querySelectorAll('#examples button')].map((button) => button.ariaCurrent === 'true')"
    assert page.evaluate(pressed)[0]
    page.click("#examples button >> nth=2")
    page.wait_for_function(f"({pressed})[2]")
    page.wait_for_selector('#findings .verdict:has-text("reliable")')


@pytest.mark.parametrize("target", ["#results", "header", ".stage", "#examples", "#film"])
def test_a_film_may_be_dropped_anywhere(page: Page, file: Path, target: str) -> None:
    page.evaluate(DROP, [target, list(file.read_bytes()), "dropped.dcm"])
    page.wait_for_selector('#film .status:has-text("Shown: dropped.dcm")')
    page.wait_for_selector('.viewer[data-example=""][data-masks="yes"]')
    assert not page.evaluate("document.body.classList.contains('dropping')")


def test_the_sign_on_the_example_opens_the_chooser(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click(".stage .example")
    chooser.value.set_files(file)
    page.wait_for_selector('#film .status:has-text("Shown: mine.dcm")')


def test_own_weights_are_offered_for_the_example(browser: Browser, uploads: Path, loading: Loading) -> None:
    """The result is of the published weights and says so; a model that fails can be asked again."""
    model = Failing(broken=True)
    served = build_page({"mine": model}, read_film, read_label, EXAMPLES)
    with running(page=served) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.wait_for_selector(LOADED)
        assert "published weights" in page.inner_text("#findings .facts")
        page.click("#run-again")
        page.wait_for_selector('[data-testid="toast-text"]')
        assert page.is_visible("#run-again")
        for width, height in WIDTHS.values():
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("scrollTo(0, 0)")
            for covered in (VERDICT, ".tools"):
                assert apart(page, ".toast-wrap", covered), (width, covered)
        model.broken = False
        page.click("#run-again")
        page.wait_for_selector('#findings .facts:has-text("mine")')
        page.wait_for_selector("#run-again", state="hidden")
        page.context.close()


# ---- refusals ----


def test_a_refused_reference_leaves_no_badge_and_no_old_score(page: Page, loading: Loading, tmp_path: Path) -> None:
    state = Example(FIRST).segmented("spineseg")
    assert state and state.layer
    np.save(tmp_path / "good.npy", to_array(bits_to_masks(state.layer.bits)))
    np.save(tmp_path / "bad.npy", np.zeros((9, 9, 7), np.uint8))
    page.click("#compare > button")
    page.set_input_files("#reference-1 input", tmp_path / "good.npy")
    page.wait_for_selector('#comparison :text("1.000")')
    page.set_input_files("#reference-1 input", tmp_path / "bad.npy")
    page.wait_for_selector('#reference-1 .drop.wrong:has-text("bad.npy was refused")')
    page.wait_for_selector('#comparison:has-text("does not belong to this film")')
    assert "1.000" not in page.inner_text("#comparison")
    assert page.locator('.error:has-text("Error")').count() == 0, "no badge of Gradio's"
    assert page.is_visible(VERDICT) and not page.is_visible('[data-testid="toast-text"]')
    write_film(film := tmp_path / "next.dcm", loading.film)
    open_film(page, film)
    assert page.is_visible(VERDICT) and page.locator('.error:has-text("Error")').count() == 0


# ---- one film's view is not the next one's ----


def test_what_was_set_for_one_film_is_not_kept_for_the_next(page: Page, file: Path) -> None:
    for key in ("2", "o", "n", "l", "i", "]", "r"):
        page.keyboard.press(key)
    page.wait_for_selector('.viewer[data-mode="maps"][data-style="outline"]')
    open_film(page, file)
    page.wait_for_selector('.viewer[data-mode="a"][data-style="fill"]')
    assert switched_on(page) == [*[True] * len(VERTEBRAE), False]
    assert page.is_checked(".controls .names") and not page.is_checked(".controls .lines")
    assert page.evaluate("getComputedStyle(document.querySelector('canvas.film')).filter").count("invert") == 0
    page.keyboard.press("o")
    page.click("#invert input")  # the same film, shown otherwise
    page.wait_for_timeout(300)
    assert page.get_attribute(".viewer", "data-style") == "outline"


def test_keys_work_wherever_the_focus_is_but_in_fields(page: Page) -> None:
    page.focus('#findings [data-correct="higher"]')
    page.keyboard.press("2")
    assert not switched_on(page)[1]
    page.keyboard.press("o")
    page.wait_for_selector('.viewer[data-style="outline"]')
    page.keyboard.press("e")
    page.wait_for_selector(".viewer[data-edit]")
    for place in ('#findings [data-correct="higher"]', ".editor .rename", ".stage"):
        if page.get_attribute(".viewer", "data-edit") is None:
            page.keyboard.press("e")
        page.focus(place)
        page.keyboard.press("Escape")
        page.wait_for_selector(".viewer:not([data-edit])")
    page.click("#model input")
    page.keyboard.press("3")
    assert switched_on(page)[2], "typed into a field"
    page.keyboard.press("Escape")


def test_keys_act_in_the_viewer_alone_where_a_person_wants_so(page: Page) -> None:
    """WCAG 2.1.4, and the page remembers it."""
    page.click('[data-do="help"]')
    page.uncheck(".single-keys")
    page.click(".help form button")
    for _ in range(2):
        page.focus('#findings [data-correct="higher"]')
        page.keyboard.press("2")
        assert switched_on(page)[1]
        page.focus(".stage")
        page.keyboard.press("2")
        assert not switched_on(page)[1]
        page.reload()
        page.wait_for_selector(LOADED)
    page.click('[data-do="help"]')
    page.check(".single-keys")
    page.click(".help form button")
    page.focus('#findings [data-correct="higher"]')
    page.keyboard.press("2")
    assert not switched_on(page)[1]


def test_escape_takes_back_what_is_being_dragged(page: Page) -> None:
    page.keyboard.press("e")
    page.keyboard.press("b")
    before = array(page)
    box = page.locator(".stage").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2)
    page.keyboard.press("Escape")
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.get_attribute(".viewer", "data-edit") is not None
    assert np.array_equal(array(page), before)


# ---- layout ----


def top_and_bottom(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).first.bounding_box()
    assert box, selector
    return box["y"], box["y"] + box["height"]


@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
def test_picture_and_verdict_are_on_the_first_screen(visit: Any, size: tuple[int, int]) -> None:
    page = visit(viewport={"width": size[0], "height": size[1]})
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing sticks out to the side"
    assert top_and_bottom(page, "#film .lead")[1] < size[1]
    top, bottom = top_and_bottom(page, ".stage")
    assert bottom <= size[1] and bottom - top >= 200, "all of the picture"
    if size[1] > 600:
        assert top_and_bottom(page, VERDICT)[1] <= size[1]


CUT = """(selector) => [...document.querySelectorAll(selector)].filter((node) => {
  const { left, right } = node.closest('.block').getBoundingClientRect(), box = node.getBoundingClientRect();
  return box.left < left || box.right > right || node.scrollWidth > node.clientWidth + 1;
}).map((node) => node.value ?? node.textContent)"""


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
def test_no_figure_and_no_choice_is_cut(visit: Any, loading: Loading, size: tuple[int, int], locale: str) -> None:
    loading.loaded.set()
    page = visit(viewport={"width": size[0], "height": size[1]}, locale=locale)
    page.wait_for_selector("#measures td >> nth=1")
    assert page.evaluate(CUT, "#measures :is(td, th)") == []
    page.click("#compare > button")
    page.wait_for_selector("#side-a input")
    assert page.evaluate(CUT, "#compare input[role=listbox], #compare .secondary-wrap input") == []


def test_on_a_phone_compare_is_beside_the_modes_it_offers(visit: Any, loading: Loading) -> None:
    loading.loaded.set()
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.tap("#compare > button")
    page.tap("#side-b input")
    page.tap('[role="option"]:has-text("other")')
    page.wait_for_selector('.viewer[data-compared="yes"]')
    swipe, compare = top_and_bottom(page, '.modes [data-mode="swipe"]'), top_and_bottom(page, "#compare > button")
    assert 0 < compare[0] - swipe[1] < 260
    assert compare[1] - top_and_bottom(page, ".stage")[0] < 844, "with the picture on one screen"
    page.tap("#examples button >> nth=1")  # far below
    page.wait_for_selector(f'.viewer[data-example="{SECOND.stem}"]')
    page.wait_for_function(IN_SIGHT)


def test_a_dark_page_has_no_white_strip_where_the_scrollbar_may_come(
    browser: Browser, chromium: str, address: str
) -> None:
    options: dict[str, Any] = {"args": ["--headless", "--no-sandbox"], "ignore_default_args": ["--hide-scrollbars"]}
    shown = browser.browser_type.launch(executable_path=chromium, **options)
    page = shown.new_context(color_scheme="dark", viewport={"width": 1440, "height": 2400}).new_page()
    page.goto(address)
    page.wait_for_selector(LOADED)
    picture = page.screenshot(clip={"x": 1420, "y": 1200, "width": 20, "height": 20})
    shown.close()
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None and pixels.max() < 80


class Waiting(AnySize):
    """Answers once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def __call__(self, film: Film, /) -> Prediction:
        assert self.told.wait(60)
        return super().__call__(film)


def test_a_film_that_is_chosen_while_another_is_segmented_is_segmented_too(
    browser: Browser, uploads: Path, tmp_path: Path
) -> None:
    model = Waiting()
    names = []
    for n in range(3):
        names.append(tmp_path / f"{n}.png")
        cv2.imwrite(str(names[-1]), np.random.default_rng(n).integers(0, 255, (800, 320 + n), np.uint8))
    with running(page=build_page({"bands": model}, read_film, read_label)) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.wait_for_selector("#status .ready")
        page.set_input_files("#film input", names[0])
        page.wait_for_selector('#film .shown:has-text("0.png"), #film .status:has-text("0.png")')
        for name in names[1:]:
            page.set_input_files("#film input", name)  # both at once: the last one counts
        page.wait_for_selector("#findings :text('322')")
        model.told.set()
        page.wait_for_selector(LOADED)
        assert "322" in page.inner_text("#findings .facts")
        assert model.seen[-1].shape == (800, 322)
        page.context.close()
