"""The page for a keyboard, a screen reader, weak eyes: WCAG 2.2 AA as axe-core checks it, and what it cannot check."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from ui_browser import opened
from ui_fakes import Bands, read_label, simulated
from ui_server import running

from spineseg.ui.page import build_page

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
FAULTS = """async (rules) => (await axe.run(document, rules)).violations.flatMap(({ id, nodes }) =>
  nodes.filter((node) => id !== 'target-size' || !node.html.includes('translate(')).map((node) =>
    `${id}: ${node.target.join(' ')} ${node.html.slice(0, 120)} ${node.any.map((check) => check.message)}`))"""


"""Of the handles the size is not judged: they are for the keyboard; a pointer finds a corner within 10 to 26 px."""


@pytest.fixture(scope="module")
def address(uploads: Path) -> Iterator[str]:
    film, model = simulated()
    other = Bands(answer=model.answer, shift=12)
    page = build_page({"spineseg": model, "other": other}, lambda path: film, read_label, Path("examples"))
    with running(page=page) as address:
        yield address


def with_film(page: Page, film: Path) -> None:
    page.set_input_files("#film input", film)
    page.wait_for_selector('#findings .facts:has-text("GPU")')  # not those of the example that the page opens with


def faults(page: Page) -> list[str]:
    page.wait_for_timeout(300)  # transitions
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(content=AXE)
    return page.evaluate(FAULTS, RULES)


def shown(page: Page, film: Path) -> Iterator[str]:
    """The page as a visitor goes through it; each state's name when it is there."""
    yield "empty"
    with_film(page, film)
    yield "film"
    page.click("#measure > button")
    page.click("#about > button")
    yield "opened panels"
    page.click('[data-do="help"]')
    yield "help"
    page.keyboard.press("Escape")
    page.click('[data-do="edit"]')
    yield "editing"
    page.click('[data-tool="brush"]')
    yield "brush"
    page.click('[data-edit-do="done"]')
    page.click("#compare > button")
    page.click("#side-b input")
    page.click('[role="option"]:has-text("other")')
    page.wait_for_selector('.viewer[data-mode="swipe"]')
    yield "compared"
    page.click('.modes [data-mode="difference"]')
    yield "difference"
    page.click('.modes [data-mode="maps"]')
    yield "maps"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_axe_finds_no_fault(browser: Browser, address: str, film: Path, scheme: Any, locale: str) -> None:
    page = opened(browser, address, color_scheme=scheme, locale=locale)
    found = {state: faults(page) for state in shown(page, film)}
    assert {state: each for state, each in found.items() if each} == {}
    page.context.close()


def test_the_picture_stays_in_view_at_twice_the_size(browser: Browser, address: str, film: Path) -> None:
    """A screen of 1280 x 900 at 200 % has 640 x 450 pixels of CSS; WCAG 1.4.4 and 1.4.10."""
    page = opened(browser, address, viewport={"width": 640, "height": 450}, device_scale_factor=2)
    with_film(page, film)
    top, bottom = page.evaluate(
        "(({ top, bottom }) => [top, bottom])(document.querySelector('.stage').getBoundingClientRect())"
    )
    assert (min(bottom, 450) - max(top, 0)) / (bottom - top) > 0.9
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
    page.context.close()


# ---- by the keyboard alone ----


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.outerHTML.slice(0, 300)")


def tab_to(page: Page, selector: str) -> None:
    for _ in range(120):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


def steps(page: Page) -> int:
    return page.evaluate("Number(document.querySelector('.viewer').dataset.steps ?? 0)")


def test_a_missing_vertebra_is_placed_and_a_corner_is_moved_by_keys(browser: Browser, address: str, film: Path) -> None:
    page = opened(browser, address)
    with_film(page, film)
    page.focus(".stage")
    page.keyboard.press("e")
    page.keyboard.press("3")
    page.keyboard.press("Delete")
    page.wait_for_selector('#findings .absent:has-text("L3")')
    page.keyboard.press("c")
    for keys in (["Shift+ArrowLeft"], ["Shift+ArrowRight"] * 2, ["Shift+ArrowDown"], ["Shift+ArrowLeft"] * 2):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.wait_for_selector('#findings tr:has-text("L3"):has-text("drawn by hand")')
    assert steps(page) == 2
    tab_to(page, '.handles button[aria-label="L3, corner 1"]')
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", "focus is seen"
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    assert steps(page) == 7
    page.keyboard.press("Control+z")
    assert steps(page) == 6
    page.context.close()


def test_the_brush_works_by_keys(browser: Browser, address: str, film: Path) -> None:
    page = opened(browser, address)
    with_film(page, film)
    page.focus(".stage")
    for key in ("e", "1", "b", "Shift+ArrowUp", "ArrowLeft", "Space", "x", "Enter"):
        page.keyboard.press(key)
    assert steps(page) == 2, "painted, and erased"
    page.context.close()


def test_arrow_keys_choose_in_a_radio_group_which_is_one_stop_for_tab(
    browser: Browser, address: str, film: Path
) -> None:
    page = opened(browser, address)
    with_film(page, film)
    tab_to(page, ".style [role='radio']")
    page.keyboard.press("ArrowRight")
    assert 'data-style="outline"' in focused(page) and 'aria-checked="true"' in focused(page)
    page.keyboard.press("ArrowRight")
    assert 'data-style="fill"' in focused(page), "around the end"
    page.keyboard.press("Tab")
    assert 'role="radio"' not in focused(page)
    for group in page.locator('[role="radiogroup"]').all():
        assert group.locator('[role="radio"][tabindex="0"]').count() <= 1
    page.context.close()


def test_the_verdict_and_the_progress_are_said_and_motion_can_be_left_out(
    browser: Browser, address: str, film: Path
) -> None:
    page = opened(browser, address, reduced_motion="reduce")
    live = page.locator('#findings [role="status"]')
    live.evaluate("(node) => { window.live = node; }")
    with_film(page, film)
    page.wait_for_selector("#findings .verdict")
    assert page.evaluate("window.live.isConnected && window.live.textContent").startswith("Numbering reliable")
    assert page.locator("#film .status[role='status']").count() == 1
    moving = page.evaluate("""[...document.querySelectorAll('*')]
        .filter((node) => parseFloat(getComputedStyle(node).transitionDuration) > 0).map((node) => node.outerHTML)""")
    assert moving == []
    page.context.close()


def test_what_is_read_aloud_begins_with_what_is_seen(browser: Browser, address: str, film: Path) -> None:
    """WCAG 2.5.3, which axe leaves to its experimental rules: the name of a control holds its visible text."""
    page = opened(browser, address)
    with_film(page, film)
    differing = page.evaluate("""[...document.querySelectorAll('button, a, summary, [role="radio"], [role="switch"]')]
        .filter((node) => node.checkVisibility() && node.ariaLabel && /[a-z]{2}/i.test(node.innerText))
        .filter((node) => !node.ariaLabel.toLowerCase().includes(node.innerText.trim().toLowerCase()))
        .map((node) => `${node.ariaLabel} | ${node.innerText}`)""")
    assert differing == []
    page.context.close()
