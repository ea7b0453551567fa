"""The page in Korean and English, in a browser: which one, the switch, and words that were forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import png
from playwright.sync_api import Browser, Page
from ui_browser import opened
from ui_fakes import Bands, simulated
from ui_server import running

from spineseg.io.films import read_film
from spineseg.io.labels import read_label
from spineseg.ui.page import build_page

SAME_IN_KOREAN = set(
    re.findall(
        "[A-Za-z]{2,}",
        "spineseg English Language bands other film.dcm DICOM PNG JPEG TIFF BMP WebP NIfTI ZIP CSV SEG JSON .npy"
        " .npz .mat MATLAB NumPy label_separated measurements.csv uint8 px mm MB GPU CPU Dice IoU HD95"
        " Hausdorff Genant Meyerding Cobb Frobin Legaye U-Net Shift Ctrl Esc Delete Tab Enter",
    )
)
"""Names, units, formats and keys."""
SEEN = """[...document.querySelectorAll('body *')]
  .filter((node) => node.checkVisibility() && !node.closest('script, style, footer, kbd, code, .language'))
  .flatMap((node) => [...[...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data),
    node.title, node.ariaLabel, node.placeholder, node.alt])
  .filter((text) => text && /[A-Za-z]{2}/.test(text)).map((text) => text.trim())"""

LISTEN = """() => {
  window.heard = [];
  const said = document.querySelector('.sr-only[role="status"]');
  const note = () => said.textContent.trim() && window.heard.push(said.textContent);
  new MutationObserver(note).observe(said, { subtree: true, childList: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def address(uploads: Path) -> Iterator[str]:
    film, model = simulated()
    models = {"bands": model, "other": Bands(answer=model.answer, shift=12)}

    def read(path: Path) -> Any:
        return film if path.read_bytes() == b"film" else read_film(path)

    page = build_page(models, read, read_label, Path("examples"))
    with running(page=page) as address:
        yield address


def with_film(page: Page, film: Path) -> None:
    page.set_input_files("#film input", film)
    page.wait_for_selector('.viewer[data-masks="yes"]')
    page.wait_for_selector('#findings .facts:has-text("bands")')


def english_words(page: Page) -> set[str]:
    """English words that are seen or read aloud, names, units and keys left out."""
    return {text for text in page.evaluate(SEEN) if set(re.findall("[A-Za-z]{2,}", text)) - SAME_IN_KOREAN}


def test_a_korean_browser_gets_a_korean_page_without_english_words(
    browser: Browser, address: str, film: Path, tmp_path: Path
) -> None:
    page = opened(browser, address, locale="ko-KR")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("getComputedStyle(document.querySelector('#examples span')).wordBreak") == "keep-all"
    page.wait_for_selector('#examples button[aria-current="true"]:has-text("골반이 보이는 영상")')
    page.wait_for_selector('#measures:has-text("요추 전만각, L1-S1 코브각")')
    assert english_words(page) == set()
    page.evaluate(LISTEN)
    with_film(page, film)
    page.wait_for_function("window.heard.length > 0")
    page.wait_for_timeout(6000)  # Gradio reads one thing in five seconds
    assert not [text for text in page.evaluate("window.heard") if re.search("[A-Za-z]{2}", text)]
    page.wait_for_selector('#findings .verdict:has-text("척추 번호 신뢰 가능")')
    page.wait_for_selector('#measures:has-text("요추 전만각, L1-S1 코브각")')
    assert english_words(page) == set()
    page.click('[data-do="help"]')
    assert english_words(page) == set()
    page.keyboard.press("Escape")
    page.click("#compare > button")
    page.click("#about > button")
    page.click('[data-do="edit"]')
    assert english_words(page) <= {"Six <b>bars</b>.", "train <x>"}, "what the card of this model says"
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector('#findings .corrected:has-text("직접 수정함")')
    page.click('[data-edit-do="done"]')
    label = tmp_path / "label.png"
    label.write_bytes(png(np.kron(np.arange(6), np.ones((100, 100))).astype(np.uint8), 8))
    page.set_input_files("#film input:not([webkitdirectory])", [film, label])
    page.wait_for_selector('.batch .films .failed:has-text("방사선 영상이 아니라 값이")')
    page.wait_for_selector('.batch .lead:has-text("2장 중 1장 완료")')
    page.click(".batch .show")
    assert english_words(page) <= {"label.png", "Six <b>bars</b>.", "train <x>"}
    page.context.close()


def test_a_refusal_is_said_in_the_visitors_language(browser: Browser, address: str, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7 and more")
    for locale, said in (
        ("en-GB", "This is a PDF document, not a film"),
        ("ko-KR", "방사선 영상이 아니라 PDF 문서입니다"),
    ):
        page = opened(browser, address, locale=locale)
        page.set_input_files("#film input", path)
        page.wait_for_selector(f'#film .drop.wrong:has-text("{said}")')
        page.context.close()


def test_the_switch_changes_all_that_is_shown_at_once_and_is_remembered(
    browser: Browser, address: str, film: Path
) -> None:
    page = opened(browser, address, locale="en-US")
    with_film(page, film)
    page.focus(".stage")
    for key in ("e", "1", "Delete", "Escape"):
        page.keyboard.press(key)
    page.wait_for_selector('#findings .absent:has-text("not found")')
    page.select_option(".language", "ko")
    page.wait_for_selector('#findings .absent:has-text("찾지 못함")')
    page.wait_for_selector('#model:has-text("모델")')
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.get_attribute(".viewer", "data-steps") == "1", "what was edited stays"
    assert english_words(page) == set()
    page.set_input_files("#film input >> nth=0", [film, film])
    page.wait_for_selector('#batch .films li:nth-child(2):has-text("척추 번호 신뢰 가능")')
    page.select_option(".language", "en")
    page.wait_for_selector('#batch .films li:nth-child(2):has-text("numbering reliable")')
    assert page.inner_text("#batch .lead") == "2 of 2 films are ready"
    page.select_option(".language", "ko")
    page.reload()
    page.wait_for_selector('#film:has-text("영상 선택")')
    page.select_option(".language", "en")
    page.wait_for_selector('#film:has-text("Choose a film")')
    assert page.evaluate("document.documentElement.lang") == "en"
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["value"], cookie["sameSite"]) == ("spineseg-language", "en", "Lax")  # pyright: ignore
    page.context.close()
