"""fit: what a run leaves open follows from where it starts and how many films there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import GRID, TINY, write_checkpoint

from spineseg.data.split import fitting_share
from spineseg.film import BadInput
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.training.config import SCRATCH, TrainConfig
from spineseg.training.fit import fitted, like_start, step_count, what_is_done, with_steps

DATA = Path("films")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "before.safetensors"
    write_checkpoint(path)
    return path


@pytest.mark.parametrize(("films", "held_back"), [(10, 2), (100, 20), (200, 40), (400, 40), (800, 40), (2000, 100)])
def test_small_sets_hold_back_a_fifth(films: int, held_back: int):
    assert fitting_share(films) * films == pytest.approx(held_back)
    assert fitting_share(0) == 0.2


@pytest.mark.parametrize("films", [1, 3, 4, 8, 50, 96, 1000])
def test_fine_tuning_takes_about_as_many_steps_of_few_films_as_of_many(start: Path, films: int):
    config = with_steps(TrainConfig(DATA, start=start), films)
    assert config.batch and config.repeats and config.epochs and config.learning_rate
    steps = step_count(films, config.batch, config.repeats) * config.epochs
    assert 80 <= steps <= max(120, 4 * films / 4)
    assert config.epochs >= 4 and config.warmup_steps == min(steps // 10, 100)
    assert config.learning_rate < 1e-3


def test_from_scratch_takes_longer_at_a_higher_rate():
    config = with_steps(TrainConfig(DATA, start=SCRATCH), 96)
    assert (config.batch, config.repeats, config.learning_rate, config.warmup_steps) == (8, 2, 2e-3, 100)
    assert config.epochs and 2000 <= config.epochs * 24 < 2024


def test_what_is_set_stays(start: Path):
    given: dict[str, Any] = {"epochs": 3, "batch": 2, "learning_rate": 1e-4, "warmup_steps": 0, "validation": 0.5}
    config = with_steps(fitted(TrainConfig(DATA, Path("a/b"), start, "mine", **given), 10), 5)
    assert {name: getattr(config, name) for name in given} == given
    assert (config.name, config.repeats, config.cache) == ("mine", 1, Path("a/spineseg-cache"))


def test_a_run_is_named_after_its_folder(start: Path, tmp_path: Path):
    assert fitted(TrainConfig(DATA, tmp_path / "knees", start), 10).name == "knees"


def test_a_warm_up_longer_than_the_run_is_refused(start: Path):
    with pytest.raises(BadInput, match=r"^A warm-up of 7 steps is longer than the run of 6; set fewer --warmup-steps"):
        with_steps(TrainConfig(DATA, start=start, epochs=3, batch=4, warmup_steps=7), 8)


def test_network_and_grid_are_those_of_the_start(start: Path):
    config = like_start(TrainConfig(DATA, start=start))
    assert (config.network, config.grid) == (TINY, GRID)
    assert like_start(config) == config
    scratch = TrainConfig(DATA, start=SCRATCH)
    assert like_start(scratch) is scratch


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"grid": GridConfig(rows=256)},
            r"The checkpoint before has another grid \(--grid.rows 256 instead of 64, --grid.columns 384 instead of 48"
            r"\); leave it out, or --from scratch",
        ),
        ({"network": UNetConfig(features=(4, 8))}, r"The checkpoint before has another network \(--network.features"),
        ({"architecture": "my:net"}, "The weights before are of the architecture unet, not my:net; add --from scratch"),
    ],
)
def test_another_shape_than_the_start_s_is_refused(start: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(BadInput, match=f"^{sentence}"):
        like_start(replace(TrainConfig(DATA, start=start), **changes))


def test_one_sentence_says_what_is_done(start: Path):
    config = with_steps(fitted(TrainConfig(DATA, start=start), 10), 8)
    said = "Fine-tuning before on 8 films, 2 held back: 4 epochs of 20 steps of 4 films, learning rate 0.0005 after 8"
    assert what_is_done(config, 8, 2) == f"{said} steps of warm-up"
    assert what_is_done(with_steps(TrainConfig(DATA, start=SCRATCH), 8), 8, 2).startswith("Training from scratch on 8")
