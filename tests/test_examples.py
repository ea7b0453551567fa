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
from spineseg.ui.correction import bits_to_masks
from spineseg.ui.examples import RESULTS, Example, is_published
from tools.make_examples import CHOSEN, ROWS, SEED

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "checkpoints" / "spineseg.safetensors"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(WEIGHTS, "cpu")


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


def test_the_result_of_an_example_is_what_the_published_weights_give(
    example: tuple[Path, Case], segmenter: Segmenter
) -> None:
    """`python -m tools.make_examples examples docs/examples.png` writes it anew. Another processor rounds otherwise."""
    path, _ = example
    film, state = read_film(path), Example(path).segmented("spineseg")
    assert state and state.layer and state.layer.levels and state.layer.probabilities is not None
    prediction = segmenter(film)
    assert dice(bits_to_masks(state.layer.bits), prediction.masks)[prediction.masks.any((1, 2))].min() > 0.999
    assert np.abs(state.layer.probabilities / 255 - prediction.probabilities).max() < 0.01
    assert (state.layer.levels.verdict, state.layer.levels.present) == (
        prediction.levels.verdict,
        prediction.levels.present,
    )
    assert state.layer.levels.confidence == pytest.approx(prediction.levels.confidence, abs=0.005)
    assert state.layer.card["name"] == segmenter.card.name and not state.layer.undecoded
    assert np.array_equal(state.film.image, film.image) and state.film.spacing == film.spacing
    assert state.measurements
    stored, fresh = state.measurements.figures, measure_prediction(prediction, film.spacing).figures
    assert stored.keys() == fresh.keys() and (len(stored) > 10 or not prediction.levels.present[-1])
    for key, figure in fresh.items():
        assert stored[key].value == pytest.approx(figure.value, abs=0.1 * (figure.error or 0) + 1e-6), key
        assert (stored[key].error or 0) == pytest.approx(figure.error or 0, rel=0.1), key  # a grade has none


def test_results_belong_to_the_published_weights_alone(tmp_path: Path) -> None:
    assert is_published(WEIGHTS)
    (tmp_path / "mine.safetensors").write_bytes(WEIGHTS.read_bytes()[:-1] + b"\0")
    assert not is_published(tmp_path / "mine.safetensors")
    assert not is_published(tmp_path / "none.safetensors")


def test_results_are_small() -> None:
    sizes = [path.stat().st_size for path in RESULTS.glob("*.npz")]
    assert len(sizes) == len(CHOSEN) and sum(sizes) < 250_000


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
