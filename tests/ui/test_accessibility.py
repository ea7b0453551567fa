"""The page for a keyboard, a screen reader, weak eyes: WCAG 2.2 AA as axe-core checks it, and what it cannot check."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
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


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Whatever a file holds, the page's model finds the same on it."""
    path = tmp_path / "film.dcm"
    path.write_bytes(b"film")
    return path


def opened(browser: Browser, address: str, **options: Any) -> Page:
    page = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options}).new_page()
    page.goto(address)
    page.wait_for_selector("#status .ready")
    return page


def with_film(page: Page, film: Path) -> None:
    page.set_input_files("#film input", film)
    page.wait_for_selector('.viewer[data-masks="yes"]')


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
    page.click("#compare-with input")
    page.click('[role="option"]:has-text("other")')
    page.wait_for_selector('.viewer[data-other="yes"]')
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
