"""A film, a bar for each of its vertebrae and a model that always answers with them: for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from predictions import predicted

from spineseg.film import VERTEBRAE, Film, Masks, Spacing
from spineseg.inference.levels import LevelReport
from spineseg.inference.prediction import Prediction
from spineseg.inference.verdict import CHECK, RELIABLE
from spineseg.io.labels import Label
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.ui.examples import Example
from spineseg.ui.handlers import Handlers
from spineseg.ui.session import SessionState

FILM = Film(np.arange(70 * 40, dtype=np.float32).reshape(70, 40), Spacing(0.5, 0.5, "detector"))


def bands() -> Masks:
    """Six bars one under the other: 8 rows each, rows 10 k + 2 to 10 k + 9, in columns 5 to 20."""
    masks = np.zeros((len(VERTEBRAE), 70, 40), bool)
    for k, mask in enumerate(masks):
        mask[10 * k + 2 : 10 * k + 10, 5:21] = True
    return masks


@dataclass(frozen=True)
class FakeCard:
    name: str = "bands"
    description: str = "Six <b>bars</b>."
    decoder: str = "ordered"
    fails_on_purpose: bool = False
    network: dict = field(default_factory=lambda: {"features": (8, 16)})
    grid: dict = field(default_factory=lambda: {"rows": 64, "columns": 48})
    origin: dict = field(default_factory=lambda: {"films": 12, "seconds": 600, "command": "train <x>"})
    scores: dict = field(default_factory=lambda: {"real": {"films": 11, "dice": 0.81, "right": 10}})


@dataclass
class Bands:
    """Answers every film of that size with the same bars; remembers what it was shown."""

    absent: tuple[int, ...] = ()
    device: str = "cuda:0"
    shift: int = 0
    answer: Masks = field(default_factory=bands)
    card: FakeCard = field(default_factory=FakeCard)
    seen: list[Film] = field(default_factory=list)

    def __call__(self, film: Film, /) -> Prediction:
        self.seen.append(film)
        masks = np.roll(self.answer, self.shift, axis=2)
        masks[list(self.absent)] = False
        present = tuple(k not in self.absent for k in range(len(VERTEBRAE)))
        lost = f"not found: {', '.join(VERTEBRAE[k] for k in self.absent)}"
        reasons = (lost, "the best <b>path</b> is close") if self.absent else ()
        verdict = CHECK if self.absent else RELIABLE
        levels = LevelReport(present, (0.9, 0.8, 0.7, 0.95, 0.99, 0.6), 0.5, verdict, reasons)
        return predicted(masks, levels, device="cuda:0")


def read_label(path: Path, shape: tuple[int, int]) -> Label:
    """The bars as a reference, with one remark."""
    return Label(bands(), overlap_px=3, background_disagreement_px=0)


def runs_of(masks: Masks) -> list[list[int]]:
    """As the viewer sends masks: for each vertebra lengths outside, inside, outside ... in reading order."""
    edges = [np.flatnonzero(np.diff(mask.ravel().astype(int), prepend=0, append=0)) for mask in masks]
    return [np.diff(np.concatenate([[0], found, [masks[0].size]])).tolist() for found in edges]


def handlers(
    *models: Bands, read: Callable[[Path], Film] = lambda path: FILM, examples: tuple[Example, ...] = ()
) -> Handlers:
    """Of up to three models: bands, other, third."""
    segmenters = dict(zip(["bands", "other", "third"], models or (Bands(),), strict=False))
    return Handlers(segmenters, read, read_label, lambda name, film: segmenters[name](film), examples)


def opened() -> SessionState:
    return SessionState(FILM, "token")


def segmented(page: Handlers | None = None, compare_with: str = "") -> SessionState:
    return (page or handlers()).segment(opened(), "bands", False, compare_with)


def simulated() -> tuple[Film, Bands]:
    """A simulated film, with bodies that can be measured, and a model that knows its masks."""
    case = simulate_case(7, 4, SimulateConfig(rows=512))
    return case.film, Bands(answer=case.masks)
