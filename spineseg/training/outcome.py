"""How a run ends: the films held back are scored at full size, and the start is kept where nothing was gained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spineseg.data.findings import counted
from spineseg.film import BadInput
from spineseg.io.folder import FilmFiles
from spineseg.model.card import read_card
from spineseg.model.checkpoint import load_checkpoint, save_checkpoint
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.fit import Parts
from spineseg.training.full_size import BEST, FOLDER, START, Score, score_films, verdict
from spineseg.training.history import HISTORY, NOTHING_FOUND, EpochReport, best_of
from spineseg.training.report import write_report
from spineseg.training.state import finished_epochs, last_state

_FEW = 10
"""Films held back, below which a gain or a loss of numbering on others goes unseen (experiments/few_films)."""


def conclude(config: TrainConfig, parts: Parts, reports: Sequence[EpochReport]) -> None:
    """Score the films held back at full size, keep the start where there is no gain, write the report, and say so."""
    best = best_of(reports)
    if best is None:
        return
    weights, held_back = config.out / BEST, parts.files(parts.held_back)
    start, trained = _scores(config, best, held_back)
    if start and trained and not trained.gains_over(start):
        keep_start(config, weights)
    found = f"mean Dice {best.mean_dice:.3f} on the grid" if best.mean_dice else NOTHING_FOUND
    print(f"best: epoch {best.epoch}, {found}, {weights}")
    print(verdict(start, trained))
    if len(held_back) < _FEW:
        print(f"{counted(len(held_back), 'film')} held back cannot guard the numbering; --folds 5 scores every film")
    print(f"curves, worst and best films: {write_report(config.out, config.architecture)}")


def _scores(
    config: TrainConfig, best: EpochReport, held_back: Sequence[FilmFiles]
) -> tuple[Score | None, Score | None]:
    """Of the checkpoint that training began with and of the best epoch; None where there is no such."""
    start = trained = None
    if config.start != SCRATCH:
        start = score_films(config.start, held_back, config.out / START, config.architecture)
    if best.epoch:
        trained = score_films(config.out / BEST, held_back, config.out / FOLDER, config.architecture)
    return start, trained


def keep_start(config: TrainConfig, weights: Path) -> None:
    """Put the checkpoint that training began with in the place of the best one."""
    assert config.start != SCRATCH
    network, _ = load_checkpoint(config.start, config.architecture)
    save_checkpoint(weights, network, read_card(config.start))


def leave_in_order(config: TrainConfig) -> None:
    """After Ctrl+C: say how to go on, and write the report of what there is."""
    out = config.out
    try:
        done = finished_epochs(last_state(out))
        how = f"go on after epoch {done} with: python -m spineseg train --config {out / 'config.json'} --resume"
    except BadInput:
        how = "no epoch was finished, so there is nothing to go on from"
    print(f"stopped; {how}")
    if (out / HISTORY).exists():
        print(f"curves so far: {write_report(out, config.architecture)}")
