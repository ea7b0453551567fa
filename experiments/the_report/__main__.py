"""Why the report's U-Net failed: its two trainings at full size, and 22 small ones that tell the causes apart.

Usage:
  python -m experiments.the_report run [--smoke]      every small training and measurement, then README.md
  python -m experiments.the_report export FILE        copy the collapsed network of the report's own corner
  python -m experiments.the_report train report-6 --data DIR --out RUN    the report's training at full size

`run` goes on where it stopped: a result that stands in cells.jsonl with the same settings is not made again, and a
training that was cut short goes on from its last epoch. `train` takes all options of `python -m spineseg train`.
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

import tyro
from tqdm import tqdm

from experiments.records import Row, logged
from experiments.the_report.cells import (
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
from experiments.the_report.recipes import NETWORKS, TRANSFORMS, RecipeName, configuration
from experiments.the_report.results import Results, mean_dice
from experiments.the_report.tables import PAGE, write_page
from spineseg.allocator import disable_mmap_and_trim
from spineseg.film import BadInput
from spineseg.inference.grid import grid_to_film
from spineseg.inference.segmenter import Segmenter
from spineseg.io.films import read_film
from spineseg.io.folder import labelled_films
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.training.config import TrainConfig
from spineseg.training.cross_validation import cross_validate
from spineseg.training.loop import train

PICTURED = (*CORNERS, replace(REPORT, loss="dice"))
PICTURED_FILM = 3
"""Of the test films, the last one if there are fewer."""


# The small trainings


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


def draw(results: Results, work: Path, folder: Path) -> None:
    """Write the pictures of README.md."""
    from experiments.the_report.pictures import Shown, draw_all

    shown = []
    for recipe in PICTURED:
        weights = run_folder(recipe, results.budget, work) / "last.safetensors"
        if weights.exists():
            test = labelled_films(films_of(results.budget, work)[1])
            film = read_film(test[min(PICTURED_FILM, len(test) - 1)].film)
            prediction = Segmenter.load(weights, "cpu")(film)
            shown.append(Shown(recipe, film, grid_to_film(prediction.probabilities, prediction.fit)))
    draw_all(results, shown, folder)


def export(results: Results, work: Path, path: Path) -> None:
    """Copy the collapsed network of the report's own corner, with a card that names no decoder.

    Raises BadInput if that cell has not been trained.
    """
    row, weights = results.find(REPORT), run_folder(REPORT, results.budget, work) / "last.safetensors"
    if row is None or not weights.exists():
        raise BadInput("expected a trained cell to export, found none; run the experiment first")
    network, card = load_checkpoint(weights)
    scores = {key: row[key] for key in ("dice", "union", "named", "response")}
    card = replace(
        card,
        name=path.stem,
        decoder="none",
        fails_on_purpose=True,
        description="Fails on purpose: the report's training of six channels in small, see experiments/the_report."
        " Every channel shows the whole spine. For looking at probability maps; no level that it names means anything.",
        origin={**card.origin, "command": "python -m experiments.the_report run"},
        scores={f"simulated, {results.budget.test_films} films": scores},
    )
    save_checkpoint(path, network, card)


# The commands


def train_at_full_size(arguments: Sequence[str]) -> None:
    """`report-6 --data DIR --out RUN ...`: the recipe's settings, and any that are given instead."""
    name: RecipeName | None = next((known for known in NETWORKS if list(arguments[:1]) == [known]), None)
    if name is None:
        raise BadInput(f"expected one of {', '.join(NETWORKS)} after train, got another word")
    base = configuration(name, Path(), Path())
    for required in ("data", "out"):  # tyro marks what has no default by a value that is no Path
        object.__setattr__(base, required, tyro.MISSING)
    config = tyro.cli(
        TrainConfig, default=base, args=arguments[1:], prog=f"python -m experiments.the_report train {name}"
    )
    disable_mmap_and_trim()
    run = cross_validate if config.folds and not config.fold else train
    run(config, transform=TRANSFORMS[name])


def main(arguments: Sequence[str] | None = None) -> int:
    """One of the three commands; 1 if some input could not be used."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"]:
            train_at_full_size(arguments[1:])
        else:
            _run_or_export(arguments)
    except BadInput as error:
        print(f"the_report: {error}", file=sys.stderr)
        return 1
    return 0


def _run_or_export(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.the_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run, export_to = commands.add_parser("run"), commands.add_parser("export")
    run.add_argument("--only", default="", help="cells whose name holds this")
    run.add_argument("--page", action="store_true", help="write README.md from the cells that are there")
    export_to.add_argument("file", type=Path, help="*.safetensors")
    for parsed in (run, export_to):
        parsed.add_argument("--smoke", action="store_true", help="few films and few steps, to see it run; in --work")
        parsed.add_argument("--work", type=Path, default=Path("out/the-report"), help="folder for films and trainings")
    chosen = parser.parse_args(arguments)
    folder = chosen.work if chosen.smoke else PAGE.parent
    results = Results(folder / "cells.jsonl", SMOKE if chosen.smoke else Budget())
    if chosen.command == "export":
        export(results, chosen.work, chosen.file)
        return
    if not chosen.page:
        run_cells([recipe for recipe in all_recipes() if chosen.only in recipe.name], results, chosen.work)
    write_page(results, folder / PAGE.name)
    draw(results, chosen.work, folder)
    print(f"wrote {folder / PAGE.name}")


if __name__ == "__main__":
    sys.exit(main())
