"""Comparing in a real headless Chromium: each pair and each mode, by mouse and by keys, judged by the pixels drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from scipy import ndimage
from ui_fakes import Bands, FakeCard
from ui_server import running

from spineseg.evaluation.metrics import dice
from spineseg.film import Film, Masks
from spineseg.io.dicom_write import write_film
from spineseg.io.films import read_film
from spineseg.io.labels import read_label, to_array, write_mat
from spineseg.render import COLOURS, DIFFERENCES
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui import texts
from spineseg.ui.compare import mean
from spineseg.ui.language import catalogues
from spineseg.ui.page import build_page

VIEWER = catalogues()["en"].sections["viewer"]
MENU = {"shown": texts.SHOWN, "near": "near", "far": "far", "one": "Reference 1", "two": "Reference 2"}
TITLES = {"shown": "near, corrected", "near": "near", "far": "far", "one": "reference 1", "two": "reference 2"}
KEYS = {"swipe": "s", "blink": "b", "difference": "d", "contours": "c", "sideA": ",", "sideB": ".", "a": "m"}

# Red, green, blue and opacity (0..255) drawn over places of the film (row, column) while all of it is shown.
DRAWN = """({ rows, columns, at }) => {
  const canvas = document.querySelector('.viewer canvas.overlay'), context = canvas.getContext('2d');
  const scale = Math.min(canvas.width / columns, canvas.height / rows);
  const left = (canvas.width - columns * scale) / 2, top = (canvas.height - rows * scale) / 2;
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return at.map(([row, column]) => {
    const i = 4 * (Math.floor(top + (row + 0.5) * scale) * canvas.width + Math.floor(left + (column + 0.5) * scale));
    return [...data.slice(i, i + 4)];
  });
}"""
BLINK = f"""async ({{ title, ...places }}) => {{
  const shown = () => document.querySelector('.layer-title.left').textContent === title;
  for (;;) {{
    await new Promise(requestAnimationFrame);
    const before = shown();
    await new Promise((done) => setTimeout(done));
    if (before && shown()) return ({DRAWN})(places);
  }}
}}"""


@dataclass(frozen=True)
class Compared:
    """A film, and masks of it by their name in `MENU`."""

    film: Film
    path: Path
    masks: dict[str, Masks]
    one: Path
    two: Path
    stranger: Path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Near: the film's own. Shown: these without L1. Far: to the right. One: to the left. Two: named one lower."""
    case, folder = simulate_case(7, 4, SimulateConfig(rows=512)), tmp_path_factory.mktemp("film")
    near, none = case.masks, np.zeros_like(case.masks[:1])
    masks = {
        "near": near,
        "shown": np.concatenate([none, near[1:]]),
        "far": np.roll(near, 9, axis=2),
        "one": np.roll(near, -9, axis=2),
        "two": np.concatenate([none, near[:-1]]),
    }
    paths = [folder / name for name in ("film.dcm", "one.npy", "two.mat", "stranger.mat")]
    write_film(paths[0], case.film)
    np.save(paths[1], to_array(masks["one"]))
    write_mat(paths[2], masks["two"])
    write_mat(paths[3], np.roll(near, 70, axis=2))
    return Compared(read_film(paths[0]), paths[0], masks, *paths[1:])


@pytest.fixture(scope="module")
def address(compared: Compared, uploads: Path) -> Iterator[str]:
    failing = FakeCard(decoder="none", fails_on_purpose=True)
    models = {name: Bands(answer=compared.masks[name]) for name in ("near", "far")}
    models["failing"] = Bands(answer=np.zeros_like(compared.masks["near"]), card=failing)
    with running(page=build_page(models, read_film, read_label)) as address:
        yield address


