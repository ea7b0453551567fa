"""verdict: what looks like a lateral lumbar radiograph, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from spineseg.film import VERTEBRAE, Film
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.torch_network import TorchNetwork
from spineseg.inference.verdict import CHECK, NOT_LUMBAR, RELIABLE, VERDICTS, Verdict, traces
from spineseg.inference.views import ONE_VIEW
from spineseg.io.films import read_film
from spineseg.measure.measurements import measure_prediction
from spineseg.model.architectures import build_network

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.dcm"))
ROWS, COLUMNS = np.mgrid[0:700, 0:500] / 500.0


def noise(sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(3).normal(size=(700, 500)), (0, 0), sigma)


def text() -> np.ndarray:
    page = np.full((700, 500), 255, np.uint8)
    for row in range(40, 680, 30):
        cv2.putText(page, "the quick brown fox jumps over", (20, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0.0, 2)
    return page


def ribs() -> np.ndarray:
    """A frontal chest as simply as can be: two dark lungs, bright ribs and heart."""
    lungs = sum(np.exp(-(((ROWS - 0.7) / 0.5) ** 4) - ((COLUMNS - x) / 0.17) ** 4) for x in (0.27, 0.73))
    heart = np.exp(-(((ROWS - 0.85) / 0.2) ** 2) - ((COLUMNS - 0.56) / 0.16) ** 2)
    return 1 - lungs * (0.7 - 0.1 * np.sin(40 * ROWS + 12 * np.abs(COLUMNS - 0.5))) + 0.4 * heart


OTHERS: dict[str, Callable[[], np.ndarray]] = {
    "white noise": lambda: noise(0.6),
    "soft noise": lambda: noise(15),
    "softer noise": lambda: noise(40),
    "a page of text": text,
    "a frontal chest": ribs,
    "a gradient": lambda: ROWS + 0.3 * COLUMNS,
    "a disc": lambda: np.hypot(ROWS - 0.7, COLUMNS - 0.5) < 0.3,
    "a checkerboard": lambda: np.sign(np.sin(24 * ROWS) * np.sin(24 * COLUMNS)),
    "almost nothing": lambda: np.eye(700, 500, 300) > 0,
}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(device="cpu")


def test_the_words_are_those_of_the_type() -> None:
    assert get_args(Verdict) == VERDICTS == (RELIABLE, CHECK, NOT_LUMBAR)


def test_traces_are_the_share_that_is_not_bone() -> None:
    bone = np.zeros((10, 10), np.float32)
    assert traces(bone) == 1
    bone[:4] = 0.9
    assert traces(bone) == 0
    bone[4:8] = 0.3
    assert traces(bone) == 0.5


@pytest.mark.parametrize("name", OTHERS)
def test_another_picture_is_not_taken_for_a_lateral_lumbar_film(name: str, segmenter: Segmenter) -> None:
    film = Film(OTHERS[name]().astype(np.float32))
    prediction = segmenter(film)
    assert (prediction.levels.verdict, prediction.levels.reasons) == (NOT_LUMBAR, ())
    assert not prediction.drawn.any() and not prediction.inverted
    measured = measure_prediction(prediction)
    assert (measured.figures, measured.left_out) == ({}, dict.fromkeys(VERTEBRAE, NOT_LUMBAR))


def test_weights_whose_traces_nobody_measured_turn_no_picture_away(segmenter: Segmenter) -> None:
    card = replace(segmenter.card, most_traces=None)
    network = TorchNetwork(build_network(card.architecture, card.network), card)
    prediction = Segmenter(network, card, ONE_VIEW)(Film(noise(0.6).astype(np.float32)))
    assert prediction.levels.verdict != NOT_LUMBAR


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_taken_for_one(path: Path, segmenter: Segmenter) -> None:
    prediction = segmenter(read_film(path))
    assert prediction.levels.verdict != NOT_LUMBAR
    assert prediction.drawn is prediction.masks


def test_every_real_film_is_taken_for_one(shared: Path, segmenter: Segmenter) -> None:
    verdicts = [segmenter(read_film(path)).levels.verdict for path in sorted((shared / "films/img").glob("*.dcm"))]
    assert len(verdicts) == 16 and NOT_LUMBAR not in verdicts
