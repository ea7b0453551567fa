"""What few films give: how films are dealt out, and the experiment's smallest form from films to page."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from small import write_checkpoint

from experiments.few_films import __main__ as few_films
from experiments.few_films.__main__ import (
    ARMS,
    PAGE,
    SMOKE,
    Budget,
    films_of,
    results_table,
    run_cells,
    training,
    write_folder,
)
from experiments.records import Row, fill, read_rows
from spineseg.data.split import split_films
from spineseg.io.folder import BadDataset, labelled_films, write_case
from spineseg.model.config import GridConfig
from spineseg.simulate import SimulateConfig
from spineseg.simulate import write_folder as simulate_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated films, a small checkpoint, and what the experiment makes of them."""
    folder = tmp_path_factory.mktemp("few-films")
    config = SimulateConfig(rows=128, aspect=(0.6, 0.8), crop_probability=0.0)
    simulate_folder(folder / "data", 6, 3, config, write=write_case)
    write_checkpoint(folder / "small.safetensors", grid=GridConfig(rows=64, columns=64))
    run(folder)
    return folder


def run(folder: Path) -> list[Row]:
    films = films_of(folder / "data", SMOKE)
    return run_cells(SMOKE, films, folder / "small.safetensors", folder / "work", folder / "cells.jsonl")


def test_films_are_dealt_out_once(place: Path) -> None:
    films = films_of(place / "data", SMOKE)
    names = [film.name for part in (films.test, films.held_back, films.pool) for film in part]
    assert len(names) == len(set(names)) == SMOKE.test_films + SMOKE.held_back + max(SMOKE.counts)
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


def test_each_arm_takes_its_steps_at_every_count(place: Path) -> None:
    made = read_rows(place / "cells.jsonl")
    assert [(row["arm"], row["count"]) for row in made] == [
        ("as it is", 0),
        *((arm, count) for count in SMOKE.counts for arm in ARMS),
    ]
    assert {(row["arm"], len(row["loss"])) for row in made[1:]} == {(arm, SMOKE.epochs_of(arm)) for arm in ARMS}
    assert all(0 <= row["dice"] <= 1 and row["tested"] == SMOKE.test_films for row in made)


def test_a_second_run_trains_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_rows(place / "cells.jsonl")
    monkeypatch.setattr(few_films, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(few_films, "evaluate", lambda *_: pytest.fail("scored again"))
    assert run(place) == before


def test_the_page_shows_the_stored_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, {"results": results_table(read_rows(PAGE.parent / "cells.jsonl"))}) == page
    assert page.count("| fine-tuned |") == len(Budget().counts)


def test_the_whole_command(place: Path) -> None:
    paths = {"--data": "data", "--checkpoint": "small.safetensors", "--work": "."}
    arguments = [word for key, name in paths.items() for word in (key, str(place / name))]
    assert few_films.main(["--smoke", *arguments]) == 0
    assert (place / "curve.png").stat().st_size > 5000
    assert f"{read_rows(place / 'cells.jsonl')[0]['dice']:.3f}" in (place / "README.md").read_text(encoding="utf-8")
