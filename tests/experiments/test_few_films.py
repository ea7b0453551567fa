"""What few films give: how films are dealt out, and the benchmark's smallest form from films to page."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from benchmarks import few_films
from benchmarks.few_films import SMOKE, Budget, films_of, training, write_folder
from spineseg.data.split import split_films
from spineseg.io.folder import BadDataset, labelled_films, write_case
from spineseg.model.card import Card
from spineseg.model.checkpoint import save_checkpoint
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.model.unet import UNet
from spineseg.simulate import SimulateConfig, simulate_case

FILMS = 6
GRID = GridConfig(rows=64, columns=64)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated films under data, a small checkpoint, and what the benchmark makes of them under work."""
    folder = tmp_path_factory.mktemp("few-films")
    config = SimulateConfig(rows=128, aspect=(0.6, 0.8), crop_probability=0.0)
    for index in range(FILMS):
        write_case(folder / "data", simulate_case(3, index, config))
    torch.manual_seed(0)
    network = UNetConfig(in_channels=GRID.channels, features=(4, 8))
    save_checkpoint(folder / "small.safetensors", UNet(network), Card("small", grid=GRID, network=network))
    assert few_films.main(arguments(folder)) == 0
    return folder


def arguments(folder: Path) -> list[str]:
    paths = {"--data": "data", "--checkpoint": "small.safetensors", "--work": "work", "--docs": "docs"}
    return ["--smoke", *(word for key, name in paths.items() for word in (key, str(folder / name)))]


def rows(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "work" / "cells.jsonl").read_text().splitlines()]


def test_films_are_dealt_out_once(place: Path) -> None:
    films = films_of(place / "data", SMOKE)
    names = [film.name for part in (films.test, films.held_back, films.pool) for film in part]
    assert len(names) == len(set(names)) == SMOKE.test_films + SMOKE.held_back + max(SMOKE.counts)


def test_too_few_films_are_named(place: Path) -> None:
    with pytest.raises(BadDataset, match="expected at least 142 labelled films, got 6"):
        films_of(place / "data", Budget())


@pytest.mark.parametrize("count", SMOKE.counts)
def test_epochs_are_alike_whatever_the_count(place: Path, tmp_path: Path, count: int) -> None:
    films = films_of(place / "data", SMOKE)
    write_folder(films, count, SMOKE, tmp_path / "d")
    config = training("from nothing", SMOKE, place / "small.safetensors", tmp_path / "d", tmp_path / "o")
    labelled = labelled_films(tmp_path / "d")
    trained_on, held_back = split_films(labelled, config)
    assert len(trained_on) == SMOKE.passes
    with (tmp_path / "d" / "folds.csv").open(encoding="utf-8") as stream:
        film_of = {row["film"]: row["patient"] for row in csv.DictReader(stream)}
    assert {film_of[labelled[k].name] for k in trained_on} == {film.name for film in films.pool[:count]}
    assert {film_of[labelled[k].name] for k in held_back} == {film.name for film in films.held_back}


@pytest.mark.parametrize("count", Budget().counts)
def test_an_epoch_holds_each_film_equally_often(count: int) -> None:
    assert Budget().passes % count == 0 and Budget().passes % Budget().batch == 0


def test_each_arm_takes_its_steps_at_every_count(place: Path) -> None:
    made = rows(place)
    assert [(row["arm"], row["count"]) for row in made] == [
        ("as it is", 0),
        *((arm, count) for count in SMOKE.counts for arm in few_films.ARMS),
    ]
    assert {(row["arm"], len(row["loss"])) for row in made[1:]} == {(a, SMOKE.epochs_of(a)) for a in few_films.ARMS}
    assert SMOKE.steps("from nothing") == 2 * SMOKE.steps("fine-tuned") == 4
    assert all(0 <= row["dice"] <= 1 and row["tested"] == SMOKE.test_films for row in made)


def test_arms_differ_in_where_they_start_how_fast_and_how_long(place: Path) -> None:
    tuned, fresh = (training(a, SMOKE, place / "small.safetensors", place / "data", place) for a in few_films.ARMS)
    assert (tuned.init, fresh.init) == (place / "small.safetensors", None)
    same = replace(tuned, init=None, learning_rate=fresh.learning_rate, epochs=fresh.epochs, name=fresh.name)
    assert same == fresh


def test_a_second_run_trains_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(place)
    monkeypatch.setattr(few_films, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(few_films, "evaluate", lambda *_: pytest.fail("scored again"))
    assert few_films.main(arguments(place)) == 0
    assert rows(place) == before


def test_page_holds_what_was_measured(place: Path) -> None:
    text = (place / "docs" / "few-films.md").read_text(encoding="utf-8")
    for row in rows(place):
        assert f"{row['dice']:.3f}" in text
    curve = cv2.imread(str(place / "docs" / "few-films" / "curve.png"))
    assert curve is not None and curve.std() > 5
    assert str(place) not in text
