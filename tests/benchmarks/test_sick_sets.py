"""benchmarks.sick_sets: what counts as merged and skipped, and that the sets are what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool
from small import write_checkpoint

from benchmarks import sick_sets
from benchmarks.sick_sets import frozen, merged, skipped
from spineseg.io.folder import find_films, read_case, read_findings


def stack() -> Bool[np.ndarray, "vertebra=6 rows columns"]:
    """Six true bodies, each of ten rows, one below the other."""
    masks = np.zeros((6, 60, 8), bool)
    for index in range(6):
        masks[index, 10 * index : 10 * index + 10] = True
    return masks


@pytest.mark.parametrize(("rows", "expected"), [(2, 0), (3, 0), (4, 1), (10, 1)])
def test_a_mask_that_covers_more_than_30_percent_of_two_bodies_is_merged(rows: int, expected: int) -> None:
    truth, predicted = stack(), stack()
    predicted[2, 30 : 30 + rows] = True
    assert merged(predicted, truth) == expected
    assert merged(truth, truth) == 0


@pytest.mark.parametrize(("left", "expected"), [(2, 1), (3, 0), (10, 0)])
@pytest.mark.parametrize("body", [0, 3, 5])
def test_a_body_of_which_less_than_30_percent_is_covered_is_skipped(body: int, left: int, expected: int) -> None:
    truth, predicted = stack(), stack()
    predicted[body, 10 * body + left : 10 * body + 10] = False
    assert skipped(predicted, truth) == expected
    assert skipped(np.zeros_like(truth), truth) == 0  # nothing beside it is found either
    assert skipped(np.roll(predicted, 1, 0), truth) == expected  # whatever it is called


def test_a_body_off_the_film_is_not_skipped() -> None:
    truth = stack()
    truth[0] = False
    assert skipped(truth, truth) == 0


def test_sets_are_written_with_their_findings(tmp_path: Path) -> None:
    assert sick_sets.main(["--count", "2", "--kinds", "ordinary", "hardware", "--write", str(tmp_path)]) == 0
    for name, expected in (("ordinary", False), ("hardware", True)):
        folder = tmp_path / name
        assert [bool(read_findings(folder, files.name)) for files in find_films(folder)] == [expected] * 2
    (case, _), written = frozen("hardware", 2, None), find_films(tmp_path / "hardware")[0]
    assert np.array_equal(read_case(written).masks, case.masks)


def test_a_table_has_a_row_for_each_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "small.safetensors", contrast=20.0)
    given = ["--checkpoint", str(tmp_path / "small.safetensors"), "--json", str(tmp_path / "out.json")]
    assert sick_sets.main(["--count", "1", "--kinds", "fracture", "mixed", *given]) == 0
    assert "| fracture | 1 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())["tables"]["sets"]
    assert [row["set"] for row in rows] == ["fracture", "mixed"]
