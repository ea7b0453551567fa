"""tensorboard: what is handed to its writer, and a clear sentence where it is not installed."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spineseg.training.history import EpochReport
from spineseg.training.tensorboard import Curves, MissingTensorBoard, response_picture

REPORT = EpochReport(3, 0.5, 0.25, [0.5] * 5 + [math.nan], (np.eye(7, 6) * 0.75).tolist(), 1e-3, 12.4)


class Writer:
    """Stands in for torch's SummaryWriter."""

    made: list[Writer]

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: dict[tuple[str, int], float] = {}
        self.images: dict[tuple[str, int], np.ndarray] = {}
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name, step] = value

    def add_image(self, name: str, picture: np.ndarray, step: int, *, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images[name, step] = picture

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter, Writer.made = Writer, []
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return Writer.made


def test_curves_and_matrix_are_written(writers: list[Writer], tmp_path: Path):
    with Curves(tmp_path, True, first_epoch=3) as curves:
        curves.add(REPORT)
        curves.add(replace(REPORT, epoch=4, train_loss=0.1))
    (writer,) = writers
    assert (writer.folder, writer.purge_step, writer.closed) == (str(tmp_path / "tensorboard"), 3, True)
    assert (writer.scalars["loss/training", 3], writer.scalars["loss/training", 4]) == (0.5, 0.1)
    assert (writer.scalars["Dice/L1", 3], writer.scalars["Dice/mean", 3]) == (0.5, 0.5)
    assert ("Dice/S1", 3) not in writer.scalars
    assert writer.images["response", 3].shape == (7 * 24, 6 * 24, 3)


def test_nothing_is_written_where_it_is_not_wanted(writers: list[Writer], tmp_path: Path):
    for wanted, writing in ((False, True), (True, False)):
        with Curves(tmp_path, wanted, writing=writing) as curves:
            curves.add(REPORT)
    assert writers == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingTensorBoard, match=r"^expected the package tensorboard, found none; pip install tensorb"):
        Curves(tmp_path, True)


def test_the_picture_is_the_matrix():
    picture = response_picture([[0.0, 1.0], [0.5, 2.0], [-1.0, 0.25]])
    assert picture.shape == (72, 48, 3)
    assert picture[12::24, 12::24, 0].tolist() == [[0, 255], [128, 255], [0, 64]]
