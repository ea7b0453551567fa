"""history: figures worked out by hand, and what is written reads back, figures that there are none of included."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spineseg.film import BadInput
from spineseg.training.history import (
    FILM_COLUMNS,
    HISTORY,
    EpochReport,
    EpochScores,
    best_of,
    describe,
    epochs_done,
    finite_mean,
    out_of_patience,
    read_films,
    read_history,
    summary,
    write_films,
    write_history,
)

REPORT = EpochReport(3, 0.5, 0.25, [0.5] * 5 + [math.nan], (np.eye(7, 6) * 0.75).tolist(), 1e-3, 12.4)


def reports(*means: float) -> list[EpochReport]:
    return [replace(REPORT, epoch=epoch, dice=[mean] * 6) for epoch, mean in enumerate(means)]


def test_the_response_matrix_is_the_mean_probability_on_each_vertebra():
    scores = EpochScores(6)
    targets = torch.zeros(2, 6, 12, 4)
    for k in range(6):
        targets[:, k, 2 * k : 2 * k + 2] = 1
    probability = targets * 0.75
    probability[1, 0] = 0.25
    scores.add(0.5, probability, targets)
    assert scores.loss == 0.5
    assert scores.dice == pytest.approx([0.5, 1, 1, 1, 1, 1])
    assert np.array_equal(scores.film_dice, [[1] * 6, [0, 1, 1, 1, 1, 1]])
    expected = np.eye(6) * 0.75
    expected[0] = 0.125
    expected[0, 0] = 0.5
    assert np.allclose(scores.response, expected)


def test_batches_of_unlike_size_count_by_their_films():
    scores = EpochScores(6)
    targets = torch.ones(3, 6, 2, 2)
    scores.add(1.0, targets, targets)
    scores.add(5.0, targets[:1] * 0, targets[:1])
    assert scores.loss == 2
    assert scores.dice == [0.75] * 6
    assert scores.film_dice.shape == (4, 6)


def test_a_vertebra_on_no_film_has_no_dice():
    scores = EpochScores(6)
    targets = torch.zeros(1, 6, 4, 4)
    scores.add(0.0, targets, targets)
    assert np.isnan(scores.dice).all()
    assert replace(REPORT, dice=scores.dice).mean_dice == 0


def test_the_history_reads_back_and_is_json_to_anyone(tmp_path: Path):
    odd = replace(REPORT, epoch=4, validation_loss=math.nan, dice=[math.nan] * 6)
    write_history(tmp_path, [REPORT, odd])
    lines = (tmp_path / HISTORY).read_text().splitlines()

    def refuse(word: str) -> float:
        raise ValueError(word)

    stored = [json.loads(line, parse_constant=refuse) for line in lines]
    assert stored[0]["dice"] == [0.5] * 5 + [None]
    assert (stored[1]["validation_loss"], stored[1]["dice"]) == (None, [None] * 6)
    for before, after in zip([REPORT, odd], read_history(tmp_path), strict=True):
        assert np.array_equal(before.dice, after.dice, equal_nan=True)
        assert str(before) == str(after)
    json.dumps(summary(odd), allow_nan=False)


@pytest.mark.parametrize("text", ["{", '{"epoch": 1}', "[1]"])
def test_another_history_is_refused(tmp_path: Path, text: str):
    with pytest.raises(BadInput, match=r"^expected a training run, found no history"):
        read_history(tmp_path)
    (tmp_path / HISTORY).write_text(text)
    with pytest.raises(BadInput, match=r"^expected the history of a run, got another"):
        read_history(tmp_path)


def test_films_read_back(tmp_path: Path):
    dice = np.array([[0.5, 1, 0.25, math.nan, 0, 0.75], [math.nan] * 6])
    write_films(tmp_path / "best.csv", ["a, b", "c"], dice)
    lines = (tmp_path / "best.csv").read_text().splitlines()
    assert lines[0] == ",".join(FILM_COLUMNS)
    assert lines[1:] == ['"a, b",0.5000,1.0000,0.2500,,0.0000,0.7500,0.5000', "c,,,,,,,"]
    read = read_films(tmp_path / "best.csv")
    assert list(read) == ["a, b", "c"]
    assert np.array_equal(list(read.values()), dice, equal_nan=True)
    (tmp_path / "best.csv").write_text("film,L1\na,much\n")
    with pytest.raises(BadInput, match=r"^expected a table of films as train writes it"):
        read_films(tmp_path / "best.csv")


def test_the_best_epoch_is_the_first_with_the_highest_dice():
    best = best_of(reports(0.1, 0.7, 0.3, 0.7))
    assert best is not None and best.epoch == 1
    assert best_of([]) is None


def test_before_any_vertebra_is_found_the_lowest_loss_is_best_and_it_is_said():
    losses = (0.9, 0.5, 0.7)
    pairs = zip(reports(0.0, 0.0, 0.0), losses, strict=True)
    nothing = [replace(report, validation_loss=loss) for report, loss in pairs]
    best = best_of(nothing)
    assert best is not None and best.epoch == 1
    assert "no vertebra found yet" in describe(best) and "mean Dice" not in describe(best)
    assert "mean Dice 0.500" in describe(REPORT)


def test_epochs_count_from_one_after_the_start():
    start = replace(REPORT, epoch=0, train_loss=math.nan)
    assert (epochs_done([]), epochs_done([start]), epochs_done([start, replace(REPORT, epoch=1)])) == (0, 0, 1)
    assert describe(start).startswith("before training: held back 0.2500, mean Dice 0.500")
    assert describe(REPORT).startswith("epoch 3: loss 0.5000, held back 0.2500")


@pytest.mark.parametrize(
    ("means", "expected"),
    [((), False), ((0.5,), False), ((0.5, 0.4), False), ((0.5, 0.5, 0.5), True), ((0.5, 0.4, 0.6), False)],
)
def test_patience_is_counted_from_the_best_epoch(means: tuple[float, ...], expected: bool):
    assert out_of_patience(reports(*means), 2) is expected
    assert not out_of_patience(reports(*means), None)


def test_means_leave_out_what_is_not_there():
    assert finite_mean([1.0, math.nan, 2.0]) == 1.5
    assert math.isnan(finite_mean([math.nan]))
