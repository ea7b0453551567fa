"""Charts of experiments and benchmarks, by matplotlib (requirements-test.txt)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#282828")
"""Okabe and Ito's palette (2008), without the yellow that white paper swallows."""
Line = tuple[Sequence[float], Sequence[float]]
"""x and y."""


def figure(rows: int, columns: int, *, width: float = 6.4, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A sheet of axes in reading order; width and height of each, in inches."""
    sheet = Figure((columns * width, rows * height), dpi=100, layout="constrained")
    return sheet, list(sheet.subplots(rows, columns, squeeze=False).flat)


def draw_lines(axes: Axes, lines: Mapping[str, Line], title: str, x: str, *, dashed: Sequence[str] = ()) -> None:
    """Lines by name, with a legend beside them; a dot on each point of a short one. dashed: without dots, behind."""
    for (name, (xs, ys)), colour in zip(lines.items(), COLOURS * 2, strict=False):
        behind = name in dashed
        marker = "o" if len(xs) <= 12 and not behind else ""
        axes.plot(xs, ys, "--" if behind else "-", color=colour, label=name, marker=marker, zorder=1 if behind else 2)
    axes.set(title=title, xlabel=x)
    axes.grid(color="#dddddd")
    if lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def draw_matrix(axes: Axes, values: Sequence[Sequence[float]] | np.ndarray, names: Sequence[str], title: str) -> None:
    """A square table as grey cells with their numbers, 0 white and 1 black."""
    axes.imshow(values, cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, fontsize=9)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            ink = "white" if value > 0.5 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)


def save(sheet: Figure, path: Path) -> None:
    """As PNG, without the date and the program that PNG can hold."""
    sheet.savefig(path, metadata={"Software": None})
