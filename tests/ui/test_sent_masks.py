"""Masks that a browser sends: taken as they are where they are masks of the film, refused with a sentence where not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ui_fakes import bands, runs_of

from spineseg.film import VERTEBRAE, Spacing
from spineseg.ui.correction import BadRequest, bits_to_masks
from spineseg.ui.sent_masks import MOST_RUNS, sent_bits, sent_film

SHAPE = (70, 40)
SIZE = SHAPE[0] * SHAPE[1]
FILM = {"rows": 300, "columns": 200, "spacing": [0.2, 0.1, "patient"], "aspect": 1}


def test_masks_there_and_back() -> None:
    assert np.array_equal(bits_to_masks(sent_bits(runs_of(bands()), SHAPE)), bands())
    nothing = [[SIZE] for _ in VERTEBRAE]
    assert not sent_bits(nothing, SHAPE).any()
    everything = [[0, SIZE], *nothing[1:]]
    assert (sent_bits(everything, SHAPE) == 1).all()


def with_first(one: Any) -> Callable[[list[list[int]]], Any]:
    return lambda runs: [one, *runs[1:]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda runs: None, "not of this film's size"),
        (lambda runs: runs[:-1], "not of this film's size"),
        (lambda runs: {str(k): one for k, one in enumerate(runs)}, "not of this film's size"),
        (with_first("10"), "not of this film's size"),
        (with_first([]), "not of this film's size"),
        (with_first([SIZE - 1]), "not of this film's size"),
        (with_first([SIZE, 1]), "not of this film's size"),
        (with_first([-1, SIZE + 1]), "not of this film's size"),
        (with_first([SIZE - 1, True]), "not of this film's size"),
        (with_first([SIZE - 1, 1.0]), "not of this film's size"),
        (with_first([[SIZE]]), "not of this film's size"),
        (with_first([10**30, SIZE - 10**30]), "not of this film's size"),
        (with_first([SIZE, *[0] * MOST_RUNS]), "too ragged"),
        (lambda runs: [runs[1], *runs[1:]], "in two vertebrae"),
    ],
)
def test_anything_else_is_refused(change: Callable[[list[list[int]]], Any], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        sent_bits(change(runs_of(bands())), SHAPE)


def test_size_and_spacing_of_a_film_that_is_not_here() -> None:
    film = sent_film(FILM)
    assert (film.shape, film.spacing, film.row_to_column) == ((300, 200), Spacing(0.2, 0.1, "patient"), 2.0)
    assert film.image.strides == (0, 0), "takes no memory"
    assert sent_film({**FILM, "spacing": None, "aspect": 2}).row_to_column == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"rows": 10**9},
        {"rows": 9000, "columns": 9000},
        {"rows": 300.0},
        {"rows": True},
        {"columns": "200"},
        {"aspect": None},
        {"aspect": math.nan},
        {"aspect": 1e300},
        {"spacing": [0.2, 0.1]},
        {"spacing": [0.2, 0.0, "patient"]},
        {"spacing": [0.2, math.inf, "patient"]},
        {"spacing": [0.2, 0.1, "elsewhere"]},
        {"spacing": [0.2, 0.1, ["patient"]]},
        {"spacing": {"row_mm": 1}},
    ],
)
def test_a_film_beyond_the_limits_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="open the film again"):
        sent_film({**FILM, **json.loads(json.dumps(change))})
