"""The report's experiment: what its cells are, what is measured, and its smallest form from films to page."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from small import rectangles

from experiments.the_report import __main__ as the_report
from experiments.the_report import recipes
from experiments.the_report.cells import (
    CORNERS,
    REPORT,
    REPORT_7,
    SMOKE,
    Budget,
    all_recipes,
    measure,
    simulated,
    test_set,
    training,
    transform_of,
)
from experiments.the_report.recipes import RecipeName, configuration, wrong_flips, wrong_flips_and_background
from experiments.the_report.results import Results, reading, verdict
from experiments.the_report.tables import PAGE, write_page
from spineseg.data.augment import AugmentConfig
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import CHECK
from spineseg.io.films import read_film
from spineseg.io.folder import labelled_films
from spineseg.model.card import read_card
from spineseg.model.losses import BadTarget, check_targets
from spineseg.training.config import TrainConfig, validated

test_set.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test

TINY = replace(SMOKE, films=18, test_films=2)
RUN = (REPORT, REPORT_7, replace(REPORT, loss="dice"))


@pytest.mark.parametrize("name", ["report-6", "report-7"])
def test_the_recipes_are_the_report_s(name: RecipeName) -> None:
    config = configuration(name, Path("d"), Path("o"))
    assert validated(config) == config
    assert (config.grid.rows, config.grid.columns, config.grid.keep_aspect) == (1024, 1024, False)
    assert (config.augment, config.check_targets) == (AugmentConfig.none(), False)
    assert (config.loss, config.optimiser, config.learning_rate) == ("bce", "adam", 1e-3)
    assert (config.batch, config.accumulate, config.epochs, config.precision) == (2, 1, 100, "no")
    assert (config.schedule, config.warmup_steps, config.average) == ("constant", 0, 0)
    assert (config.weight_decay, config.clip_norm, config.decoder) == (0, 0, "none")
    assert round(120 * (config.validation or 0)) == 20
    assert "repeats on purpose what failed in the report" in config.description


def targets_of(channels: int) -> np.ndarray:
    """Six bodies one below the other, of an image that tells its own rows apart."""
    six = spine()[0].astype(np.float32)
    return np.concatenate([six, 1 - six.max(0, keepdims=True)])[:channels]


class Coin(np.random.Generator):
    """Falls as it is told to, True for a flip."""

    def __init__(self, *sides: bool) -> None:
        super().__init__(np.random.PCG64(0))
        self.sides = list(sides)

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return 0.0 if self.sides.pop(0) else 1.0


@pytest.mark.parametrize(("rows_turn", "channels_turn"), [*product((False, True), repeat=2)])
@pytest.mark.parametrize("channels", [6, 7])
def test_the_wrong_flips_turn_rows_and_channels(rows_turn: bool, channels_turn: bool, channels: int) -> None:
    """Half of the labels then run from tail to head, which any other training refuses."""
    targets = targets_of(channels)
    image = np.arange(targets[0].size, dtype=np.float32).reshape(targets[0].shape)
    shown, turned, inside = wrong_flips(image, targets, image < 40, Coin(rows_turn, channels_turn))
    rows, order = (slice(None, None, -1 if turn else 1) for turn in (rows_turn, channels_turn))
    assert np.array_equal(shown, image[rows]) and np.array_equal(inside, (image < 40)[rows])
    assert np.array_equal(turned, targets[order, rows])
    if rows_turn != channels_turn:
        with pytest.raises(BadTarget, match=r"^expected L1 above S1"):
            check_targets(torch.from_numpy(turned.copy())[None])


def test_the_background_of_report_7_is_255_and_is_refused_elsewhere() -> None:
    targets = targets_of(7)
    _, wrong, _ = wrong_flips_and_background(targets[0], targets, targets[0] > 0, Coin(False, False))
    assert np.array_equal(wrong[:6], targets[:6]) and np.array_equal(wrong[6], 255 * targets[6])
    with pytest.raises(BadTarget, match=r"^expected targets within 0\.\.1, got 0 to 255"):
        check_targets(torch.from_numpy(wrong)[None])


@pytest.mark.parametrize(("name", "transform"), [*recipes.TRANSFORMS.items()])
def test_the_command_trains_a_recipe_with_its_mistakes(
    name: str, transform: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[TrainConfig, object]] = []
    monkeypatch.setattr(the_report, "train", lambda config, transform: begun.append((config, transform)))
    paths = ["--data", "d", "--out", "o"]
    assert the_report.main(["train", name, *paths, "--grid.rows", "512"]) == 0
    config = configuration(name, Path("d"), Path("o"))  # type: ignore[arg-type]
    assert begun == [(replace(config, grid=replace(config.grid, rows=512)), transform)]


def simulated_before(work: Path) -> tuple[Path, Path]:
    return simulated(TINY, work, 1, lambda *_, **__: pytest.fail("simulated again"))


def test_cells_train_as_the_report_did_but_for_what_they_are_about() -> None:
    names = [recipe.name for recipe in all_recipes()]
    assert len(names) == len(set(names)), "each once"
    ours, theirs = training(REPORT, Budget(), Path("d"), Path("o")), configuration("report-6", Path("d"), Path("o"))
    alike = ("augment", "loss", "optimiser", "learning_rate", "weight_decay", "schedule", "average", "clip_norm")
    for name in alike:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.network.prior == theirs.network.prior
    assert (ours.decoder, ours.check_targets) == (theirs.decoder, theirs.check_targets) == ("none", False)
    assert (transform_of(REPORT), transform_of(REPORT_7)) == tuple(recipes.TRANSFORMS.values())
    right = training(CORNERS[3], Budget(), Path("d"), Path("o"))
    assert transform_of(CORNERS[3]) is None and right.augment.flip_probability == 0.5 and right.check_targets


# What is measured


def spine() -> np.ndarray:
    """Two films of six squares, one below the other."""
    return np.stack([rectangles((60, 20), 1, 10, 8, 4, 12)] * 2)


def said_like(kind: str) -> np.ndarray:
    bone = spine().astype(np.float32)
    whole = bone.sum(1, keepdims=True)
    return {
        "diagonal": 0.9 * bone,
        "X": 0.49 * bone + 0.48 * bone[:, ::-1],
        "band": np.repeat(whole, 6, axis=1) * np.linspace(0.19, 0.2, 6, dtype=np.float32)[:, None, None],
        "nothing": np.full_like(bone, 0.01),
    }[kind]


def row_of(kind: str) -> dict:
    return asdict(measure(said_like(kind), spine()))


@pytest.mark.parametrize(
    ("kind", "dice", "union", "named", "words", "apart"),
    [
        ("diagonal", 1.0, 1.0, 1.0, "a diagonal", "yes"),
        ("X", 0.0, 1.0, 1.0, "a diagonal", "yes"),
        ("band", 0.0, 1.0, 1 / 6, "an even band", "no"),
        ("nothing", 0.0, 0.0, 1 / 6, "bone is not found", "no bone found"),
    ],
)
def test_a_matrix_is_measured_and_named(
    kind: str, dice: float, union: float, named: float, words: str, apart: str
) -> None:
    row = row_of(kind)
    assert row["dice"] == pytest.approx([dice] * 6) and row["union"] == pytest.approx(union)
    assert row["named"] == pytest.approx(named, abs=1e-3)
    assert reading(row) == words and verdict([row]) == apart


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder after the smallest experiment."""
    folder = tmp_path_factory.mktemp("the-report")
    the_report.run_cells(RUN, results_in(folder), folder)
    return folder


