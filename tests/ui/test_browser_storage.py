"""What the browser keeps or refuses to keep, in a real headless Chromium, on a page that opens with an example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import test_browser_editing
import ui_browser
from playwright.sync_api import Browser, Page
from test_browser_editing import Editor, Simulated
from ui_server import running

from spineseg.film import VERTEBRAE
from spineseg.io.films import read_film
from spineseg.io.labels import read_label
from spineseg.ui.page import build_page

simulated = test_browser_editing.simulated  # a fixture
EXAMPLES = Path(__file__).parents[2] / "examples"
L2, L3, L5 = (VERTEBRAE.index(name) for name in ("L2", "L3", "L5"))
STORE = """(change) => new Promise((resolve) => {
  const request = indexedDB.open('spineseg', 1);
  request.onsuccess = () => {
    const transaction = request.result.transaction('films', 'readwrite'), films = transaction.objectStore('films');
    films.getAll().onsuccess = (event) => event.target.result.forEach((record) => {
      if (change === 'count') return;
      record.steps = [{}];
      films.put(record);
    });
    const left = films.count();
    transaction.oncomplete = () => { request.result.close(); resolve(left.result); };
  };
})"""
REFUSES = "{ get() { throw new DOMException('denied', 'SecurityError'); } }"


@pytest.fixture(scope="module")
def address(simulated: Simulated, uploads: Path) -> Iterator[str]:
    with running(page=build_page({"bands": simulated.model}, read_film, read_label, EXAMPLES)) as address:
        yield address


@pytest.fixture
def editor(browser: Browser, address: str, simulated: Simulated) -> Editor:
    return Editor(browser, address, simulated.film)


def opened(browser: Browser, address: str, script: str) -> tuple[Page, list[str]]:
    """The page of a browser in which a script ran first, with its errors."""
    page, errors = browser.new_context(viewport={"width": 1400, "height": 900}).new_page(), []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.add_init_script(script)
    page.goto(address)
    page.wait_for_selector('.viewer[data-masks="yes"]')
    return page, errors


def test_a_page_that_is_loaded_anew_shows_the_mended_film_not_its_example(editor: Editor) -> None:
    editor.edit(L3)
    editor.page.click('[data-edit-do="remove"]')
    editor.settle()
    mended, film = editor.masks(), editor.data("film")
    editor.page.reload()
    editor.page.wait_for_function("document.querySelector('.edit-note')?.textContent.includes('are back')")
    assert editor.data("film") == film
    assert np.array_equal(editor.masks(), mended)
    editor.close()


@pytest.mark.parametrize(
    "script",
    [
        f"for (const name of ['sessionStorage', 'indexedDB']) Object.defineProperty(window, name, {REFUSES})",
        "IDBFactory.prototype.open = () => new EventTarget()",
        "sessionStorage.setItem('spineseg-film', '{')",
        'sessionStorage.setItem(\'spineseg-film\', \'{"hash": null, "rows": -1, "picture": 7}\')',
        "document.cookie = 'spineseg-language=constructor; path=/'",
        "document.cookie = 'spineseg-language=__proto__; path=/'",
    ],
    ids=["none", "a database that never opens", "damaged", "of another kind", "a language", "another"],
)
def test_whatever_the_browser_stores_a_film_is_shown(
    browser: Browser,
    address: str,
    simulated: Simulated,
    script: str,
) -> None:
    page, errors = opened(browser, address, script)
    ui_browser.open_film(page, simulated.film)
    assert not page.is_disabled('[data-do="edit"]')
    assert errors == []
    page.context.close()


@pytest.mark.parametrize(
    "script",
    [
        f"Object.defineProperty(window, 'indexedDB', {REFUSES})",
        "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); }",
    ],
    ids=["none", "full"],
)
def test_a_browser_that_keeps_nothing_says_so(browser: Browser, address: str, script: str) -> None:
    page, errors = opened(browser, address, script)
    page.click('[data-do="edit"]')
    page.click('[data-edit-do="remove"]')
    page.wait_for_selector('.edit-note:has-text("save your masks before you close")')
    assert page.get_attribute(".viewer", "data-stored") is None
    assert errors == []
    page.context.close()


def test_a_record_that_is_damaged_is_removed(editor: Editor) -> None:
    editor.edit(L3)
    editor.page.click('[data-edit-do="remove"]')
    editor.settle()
    assert editor.page.evaluate(STORE, "damage") == 1
    editor.page.reload()
    editor.page.wait_for_selector('.viewer[data-masks="yes"]')
    editor.open()
    assert editor.masks()[..., L3].any(), "the model's own"
    assert editor.page.evaluate(STORE, "count") == 0
    editor.close()


def test_two_tabs_of_one_film_go_on_from_each_other(editor: Editor) -> None:
    other = editor.page.context.new_page()
    other.goto(editor.page.url)
    other.wait_for_selector('.legend [role="switch"]')
    ui_browser.open_film(other, editor.film)
    editor.edit(L2)
    editor.page.click('[data-edit-do="remove"]')
    other.wait_for_selector('.viewer[data-steps="1"]')
    other.click('[data-do="edit"]')
    other.click(f'[data-pick="{L5}"]')
    other.click('[data-edit-do="remove"]')
    editor.page.wait_for_selector('.viewer[data-steps="2"]')
    editor.settle()
    assert not editor.masks()[..., [L2, L5]].any()
    other.keyboard.press("Control+z")
    editor.page.wait_for_selector('.viewer[data-steps="1"]')
    editor.page.keyboard.press("Control+z")
    editor.page.wait_for_selector('.viewer[data-steps="0"]')
    assert editor.masks()[..., [L2, L5]].any((0, 1)).all()
    editor.close()
