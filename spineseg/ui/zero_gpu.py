"""On a ZeroGPU Space: a GPU that the package `spaces` borrows for each film.

The package emulates CUDA in the thread that imports it. A task runs in a forked process, where what the models keep on
the emulated device lies on a real one. So models load on the main thread, and of a film only what the network sees and
its probabilities travel, at the size of the grid.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import gradio as gr

from spineseg.film import Film
from spineseg.inference.prediction import Prediction
from spineseg.inference.views import Channels, Probabilities, View
from spineseg.ui import texts
from spineseg.ui.correction import BadRequest
from spineseg.ui.handlers import error_location

if TYPE_CHECKING:
    from spineseg.inference.segmenter import Segmenter

log = logging.getLogger("spineseg.ui")
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""As the package reads it."""
LONGEST_S = 15
"""What a task asks for of the visitor's quota, and is ended after: six views take a fraction of a second on such a GPU,
the rest is for a first task, which initialises CUDA and loads cuDNN."""

if ON_ZERO_GPU:  # before torch, which is imported where a model is loaded
    importlib.import_module("spaces")


@dataclass(frozen=True)
class Borrowing:
    """A segmenter whose network runs elsewhere; for the rest a `handlers.Model`."""

    segmenter: Segmenter
    run: Callable[[Channels, Sequence[View]], tuple[Probabilities, float]]

    @property
    def device(self) -> str:
        """As torch calls it."""
        return self.segmenter.device

    @property
    def card(self) -> Any:
        """A `Card`."""
        return self.segmenter.card

    def __call__(self, film: Film, /) -> Prediction:
        """Segment one film. Raises BadRequest where no GPU was lent, or the task ended early."""
        try:
            return self.segmenter(film, self.run)
        except gr.Error as error:
            raise BadRequest(texts.NO_GPU.format(str(error.message).strip(" ."))) from None


def on_borrowed_gpu(loaders: Mapping[str, Callable[[], Segmenter]]) -> dict[str, Borrowing]:
    """The segmenters, loaded now, each of which borrows a GPU for a film. On the main thread only."""
    segmenters = {name: load() for name, load in loaders.items()}
    cv2.setNumThreads(1)  # a forked process has none of OpenCV's threads, but the locks that they held

    def run(name: str, channels: Channels, views: Sequence[View]) -> tuple[Probabilities, float]:
        try:
            return segmenters[name].with_turned(channels, views)
        except Exception as error:  # the package would print its message, and a network on the CPU would hang here
            log.error("the borrowed GPU failed: %s", error_location(error))
            raise gr.Error(type(error).__name__, print_exception=False) from None

    borrowed = importlib.import_module("spaces").GPU(run, duration=LONGEST_S)
    return {name: Borrowing(segmenter, partial(borrowed, name)) for name, segmenter in segmenters.items()}
