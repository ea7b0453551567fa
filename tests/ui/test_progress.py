"""What the page says while it works."""

from __future__ import annotations

import threading

import gradio as gr
import numpy as np
import pytest

from spineseg.inference.views import ONE_VIEW, VIEWS, Channels, averaged
from spineseg.ui.progress import tells, tells_views

CHANNELS: Channels = np.zeros((2, 32, 32), np.float32)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What a visitor would see, with the share that is done."""
    said: list[tuple[float, str]] = []
    monkeypatch.setattr(gr.Progress, "__call__", lambda _, share, desc: said.append((round(share, 2), desc)))
    return said


def look(count: int) -> np.ndarray:
    return averaged(CHANNELS, VIEWS if count > 1 else ONE_VIEW, lambda view: np.zeros((6, 32, 32), np.float32))


def test_each_view_is_named_as_it_begins(told: list[tuple[float, str]]) -> None:
    tells("READING", lambda: None)()
    tells_views(look)(6)
    shares = [0.0, 0.17, 0.33, 0.5, 0.67, 0.83]
    views = [(share, f"Segmenting, view {n} of 6") for n, share in enumerate(shares, 1)]
    assert told == [(0.0, "Reading the film"), (0.0, "Segmenting"), *views]


def test_a_single_view_is_not_counted(told: list[tuple[float, str]]) -> None:
    tells_views(look)(1)
    assert told == [(0.0, "Segmenting")]


def test_nothing_is_told_to_another_thread_or_afterwards(told: list[tuple[float, str]]) -> None:
    def both(count: int) -> None:
        other = threading.Thread(target=look, args=(count,))
        other.start()
        other.join()

    tells_views(both)(6)
    look(6)
    assert told == [(0.0, "Segmenting")]


def test_where_nobody_waits_nothing_happens() -> None:
    assert tells_views(look)(6).shape == (6, 32, 32)
