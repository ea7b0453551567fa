"""What the epochs of a run gave: gathered over batches, written as one line of JSON each, read again, and described."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spineseg.film import CHANNELS, VERTEBRAE, BadInput
from spineseg.io.files import nullified, write_table, write_text

HISTORY, BEST_FILMS = "history.jsonl", "best.csv"
"""A line for each epoch; Dice of each film held back after the best epoch."""
NOTHING_FOUND = "no vertebra found yet"
FILM_COLUMNS = ("film", *VERTEBRAE, "mean")
Batch = Float[Tensor, "film channel rows columns"]
FilmDice = Float[np.ndarray, "film vertebra"]


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave, on the held-back films; epoch 0 is the checkpoint before any, and has no training loss.

    dice: per vertebra, NaN where absent from every film. response: channel x vertebra mean probability; a diagonal
    is a network that tells levels apart, an even band one that does not.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    dice: list[float]
    response: list[list[float]]
    learning_rate: float
    seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean over the vertebrae that are on any held-back film; 0 if none is."""
        mean = finite_mean(self.dice)
        return mean if math.isfinite(mean) else 0.0


class EpochScores:
    """Soft counts gathered over batches: loss, Dice at 0.5 per film and vertebra, and the response matrix."""

    def __init__(self, channels: int) -> None:
        self._loss, self._films = 0.0, 0
        self._dice: list[np.ndarray] = []
        self._response = np.zeros((channels, len(VERTEBRAE)))
        self._area = np.zeros(len(VERTEBRAE))

    def add(self, loss: float, probability: Batch, targets: Batch) -> None:
        """One batch: its mean loss per film, what the network says and what it should say."""
        vertebrae = targets[:, : len(VERTEBRAE)]
        found, true = probability[:, : len(VERTEBRAE)] > 0.5, vertebrae > 0.5
        both, total = (found & true).sum((2, 3)), found.sum((2, 3)) + true.sum((2, 3))
        dice = torch.where(true.any(3).any(2), 2 * both / total.clamp(min=1), torch.nan)
        self._dice.append(dice.cpu().double().numpy())
        self._response += torch.einsum("fcyx,fvyx->cv", probability, vertebrae).cpu().numpy()
        self._area += vertebrae.sum((0, 2, 3)).cpu().numpy()
        self._loss += loss * len(targets)
        self._films += len(targets)

    @property
    def loss(self) -> float:
        """Mean over the films."""
        return self._loss / max(self._films, 1)

    @property
    def film_dice(self) -> FilmDice:
        """Of each film in the order of adding, NaN where it lacks the vertebra."""
        return np.concatenate(self._dice)

    @property
    def dice(self) -> list[float]:
        """Mean over the films that have the vertebra, NaN if none has."""
        return np.round([finite_mean(column) for column in self.film_dice.T], 4).tolist()

    @property
    def response(self) -> list[list[float]]:
        """Mean probability of each channel (row) over each vertebra (column)."""
        return (self._response / np.maximum(self._area, 1e-9)).round(4).tolist()


def write_history(out: Path, reports: Sequence[EpochReport]) -> None:
    """One line of JSON for each epoch; null for a figure that there is none of."""
    lines = (json.dumps(nullified(asdict(report)), allow_nan=False) + "\n" for report in reports)
    write_text(out / HISTORY, "".join(lines))


def read_history(out: Path) -> list[EpochReport]:
    """The reports of a run. Raises BadInput if there are none or they are not understood."""
    try:
        lines = (out / HISTORY).read_text(encoding="utf-8").splitlines()
        return [EpochReport(**_with_nan(json.loads(line))) for line in lines]
    except FileNotFoundError:
        raise BadInput("expected a training run, found no history in the folder; name a run's --out") from None
    except (TypeError, json.JSONDecodeError) as error:
        raise BadInput(f"expected the history of a run, got another ({type(error).__name__}); train again") from None


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value


def write_films(path: Path, names: Sequence[str], dice: FilmDice) -> None:
    """Dice of each film as CSV; an empty cell where the film lacks the vertebra."""
    rows = (
        [name, *("" if math.isnan(v) else f"{v:.4f}" for v in (*row, finite_mean(row)))]
        for name, row in zip(names, dice, strict=True)
    )
    write_table(path, FILM_COLUMNS, rows)


def read_films(path: Path) -> dict[str, list[float]]:
    """Dice of each film by name, as `write_films` wrote it. Raises BadInput if the file is not understood."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {row["film"]: [float(row[name] or "nan") for name in VERTEBRAE] for row in rows}
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"expected a table of films as train writes it, got another ({type(error).__name__})") from None


def finite_mean(values: Sequence[float] | np.ndarray) -> float:
    """Of the finite ones; NaN if there are none."""
    known = [float(value) for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def best_of(reports: Sequence[EpochReport]) -> EpochReport | None:
    """The report with the best mean Dice; of several the one with the lowest loss, of those the first."""
    return max(reports, key=lambda report: (report.mean_dice, -report.validation_loss), default=None)


def epochs_done(reports: Sequence[EpochReport]) -> int:
    """How many were trained: they count from 1, and epoch 0 is the checkpoint that training began with."""
    return reports[-1].epoch if reports else 0


def out_of_patience(reports: Sequence[EpochReport], patience: int | None) -> bool:
    """Whether the last `patience` epochs, or more, were no better than the best one before them."""
    best = best_of(reports)
    return patience is not None and best is not None and len(reports) - 1 - reports.index(best) >= patience


def summary(report: EpochReport) -> dict[str, Any]:
    """The report's Dice as a checkpoint's card holds it."""
    per_vertebra = dict(zip(VERTEBRAE, report.dice, strict=True))
    return nullified({"epoch": report.epoch, "mean dice": round(report.mean_dice, 4), "dice": per_vertebra})


def describe(report: EpochReport) -> str:
    """The report as lines for a terminal: losses, Dice per vertebra, response of each channel in each vertebra."""
    train_loss = f"loss {report.train_loss:.4f}, " if report.epoch else ""
    rows = {"Dice": report.dice, **dict(zip(CHANNELS, report.response, strict=False))}
    lines = [f"  {name:10}" + "".join(f"{value:7.3f}" for value in row) for name, row in rows.items()]
    names = "".join(f"{name:>7}" for name in VERTEBRAE)
    lines.insert(1, "  mean response of each channel (row) in each vertebra (column):")
    name = f"epoch {report.epoch}" if report.epoch else "before training"
    found = f"mean Dice {report.mean_dice:.3f}" if report.mean_dice else NOTHING_FOUND
    head = f"{name}: {train_loss}held back {report.validation_loss:.4f}, {found}, {report.seconds:.0f} s"
    return "\n".join([head, f"  {'':10}{names}", *lines])
