"""What few films of one's own give: the published weights fine-tuned, as `train` does with nothing set.

Usage: python -m experiments.few_films --data DIR [--checkpoint FILE] [--work out/few-films] [--smoke]

DIR holds img/ and label/, as `python -m experiments.few_films.other_films` writes them. Films are taken at random, and
as a person mends them who goes through the page's list: those to check first, each with its label put into a training
folder by the page's own code. Larger counts hold the films of smaller ones. Goes on where it stopped: a result that
stands in cells.jsonl with the same settings is not made again. Then writes the table of README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments.few_films import monai_recipe
from experiments.records import Row, digest, epochs_done, fill, logged, read_rows, table, write_rows
from spineseg.evaluation.evaluate import evaluate
from spineseg.inference.segmenter import Segmenter
from spineseg.io.files import write_text
from spineseg.io.films import read_film
from spineseg.io.folder import BadDataset, FilmFiles, labelled_films, make_folder, read_case
from spineseg.model.card import UNET, read_card
from spineseg.training.config import TrainConfig
from spineseg.training.loop import train
from spineseg.ui.collect import add_to
from spineseg.ui.correction import masks_to_bits
from spineseg.ui.session import SessionState

AS_IT_IS, TUNED, MENDED = "as it is", "fine-tuned", "fine-tuned, those to check first"
MONAI = "MONAI BasicUNet from scratch, as long"
MENDING_S = 11.4
"""To mend one body of a film, by a script at a person's pace (LOG.md, "How long does a person take to mend an S1")."""
PAGE = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Budget:
    """What all cells share."""

    counts: tuple[int, ...] = (5, 10, 20, 50, 100)
    """Films in the folder that is trained on, those held back included."""
    mended: tuple[int, ...] = (5, 10, 20)
    compared: tuple[int, ...] = (20, 100)
    """Counts at which MONAI is trained for as many seconds."""
    test_films: int = 40
    epochs: int | None = None
    """None for what `train` chooses."""
    seed: int = 0


SMOKE = Budget((2, 4), (2,), (4,), test_films=2, epochs=1)
"""Shows that the program runs; its numbers mean nothing."""


@dataclass(frozen=True)
class Films:
    """The folder's films in a random order: those to test on, those to train on, and all that a person may mend."""

    test: tuple[FilmFiles, ...]
    pool: tuple[FilmFiles, ...]
    unmended: tuple[FilmFiles, ...]

    @property
    def digest(self) -> str:
        """A short name for which films these are."""
        return digest(*([film.name for film in part] for part in (self.test, self.pool)))


def films_of(folder: Path, budget: Budget) -> Films:
    """Deal out the folder's films. Raises BadDataset if there are too few."""
    films = labelled_films(folder)
    last = budget.test_films + max(budget.counts)
    if len(films) < last:
        raise BadDataset(f"expected at least {last} labelled films, got {len(films)}; simulate more")
    order = np.random.default_rng(budget.seed).permutation(len(films))
    dealt = tuple(films[k] for k in order)
    return Films(dealt[: budget.test_films], dealt[budget.test_films : last], dealt[budget.test_films :])


def write_folder(films: Films, count: int, folder: Path) -> None:
    """A folder to train on: links to `count` films."""
    make_folder(folder)
    for film in films.pool[:count]:
        for part, path in (("img", film.film), ("label", film.label)):
            if path:
                (folder / part / f"{film.name}{path.suffix}").symlink_to(path.resolve())


def collect(films: Films, count: int, folder: Path, checkpoint: Path) -> None:
    """A folder to train on: the first films of the page's list, with their true masks for a person's."""
    segmenter = Segmenter.load(checkpoint)
    listed = sorted(films.unmended, key=lambda film: segmenter(read_film(film.film)).levels.review_order)
    make_folder(folder)
    for case, film in ((read_case(film), film.film) for film in listed[:count]):
        add_to(folder, SessionState(case.film, "", corrected=masks_to_bits(case.masks)), film, read_film)


def settings(arm: str, count: int, budget: Budget, films: Films, checkpoint: Path) -> Row:
    """All that a result depends on, as JSON has it; count: 0 for the checkpoint as it is."""
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:12]
    shared = {key: value for key, value in asdict(budget).items() if key not in ("counts", "mended", "compared")}
    return {"arm": arm, "count": count, "films": films.digest, "weights": weights, "budget": shared}


def scores(weights: Path, films: Films, out: Path, architecture: str = UNET) -> Row:
    """Of a checkpoint on the films to test on, at their own size."""
    summary = evaluate(Segmenter.load(weights, architecture=architecture), films.test, out)
    return {
        "dice": round(summary.dice.mean, 4),
        "dice_interval": [round(summary.dice.low, 4), round(summary.dice.high, 4)],
        "right": summary.levels_right.k,
        "tested": summary.n,
    }


