"""What few films of one's own give: the shipped weights fine-tuned, against the same network trained from nothing.

Usage: python -m benchmarks.few_films --data DIR [--checkpoint FILE] [--work out/few-films] [--docs docs] [--smoke]

DIR holds img/ and label/ with films that the checkpoint was not trained on. An arm takes as many optimiser steps of as
many films at every count; larger counts hold the films of smaller ones. Goes on where it stopped: a result that
stands in the work folder (one line of JSON each) with the same settings is not made again. Writes docs/few-films.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from benchmarks.charts import LINES, Axis, Curve, Picture, chart, stacked
from benchmarks.running import Row, epochs_done, logged, read_rows, write_rows
from spineseg.evaluation.evaluate import evaluate
from spineseg.inference.segmenter import Segmenter
from spineseg.io.files import write_text
from spineseg.io.folder import BadDataset, FilmFiles, labelled_films
from spineseg.io.pictures import write_png
from spineseg.model.card import read_card
from spineseg.training.config import TrainConfig
from spineseg.training.loop import train

Arm = Literal["fine-tuned", "from nothing"]
ARMS: tuple[Arm, ...] = ("fine-tuned", "from nothing")
TEMPLATE = Path(__file__).with_name("few_films.md")


@dataclass(frozen=True)
class Budget:
    """What all cells share."""

    counts: tuple[int, ...] = (5, 10, 20, 50, 100)
    """Films to train on."""
    test_films: int = 40
    held_back: int = 2
    """Films beside them for the loss of each epoch, which decides nothing."""
    passes: int = 100
    """Films seen per epoch, a multiple of each count: fewer films are seen several times, each time changed anew."""
    tuning_epochs: int = 6
    epochs: int = 15
    """From nothing, which needs longer."""
    batch: int = 4
    fine_tuning_rate: float = 5e-4
    learning_rate: float = 2e-3
    warmup_steps: int = 40
    seed: int = 0

    def epochs_of(self, arm: Arm) -> int:
        """Epochs of one training."""
        return self.tuning_epochs if arm == "fine-tuned" else self.epochs

    def steps(self, arm: Arm) -> int:
        """Optimiser steps of one training."""
        return self.epochs_of(arm) * (self.passes // self.batch)


SMOKE = Budget((1, 2), test_films=2, held_back=1, passes=4, tuning_epochs=1, epochs=2, batch=2, warmup_steps=1)
"""Shows that the program runs; its numbers mean nothing."""


@dataclass(frozen=True)
class Films:
    """The folder's films in a random order: those to test on, those held back, those to train on."""

    test: tuple[FilmFiles, ...]
    held_back: tuple[FilmFiles, ...]
    pool: tuple[FilmFiles, ...]

    @property
    def digest(self) -> str:
        """A short name for which films these are."""
        names = [[film.name for film in part] for part in (self.test, self.held_back, self.pool)]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]


def films_of(folder: Path, budget: Budget) -> Films:
    """Deal out the folder's films. Raises BadDataset if there are too few."""
    films = labelled_films(folder)
    first, second = budget.test_films, budget.test_films + budget.held_back
    last = second + max(budget.counts)
    if len(films) < last:
        raise BadDataset(f"expected at least {last} labelled films, got {len(films)}; simulate more")
    order = np.random.default_rng(budget.seed).permutation(len(films))
    dealt = tuple(films[k] for k in order[:last])
    return Films(dealt[:first], dealt[first:second], dealt[second:])


def write_folder(films: Films, count: int, budget: Budget, folder: Path) -> None:
    """A folder to train on: `count` films, repeated until an epoch is full, and those held back; links, not copies.

    folds.csv tells training which are which.
    """
    shutil.rmtree(folder, ignore_errors=True)
    repeats = budget.passes // count
    named = [(f"{film.name}-r{turn:03d}", film, 2) for film in films.pool[:count] for turn in range(repeats)]
    named += [(film.name, film, 1) for film in films.held_back]
    for part in ("img", "label"):
        (folder / part).mkdir(parents=True)
    for name, film, _ in named:
        for part, path in (("img", film.film), ("label", film.label)):
            if path:
                (folder / part / f"{name}{path.suffix}").symlink_to(path.resolve())
    with (folder / "folds.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(
            [("film", "patient", "fold"), *((name, film.name, fold) for name, film, fold in named)]
        )


