"""The pictures of docs/the-report.md: response matrices, raw channels, losses. Simulated films only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from benchmarks.charts import LINES, Axis, Curve, Picture, around, chart, matrix, paper, stacked, write
from benchmarks.report.cells import CORNERS, REPORT, REPORT_7, Length, Recipe
from benchmarks.report.results import Results, mean_dice, named_percent
from spineseg.film import VERTEBRAE, Film
from spineseg.model.losses import LossName
from spineseg.render import figure_channels


@dataclass(frozen=True, eq=False)
class Shown:
    """A test film with what a recipe's network says of it. channels: (6, rows, columns) at the film's size, 0..1."""

    recipe: Recipe
    film: Film
    channels: np.ndarray


def title(recipe: Recipe) -> str:
    """The corner in a few words."""
    return f"{recipe.flips} flips, {recipe.context} context"


def losses(results: Results) -> Picture:
    """Response matrices after the long training: corners down, losses across."""
    names = get_args(LossName)
    panels = [_matrix(results, replace(corner, loss=loss), "long", loss) for corner in CORNERS for loss in names]
    return stacked(panels, across=len(names))


def corners(results: Results) -> Picture:
    """Response matrices with cross-entropy: short and long down, corners across."""
    panels = [_matrix(results, corner, length, length) for length in get_args(Length) for corner in CORNERS]
    return stacked(panels, across=len(CORNERS))


def _matrix(results: Results, recipe: Recipe, length: Length, last: str) -> Picture:
    row = results.find(recipe, length)
    blank = [[None] * len(VERTEBRAE)] * len(VERTEBRAE)
    said = f"named right {named_percent(row):.0f} %, Dice {mean_dice(row):.2f}" if row else "not measured"
    return matrix(row["response"] if row else blank, VERTEBRAE, f"{title(recipe)}, {last}", subtitle=said)


def channels(shown: Sequence[Shown]) -> Picture:
    """One film and the six raw channels of each recipe, a row each, as in the report's figure 8."""
    rows = []
    for one in shown:
        figure = figure_channels(one.film, one.channels, VERTEBRAE, panel_rows=300, columns=1 + len(VERTEBRAE))
        head = paper(26, figure.shape[1])
        write(head, f"{title(one.recipe)}, {one.recipe.loss}", 14, 4)
        rows.append(np.concatenate([head, figure]))
    return stacked(rows)


def curves(results: Results) -> Picture:
    """Cross-entropy of the four corners on the films held back, epoch by epoch."""
    found = [(corner, row) for corner in CORNERS if (row := results.find(corner))]
    lines = [
        Curve(title(corner), range(1, len(row["held_back_loss"]) + 1), row["held_back_loss"], colour)
        for (corner, row), colour in zip(found, LINES, strict=False)
    ]
    values = [value for line in lines for value in line.y] or [0.1, 1.0]
    y = Axis("", min(values) / 1.2, max(values) * 1.2, logarithmic=True)
    return chart(lines, _epochs(lines), y, "binary cross-entropy on films held back")


def below_zero(results: Results) -> Picture:
    """The loss of the seven channels beside that of the six, epoch by epoch."""
    named = {"seven channels, 255 in the last": REPORT_7, "six channels": REPORT}
    found = [(name, row) for name, recipe in named.items() if (row := results.find(recipe))]
    lines = [
        Curve(name, range(1, len(row["loss"]) + 1), row["loss"], colour)
        for (name, row), colour in zip(found, LINES, strict=False)
    ]
    values = [value for line in lines for value in line.y]
    return chart(lines, _epochs(lines), around("", values), "binary cross-entropy in training, mean of each epoch")


def _epochs(lines: Sequence[Curve]) -> Axis:
    return Axis("epoch", 1, max([2, *(len(line.x) for line in lines)]))