def cell(arm: str, count: int, budget: Budget, films: Films, checkpoint: Path, work: Path) -> Row:
    """Fine-tune on so many films; scores of what the user gets, and of the last epoch before any choice."""
    name = f"{count}-{digest(settings(arm, count, budget, films, checkpoint))}"
    folder, out = work / "films" / name, work / "runs" / name
    if not epochs_done(out):
        for stale in (folder, out):
            shutil.rmtree(stale, ignore_errors=True)
        collect(films, count, folder, checkpoint) if arm == MENDED else write_folder(films, count, folder)
    reports = train(TrainConfig(folder, out, checkpoint, epochs=budget.epochs, seed=budget.seed, resume=out.exists()))
    card = read_card(out / "last.safetensors")
    return {
        **scores(out / "best.safetensors", films, out / "scores"),
        "last": scores(out / "last.safetensors", films, out / "scores-last"),
        "loss": [round(report.train_loss, 5) for report in reports if report.epoch],
        "seconds": round(sum(report.seconds for report in reports)),
        **{name: card.origin[name] for name in ("commit", "hardware")},
    }


def monai_cell(row: Row, budget: Budget, films: Films, work: Path) -> Row:
    """MONAI's network on the films of `row`, for as long as fine-tuning on them took."""
    out = work / "monai" / f"{row['count']}-{films.digest}"
    shutil.rmtree(out, ignore_errors=True)
    write_folder(films, row["count"], folder := out / "films")
    weights = monai_recipe.train_for(row["seconds"], folder, out, budget.seed)
    return {**scores(weights, films, out / "scores", monai_recipe.ARCHITECTURE), "seconds": row["seconds"]}


def run_cells(budget: Budget, films: Films, checkpoint: Path, work: Path, results: Path) -> list[Row]:
    """Every result, made or found: first the checkpoint as it is, then fine-tuned on few films to many."""
    rows: list[Row] = []
    cells = [(AS_IT_IS, 0), *((TUNED, count) for count in budget.counts)]
    cells += [*((MONAI, count) for count in budget.compared), *((MENDED, count) for count in budget.mended)]
    for arm, count in tqdm(cells, desc="cells"):
        named, kept = settings(arm, count, budget, films, checkpoint), read_rows(results)
        row = next((row for row in kept if named.items() <= row.items()), None)
        if row is None:
            with logged(work / "train.log"):
                if arm == AS_IT_IS:
                    made = scores(checkpoint, films, work / AS_IT_IS.replace(" ", "-"))
                elif arm == MONAI:
                    made = monai_cell(
                        next(one for one in of(rows, TUNED) if one["count"] == count), budget, films, work
                    )
                else:
                    made = cell(arm, count, budget, films, checkpoint, work)
            write_rows(results, [*kept, row := {**named, **made}])
        rows.append(row)
        tqdm.write(f"{arm:34} {count:4} films  Dice {row['dice']:.3f}  right {row['right']} of {row['tested']}")
    return rows


def of(rows: Sequence[Row], arm: str) -> list[Row]:
    """The rows of one arm, from few films to many."""
    return sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["count"])


def results_table(rows: Sequence[Row]) -> str:
    """Of README.md, in Markdown."""
    lines = [
        {
            "films": row["count"] or "none",
            "training": row["arm"],
            "minutes of mending": f"{row['count'] * MENDING_S / 60:.0f}" if row["arm"] in (TUNED, MENDED) else "",
            "mean Dice": f"{row['dice']:.3f}",
            "95 % interval": "{:.2f} to {:.2f}".format(*row["dice_interval"]),
            "levels right": f"{row['right']} of {row['tested']}",
        }
        for arm in (AS_IT_IS, TUNED, MENDED, MONAI)
        for row in of(rows, arm)
    ]
    return table(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.few_films", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="films that the checkpoint was not trained on")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/spineseg.safetensors"))
    parser.add_argument("--work", type=Path, default=Path("out/few-films"), help="folder for films and trainings")
    parser.add_argument("--smoke", action="store_true", help="few films and steps, to see it run; all in --work")
    chosen = parser.parse_args(arguments)
    budget, folder = (SMOKE, chosen.work) if chosen.smoke else (Budget(), PAGE.parent)
    films = films_of(chosen.data, budget)
    rows = run_cells(budget, films, chosen.checkpoint, chosen.work, folder / "cells.jsonl")
    write_text(folder / PAGE.name, fill(PAGE.read_text(encoding="utf-8"), {"results": results_table(rows)}))
    print(f"wrote {folder / PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
