"""The measured cells: lines of JSON found by their settings, and what they come to in a number or a word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.records import Row, read_rows, write_rows
from experiments.the_report.cells import REPORT, SEEDS, Budget, Length, Recipe, settings
from spineseg.film import VERTEBRAE

GUESS = 1 / len(VERTEBRAE)
BONE_FOUND = 0.5
"""Dice of the union from which a cell has learnt to find bone at all."""
TOLD_APART, COLLAPSED = 0.8, 0.55
"""Share of pixels named right from which levels count as told apart, and below which as not at all; an X has 0.5."""


@dataclass(frozen=True)
class Results:
    """The cells of one budget that the file holds; none if there is no file."""

    path: Path
    budget: Budget

    @property
    def rows(self) -> list[Row]:
        """Their lines, in the order of measuring."""
        budget = settings(REPORT, self.budget, "long")["budget"]
        return [row for row in read_rows(self.path) if row["budget"] == budget]

    def find(self, recipe: Recipe, length: Length = "long") -> Row | None:
        """The cell's line, if it has been measured with the same settings."""
        wanted = settings(recipe, self.budget, length)
        return next((row for row in self.rows if wanted.items() <= row.items()), None)

    def seeds(self, recipe: Recipe, length: Length = "long") -> list[Row]:
        """The lines of all its seeds that have been measured."""
        found = (self.find(replace(recipe, seed=seed), length) for seed in SEEDS[recipe.loss])
        return [row for row in found if row]

    def add(self, row: Row) -> None:
        """Put a line at the end of the file."""
        write_rows(self.path, [*read_rows(self.path), row])


def mean_dice(row: Row) -> float:
    """Over the six vertebrae."""
    return float(np.mean(row["dice"]))


def named_percent(row: Row) -> float:
    """Bone pixels whose strongest channel is that of their vertebra."""
    return 100 * row["named"]


def likeness(row: Row) -> float:
    """Mean correlation between two different channels; NaN if all are the same everywhere."""
    pairs = [row["correlation"][i][j] for i in range(len(VERTEBRAE)) for j in range(i)]
    known = [pair for pair in pairs if pair is not None]
    return float(np.mean(known)) if known else float("nan")


def own_and_mirrored(row: Row) -> tuple[float, float]:
    """Of all that is said within a vertebra, the shares of its own channel and of its mirror image's."""
    response = np.array(row["response"])
    shares = response / np.maximum(response.sum(0), 1e-9)
    return float(np.mean(np.diag(shares))), float(np.mean(np.diag(shares[::-1])))


def reading(row: Row) -> str:
    """What the response matrix looks like."""
    own, mirrored = own_and_mirrored(row)
    if row["union"] < BONE_FOUND:
        return "bone is not found"
    if row["named"] >= TOLD_APART:
        return "a diagonal"
    if own + mirrored >= 0.6 and mirrored >= 0.2:
        return "an X"
    if own <= 1.5 * GUESS:
        return "an even band"
    return "a blurred X" if mirrored >= 0.7 * own else "a blurred diagonal"


def verdict(rows: Iterable[Row]) -> str:
    """Whether the cells tell levels apart: "yes" if all do, "no" if none does even nearly, else "in part".

    A cell that has not even found bone cannot answer.
    """
    rows = list(rows)
    if rows and all(row["union"] < BONE_FOUND for row in rows):
        return "no bone found"
    shares = [row["named"] for row in rows]
    if not shares:
        return "not measured"
    if min(shares) >= TOLD_APART:
        return "yes"
    return "no" if max(shares) < COLLAPSED else "in part"