class Reader:
    """A person who compares masks of one film."""

    def __init__(self, browser: Browser, address: str, compared: Compared) -> None:
        self.compared = compared
        self.page: Page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector('.legend [role="switch"]')
        self.page.set_input_files("#film input", compared.path)
        self.page.wait_for_selector('.viewer[data-masks="yes"]')
        self.page.click("#compare > button")

    def choose(self, side: str, name: str, *, by_keys: bool = False) -> None:
        label = MENU.get(name, name)
        field = self.page.locator(f"#side-{side} input")
        if field.input_value() == label:
            return
        option = f'[id^="{field.get_attribute("aria-controls")}-"][aria-label="{label}"]'
        if by_keys:
            field.focus()
            field.press("Control+a")
            self.page.keyboard.type(label)
            self.page.wait_for_selector(option)
            self.page.wait_for_timeout(100)
            self.page.keyboard.press("Enter")
        else:
            field.click()
            self.page.click(option)
        self.page.wait_for_selector(f'#side-{side} input[aria-expanded="false"]')
        self.page.wait_for_function(
            "([side, label]) => document.querySelector(`#side-${side} input`).value === label", arg=[side, label]
        )

    def pair(self, a: str, b: str, *, by_keys: bool = False) -> None:
        self.choose("a", a, by_keys=by_keys)
        self.choose("b", b, by_keys=by_keys)
        self.page.wait_for_selector(f'#comparison .facts:text-is("A: {TITLES[a]}; B: {TITLES[b]}")')
        self.page.wait_for_selector('.viewer[data-compared="yes"]')

    def refer(self, number: int, label: Path) -> None:
        self.page.set_input_files(f"#reference-{number} input", label)
        self.page.wait_for_selector(f'#reference-{number}:has-text("{label.name}")')

    def mode(self, name: str, *, by_keys: bool = False) -> None:
        if by_keys:
            self.page.focus(".stage")
            self.page.keyboard.press(KEYS[name])
        else:
            self.page.click(f'.modes [data-mode="{name}"]')
        self.page.wait_for_selector(f'.viewer[data-mode="{name}"]')
        self.settle()

    def settle(self) -> None:
        """Until all that was asked for is drawn."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def drawn(self, places: np.ndarray) -> np.ndarray:
        rows, columns = self.compared.film.shape
        return np.array(self.page.evaluate(DRAWN, {"rows": rows, "columns": columns, "at": places.tolist()}))

    def mean_dice(self) -> str:
        return self.page.inner_text("#comparison .scores tbody tr:last-child td >> nth=0")

    def close(self) -> None:
        assert self.errors == []
        self.page.context.close()


@pytest.fixture
def reader(browser: Browser, address: str, compared: Compared) -> Iterator[Reader]:
    reader = Reader(browser, address, compared)
    yield reader
    reader.close()


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask, iterations=by), bool)


def border_of(masks: Masks) -> np.ndarray:
    """The outermost pixels of each mask."""
    inside = [np.asarray(ndimage.binary_erosion(mask), bool) for mask in masks]
    return np.asarray((masks & np.logical_not(inside)).any(0))


def inner(*sets: Masks, margin: int = 2) -> np.ndarray:
    """Places (row, column) further than `margin` from every border of all the masks, within and around them."""
    border = np.asarray(np.any([border_of(masks) for masks in sets], axis=0))
    places = np.argwhere(grown(np.asarray(np.concatenate(sets).any(0)), 20) & ~grown(border, margin))
    return places[:: max(1, len(places) // 400)]


def colour_of(masks: Masks, places: np.ndarray) -> list[tuple[int, int, int] | None]:
    found = masks[:, places[:, 0], places[:, 1]].T
    return [COLOURS[int(one.argmax())].rgb if one.any() else None for one in found]


def kinds_of(a: Masks, b: Masks) -> np.ndarray:
    """The name of each pixel's kind in `DIFFERENCES`, or nothing."""
    kinds = np.full(a.shape[1:], "", dtype="<U9")
    kinds[a.any(0)], kinds[b.any(0)] = "onlyA", "onlyB"
    kinds[a.any(0) & b.any(0)] = "otherName"
    kinds[(a & b).any(0)] = "both"
    return kinds


def assert_drawn(found: np.ndarray, expected: list[tuple[int, int, int] | None]) -> None:
    """Opacity and rounding apart: a colour drawn at 45 % keeps its hue within some grey values."""
    for (*rgb, alpha), colour in zip(found, expected, strict=True):
        assert (alpha > 0) == (colour is not None)
        assert colour is None or np.abs(np.subtract(rgb, colour)).max() <= 4


def look_at_every_mode(reader: Reader, a: str, b: str, *, by_keys: bool) -> None:
    masks = reader.compared.masks
    first, second = masks[a], masks[b]
    places = inner(first, second, masks["shown"])
    expected = {name: colour_of(part, places) for name, part in (("A", first), ("B", second))}
    assert expected["A"] != expected["B"]
    for side in "AB":
        if {"A": a, "B": b}[side] != "shown":
            reader.mode(f"side{side}", by_keys=by_keys)
            assert_drawn(reader.drawn(places), expected[side])
    reader.mode("a", by_keys=by_keys)
    assert_drawn(reader.drawn(places), colour_of(masks["shown"], places))
    reader.mode("difference", by_keys=by_keys)
    kinds = kinds_of(first, second)[*places.T]
    assert_drawn(reader.drawn(places), [DIFFERENCES[kind].rgb if kind else None for kind in kinds])
    look_at_the_key(reader, first, second)
    reader.mode("swipe", by_keys=by_keys)
    look_at_the_swipe(reader, places, expected)
    reader.mode("contours", by_keys=by_keys)
    look_at_both_outlines(reader, first, second)
    if "shown" not in (a, b):
        return  # blinking takes its time
    reader.mode("blink", by_keys=by_keys)
    for side, title in (("A", TITLES[a]), ("B", TITLES[b])):
        look_at_the_blinking(reader, f"{side}: {title}", places, expected[side])


