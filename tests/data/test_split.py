"""folds: each film is held back once, with all others of its patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spineseg.data.split import folds_of, hold_back, split_films, spread
from spineseg.io.folder import BadDataset, FilmFiles
from spineseg.training.config import TrainConfig

HERE = Path()
FILMS = [FilmFiles(f"f{k:02}", HERE / f"f{k:02}.dcm", None) for k in range(20)]
CONFIG = TrainConfig(HERE, HERE, folds=4, seed=3)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five patients with 8, 5, 4, 2 and 1 films."""
    path = tmp_path / "patients.csv"
    sizes = {"p": 8, "q": 5, "r": 4, "s": 2, "t": 1}
    patients = [patient for patient, films in sizes.items() for _ in range(films)]
    path.write_text("film,patient\n" + "".join(f"{f.name},{p}\n" for f, p in zip(FILMS, patients, strict=True)))
    return path


def test_every_film_is_held_back_once_as_the_seed_decides():
    assert folds_of(FILMS, CONFIG) == folds_of(FILMS, CONFIG) != folds_of(FILMS, replace(CONFIG, seed=4))
    held = []
    for fold in (1, 2, 3, 4):
        trained_on, back = split_films(FILMS, replace(CONFIG, fold=fold))
        assert sorted(trained_on + back) == list(range(20))
        assert len(back) == 5
        held += back
    assert sorted(held) == list(range(20))


def test_films_of_a_patient_stay_together_in_folds_of_like_size(table: Path):
    folds = folds_of(FILMS, replace(CONFIG, folds=3, patients=table))
    patients = [folds[:8], folds[8:13], folds[13:17], folds[17:19], folds[19:]]
    assert all(len(set(patient)) == 1 for patient in patients)
    assert sorted(folds.count(fold) for fold in (1, 2, 3)) == [6, 6, 8]


def test_films_of_a_patient_stay_together_without_folds_too(table: Path):
    seen = set()
    for seed in range(10):
        trained_on, held = split_films(FILMS, replace(CONFIG, seed=seed, patients=table, validation=0.2))
        assert sorted(trained_on + held) == list(range(20))
        for patient in (range(8), range(8, 13), range(13, 17), range(17, 19), range(19, 20)):
            assert len({k in held for k in patient}) == 1
        seen.add(tuple(held))
        assert trained_on and held
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("count", "share", "held"), [(2, 0.0, 1), (2, 1.0, 1), (3, 0.05, 1), (10, 0.95, 9), (100, 0.2, 20)]
)
def test_both_sides_have_a_film_and_the_seed_decides_which(count: int, share: float, held: int):
    films, config = [FilmFiles(f"f{k}", HERE, None) for k in range(count)], replace(CONFIG, validation=share)
    trained_on, held_back = split_films(films, config)
    assert (sorted(trained_on + held_back), len(held_back)) == (list(range(count)), held)
    assert split_films(films, config) == (trained_on, held_back)
    assert count < 100 or split_films(films, replace(config, seed=4)) != (trained_on, held_back)


def test_a_table_may_give_the_folds(tmp_path: Path):
    path = tmp_path / "folds.csv"
    path.write_text("film,fold\n" + "".join(f"{film.name},{1 + k % 2}\n" for k, film in enumerate(FILMS)))
    config = replace(CONFIG, folds=2, fold=2, patients=path)
    assert split_films(FILMS, config)[1] == list(range(1, 20, 2))
    with pytest.raises(BadDataset, match=r"^expected 3 folds in the table, got 2; set --folds alike"):
        folds_of(FILMS, replace(config, folds=3))


def test_too_few_are_refused(table: Path):
    with pytest.raises(BadDataset, match=r"^expected at least 2 labelled films, got 1"):
        hold_back([0], 0.5, 0)
    with pytest.raises(BadDataset, match=r"^expected at least 21 labelled films, got 20"):
        spread(range(20), 21, 0)
    with pytest.raises(BadDataset, match=r"^expected at least 6 patients, got 5"):
        folds_of(FILMS, replace(CONFIG, folds=6, patients=table))
    with pytest.raises(BadDataset, match=r"^expected at least 2 patients, got 1"):
        hold_back([0, 0, 0], 0.5, 0)
