"""A film's own values on their way to the browser."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ui_fakes import FILM, handlers, opened

from spineseg.film import Film, Window
from spineseg.render import shown_range, to_uint8
from spineseg.ui.session import SessionState
from spineseg.ui.values import about_values, coding_of, encoded, encoded_part, parts


def decoded(part: dict[str, Any], columns: int) -> np.ndarray:
    """As the docstring of `encoded` has it, one pixel after the other."""
    content = zlib.decompress(base64.b64decode(part["codes"]))
    low, high = np.frombuffer(content, np.uint8).reshape(2, -1, columns).astype(int)
    folded = low + 256 * high
    left = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    codes = np.zeros_like(left)
    for row in range(len(left)):
        for column in range(columns):
            above = codes[row - 1, column] if row else 0
            before = codes[row, column - 1] if column else 0
            codes[row, column] = ((above + before) // 2 + left[row, column]) % 65536
    return codes


def values_of(part: dict[str, Any], columns: int) -> np.ndarray:
    codes = decoded(part, columns)
    if part["table"] is None:
        return (part["low"] + codes).astype(np.float32)
    return np.frombuffer(zlib.decompress(base64.b64decode(part["table"])), "<f4")[codes]


@pytest.mark.parametrize(
    ("low", "high", "slope"), [(0, 2, 1), (0, 256, 1), (-2048, 2048, 1), (0, 65536, 1), (-9, 4096, 0.37)]
)
def test_values_come_back_as_they_were(rng: np.random.Generator, low: int, high: int, slope: float) -> None:
    image = (rng.integers(low, high, (40, 30)) * slope).astype(np.float32)
    image[0, :2] = np.float32(low * slope), np.float32((high - 1) * slope)
    part = encoded_part(image, coding_of(image), 0)
    assert (part["part"], part["parts"], part["row"], part["exact"]) == (0, 1, 0, True)
    assert (part["table"] is None) == (slope == 1)
    assert np.array_equal(values_of(part, 30), image)


def test_more_values_than_codes_are_rounded_and_said_so(rng: np.random.Generator) -> None:
    image = rng.normal(size=(300, 300)).astype(np.float32)
    coding = coding_of(image)
    assert not coding.exact and coding.table is not None
    error = np.abs(coding.table[coding.codes(image)] - image).max()
    assert error <= np.ptp(image) / 65535 * 0.51


def test_parts_make_up_the_film(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spineseg.ui.values.PART_PX", 1000)
    sent = [encoded_part(FILM.image, coding_of(FILM.image), number) for number in range(parts(FILM.shape))]
    assert [part["row"] for part in sent] == [0, 25, 50]
    assert "low" not in sent[1]
    codes = np.concatenate([decoded(part, 40) for part in sent])
    assert np.array_equal(codes + sent[0]["low"], FILM.image)


def test_a_flat_area_takes_no_room() -> None:
    assert len(encoded(np.full((1000, 1000), 700, np.uint16))) < 20_000


@pytest.mark.parametrize("change", [{"film": "another"}, {"hash": "another"}, {"part": 1}, {"part": -1}, {"part": "0"}])
def test_only_parts_of_the_open_film_are_sent(change: dict[str, Any]) -> None:
    page, state = handlers(), opened()
    asked = {"film": state.token, "hash": state.digest, "part": 0}
    assert "codes" in page.values(state, asked)
    assert page.values(state, asked | change) == asked | change
    assert page.values(None, asked) == asked


def test_another_visitors_film_is_not_sent() -> None:
    """A session has one film; the token and digest of another one open nothing."""
    page, mine, other = handlers(), opened(), SessionState(Film(FILM.image + 1), "other")
    asked = {"film": other.token, "hash": other.digest, "part": 0}
    assert "codes" not in page.values(mine, asked)


def test_what_the_browser_knows_first() -> None:
    film = replace(FILM, window=Window(1000.0, 200.0, "SIGMOID"))
    about = about_values(film, inverted=False)
    black, white = shown_range(film)
    assert (about["low"], about["high"], about["black"], about["white"]) == (0, 2799, black, white)
    assert about["function"] == "LINEAR" and about["field"] == [FILM.field[0].start, FILM.field[0].stop, 0, 40]
    assert about["own"] == {"level": 1000, "width": 200, "function": "SIGMOID"}
    assert about_values(Film(FILM.image / 7), inverted=False)["function"] == "LINEAR_EXACT"


def test_the_default_window_is_that_of_the_first_picture() -> None:
    black, white = shown_range(FILM)
    level, width = (black + white + 1) / 2, white - black + 1  # as viewer-3-window.js makes it, LINEAR
    expected = np.clip((FILM.image - (level - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    assert np.abs(expected - to_uint8(FILM)).max() <= 0.51


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_an_inverted_film_has_its_window_inverted(function: str) -> None:
    """The same pixels, black and white exchanged."""

    def grey(film: Film) -> np.ndarray:
        window = film.window
        assert window
        if function == "SIGMOID":
            return 1 / (1 + np.exp(-4 * (film.image - window.level) / window.width))
        half, less = (0.5, 1) if function == "LINEAR" else (0, 0)
        return np.clip((film.image - (window.level - half)) / (window.width - less) + 0.5, 0, 1)

    film = replace(FILM, window=Window(1000.0, 700.0, function))
    assert np.allclose(grey(film.inverted()), 1 - grey(film), atol=1e-6)
