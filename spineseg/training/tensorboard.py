"""Curves and response matrices for TensorBoard, which is an extra: only who asks for it needs it installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spineseg.film import VERTEBRAE, BadInput
from spineseg.training.history import EpochReport

FOLDER = "tensorboard"
_CELL_PX = 24


class MissingTensorBoard(BadInput):
    """TensorBoard was asked for and is not installed."""


class Curves:
    """Writes each epoch's report into out/tensorboard; nothing where it is not wanted.

    writing: whether this is the one process that does. first_epoch: what an earlier part of the run wrote from there
    on is left out. Raises MissingTensorBoard, in every process.
    """

    def __init__(self, out: Path, wanted: bool, *, writing: bool = True, first_epoch: int = 0) -> None:
        summary_writer = _summary_writer() if wanted else None
        start = summary_writer if writing else None
        self._writer = start(str(out / FOLDER), purge_step=first_epoch or None) if start else None

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    def add(self, report: EpochReport) -> None:
        """One more epoch."""
        if self._writer is None:
            return
        for name, value in _scalars(report).items():
            if np.isfinite(value):
                self._writer.add_scalar(name, value, report.epoch)
        self._writer.add_image("response", response_picture(report.response), report.epoch, dataformats="HWC")
        self._writer.flush()


def require_tensorboard() -> None:
    """Raises MissingTensorBoard."""
    _summary_writer()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingTensorBoard(
            "expected the package tensorboard, found none; pip install tensorboard, or leave out --tensorboard"
        ) from None
    return SummaryWriter


def _scalars(report: EpochReport) -> dict[str, float]:
    return {
        "loss/training": report.train_loss,
        "loss/held back": report.validation_loss,
        "Dice/mean": report.mean_dice,
        **{f"Dice/{name}": value for name, value in zip(VERTEBRAE, report.dice, strict=True)},
        "learning rate": report.learning_rate,
        "seconds": report.seconds,
    }


def response_picture(response: list[list[float]]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The matrix as squares, 0 black to 1 white: channels from top to bottom, vertebrae from left to right."""
    grey = np.rint(np.clip(np.array(response, dtype=np.float64), 0, 1) * 255).astype(np.uint8)
    return np.repeat(np.kron(grey, np.ones((_CELL_PX, _CELL_PX), np.uint8))[..., None], 3, axis=2)
