"""The report's experiment in one command: every cell trained and measured, then docs/the-report.md with its pictures.

Usage: python -m benchmarks.the_report [--smoke] [--work out/the-report] [--docs docs] [--export FILE]

Goes on where it stopped: a cell whose result stands in the work folder (one line of JSON each) with the same settings
is not trained again, and a training that was cut short goes on from its last epoch. `--page` writes the page from the
cells that are there and trains nothing. `--export checkpoints/report-6.safetensors` copies the collapsed network too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from benchmarks.report import page, pictures
from benchmarks.report.cells import (
    CORNERS,
    REPORT,
    SMOKE,
    Budget,
    Length,
    Recipe,
    all_recipes,
    cell,
    run_folder,
    simulated,
)
from benchmarks.report.pictures import Shown
from benchmarks.report.results import Results, mean_dice
from benchmarks.running import Row, logged, write_rows
from spineseg.film import BadInput
from spineseg.inference.grid import grid_to_film
from spineseg.inference.segmenter import Segmenter
from spineseg.io.dicom import read_film
from spineseg.io.files import write_text
from spineseg.io.folder import labelled_films
from spineseg.io.pictures import write_png
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint

PICTURED = (*CORNERS, replace(REPORT, loss="dice"))
PICTURED_FILM = 3
"""Of the test films, the last one if there are fewer."""


def films_of(budget: Budget, work: Path) -> tuple[Path, Path]:
    """The films to train on and to measure on, simulated if they are not there."""
    return simulated(budget, work, os.cpu_count() or 1, partial(tqdm, desc="simulating", unit="film"))


def run_cells(recipes: Sequence[Recipe], results: Results, work: Path) -> None:
    """Train and measure every cell that has no result yet, saying each result in a line."""
    folders = films_of(results.budget, work)
    with tqdm(recipes, desc="trainings") as bar:
        for recipe in bar:
            bar.set_postfix_str(recipe.name)
            for length in get_args(Length):
                if results.find(recipe, length):
                    continue
                with logged(work / "train.log"):
                    row = cell(recipe, results.budget, length, folders, work)
                results.add(row)
                bar.write(_summary(row))


def _summary(row: Row) -> str:
    scores = f"Dice {mean_dice(row):.3f}  union {row['union']:.3f}  named right {row['named']:.2f}"
    return f"{row['cell']:36} loss {row['loss'][-1]:10.4f}  {scores}  {row['seconds']:5.0f} s"


def shown(recipe: Recipe, budget: Budget, work: Path) -> Shown | None:
    """A test film with the recipe's channels as they now are, if its training lies in the work folder."""
    weights = run_folder(recipe, budget, work) / "last.safetensors"
    if not weights.exists():
        return None
    test = labelled_films(films_of(budget, work)[1])
    film = read_film(test[min(PICTURED_FILM, len(test) - 1)].film)
    prediction = Segmenter.load(weights, "cpu")(film)
    return Shown(recipe, film, grid_to_film(prediction.probabilities, prediction.fit))


def write_page(results: Results, work: Path, docs: Path) -> Path:
    """Write the page, its pictures and the results beside them; the page's path."""
    folder = docs / "the-report"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "losses": pictures.losses(results),
        "corners": pictures.corners(results),
        "curves": pictures.curves(results),
        "below-zero": pictures.below_zero(results),
    }
    if films := [one for recipe in PICTURED if (one := shown(recipe, results.budget, work))]:
        drawn["channels"] = pictures.channels(films)
    for name, picture in drawn.items():
        write_png(folder / f"{name}.png", picture)
    write_rows(folder / "cells.jsonl", results.rows)
    write_text(docs / "the-report.md", page.text(results))
    return docs / "the-report.md"


def export(results: Results, work: Path, path: Path) -> None:
    """Copy the collapsed network of the report's own corner, with a card that names no decoder.

    Raises BadInput if that cell has not been trained.
    """
    row = results.find(REPORT)
    if row is None:
        raise BadInput("expected a trained cell to export, found none; run the experiment first")
    network, card = load_checkpoint(run_folder(REPORT, results.budget, work) / "last.safetensors")
    scores = {key: row[key] for key in ("dice", "union", "named", "response")}
    card = replace(
        card,
        name=path.stem,
        decoder="none",
        description="Fails on purpose: the report's training of six channels in small, see docs/the-report.md. Every"
        " channel shows the whole spine. For looking at raw channels; no level that it names means anything.",
        origin={**card.origin, "command": "python -m benchmarks.the_report"},
        scores={f"simulated, {results.budget.test_films} films": scores},
    )
    save_checkpoint(path, network, card)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells that are missing, write the page, export if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.the_report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="every cell with few films and few steps, to see it run")
    parser.add_argument("--work", type=Path, help="folder for films, trainings and results (out/the-report)")
    parser.add_argument("--docs", type=Path, help="folder for the page (docs; with --smoke one in the work folder)")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--page", action="store_true", help="write the page from the cells that are there")
    parser.add_argument("--export", type=Path, help="write the collapsed network here, as *.safetensors")
    chosen = parser.parse_args(arguments)
    work = chosen.work or Path("out/the-report-smoke" if chosen.smoke else "out/the-report")
    docs = chosen.docs or (work / "docs" if chosen.smoke else Path("docs"))
    results = Results.open(work, SMOKE if chosen.smoke else Budget())
    if not chosen.page:
        run_cells([recipe for recipe in all_recipes() if chosen.only in recipe.name], results, work)
    print(f"wrote {write_page(results, work, docs)}")
    if chosen.export:
        export(results, work, chosen.export)
        print(f"wrote {chosen.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
