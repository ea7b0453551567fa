"""The report's experiment: what its cells are, what is measured, and its smallest form from films to page."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import the_report
from benchmarks.charts import Axis
from benchmarks.report.cells import (
    CORNERS,
    PATCH,
    REPORT,
    REPORT_7,
    SMOKE,
    WIDE,
    Budget,
    all_recipes,
    level_px,
    measure,
    run_folder,
    simulated,
    test_set,
    trained,
    training,
)
from benchmarks.report.results import Results, own_and_mirrored, reading, verdict
from spineseg.inference.segmenter import Segmenter
from spineseg.model.card import read_card
from spineseg.model.config import receptive_field
from spineseg.model.losses import LOSSES
from spineseg.model.unet import UNet
from spineseg.training.config import preset

test_set.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test

TINY = replace(SMOKE, films=18, test_films=2)
RUN = (REPORT, REPORT_7, replace(REPORT, loss="dice"))


# What is crossed


def test_every_cell_of_the_issue_is_there_once() -> None:
    recipes = all_recipes()
    names = [recipe.name for recipe in recipes]
    assert len(names) == len(set(names))
    for flips, context, loss in product(("right", "report"), ("small", "whole"), LOSSES):
        assert f"{flips}-{context}-{loss}-seed0" in names
    rates = {
        (r.optimiser, r.learning_rate) for r in recipes if (r.flips, r.context, r.loss) == ("report", "small", "bce")
    }
    assert rates == set(product(("adam", "sgd"), (1e-3, 1e-4)))
    assert {f"{r.flips}-{r.context}-bce-seed1" for r in CORNERS} <= set(names)
    assert WIDE in recipes and REPORT_7 in recipes


def test_cells_train_as_the_report_did_but_for_what_they_are_about() -> None:
    ours, theirs = training(REPORT, Budget(), Path("d"), Path("o")), preset("report-6", Path("d"), Path("o"))
    alike = (
        "augment",
        "loss",
        "optimiser",
        "learning_rate",
        "weight_decay",
        "schedule",
        "average",
        "clip_norm",
        "targets",
    )
    for name in alike:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.network.prior == theirs.network.prior and ours.decoder == "none"


# Context


def seen(network: UNet, rows: int, columns: int, at: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the input that one logit depends on."""
    image = torch.randn(1, 1, rows, columns, requires_grad=True)
    network.eval()(image)[0, :, at[0], at[1]].sum().backward()
    touched = image.grad[0, 0].abs().numpy() > 0  # type: ignore[index]
    found = (np.flatnonzero(touched.any(axis)) for axis in (1, 0))
    down, across = (slice(int(k[0]), int(k[-1]) + 1) for k in found)
    return down, across


def test_small_context_is_local_and_as_wide_as_it_says() -> None:
    torch.manual_seed(0)
    down, across = seen(UNet(REPORT.network), 128, 128, (32, 32))
    limit = receptive_field(REPORT.network)
    assert limit * 0.7 <= down.stop - down.start <= limit and across.stop - across.start <= limit
    assert down.start < 32 * PATCH < down.stop


def test_whole_context_sees_the_film_from_its_corner() -> None:
    torch.manual_seed(0)
    grid = Budget().grid
    down, across = seen(UNet(CORNERS[1].network), grid.rows, grid.columns, (0, 0))
    assert (down, across) == (slice(0, grid.rows), slice(0, grid.columns))


# What is measured


def spine() -> np.ndarray:
    """Two films of six squares, one below the other."""
    true = np.zeros((2, 6, 60, 20), bool)
    for k in range(6):
        true[:, k, 10 * k + 1 : 10 * k + 9, 4:16] = True
    return true


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


def test_a_matrix_that_is_symmetric_is_no_diagonal() -> None:
    near = np.clip(1 - np.abs(np.subtract.outer(range(6), range(6))) / 2, 0.1, 1)
    row = {"union": 1.0, "named": 0.3, "response": near.tolist()}
    assert reading(row) == "a blurred diagonal"
    assert reading({**row, "response": (near + near[::-1]).tolist()}) == "a blurred X"


def test_response_and_correlation_of_known_channels() -> None:
    band, nothing, crossed = row_of("band"), row_of("nothing"), row_of("X")
    assert np.array(band["response"]) == pytest.approx(np.linspace(0.19, 0.2, 6)[:, None] * np.ones((6, 6)), abs=1e-3)
    assert np.array(band["correlation"]) == pytest.approx(np.ones((6, 6)), abs=1e-3)
    assert nothing["correlation"] == [[None] * 6] * 6
    assert own_and_mirrored(crossed) == pytest.approx((0.49 / 0.97, 0.48 / 0.97), abs=1e-3)