def look_at_the_key(reader: Reader, a: Masks, b: Masks) -> None:
    kinds = kinds_of(a, b)
    for name, text in zip(DIFFERENCES, reader.page.locator(".difference-key li").all_inner_texts(), strict=True):
        assert text == VIEWER[name].format(count=f"{(kinds == name).sum():,}")


def look_at_the_blinking(reader: Reader, title: str, places: np.ndarray, expected: list) -> None:
    """Drawn while the title is there, both seen at one moment after a frame."""
    rows, columns = reader.compared.film.shape
    found = reader.page.evaluate(BLINK, {"title": title, "rows": rows, "columns": columns, "at": places.tolist()})
    assert_drawn(np.array(found), expected)


def look_at_the_swipe(reader: Reader, places: np.ndarray, expected: dict[str, list]) -> None:
    line, stage = (reader.page.locator(name).bounding_box() for name in (".stage .divider", ".stage"))
    assert line and stage
    rows, columns = reader.compared.film.shape
    scale = min(stage["width"] / columns, stage["height"] / rows)
    at = (line["x"] + line["width"] / 2 - stage["x"] - (stage["width"] - columns * scale) / 2) / scale
    clear = np.abs(places[:, 1] + 0.5 - at) > 3
    sides = [expected["A" if column + 0.5 < at else "B"][n] for n, (_, column) in enumerate(places)]
    assert_drawn(reader.drawn(places)[clear], [colour for colour, far in zip(sides, clear, strict=True) if far])


def look_at_both_outlines(reader: Reader, a: Masks, b: Masks) -> None:
    """A's colour is seen along its border, also in the gaps of B's dashes, B's along its own; nothing far from both."""
    alone = border_of(a) & ~grown(border_of(b), 4)
    for places, kind, least in ((alone, "onlyA", 0.5), (border_of(a), "onlyA", 0.015), (border_of(b), "onlyB", 0.2)):
        if places.any():
            found = reader.drawn(np.argwhere(places))
            like = np.abs(found[:, :3] - np.array(DIFFERENCES[kind].rgb)).max(1) < 60
            assert like.mean() > least, kind
    assert not reader.drawn(inner(a, b, margin=4))[:, 3].any()


def test_every_pair_in_every_mode_by_mouse_and_by_keys(reader: Reader, compared: Compared) -> None:
    page = reader.page
    for number, label in ((1, compared.one), (2, compared.two)):
        reader.refer(number, label)
        page.wait_for_selector(f'#comparison .facts:text-is("A: near; B: reference {number}")')  # it is read
    page.click('#findings [data-correct="drop"] >> nth=0')
    page.wait_for_selector("#findings .verdict.corrected")
    page.uncheck(".names")
    for a, b in itertools.combinations(MENU, 2):
        for (first, second), by_keys in (((a, b), False), ((b, a), True)):
            reader.pair(first, second, by_keys=by_keys)
            scores = dice(compared.masks[first], compared.masks[second])
            assert reader.mean_dice() == f"{mean(scores):.3f}"
            look_at_every_mode(reader, first, second, by_keys=by_keys)


def test_the_line_of_a_swipe_moves_by_mouse_and_by_keys(reader: Reader, compared: Compared) -> None:
    page = reader.page
    page.uncheck(".names")
    reader.choose("b", "far")
    page.wait_for_selector('.viewer[data-mode="swipe"]')  # what was asked for is seen at once
    masks = compared.masks
    places = inner(masks["near"], masks["far"])
    expected = {"A": colour_of(masks["near"], places), "B": colour_of(masks["far"], places)}
    before = page.locator(".stage .divider").bounding_box()
    assert before
    page.mouse.move(before["x"] + 14, before["y"] + 200)
    page.mouse.down()
    page.mouse.move(before["x"] + 44, before["y"] + 200, steps=5)
    page.mouse.up()
    dragged = page.locator(".stage .divider").bounding_box()
    assert dragged and dragged["x"] == pytest.approx(before["x"] + 30, abs=2)
    reader.settle()
    look_at_the_swipe(reader, places, expected)
    page.focus(".stage")
    page.keyboard.press("Shift+ArrowLeft")
    reader.settle()
    moved = page.locator(".stage .divider").bounding_box()
    assert moved and moved["x"] < dragged["x"]
    look_at_the_swipe(reader, places, expected)
    page.click('.legend [data-channel="2"]')
    reader.mode("difference")
    masks = {name: np.delete(masks[name], 2, axis=0) for name in ("near", "far")}
    look_at_the_key(reader, masks["near"], masks["far"])  # of what is switched on


