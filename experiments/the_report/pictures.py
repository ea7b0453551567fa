"""The pictures of README.md: response matrices, probability maps, losses. Simulated films only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.axes import Axes

from experiments.charts import draw_lines, draw_matrix, figure, save
from experiments.the_report.cells import CORNERS, REPORT, REPORT_7, Length, Recipe
from experiments.the_report.results import Results, mean_dice, named_percent
from spineseg.film import VERTEBRAE, Film
from spineseg.model.losses import LossName
from spineseg.render import to_uint8


@dataclass(frozen=True, eq=False)
class Shown:
    """A test film with what a recipe's network says of it. channels: (6, rows, columns) at the film's size, 0..1."""

    recipe: Recipe
    film: Film
    channels: np.ndarray


def title(recipe: Recipe) -> str:
    """The corner in a few words."""
    return f"{recipe.flips} flips, {recipe.context} context"


def draw_all(results: Results, shown: Sequence[Shown], folder: Path) -> None:
    """Write every picture into the folder; probability maps only where networks are there to show them."""
    lengths, losses = get_args(Length), get_args(LossName)
    _matrices(results, [(c, length) for length in lengths for c in CORNERS], 4, folder / "corners.png")
    crossed: list[tuple[Recipe, Length]] = [
        (replace(corner, loss=loss), "long") for corner in CORNERS for loss in losses
    ]
    _matrices(results, crossed, len(losses), folder / "losses.png")
    held_back = {title(corner): row["held_back_loss"] for corner in CORNERS if (row := results.find(corner))}
    _losses(held_back, "binary cross-entropy on films held back", folder / "curves.png", logarithmic=True)
    named = {"seven channels, 255 in the last": REPORT_7, "six channels": REPORT}
    trained = {name: row["loss"] for name, recipe in named.items() if (row := results.find(recipe))}
    _losses(trained, "binary cross-entropy in training, mean of each epoch", folder / "below-zero.png")
    if shown:
        _channels(shown, folder / "channels.png")


def _matrices(results: Results, cells: Sequence[tuple[Recipe, Length]], across: int, path: Path) -> None:
    sheet, places = figure(-(-len(cells) // across), across, width=3.2, height=3.4)
    for axes, (recipe, length) in zip(places, cells, strict=True):
        _matrix(axes, results, recipe, length)
    save(sheet, path)


def _matrix(axes: Axes, results: Results, recipe: Recipe, length: Length) -> None:
    row = results.find(recipe, length)
    said = f"named right {named_percent(row):.0f} %, Dice {mean_dice(row):.2f}" if row else "not measured"
    values = row["response"] if row else np.zeros((len(VERTEBRAE), len(VERTEBRAE)))
    draw_matrix(axes, values, VERTEBRAE, f"{title(recipe)},\n{recipe.loss}, {length}\n{said}")


def _losses(losses: dict[str, list[float]], heading: str, path: Path, *, logarithmic: bool = False) -> None:
    sheet, (axes,) = figure(1, 1, width=8.6)
    draw_lines(axes, {name: (range(1, len(y) + 1), y) for name, y in losses.items()}, heading, "epoch")
    if logarithmic:
        axes.set_yscale("log")
    save(sheet, path)


def _channels(shown: Sequence[Shown], path: Path) -> None:
    """One film and the six probability maps of each recipe, a row each, as in the report's figure 8."""
    sheet, places = figure(len(shown), 1 + len(VERTEBRAE), width=1.8, height=3.2)
    panels = [
        panel
        for one in shown
        for panel in (
            (f"{title(one.recipe)},\n{one.recipe.loss}", to_uint8(one.film)),
            *zip(VERTEBRAE, one.channels, strict=True),
        )
    ]
    for axes, (heading, picture) in zip(places, panels, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
        axes.set_title(heading, fontsize=8)
        axes.set_axis_off()
    save(sheet, path)
