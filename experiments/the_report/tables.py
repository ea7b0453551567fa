"""The tables of README.md, made of the measured cells; the word for each matrix follows from `results.reading`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from experiments.records import Row, fill, table
from experiments.the_report.cells import CORNERS, FEATURES, RATES, REPORT, WIDE, Length
from experiments.the_report.results import Results, likeness, mean_dice, named_percent, reading
from spineseg.film import VERTEBRAE
from spineseg.io.files import write_text
from spineseg.model.config import receptive_field
from spineseg.model.losses import LossName

PAGE = Path(__file__).with_name("README.md")


def write_page(results: Results, path: Path) -> None:
    """README.md with the tables of these results; a cell that has not been measured shows as a dash."""
    write_text(path, fill(PAGE.read_text(encoding="utf-8"), tables(results)))


def tables(results: Results) -> dict[str, str]:
    """Each in Markdown, by its name in README.md."""
    corners = [(corner, {"flips": corner.flips, "context": corner.context}) for corner in CORNERS]
    losses = [
        {**head, "loss": loss, **_scores(results.seeds(replace(corner, loss=loss)))}
        for corner, head in corners
        for loss in get_args(LossName)
    ]
    lengths = [
        {**head, "training": length, **_scores(results.seeds(corner, length))}
        for corner, head in corners
        for length in get_args(Length)
    ]
    blocks = {"losses": losses, "corners": lengths, "rates": _rates(results), "width": _width(results)}
    made = {name: table(rows) for name, rows in (blocks | {"cells": _cells(results)}).items()}
    return {**made, "setting": _setting(results)}


def _figures(rows: Sequence[Row], of: Callable[[Row], float], form: str = ".2f") -> str:
    """One for each row, as it would be said."""
    return ", ".join(format(of(row), form) for row in rows) or "-"


def _scores(rows: Sequence[Row]) -> Row:
    """Several numbers are several seeds."""
    return {
        "Dice": _figures(rows, mean_dice),
        "union": _figures(rows, lambda row: row["union"]),
        "% named right": _figures(rows, named_percent, ".0f"),
        "correlation": _figures(rows, likeness),
        "matrix": "; ".join(dict.fromkeys(map(reading, rows))) or "-",
    }


def _rates(results: Results) -> list[Row]:
    found = [(recipe, [row] if (row := results.find(recipe)) else []) for recipe in RATES]
    return [
        {
            "optimiser": recipe.optimiser,
            "learning rate": f"{recipe.learning_rate:g}",
            "loss of the first epoch": _figures(rows, lambda row: row["loss"][0], ".4f"),
            "of the last": _figures(rows, lambda row: row["loss"][-1], ".4f"),
            **_scores(rows),
        }
        for recipe, rows in found
    ]


def _width(results: Results) -> list[Row]:
    names = {"as above": replace(WIDE, width=1), f"{WIDE.width} times as wide": WIDE}
    found = [(name, [row] if (row := results.find(recipe)) else []) for name, recipe in names.items()]
    return [
        {
            "right flips, small context, bce": name,
            "weights": _figures(rows, lambda row: row["weights"], ","),
            **_scores(rows),
        }
        for name, rows in found
    ]


def _setting(results: Results) -> str:
    if not (rows := results.rows):
        return "Nothing has been measured yet."
    budget, first = results.budget, rows[0]
    small, whole = (receptive_field(corner.network) for corner in CORNERS[:2])
    features = {context: "-".join(map(str, counts)) for context, counts in FEATURES.items()}
    seconds = {row["cell"].rpartition("-")[0]: row["seconds"] for row in rows}  # a long cell's hold its short one's
    return "\n".join(
        [
            f"- films: {first['films']} simulated ones to train on, {budget.test_films} of another series to measure"
            " on; all six bodies are on each",
            f"- grid: {budget.grid.rows} x {budget.grid.columns}; a level, from middle to middle, is"
            f" {first['level_px']:.1f} px high",
            f"- small context: features {features['small']}; a logit depends on {small} px,"
            f" {small / first['level_px']:.1f} levels",
            f"- whole film: features {features['whole']}; a logit depends on {whole} px",
            f"- both: batch normalisation, logits that start at 0.5, {REPORT.optimiser.title()} at a constant"
            f" {REPORT.learning_rate:g} where nothing else is said, batches of {budget.batch}, no augmentation but the"
            " flips, half of the films each",
            f"- short: {budget.short_epochs} epochs; long: {budget.long_epochs} of the same training",
            f"- {len(seconds)} trainings, {sum(seconds.values()) / 60:.0f} minutes in all; {first['hardware']}; torch"
            f" {first['versions']['torch']}; commit {first['commit']}",
        ]
    )


def _cells(results: Results) -> list[Row]:
    return [
        {
            "cell": row["cell"],
            "steps": str(row["steps"]),
            "loss": f"{row['loss'][-1]:.4f}",
            **{name: f"{value:.2f}" for name, value in zip(VERTEBRAE, row["dice"], strict=True)},
            "union": f"{row['union']:.2f}",
            "% named right": f"{named_percent(row):.0f}",
            "correlation": f"{likeness(row):.2f}",
        }
        for row in results.rows
    ]