def test_scores_follow_while_a_person_mends_beside_the_outline_of_the_other(reader: Reader) -> None:
    page = reader.page
    reader.choose("b", "near")
    page.wait_for_selector('#comparison .scores td:has-text("1.000")')
    reader.mode("contours")
    page.keyboard.press("e")
    assert page.get_attribute(".viewer", "data-mode") == "contours", "the other's outline stays in sight"
    page.click('[data-pick="2"]')
    page.wait_for_selector('.handles button[aria-label="L3, corner 1"]')
    page.focus('.handles button[aria-label="L3, corner 1"]')
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_selector('#comparison .facts:text-is("A: near, corrected; B: near")')
    page.wait_for_function("Number(document.querySelector('#comparison .scores tbody tr:last-child td').innerText) < 1")
    page.keyboard.press("Control+z")
    page.wait_for_selector('#comparison .facts:text-is("A: near; B: near")')
    assert reader.mean_dice() == "1.000"
    page.click('[data-edit-do="done"]')
    page.click('.modes [data-mode="swipe"]')
    page.keyboard.press("e")
    assert page.get_attribute(".viewer", "data-mode") == "a", "two sides at once cannot be edited"


def test_refused_strange_and_moved_references_and_a_model_that_fails_on_purpose(
    reader: Reader, compared: Compared, tmp_path: Path
) -> None:
    page = reader.page
    reader.refer(1, compared.one)
    page.wait_for_selector("#comparison .scores")
    write_mat(tmp_path / "small.mat", np.zeros((6, 300, 200), bool))
    reader.refer(1, tmp_path / "small.mat")
    page.wait_for_selector('#comparison .disagree:has-text("does not belong to this film: the film has")')
    page.wait_for_selector('#reference-1 .wrong:has-text("small.mat was refused")')
    assert page.locator("#comparison .scores").count() == 0, "none of the reference before"
    assert page.locator(".error:visible, [data-testid='toast-text']").count() == 0
    page.wait_for_selector('.viewer[data-compared="no"][data-mode="a"]')
    reader.refer(1, compared.stranger)
    page.wait_for_selector('#comparison .disagree:has-text("This reference does not belong to this film: its bodies")')
    reader.refer(1, compared.two)
    page.wait_for_selector('#comparison .disagree:has-text("The same bodies, named one level lower in B.")')
    reader.mode("difference")
    assert page.locator(".difference-key li").nth(3).inner_text() == "Both: 0 px"
    page.click('#comparison [data-correct="lower"]')
    page.wait_for_selector("#comparison .agree")
    assert page.locator(".difference-key li").nth(2).inner_text() == "Other name: 0 px"
    for menu in ("#model", "#side-a", "#side-b"):
        page.click(f"{menu} input")
        page.wait_for_selector('[role="option"]:has-text("failing (fails on purpose)")')
        page.focus(".stage")
    reader.choose("b", "failing (fails on purpose)")
    page.wait_for_selector('#comparison .disagree:has-text("failing has no masks")')


def test_a_reference_is_not_kept_for_the_next_film_nor_seen_by_another(
    reader: Reader, browser: Browser, address: str, compared: Compared, tmp_path: Path
) -> None:
    page = reader.page
    reader.refer(1, compared.one)
    page.wait_for_selector("#comparison .scores")
    other = Reader(browser, address, compared)
    assert other.page.get_attribute(".viewer", "data-compared") == "no"
    other.choose("b", "one")
    other.page.wait_for_selector('#comparison .note:has-text("Choose a file for reference 1.")')
    other.close()
    write_film(tmp_path / "next.dcm", replace(compared.film, image=compared.film.image[:, ::-1].copy()))
    page.set_input_files("#film input", tmp_path / "next.dcm")
    page.wait_for_function("document.querySelector('#side-b input').value === 'nothing'")
    page.wait_for_selector('.viewer[data-compared="no"][data-masks="yes"]')
    assert "Choose what to compare" in page.inner_text("#comparison")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
