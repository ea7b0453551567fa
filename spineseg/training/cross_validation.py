"""Cross-validation: one training for each fold of the films, and a summary over all of them."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from spineseg.data.augment import Transform
from spineseg.data.split import folds_of
from spineseg.evaluation.metrics import Interval, bootstrap_interval
from spineseg.film import VERTEBRAE, BadInput
from spineseg.io.files import nullified, write_table, write_text
from spineseg.io.folder import labelled_films
from spineseg.training.config import TrainConfig, validated
from spineseg.training.fit import CACHE
from spineseg.training.history import BEST_FILMS, best_of, finite_mean, read_films, read_history
from spineseg.training.loop import train
from spineseg.training.prepare import make_accelerator
from spineseg.training.report import PAGE, STYLE

FOLDS, SUMMARY = "folds.csv", "folds.json"


@dataclass(frozen=True)
class FoldScore:
    """The best epoch of one fold, on the films that it held back."""

    fold: int
    epoch: int
    films: int
    dice: list[float]
    mean_dice: float


@dataclass(frozen=True)
class FoldsSummary:
    """Dice over the folds, each at its best epoch, on the network's grid; NaN where there is no figure.

    dice, deviation: mean and sample standard deviation over the folds, per vertebra; mean_dice, mean_deviation: of the
    folds' means. films: how many were held back, each of them once. film_dice: mean over them, with the 95 % bootstrap
    interval. The best epoch is chosen on the films that it is scored on, so all are a little too high.
    """

    folds: list[FoldScore]
    dice: list[float]
    deviation: list[float]
    mean_dice: float
    mean_deviation: float
    films: int
    film_dice: float
    interval: Interval


def fold_folder(out: Path, fold: int) -> Path:
    """Where the run of one fold is."""
    return out / f"fold-{fold}"


def cross_validate(config: TrainConfig, *, transform: Transform | None = None) -> FoldsSummary:
    """Train config.folds times and write each run into out/fold-1, ..., out/folds.csv, folds.json and report.html.

    With config.resume, folds that were finished are only read and the one cut short goes on.
    transform: as in `train`. Raises BadInput as `train` does.
    """
    config = _named(validated(config))
    if not config.resume and any(fold_folder(config.out, fold).exists() for fold in range(1, config.folds + 1)):
        raise BadInput("expected an output folder without folds, got one that has some; set --resume or another --out")
    films = labelled_films(config.data)
    folds = folds_of(films, config)
    accelerator, scores = make_accelerator(config), list[FoldScore]()
    if accelerator.is_main_process:
        _write_folds(config.out, [film.name for film in films], folds)
    for fold in range(1, config.folds + 1):
        out = fold_folder(config.out, fold)
        if accelerator.is_main_process:
            print(f"fold {fold} of {config.folds}")
        started = config.resume and any((out / state).exists() for state in ("state", "state.old"))
        accelerator.wait_for_everyone()
        accelerator = make_accelerator(config)
        one = replace(config, fold=fold, out=out, name=f"{config.name}-{fold}", resume=started)
        train(one, accelerator, transform=transform)
        accelerator.free_memory()
        accelerator.wait_for_everyone()
        scores.append(_score(out, fold))
        if accelerator.is_main_process:
            _write_summary(config, summarise(scores, _held_back(config.out, fold)))
    accelerator.end_training()
    return summarise(scores, _held_back(config.out, config.folds))


def _named(config: TrainConfig) -> TrainConfig:
    """The configuration with what `fit.fitted` would choose by the folder of all folds."""
    name = config.name or config.out.resolve().name
    return replace(config, name=name, cache=config.cache or config.out.parent / CACHE)


def _score(out: Path, fold: int) -> FoldScore:
    best = best_of(read_history(out))
    assert best is not None, "a run that ended has an epoch"
    return FoldScore(fold, best.epoch, len(read_films(out / BEST_FILMS)), best.dice, best.mean_dice)


def _held_back(out: Path, folds: int) -> dict[str, list[float]]:
    """Dice of every film of the first folds, each when it was held back."""
    tables = [read_films(fold_folder(out, fold) / BEST_FILMS) for fold in range(1, folds + 1)]
    return {name: dice for table in tables for name, dice in table.items()}


def summarise(scores: Sequence[FoldScore], films: dict[str, list[float]], seed: int = 0) -> FoldsSummary:
    """The folds' figures together; films: Dice of each film held back. seed: of the bootstrap."""
    columns = [[score.dice[k] for score in scores] for k in range(len(VERTEBRAE))]
    means = [score.mean_dice for score in scores]
    film_means = [finite_mean(dice) for dice in films.values()]
    return FoldsSummary(
        list(scores),
        [finite_mean(column) for column in columns],
        [deviation(column) for column in columns],
        finite_mean(means),
        deviation(means),
        len(films),
        finite_mean(film_means),
        bootstrap_interval(film_means, seed),
    )


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation of the finite ones; NaN for fewer than two."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def describe_folds(summary: FoldsSummary) -> str:
    """The summary as lines for a terminal."""
    lines = [f"{'fold':10}{'films':>6}{'epoch':>6}" + "".join(f"{name:>7}" for name in (*VERTEBRAE, "mean"))]
    lines += [
        f"{score.fold:<10}{score.films:6}{score.epoch:6}" + "".join(f"{v:7.3f}" for v in (*score.dice, score.mean_dice))
        for score in summary.folds
    ]
    lines.append(f"{'mean':22}" + "".join(f"{v:7.3f}" for v in (*summary.dice, summary.mean_dice)))
    lines.append(f"{'deviation':22}" + "".join(f"{v:7.3f}" for v in (*summary.deviation, summary.mean_deviation)))
    low, high = summary.interval.low, summary.interval.high
    lines.append(f"Dice over {summary.films} films: {summary.film_dice:.3f} (95 % interval {low:.3f} to {high:.3f})")
    return "\n".join(lines)


def _write_folds(out: Path, names: Sequence[str], folds: Sequence[int]) -> None:
    """Which film is held back when. Of patients nothing is written."""
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / FOLDS, ("film", "fold"), zip(names, folds, strict=True))


def _write_summary(config: TrainConfig, summary: FoldsSummary) -> None:
    write_text(config.out / SUMMARY, json.dumps(nullified(asdict(summary)), indent=2, allow_nan=False) + "\n")
    write_text(config.out / PAGE, _page(config, summary))
    print(describe_folds(summary))


def _page(config: TrainConfig, summary: FoldsSummary) -> str:
    """The table, with a link to the page of each fold."""
    name = html.escape(config.name)
    links = "".join(f'<li><a href="fold-{s.fold}/{PAGE}">fold {s.fold}</a></li>' for s in summary.folds)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{name}: {config.folds} folds</title><style>{STYLE}</style></head><body>"
        f"<h1>{name}: {len(summary.folds)} of {config.folds} folds</h1>"
        f"<pre>{html.escape(describe_folds(summary))}</pre>"
        f"<p>Each fold at its best epoch, which was chosen on the same films.</p><ul>{links}</ul></body></html>\n"
    )
