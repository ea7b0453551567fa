"""What few films give: how films are dealt out, and the experiment's smallest form from films to page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small import write_checkpoint

from experiments.few_films import __main__ as few_films
from experiments.few_films.__main__ import (
    AS_IT_IS,
    MENDED,
    MONAI,
    PAGE,
    SMOKE,
    TUNED,
    Budget,
    films_of,
    results_table,
    run_cells,
    write_folder,
)
from experiments.few_films.other_films import other
from experiments.records import Row, fill, read_rows
from spineseg.inference.segmenter import Segmenter
from spineseg.io.films import read_film
from spineseg.io.folder import BadDataset, labelled_films, read_case, write_case
from spineseg.model.config import GridConfig
from spineseg.simulate import SimulateConfig, simulate_case
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
    names = [film.name for part in (films.test, films.pool) for film in part]
    assert len(names) == len(set(names)) == SMOKE.test_films + max(SMOKE.counts)
    with pytest.raises(BadDataset, match="expected at least 140 labelled films, got 6"):
        films_of(place / "data", Budget())


def test_larger_folders_hold_the_films_of_smaller_ones(place: Path, tmp_path: Path) -> None:
    films = films_of(place / "data", SMOKE)
    for count in SMOKE.counts:
        write_folder(films, count, tmp_path / str(count))
    few, more = ({film.name for film in labelled_films(tmp_path / str(count))} for count in SMOKE.counts)
    assert few < more == {film.name for film in films.pool}


def test_those_to_check_first_are_mended_with_their_true_masks(place: Path) -> None:
    films, checkpoint = films_of(place / "data", SMOKE), place / "small.safetensors"
    segmenter = Segmenter.load(checkpoint)
    order = [segmenter(read_film(film.film)).levels.review_order for film in films.unmended]
    expected = [read_case(films.unmended[k]) for k in np.argsort(order, kind="stable")[:2]]
    few_films.collect(films, 2, place / "collected", checkpoint)
    made = [read_case(film) for film in labelled_films(place / "collected")]
    for case in expected:
        (same,) = (one for one in made if np.array_equal(one.film.image, case.film.image))
        assert np.array_equal(same.masks, case.masks)


def test_each_count_has_its_row(place: Path) -> None:
    made = read_rows(place / "cells.jsonl")
    assert [(row["arm"], row["count"]) for row in made] == [
        (AS_IT_IS, 0),
        *((TUNED, count) for count in SMOKE.counts),
        *((MONAI, count) for count in SMOKE.compared),
        *((MENDED, count) for count in SMOKE.mended),
    ]
    assert all(len(row["loss"]) == SMOKE.epochs for row in made if row["arm"] in (TUNED, MENDED))
    assert all(0 <= row["dice"] <= 1 and row["tested"] == SMOKE.test_films for row in made)


def test_other_films_have_another_look_and_other_labels() -> None:
    case = simulate_case(3, 0, SimulateConfig(rows=256, crop_probability=0.0))
    made = other(case, np.random.default_rng(0))
    assert not np.allclose(made.film.image, case.film.image) and 0 <= made.film.image.min() <= made.film.image.max()
    assert made.film.image.max() <= 4095 and (made.masks.sum(0) <= 1).all()
    areas, before = made.masks.sum((1, 2)), case.masks.sum((1, 2))
    assert (areas[:5] > before[:5]).all() and areas[5] < 0.9 * before[5]


def test_a_second_run_trains_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_rows(place / "cells.jsonl")
    monkeypatch.setattr(few_films, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(few_films, "evaluate", lambda *_: pytest.fail("scored again"))
    assert run(place) == before


def test_the_page_shows_the_stored_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, {"results": results_table(read_rows(PAGE.parent / "cells.jsonl"))}) == page
    assert page.count("| fine-tuned |") >= 1


def test_the_whole_command(place: Path) -> None:
    paths = {"--data": "data", "--checkpoint": "small.safetensors", "--work": "."}
    arguments = [word for key, name in paths.items() for word in (key, str(place / name))]
    assert few_films.main(["--smoke", *arguments]) == 0
    assert f"{read_rows(place / 'cells.jsonl')[0]['dice']:.3f}" in (place / "README.md").read_text(encoding="utf-8")
