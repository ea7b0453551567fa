"""cross_validation: every film is held back once, and the summary's figures are those of the folds."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from small import simulate_films, small_training

from spineseg.data.augment import AugmentConfig
from spineseg.film import BadInput
from spineseg.model.config import GridConfig
from spineseg.training import cross_validation as crossval
from spineseg.training.config import TrainConfig
from spineseg.training.cross_validation import (
    FoldScore,
    FoldsSummary,
    cross_validate,
    describe_folds,
    deviation,
    summarise,
)
from spineseg.training.history import read_films, read_history

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_films(tmp_path_factory.mktemp("films"), 7)


def tiny(films: Path, out: Path) -> TrainConfig:
    changes = {"augment": AugmentConfig.none(), "batch": 2, "warmup_steps": 0, "learning_rate": 1e-3, "folds": 3}
    return small_training(films, out, grid=GridConfig(rows=32, columns=32), epochs=2, **changes)


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FoldsSummary]:
    AcceleratorState._reset_state(True)
    out = tmp_path_factory.mktemp("folds") / "run"
    return out, cross_validate(tiny(films, out))


def test_every_film_is_held_back_in_its_fold(trained: tuple[Path, FoldsSummary]):
    out, summary = trained
    with (out / "folds.csv").open(newline="") as stream:
        fold_of = {row["film"]: int(row["fold"]) for row in csv.DictReader(stream)}
    assert len(fold_of) == summary.films == 7
    for fold in (1, 2, 3):
        held = read_films(out / f"fold-{fold}" / "best.csv")
        assert set(held) == {film for film, number in fold_of.items() if number == fold}
    assert sorted(score.films for score in summary.folds) == [2, 2, 3]


def test_the_summary_is_that_of_the_best_epochs(trained: tuple[Path, FoldsSummary]):
    out, summary = trained
    best = [max(report.mean_dice for report in read_history(out / f"fold-{fold}")) for fold in (1, 2, 3)]
    assert [score.mean_dice for score in summary.folds] == best
    assert summary.mean_dice == pytest.approx(sum(best) / 3)
    stored = json.loads((out / "folds.json").read_text())
    assert stored["mean_dice"] == summary.mean_dice
    page = (out / "report.html").read_text()
    assert [f'href="fold-{fold}/report.html"' in page for fold in (1, 2, 3, 4)] == [True] * 3 + [False]
    assert f"{summary.film_dice:.3f}" in page and "http" not in page.replace("http-equiv", "")
    assert (out / "fold-2" / "report.html").exists()


def unchanged(image: Any, targets: Any, inside: Any, _: Any) -> Any:
    return image, targets, inside


def test_folds_are_gone_on_with(films: Path, trained: tuple[Path, FoldsSummary], tmp_path: Path):
    """Cut short in the second fold; the sum of both pieces is the whole."""
    out, summary = trained
    config = tiny(films, tmp_path / "run")
    train, calls = crossval.train, []

    def cut(config: TrainConfig, accelerator: Any, *, transform: object) -> object:
        calls.append((config.fold, transform))
        if len(calls) == 2:
            train(replace(config, stop_after=1), accelerator, transform=unchanged)
            raise KeyboardInterrupt
        return train(config, accelerator, transform=unchanged)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "train", cut)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(config, transform=unchanged)
    assert calls == [(1, unchanged), (2, unchanged)]
    with pytest.raises(BadInput, match=r"^expected an output folder without folds, got one that has some"):
        cross_validate(config)
    AcceleratorState._reset_state(True)
    again = cross_validate(replace(config, resume=True))
    assert [score.fold for score in again.folds] == [1, 2, 3]
    assert again.mean_dice == pytest.approx(summary.mean_dice, abs=1e-3)
    for fold in (1, 2, 3):
        one, other = (read_history(folder / f"fold-{fold}") for folder in (out, tmp_path / "run"))
        assert [r.train_loss for r in one] == pytest.approx([r.train_loss for r in other], rel=1e-5)


def test_the_summary_by_hand():
    nan = math.nan
    scores = [
        FoldScore(1, 4, 2, [0.8, 0.6, 1.0, 1.0, 1.0, nan], 0.88),
        FoldScore(2, 5, 1, [0.6, 0.6, 1.0, 1.0, 1.0, 0.5], 0.78),
    ]
    films = {"a": [0.5] * 6, "b": [0.7] * 5 + [nan], "c": [nan] * 6}
    summary = summarise(scores, films)
    assert summary.dice == pytest.approx([0.7, 0.6, 1, 1, 1, 0.5])
    assert summary.deviation[:2] == pytest.approx([0.02**0.5, 0]) and math.isnan(summary.deviation[5])
    assert (summary.mean_dice, summary.mean_deviation) == pytest.approx((0.83, 0.005**0.5))
    assert (summary.films, summary.film_dice) == (3, pytest.approx(0.6))
    assert (summary.interval.low, summary.interval.high) == pytest.approx((0.5, 0.7))
    lines = describe_folds(summary).splitlines()
    assert lines[1] == "1              2     4  0.800  0.600  1.000  1.000  1.000    nan  0.880"
    assert lines[3].split()[0] == "mean" and lines[-1].startswith("Dice over 3 films: 0.600 (95 % interval 0.500 to")


def test_one_value_has_no_deviation():
    assert math.isnan(deviation([0.5, math.nan]))
    assert deviation([1.0, 3.0]) == pytest.approx(2**0.5)
