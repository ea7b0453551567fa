"""The film's own values in the browser: window, readout, ruler and angles, in a real headless Chromium."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dicom_files import dataset, save
from playwright.sync_api import Browser, Page
from predictions import predicted
from ui_fakes import FakeCard, read_label
from ui_server import running

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import RELIABLE
from spineseg.io.films import read_film
from spineseg.ui.page import build_page

# What the readout says at places of a fitted film (row, column).
READ = """([rows, columns, tall, places]) => {
  const stage = document.querySelector('.stage'), box = stage.getBoundingClientRect();
  const scale = Math.min(box.width / columns, box.height / (rows * tall));
  const left = box.left + (box.width - columns * scale) / 2, top = box.top + (box.height - rows * scale * tall) / 2;
  return places.map(([row, column]) => {
    const place = { clientX: left + (column + 0.5) * scale, clientY: top + (row + 0.5) * scale * tall };
    stage.dispatchEvent(new PointerEvent('pointermove', { pointerType: 'mouse', ...place }));
    return document.querySelector('.readout').textContent;
  });
}"""
# Grey values on the screen at places of the film (row, column), of a fitted film.
GREYS = """async ([rows, columns, tall, places]) => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const canvas = document.querySelector('canvas.film'), context = canvas.getContext('2d');
  const scale = Math.min(canvas.width / columns, canvas.height / (rows * tall));
  const left = (canvas.width - columns * scale) / 2, top = (canvas.height - rows * scale * tall) / 2;
  return places.map(([row, column]) => context.getImageData(left + (column + 0.5) * scale, top + (row + 0.5) * scale * tall, 1, 1).data[0]);
}"""
DRAWN_MS = """async (action) => {
  const viewer = document.querySelector('.viewer'), before = viewer.dataset.drawn, began = performance.now();
  eval(action);
  while (viewer.dataset.drawn === before) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [performance.now() - began, Number(viewer.dataset.drawMs)];
}"""


@dataclass
class Bars:
    """Answers a film of any size with six bars."""

    device: str = "cpu"
    card: FakeCard = field(default_factory=FakeCard)

    def __call__(self, film: Film, /) -> Prediction:
        masks = np.zeros((len(VERTEBRAE), *film.shape), bool)
        for k, mask in enumerate(masks):
            height = film.shape[0] // 7
            mask[k * height + 2 : (k + 1) * height, film.shape[1] // 4 : film.shape[1] // 2] = True
        return predicted(masks, LevelReport((True,) * 6, (0.9,) * 6, 0.5, RELIABLE, ()), device="cpu")


@pytest.fixture(scope="module")
def address(uploads: Path) -> Iterator[str]:
    """A page that reads real files, and whose model is `Bars`."""
    with running(page=build_page({"bars": Bars()}, read_film, read_label)) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page; whatever a script complains about fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector('.legend [role="switch"]')
    yield page
    assert errors == []
    context.close()


@pytest.fixture
def made(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Path]:
    """Writes a DICOM file of noise; returns its path."""

    def write(name: str = "film", bits: int = 12, signed: bool = False, shape: Any = (70, 66), **elements: Any) -> Path:
        words = rng.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
        if signed and bits < 16:
            words = np.where(words >= 2 ** (bits - 1), words | (0xFFFF << bits & 0xFFFF), words).astype(np.uint16)
        return save(tmp_path / f"{name}.dcm", dataset(words, bits=bits, signed=signed, **elements))

    return write


def show(page: Page, path: Path) -> Film:
    """Opens the film and waits for its masks and values; returns it as the program reads it."""
    before = page.get_attribute(".viewer", "data-loaded")
    page.set_input_files("#film input", path)
    page.wait_for_function(f"Number(document.querySelector('.viewer').dataset.loaded) >= {before} + 2")
    page.wait_for_selector('.viewer[data-values="own"]')
    return read_film(path)


def readouts(page: Page, film: Film, places: np.ndarray) -> list[str]:
    return page.evaluate(READ, [*film.shape, film.row_to_column, places.tolist()])


def greys(page: Page, film: Film, *places: tuple[int, int]) -> list[int]:
    return page.evaluate(GREYS, [*film.shape, film.row_to_column, places])


FILMS = {
    "8 bit": {"bits": 8},
    "12 bit": {},
    "16 bit": {"bits": 16},
    "12 bit signed": {"signed": True},
    "16 bit signed": {"bits": 16, "signed": True},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "MONOCHROME1 signed": {"signed": True, "PhotometricInterpretation": "MONOCHROME1"},
    "whole rescale": {"RescaleSlope": "2", "RescaleIntercept": "-1024"},
    "fractional rescale": {"RescaleSlope": "0.37", "RescaleIntercept": "-1.5"},
    "two parts": {"shape": (450, 5000)},
}


@pytest.mark.parametrize("name", FILMS)
def test_the_browser_has_the_films_own_values(page: Page, made: Callable[..., Path], name: str) -> None:
    """Of every pixel; of a large film, of every 97th, in both parts."""
    film = show(page, made(**FILMS[name]))
    places = np.argwhere(np.ones(film.shape, bool))[:: 1 if film.image.size < 10_000 else 97]
    texts = readouts(page, film, places)
    found = np.array([match and float(match[1]) for match in (re.search(r"value (\S+)", text) for text in texts)])
    assert texts[0].startswith("row 0  column 0  value ")
    expected = film.image[tuple(places.T)]
    if "fractional" in name:  # written with seven digits
        assert np.allclose(found, expected, rtol=1e-6, atol=0)
    else:
        assert np.array_equal(found, expected)
