"""Measurements and several films in a real headless Chromium: copied, hovered, listed, opened, corrected, saved."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from ui_fakes import Bands, read_label
from ui_server import running

from spineseg.film import VERTEBRAE
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.pictures import write_png
from spineseg.measure.figures import TABLE_HEAD
from spineseg.measure.measurements import csv_columns
from spineseg.render import to_uint8
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.page import build_page

CLIPBOARD = "navigator.clipboard.readText()"


@dataclass(frozen=True)
class Films:
    """One film as DICOM, the same a little darker, the same as a picture; and a page whose model knows its masks."""

    first: Path
    second: Path
    picture: Path
    masks: np.ndarray
    address: str


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> Iterator[Films]:
    folder = tmp_path_factory.mktemp("films")
    case = simulate_case(7, 4, SimulateConfig(rows=512))
    darker = replace(case.film, image=case.film.image * np.float32(0.9))
    write_film(folder / "=first.dcm", case.film)
    write_film(folder / "second.dcm", darker)
    write_png(folder / "picture.png", to_uint8(case.film))
    page = build_page({"bands": Bands(answer=case.masks)}, read_film, read_label)
    with running(page=page) as address:
        yield Films(folder / "=first.dcm", folder / "second.dcm", folder / "picture.png", case.masks, address)


class Reader:
    """A person who reads measurements."""

    def __init__(self, browser: Browser, films: Films, **context: Any) -> None:
        size = {"viewport": {"width": 1440, "height": 900}}
        self.context = browser.new_context(**{**size, **context})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=films.address)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(films.address)
        self.page.wait_for_selector('.legend [role="switch"]')

    def open(self, *paths: Path) -> None:
        loaded = self.page.get_attribute(".viewer", "data-loaded")
        self.page.set_input_files("#film .drop input", paths)
        if len(paths) == 1:
            self.loaded(loaded)

    def loaded(self, before: str | None) -> None:
        self.page.wait_for_function(f"document.querySelector('.viewer').dataset.loaded !== '{before}'")
        self.page.wait_for_selector('.viewer[data-masks="yes"]')

    def measure(self) -> None:
        if not self.page.is_visible("#measures"):
            self.page.click("#measure > button")
        self.page.wait_for_selector("#measures [data-lines]")

    def copied(self, button: str) -> list[dict[str, str]]:
        self.page.click(button)
        self.page.wait_for_selector(':is([role="status"], .copied):has-text("Copied")')
        return list(csv.DictReader(io.StringIO(self.page.evaluate(CLIPBOARD)), delimiter="\t"))

    def download(self, selector: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(selector)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def drawn(self) -> int:
        """How many pixels of the overlay have the colour of a line that is picked."""
        self.page.wait_for_timeout(150)
        return self.page.evaluate(
            """() => {
              const canvas = document.querySelector('.viewer canvas.overlay');
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let count = 0;
              for (let i = 0; i < data.length; i += 4)
                count += data[i] === 255 && Math.abs(data[i + 1] - 210) < 3 && Math.abs(data[i + 2] - 63) < 3;
              return count;
            }"""
        )


@pytest.fixture
def reader(browser: Browser, films: Films) -> Iterator[Reader]:
    reader = Reader(browser, films)
    yield reader
    assert reader.errors == []
    reader.context.close()


def test_the_table_is_copied_by_one_press_also_after_a_correction(reader: Reader, films: Films) -> None:
    page = reader.page
    reader.open(films.first)
    reader.measure()
    rows = reader.copied("#measures [data-copy]")
    assert tuple(rows[0]) == TABLE_HEAD
    shown = page.locator("#measures [data-lines] th").all_inner_texts()
    assert [row["measurement"] for row in rows] == shown
    lordosis = rows[0]
    assert (lordosis["measurement"], lordosis["unit"]) == ("Lumbar lordosis, L1-S1 Cobb", "deg")
    assert float(lordosis["95 % from"]) < float(lordosis["value"]) < float(lordosis["95 % to"])
    depth = next(row["value"] for row in rows if row["measurement"] == "L1 depth")
    page.click('#findings [data-correct="lower"]')
    page.wait_for_selector('#measures:not(:has-text("L1 depth"))')
    moved = reader.copied("#measures [data-copy]")
    assert not any(row["measurement"].startswith("L1 ") for row in moved)
    assert next(row["value"] for row in moved if row["measurement"] == "L2 depth")[:2] == depth[:2]


def test_without_a_clipboard_of_its_own_the_browser_still_copies(reader: Reader, films: Films) -> None:
    """As on a page that is served without encryption."""
    reader.open(films.first)
    reader.measure()
    reader.page.evaluate("navigator.clipboard.writeText = undefined")
    assert len(reader.copied("#measures [data-copy]")) > 40


def test_a_row_shows_its_lines_and_a_line_its_number(reader: Reader, films: Films) -> None:
    page = reader.page
    reader.open(films.first)
    reader.measure()
    assert reader.drawn() == 0 and not page.is_checked(".viewer .lines")
    page.hover('#measures tr:has-text("Lumbar lordosis")')
    both = reader.drawn()
    assert both > 50
    page.hover('#measures tr:has-text("Sacral slope")')
    assert 0 < reader.drawn() != both
    page.hover("#findings")
    assert reader.drawn() == 0

    first, second = page.locator("#measures [data-lines]").nth(0), page.locator("#measures [data-lines]").nth(1)
    page.focus("#measures [data-copy]")
    page.keyboard.press("Tab")
    assert first.evaluate("(row) => row === document.activeElement") and reader.drawn() == both
    page.keyboard.press("ArrowDown")
    assert second.evaluate("(row) => row === document.activeElement") and 0 < reader.drawn() != both
    page.keyboard.press("Tab")
    assert reader.drawn() == 0

    page.check(".viewer .lines")
    box = page.locator(".stage").bounding_box()
    table = {row["measurement"]: row["value"] for row in reader.copied("#measures [data-copy]")}
    assert box
    rows, columns = films.masks.shape[1:]
    scale = min(box["width"] / columns, box["height"] / rows)
    body = np.argwhere(films.masks[VERTEBRAE.index("L3")])
    left = box["x"] + (box["width"] - columns * scale) / 2
    y = box["y"] + (box["height"] - rows * scale) / 2 + (body[:, 0].mean() + 0.5) * scale
    edges = body[body[:, 0] == round(body[:, 0].mean())][:, 1]
    notes = []
    for column in (edges.min(), edges.max() + 1):  # the front is one of the two
        page.mouse.move(left + column * scale, y)
        page.wait_for_selector(".line-note:visible")
        notes.append(page.inner_text(".line-note"))
        assert reader.drawn() > 0, "the line is marked"
        assert page.locator("#measures tr.hovered").count() > 0, "and its rows"
    (anterior,) = (note for note in notes if note.startswith("L3 anterior height"))
    assert anterior.startswith(f"L3 anterior height {float(table['L3 anterior height']):.0f}") and " mm (" in anterior
    page.mouse.move(left + 2, y)
    page.wait_for_selector(".line-note", state="hidden")


def test_measurements_and_segmentation_are_downloaded_like_the_others(reader: Reader, films: Films) -> None:
    reader.open(films.second)
    name, content = reader.download('[data-download="csv"]')
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "second-measurements.csv" and rows[0]["measurement"] == "Lumbar lordosis, L1-S1 Cobb"
    reader.page.click('#findings [data-correct="drop"][data-vertebra="0"]')
    reader.page.wait_for_selector("#findings .verdict.corrected")
    name, content = reader.download('[data-download="seg"]')
    seg = highdicom.seg.segread(io.BytesIO(content))
    assert name == "second-corrected.seg.dcm"
    assert np.array_equal(seg.pixel_array.astype(bool), films.masks[1:])
    film = highdicom.imread(films.second)
    assert seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID


def test_of_a_picture_the_page_says_why_there_is_no_segmentation(reader: Reader, films: Films) -> None:
    reader.open(films.picture)
    assert reader.page.is_disabled('[data-download="seg"]') and reader.page.is_enabled('[data-download="csv"]')
    said = reader.page.inner_text(".no-segmentation")
    assert said.startswith(
        "DICOM SEG is not offered. This is a PNG picture, and a DICOM segmentation refers to a DICOM"
    )
    reader.open(films.first)
    reader.page.wait_for_selector('[data-download="seg"]:enabled')
    assert reader.page.inner_text(".no-segmentation") == ""


def test_films_end_in_a_list_that_opens_them_and_in_one_table(reader: Reader, films: Films, tmp_path: Path) -> None:
    page = reader.page
    (tmp_path / "notes.txt").write_text("no film")
    with page.expect_download() as download:
        reader.open(films.first, tmp_path / "notes.txt", films.picture, films.second)
    assert "3 of 4 films are ready" in page.inner_text("#batch .lead")
    items = page.locator("#batch .films button")
    assert items.all_inner_texts()[0].splitlines() == ["=first.dcm", "numbering reliable"]
    assert page.evaluate(
        "[...document.querySelectorAll('#batch .films span')].every((e) => e.scrollWidth <= e.clientWidth)"
    )
    with zipfile.ZipFile(download.value.path()) as archive:
        listed = {row["file"]: row for row in csv.DictReader(io.StringIO(archive.read("films.csv").decode()))}
        table = list(csv.DictReader(io.StringIO(archive.read("measurements.csv").decode())))
    assert "no pixel spacing" in listed["picture.png"]["remarks"] and listed["second.dcm"]["remarks"] == ""
    assert listed["notes.txt"]["error"] and "'=first.dcm" in listed, "no spreadsheet takes a name for a formula"
    assert tuple(table[0]) == csv_columns() and [row["film"] for row in table] == ["'=first", "picture", "second"]
    assert float(table[0]["lordosis_L1_S1_deg"]) and table[1]["L1_depth_mm"] == ""
    assert reader.copied("#batch .copy") == table

    before = page.get_attribute(".viewer", "data-loaded")
    items.nth(3).click()
    reader.loaded(before)
    page.wait_for_selector('#batch .films button[aria-current="true"]:has-text("second.dcm")')
    assert reader.download('[data-download="csv"]')[0] == "second-measurements.csv"
    items.nth(3).focus()
    page.keyboard.press("Home")
    before = page.get_attribute(".viewer", "data-loaded")
    page.keyboard.press("Enter")
    reader.loaded(before)
    page.wait_for_selector('#batch .films button[aria-current="true"]:has-text("=first.dcm")')
    assert page.locator('#batch .films button[aria-current="true"]').count() == 1

    page.click('#findings [data-correct="drop"][data-vertebra="0"]')
    page.wait_for_selector('#batch .films li:has-text("=first.dcm"):has-text("corrected by hand")')
    corrected = reader.copied("#batch .copy")
    assert corrected[0]["L1_depth_mm"] == "" != table[0]["L1_depth_mm"] and corrected[1:] == table[1:]
    assert corrected[0]["remarks"] == "corrected by hand"
    page.click("#batch .show")
    assert page.inner_text(".measured thead th >> nth=2") == "Lumbar lordosis, L1-S1 Cobb (deg)"
    assert page.locator(".measured tbody tr").count() == 3
    page.click('.measured tbody button:has-text("picture.png")')
    page.wait_for_selector('#batch .films button[aria-current="true"]:has-text("picture.png")')

    name, content = reader.download("#batch .save")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        array = np.load(io.BytesIO(archive.read("=first-corrected.npy")))
        rows = list(csv.DictReader(io.StringIO(archive.read("films.csv").decode())))
        assert "=first.npy" not in archive.namelist() and "second.npy" in archive.namelist()
    assert name == "spineseg.zip" and not array[..., 0].any() and array[..., 1].any()
    assert rows[0]["remarks"] == "Corrected by hand; left out: what the model called L1"
    assert rows[0]["L1"] == "0"