def test_an_x_is_an_x_where_chance_decides_between_the_two() -> None:
    said = said_like("X")
    said[:, :, ::2] = said[:, ::-1, ::2]  # every other row the wrong one of the pair is the stronger
    row = asdict(measure(said, spine()))
    assert row["named"] == pytest.approx(0.5, abs=0.01)
    assert reading(row) == "an X" and verdict([row]) == "no"


def test_no_verdict_without_cells() -> None:
    assert verdict([]) == "not measured"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1270, 0.7), (1, 20), (0, 0.03)])
def test_axis_has_some_round_ticks(low: float, high: float) -> None:
    ticks = Axis("", low, high).ticks()
    assert 2 <= len(ticks) <= 7 and low <= min(ticks) and max(ticks) <= high


# From films to page


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder after the smallest experiment, its page under docs."""
    folder = tmp_path_factory.mktemp("the-report")
    results = Results.open(folder, TINY)
    the_report.run_cells(RUN, results, folder)
    the_report.write_page(results, folder, folder / "docs")
    return folder


def test_each_training_gives_a_short_and_a_long_cell(work: Path) -> None:
    results = Results.open(work, TINY)
    assert len(results.rows) == 2 * len(RUN)
    for recipe in RUN:
        short, long = results.find(recipe, "short"), results.find(recipe, "long")
        assert short and long
        assert long["steps"] == 2 * short["steps"] > 0
        assert long["loss"][: len(short["loss"])] == short["loss"]
        assert short["level_px"] > 0 and short["receptive_field_px"] == 36


def test_loss_of_seven_channels_falls_below_that_of_six(work: Path) -> None:
    results = Results.open(work, TINY)
    seven, six = results.find(REPORT_7), results.find(REPORT)
    assert seven and six and min(seven["loss"]) < 0 < min(six["loss"])


def test_a_second_run_trains_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_report, "cell", lambda *_: pytest.fail("trained again"))
    the_report.run_cells(RUN, Results.open(work, TINY), work)


def test_other_settings_are_other_cells(work: Path) -> None:
    assert Results.open(work, replace(TINY, long_epochs=9)).rows == []
    assert Results.open(work, TINY).find(replace(REPORT, seed=1)) is None
    assert run_folder(REPORT, TINY, work) != run_folder(REPORT, replace(TINY, batch=2), work)


def test_a_training_past_its_length_starts_anew(work: Path, tmp_path: Path) -> None:
    data, _ = simulated(TINY, work, 1, lambda *_, **__: pytest.fail("simulated again"))
    out = shutil.copytree(run_folder(REPORT, TINY, work), tmp_path / "run")
    reports = trained(REPORT, TINY, "short", data, out)
    short = Results.open(work, TINY).find(REPORT, "short")
    assert short and [report.train_loss for report in reports] == pytest.approx(short["loss"], abs=1e-5)


def test_level_is_derived_from_the_masks(work: Path) -> None:
    _, folder = simulated(TINY, work, 1, lambda *_, **__: pytest.fail("simulated again"))
    films = test_set(TINY, folder)
    spine_px = [np.argwhere(films[k][1].sum(0).numpy() > 0.5)[:, 0] for k in range(len(films))]
    height = np.mean([rows.max() - rows.min() for rows in spine_px]) * PATCH
    assert height / 7 < level_px(films) < height / 4


def test_page_holds_what_was_measured(work: Path) -> None:
    text = (work / "docs" / "the-report.md").read_text(encoding="utf-8")
    row = Results.open(work, TINY).find(replace(REPORT, loss="dice"))
    assert row and f"| report-small-dice-seed0-long | {row['steps']} | {row['loss'][-1]:.4f} |" in text
    assert not re.search(r"\{[a-z_]+\}", text)
    assert "not measured" in text  # the other corners
    for name in re.findall(r"\((the-report/[^)]+)\)", text):
        assert (work / "docs" / name).stat().st_size > 0


@pytest.mark.parametrize("name", ["losses", "corners", "curves", "below-zero", "channels"])
def test_pictures_show_something(work: Path, name: str) -> None:
    picture = cv2.imread(str(work / "docs" / "the-report" / f"{name}.png"))
    assert picture is not None and picture.shape[1] > 300 and picture.std() > 5


def test_exported_network_names_no_decoder_and_predicts(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "report-6.safetensors"
    the_report.export(Results.open(work, TINY), work, path)
    card = read_card(path)
    assert (card.name, card.decoder) == ("report-6", "none")
    assert str(work) not in path.with_suffix(".json").read_text(encoding="utf-8")
    shown = the_report.shown(REPORT, TINY, work)
    assert shown
    prediction = Segmenter.load(path, "cpu")(shown.film)
    assert prediction.probabilities.shape == (6, TINY.grid.rows, TINY.grid.columns)
    assert prediction.levels.verdict == "unsure"


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the experiment first"):
        the_report.export(Results.open(tmp_path, TINY), tmp_path, tmp_path / "x.safetensors")