def training(arm: Arm, budget: Budget, checkpoint: Path, folder: Path, out: Path) -> TrainConfig:
    """The defaults, with the checkpoint's network and grid; a moving average would hardly move in so few steps."""
    card = read_card(checkpoint)
    return TrainConfig(
        folder,
        out,
        name=arm.replace(" ", "-"),
        network=card.network,
        grid=card.grid,
        epochs=budget.epochs_of(arm),
        batch=budget.batch,
        learning_rate=budget.fine_tuning_rate if arm == "fine-tuned" else budget.learning_rate,
        warmup_steps=budget.warmup_steps,
        average=0.0,
        patients=folder / "folds.csv",
        folds=2,
        fold=1,
        seed=budget.seed,
        init=checkpoint if arm == "fine-tuned" else None,
    )


def settings(arm: str, count: int, budget: Budget, films: Films, checkpoint: Path) -> Row:
    """All that a result depends on, as JSON has it."""
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:12]
    shared = {key: value for key, value in asdict(budget).items() if key != "counts"}
    return {"arm": arm, "count": count, "films": films.digest, "weights": weights, "budget": shared}


def scores(weights: Path, films: Films, out: Path) -> Row:
    """Of a checkpoint on the films to test on, at their own size."""
    summary = evaluate(Segmenter.load(weights), films.test, out)
    return {
        "dice": round(summary.dice.mean, 4),
        "dice_interval": [round(summary.dice.low, 4), round(summary.dice.high, 4)],
        "right": summary.levels_right.k,
        "tested": summary.n,
    }


def cell(arm: Arm, count: int, budget: Budget, films: Films, checkpoint: Path, work: Path) -> Row:
    """Train one arm on so many films, and score it."""
    key = hashlib.sha256(json.dumps(settings(arm, count, budget, films, checkpoint)).encode()).hexdigest()[:8]
    folder, out = work / "films" / f"{films.digest}-{count}-{budget.passes}", work / "runs" / f"{arm[:4]}-{count}-{key}"
    if not (folder / "folds.csv").exists():
        write_folder(films, count, budget, folder)
    config = training(arm, budget, checkpoint, folder, out)
    if not epochs_done(out):
        shutil.rmtree(out, ignore_errors=True)
    reports = train(replace(config, resume=out.exists()))
    card = read_card(out / "last.safetensors")
    return {
        **scores(out / "last.safetensors", films, out / "scores"),
        "loss": [round(report.train_loss, 5) for report in reports],
        "seconds": round(sum(report.seconds for report in reports)),
        **{name: card.origin[name] for name in ("commit", "hardware")},
    }


def run_cells(budget: Budget, films: Films, checkpoint: Path, work: Path) -> list[Row]:
    """Every result, made or found: first the checkpoint as it is, then both arms from few films to many."""
    path = work / "cells.jsonl"
    kept = read_rows(path)
    wanted = [("as it is", 0), *((arm, count) for count in budget.counts for arm in ARMS)]
    rows: list[Row] = []
    for arm, count in tqdm(wanted, desc="cells"):
        named = settings(arm, count, budget, films, checkpoint)
        row = next((row for row in kept if named.items() <= row.items()), None)
        if row is None:
            with logged(work / "train.log"):
                made = (
                    cell(arm, count, budget, films, checkpoint, work)
                    if arm in ARMS
                    else scores(checkpoint, films, work / "as-it-is")
                )
            row = {**named, **made}
            write_rows(path, kept := [*kept, row])
        rows.append(row)
        tqdm.write(f"{arm:12} {count:4} films  Dice {row['dice']:.3f}  right {row['right']} of {row['tested']}")
    return rows


def of(rows: Sequence[Row], arm: str) -> list[Row]:
    """The rows of one arm, from few films to many."""
    return sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["count"])


