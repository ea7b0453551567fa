"""The other numbering of an ambiguous film, in a real headless Chromium: one press, and back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import ui_browser
from playwright.sync_api import Browser, Page
from ui_fakes import Bands
from ui_server import running

from spineseg.film import VERTEBRAE, Film, Masks
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import CHECK
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.labels import read_label
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.page import build_page

WHY = "L5 or S1: the lowest vertebra may be either, as the sacrum is not in view"
OFFER = '#findings [data-correct="lower"]:has-text("Use the other numbering")'


@dataclass
class OneTooHigh(Bands):
    """Names every body one level too high: L1 has no name, S1 is called L5."""

    def __call__(self, film: Film, /) -> Prediction:
        masks = np.concatenate([self.answer[1:], np.zeros_like(self.answer[:1])])
        present = (*[True] * 5, False)
        levels = LevelReport(present, (0.6,) * 5 + (0.0,), 0.5, CHECK, (WHY,), shift=1, shift_likelihood=0.42)
        return replace(super().__call__(film), masks=masks, levels=levels, beyond={-1: self.answer[0]})


@dataclass(frozen=True)
class Ambiguous:
    address: str
    film: Path
    truth: Masks


@pytest.fixture(scope="module")
def ambiguous(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> Iterator[Ambiguous]:
    case = simulate_case(7, 4, SimulateConfig(rows=512))
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_film(path, case.film)
    page = build_page({"bands": OneTooHigh(answer=case.masks)}, read_film, read_label)
    with running(page=page) as address:
        yield Ambiguous(address, path, case.masks)


def masks(page: Page) -> Masks:
    array = np.load(io.BytesIO(ui_browser.download(page, "npy")[1]))
    return np.moveaxis(array[..., : len(VERTEBRAE)], -1, 0).astype(bool)


def settled(page: Page) -> None:
    page.wait_for_timeout(300)
    page.wait_for_function("(({ asked, answered }) => asked === answered)(document.querySelector('.viewer').dataset)")


def test_one_press_renames_every_body_and_undo_brings_the_names_back(browser: Browser, ambiguous: Ambiguous) -> None:
    page = ui_browser.opened(browser, ambiguous.address)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    ui_browser.open_film(page, ambiguous.film)
    page.wait_for_selector(OFFER)
    assert f"{WHY}." in page.inner_text("#findings .reasons")
    assert "L1 becomes L2, and so on (likelihood 42%)" in page.inner_text(OFFER)
    before = masks(page)
    assert np.array_equal(before[:5], ambiguous.truth[1:]) and not before[5].any()
    page.focus(".stage")
    while not page.evaluate("document.activeElement.matches('#findings [data-correct]')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#findings .verdict.corrected")
    settled(page)
    assert np.array_equal(masks(page), ambiguous.truth), "the body that had no name has its own outline"
    text = page.inner_text("#findings")
    assert "Every name 1 level lower." in text and "was without a name" in text and "drawn by hand" not in text
    assert not page.is_visible(OFFER) and WHY not in text
    page.keyboard.press("Control+z")
    page.wait_for_selector(OFFER)
    settled(page)
    assert np.array_equal(masks(page), before)
    ui_browser.close(page, [], errors)


def test_after_own_changes_and_a_new_load_the_nameless_body_is_still_there(
    browser: Browser, ambiguous: Ambiguous
) -> None:
    page = ui_browser.opened(browser, ambiguous.address)
    ui_browser.open_film(page, ambiguous.film)
    page.click(f'#findings [data-correct="drop"][data-vertebra="{VERTEBRAE.index("L3")}"]')
    page.wait_for_selector("#findings .verdict.corrected")
    settled(page)
    page.wait_for_function("Number(document.querySelector('.viewer').dataset.stored) > 0")
    page.reload()
    page.wait_for_selector('.viewer[data-masks="yes"]')
    page.wait_for_selector('#findings .absent:has-text("L3")')
    settled(page)
    page.locator('#findings [data-correct="lower"]').last.click()
    page.wait_for_function("!document.querySelector('#findings tr:first-of-type.absent')")
    settled(page)
    left_out = ambiguous.truth.copy()
    left_out[VERTEBRAE.index("L4")] = False
    assert np.array_equal(masks(page), left_out)
    page.context.close()


def test_the_offer_is_made_in_korean_too(browser: Browser, ambiguous: Ambiguous) -> None:
    page = ui_browser.opened(browser, ambiguous.address, locale="ko-KR")
    ui_browser.open_film(page, ambiguous.film)
    page.wait_for_selector('#findings [data-correct="lower"]:has-text("다른 번호 사용")')
    assert "천추가 보이지 않음" in page.inner_text("#findings .reasons")
    page.context.close()