def results_in(folder: Path, budget: Budget = TINY) -> Results:
    return Results(folder / "cells.jsonl", budget)


def test_each_training_gives_a_short_and_a_long_cell(work: Path) -> None:
    results = results_in(work)
    assert len(results.rows) == 2 * len(RUN)
    for recipe in RUN:
        short, long = results.find(recipe, "short"), results.find(recipe, "long")
        assert short and long
        assert long["steps"] == 2 * short["steps"] > 0
        assert long["loss"][: len(short["loss"])] == short["loss"]
        assert short["level_px"] > 0 and short["receptive_field_px"] == 36


def test_loss_of_seven_channels_falls_below_that_of_six(work: Path) -> None:
    results = results_in(work)
    seven, six = results.find(REPORT_7), results.find(REPORT)
    assert seven and six and min(seven["loss"]) < 0 < min(six["loss"])


def test_a_second_run_trains_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_report, "cell", lambda *_: pytest.fail("trained again"))
    the_report.run_cells(RUN, results_in(work), work)


def test_the_page_shows_the_stored_cells(tmp_path: Path) -> None:
    write_page(Results(PAGE.parent / "cells.jsonl", Budget()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_every_picture_is_drawn(work: Path, tmp_path: Path) -> None:
    the_report.draw(results_in(work), work, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(re.findall(r"\((\S+\.png)\)", PAGE.read_text("utf-8")))
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 5000


def test_exported_network_names_no_decoder_and_predicts(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "report-6.safetensors"
    the_report.export(results_in(work), work, path)
    card = read_card(path)
    assert (card.name, card.decoder) == ("report-6", "none")
    assert str(work) not in path.with_suffix(".json").read_text(encoding="utf-8")
    prediction = Segmenter.load(path, "cpu")(read_film(labelled_films(simulated_before(work)[1])[0].film))
    assert prediction.probabilities.shape == (6, TINY.grid.rows, TINY.grid.columns)
    assert prediction.levels.verdict == CHECK