def picture(rows: Sequence[Row]) -> Picture:
    """Mean Dice and share of films with all levels right, over the number of films; the checkpoint as it is dashed."""
    counts = sorted({row["count"] for row in rows if row["count"]})
    x = Axis("films to train on", min(counts) * 0.9, max(counts) * 1.1, logarithmic=True)
    panels = []
    for title, value in (
        ("mean Dice", lambda row: row["dice"]),
        ("share of films with all levels right", lambda row: row["right"] / row["tested"]),
    ):
        untouched = value(of(rows, "as it is")[0])
        curves = [Curve("as it is", [counts[0], counts[-1]], [untouched] * 2, LINES[-1], dashed=True)]
        for arm, colour in zip(ARMS, LINES, strict=False):
            found = of(rows, arm)
            curves.append(Curve(arm, [row["count"] for row in found], [value(row) for row in found], colour))
        panels.append(chart(curves, x, Axis("", 0, 1), title, rows=320, columns=470))
    return stacked(panels, across=2)


def text(rows: Sequence[Row], budget: Budget, checkpoint: str) -> str:
    """The page in Markdown, out of the results alone."""
    untouched, tuned, fresh = of(rows, "as it is")[0], of(rows, "fine-tuned"), of(rows, "from nothing")
    head = "| films | fine-tuned: Dice (95 % interval) | levels right | from nothing: Dice | levels right |"
    lines = [
        f"| {a['count']} | {_dice(a)} | {a['right']} of {a['tested']} | {_dice(b)} | {b['right']} of {b['tested']} |"
        for a, b in zip(tuned, fresh, strict=True)
    ]
    trained = [*tuned, *fresh]
    return TEMPLATE.read_text(encoding="utf-8").format(
        checkpoint=checkpoint,
        table="\n".join([head, "|---" * 5 + "|", *lines]),
        untouched=f"{_dice(untouched)}, {untouched['right']} of {untouched['tested']} right",
        answer=_answer(untouched, tuned, fresh),
        tested=untouched["tested"],
        tuning_steps=budget.steps("fine-tuned"),
        steps=budget.steps("from nothing"),
        batch=budget.batch,
        fine_tuning_rate=f"{budget.fine_tuning_rate:g}",
        learning_rate=f"{budget.learning_rate:g}",
        minutes=f"{sum(row['seconds'] for row in trained) / 60:.0f}",
        hardware=trained[0]["hardware"],
        commit=trained[0]["commit"],
    )


def _dice(row: Row) -> str:
    low, high = row["dice_interval"]
    return f"{row['dice']:.3f} ({low:.2f} to {high:.2f})"


def _answer(untouched: Row, tuned: Sequence[Row], fresh: Sequence[Row]) -> str:
    """From how many films fine-tuning beats the checkpoint as it is, and whether training from nothing catches up."""
    better = next((row["count"] for row in tuned if row["dice"] > untouched["dice"]), None)
    gains = f"from {better} films on" if better else "at none of these counts"
    catching = next((b["count"] for a, b in zip(tuned, fresh, strict=True) if b["dice"] >= a["dice"]), None)
    caught = f"catches up at {catching} films" if catching else "does not catch up at any of them"
    return (
        f"Fine-tuning does better than the checkpoint as it is {gains}; training from nothing"
        f" {caught}. With {tuned[-1]['count']} films the mean Dice is {tuned[-1]['dice']:.3f} fine-tuned and"
        f" {fresh[-1]['dice']:.3f} from nothing."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_films", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="films that the checkpoint was not trained on")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    parser.add_argument("--work", type=Path, help="folder for trainings and results (out/few-films)")
    parser.add_argument("--docs", type=Path, help="folder for the page (docs; with --smoke one in the work folder)")
    parser.add_argument("--smoke", action="store_true", help="few films and steps, to see it run")
    chosen = parser.parse_args(arguments)
    budget = SMOKE if chosen.smoke else Budget()
    work = chosen.work or Path("out/few-films-smoke" if chosen.smoke else "out/few-films")
    docs = chosen.docs or (work / "docs" if chosen.smoke else Path("docs"))
    rows = run_cells(budget, films_of(chosen.data, budget), chosen.checkpoint, work)
    write_rows(docs / "few-films" / "cells.jsonl", rows)
    write_png(docs / "few-films" / "curve.png", picture(rows))
    write_text(docs / "few-films.md", text(rows, budget, chosen.checkpoint.stem))
    print(f"wrote {docs / 'few-films.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
