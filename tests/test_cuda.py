"""On a CUDA device: what the CPU computes, in fewer bits, and a full memory that stops nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small import simulate_films, small_training

from spineseg.evaluation.metrics import dice
from spineseg.film import Case
from spineseg.inference.segmenter import Segmenter
from spineseg.model.config import GridConfig, UNetConfig
from spineseg.simulate import SimulateConfig, simulate_case
from spineseg.training.config import TrainConfig
from spineseg.training.history import EpochReport
from spineseg.training.loop import NoMemory, train

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("fresh_accelerator"),
]

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "spineseg.safetensors"


@pytest.fixture(scope="module")
def case() -> Case:
    return simulate_case(71, 0, SimulateConfig(rows=768, crop_probability=0.0))


@pytest.fixture
def full() -> Iterator[None]:
    """A device that gives this process a hundredth of a per cent of its memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_a_film_is_segmented_as_on_the_cpu(case: Case) -> None:
    there, here = Segmenter.load(CHECKPOINT, "cuda")(case.film), Segmenter.load(CHECKPOINT, "cpu")(case.film)
    assert (there.device, here.device) == ("cuda", "cpu")
    assert np.abs(there.probabilities - here.probabilities).max() < 0.02
    assert (dice(there.masks, here.masks) > 0.999).all()
    assert there.levels.verdict == here.levels.verdict


def test_with_its_memory_full_the_cpu_does_it_and_the_next_film_is_the_device_s_again(
    case: Case, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    segmenter = Segmenter.load(CHECKPOINT, "cuda")
    expected = Segmenter.load(CHECKPOINT, "cpu")(case.film)
    request.getfixturevalue("full")
    spare = segmenter(case.film)
    assert spare.device == "cpu" and np.array_equal(spare.masks, expected.masks)
    assert [record.getMessage() for record in caplog.records] == [
        "cuda has no memory left for a film; it is segmented on the CPU"
    ]
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert segmenter(case.film).device == "cuda"


def tiny(data: Path, out: Path, precision: str) -> TrainConfig:
    network, grid = UNetConfig(features=(8, 12, 16)), GridConfig(rows=128, columns=128)
    return small_training(data, out, network=network, grid=grid, epochs=6, seed=0, precision=precision)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_films(tmp_path_factory.mktemp("films"), 12, 3)


@pytest.fixture(scope="module")
def exact(films: Path, tmp_path_factory: pytest.TempPathFactory) -> list[EpochReport]:
    return train(tiny(films, tmp_path_factory.mktemp("exact"), "no"))


@pytest.mark.parametrize("precision", ["auto", "fp16", "bf16"])
def test_fewer_bits_learn_what_all_learn(
    films: Path, exact: list[EpochReport], tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = train(tiny(films, tmp_path, precision))
    assert "cuda" in capsys.readouterr().out
    assert reports[-1].train_loss < 0.95 * reports[0].train_loss
    assert reports[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=0.1)


@pytest.mark.usefixtures("full")
def test_a_step_that_does_not_fit_says_what_to_do(films: Path, tmp_path: Path) -> None:
    with pytest.raises(NoMemory, match=r"^expected memory on cuda(:0)? for 5 films at once, got too little; set --acc"):
        train(tiny(films, tmp_path, "auto"))
