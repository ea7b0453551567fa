"""preview: a batch as the network sees it has films and labels in it, drawn anew for another seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small import GRID, simulate_films

from spineseg.cli import main
from spineseg.data.config import AugmentConfig
from spineseg.data.preview import COLUMNS, COUNT, augmented_batch
from spineseg.film import BadInput


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_films(tmp_path_factory.mktemp("films"), 3, 3)


def test_a_batch_shows_films_with_their_labels(films: Path):
    picture = augmented_batch(films, GRID, AugmentConfig())
    rows, columns = COUNT // COLUMNS, COLUMNS
    assert picture.shape == (rows * (GRID.rows + 8) + 8, columns * (GRID.columns + 8) + 8, 3)
    assert (np.ptp(picture.astype(int), axis=2) > 40).mean() > 0.005
    assert np.array_equal(picture, augmented_batch(films, GRID, AugmentConfig()))
    assert not np.array_equal(picture, augmented_batch(films, GRID, AugmentConfig(), seed=1))


def test_without_changes_a_film_looks_the_same_each_time(films: Path):
    picture = augmented_batch(films, GRID, AugmentConfig.none(), count=4)
    cells = [picture[8:-8, 8 + k * (GRID.columns + 8) :][:, : GRID.columns] for k in range(4)]
    assert sum(np.array_equal(cells[0], cell) for cell in cells[1:]) <= 1
    assert len({cell.tobytes() for cell in cells}) == 3


def test_the_command_draws_it(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["show", str(films), "--augmented", "--out", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert main(["show", str(tmp_path / "none"), "--augmented", "--out", str(tmp_path / "a.png")]) == 1
    assert "There is no folder none" in capsys.readouterr().err
    with pytest.raises(BadInput):
        augmented_batch(tmp_path, GRID, AugmentConfig())
