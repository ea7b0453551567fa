"""The films that the page offers: what the simulator makes today, and the published checkpoint right about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurements import behind_shutter
from spineseg.evaluation.metrics import dice
from spineseg.film import VERTEBRAE, Case
from spineseg.inference.segmenter import Segmenter
from spineseg.inference.verdict import CHECK, RELIABLE
from spineseg.io.films import read_film
from spineseg.measure.measurements import measure, measure_prediction
from spineseg.simulate import SimulateConfig, simulate_case
from tools.make_examples import CHOSEN, ROWS, SEED

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(ROOT / "checkpoints" / "spineseg.safetensors", "cpu")


@pytest.fixture(params=CHOSEN)
def example(request: pytest.FixtureRequest) -> tuple[Path, Case]:
    (path,) = (ROOT / "examples").glob(f"*-{request.param.replace(' ', '-')}.dcm")
    return path, simulate_case(SEED, CHOSEN[request.param], SimulateConfig(rows=ROWS))


def test_an_example_is_what_its_tool_writes(example: tuple[Path, Case]) -> None:
    path, case = example
    np.testing.assert_array_equal(read_film(path).image, case.film.image)


def test_an_example_is_segmented_well_or_to_be_checked(example: tuple[Path, Case], segmenter: Segmenter) -> None:
    path, case = example
    prediction = segmenter(read_film(path))
    if case.masks.any((1, 2)).all():
        assert prediction.levels.verdict == RELIABLE
        assert dice(prediction.masks, case.masks).min() > 0.85
    else:
        assert prediction.levels.verdict == CHECK


def test_a_vertebra_half_behind_a_shutter_is_reason_to_check_and_is_not_measured(
    example: tuple[Path, Case], segmenter: Segmenter
) -> None:
    _, case = example
    for name in ("L1", "S1"):
        if (mask := case.masks[VERTEBRAE.index(name)]).any():
            rng = np.random.default_rng(1)
            prediction = segmenter(behind_shutter(case.film, mask, below=name == "S1", rng=rng))
            assert prediction.levels.verdict == CHECK
            assert name not in measure_prediction(prediction).corners


def test_an_example_shows_what_its_button_says(example: tuple[Path, Case]) -> None:
    path, case = example
    absent = [name for name, mask in zip(VERTEBRAE, case.masks, strict=True) if not mask.any()]
    assert ("S1" in absent) == ("sacrum-cut-off" in path.stem)
    if not absent:
        assert measure(case.masks).facing == ("right" if "facing-right" in path.stem else "left")
