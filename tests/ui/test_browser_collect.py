"""The loop in a real headless Chromium: films in the order to look at, mended, collected, checked, trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from ui_browser import opened
from ui_fakes import Bands, read_label
from ui_server import running

from spineseg.cli import main
from spineseg.data.check import check_folder
from spineseg.film import VERTEBRAE, Case, Film
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import CHECK
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.folder import labelled_films, read_case
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.page import build_page

L1 = VERTEBRAE.index("L1")


class Doubtful(Bands):
    """Less sure of the darker of two films."""

    def __call__(self, film: Film, /) -> Prediction:
        made = super().__call__(film)
        if film.image.max() > 4000:
            return made
        return replace(made, levels=replace(made.levels, verdict=CHECK, reasons=("level uncertain: L5",)))


@dataclass(frozen=True)
class Place:
    """Films that a visitor has, and the folder that the page collects in."""

    films: tuple[Path, Path]
    folder: Path
    case: Case
    address: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("visitor")
    case = simulate_case(7, 4, SimulateConfig(rows=512))
    bright = replace(case.film, image=case.film.image * np.float32(4095 / case.film.image.max()))
    dark = replace(case.film, image=np.flip(bright.image * np.float32(0.8), 1).copy())
    for name, film in (("Jane Doe.dcm", bright), ("doubtful.dcm", dark)):
        write_film(folder / name, film)
    collected = folder / "collected"
    page = build_page({"spineseg": Doubtful(answer=case.masks)}, read_film, read_label, collect_in=collected)
    for part in ("img", "label"):
        (collected / part).mkdir(parents=True)
    with running(page=page) as address:
        yield Place((folder / "Jane Doe.dcm", folder / "doubtful.dcm"), collected, case, address)


def rows(page: Page) -> list[str]:
    return page.locator("#batch .films button").all_inner_texts()


def opened_row(page: Page, n: int) -> None:
    before = page.get_attribute(".viewer", "data-film")
    page.locator("#batch .films button").nth(n).click()
    page.wait_for_function("(before) => document.querySelector('.viewer').dataset.film !== before", arg=before)
    page.wait_for_selector('.viewer[data-masks="yes"]')


def collect(page: Page) -> str:
    """By the keyboard; what is announced."""
    page.focus('[data-download="collect"]')
    page.evaluate("document.querySelector('.edit-note').textContent = ''")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.edit-note').textContent.includes('training folder')")
    return page.inner_text(".edit-note")


def test_films_to_look_at_come_first_and_what_is_mended_can_be_trained_on(
    browser: Browser, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    page = opened(browser, place.address)
    with page.expect_download():
        page.set_input_files("#film .drop input", place.films)
    assert [row.splitlines() for row in rows(page)] == [
        ["doubtful.dcm", "check the numbering"],
        ["Jane Doe.dcm", "numbering reliable"],
    ]
    page.uncheck("#batch .review")
    assert rows(page)[0].startswith("Jane Doe.dcm")
    page.check("#batch .review")

    for n, name in enumerate(("doubtful.dcm", "Jane Doe.dcm")):
        opened_row(page, n)
        assert collect(page) == f"Added to the training folder; films in it: {n + 1}."
        page.wait_for_selector(f'#batch .films li:has-text("{name}"):has-text("in the training folder")')
    page.click(f'#findings [data-correct="drop"][data-vertebra="{L1}"]')
    page.wait_for_selector('#batch .films li:has-text("Jane Doe.dcm"):has-text("reliable, corrected by hand")')
    assert "in the training folder" not in rows(page)[1], "not with these masks"
    assert collect(page).startswith("The label in the training folder was replaced; films in it: 2. Look again: ")

    kept = [path.name for path in place.folder.rglob("*")]
    assert len(kept) == 6 and not any("Doe" in name or "doubtful" in name for name in kept)
    cases = [read_case(film) for film in labelled_films(place.folder)]
    assert sorted(case.masks.any((1, 2)).sum() for case in cases) == [5, 6]
    assert all(np.array_equal(case.masks[L1 + 1 :], place.case.masks[L1 + 1 :]) for case in cases)
    assert check_folder(place.folder).errors == 0
    assert main(["check", str(place.folder)]) == 0
    capsys.readouterr()
    assert main(["train", "--data", str(place.folder), "--dry-run"]) == 0
    assert "held back" in capsys.readouterr().out
    page.context.close()


def test_a_film_that_cannot_be_collected_is_said_in_the_language_that_is_read(browser: Browser, place: Place) -> None:
    page = opened(browser, place.address, locale="ko-KR")
    page.set_input_files("#film .drop input", place.films[:1])
    page.wait_for_selector('.viewer[data-masks="yes"]')
    assert page.inner_text('[data-download="collect"]') == "학습 폴더에 추가"
    page.click(f'#findings [data-correct="drop"][data-vertebra="{L1 + 2}"]')
    page.wait_for_selector("#findings .verdict.corrected")
    page.click('[data-download="collect"]')
    page.wait_for_selector(':is(.toast-body, [data-testid="toast-body"]):has-text("L3")')
    page.context.close()


def test_without_a_folder_there_is_no_button(browser: Browser, uploads: Path, place: Place) -> None:
    with running(page=build_page({"bands": Bands()}, read_film, read_label)) as address:
        page = opened(browser, address)
        assert page.is_hidden('[data-download="collect"]') and not page.is_checked("#batch .review")
        page.context.close()


def test_axe_finds_no_fault(browser: Browser, place: Place) -> None:
    page = opened(browser, place.address)
    with page.expect_download():
        page.set_input_files("#film .drop input", place.films)
    page.add_script_tag(content=files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    for part in ("#batch", ".downloads"):
        found = page.evaluate(
            f"async () => (await axe.run('{part}')).violations.map(({{ id, nodes }}) => id + nodes.map((n) => n.html))"
        )
        assert found == [], part
    page.context.close()
